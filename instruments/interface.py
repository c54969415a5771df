"""The contract of an instrument: how to connect yours.

Subclass `Instrument`, say its kind, and write one coroutine for each action:

    Hold_K = Annotated[Kelvin, Limit(293, 1423, rate_per_s=1)]

    class Furnace(Instrument, kind="furnace"):
        port: str = "/dev/ttyUSB0"              # a field is a setting of the laboratory file

        def connect(self) -> None: ...          # open the driver; imported here, not at the top
        def safe_state(self) -> None: ...       # plain, idempotent; the watchdog runs it as well

        @readout
        async def temperature_K(self) -> Kelvin: ...

        @action(recovery=Recovery.RECONCILABLE, on_silence=OnSilence.FINISH)
        async def anneal(self, *, hold_K: Hold_K) -> Kelvin: ...

        @anneal.reconcile
        async def what_happened(self, command: Command) -> Done[Kelvin] | Running | NotDone: ...

What must be closed again is one action, executed beside the instrument: `grow` opens, grows and
closes. Arguments are keyword-only, each a float with a unit and a `Limit` in its type; the adapter
checks them at the moment of execution. What is no quantity (a word of a `Literal`, the pixels of a
scan) has a plain type that JSON can carry, and is checked against it. An abort arrives as a
cancellation at an await. An exception
after the device was touched means that nobody knows: the action's recovery class decides. Raise
`NotTouched` when you are certain that nothing has happened.

A contract of a kind (`MBE`) declares its actions with `@action` over `@abstractmethod`; an
implementation writes `@MBE.grow.implement` over its own coroutine and inherits recovery and silence.
"""

import inspect
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import (
    Annotated,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from twinloop.clocks import LabClock
from twinloop.errors import ArgumentError, LabError
from twinloop.ids import canonical_json, digest_of
from twinloop.limits import Limit, limit_of
from twinloop.messages import Command
from twinloop.results import Array, encode_result
from twinloop.units import unit_of

__all__ = [
    "ActionMethod",
    "ActionSpec",
    "Command",
    "Done",
    "Emit",
    "Instrument",
    "Limit",
    "NotDone",
    "NotTouched",
    "OnSilence",
    "ParameterSpec",
    "Partial",
    "ReadoutMethod",
    "Recovery",
    "Running",
    "Unknown",
    "Verdict",
    "action",
    "readout",
]

_LARGEST_INT = 2**63

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Recovery(StrEnum):
    """What to do about an action whose effect is not known."""

    IDEMPOTENT = "idempotent"  # repeat it
    RECONCILABLE = "reconcilable"  # ask the instrument, by command key
    UNSAFE = "unsafe"  # mark the sample suspect and ask a person


class OnSilence(StrEnum):
    """What the adapter does when the lease holder is silent for `silence_s`."""

    FINISH = "finish"  # let the action end; what it leaves behind may stand
    HOLD = "hold"  # start nothing new, change nothing
    SAFE_STATE = "safe_state"  # cancel, and run safe_state


class NotTouched(LabError):
    """Raised by an action that had no effect, for certain: the command is FAILED, not UNKNOWN."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True)
class Done(Generic[R]):
    """Reconciled: it happened, with this result."""

    result: R


@dataclass(frozen=True)
class Running:
    """Reconciled: the device is still at it; the adapter asks again."""


@dataclass(frozen=True)
class NotDone:
    """Reconciled: it never began."""


@dataclass(frozen=True)
class Unknown:
    """Reconciled: the instrument cannot tell."""

    reason: str = ""


class Partial:
    """Reconciled: some of it happened, and this is what.

    Example:
        >>> Partial(dose_ML=1.5).what
        {'dose_ML': 1.5}
    """

    def __init__(self, **what: object) -> None:
        self.what: dict[str, object] = what


Verdict = Done[Any] | Running | Partial | NotDone | Unknown


class Emit(Protocol):
    """Puts numbers and arrays on a stream; never waits, may drop and count."""

    def __call__(
        self, stream: str, numbers: Mapping[str, float], arrays: Mapping[str, Array], /
    ) -> None:
        """Emit one element."""


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One argument of an action: its unit and limit; `default` is inspect.Parameter.empty if none."""

    name: str
    unit: str
    limit: Limit | None
    type_name: str
    default: object = inspect.Parameter.empty
    annotation: Any = None

    def check(self, value: object, where: str) -> object:
        """Return the value when it may be used.

        Raises:
            ArgumentError: a wrong type.
            LimitViolation: outside the limit.
        """
        if self.type_name != "float":
            return self._check_other(value, where)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ArgumentError(f"{where}.{self.name}", value, f"a number in {self.unit}")
        try:
            number = float(value)
        except OverflowError:  # an integer that no float holds
            number = float("inf")
        if number - number != 0.0:  # NaN and infinity
            raise ArgumentError(f"{where}.{self.name}", value, f"a finite number in {self.unit}")
        return (
            number if self.limit is None else self.limit.check(self.name, number, self.unit, where)
        )

    def _check_other(self, value: object, where: str) -> object:
        """Return a value that is no quantity as the JSON it travels as."""
        if self.annotation is None or self.annotation is inspect.Parameter.empty:
            return value
        named = f"{where}.{self.name}"
        plain, arrays = encode_result(value, named)
        if arrays:
            raise ArgumentError(named, "an array", self.allowed)
        adapter: TypeAdapter[Any] = TypeAdapter(self.annotation)
        try:
            # strict, as JSON: a list may stand for a tuple, but neither "5" nor True for 5
            found = adapter.validate_json(canonical_json(plain), strict=True)
        except ValidationError as err:
            told = "; ".join(e["msg"] for e in err.errors()[:3])
            raise ArgumentError(named, value, f"{self.allowed} ({told})") from err
        if isinstance(found, int) and abs(found) >= _LARGEST_INT:
            raise ArgumentError(named, "an integer of more than 63 bits", self.allowed)
        if self.limit is not None and isinstance(found, int | float):
            self.limit.check(self.name, found, self.unit, where)
        return adapter.dump_python(found, mode="json")

    def describe(self) -> dict[str, Any]:
        """Return it as JSON: a change of a limit or of an allowed word shows."""
        about: dict[str, Any] = {"unit": self.unit}
        if self.type_name != "float":
            about["type"] = TypeAdapter(self.annotation).json_schema()
        if self.limit is not None:
            low, high, rate = self.limit.low, self.limit.high, self.limit.rate_per_s
            about |= {"low": low, "high": high, "rate_per_s": rate}
        return about

    @property
    def allowed(self) -> str:
        """What may be given, for people."""
        if self.type_name == "float":
            return f"a number in {self.unit}"
        return f"a {self.type_name}"


@dataclass(frozen=True)
class ActionSpec:
    """What the runtime knows of an action.

    Args:
        name: name of the action.
        parameters: its keyword arguments.
        recovery: what to do when its effect is unknown.
        on_silence: what to do when the lease holder falls silent.
        silence_s: how long a silence counts as silence [s, real].
        interlocks: names of boolean readouts that must be true when it starts.
        loads_sample: True for an action that brings the named sample in.
        unloads_sample: True for an action after which it is out.
        returns: annotated type of its result.
        doc: first line of its docstring.
    """

    name: str
    parameters: tuple[ParameterSpec, ...]
    recovery: Recovery
    on_silence: OnSilence
    silence_s: float
    interlocks: tuple[str, ...]
    loads_sample: bool
    unloads_sample: bool
    returns: object
    doc: str

    @property
    def moves_sample(self) -> bool:
        """True when the instrument holds another sample after it, or none."""
        return self.loads_sample or self.unloads_sample

    def check(self, arguments: Mapping[str, object], where: str) -> dict[str, object]:
        """Return the arguments, completed with defaults.

        Raises:
            ArgumentError: a missing, unknown or unusable argument.
            LimitViolation: a value outside its limit.
        """
        known = {p.name: p for p in self.parameters}
        for name in arguments:
            if name not in known:
                raise ArgumentError(f"{where}.{name}", arguments[name], f"one of {sorted(known)}")
        checked: dict[str, object] = {}
        for name, parameter in known.items():
            if name in arguments:
                checked[name] = parameter.check(arguments[name], where)
            elif parameter.default is inspect.Parameter.empty:
                raise ArgumentError(f"{where}.{name}", None, parameter.allowed)
            elif parameter.type_name == "float":
                checked[name] = parameter.default
            else:
                checked[name] = parameter.check(parameter.default, where)
        return checked

    def describe(self) -> dict[str, Any]:
        """Return the action as JSON, for people, planners and the schema digest."""
        return {
            "doc": self.doc,
            "recovery": self.recovery.value,
            "on_silence": self.on_silence.value,
            "silence_s": self.silence_s,
            "interlocks": list(self.interlocks),
            "loads_sample": self.loads_sample,
            # left out where it is false, so that the schema digest of older contracts stands
            **({"unloads_sample": True} if self.unloads_sample else {}),
            "parameters": {p.name: p.describe() for p in self.parameters},
        }


def _parameters(function: Callable[..., Any]) -> tuple[ParameterSpec, ...]:
    hints = get_type_hints(function, include_extras=True)
    found = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise ArgumentError(
                f"{function.__qualname__}.{parameter.name}",
                "positional",
                "keyword-only: write *, first",
            )
        hint = hints.get(parameter.name)
        unit = unit_of(hint)
        found.append(
            ParameterSpec(
                name=parameter.name,
                unit=unit.symbol if unit else "",
                limit=limit_of(hint),
                type_name="float" if unit else _type_name(hint),
                default=parameter.default,
                annotation=hint,
            )
        )
    return tuple(found)


def _type_name(hint: object) -> str:
    base: object = get_args(hint)[0] if get_origin(hint) is Annotated else hint
    if isinstance(base, type) and not get_args(base):
        return base.__name__
    return str(base).replace("typing.", "")


class ActionMethod(Generic[P, R]):
    """A coroutine with its recovery class, silence and limits; made by `@action`."""

    def __init__(
        self,
        function: Callable[..., Awaitable[R]],
        *,
        recovery: Recovery,
        on_silence: OnSilence,
        silence_s: float,
        interlocks: tuple[str, ...],
        loads_sample: bool,
        unloads_sample: bool = False,
    ) -> None:
        self.function = function
        self.recovery, self.on_silence, self.silence_s = recovery, on_silence, silence_s
        self.interlocks, self.loads_sample = interlocks, loads_sample
        self.unloads_sample = unloads_sample
        self.reconciler: Callable[..., Awaitable[Verdict]] | None = None
        self.confirmer: Callable[..., Awaitable[str | None]] | None = None
        self.__doc__ = function.__doc__
        self.__isabstractmethod__ = bool(getattr(function, "__isabstractmethod__", False))

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @cached_property
    def spec(self) -> ActionSpec:
        """The action as the runtime sees it."""
        return ActionSpec(
            name=self.name,
            parameters=_parameters(self.function),
            recovery=self.recovery,
            on_silence=self.on_silence,
            silence_s=self.silence_s,
            interlocks=self.interlocks,
            loads_sample=self.loads_sample,
            unloads_sample=self.unloads_sample,
            returns=get_type_hints(self.function, include_extras=True).get("return"),
            doc=(self.function.__doc__ or "").strip().partition("\n")[0],
        )

    @overload
    def __get__(self, instance: None, owner: type) -> "ActionMethod[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Awaitable[R]]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        """Return the action itself on the class, a bound coroutine function on an instance."""
        return self if instance is None else self.function.__get__(instance, owner)

    def reconcile(self, function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Register `async def (self, command) -> Verdict`: ask the instrument what happened."""
        self.reconciler = function
        return function

    def confirm(
        self, function: Callable[..., Awaitable[str | None]]
    ) -> Callable[..., Awaitable[str | None]]:
        """Register `async def (self, command, result) -> str | None`: a complaint, or None."""
        self.confirmer = function
        return function

    def implement(
        self, function: Callable[Concatenate[S, P], Awaitable[R]]
    ) -> "ActionMethod[P, R]":
        """Return this action with another body: an implementation of the contract of a kind."""
        return ActionMethod(
            function,
            recovery=self.recovery,
            on_silence=self.on_silence,
            silence_s=self.silence_s,
            interlocks=self.interlocks,
            loads_sample=self.loads_sample,
            unloads_sample=self.unloads_sample,
        )


def action(
    *,
    recovery: Recovery,
    on_silence: OnSilence,
    silence_s: float = 10.0,
    interlocks: tuple[str, ...] = (),
    loads_sample: bool = False,
    unloads_sample: bool = False,
) -> Callable[[Callable[Concatenate[S, P], Awaitable[R]]], ActionMethod[P, R]]:
    """Make a coroutine an action of the instrument.

    Args:
        recovery: what to do when its effect is not known.
        on_silence: what to do, during it and in the state it leaves behind, when the lease holder
            has been silent for `silence_s`.
        silence_s: how long [s, real time].
        interlocks: names of boolean readouts that must be true at the moment of execution.
        loads_sample: it brings the named sample in; others demand that it is in already.
        unloads_sample: when it is done, the sample is out.
    """

    def decorate(function: Callable[Concatenate[S, P], Awaitable[R]]) -> ActionMethod[P, R]:
        return ActionMethod(
            function,
            recovery=recovery,
            on_silence=on_silence,
            silence_s=silence_s,
            interlocks=interlocks,
            loads_sample=loads_sample,
            unloads_sample=unloads_sample,
        )

    return decorate


class ReadoutMethod(Generic[R]):
    """A coroutine that reads and changes nothing; made by `@readout`."""

    def __init__(self, function: Callable[..., Awaitable[R]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__isabstractmethod__ = bool(getattr(function, "__isabstractmethod__", False))

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> "ReadoutMethod[R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[[], Awaitable[R]]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        """Return the readout itself on the class, a bound coroutine function on an instance."""
        return self if instance is None else self.function.__get__(instance, owner)


def readout(function: Callable[[S], Awaitable[R]]) -> ReadoutMethod[R]:
    """Make a coroutine a readout: telemetry and protocols may ask it at any time."""
    return ReadoutMethod(function)


def _emit_nothing(stream: str, numbers: Mapping[str, float], arrays: Mapping[str, Array]) -> None:
    """Drop a stream that nobody forwards."""


class Instrument(BaseModel):
    """Base of every instrument; its fields are the settings of the laboratory file.

    Class attributes:
        kind: the kind of instrument ("mbe").
        is_twin: True for a simulated one; only a twin may run on a scaled clock.

    Set by the adapter before `connect`:
        clock: the laboratory clock; wait with `await self.clock.sleep(...)`.
        command: the command being executed (in an action).
    """

    model_config = ConfigDict(
        frozen=False, extra="forbid", ignored_types=(ActionMethod, ReadoutMethod)
    )
    kind: ClassVar[str] = ""
    is_twin: ClassVar[bool] = False

    def __init_subclass__(cls, kind: str | None = None, **settings: Any) -> None:
        """Take the kind from the class line."""
        super().__init_subclass__(**settings)
        if kind is not None:
            cls.kind = kind

    def __setattr__(self, name: str, value: Any) -> None:
        """Let `connect` keep drivers on the instance; settings stay validated fields."""
        if name in type(self).model_fields:
            super().__setattr__(name, value)
        else:
            object.__setattr__(self, name, value)

    clock: ClassVar[LabClock]
    command: ClassVar[Command]

    def attach(self, clock: LabClock, emit: Emit = _emit_nothing) -> None:
        """Give the instrument its laboratory clock and its stream; the adapter calls this.

        Args:
            clock: the laboratory clock.
            emit: takes (stream name, numbers, arrays); bounded, may drop and count.
        """
        object.__setattr__(self, "clock", clock)
        object.__setattr__(self, "sink", emit)

    def emit(self, stream: str, numbers: Mapping[str, float], arrays: Mapping[str, Array]) -> None:
        """Put numbers and arrays on a stream, for live views; bounded, loss is counted."""
        sink: Emit = vars(self).get("sink", _emit_nothing)
        sink(stream, numbers, arrays)

    def begin(self, command: Command) -> None:
        """Tell the instrument which command its next action executes; the adapter calls this."""
        object.__setattr__(self, "command", command)

    @abstractmethod
    def connect(self) -> None:
        """Open the device. Import drivers here. Called by the adapter and by its watchdog."""

    @abstractmethod
    def safe_state(self) -> None:
        """Make the device safe: plain, idempotent, no arguments; the watchdog runs it too."""

    def disconnect(self) -> None:
        """Close the device; nothing by default."""

    def is_busy(self) -> bool | None:
        """Return whether the device is still at it, None when that cannot be told.

        Plain, reads only. The watchdog of a dead adapter asks it before it ends, with `safe_state`,
        an action whose silence is `finish`.
        """
        return None

    @classmethod
    def actions(cls) -> dict[str, ActionMethod[..., Any]]:
        """Return the actions by name."""
        return _members(cls, ActionMethod)

    @classmethod
    def readouts(cls) -> dict[str, ReadoutMethod[Any]]:
        """Return the readouts by name."""
        return _members(cls, ReadoutMethod)

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Return kind, actions with limits, and readouts, as JSON."""
        return {
            "kind": cls.kind,
            "actions": {name: method.spec.describe() for name, method in cls.actions().items()},
            "readouts": sorted(cls.readouts()),
        }

    @classmethod
    def schema_digest(cls) -> str:
        """Return the digest of the schema: a change of limits shows."""
        return digest_of(canonical_json(cls.describe()))


M = TypeVar("M")


def _members(cls: type, wanted: type[M]) -> dict[str, M]:
    return {
        name: value
        for base in reversed(cls.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, wanted)
    }
