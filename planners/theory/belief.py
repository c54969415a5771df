"""The belief about the objective with theory: samples of calibrated theory, each with a discrepancy.

Everything here is turned so that large is good.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from twinloop.planners.known import Known
from twinloop.planners.simulations import Theory
from twinloop.planners.space import Floats
from twinloop.planners.theory.calibration import Calibration, measured
from twinloop.planners.theory.discrepancy import Discrepancy, learn
from twinloop.planners.theory.emulator import Emulator
from twinloop.planners.theory.loss import kept

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TheoryBelief", "believe"]

_SAMPLES = 32


@dataclass
class TheoryBelief:
    """What theory and all experiments say of the objective.

    Args:
        emulator, calibration, discrepancy: its parts.
        z: the samples that are used, shape (s, t).
        loss: the unknown loss of each, shape (s, 1 + d).
        sign: -1 where the objective is to be small.
        x: where experiments are, shape (n, d).
    """

    emulator: Emulator
    calibration: Calibration
    discrepancy: Discrepancy
    z: Floats
    loss: Floats
    sign: float
    x: Floats

    def theory(self, x: Floats) -> "Tensor":
        """Return bare theory of every sample, shape (s, c)."""
        return _theory(self.emulator, x, self.z, self.sign)

    def calibrated(self, x: Floats) -> "Tensor":
        """Return what theory and the loss that it does not know leave, of every sample, (s, c)."""
        return _with_loss(self.emulator, x, self.z, self.loss, self.sign)

    def emulator_sd(self, x: Floats) -> "Tensor":
        """Return the emulator's error at the middle of the samples, shape (c,)."""
        middle = np.tile(self.z.mean(axis=0), (len(x), 1))
        return self.emulator.sd(self.emulator.coordinates.of(x, middle), 0)

    def samples(self, x: Floats) -> tuple["Tensor", "Tensor"]:
        """Return the objective of every sample (s, c), and the discrepancy left within one (c,).

        The emulator's error is not in it: it is not the machine's to answer.
        """
        import torch

        f = self.calibrated(x)
        shift, variance = self.discrepancy.at(torch.as_tensor(x), f.mean(0))
        return f + shift, variance.sqrt()

    def moments(self, x: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of the objective, without noise, shape (c,) each."""
        means, within = self.samples(x)
        spread = means.var(0, unbiased=False) + within**2 + self.emulator_sd(x) ** 2
        return means.mean(0).cpu().numpy(), spread.sqrt().cpu().numpy()

    @cached_property
    def best_measured(self) -> "Tensor":
        """The largest expected objective at an experiment, of every sample, shape (s,).

        Before the first experiment it is the worst that was simulated: anything is an improvement.
        """
        import torch

        if len(self.x) == 0:
            worst = self.sign * self.emulator.worst(is_maximised=self.sign > 0)
            return torch.full((len(self.z),), worst, dtype=torch.float64)
        return self.samples(self.x)[0].max(dim=1).values


def _theory(emulator: Emulator, x: Floats, z: Floats, sign: float) -> "Tensor":
    import torch

    s, c = len(z), len(x)
    inputs = emulator.coordinates.of(np.tile(x, (s, 1)), np.repeat(z, c, axis=0))
    with torch.no_grad():
        return sign * emulator.mean(inputs, 0).reshape(s, c)


def _with_loss(emulator: Emulator, x: Floats, z: Floats, loss: Floats, sign: float) -> "Tensor":
    import torch

    worst = sign * emulator.worst(is_maximised=sign > 0)
    f = _theory(emulator, x, z, sign)
    return worst + (f - worst) * kept(x, torch.as_tensor(loss))


def believe(
    known: Known, theory: Theory, emulator: Emulator, calibration: Calibration
) -> TheoryBelief:
    """Return the belief; a pure function of its arguments."""
    every = max(1, len(calibration.z) // _SAMPLES)
    z, loss = calibration.z[::every][:_SAMPLES], calibration.loss[::every][:_SAMPLES]
    sign = 1.0 if theory.is_maximised else -1.0
    own = measured(known, theory, emulator.scatter.cpu().numpy())
    f = _with_loss(emulator, known.x, z, loss, sign).cpu().numpy()
    middle = np.tile(z.mean(axis=0), (known.n, 1))
    error = (
        emulator.sd(emulator.coordinates.of(known.x, middle), 0).cpu().numpy()
        if known.n
        else np.zeros(0)
    )
    discrepancy = learn(
        known.x,
        known.y[:, 0],
        own.sd[:, 0] ** 2 + error**2,
        f,
        scale=float(emulator.spread[0]),
        worst=sign * emulator.worst(is_maximised=sign > 0),
    )
    return TheoryBelief(emulator, calibration, discrepancy, z, loss, sign, known.x)
