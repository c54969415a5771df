"""Fit a model of counts: Poisson likelihood, weak normal priors, and how sure the answer is.

Fisher scoring: near the best parameters the likelihood is a paraboloid whose curvature is known from
the model's slopes alone, J^T diag(1 / mu) J. Steps are damped as Levenberg and Marquardt do, and
only taken when the posterior rises.

Source: McCullagh & Nelder, Generalized Linear Models, 2nd ed. (Chapman & Hall, 1989), doi:10.1201/
9780203753736, section 2.5 (scoring); Marquardt, J. SIAM 11, 431 (1963), doi:10.1137/0111030.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["PoissonFit", "deviance", "fit_poisson"]

TINY = 1e-9
LADDER = 12
"""Times that the damping may grow before a fit is taken as ended."""


@dataclass(frozen=True, eq=False, slots=True)
class PoissonFit:
    """The best parameters.

    Args:
        values: shape (p,).
        covariance: of a normal posterior around them, shape (p, p).
        cost: deviance plus squared distance from the priors' means, in standard deviations.
        misfit: Pearson's chi squared for each degree of freedom [1].
    """

    values: NDArray[np.float64]
    covariance: NDArray[np.float64]
    cost: float
    misfit: float


def deviance(counts: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    """Return twice the log likelihood lost against a perfect fit.

    Args:
        counts: shape (n,) [counts].
        expected: > 0, shape (n,) [counts].
    """
    logs = counts * np.log(np.maximum(counts, TINY) / expected)
    return float(2.0 * np.sum(logs - counts + expected))


def fit_poisson(
    model: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    counts: NDArray[np.float64],
    start: NDArray[np.float64],
    prior_mean: NDArray[np.float64],
    prior_sd: NDArray[np.float64],
    *,
    steps: int = 30,
) -> PoissonFit:
    """Return the most probable parameters of a model of counts.

    Args:
        model: takes parameters (p,), returns expected counts (n,), > 0.
        counts: shape (n,) [counts].
        start: first parameters, shape (p,).
        prior_mean: of the parameters, shape (p,).
        prior_sd: of the parameters, shape (p,), > 0.
        steps: most steps that are made.
    """
    values = np.array(start, dtype=np.float64)
    pull = prior_sd**-2.0

    def cost_of(expected: NDArray[np.float64], at: NDArray[np.float64]) -> float:
        cost = deviance(counts, expected) + float(np.sum(pull * (at - prior_mean) ** 2))
        return cost if np.isfinite(cost) else np.inf

    expected = model(values)
    cost, damping = cost_of(expected, values), 1e-3
    for _ in range(steps):
        slopes = _slopes(model, values, expected, prior_sd)
        curvature = (slopes.T / expected) @ slopes + np.diag(pull)
        uphill = slopes.T @ (counts / expected - 1.0) - pull * (values - prior_mean)
        gained = 0.0
        for _ in range(LADDER):
            damped = curvature + damping * np.diag(np.diag(curvature))
            trial = values + np.linalg.solve(damped, uphill)
            trial_expected = model(trial)
            trial_cost = cost_of(trial_expected, trial)
            if trial_cost <= cost:
                gained = cost - trial_cost
                values, expected, cost = trial, trial_expected, trial_cost
                damping = max(damping / 5.0, 1e-9)
                break
            damping *= 4.0
        if gained < 1e-3:
            break
    slopes = _slopes(model, values, expected, prior_sd)
    curvature = (slopes.T / expected) @ slopes + np.diag(pull)
    misfit = float(np.sum((counts - expected) ** 2 / expected)) / max(counts.size - values.size, 1)
    return PoissonFit(values, np.asarray(np.linalg.inv(curvature), np.float64), cost, misfit)


def _slopes(
    model: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    values: NDArray[np.float64],
    expected: NDArray[np.float64],
    scale: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return d expected / d parameter by forward differences, shape (n, p)."""
    columns = []
    for k in range(values.size):
        step = 1e-5 * scale[k]
        moved = values.copy()
        moved[k] += step
        columns.append((model(moved) - expected) / step)
    return np.column_stack(columns)
