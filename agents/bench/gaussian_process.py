"""A small exact Gaussian process: what a reference needs, in numpy and scipy alone.

Kernel Matern 5/2 with a length for each axis, constant mean, noise of one variance that is divided
by the number of replicates. Hyperparameters maximise the marginal likelihood.
Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eqs. 2.25 to 2.30,
4.17.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

__all__ = ["GaussianProcess"]

Floats = NDArray[np.float64]

_JITTER = 1e-8
_BOUNDS = ((-4.0, 3.0), (-6.0, 3.0), (-9.0, 1.0))  # ln of lengths, signal and noise deviations
_PRIOR_LENGTH = (0.0, 1.0)  # normal, of ln length: keeps an axis of no effect finite


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Args:
        x: places in the unit cube, shape (n, d).
        y: mean of the replicates at each, shape (n,).
        counts: how many replicates, shape (n,).
        parameters: ln of the d lengths, of the signal's and of the noise's deviation, the last two
            in units of the spread of `y`; shape (d + 2,).
    """

    x: Floats
    y: Floats
    counts: Floats
    parameters: Floats

    def __post_init__(self) -> None:
        mean, spread = float(np.average(self.y, weights=self.counts)), float(self.y.std()) or 1.0
        k = _covariance(self.x, self.counts, self.parameters)
        factor = cho_factor(k, lower=True)
        weights = cho_solve(factor, (self.y - mean) / spread)
        for name, value in (
            ("_mean", mean), ("_spread", spread), ("_factor", factor[0]), ("_weights", weights)
        ):  # fmt: skip
            object.__setattr__(self, name, value)

    @classmethod
    def fitted(
        cls, x: Floats, y: Floats, counts: Floats, start: Floats | None = None
    ) -> "GaussianProcess":
        """Return the process of the most likely hyperparameters.

        Args:
            x: see the class.
            y: see the class.
            counts: see the class.
            start: parameters to begin at.
        """
        d = x.shape[1]
        first = np.array([*([-0.5] * d), 0.0, -2.0]) if start is None else start
        z = (y - np.average(y, weights=counts)) / (float(y.std()) or 1.0)
        bounds = [_BOUNDS[0]] * d + [_BOUNDS[1], _BOUNDS[2]]
        found = minimize(
            _loss, first, args=(x, z, counts), jac=True, method="L-BFGS-B", bounds=bounds,
            options={"maxiter": 60},
        )  # fmt: skip
        return cls(x, y, counts, np.asarray(found.x))

    @property
    def noise_sd(self) -> float:
        """Standard deviation of one replicate, in the unit of y."""
        return float(np.exp(self.parameters[-1]) * self._of("_spread"))

    def predict(self, at: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the noise-free value, each of shape (m,)."""
        cross = _kernel(self.x, at, self.parameters)
        mean = cross.T @ self._of("_weights")
        half = solve_triangular(self._of("_factor"), cross, lower=True)
        variance = np.exp(2.0 * self.parameters[-2]) - np.sum(half**2, axis=0)
        spread = self._of("_spread")
        return self._of("_mean") + spread * mean, spread * np.sqrt(np.maximum(variance, 1e-12))

    def sampled(self, at: Floats, n: int, rng: np.random.Generator) -> Floats:
        """Return `n` functions drawn from the posterior, at the places, shape (n, m)."""
        cross = _kernel(self.x, at, self.parameters)
        half = solve_triangular(self._of("_factor"), cross, lower=True)
        covariance = _kernel(at, at, self.parameters) - half.T @ half
        covariance[np.diag_indices_from(covariance)] += 1e-6 * np.exp(2 * self.parameters[-2])
        root = np.linalg.cholesky(covariance)
        drawn = cross.T @ self._of("_weights") + rng.standard_normal((n, len(at))) @ root.T
        return np.asarray(self._of("_mean") + self._of("_spread") * drawn)

    def _of(self, name: str) -> Any:
        """Return what was worked out once, when the process was made."""
        return object.__getattribute__(self, name)


def _scaled(a: Floats, b: Floats, lengths: Floats) -> Floats:
    p, q = a / lengths, b / lengths
    squares = np.sum(p**2, axis=1)[:, None] + np.sum(q**2, axis=1)[None, :] - 2.0 * p @ q.T
    return np.asarray(np.sqrt(np.maximum(squares, 0.0)))


def _kernel(a: Floats, b: Floats, parameters: Floats) -> Floats:
    r = np.sqrt(5.0) * _scaled(a, b, np.exp(parameters[:-2]))
    return np.asarray(np.exp(2.0 * parameters[-2]) * (1.0 + r + r**2 / 3.0) * np.exp(-r))


def _covariance(x: Floats, counts: Floats, parameters: Floats) -> Floats:
    k = _kernel(x, x, parameters)
    k[np.diag_indices_from(k)] += np.exp(2.0 * parameters[-1]) / counts + _JITTER
    return k


def _loss(parameters: Floats, x: Floats, z: Floats, counts: Floats) -> tuple[float, Floats]:
    """Return the negative log marginal likelihood and its gradient, with the prior of the lengths."""
    d = x.shape[1]
    lengths, signal = np.exp(parameters[:d]), np.exp(2.0 * parameters[-2])
    r = np.sqrt(5.0) * _scaled(x, x, lengths)
    decay = np.exp(-r)
    bare = signal * (1.0 + r + r**2 / 3.0) * decay
    k = bare.copy()
    noise = np.exp(2.0 * parameters[-1]) / counts
    k[np.diag_indices_from(k)] += noise + _JITTER
    try:
        factor = cho_factor(k, lower=True)
    except np.linalg.LinAlgError:
        return 1e10, np.zeros_like(parameters)
    alpha = cho_solve(factor, z)
    inverse = cho_solve(factor, np.eye(len(z)))
    outer = inverse - np.outer(alpha, alpha)  # twice the gradient is the trace with dK
    value = 0.5 * float(z @ alpha) + float(np.log(np.diag(factor[0])).sum())
    gradient = np.empty_like(parameters)
    slope = outer * (signal * (5.0 / 3.0) * (1.0 + r) * decay)
    for j in range(d):
        gradient[j] = 0.5 * float(
            np.sum(slope * ((x[:, j, None] - x[None, :, j]) / lengths[j]) ** 2)
        )
    gradient[-2] = float(np.sum(outer * bare))
    gradient[-1] = float(np.sum(np.diag(outer) * noise))
    centre, width = _PRIOR_LENGTH
    away = (parameters[:d] - centre) / width
    gradient[:d] += away / width
    return value + 0.5 * float(away @ away), gradient
