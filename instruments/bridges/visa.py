"""An instrument that speaks SCPI over VISA, as a table of commands.

    Supply = scpi_instrument(
        "Supply",
        kind="power_supply",
        doc="Heater supply of the anneal stage.",
        identity=r"ACME,PS-30",
        safe_state=("VOLT 0", "OUTP OFF"),
        does={
            "set_voltage": Scpi(
                "VOLT {voltage_V:.3f}",
                Recovery.IDEMPOTENT,
                OnSilence.SAFE_STATE,
                parameters={"voltage_V": Annotated[Volts, Limit(0, 30, rate_per_s=5)]},
                read_back={"voltage_V": ("VOLT?", 0.01)},
            ),
        },
        reads={"current_A": ("MEAS:CURR?", Annotated[Amperes, Limit(0, 3)])},
    )

Settings of the laboratory file: `resource` ("TCPIP0::10.0.0.7::INSTR", "ASRL3::INSTR"), `visa_library`
("" for the installed one, "@py", or "file.yaml@sim"), `timeout_s`, `read_termination`,
`write_termination`. Needs the extra `visa` (pyvisa). Each action checks the instrument's own error queue;
an argument with a `rate_per_s` is approached in steps at that rate; a value with a read-back is compared.

Source: SCPI-1999, volume 2, chapter 21 (error queue); IEEE 488.2-1992 (*IDN?, *OPC?).
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, get_args, get_origin

import numpy as np
from pydantic import Field, PositiveFloat, PrivateAttr

from twinloop.errors import ArgumentError, Disconnected, LabError
from twinloop.instruments.bridges.foreign import (
    DriverThread,
    Reconciler,
    instrument_class,
    make_action,
    make_readout,
)
from twinloop.instruments.interface import (
    ActionMethod,
    Command,
    Instrument,
    NotTouched,
    OnSilence,
    Recovery,
)
from twinloop.limits import limit_of

__all__ = ["Scpi", "ScpiError", "VisaInstrument", "scpi_instrument"]

_STEP_S = 0.1
_MAX_ERRORS = 32
# SCPI-1999, volume 1, 7.2.1.4 and 7.2.1.5: infinity is 9.9E37, "not a number" 9.91E37
_NO_NUMBER = 9.9e37
_NO_ERROR = re.compile(r"^\s*\+?0\b")
_ERROR = re.compile(r"^\s*([+-]?\d+)\s*,?\s*(.*)$", re.DOTALL)


class ScpiError(LabError):
    """The instrument's error queue holds a complaint about what it was told."""

    def __init__(self, said: str, complaint: str) -> None:
        self.said, self.complaint = said, complaint
        super().__init__(
            f"the instrument answers {complaint!r} to {said!r}; see its manual for that error, "
            "and look at its front panel before it is told again"
        )

    @property
    def is_refusal(self) -> bool:
        """Return True for an error by which the instrument did not carry the command out.

        A command error (-100 to -199) is found by the parser; "settings conflict", "data out of range",
        "too much data", "illegal parameter value" (-221 to -224) before execution.
        """
        found = _ERROR.match(self.complaint)
        number = int(found[1]) if found else 0
        return -199 <= number <= -100 or -224 <= number <= -221


@dataclass(frozen=True)
class Scpi:
    """One action as SCPI.

    Args:
        write: what to write, with the arguments in braces; several lines in order.
        recovery: what to do when its effect is not known.
        on_silence: what to do when the lease holder falls silent.
        parameters: annotated type of each argument, with its unit and limit.
        ask: query whose answer is the result, after everything else; "" for none.
        returns: annotated type of the result: float, int, bool, str, or an array of numbers.
        done_when: query and regular expression: the action lasts until the answer matches.
        abort: what to write when it is aborted before that.
        read_back: argument to (query, largest difference): what must be found afterwards.
        ramp_from: argument to the query that tells where a ramp at its `rate_per_s` begins; the
            read-back's query where left out.
        silence_s: how long a silence is one [s, real].
        interlocks: boolean readouts that must be true when it starts.
        reconcile: `async (instrument, command) -> Verdict`; a reconcilable action needs one.
        doc: first line for people.
    """

    write: str | Sequence[str]
    recovery: Recovery
    on_silence: OnSilence
    parameters: Mapping[str, Any] = field(default_factory=dict)
    ask: str = ""
    returns: object = None
    done_when: tuple[str, str] | None = None
    abort: str = ""
    read_back: Mapping[str, tuple[str, float]] = field(default_factory=dict)
    ramp_from: Mapping[str, str] = field(default_factory=dict)
    silence_s: float = 10.0
    interlocks: tuple[str, ...] = ()
    reconcile: Reconciler | None = None
    doc: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Return what is written, as lines."""
        return (self.write,) if isinstance(self.write, str) else tuple(self.write)


class VisaInstrument(Instrument):
    """Base of every instrument that `scpi_instrument` makes.

    Args:
        resource: VISA name of the instrument.
        visa_library: "" for the installed library, "@py", or "file.yaml@sim".
        timeout_s: longest wait for an answer [s].
        read_termination: what ends an answer.
        write_termination: what ends a command.
    """

    resource: str
    visa_library: str = ""
    timeout_s: PositiveFloat = 2.0
    read_termination: Annotated[str, Field(max_length=2)] = "\n"
    write_termination: Annotated[str, Field(max_length=2)] = "\n"
    _session: Any = PrivateAttr(default=None)
    _thread: DriverThread | None = PrivateAttr(default=None)

    @property
    def thread(self) -> DriverThread:
        """Return the thread in which the session is used."""
        if self._thread is None:
            self._thread = DriverThread(type(self).__name__)
        return self._thread

    def open_session(self, identity: str) -> None:
        """Open the session and check who answers.

        Raises:
            Disconnected: nobody answers.
            ArgumentError: somebody else does, or pyvisa is not installed.
        """
        try:
            import pyvisa
        except ImportError as err:
            raise ArgumentError("pyvisa", None, "pip install 'twinloop[visa]'") from err
        try:
            session: Any = pyvisa.ResourceManager(self.visa_library).open_resource(self.resource)
            session.timeout = 1e3 * self.timeout_s
            session.read_termination = self.read_termination
            session.write_termination = self.write_termination
        except (OSError, ValueError, pyvisa.errors.Error) as err:
            raise Disconnected(self.resource, self.timeout_s, str(err)) from err
        self._session = session
        who = self.ask("*IDN?")
        if not re.search(identity, who):
            self.close_session()
            raise ArgumentError(f"*IDN? of {self.resource}", who, f"what matches {identity!r}")
        self.complaints()

    def close_session(self) -> None:
        """Close the session."""
        session, self._session = self._session, None
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.close()
        if session is not None:
            session.close()

    def tell(self, line: str) -> None:
        """Write a line; in the driver's thread.

        Raises:
            Disconnected: it cannot be written.
        """
        import pyvisa

        try:
            self._open().write(line)
        except pyvisa.errors.Error as err:
            raise Disconnected(f"{self.resource} ({line})", self.timeout_s, str(err)) from err

    def ask(self, query: str) -> str:
        """Return the answer to a query; in the driver's thread.

        Raises:
            Disconnected: no answer in time.
        """
        import pyvisa

        session = self._open()
        try:
            session.write(query)
            answer: str = session.read_raw().decode("utf-8", "replace")
        except pyvisa.errors.Error as err:
            raise Disconnected(f"{self.resource} ({query})", self.timeout_s, str(err)) from err
        if not answer.endswith(self.read_termination):
            detail = f"answer {answer!r} does not end with {self.read_termination!r}"
            raise Disconnected(f"{self.resource} ({query})", self.timeout_s, detail)
        return answer.strip()

    def complaints(self, query: str = "SYST:ERR?") -> list[str]:
        """Empty the instrument's error queue and return what was in it."""
        found: list[str] = []
        while len(found) < _MAX_ERRORS and not _NO_ERROR.match(said := self.ask(query)):
            found.append(said)
        return found

    def told(self, line: str) -> None:
        """Write a line, and see that the instrument does not complain.

        Raises:
            ScpiError: it complains.
        """
        self.tell(line)
        complaints = self.complaints()
        if complaints:
            raise ScpiError(line, complaints[0])

    def _open(self) -> Any:
        if self._session is None:
            raise Disconnected(self.resource, 0.0, "call connect first")
        return self._session


def scpi_instrument(
    name: str,
    *,
    kind: str,
    doc: str,
    identity: str,
    safe_state: Sequence[str],
    does: Mapping[str, Scpi],
    reads: Mapping[str, tuple[str, Any]],
    is_twin: bool = False,
) -> type[VisaInstrument]:
    """Return an instrument class from a table of SCPI commands.

    Args:
        name: of the class: the variable that holds it.
        kind: of the instrument.
        doc: first line for people.
        identity: regular expression that its `*IDN?` matches: a cable in the wrong socket is refused.
        safe_state: lines that make it safe, whatever it does.
        does: actions.
        reads: readouts: query and annotated type, with unit and, where going outside is a trip, limit.
        is_twin: a simulated instrument.

    Raises:
        ArgumentError: a line that names no argument of its action, a ramp without a start.
    """
    lines = tuple(safe_state)
    if not lines:
        raise ArgumentError(f"{name}: safe_state", safe_state, "at least one line")
    members: dict[str, object] = {key: _action(name, key, one) for key, one in does.items()}
    members |= {key: _readout(key, query, kind) for key, (query, kind) in reads.items()}

    class Table(VisaInstrument):
        def connect(self) -> None:
            """Open the session, check who answers, forget old errors."""
            self.open_session(identity)

        def safe_state(self) -> None:
            """Write the lines, in turn with what is being said, or without."""
            self.thread.at_once(partial(_tell_all, self, lines))

        def disconnect(self) -> None:
            """Close the session."""
            self.close_session()

    Table.is_twin = is_twin
    return instrument_class(name, kind=kind, base=Table, members=members, doc=doc, depth=2)


def _tell_all(instrument: VisaInstrument, lines: Sequence[str]) -> None:
    for line in lines:
        instrument.tell(line)


def _action(owner: str, name: str, does: Scpi) -> ActionMethod[..., Any]:
    _check(f"{owner}.{name}", does)
    ramped = {
        key: rate
        for key, annotation in does.parameters.items()
        if (limit := limit_of(annotation)) is not None and (rate := limit.rate_per_s) is not None
    }

    async def body(instrument: VisaInstrument, **arguments: Any) -> Any:
        run = instrument.thread.run
        await run(instrument.complaints)
        first = does.lines[0].format(**arguments)
        try:
            for key, rate_per_s in ramped.items():
                await _ramp(instrument, does, arguments, key, rate_per_s)
            for line in does.lines:
                await run(instrument.told, line.format(**arguments))
            if does.done_when is not None:
                await _until(instrument, does)
        except ScpiError as err:
            if err.is_refusal and err.said == first and not ramped:
                raise NotTouched(str(err)) from err
            raise
        except asyncio.CancelledError:
            if does.abort:
                instrument.thread.at_once(partial(instrument.tell, does.abort))
            raise
        return _value(await run(instrument.ask, does.ask), does.returns) if does.ask else None

    made = make_action(
        name,
        body,
        doc=does.doc or f"Tell the instrument {'; '.join(does.lines)}.",
        parameters=does.parameters,
        returns=does.returns,
        recovery=does.recovery,
        on_silence=does.on_silence,
        silence_s=does.silence_s,
        interlocks=does.interlocks,
        reconcile=does.reconcile,
    )
    if does.read_back:
        made.confirm(_confirmer(does))
    return made


def _check(where: str, does: Scpi) -> None:
    if not does.lines:
        raise ArgumentError(f"{where}: write", does.write, "at least one line")
    try:
        for line in does.lines:
            line.format(**dict.fromkeys(does.parameters, 0.0))
    except (KeyError, IndexError, ValueError) as err:
        allowed = f"lines with {sorted(does.parameters)} in braces, each a number ({err!r})"
        raise ArgumentError(f"{where}: write", does.write, allowed) from err
    for key, annotation in does.parameters.items():
        limit = limit_of(annotation)
        if limit is None:
            raise ArgumentError(f"{where}({key})", "no limit", "Annotated[..., Limit(low, high)]")
        if limit.rate_per_s is not None and key not in {**does.ramp_from, **does.read_back}:
            allowed = f"ramp_from={{{key!r}: query}}: where the ramp begins"
            raise ArgumentError(f"{where}({key})", f"{limit.rate_per_s:g} per s", allowed)
    for key in {*does.read_back, *does.ramp_from}:
        if key not in does.parameters:
            raise ArgumentError(f"{where}: read-back", key, f"one of {sorted(does.parameters)}")


async def _ramp(
    instrument: VisaInstrument, does: Scpi, arguments: Mapping[str, Any], key: str, rate: float
) -> None:
    """Approach a value in steps, none faster than its rate allows."""
    query = does.ramp_from.get(key) or does.read_back[key][0]
    answer, aim = await instrument.thread.run(instrument.ask, query), float(arguments[key])
    now = float(_value(answer, float))
    if not abs(now) < _NO_NUMBER:
        raise ScpiError(query, f"{answer}: no place where a ramp could begin")
    step = rate * _STEP_S
    while abs(aim - now) > step:
        now += step if aim > now else -step
        for line in does.lines:
            await instrument.thread.run(instrument.told, line.format(**{**arguments, key: now}))
        await instrument.clock.sleep(_STEP_S)


async def _until(instrument: VisaInstrument, does: Scpi) -> None:
    query, pattern = does.done_when or ("", "")
    while not re.search(pattern, await instrument.thread.run(instrument.ask, query)):
        await instrument.clock.sleep(_STEP_S)


def _confirmer(does: Scpi) -> Callable[..., Awaitable[str | None]]:
    async def confirm(instrument: VisaInstrument, command: Command, _result: object) -> str | None:
        """Ask what it has; a complaint when that is not what it was told."""
        for key, (query, tolerance) in does.read_back.items():
            told = float(command.arguments[key])
            found = float(await instrument.thread.run(instrument.ask, query))
            if not abs(found - told) <= tolerance:
                return f"{key}: told {told:g}, {query} gives {found:g}, {tolerance:g} allowed"
        return None

    return confirm


def _readout(name: str, query: str, returns: Any) -> object:
    async def body(instrument: VisaInstrument) -> Any:
        return _value(await instrument.thread.run(instrument.ask, query), returns)

    return make_readout(name, body, doc=f"Ask {query}.", returns=returns)


def _value(text: str, kind: Any) -> Any:
    """Return an answer as its type says.

    Raises:
        ArgumentError: it is no such thing.
    """
    base = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    try:
        if base is bool:
            return {"1": True, "ON": True, "0": False, "OFF": False}[text.upper()]
        if base is int:
            return int(float(text))
        if base is float:
            return float(text)
        if base is str or base is None:
            return text
        return np.array([float(part) for part in text.split(",")])
    except (ValueError, KeyError) as err:
        raise ArgumentError("answer", text, f"what reads as {base}") from err
