"""The discrepancy: what experiments show of the objective that calibrated theory does not.

With f(x, theta) the theory and theta_s a sample of its posterior, the residual y - f(., theta_s) is
a Gaussian process with the kernel

    k(x, x') = a^2 f(x) f(x') c_l(x, x') + b^2 c_l(x, x'),   c_l(x, x') = exp(-|x - x'|^2 / 2 l^2):

a missing loss changes the objective in proportion (a), a wrong mechanism anywhere (b). The scales
are learned: every triple of a small grid is weighed by its marginal likelihood, averaged over the
samples, and by a prior that prefers theory as it is.

Source: Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294; the
product with f is ours.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from twinloop.planners.space import Floats

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Discrepancy", "learn"]

_RELATIVE = (0.03, 0.12, 0.3, 0.7)
_ABSOLUTE = (0.01, 0.05, 0.2)
_LENGTHS = (0.25, 0.6, 1.5)
_PENALTY = 0.5
"""ln of the prior odds against each further step of a scale."""


@dataclass(frozen=True)
class Discrepancy:
    """The process, conditioned on the residuals of every sample.

    Args:
        relative: a [1].
        absolute: b, in the unit of the objective.
        length: l, in the unit cube.
        log_evidence: ln of the weighed likelihood of the data under theory and discrepancy.
    """

    relative: float
    absolute: float
    length: float
    log_evidence: float
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

        if len(self._x) == 0:
            prior = self.relative**2 * f**2 + self.absolute**2
            return torch.zeros((1, len(x)), dtype=x.dtype), prior
        kernel = _kernel(x, f, self._x, self._f, self.relative, self.absolute, self.length)
        mean = (kernel @ self._alpha).T
        solved = torch.linalg.solve_triangular(self._root, kernel.T, upper=False)
        prior = self.relative**2 * f**2 + self.absolute**2
        return mean, (prior - (solved**2).sum(0)).clamp_min(1e-12)


def learn(x: Floats, y: Floats, variance: Floats, f: Floats, scale: float) -> Discrepancy:
    """Return the discrepancy that the observations want.

    Args:
        x: where, shape (n, d).
        y: objective, shape (n,).
        variance: of its measurement and of the emulator, shape (n,).
        f: theory at the samples, shape (s, n).
        scale: spread of the objective, the unit of b.
    """
    import torch

    places, own = torch.as_tensor(x), torch.as_tensor(f.mean(axis=0))
    if len(x) == 0:
        nothing = torch.zeros((0, 0), dtype=torch.float64)
        return Discrepancy(
            _RELATIVE[1], _ABSOLUTE[0] * scale, _LENGTHS[1], 0.0, places, own, nothing, nothing
        )
    residual = torch.as_tensor((y[None, :] - f).T)
    noise = torch.diag(torch.as_tensor(variance))
    best: Discrepancy | None = None
    evidence = []
    for (i, a), (j, b), length in product(enumerate(_RELATIVE), enumerate(_ABSOLUTE), _LENGTHS):
        covariance = _kernel(places, own, places, own, a, b * scale, length) + noise
        root = torch.linalg.cholesky(covariance)
        alpha = torch.cholesky_solve(residual, root)
        fits = -0.5 * (alpha * residual).sum(0)
        log = float(fits.mean() - root.diagonal().log().sum()) - _PENALTY * (i + j)
        log -= 0.5 * len(x) * float(np.log(2.0 * np.pi))
        evidence.append(log)
        if best is None or log > best.log_evidence:
            best = Discrepancy(a, b * scale, length, log, places, own, root, alpha)
    if best is None:
        raise ArithmeticError("no scale of the discrepancy gives a likelihood")
    return best


def _kernel(
    x: "Tensor", f: "Tensor", x2: "Tensor", f2: "Tensor", a: float, b: float, length: float
) -> "Tensor":
    squares = (x**2).sum(1)[:, None] + (x2**2).sum(1)[None, :] - 2.0 * x @ x2.T
    near = (-0.5 * squares.clamp_min(0.0) / length**2).exp()
    return near * (a**2 * f[:, None] * f2[None, :] + b**2)
