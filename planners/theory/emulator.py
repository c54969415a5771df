"""The emulator: Gaussian processes over (x, theta) that stand for the simulator, one an observable.

Hyperparameters are fitted by BoTorch to a part of the predictions and remembered; conditioning on
all predictions is exact. The error is measured by leaving each prediction out in turn, and what it
is larger than the processes believe widens every standard deviation that is handed on.

Source: Kennedy & O'Hagan, J. R. Stat. Soc. B 63, 425 (2001), doi:10.1111/1467-9868.00294 (emulation
and calibration); Rasmussen & Williams, Gaussian Processes for Machine Learning (MIT Press, 2006),
eq. 5.12 (leaving one out).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from twinloop.planners.known import Known
from twinloop.planners.simulations import Theory
from twinloop.planners.theory.coordinates import Coordinates

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Emulator", "Remembered", "fit_emulator"]

_FIT_ROWS = 160
_MOST_ROWS = 700
_FIRST_ROWS = 200
"""Of more predictions than `_MOST_ROWS` the first, which hold the even design, and the latest."""
_MAX_ITERATIONS = 60
_JITTER = 1e-6
_GROWTH = 1.5
_FLAT = 1e-9
"""What varies by less than this part of its size does not vary."""


@dataclass(frozen=True)
class Remembered:
    """Hyperparameters of each observable, and to how many predictions they were fitted.

    Args:
        rows: predictions there were.
        scales: length scales, shape (q, inputs).
        noise: variance of the simulator's own scatter over that of the values, shape (q,).
    """

    rows: int
    scales: tuple[tuple[float, ...], ...]
    noise: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "rows": self.rows,
            "scales": [list(s) for s in self.scales],
            "noise": list(self.noise),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Remembered":
        """Return what `to_json` wrote."""
        scales = tuple(tuple(map(float, row)) for row in body["scales"])
        return cls(int(body["rows"]), scales, tuple(map(float, body["noise"])))


class Emulator:
    """Predicts every observable at (x, theta); conditioned on what was simulated.

    Attributes:
        scatter: standard deviation of the simulator's own scatter, shape (q,).
        loo_rmse: error measured by leaving one out, scatter included, shape (q,).
        widening: by how much measured errors exceed believed ones, >= 1, shape (q,).
        spread: standard deviation of each observable over all predictions, shape (q,); of one
            that does not vary, a billionth of its size.
        m: predictions it rests on.
    """

    def __init__(
        self,
        coordinates: Coordinates,
        raw: "Tensor",
        values: "Tensor",
        remembered: Remembered,
        ever: "Tensor | None" = None,
    ) -> None:
        import torch

        self.coordinates = coordinates
        self._low, self._span = _range(raw)
        inputs = (raw - self._low) / self._span

        self.remembered = remembered
        self.m = len(inputs)
        self._inputs = inputs
        self._mean = values.mean(0)
        self._sd = _spread(values)
        y = ((values - self._mean) / self._sd).T  # (q, m)
        self._scales = torch.tensor(remembered.scales, dtype=inputs.dtype)
        self._noise = torch.tensor(remembered.noise, dtype=inputs.dtype).clamp_min(_JITTER)
        eye = torch.eye(self.m, dtype=inputs.dtype)
        covariance = self._kernel(inputs, inputs) + self._noise[:, None, None] * eye
        self._root = torch.linalg.cholesky(covariance)
        self._alpha = torch.cholesky_solve(y[:, :, None], self._root)[:, :, 0]
        # the scale of each process is the one that its data want (profiled)
        self._variance = ((self._alpha * y).mean(1)).clamp_min(1e-6)
        inverse = torch.cholesky_inverse(self._root)
        precision = torch.diagonal(inverse, dim1=1, dim2=2)
        errors = self._alpha / precision
        believed = self._variance[:, None] / precision
        self.widening = (errors**2 / believed).mean(1).sqrt().clamp_min(1.0)
        self.loo_rmse = (errors**2).mean(1).sqrt() * self._sd
        ever = values if ever is None else ever
        self._objective = ever[:, 0].min().item(), ever[:, 0].max().item()
        self.spread = _spread(ever).cpu().numpy()
        self.scatter = (self._noise * self._variance).sqrt() * self._sd

    def worst(self, *, is_maximised: bool) -> float:
        """Return the worst objective that was predicted anywhere."""
        lowest, highest = self._objective
        return lowest if is_maximised else highest

    def mean(self, inputs: "Tensor", q: int | None = None) -> "Tensor":
        """Return the expected observables, shape (n, q), or of one of them, shape (n,).

        Args:
            inputs: as `coordinates` gives them, shape (n, inputs); so for the other methods.
            q: number of the observable; None for all.
        """
        inputs = (inputs - self._low) / self._span
        if q is None:
            kernel = self._kernel(inputs, self._inputs)
            standard: Tensor = (kernel @ self._alpha[:, :, None])[:, :, 0].T
            return standard * self._sd + self._mean
        kernel = self._one_kernel(inputs, self._inputs, q)
        one: Tensor = kernel @ self._alpha[q]
        return one * self._sd[q] + self._mean[q]

    def sd(self, inputs: "Tensor", q: int) -> "Tensor":
        """Return the emulator's error of one observable, without the simulator's scatter, (n,)."""
        import torch

        kernel = self._one_kernel((inputs - self._low) / self._span, self._inputs, q)
        solved = torch.linalg.solve_triangular(self._root[q], kernel.T, upper=False)
        left: Tensor = (1.0 - (solved**2).sum(0)).clamp_min(1e-8) * self._variance[q]
        return left.sqrt() * self._sd[q] * self.widening[q]

    def correlation(self, one: "Tensor", others: "Tensor", q: int) -> "Tensor":
        """Return the prior correlation of one observable between inputs, shape (n, m)."""
        return self._one_kernel(
            (one - self._low) / self._span, (others - self._low) / self._span, q
        )

    def _kernel(self, a: "Tensor", b: "Tensor") -> "Tensor":
        """Return the prior correlation of every observable, shape (q, n, m)."""
        return _near(a / self._scales[:, None, :], b / self._scales[:, None, :])

    def _one_kernel(self, a: "Tensor", b: "Tensor", q: int) -> "Tensor":
        return _near(a / self._scales[q], b / self._scales[q])


def fit_emulator(known: Known, theory: Theory, remembered: Remembered | None) -> Emulator:
    """Return the emulator of the predictions; those over their cost bound are left out.

    Of more than 700 it rests on the first 200 and the latest 500: the design holds it wherever the
    campaign is not, and the latest lie where it is.

    Args:
        known: with at least two predictions.
        theory: its theory.
        remembered: hyperparameters of an earlier one: kept until there are half as many more.
    """
    import torch

    simulations = known.simulations
    usable = np.flatnonzero(~simulations.exceeded)
    rows = usable
    if len(usable) > _MOST_ROWS:
        rows = np.r_[usable[:_FIRST_ROWS], usable[_FIRST_ROWS - _MOST_ROWS :]]
    coordinates = Coordinates(theory, known.space)
    raw = coordinates.of_theta(simulations.x[rows], simulations.theta[rows])
    low, span = _range(raw)
    inputs = (raw - low) / span
    values = torch.as_tensor(simulations.values[rows])
    if (
        remembered is None
        or len(remembered.noise) != values.shape[1]
        or len(remembered.scales[0]) != inputs.shape[1]
        or len(usable) >= _GROWTH * remembered.rows
    ):
        chosen = np.linspace(0, len(rows) - 1, min(len(rows), _FIT_ROWS)).astype(int)
        scales, noise = [], []
        for q in range(values.shape[1]):
            scale, ratio = _hyperparameters(inputs[chosen], values[chosen][:, [q]])
            scales.append(scale)
            noise.append(ratio)
        remembered = Remembered(len(usable), tuple(scales), tuple(noise))
    return Emulator(
        coordinates, raw, values, remembered, torch.as_tensor(simulations.values[usable])
    )


def _near(a: "Tensor", b: "Tensor") -> "Tensor":
    """Return exp(-|a - b|^2 / 2) of all pairs of rows, shape (..., n, m)."""
    squares = (a**2).sum(-1)[..., :, None] + (b**2).sum(-1)[..., None, :]
    near: Tensor = (-0.5 * (squares - 2.0 * a @ b.mT).clamp_min(0.0)).exp()
    return near


def _range(raw: "Tensor") -> "tuple[Tensor, Tensor]":
    import torch

    low, high = raw.min(0).values, raw.max(0).values
    span, size = high - low, torch.maximum(low.abs(), high.abs())
    # an input that does not vary stays where it is
    return low, torch.where(span > _FLAT * size, span, torch.ones_like(span))


def _spread(values: "Tensor") -> "Tensor":
    """Return the standard deviation of each column, shape (q,), above zero in any unit."""
    import torch

    size = values.abs().max(0).values
    floor = _FLAT * torch.where(size > 0, size, torch.ones_like(size))
    return torch.maximum(values.std(0), floor)


def _hyperparameters(inputs: "Tensor", values: "Tensor") -> tuple[tuple[float, ...], float]:
    """Return length scales and the ratio of noise to signal variance, fitted by BoTorch."""
    import torch
    from botorch.exceptions.errors import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.gp_regression import SingleTaskGP
    from gpytorch.kernels import RBFKernel, ScaleKernel
    from gpytorch.mlls import ExactMarginalLogLikelihood
    from gpytorch.priors import GammaPrior, LogNormalPrior

    d = inputs.shape[1]
    spread = values.std()
    if float(spread) <= _FLAT * float(values.abs().max()):
        return (1.0,) * d, 0.1
    kernel = ScaleKernel(
        RBFKernel(ard_num_dims=d, lengthscale_prior=LogNormalPrior(0.5, 1.0)),
        outputscale_prior=GammaPrior(2.0, 0.5),
    )
    kernel.base_kernel.lengthscale = torch.full((1, d), 1.0)
    # BoTorch standardises nothing that varies by less than 1e-8
    model = SingleTaskGP(inputs, (values - values.mean()) / spread, covar_module=kernel)
    model.likelihood.noise = 0.1
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    try:
        fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": _MAX_ITERATIONS}})
    except ModelFittingError:
        return (1.0,) * d, 0.1
    scales = model.covar_module.base_kernel.lengthscale.detach().reshape(-1)
    ratio = float(model.likelihood.noise.detach() / model.covar_module.outputscale.detach())
    return tuple(round(float(s), 6) for s in scales), min(max(round(ratio, 8), 1e-6), 10.0)
