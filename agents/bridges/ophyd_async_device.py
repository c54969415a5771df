"""A served instrument as an ophyd-async device: a RunEngine sets its knobs, triggers it and reads it.

    from twinloop.agents.bridges.ophyd_async_device import ServedDevice

    stem = ServedDevice(
        hub, "stem", STEM, folder=Path("by-hand"), sample="film-3",
        trigger="scan",                                   # what `trigger` does
        knobs=("set_optics.defocus_A", "scan.field_A"),   # what a plan may set
        reads=("vacuum_Pa",),
    )
    RE(connect_and_scan(...))       # bp.scan([stem], stem.defocus_A, -200, 200, 9)

A knob of the triggered action is an argument of the next trigger. A knob of another action carries that
action out when it is set, with the last values of its other knobs. Units and limits are those of the
instrument's contract, and are checked here before anything is sent; the adapter checks them again. Results
are read as one key for each number, and one for each array, of which the mean and the largest value have
keys as well, so that a live table shows something. Needs the extra `bluesky`.
"""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ophyd_async.core import AsyncStatus, Device

from twinloop.agents.bridges.served_instrument import ServedInstrument
from twinloop.errors import ArgumentError, Disconnected
from twinloop.instruments.interface import ActionSpec, Instrument, ParameterSpec
from twinloop.units import unit_of

__all__ = ["Knob", "ServedDevice"]

_CUT_S = 10.0
_DTYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


class Knob(Device):
    """One argument of an action, as something that a plan sets and reads.

    Args:
        instrument: name of the instrument.
        action: whose argument it is.
        parameter: the argument.
        perform: carries the action out when the knob is set; None to wait for the trigger.
    """

    def __init__(
        self,
        instrument: str,
        action: ActionSpec,
        parameter: ParameterSpec,
        perform: Callable[[str], Awaitable[Any]] | None,
    ) -> None:
        self.instrument, self.action, self.parameter = instrument, action, parameter
        self.perform = perform
        default = parameter.default
        self.value: Any = None if default is inspect.Parameter.empty else default
        super().__init__()

    @AsyncStatus.wrap
    async def set(self, value: Any) -> None:
        """Take a value; carry its action out when it is not the triggered one.

        Raises:
            LimitViolation, ArgumentError: the contract does not allow it; nothing was sent.
        """
        plain = value.item() if isinstance(value, np.generic) else value
        self.value = self.parameter.check(plain, f"{self.instrument}.{self.action.name}")
        if self.perform is not None:
            await self.perform(self.action.name)

    async def read(self) -> dict[str, dict[str, Any]]:
        """Return the value that was set last."""
        return {self.name: {"value": self.value, "timestamp": time.time()}}

    async def describe(self) -> dict[str, dict[str, Any]]:
        """Return unit, limits and type."""
        kind = _DTYPES.get(type(self.value), "number")
        about: dict[str, Any] = {
            "source": f"twinloop://{self.instrument}/{self.action.name}.{self.parameter.name}",
            "dtype": kind, "shape": [], "units": self.parameter.unit,
        }  # fmt: skip
        if self.parameter.limit is not None:
            low, high = self.parameter.limit.low, self.parameter.limit.high
            about["limits"] = {"control": {"low": low, "high": high}}
        return {self.name: about}

    async def locate(self) -> dict[str, Any]:
        """Return where it is, for plans that come back."""
        return {"setpoint": self.value, "readback": self.value}

    @property
    def hints(self) -> dict[str, Any]:
        """Return what a live table shows."""
        return {"fields": [self.name]}


class ServedDevice(Device):
    """The instrument; `connect` takes its lease, `close` gives it back.

    Args:
        hub: endpoint of the hub.
        instrument: its name in the laboratory file.
        contract: class that declares its actions; the implementation may be elsewhere.
        folder: of commands, outcomes and arrays; the same after a crash.
        trigger: action that `trigger` carries out.
        knobs: "action.argument" of what a plan may set; others keep their default or `fixed`.
        fixed: "action.argument" to the value of arguments that no plan sets.
        reads: readouts that are read with it.
        sample: the sample that the instrument holds.
        name: of the device; that of the instrument when left out.

    Raises:
        ArgumentError: an action, an argument or a readout that the contract does not have, or an argument
            without default that has neither knob nor fixed value.
    """

    def __init__(
        self,
        hub: str,
        instrument: str,
        contract: type[Instrument],
        *,
        folder: Path,
        trigger: str,
        knobs: Sequence[str] = (),
        fixed: Mapping[str, Any] | None = None,
        reads: Sequence[str] = (),
        sample: str | None = None,
        name: str = "",
    ) -> None:
        self.hub, self.instrument, self.contract = hub, instrument, contract
        self.folder, self.triggered, self.sample = folder, trigger, sample
        self.served: ServedInstrument | None = None
        self._fixed = {key: dict[str, Any]() for key in contract.actions()}
        self._values: dict[str, Any] = {}
        self._stamp = 0.0
        self._running: Any = None
        for path, value in (fixed or {}).items():
            action, parameter = self._parameter(path)
            self._fixed[action.name][parameter.name] = parameter.check(value, path)
        self._knobs: list[Knob] = []
        for path in knobs:
            action, parameter = self._parameter(path)
            perform = self.perform if action.name != trigger else None
            knob = Knob(instrument, action, parameter, perform)
            if knob.value is None:
                knob.value = self._fixed[action.name].get(parameter.name)
            self._knobs.append(knob)
            setattr(self, parameter.name, knob)
        self.readouts = tuple(reads)
        for read in reads:
            if read not in contract.readouts():
                raise ArgumentError(
                    f"{instrument}: reads", read, f"one of {_names(contract.readouts())}"
                )
        self._parameters_are_known(trigger)
        super().__init__(name=name or instrument)

    async def connect(
        self,
        mock: Any = False,
        timeout: float = 10.0,  # noqa: ASYNC109 - the name is ophyd-async's
        force_reconnect: bool = False,
    ) -> None:
        """Take the lease.

        Raises:
            Disconnected: hub or adapter are not there, or another holds it.
            ArgumentError: asked to connect as a mock; a twin served by an adapter does better.
        """
        if mock:
            raise ArgumentError(f"{self.instrument}: mock", mock, "False; serve its twin instead")
        if self.served is not None and force_reconnect:
            self.close()
        if self.served is None:
            self.served = await asyncio.to_thread(self._open, timeout)

    def close(self) -> None:
        """Give the lease back."""
        served, self.served = self.served, None
        if served is not None:
            served.close()

    @AsyncStatus.wrap
    async def trigger(self) -> None:
        """Carry the action out with the present knobs, and keep its result for `read`.

        Raises:
            StepFailed, StepPartial, StepUnknown: as the instrument says.
        """
        result = await self.perform(self.triggered)
        self._values, self._stamp = dict(_flat(result, self.name)), time.time()

    async def perform(self, action: str) -> Any:
        """Carry an action out with the present knobs and return its result."""
        served = self._served()
        arguments = dict(self._fixed[action])
        arguments |= {k.parameter.name: k.value for k in self._knobs if k.action.name == action}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        self.contract.actions()[action].spec.check(arguments, f"{self.instrument}.{action}")
        future = served.do(action, **arguments)
        self._running = future
        try:
            return await asyncio.shield(asyncio.wrap_future(future))
        except asyncio.CancelledError:
            await self._cut(served, future)
            raise
        finally:
            self._running = None

    @AsyncStatus.wrap
    async def stop(self, success: bool = True) -> None:
        """Abort what runs; `success` is bluesky's word for whether that was planned."""
        del success
        if self._running is not None:
            await self._cut(self._served(), self._running)

    async def read(self) -> dict[str, dict[str, Any]]:
        """Return the last result, the knobs of the instrument and its readouts."""
        found = {k: {"value": v, "timestamp": self._stamp} for k, v in self._values.items()}
        for read, value in (await self._read_outs()).items():
            found[f"{self.name}-{read}"] = {"value": value, "timestamp": time.time()}
        for knob in self._knobs:
            # a plan that reads the instrument leaves its parts out
            found |= await knob.read() if knob.value is not None else {}
        return found

    async def describe(self) -> dict[str, dict[str, Any]]:
        """Return type, shape and unit of what `read` returns."""
        if not self._values:
            # a RunEngine describes after the first trigger; before it there is no shape to tell
            raise ArgumentError(f"{self.name}: describe", "no result yet", "trigger it first")
        units = _units(self.contract.actions()[self.triggered].spec, self.name)
        source = f"twinloop://{self.instrument}/{self.triggered}"
        about = {
            key: _about(value, source, units.get(key, "")) for key, value in self._values.items()
        }
        for read, value in (await self._read_outs()).items():
            hint = inspect.signature(self.contract.readouts()[read].function).return_annotation
            unit = unit_of(hint)
            told = _about(
                value, f"twinloop://{self.instrument}/{read}", unit.symbol if unit else ""
            )
            about[f"{self.name}-{read}"] = told
        for knob in self._knobs:
            about |= await knob.describe() if knob.value is not None else {}
        return about

    @property
    def hints(self) -> dict[str, Any]:
        """Return what a live table shows: every number, no array."""
        return {"fields": [k for k, v in self._values.items() if isinstance(v, int | float)]}

    def _open(self, timeout: float) -> ServedInstrument:
        return ServedInstrument(
            self.hub, self.instrument, folder=self.folder, sample=self.sample, find_s=timeout
        )

    def _served(self) -> ServedInstrument:
        if self.served is None:
            raise Disconnected(self.instrument, 0.0, "connect the device first")
        return self.served

    async def _cut(self, served: ServedInstrument, future: Any) -> None:
        """Abort, and wait a while for what became of it."""
        served.cancel_command(future)
        await asyncio.wait([asyncio.wrap_future(future)], timeout=_CUT_S)

    async def _read_outs(self) -> dict[str, Any]:
        asked = {name: self._served().read(name) for name in self.readouts}
        return {name: await asyncio.wrap_future(future) for name, future in asked.items()}

    def _parameter(self, path: str) -> tuple[ActionSpec, ParameterSpec]:
        name, _, argument = path.partition(".")
        actions = self.contract.actions()
        if name not in actions:
            raise ArgumentError(f"{self.instrument}: action", path, f"one of {_names(actions)}")
        spec = actions[name].spec
        for parameter in spec.parameters:
            if parameter.name == argument:
                return spec, parameter
        known = [f"{name}.{p.name}" for p in spec.parameters]
        raise ArgumentError(f"{self.instrument}: knob", path, f"one of {', '.join(known)}")

    def _parameters_are_known(self, trigger: str) -> None:
        actions = self.contract.actions()
        if trigger not in actions:
            raise ArgumentError(f"{self.instrument}: trigger", trigger, f"one of {_names(actions)}")
        turned = {knob.parameter.name for knob in self._knobs if knob.action.name == trigger}
        for parameter in actions[trigger].spec.parameters:
            is_known = parameter.name in self._fixed[trigger] or parameter.name in turned
            if parameter.default is inspect.Parameter.empty and not is_known:
                path = f"{trigger}.{parameter.name}"
                raise ArgumentError(f"{self.instrument}: {path}", None, "a knob or a fixed value")


def _names(known: Mapping[str, object]) -> str:
    return ", ".join(sorted(known))


def _flat(value: Any, path: str) -> list[tuple[str, Any]]:
    """Return (key, value) of each number, text and array of a result."""
    if isinstance(value, np.ndarray):
        numbers: list[tuple[str, Any]] = [(path, value)]
        if value.size and value.dtype.kind in "biuf":
            numbers += [(f"{path}-mean", float(value.mean())), (f"{path}-max", float(value.max()))]
        return numbers
    if hasattr(type(value), "model_fields"):
        value = {key: getattr(value, key) for key in type(value).model_fields}
    if isinstance(value, Mapping):
        return [one for key, inner in value.items() for one in _flat(inner, f"{path}-{key}")]
    if isinstance(value, list | tuple):
        return _flat(np.asarray(value), path) if _is_numeric(value) else []
    return [] if value is None else [(path, value)]


def _is_numeric(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(v, int | float) for v in values)


def _about(value: Any, source: str, unit: str) -> dict[str, Any]:
    if isinstance(value, np.ndarray):
        about = {"dtype": "array", "shape": list(value.shape), "dtype_numpy": value.dtype.str}
    else:
        about = {"dtype": _DTYPES.get(type(value), "string"), "shape": []}
    return {"source": source, "units": unit, **about}


def _units(spec: ActionSpec, name: str) -> dict[str, str]:
    """Return the unit of each key of a result, from its annotated type."""
    fields = getattr(spec.returns, "model_fields", None)
    if fields is None:
        unit = unit_of(spec.returns)
        return {name: unit.symbol} if unit else {}
    found = {}
    for key, about in fields.items():
        for extra in about.metadata:
            if hasattr(extra, "symbol"):
                found[f"{name}-{key}"] = extra.symbol
    return found
