"""A plain Python class with type hints, as an instrument.

You have a driver: a class, its methods, their type hints. Name what only you can know, in a file of your
own, and serve it:

    from lab.pump import SyringePump
    from twinloop.instruments.bridges.python_object import Does, bridge
    from twinloop.instruments.interface import Limit, OnSilence, Recovery

    Pump = bridge(
        SyringePump,
        name="Pump",
        kind="syringe_pump",
        safe_state="stop",                       # plain, idempotent: the watchdog calls it too
        does={
            "dispense": Does(
                Recovery.UNSAFE, OnSilence.SAFE_STATE,
                limits={"volume_mL": Limit(0, 10), "rate_mL_per_min": Limit(0.1, 5)},
            ),
        },
        reads=("pressure_kPa", "is_primed"),     # properties, attributes, methods without arguments
    )

Parameters of the constructor become settings of the laboratory file. Arguments of a method become
arguments of the action, checked against their type hints; every number has a limit, and a unit that its
name ends with (`volume_mL`) or that `units` tells. Methods that block run in a thread of their own, one
at a time; coroutines are awaited.
"""

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
from pydantic import BaseModel, PrivateAttr, TypeAdapter, create_model

from twinloop.errors import ArgumentError, Disconnected, describe_error
from twinloop.instruments.bridges.foreign import (
    DriverThread,
    Reconciler,
    instrument_class,
    make_action,
    make_readout,
    unit_called,
    unit_in_name,
    with_unit,
)
from twinloop.instruments.interface import (
    ActionMethod,
    Instrument,
    OnSilence,
    ReadoutMethod,
    Recovery,
)
from twinloop.limits import Limit, limit_of
from twinloop.units import Unit, unit_of

__all__ = ["Does", "ObjectInstrument", "bridge"]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Does:
    """What only the author knows of a method.

    Args:
        recovery: what to do when its effect is not known; `UNSAFE` unless you are sure.
        on_silence: what to do when the lease holder falls silent.
        limits: of every number among its arguments, in the unit of the argument.
        units: of arguments whose name does not end with one; "" for none.
        silence_s: how long a silence is one [s, real].
        interlocks: boolean readouts that must be true when it starts.
        reconcile: `async (instrument, command) -> Verdict`; a reconcilable action needs one.
        abort: method that makes a running call return early, from another thread.
        loads_sample: it brings the named sample in.
        unloads_sample: after it the sample is out.
        name: of the action; that of the method without it.
        returns: unit of a number that it returns, where the method's name does not end with one.
    """

    recovery: Recovery
    on_silence: OnSilence
    limits: Mapping[str, Limit] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    silence_s: float = 10.0
    interlocks: tuple[str, ...] = ()
    reconcile: Reconciler | None = None
    abort: str | None = None
    loads_sample: bool = False
    unloads_sample: bool = False
    name: str | None = None
    returns: str | None = None


class ObjectInstrument(Instrument):
    """Base of every instrument that `bridge` makes; `driver` is the object itself."""

    _driver: Any = PrivateAttr(default=None)
    _thread: DriverThread | None = PrivateAttr(default=None)

    @property
    def driver(self) -> Any:
        """Return the object.

        Raises:
            Disconnected: `connect` has not been called.
        """
        if self._driver is None:
            raise Disconnected(f"driver of {type(self).__name__}", 0.0, "call connect first")
        return self._driver

    @property
    def thread(self) -> DriverThread:
        """Return the thread in which the object is used."""
        if self._thread is None:
            self._thread = DriverThread(type(self).__name__)
        return self._thread

    async def call(self, method: str, abort: str | None = None, **arguments: Any) -> Any:
        """Return what a method of the object returns, as a value that can travel."""
        function = getattr(self.driver, method)
        if inspect.iscoroutinefunction(function):
            return _plain(await function(**arguments))
        stop = getattr(self.driver, abort) if abort else None
        return _plain(await self.thread.run(lambda: function(**arguments), stop=stop))


def bridge(
    driver: type,
    *,
    name: str,
    kind: str,
    safe_state: str,
    does: Mapping[str, Does],
    reads: Sequence[str] | Mapping[str, str] = (),
    read_limits: Mapping[str, Limit] | None = None,
    open_with: str | None = None,
    close_with: str | None = None,
    busy: str | None = None,
    reads_beside: bool = False,
    is_twin: bool = False,
) -> type[ObjectInstrument]:
    """Return an instrument class around a plain one.

    Args:
        driver: the class; made with the settings, in `connect` and not before.
        name: of the returned class: the variable that holds it.
        kind: of the instrument.
        safe_state: method without arguments that makes the device safe; plain, not a coroutine.
        does: actions: method name to what the author knows of it.
        reads: readouts: names of properties, attributes or methods without arguments, or a mapping of
            those to units.
        read_limits: outside of which a readout is a trip.
        open_with: method that opens the device after the object was made.
        close_with: method that closes it.
        busy: property or method that tells whether the device is still at it.
        reads_beside: the object may be read while one of its methods runs. Without it a readout waits
            for its turn, and telemetry has gaps during a long call.
        is_twin: the object is a simulation.

    Raises:
        ArgumentError: a method that is not there, an argument without a type hint, a number without
            a unit or a limit, a limit of something that is no argument.
    """
    about = _About(driver, name)
    for method in filter(None, (safe_state, open_with, close_with)):
        about.plain_method(method)
    members: dict[str, object] = {
        one.name or method: about.action(method, one) for method, one in does.items()
    }
    units = dict(reads) if isinstance(reads, Mapping) else dict.fromkeys(reads)
    for read, unit in units.items():
        limit = (read_limits or {}).get(read)
        members[read] = about.readout(read, unit, limit, beside=reads_beside)
    base = _base(about, safe_state, open_with, close_with, busy, is_twin=is_twin)
    doc = (driver.__doc__ or f"{driver.__name__}, as an instrument.").strip().partition("\n")[0]
    return instrument_class(name, kind=kind, base=base, members=members, doc=doc, depth=2)


def _base(
    about: "_About",
    safe: str,
    open_with: str | None,
    close_with: str | None,
    busy: str | None,
    *,
    is_twin: bool,
) -> type[ObjectInstrument]:
    settings, driver = about.settings(), about.driver

    class Bridged(ObjectInstrument):
        def connect(self) -> None:
            """Make the object, and open it."""
            made = driver(**{key: getattr(self, key) for key in settings})
            if open_with is not None:
                getattr(made, open_with)()
            self._driver = made

        def safe_state(self) -> None:
            """Call the method that makes it safe, in turn with what runs, or without."""
            self.thread.at_once(getattr(self.driver, safe))

        def disconnect(self) -> None:
            """Close the object."""
            made, self._driver = self._driver, None
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.close()
            if made is not None and close_with is not None:
                try:
                    getattr(made, close_with)()
                except Exception as err:  # noqa: BLE001 - the author's driver, which is given up
                    _LOG.warning("%s of %s: %s", close_with, about.name, describe_error(err))

        def is_busy(self) -> bool | None:
            """Ask the object, where it can tell."""
            return None if busy is None else bool(_value(getattr(self.driver, busy)))

    Bridged.is_twin = is_twin
    fields: dict[str, Any] = {key: (hint, default) for key, (hint, default) in settings.items()}
    made: type[ObjectInstrument] = create_model("Bridged", __base__=Bridged, **fields)
    return made


class _About:
    """What a plain class says of itself."""

    def __init__(self, driver: type, name: str) -> None:
        self.driver, self.name = driver, name

    def plain_method(self, method: str) -> Callable[..., Any]:
        """Return a method that can be called without arguments."""
        found = self._method(method)
        if inspect.iscoroutinefunction(found):
            raise ArgumentError(
                f"{self.name}: {method}", "a coroutine", "a plain method: the watchdog calls it"
            )
        needed = [
            p.name
            for p in list(inspect.signature(found).parameters.values())[1:]
            if p.default is p.empty and p.kind not in {p.VAR_POSITIONAL, p.VAR_KEYWORD}
        ]
        if needed:
            raise ArgumentError(
                f"{self.name}: {method}", needed, "a method that needs no arguments"
            )
        return found

    def settings(self) -> dict[str, tuple[Any, Any]]:
        """Return type hint and default of each parameter of the constructor."""
        construct = inspect.getattr_static(self.driver, "__init__")
        if not inspect.isfunction(construct):
            return {}  # it inherits the one of `object`
        hints = get_type_hints(construct, include_extras=True)
        found = {}
        for parameter in list(inspect.signature(construct).parameters.values())[1:]:
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                continue
            hint = self._hint(hints, parameter, "__init__")
            default = ... if parameter.default is parameter.empty else parameter.default
            found[parameter.name] = (hint, default)
        return found

    def action(self, method: str, does: Does) -> ActionMethod[..., Any]:
        """Return a method as an action."""
        found = self._method(method)
        hints = get_type_hints(found, include_extras=True)
        parameters: dict[str, Any] = {}
        defaults: dict[str, object] = {}
        for parameter in list(inspect.signature(found).parameters.values())[1:]:
            if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                allowed = "an argument that can be given by name"
                raise ArgumentError(self._at(method, parameter.name), "positional-only", allowed)
            hint = self._hint(hints, parameter, method)
            parameters[parameter.name] = self._quantity(method, parameter.name, hint, does)
            if parameter.default is not parameter.empty:
                defaults[parameter.name] = parameter.default
        for told in {*does.limits, *does.units}:
            if told not in parameters:
                raise ArgumentError(self._at(method, told), told, f"one of {sorted(parameters)}")
        adapters: dict[str, TypeAdapter[Any]] = {k: TypeAdapter(v) for k, v in parameters.items()}
        if does.abort is not None:
            self.plain_method(does.abort)

        async def body(instrument: ObjectInstrument, **arguments: Any) -> Any:
            given = {k: adapters[k].validate_python(v) for k, v in arguments.items()}
            return await instrument.call(method, does.abort, **given)

        return make_action(
            does.name or method,
            body,
            doc=inspect.getdoc(found) or f"Call {method} of {self.driver.__name__}.",
            parameters=parameters,
            defaults=defaults,
            returns=self._returned(method, hints.get("return"), does.returns),
            recovery=does.recovery,
            on_silence=does.on_silence,
            silence_s=does.silence_s,
            interlocks=does.interlocks,
            reconcile=does.reconcile,
            loads_sample=does.loads_sample,
            unloads_sample=does.unloads_sample,
        )

    def readout(
        self, name: str, unit: str | None, limit: Limit | None, *, beside: bool
    ) -> ReadoutMethod[Any]:
        """Return a property, an attribute or a method without arguments as a readout."""
        found = inspect.getattr_static(self.driver, name, None)
        hint: object = None
        if isinstance(found, property) and found.fget is not None:
            hint = get_type_hints(found.fget, include_extras=True).get("return")
        elif callable(found):
            self.plain_method(name)
            hint = get_type_hints(found, include_extras=True).get("return")
        else:
            hint = get_type_hints(self.driver, include_extras=True).get(name)
            if hint is None and found is None:
                allowed = f"a property, attribute or method of {self.driver.__name__} with a type"
                raise ArgumentError(f"{self.name}: reads", name, allowed)
        if _base_of(hint) is int and unit is None and unit_in_name(name) is None:
            unit = ""

        async def body(instrument: ObjectInstrument) -> Any:
            driver = instrument.driver

            def read() -> Any:
                return _value(getattr(driver, name))

            if beside:
                return _plain(await asyncio.to_thread(read))
            return _plain(await instrument.thread.run(read))

        returns = with_unit(self._returned(name, hint, unit), limit)
        doc = inspect.getdoc(found) if found is not None else None
        return make_readout(name, body, doc=doc or f"Read {name}.", returns=returns)

    def _method(self, method: str) -> Callable[..., Any]:
        found = inspect.getattr_static(self.driver, method, None)
        if not inspect.isfunction(found):
            known = [n for n, _ in inspect.getmembers(self.driver, inspect.isfunction)]
            allowed = (
                f"a method of {self.driver.__name__}: {', '.join(n for n in known if n[0] != '_')}"
            )
            raise ArgumentError(f"{self.name}: method", method, allowed)
        return found

    def _hint(self, hints: Mapping[str, Any], parameter: inspect.Parameter, method: str) -> Any:
        if parameter.name not in hints:
            raise ArgumentError(
                self._at(method, parameter.name), "no type hint", "a type hint, such as float"
            )
        return hints[parameter.name]

    def _quantity(self, method: str, argument: str, hint: Any, does: Does) -> object:
        """Return the hint with unit and limit."""
        where, limit = self._at(method, argument), does.limits.get(argument) or limit_of(hint)
        kind = _base_of(hint)
        if kind not in {float, int}:
            return hint
        if limit is None:
            raise ArgumentError(
                where, "no limit", f"limits={{{argument!r}: Limit(low, high)}} in Does"
            )
        if kind is int:
            return with_unit(int, limit)
        return with_unit(float, self._unit(where, argument, hint, does.units.get(argument)), limit)

    def _unit(self, where: str, name: str, hint: Any, told: str | None) -> Unit:
        unit = unit_called(told, where) if told is not None else unit_of(hint) or unit_in_name(name)
        if unit is None:
            allowed = 'a name that ends with its unit (volume_mL), or a unit told ("" for none)'
            raise ArgumentError(where, "no unit", allowed)
        return unit

    def _returned(self, name: str, hint: Any, told: str | None) -> object:
        if _base_of(hint) is not float:
            return hint
        unit = unit_called(told, name) if told is not None else unit_of(hint) or unit_in_name(name)
        return with_unit(float, unit or Unit("", "dimensionless"), limit_of(hint))

    def _at(self, method: str, argument: str) -> str:
        return f"{self.driver.__name__}.{method}({argument})"


def _base_of(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _value(found: Any) -> Any:
    return found() if callable(found) else found


def _plain(value: object) -> object:
    """Return what a driver returns as something that can travel."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="python")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        if value and all(isinstance(v, int | float) for v in value) and len(value) > 64:
            return np.asarray(value)
        return [_plain(v) for v in value]
    return value
