"""The contract of a protocol: what one trial does.

    class Growth(Point):                      # the search space is exactly these fields
        substrate_K: Kelvin

    class Film(Outcome):                      # goals and constraints are among these
        roughness_ML: Monolayers

    @protocol(version=1)
    async def grow_film(trial: Trial[Growth], mbe: MBE, analyst: RHEEDAnalyst) -> Film:
        await mbe.heat(substrate_K=trial.point.substrate_K)
        grown, trace = await together(mbe.grow(...), rheed.record(...))
        ...

Arguments after `trial` are injected by type: an `Instrument` class stands for the instrument of the
laboratory with that name (or the only one of that kind), an `Analyst` class for a compute agent. Each
awaited line is one *step*: done once, kept in the journal, never repeated after a crash. Only such
steps, `together` and your own coroutines made of them can be awaited; anything else is an error at
that line. Draw random numbers from `trial.rng`, read the time from `trial.now`: after a crash your
code runs again from its first line, with the recorded results, and must take the same way.

A step that certainly had no effect raises `StepFailed`, which a protocol may catch.
"""

import hashlib
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints, overload

import numpy as np
from pydantic import BaseModel, ConfigDict

from twinloop.errors import ArgumentError, LabError
from twinloop.ids import canonical_json, digest_of, seed_of
from twinloop.instruments.interface import Instrument

__all__ = [
    "ForeignAwait",
    "Outcome",
    "Point",
    "Protocol",
    "Step",
    "Together",
    "Trial",
    "protocol",
    "together",
]


class Point(BaseModel):
    """What a trial is asked to try; its fields are the search space."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(BaseModel):
    """What a trial found; goals and constraints are among its fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


PointT = TypeVar("PointT", bound=Point)
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")


class ForeignAwait(LabError):
    """A protocol awaited something that is no step of twinloop."""

    def __init__(self, found: object) -> None:
        self.found = found
        super().__init__(
            f"a protocol awaited {type(found).__name__}; allowed: actions and readouts of instruments, "
            "quantities of analysts, trial.release() and together(...); "
            "put other waiting into an instrument's action"
        )


Verb = Literal["act", "read", "compute", "release"]


@dataclass(frozen=True)
class Step(Awaitable[Any]):
    """One awaited line: what is asked of whom.

    Args:
        verb: physical action, readout, computation, or giving instruments back.
        target: parameter name of the instrument or analyst in the protocol.
        method: name of the action, readout or quantity.
        arguments: keyword arguments; arrays stand as ArrayRefs.
        returns: annotated type of the result.
    """

    verb: Verb
    target: str
    method: str
    arguments: Mapping[str, Any]
    returns: object = field(default=None, compare=False)

    def __await__(self) -> Generator[Any, Any, Any]:
        """Hand the step to the stepper and wait for its result."""
        return (yield self)

    @property
    def name(self) -> str:
        """Return target.method."""
        return f"{self.target}.{self.method}"

    def digest(self) -> str:
        """Return the digest of verb, name and arguments: the identity of the step at its path."""
        body = {"verb": self.verb, "name": self.name, "arguments": plain(dict(self.arguments))}
        return digest_of(canonical_json(body))[:16]


def plain(value: Any) -> Any:
    """Return step arguments as JSON: an array reference becomes {"$array": its description}."""
    if isinstance(value, BaseModel):
        described = value.model_dump(mode="json")
        return (
            {"$array": described} if "digest" in described and "dtype" in described else described
        )
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    return value


@dataclass(frozen=True)
class Together(Awaitable[Any]):
    """Branches that run side by side, each with its own path."""

    branches: tuple[Awaitable[Any], ...]

    def __await__(self) -> Generator[Any, Any, Any]:
        """Hand the branches to the stepper and wait for all results."""
        return (yield self)


@overload
def together(a: Awaitable[T1], b: Awaitable[T2], /) -> Awaitable[tuple[T1, T2]]: ...
@overload
def together(
    a: Awaitable[T1], b: Awaitable[T2], c: Awaitable[T3], /
) -> Awaitable[tuple[T1, T2, T3]]: ...
@overload
def together(*branches: Awaitable[T]) -> Awaitable[tuple[T, ...]]: ...
def together(*branches: Awaitable[Any]) -> Awaitable[tuple[Any, ...]]:
    """Run branches side by side; return their results in order.

    When a branch raises, the others still run to their end; then the first error, in order of the
    branches, is raised.
    """
    return Together(branches)


class Trial(Generic[PointT]):
    """What a protocol knows of its trial.

    Args:
        id: identity in the journal ("t0007").
        point: what to try.
        sample: identity of the sample it makes.
        seed: seed of `rng`; the same after a crash.
        now: laboratory-independent time of the last result, seconds since the campaign began [s].
    """

    def __init__(self, *, id: str, point: PointT, sample: str, seed: int) -> None:  # noqa: A002
        self.id, self.point, self.sample = id, point, sample
        self.rng = np.random.default_rng(seed)
        self.now = 0.0

    def release(self, *instruments: object) -> Awaitable[None]:
        """Give instruments back before the trial ends, so that the next trial may use them."""
        names = [vars(i).get("_target", "") for i in instruments]
        return Step("release", "trial", "release", {"instruments": names})


class Proxy:
    """Stands for an instrument or an analyst inside a protocol; each call makes a Step.

    Args:
        target: parameter name in the protocol.
        calls: for each method: the verb, a check of the arguments, and the type of the result.
    """

    def __init__(
        self,
        target: str,
        calls: Mapping[str, tuple[Verb, Callable[[Mapping[str, Any]], Mapping[str, Any]], object]],
    ) -> None:
        self._target, self._calls = target, calls

    def __getattr__(self, name: str) -> Callable[..., Step]:
        """Return a function that makes the step.

        Raises:
            ArgumentError: no such action, readout or quantity.
        """
        call = self._calls.get(name)
        if call is None:
            raise ArgumentError(f"{self._target}.{name}", name, f"one of {sorted(self._calls)}")
        verb, check, returns = call

        def make(**arguments: Any) -> Step:
            return Step(verb, self._target, name, dict(check(arguments)), returns)

        return make


class Protocol(Generic[PointT]):
    """A protocol function, its types and its identity; made by `@protocol`.

    Attributes:
        name: name of the function.
        version: number given by the author; the journal keeps it.
        source_digest: digest of the source text; the journal keeps it.
        point_type, outcome_type: what it tries and what it finds.
        parameters: class of each instrument and analyst by parameter name.
        looks: parameter of the instrument that each look takes, by the field of the Point that asks
            for it.
    """

    def __init__(
        self,
        function: Callable[..., Awaitable[Outcome]],
        version: int,
        looks: Mapping[str, str] | None = None,
    ) -> None:
        self.function, self.version = function, version
        self.name = function.__name__
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__
        try:
            source = inspect.getsource(function)
        except OSError:  # defined where no source file is kept, as in an interactive session
            source = function.__code__.co_code.hex()
        self.source_digest = hashlib.blake2b(source.encode(), digest_size=16).hexdigest()
        hints = get_type_hints(function)
        names = list(inspect.signature(function).parameters)
        trial = hints.get(names[0]) if names else None
        points = get_args(trial) if get_origin(trial) is Trial else ()
        outcome = hints.get("return")
        if not points or not issubclass(points[0], Point):
            raise ArgumentError(f"{self.name}: first argument", trial, "trial: Trial[YourPoint]")
        if not (isinstance(outcome, type) and issubclass(outcome, Outcome)):
            raise ArgumentError(f"{self.name}: return", outcome, "a subclass of Outcome")
        self.point_type: type[PointT] = points[0]
        self.outcome_type: type[Outcome] = outcome
        self.parameters: dict[str, type] = {}
        for name in names[1:]:
            hint = hints.get(name)
            if not isinstance(hint, type):
                raise ArgumentError(f"{self.name}: {name}", hint, "an Instrument or Analyst class")
            self.parameters[name] = hint
        self.looks = dict(looks or {})
        for axis, parameter in self.looks.items():
            if axis not in self.point_type.model_fields:
                allowed = f"fields of {self.point_type.__name__}"
                raise ArgumentError(f"{self.name}: looks", axis, allowed)
            if parameter not in self.instruments():
                allowed = f"one of its instruments: {', '.join(self.instruments())}"
                raise ArgumentError(f"{self.name}: looks.{axis}", parameter, allowed)

    def instruments(self) -> dict[str, type[Instrument]]:
        """Return the instrument classes by parameter name."""
        return {n: c for n, c in self.parameters.items() if issubclass(c, Instrument)}

    def analysts(self) -> dict[str, type]:
        """Return the analyst classes by parameter name."""
        return {n: c for n, c in self.parameters.items() if not issubclass(c, Instrument)}

    def proxies(self) -> dict[str, Proxy]:
        """Return what is injected for each parameter."""
        return {name: _proxy(name, kind) for name, kind in self.parameters.items()}

    def begin(self, trial: Trial[PointT]) -> Any:
        """Return the coroutine of a trial, not yet started."""
        return self.function(trial, **self.proxies())


def _proxy(target: str, kind: type) -> Proxy:
    calls: dict[str, tuple[Verb, Callable[[Mapping[str, Any]], Mapping[str, Any]], object]] = {}
    if issubclass(kind, Instrument):
        for name, method in kind.actions().items():
            spec = method.spec
            calls[name] = ("act", _checker(spec.check, f"{target}.{name}"), spec.returns)
        for name, reading in kind.readouts().items():
            returns = get_type_hints(reading.function, include_extras=True).get("return")
            calls[name] = ("read", dict, returns)
    else:
        quantities: Mapping[str, Callable[..., Any]] = getattr(kind, "quantities", dict)()
        for name, function in quantities.items():
            returns = get_type_hints(function, include_extras=True).get("return")
            calls[name] = ("compute", dict, returns)
    return Proxy(target, calls)


def _checker(
    check: Callable[[Mapping[str, object], str], dict[str, object]], where: str
) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    return lambda arguments: check(arguments, where)


def protocol(
    *, version: int, looks: Mapping[str, str] | None = None
) -> Callable[[Callable[..., Any]], Protocol[Any]]:
    """Make an `async def` a protocol.

    Args:
        version: raise it when you change what a trial does; running trials keep the old one.
        looks: fields of the Point that ask for a look at 0.5 and above, each with the parameter of the
            instrument that looks; a planner weighs them by what that instrument costs in hours.

    Raises:
        ArgumentError: the signature cannot be injected.
    """

    def decorate(function: Callable[..., Any]) -> Protocol[Any]:
        return Protocol(function, version, looks)

    return decorate


def trial_seed(campaign_seed: int, trial: str) -> int:
    """Return the seed of a trial's random numbers."""
    return seed_of(campaign_seed, "trial", trial)
