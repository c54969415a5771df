"""What must be said loudly of where numbers come from: a real instrument, or its digital twin."""

from twinloop.agents.report.history import History

__all__ = ["instrument_notice", "is_simulated", "run_notice"]


def instrument_notice(is_twin: bool | None, clock_factor: float | None) -> str:
    """Return what must be said of an instrument's numbers; None is not known.

    Example:
        >>> instrument_notice(False, 1.0)
        'measured on a real instrument'
    """
    if is_twin is None:
        return "the journal does not tell whether a real instrument measured this"
    if not is_twin:
        return "measured on a real instrument"
    return (
        "SIMULATED TWIN: computed by the digital twin of an instrument, not measured"
        f"{_clock(clock_factor)}"
    )


def run_notice(history: History) -> str:
    """Return what must be said of a whole run."""
    twins = sorted({lease.instrument for lease in history.leases if lease.is_twin})
    others = {lease.instrument for lease in history.leases if not lease.is_twin}
    factor = None if history.started is None else history.started.clock_factor
    if twins and others:
        return f"PARTLY SIMULATED: {', '.join(twins)} are digital twins{_clock(factor)}"
    return instrument_notice(is_simulated(history), factor)


def is_simulated(history: History) -> bool | None:
    """Return whether any instrument of a run was a twin; None where the journal does not tell.

    A sample that one twin had in its hands is no real sample, whatever the others are.
    """
    return any(lease.is_twin for lease in history.leases) if history.leases else None


def _clock(factor: float | None) -> str:
    return "" if factor is None else f"; its laboratory clock ran {factor:g} times real time"
