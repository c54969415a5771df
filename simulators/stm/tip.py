"""A tip: where its apex atoms are, how blunt it is, how clean, and what makes it another one.

A tip is a value: whatever happens to it (`TipRules`) returns another tip, and the one before stays as
it was. So an instrument can keep the tip in its state and journal each change.

The rates are stand-ins of the right order (a stable tip lasts hours, a fast one over steps minutes);
no measured law exists for them.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["Tip", "TipChange", "TipEvent", "TipRules"]


class TipEvent(StrEnum):
    """What happened to a tip."""

    CHANGED = "changed"
    CRASHED = "crashed"
    CONDITIONED = "conditioned"
    MADE_WORSE = "made_worse"


@dataclass(frozen=True, slots=True)
class Tip:
    """Apex atoms at the end of a wire.

    Args:
        apexes: x, y, z [A] and weight [1] of each atom that carries current, from the tip's
            position; z > 0 lies farther from the surface; the first is (0, 0, 0, 1).
        radius_A: of the sphere whose centre the wave functions are taken at [A], >= 0; 0 is an atom
            that sees all detail.
        work_function_eV: of the tip [eV]; contamination lowers it, and with it the decay.
        contamination: coverage of the apex [1], 0 to 1; it adds noise to the current.

    Raises:
        ArgumentError: no apex, a weight that is not positive, or a number outside its range.

    Example:
        >>> Tip().is_single, Tip.double((6.0, 1.0), depth_A=0.3).is_single
        (True, False)
    """

    apexes: tuple[tuple[float, float, float, float], ...] = ((0.0, 0.0, 0.0, 1.0),)
    radius_A: float = 0.0
    work_function_eV: float = 4.5
    contamination: float = 0.0

    def __post_init__(self) -> None:
        if not self.apexes or not all(len(a) == 4 and a[3] > 0 for a in self.apexes):
            raise ArgumentError("apexes", self.apexes, "(x, y, z, weight > 0), one or more")
        if not 0.0 <= self.radius_A <= 1.0e4:
            raise ArgumentError("radius_A", self.radius_A, "a number >= 0 A")
        if not 0.1 <= self.work_function_eV <= 10.0:
            raise ArgumentError("work_function_eV", self.work_function_eV, "0.1 to 10 eV")
        if not 0.0 <= self.contamination <= 1.0:
            raise ArgumentError("contamination", self.contamination, "0 to 1")

    @classmethod
    def double(
        cls, apart_A: tuple[float, float], *, depth_A: float = 0.0, radius_A: float = 0.0
    ) -> "Tip":
        """Return a tip with a second atom, `depth_A` higher: images show everything twice."""
        second = (apart_A[0], apart_A[1], depth_A, 1.0)
        return cls(((0.0, 0.0, 0.0, 1.0), second), radius_A)

    @property
    def is_single(self) -> bool:
        """Whether one atom carries the current."""
        return len(self.apexes) == 1

    def table(self, decay_per_A: float) -> NDArray[np.float64]:
        """Return the rows that kernels read: x, y, z of the centre [A], ln weight; shape (a, 4).

        The wave is taken a radius above the apex, and its fall over that way is given back, so that
        a blunt tip has less contrast and not less current (Tersoff & Hamann 1985: I goes as
        exp(2 kappa R) |psi|^2 at the centre).

        Args:
            decay_per_A: kappa of the barrier [1/A].
        """
        rows = np.array(self.apexes, dtype=np.float64)
        rows[:, 3] = np.log(rows[:, 3]) + 2.0 * decay_per_A * self.radius_A
        rows[:, 2] += self.radius_A
        return rows


@dataclass(frozen=True, slots=True)
class TipChange:
    """One event.

    Args:
        event: what happened.
        tip: the tip since then.
        severity: how much, 0 (hardly) to 1.
    """

    event: TipEvent
    tip: Tip
    severity: float


@dataclass(frozen=True, slots=True)
class TipRules:
    """How tips change; every method is pure and takes its source of randomness.

    Args:
        rest_per_s: rate of spontaneous changes [1/s].
        current_per_s_nA: rate added by each nA of current [1/s/nA].
        step_per_A: changes expected for each angstrom of height climbed [1/A].
        contact_A: a tip lower than this above the top atoms has crashed [A].
        heal_V: bias from which a pulse cleans the apex, about half of the times [V].

    Example:
        >>> rules = TipRules()
        >>> rules.expected(duration_s=100.0, current_nA=0.1, climbed_A=0.0) < 0.01
        True
        >>> rules.crashed(Tip(), depth_A=2.0, rng=np.random.default_rng(1)).event.value
        'crashed'
    """

    rest_per_s: float = 2.0e-5
    current_per_s_nA: float = 1.0e-4
    step_per_A: float = 1.0e-5
    contact_A: float = 2.5
    heal_V: float = 4.0

    def expected(self, *, duration_s: float, current_nA: float, climbed_A: float) -> float:
        """Return the mean number of changes during a piece of scan [1].

        Args:
            duration_s: [s].
            current_nA: mean of its absolute value [nA].
            climbed_A: sum of |dz| that the tip followed [A].
        """
        rate_per_s = self.rest_per_s + self.current_per_s_nA * current_nA
        return rate_per_s * duration_s + self.step_per_A * climbed_A

    def after(
        self,
        tip: Tip,
        *,
        duration_s: float,
        current_nA: float,
        climbed_A: float,
        rng: np.random.Generator,
    ) -> TipChange | None:
        """Return the change during a piece of scan (a Poisson process), or None; see `expected`."""
        mean = self.expected(duration_s=duration_s, current_nA=current_nA, climbed_A=climbed_A)
        if rng.random() >= -np.expm1(-mean):
            return None
        return self.changed(tip, rng)

    def changed(self, tip: Tip, rng: np.random.Generator) -> TipChange:
        """Return a spontaneous change: an atom jumps to, on, or off the apex."""
        severity = float(rng.beta(1.5, 3.0))
        height_A = float(rng.normal(0.0, 0.6 + severity))
        others = [a for a in tip.apexes[1:] if rng.random() < 0.5]
        if rng.random() < 0.5:
            others.append(_neighbour(rng, spread_A=4.0 + 12.0 * severity))
        apexes = ((0.0, 0.0, 0.0, 1.0), *others)
        dirt = float(np.clip(tip.contamination + rng.normal(0.0, 0.15), 0.0, 1.0))
        changed = replace(
            tip,
            apexes=apexes,
            radius_A=float(np.clip(tip.radius_A + 0.3 * height_A, 0.0, 50.0)),
            contamination=dirt,
            work_function_eV=_barrier(dirt),
        )
        return TipChange(TipEvent.CHANGED, changed, severity)

    def crashed(self, tip: Tip, *, depth_A: float, rng: np.random.Generator) -> TipChange:
        """Return what a crash leaves: blunt, with several apexes, dirty.

        Args:
            tip: before.
            depth_A: how far below `contact_A` it went [A].
            rng: the source of chance.
        """
        severity = float(np.clip(depth_A / 5.0, 0.1, 1.0))
        count = 1 + int(rng.poisson(2.0 * severity))
        others = tuple(_neighbour(rng, spread_A=5.0 + 20.0 * severity) for _ in range(count))
        dirt = float(np.clip(tip.contamination + severity * rng.uniform(0.3, 0.8), 0.0, 1.0))
        blunt = Tip(
            ((0.0, 0.0, 0.0, 1.0), *others),
            min(tip.radius_A + 1.0 + 6.0 * severity * rng.random(), 1.0e3),
            _barrier(dirt),
            dirt,
        )
        return TipChange(TipEvent.CRASHED, blunt, severity)

    def conditioned(self, tip: Tip, *, pulse_V: float, rng: np.random.Generator) -> TipChange:
        """Return the tip after a bias pulse: better or worse, surely another one when it is strong.

        Args:
            tip: before.
            pulse_V: height of the pulse [V]; weak ones do nothing much.
            rng: the source of chance.
        """
        strength = 1.0 / (1.0 + np.exp(-2.0 * (abs(pulse_V) - self.heal_V)))
        if rng.random() < 0.65 * strength:
            clean = Tip(radius_A=float(rng.uniform(0.0, 1.5)), work_function_eV=_barrier(0.0))
            return TipChange(TipEvent.CONDITIONED, clean, float(strength))
        if rng.random() < strength:
            worse = self.crashed(tip, depth_A=2.0, rng=rng)
            return TipChange(TipEvent.MADE_WORSE, worse.tip, worse.severity)
        return TipChange(TipEvent.CONDITIONED, tip, 0.0)


def _barrier(contamination: float) -> float:
    """Return the apparent work function of a tip with dirt [eV]: 4.5 clean, 1.5 covered."""
    return 4.5 - 3.0 * contamination


def _neighbour(rng: np.random.Generator, *, spread_A: float) -> tuple[float, float, float, float]:
    """Return another apex atom, a little higher than the first."""
    angle, far_A = rng.uniform(0.0, 2.0 * np.pi), 2.5 + rng.exponential(spread_A)
    return (
        float(far_A * np.cos(angle)),
        float(far_A * np.sin(angle)),
        float(rng.exponential(0.8)),
        1.0,
    )
