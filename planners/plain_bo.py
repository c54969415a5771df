"""Plain Bayesian optimisation with BoTorch, asynchronous and without theory.

A Gaussian process is fitted to all results, and the next point is where the noisy expected
improvement is largest, given what is still running. Torch is imported in functions only: the
conductor reads this module while no worker is up.
"""

import importlib
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from twinloop.errors import ArgumentError, PlanningFailed
from twinloop.planners.interface import Known, Planner, Proposal
from twinloop.planners.space import Floats

if TYPE_CHECKING:
    from botorch.acquisition.acquisition import AcquisitionFunction
    from botorch.models.gp_regression import SingleTaskGP
    from botorch.models.model_list_gp_regression import ModelListGP
    from torch import Tensor

__all__ = ["PlainBO", "expected_warnings"]

# Figures of PLANNING.md section 2: the same acquisition value at half the cost of the defaults.
_RESTARTS = 4
_RAW_SAMPLES = 128
_MC_SAMPLES = 128
_MAX_ITERATIONS = 200  # of each fit and of each acquisition search: iterations, never time
# A smaller standard deviation, as a share of the spread of the data, makes matrices singular.
_SD_FLOOR = 1e-3
_LIBRARIES = (
    "botorch.acquisition.logei",
    "botorch.fit",
    "botorch.models.model_list_gp_regression",
    "botorch.optim.optimize",
    "gpytorch.mlls",
)
_MEMO = "hyperparameters"
_GAIN = "log_expected_improvement"
_USUAL = (1e-4, 1e4)
"""An objective that varies by less or more is taken in another unit while it is modelled."""


class PlainBO(Planner, name="plain_bo"):
    """Ask where the noisy expected improvement is largest, given what is still running.

    Noise is taken as measured when each result has `y_sd` > 0, and is inferred otherwise. Each
    constraint has a Gaussian process of its own that weights the improvement by the chance of being
    feasible; until one result is feasible, that chance alone is maximised.
    Source: Ament et al., NeurIPS 36, 20577 (2023), for the logarithmic acquisition.

    Args:
        n_initial: Sobol points first, until so many results are in; at least 2.
        device: where torch computes; the same seed gives the same bits on one device only.

    Example:
        >>> planner = PlainBO(space={"substrate_K": (500, 800), "flux_ML_per_s": (0.05, 0.5)}, seed=7)
        >>> point = planner.ask()
        >>> planner.tell(point, y=-0.31, y_sd=0.02)
    """

    version: ClassVar[int] = 2

    n_initial: Annotated[int, Field(ge=2)] = 6
    device: Literal["cpu", "cuda"] = "cpu"

    def prepare(self) -> None:
        """Import torch and botorch.

        Raises:
            ArgumentError: a device that torch does not find here.
        """
        with warnings.catch_warnings():
            # gpytorch and its parts use torch.jit.script, which warns once, on import.
            warnings.simplefilter("ignore", DeprecationWarning)
            for module in _LIBRARIES:
                importlib.import_module(module)
        import torch

        if self.device == "cuda" and not torch.cuda.is_available():
            raise ArgumentError("device", "cuda", "cpu: torch finds no CUDA device here")

    def propose(self, known: Known) -> Proposal:
        """Fit, search, and say what is expected at the point found."""
        import torch
        from botorch.models.model_list_gp_regression import ModelListGP

        unit, known = _in_unit(known)
        with expected_warnings(), torch.device(self.device):
            columns = _columns(known)
            models = {name: _fitted(name, known, *column) for name, column in columns.items()}
            model = ModelListGP(*models.values()) if known.k else models["y"]
            label, gain = _acquisition(known, model)
            x, value = _search(known, gain)
            expected = {name: _expected(fitted, x) for name, fitted in models.items()}
        mean, sd = (unit * part for part in expected.pop("y"))
        if label == _GAIN:
            value += math.log(unit)
        why = {label: value, "mean": mean, "sd": sd, "pending": float(len(known.pending))}
        if expected:
            why["probability_feasible"] = math.prod(_above_zero(*e) for e in expected.values())
        if not np.all(np.isfinite(list(why.values()))):
            raise PlanningFailed(self.name, f"not finite at the point found: {why}")
        memo = {_MEMO: {name: _recall(fitted) for name, fitted in models.items()}}
        return Proposal(x=x, why=why, memo=memo)

    def moments(self, known: Known, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the objective at points, without noise.

        Args:
            known: with two experiments or more.
            x: where, shape (c, d), unit cube.
        """
        import torch

        unit, known = _in_unit(known)
        with expected_warnings(), torch.device(self.device):
            model = _fitted("y", known, known.y, known.y_sd)
            with torch.no_grad():
                there = model.posterior(torch.as_tensor(x))
        mean, variance = there.mean[:, 0].cpu().numpy(), there.variance[:, 0].cpu().numpy()
        return unit * mean, unit * np.sqrt(variance)


@contextmanager
def expected_warnings() -> Iterator[None]:
    """Silence what a fit or a search may say on the way; their failures are exceptions."""
    from botorch.exceptions.warnings import (
        BadInitialCandidatesWarning,
        InputDataWarning,
        NumericsWarning,
        OptimizationWarning,
    )
    from linear_operator.utils.warnings import NumericalWarning  # type: ignore[import-untyped]

    with warnings.catch_warnings():
        for kind in (
            BadInitialCandidatesWarning,  # acquisition flat at each raw sample: it still searches
            InputDataWarning,  # all results equal: nothing to standardise
            NumericsWarning,
            NumericalWarning,  # jitter was added to a diagonal
            OptimizationWarning,  # a fit is retried; ModelFittingError when no attempt succeeds
        ):
            warnings.simplefilter("ignore", kind)
        # The line search gave up at the best point it had; that point is used.
        warnings.filterwarnings("ignore", "Optimization failed", RuntimeWarning)
        yield


def _in_unit(known: Known) -> tuple[float, Known]:
    """Return a unit in which the objective varies by about 1, and what is known in that unit.

    BoTorch standardises nothing that varies by less than 1e-8; usual figures stay as they are.
    """
    spread = float(known.y.std())
    if spread == 0.0 or _USUAL[0] < spread < _USUAL[1]:
        return 1.0, known
    unit = 10.0 ** round(math.log10(spread))
    return unit, replace(known, y=known.y / unit, y_sd=known.y_sd / unit)


def _columns(known: Known) -> dict[str, tuple[Floats, Floats]]:
    """Return each measured column with its standard deviation, both of shape (n, 1).

    Slack is divided by its size, because the acquisition smooths the step at 0 over a fixed width.
    """
    columns = {"y": (known.y, known.y_sd)}
    for j in range(known.k):
        size = float(np.abs(known.slack[:, j]).max()) or 1.0
        columns[f"slack{j}"] = (known.slack[:, [j]] / size, known.slack_sd[:, [j]] / size)
    return columns


def _fitted(name: str, known: Known, y: Floats, y_sd: Floats) -> "SingleTaskGP":
    """Return a Gaussian process for one column, fitted from the remembered hyperparameters on."""
    import torch
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.gp_regression import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    spread = float(y.std()) or 1.0
    noise = None
    if np.all(y_sd > 0):
        noise = torch.as_tensor(np.maximum(y_sd, _SD_FLOOR * spread) ** 2)
    model = SingleTaskGP(torch.as_tensor(known.x), torch.as_tensor(y), noise)
    _warm(model, known.memo.get(_MEMO, {}).get(name, {}))
    likelihood = ExactMarginalLogLikelihood(model.likelihood, model)
    fit_gpytorch_mll(likelihood, optimizer_kwargs={"options": {"maxiter": _MAX_ITERATIONS}})
    return model


def _warm(model: "SingleTaskGP", remembered: Mapping[str, list[float]]) -> None:
    """Start the fit at remembered values; those of another shape or name are left out."""
    import torch

    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = remembered.get(name, [])
            if len(values) == parameter.numel():
                start = torch.tensor(values, dtype=parameter.dtype)
                parameter.copy_(start.reshape(parameter.shape))


def _recall(model: "SingleTaskGP") -> dict[str, list[float]]:
    """Return the fitted raw parameters as JSON."""
    return {
        name: [float(value) for value in parameter.detach().reshape(-1)]
        for name, parameter in model.named_parameters()
    }


def _expected(model: "SingleTaskGP", x: Floats) -> tuple[float, float]:
    """Return the posterior mean and standard deviation at `x`, shape (d,), without noise."""
    import torch

    with torch.no_grad():
        there = model.posterior(torch.as_tensor(x).unsqueeze(0))
    return there.mean.item(), there.variance.sqrt().item()


def _above_zero(mean: float, sd: float) -> float:
    """Return the chance that a normal variable is >= 0."""
    return 0.5 * math.erfc(-mean / max(sd, 1e-300) / math.sqrt(2.0))


def _acquisition(known: Known, model: "SingleTaskGP | ModelListGP") -> tuple[str, Any]:
    """Return the acquisition to maximise, after its name in `why`."""
    import torch
    from botorch.acquisition.logei import (
        qLogNoisyExpectedImprovement,
        qLogProbabilityOfFeasibility,
    )
    from botorch.acquisition.objective import GenericMCObjective
    from botorch.sampling.normal import SobolQMCNormalSampler

    sampler = SobolQMCNormalSampler(torch.Size([_MC_SAMPLES]), seed=known.seed % 2**31)
    pending = torch.as_tensor(known.pending) if len(known.pending) else None
    constraints = [_violation(1 + j) for j in range(known.k)] or None
    if constraints and not np.any(np.all(known.slack >= 0, axis=1)):
        return "log_probability_of_feasibility", qLogProbabilityOfFeasibility(
            model, constraints, sampler=sampler, X_pending=pending
        )
    return _GAIN, qLogNoisyExpectedImprovement(
        model,
        X_baseline=torch.as_tensor(known.x),
        sampler=sampler,
        objective=GenericMCObjective(_first) if constraints else None,
        constraints=constraints,
        X_pending=pending,
        prune_baseline=True,
    )


def _first(samples: "Tensor", X: "Tensor | None" = None) -> "Tensor":  # noqa: ARG001
    return samples[..., 0]


def _violation(column: int) -> Any:
    """Return a function that is <= 0 where the slack in `column` of the samples is >= 0."""

    def negative_slack(samples: "Tensor") -> "Tensor":
        return -samples[..., column]

    return negative_slack


def _search(known: Known, gain: "AcquisitionFunction") -> tuple[Floats, float]:
    """Return where in the cube the acquisition is largest, shape (d,), and its value there."""
    import torch
    from botorch.optim.optimize import optimize_acqf

    cube = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, known.d)
    best, value = optimize_acqf(
        gain,
        cube,
        q=1,
        num_restarts=_RESTARTS,
        raw_samples=_RAW_SAMPLES,
        options={"maxiter": _MAX_ITERATIONS},
    )
    return best[0].cpu().numpy(), float("nan") if value is None else value.item()
