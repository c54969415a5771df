"""Whether an experiment came near the best: by the surrogate where it is sure, else by growths."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from twinloop.agents.bench.growths import Growths
from twinloop.agents.bench.reference import Reference
from twinloop.agents.bench.surrogate import Surrogate
from twinloop.agents.bench.task import OBJECTIVE
from twinloop.agents.bench.truth import Thermocouple
from twinloop.ids import seed_of
from twinloop.planners.space import Space

__all__ = ["EmulatedJudge", "Judge", "RealJudge"]

_SURE = 3.0  # standard deviations
_BATCH = 4
SURROGATE_BIAS = 0.03
"""Error of a surrogate that its own deviation does not tell, as a part of the best value.

In two trial searches the surrogate stood 0.016 and 0.006 above fresh growths at its maximum of 0.49
and 0.34, five and two of its own deviations."""


class Judge(Protocol):
    """Knows the truth of one world."""

    @property
    def best(self) -> float:
        """The best expected quality that is possible [1]."""
        ...

    def expected(self, point: Mapping[str, float]) -> float:
        """Return the expected quality of an experiment at the knobs of the operator [1]."""
        ...


class RealJudge:
    """Judges by real growths.

    Args:
        reference: of the truth.
        growths: the simulator.
        space: of the knobs, as the film feels them.
        thermocouple: from the knobs of the operator to those.
        within: an experiment counts when it is so near the best, as a part of it.
        replicates: growths at most.
        seed: of the growths.
    """

    def __init__(
        self,
        reference: Reference,
        growths: Growths,
        space: Space,
        thermocouple: Thermocouple,
        within: float,
        replicates: int,
        seed: int,
    ) -> None:
        self._reference, self._growths, self._space = reference, growths, space
        self._thermocouple, self._replicates, self._seed = thermocouple, replicates, seed
        self._threshold = (1.0 - within) * reference.best
        self._surrogate = reference.surrogate()
        self.best = reference.best

    def expected(self, point: Mapping[str, float]) -> float:
        """Return the expected quality; it is sharp only where it matters."""
        knobs = self._thermocouple.knobs(point)
        at = self._space.to_cube(knobs)[None, :]
        mean, sd = self._surrogate.predict(OBJECTIVE, at)
        scatter = float(self._surrogate.scatter(OBJECTIVE, at)[0])
        unsure = float(np.hypot(sd[0], SURROGATE_BIAS * self.best))
        if abs(mean[0] - self._threshold) > _SURE * unsure:
            return float(mean[0])
        found: list[float] = []
        while len(found) < self._replicates:
            found += [self._grow(knobs, k) for k in range(len(found), len(found) + _BATCH)]
            error = max(float(np.std(found, ddof=1)), scatter) / len(found) ** 0.5
            if abs(np.mean(found) - self._threshold) > _SURE * error:
                break
        return float(np.mean(found))

    def _grow(self, knobs: Mapping[str, float], k: int) -> float:
        seed = seed_of(self._seed, "replicate", k)
        return self._growths.grow(knobs, self._reference.theta, seed).values[OBJECTIVE]


class EmulatedJudge:
    """Judges a world that is a surrogate by that surrogate.

    Args:
        surrogate: of the truth.
        thermocouple: from the knobs of the operator to those.
    """

    def __init__(self, surrogate: Surrogate, thermocouple: Thermocouple) -> None:
        self._surrogate, self._thermocouple = surrogate, thermocouple
        self.best = _maximum(surrogate)

    def expected(self, point: Mapping[str, float]) -> float:
        """Return the surrogate's mean."""
        at = self._surrogate.space.to_cube(self._thermocouple.knobs(point))[None, :]
        return float(self._surrogate.predict(OBJECTIVE, at)[0][0])


def _maximum(surrogate: Surrogate) -> float:
    """Return the largest mean over the cube, by rounds of ever closer random places."""
    rng = np.random.default_rng(0)
    places = rng.random((4096, surrogate.space.d))
    for width in (0.1, 0.03, 0.01, 0.003):
        mean, _ = surrogate.predict(OBJECTIVE, places)
        top = places[np.argsort(-mean)[:16]]
        moved = np.repeat(top, 64, axis=0)
        moved = np.clip(moved + width * rng.standard_normal(moved.shape), 0.0, 1.0)
        places = np.vstack([top, moved])
    return float(surrogate.predict(OBJECTIVE, places)[0].max())
