"""What every bridge needs: an instrument class made from a description, and a driver kept in one thread.

A bridge reads what a foreign object offers (its signals, its type hints, its command table) and makes
actions and readouts of it. What no foreign object can tell, because it does not know the question, the
author says: recovery class, silence and limits of each action, and which call makes it safe.

    Pump = instrument_class(
        "Pump",
        kind="pump",
        base=PumpBase,                                # connect, safe_state and whatever is fixed
        members={
            "dispense": make_action(
                "dispense", body, doc="Dispense a volume.",
                parameters={"volume_mL": Annotated[float, Unit("mL", "milliliter"), Limit(0, 10)]},
                recovery=Recovery.UNSAFE, on_silence=OnSilence.SAFE_STATE,
            ),
        },
    )

The class is made in the author's module, under a name there, so that adapter, watchdog and campaign all
find it as "module:Name".
"""

import asyncio
import inspect
import re
import sys
import threading
import types
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Annotated, Any, TypeVar

from twinloop.errors import ArgumentError
from twinloop.instruments.interface import (
    ActionMethod,
    Instrument,
    OnSilence,
    ReadoutMethod,
    Recovery,
    Verdict,
)
from twinloop.messages import Command
from twinloop.units import Unit

__all__ = [
    "DriverThread",
    "Reconciler",
    "instrument_class",
    "make_action",
    "make_readout",
    "unit_called",
    "unit_in_name",
    "with_unit",
]

T = TypeVar("T")
I = TypeVar("I", bound=Instrument)  # noqa: E741 - an instrument

_LAST_WORD_S = 5.0
_SAFE_WAIT_S = 1.0

Body = Callable[..., Awaitable[Any]]
Reconciler = Callable[[Any, Command], Awaitable[Verdict]]


def make_action(
    name: str,
    body: Body,
    *,
    doc: str,
    parameters: Mapping[str, Any],
    recovery: Recovery,
    on_silence: OnSilence,
    returns: object = None,
    defaults: Mapping[str, object] | None = None,
    silence_s: float = 10.0,
    interlocks: tuple[str, ...] = (),
    reconcile: Reconciler | None = None,
    loads_sample: bool = False,
    unloads_sample: bool = False,
) -> ActionMethod[..., Any]:
    """Return an action whose arguments are known only now.

    Args:
        name: of the action.
        body: `async def (instrument, **arguments)`; gets checked arguments.
        doc: what it does, for people; its first line is part of the schema.
        parameters: annotated type of each argument, with its `Unit` and `Limit`.
        recovery: as of `@action`, like the other declarations.
        on_silence: what a silence of the lease holder means.
        silence_s: how long a silence is one [s, real].
        interlocks: boolean readouts that must be true when it starts.
        loads_sample: it brings the named sample in.
        unloads_sample: after it the sample is out.
        returns: annotated type of the result.
        defaults: of the arguments that may be left out.
        reconcile: `async def (instrument, command) -> Verdict`; a reconcilable action needs one.

    Raises:
        ArgumentError: a reconcilable action without `reconcile`.
    """
    if recovery is Recovery.RECONCILABLE and reconcile is None:
        raise ArgumentError(f"{name}: reconcile", None, "async (instrument, command) -> Verdict")

    async def function(self: Instrument, **arguments: Any) -> Any:
        return await body(self, **arguments)

    _dress(function, name, doc, parameters, defaults or {}, returns)
    method: ActionMethod[..., Any] = ActionMethod(
        function,
        recovery=recovery,
        on_silence=on_silence,
        silence_s=silence_s,
        interlocks=interlocks,
        loads_sample=loads_sample,
        unloads_sample=unloads_sample,
    )
    if reconcile is not None:
        method.reconcile(reconcile)
    return method


def make_readout(
    name: str, body: Callable[[Any], Awaitable[Any]], *, doc: str, returns: object
) -> ReadoutMethod[Any]:
    """Return a readout.

    Args:
        name: of the readout.
        body: `async def (instrument)`; reads and changes nothing.
        doc: what it reads.
        returns: annotated type, with its `Unit`, and a `Limit` where going outside is a trip.
    """

    async def function(self: Instrument) -> Any:
        return await body(self)

    _dress(function, name, doc, {}, {}, returns)
    return ReadoutMethod(function)


def _dress(
    function: Callable[..., Any],
    name: str,
    doc: str,
    parameters: Mapping[str, Any],
    defaults: Mapping[str, object],
    returns: object,
) -> None:
    """Give a function the signature that `@action` reads units, limits and defaults from."""
    this = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    given = [
        inspect.Parameter(
            key,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(key, inspect.Parameter.empty),
            annotation=annotation,
        )
        for key, annotation in parameters.items()
    ]
    function.__name__ = function.__qualname__ = name
    function.__doc__ = doc
    function.__annotations__ = {**parameters, "return": returns}
    # `inspect` honours the attribute on any function; the type of functions does not list it
    vars(function)["__signature__"] = inspect.Signature([this, *given])


def instrument_class(
    name: str, *, kind: str, base: type[I], members: Mapping[str, object], doc: str, depth: int = 1
) -> type[I]:
    """Return a subclass of `base` with these actions and readouts.

    Args:
        name: of the class, and of the variable in the author's module that holds it.
        kind: of the instrument.
        base: fixes the settings, `connect` and `safe_state`.
        members: actions and readouts by name.
        doc: first line for people.
        depth: how many calls up the author's module is.

    Raises:
        ArgumentError: a member that the base has already for something else.
    """
    for member in members:
        if hasattr(Instrument, member):
            allowed = "a name that no instrument has already; rename it with `name=`"
            raise ArgumentError(f"{name}.{member}", member, allowed)
    module = sys._getframe(depth).f_globals.get("__name__", base.__module__)  # noqa: SLF001

    def fill(namespace: dict[str, Any]) -> None:
        namespace.update({"__module__": module, "__qualname__": name, "__doc__": doc, **members})

    made: type[I] = types.new_class(name, (base,), {"kind": kind}, fill)
    return made


class DriverThread:
    """One thread for a driver that blocks: calls one after another, and a stop that gets through.

    Drivers of serial lines, VISA sessions and vendors' libraries are used by one thread at a time. An
    action awaits its calls here, so that the adapter's event loop goes on; `safe_state`, which must not
    wait for ever, takes its turn within a second or goes ahead without.

    Example:
        >>> thread = DriverThread("pump")
        >>> asyncio.run(thread.run(lambda: 2 + 3))
        5
        >>> thread.close()
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"driver-{name}")
        self._turn = threading.RLock()

    async def run(
        self, call: Callable[..., T], *arguments: Any, stop: Callable[[], object] | None = None
    ) -> T:
        """Return what a blocking call returns.

        Args:
            call: is called in the driver's thread.
            arguments: its arguments.
            stop: makes a running call return early; called from another thread when the action is
                cancelled, because the call itself cannot be.

        Raises:
            asyncio.CancelledError: cancelled; the call has returned, or did not within 5 s of `stop`.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._pool, partial(self._take, call, *arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            if stop is not None:
                stop()
            # what it still does on its way out must not reach into the next action
            await asyncio.wait([running], timeout=_LAST_WORD_S)
            if running.done() and not running.cancelled():
                running.exception()  # it was cut short: its complaint is expected
            raise

    def at_once(self, call: Callable[[], T]) -> T:
        """Return what a call returns, from this thread: in turn if that comes within a second."""
        has_turn = self._turn.acquire(timeout=_SAFE_WAIT_S)
        try:
            return call()
        finally:
            if has_turn:
                self._turn.release()

    def close(self) -> None:
        """Let go of the thread; a call that hangs is left behind."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _take(self, call: Callable[..., T], *arguments: Any) -> T:
        with self._turn:
            return call(*arguments)


# --- units -----------------------------------------------------------------------------------------

_SPELLED = {
    "": Unit("", "dimensionless"),
    "1": Unit("", "dimensionless"),
    "ML": Unit("ML", "monolayer"),
    "A": Unit("A", "ampere"),
    "counts": Unit("counts", "count"),
    "%": Unit("%", "percent"),
    "degC": Unit("degC", "degC"),
    "C": Unit("degC", "degC"),
    "deg": Unit("deg", "degree"),
    "deg/s": Unit("deg/s", "degree / second"),
    "um": Unit("um", "micrometer"),
    "ML/s": Unit("ML/s", "monolayer / second"),
    "K": Unit("K", "kelvin"),
    "s": Unit("s", "second"),
    "V": Unit("V", "volt"),
}


# a name may end with any word: only what a laboratory means by it counts ("is_in" is no inch)
_IN_NAMES = (
    {"K", "C", "degC", "s", "ms", "us", "ns", "h", "Hz", "kHz", "MHz", "GHz", "rpm", "dB"}
    | {"V", "mV", "uV", "kV", "A", "mA", "uA", "nA", "pA", "W", "mW", "uW", "kW", "ohm", "kohm"}
    | {"m", "mm", "um", "nm", "cm", "pm", "deg", "mrad", "rad", "counts", "ML", "T", "mT"}
    | {"Pa", "hPa", "kPa", "MPa", "mbar", "ubar", "bar", "Torr", "mTorr", "psi", "N", "mN"}
    | {"g", "mg", "ug", "kg", "L", "mL", "uL", "mol", "mmol", "umol", "mM"}
    | {"eV", "keV", "meV", "J", "mJ"}
)
_BELOW = {"min", "cm2", "mm2"}


def unit_called(symbol: str, where: str = "unit") -> Unit:
    """Return the unit that people write so ("mm", "mL/min", "degC").

    Raises:
        ArgumentError: pint knows no such unit.

    Example:
        >>> unit_called("mm/s").symbol
        'mm/s'
    """
    if symbol in _SPELLED:
        return _SPELLED[symbol]
    try:
        parsed = _registry().parse_units(re.sub(r"(?<=[a-zA-Z])(\d)", r"**\1", symbol))
    except Exception as err:  # pint raises many kinds; each means: not a unit
        raise ArgumentError(where, symbol, f"a unit such as mm, mL/min or degC ({err})") from err
    return Unit(symbol, f"{parsed}")


@cache
def _registry() -> Any:
    import pint

    make: Any = pint.UnitRegistry
    return make()


def unit_in_name(name: str) -> Unit | None:
    """Return the unit of a laboratory that a name ends with, or None.

    Example:
        >>> unit_in_name("rate_mL_per_min").symbol, unit_in_name("hold_K").symbol, unit_in_name("is_in")
        ('mL/min', 'K', None)
    """
    stem, _, below = name.partition("_per_")
    above = stem.rpartition("_")[2]
    if "_" not in stem or above not in _IN_NAMES:
        return None
    if not below:
        return unit_called(above)
    return unit_called(f"{above}/{below}") if below in _IN_NAMES or below in _BELOW else None


def with_unit(annotation: object, *extras: object) -> object:
    """Return the annotation with units or limits added."""
    for extra in extras:
        if extra is not None:
            annotation = Annotated[annotation, extra]
    return annotation
