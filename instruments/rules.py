"""What the adapter's core knows of its instruments: plain data, taken from their classes."""

from collections.abc import Mapping
from dataclasses import dataclass

from twinloop.errors import ArgumentError
from twinloop.instruments.interface import ActionSpec, Instrument, Recovery

__all__ = ["ActionRules", "AdapterSettings", "InstrumentRules", "rules_of"]


@dataclass(frozen=True, slots=True)
class ActionRules:
    """An action, and whether its instrument can be asked what became of it."""

    spec: ActionSpec
    has_reconcile: bool


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """An instrument as the core sees it."""

    kind: str
    is_twin: bool
    schema_digest: str
    actions: Mapping[str, ActionRules]
    readouts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class AdapterSettings:
    """Numbers of one adapter process; times are real.

    Args:
        clock_factor: laboratory seconds in one real second.
        spool_limit_bytes: unacknowledged arrays that the disk may hold [byte].
        spool_reserve_bytes: room that must be left for the arrays of one more action [byte].
        resend_s, resend_max_s: first and longest pause before an unacknowledged outcome, or a failed
            upload, is tried again [s].
        poll_s: pause before a device that is still at it, or could not be asked, is asked again [s].
        max_starts: how often an idempotent action is tried.
        max_ask_errors: how often an instrument that cannot be asked is asked before UNKNOWN.
        finish_s: at the end, so long may an action that declares `finish` for a silence go on [s].
        shutdown_s: after that, longest wait for safe states and cancelled actions [s].
    """

    clock_factor: float = 1.0
    spool_limit_bytes: int = 2 * 1024**3
    spool_reserve_bytes: int = 64 * 1024**2
    resend_s: float = 0.5
    resend_max_s: float = 10.0
    poll_s: float = 0.5
    max_starts: int = 3
    max_ask_errors: int = 10
    finish_s: float = 0.0
    shutdown_s: float = 3.0


def rules_of(instrument: type[Instrument]) -> InstrumentRules:
    """Return the rules of a class of instruments.

    Raises:
        ArgumentError: a reconcilable action without `reconcile`, or an interlock that is no readout.

    Example:
        >>> class Lamp(Instrument, kind="lamp"):
        ...     def connect(self) -> None: ...
        ...     def safe_state(self) -> None: ...
        >>> rules_of(Lamp).kind
        'lamp'
    """
    readouts = frozenset(instrument.readouts())
    actions = {}
    for name, method in instrument.actions().items():
        spec, where = method.spec, f"{instrument.__name__}.{name}"
        if spec.recovery is Recovery.RECONCILABLE and method.reconciler is None:
            raise ArgumentError(where, "reconcilable", f"a coroutine under @{name}.reconcile")
        for interlock in spec.interlocks:
            if interlock not in readouts:
                raise ArgumentError(f"{where}: interlocks", interlock, f"one of {sorted(readouts)}")
        actions[name] = ActionRules(spec, method.reconciler is not None)
    return InstrumentRules(
        kind=instrument.kind,
        is_twin=instrument.is_twin,
        schema_digest=instrument.schema_digest(),
        actions=actions,
        readouts=readouts,
    )
