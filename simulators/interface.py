"""Write a simulator: physics that predicts what an experiment would give, x and theta to numbers.

A simulator is one class in one file. `x` is what an operator chooses (the knobs), `theta` what
nobody knows exactly (barriers, offsets). It adds no noise: two calls with the same arguments and
seed return the same bits, so a lost task may simply be run again. Fields are settings, read from
the campaign file::

    from collections.abc import Callable, Mapping

    from twinloop.simulators.interface import Prediction, Simulator


    class Spring(
        Simulator,
        name="spring",
        knobs=("force_N",),
        beliefs=("stiffness_N_per_m",),
        predicts=("length_m",),
    ):
        '''Hooke's law.'''

        drag: float = 0.0

        def simulate(
            self,
            x: Mapping[str, float],
            theta: Mapping[str, float],
            seed: int,
            cancel: Callable[[], bool] | None = None,
            partial: Callable[[Mapping[str, float]], None] | None = None,
        ) -> Prediction:
            self.check(x, theta)
            return Prediction(scalars={"length_m": x["force_N"] / theta["stiffness_N_per_m"]})

What stands in `predicts` is compared with fields of the same name of a protocol's Outcome. Raise
`version` when the same arguments would give another answer. `coordinates` may name the combinations
of knobs and beliefs on which the answer depends (dimensionless groups, as arithmetic): an emulator
needs far fewer simulations then; `absent` says what stands for a belief that is left out.

Five rules. Look at `cancel` at least every 0.5 s and raise `Cancelled` when it says True: a
simulation that cannot win any more is stopped. Bound the cost of any point, and say
`budget_exceeded` when the bound was reached. Compile loops with `simulators.compiled`, which
releases the interpreter lock. Never read the clock, a file or a global generator. Where a simulation
lasts long, tell `partial` now and then how far it is: `{"done": 0.4}` and what is known by then.

A simulator is found by its name once its module is imported, by an entry point of the group
`twinloop.simulators`, or as `module:Name` (`find_simulator`).
"""

import inspect
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from twinloop.errors import ArgumentError, LabError
from twinloop.ids import digest_of
from twinloop.plugins import find_class

__all__ = ["Cancelled", "Partial", "Prediction", "Simulator", "code_of", "find_simulator"]

Partial = Callable[[Mapping[str, float]], None]
"""Takes intermediate scalars: `done` from 0 to 1, and what is known by then."""


class Cancelled(LabError):
    """A simulation that was stopped by its cancel flag; it has no result."""

    def __init__(self, simulator: str, done: float) -> None:
        self.simulator, self.done = simulator, done
        super().__init__(
            f"{simulator}: cancelled after {done:.0%} of its work; run it again for a result"
        )


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a simulator says an experiment would give, without noise.

    Args:
        scalars: quantities by name, the unit in the name.
        arrays: traces and images by name.
        budget_exceeded: the cost bound was reached; the numbers are a hint, not a prediction.
    """

    scalars: Mapping[str, float]
    arrays: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    budget_exceeded: bool = False


class Simulator(BaseModel, ABC):
    """Base of every simulator; a subclass's fields are its settings.

    A subclass gives `name` (how a campaign file calls it), `knobs` (the keys of x) and `beliefs`
    (the keys of theta) as class arguments; `optional` names the only beliefs that may be left out,
    `predicts` the scalars that an experiment may be compared with, and `coordinates`, `absent` and
    `version` are those of the module's text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str] = ""
    knobs: ClassVar[tuple[str, ...]] = ()
    beliefs: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()
    predicts: ClassVar[tuple[str, ...]] = ()
    coordinates: ClassVar[Mapping[str, str]] = {}
    absent: ClassVar[Mapping[str, float]] = {}
    version: ClassVar[int] = 1

    def __init_subclass__(
        cls,
        name: str = "",
        knobs: tuple[str, ...] = (),
        beliefs: tuple[str, ...] = (),
        optional: tuple[str, ...] = (),
        predicts: tuple[str, ...] = (),
        coordinates: Mapping[str, str] | None = None,
        absent: Mapping[str, float] | None = None,
        version: int = 1,
    ) -> None:
        """Register the subclass under its name."""
        super().__init_subclass__()
        if name:
            cls.name, cls.knobs, cls.beliefs, cls.optional = name, knobs, beliefs, optional
            cls.predicts, cls.version = predicts, version
            cls.coordinates, cls.absent = dict(coordinates or {}), dict(absent or {})
            _REGISTRY[name] = cls

    @abstractmethod
    def simulate(
        self,
        x: Mapping[str, float],
        theta: Mapping[str, float],
        seed: int,
        cancel: Callable[[], bool] | None = None,
        partial: Partial | None = None,
    ) -> Prediction:
        """Return what an experiment at `x` would give if the world were `theta`.

        Args:
            x: one value for each of `knobs`, in the unit of its name.
            theta: one value for each of `beliefs`, in the unit of its name.
            seed: of the simulation's own randomness.
            cancel: looked at every 0.5 s at least; None: never cancelled.
            partial: called now and then with intermediate scalars, `{"done": 0 to 1, ...}`;
                None: nobody listens.

        Raises:
            ArgumentError: a key that is missing, unknown or not finite.
            Cancelled: `cancel` said True.
        """
        raise NotImplementedError

    def check(self, x: Mapping[str, float], theta: Mapping[str, float]) -> None:
        """Refuse keys that are missing or unknown, and values that are not finite.

        Raises:
            ArgumentError: naming the key.
        """
        for given, needed, optional in ((x, self.knobs, ()), (theta, self.beliefs, self.optional)):
            for key in needed:
                if key not in given and key not in optional:
                    raise ArgumentError(f"{self.name}.{key}", None, "a value: it is missing")
            for key, value in given.items():
                if key not in needed:
                    raise ArgumentError(f"{self.name}.{key}", value, f"one of {list(needed)}")
                if not np.isfinite(value):
                    raise ArgumentError(f"{self.name}.{key}", value, "a finite number")


_REGISTRY: dict[str, type[Simulator]] = {}


def find_simulator(name: str) -> type[Simulator]:
    """Return a simulator class by its name, its entry point, or as `module:Name`.

    Raises:
        ArgumentError: nothing of that name.
    """
    return find_class("simulators", name, Simulator, _REGISTRY, key="simulator")  # type: ignore[type-abstract]


def code_of(simulator: type[Simulator]) -> str:
    """Return which code predicts: "name vVERSION DIGEST", for the journal.

    The digest (16 hexadecimal figures) is of the source text of the class's module; what that
    module imports is not in it, so raise `version` when a change there changes the answers.
    """
    try:
        source = inspect.getsource(sys.modules[simulator.__module__])
    except (OSError, TypeError):  # defined where no source file is kept, as in a session
        source = simulator.simulate.__code__.co_code.hex()
    return f"{simulator.name} v{simulator.version} {digest_of(source.encode())[:16]}"
