"""The discrepancy: what experiments show of the objective that calibrated theory does not.

With f(x, theta) the theory and theta_s a sample of its posterior, the residual y - f(., theta_s) is
a Gaussian process with the kernel

    k(x, x') = (a^2 g(x) g(x') + b^2) exp(-sum_j (x_j - x'_j)^2 / 2 l_j^2),   g = f - worst:

a missing loss changes what is above the worst in proportion (a), a wrong mechanism changes the
objective anywhere (b), and either may depend on some knobs only (l_j long for the others). The scales are learned, as the mode of their
posterior: the likelihood is averaged over the samples, and the priors are lognormal and prefer
theory as it is.

Source: Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294; the
product with g and the lengths of each knob are ours.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from twinloop.planners.space import Floats

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Discrepancy", "learn"]

_RELATIVE, _RELATIVE_SD = 0.08, 1.0
_ABSOLUTE, _ABSOLUTE_SD = 0.02, 1.0
_LENGTH, _LENGTH_SD = 0.8, 0.6
"""Median, and standard deviation of the logarithm, of a, b (in the objective's spread) and l_j."""

_STARTS = ((0.08, 0.02, 0.8), (0.5, 0.02, 0.4), (0.08, 0.2, 0.4))
_ITERATIONS = 40


@dataclass(frozen=True)
class Discrepancy:
    """The process, conditioned on the residuals of every sample.

    Args:
        relative: a, of what theory says above the worst [1].
        absolute: b, in the unit of the objective.
        lengths: l_j, in the unit cube, shape (d,).
        worst: the objective that a loss leaves of nothing.
    """

    relative: float
    absolute: float
    lengths: Floats
    worst: float
    _x: "Tensor"
    _f: "Tensor"
    _root: "Tensor"
    _alpha: "Tensor"

    def at(self, x: "Tensor", f: "Tensor") -> tuple["Tensor", "Tensor"]:
        """Return mean (s, c) and variance (c,) of the discrepancy.

        Args:
            x: where, shape (c, d).
            f: theory there, mean over the samples, shape (c,).
        """
        import torch

        f = f - self.worst
        prior = self.relative**2 * f**2 + self.absolute**2
        if len(self._x) == 0:
            return torch.zeros((1, len(x)), dtype=x.dtype), prior
        lengths = torch.as_tensor(self.lengths)
        kernel = _kernel(x, f, self._x, self._f, self.relative, self.absolute, lengths)
        mean = (kernel @ self._alpha).T
        solved = torch.linalg.solve_triangular(self._root, kernel.T, upper=False)
        # what rounding leaves below zero, at an experiment without noise
        return mean, torch.maximum(prior - (solved**2).sum(0), 1e-9 * prior)


def learn(
    x: Floats, y: Floats, variance: Floats, f: Floats, scale: float, worst: float
) -> Discrepancy:
    """Return the discrepancy that the observations want; before any, that of the prior.

    Args:
        x: where, shape (n, d).
        y: objective, shape (n,).
        variance: of its measurement and of the emulator, shape (n,).
        f: theory at the samples, shape (s, n).
        scale: spread of the objective, the unit of b.
        worst: the worst objective there is by theory.
    """
    import torch
    from scipy.optimize import minimize

    n, d = x.shape
    prior = np.log(np.r_[_RELATIVE, _ABSOLUTE * scale, np.full(d, _LENGTH)])
    prior_sd = np.r_[_RELATIVE_SD, _ABSOLUTE_SD, np.full(d, _LENGTH_SD)]
    places, own = torch.as_tensor(x), torch.as_tensor(f.mean(axis=0) - worst)
    residual = torch.as_tensor((y[None, :] - f).T)
    noise = torch.diag(torch.as_tensor(variance))
    center, width = torch.as_tensor(prior), torch.as_tensor(prior_sd)

    def root_of(logs: "Tensor") -> "Tensor":
        scales = logs.exp()
        kernel = _kernel(places, own, places, own, scales[0], scales[1], scales[2:])
        root: Tensor = torch.linalg.cholesky(kernel + noise)
        return root

    def cost(at: Floats) -> tuple[float, Floats]:
        logs = torch.tensor(at, requires_grad=True)
        root = root_of(logs)
        solved = torch.linalg.solve_triangular(root, residual, upper=False)
        total = 0.5 * (solved**2).sum(0).mean() + root.diagonal().log().sum()
        total = total + 0.5 * (((logs - center) / width) ** 2).sum()
        total.backward()
        gradient = np.zeros_like(at) if logs.grad is None else logs.grad.cpu().numpy()
        return float(total.item()), gradient

    best = prior
    if n:
        bounds = [(m - 4.0 * s, m + 4.0 * s) for m, s in zip(prior, prior_sd, strict=True)]
        options = {"maxiter": _ITERATIONS}
        found = [
            minimize(cost, s, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
            for s in _starts(scale, d)
        ]
        best = min(found, key=lambda f: float(f.fun)).x
    root = root_of(torch.as_tensor(best))
    return Discrepancy(
        relative=math.exp(best[0]),
        absolute=math.exp(best[1]),
        lengths=np.exp(best[2:]),
        worst=worst,
        _x=places,
        _f=own,
        _root=root,
        _alpha=torch.cholesky_solve(residual, root),
    )


def _starts(scale: float, d: int) -> Sequence[Floats]:
    return [np.log(np.r_[a, b * scale, np.full(d, length)]) for a, b, length in _STARTS]


def _kernel(
    x: "Tensor",
    f: "Tensor",
    x2: "Tensor",
    f2: "Tensor",
    a: "Tensor | float",
    b: "Tensor | float",
    lengths: "Tensor",
) -> "Tensor":
    x, x2 = x / lengths, x2 / lengths
    squares = (x**2).sum(1)[:, None] + (x2**2).sum(1)[None, :] - 2.0 * x @ x2.T
    near = (-0.5 * squares.clamp_min(0.0)).exp()
    return near * (a**2 * f[:, None] * f2[None, :] + b**2)
