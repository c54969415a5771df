"""Errors that carry their values.

Every error says what was asked, what was found, what is allowed and what to do; the values stay as
attributes, so that a program can act on them. One base class, and one subclass for each condition
that a caller can act on.
"""

from collections.abc import Sequence

__all__ = [
    "ArgumentError",
    "BadProposal",
    "BindRefused",
    "ConfigError",
    "ConfigProblem",
    "Disconnected",
    "FrameError",
    "InterlockOpen",
    "JournalCorrupt",
    "LabError",
    "LimitViolation",
    "MessageRejected",
    "NotDeterministic",
    "PlanningFailed",
    "RunFolderBusy",
    "SampleMismatch",
    "SpoolFull",
    "StaleCommand",
    "StepFailed",
    "StepPartial",
    "StepUnknown",
    "describe_error",
]


class LabError(Exception):
    """Base of every error that twinloop raises on purpose."""


class LimitViolation(LabError):
    """A physical quantity outside what the action's type allows."""

    def __init__(
        self, name: str, asked: float, low: float, high: float, unit: str = "", where: str = ""
    ) -> None:
        self.name, self.asked, self.low, self.high, self.unit, self.where = (
            name, asked, low, high, unit, where,
        )  # fmt: skip
        place = f" ({where})" if where else ""
        super().__init__(
            f"{name}: requested {asked:g} {unit}, allowed {low:g} to {high:g} {unit}{place}; "
            "choose a value inside the limits".replace("  ", " ")
        )


class InterlockOpen(LabError):
    """The instrument is tripped or an interlock forbids the action."""

    def __init__(self, instrument: str, reason: str, what_to_do: str) -> None:
        self.instrument, self.reason, self.what_to_do = instrument, reason, what_to_do
        super().__init__(f"{instrument} refuses to act: {reason}; {what_to_do}")


class StaleCommand(LabError):
    """A command under another lease epoch, another ledger, or past its deadline."""

    def __init__(self, key: str, field: str, found: object, expected: object) -> None:
        self.key, self.field, self.found, self.expected = key, field, found, expected
        super().__init__(
            f"command {key}: {field} is {found}, expected {expected}; "
            "renew the lease and let the campaign decide anew"
        )


class SampleMismatch(LabError):
    """A command names another sample than the one in the instrument."""

    def __init__(self, key: str, asked: str, found: str | None) -> None:
        self.key, self.asked, self.found = key, asked, found
        super().__init__(
            f"command {key} is for sample {asked}, the instrument holds {found or 'none'}; "
            "load the named sample or end that trial"
        )


class SpoolFull(LabError):
    """The adapter's spool has no room for the arrays of another action."""

    def __init__(self, used_bytes: int, limit_bytes: int) -> None:
        self.used_bytes, self.limit_bytes = used_bytes, limit_bytes
        super().__init__(
            f"spool holds {used_bytes} bytes of unacknowledged arrays, allowed {limit_bytes}; "
            "no action starts until the campaign's depot has taken some"
        )


class Disconnected(LabError):
    """A peer that should answer does not."""

    def __init__(self, peer: str, waited_s: float, what_to_do: str = "") -> None:
        self.peer, self.waited_s = peer, waited_s
        hint = f"; {what_to_do}" if what_to_do else ""
        super().__init__(f"{peer} did not answer within {waited_s:g} s{hint}")


class BindRefused(LabError):
    """An endpoint that is not on the loopback interface."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        super().__init__(
            f"refusing to bind {endpoint}: only loopback (127.0.0.1, [::1]) is allowed, because "
            "this version has no CURVE keys and no ZAP authentication; "
            "bind tcp://127.0.0.1:PORT, and reach other hosts through an SSH tunnel"
        )


class MessageRejected(LabError):
    """A message that breaks the wire's rules; never acted upon."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"message rejected ({reason}){': ' + detail if detail else ''}")


class FrameError(MessageRejected):
    """An array frame that does not match its description."""

    def __init__(self, name: str, field: str, found: object, expected: object) -> None:
        self.name, self.field, self.found, self.expected = name, field, found, expected
        super().__init__("frame", f"array {name!r}: {field} is {found}, described as {expected}")


class ArgumentError(LabError):
    """A call with an argument that cannot be used."""

    def __init__(self, name: str, found: object, allowed: str) -> None:
        self.name, self.found, self.allowed = name, found, allowed
        super().__init__(f"{name}: found {found!r}, allowed: {allowed}")


class ConfigProblem:
    """One problem of a configuration: the file and line, the key, what was found, what is allowed."""

    def __init__(
        self, file: str, key: str, found: object, allowed: str, line: int | None = None
    ) -> None:
        self.file, self.key, self.found, self.allowed, self.line = file, key, found, allowed, line

    def __str__(self) -> str:
        """Return the problem as one line."""
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        where = f"{place}: {self.key}" if self.key else place
        found = "nothing" if self.found is None else repr(self.found)
        shown = found if len(found) <= 100 else f"{found[:97]}..."
        return f"{where}: found {shown}, allowed: {self.allowed}"


class ConfigError(LabError):
    """A configuration that cannot be run; nothing was started."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))


class RunFolderBusy(LabError):
    """Another process owns the run folder."""

    def __init__(self, folder: str, owner: str, me: str) -> None:
        self.folder, self.owner, self.me = folder, owner, me
        super().__init__(
            f"{folder} is in use by {owner}; this is {me}; "
            "stop that one first (Ctrl-C, or kill its pid), or choose another folder"
        )


class JournalCorrupt(LabError):
    """The log's hash chain does not close."""

    def __init__(self, path: str, seq: int, detail: str) -> None:
        self.path, self.seq, self.detail = path, seq, detail
        super().__init__(
            f"{path}: event {seq} does not fit the chain ({detail}); "
            "restore the file from a copy: events from here on cannot be trusted"
        )


class NotDeterministic(LabError):
    """A protocol that, on re-entry, does not ask for the step that is on record."""

    def __init__(self, trial: str, path: str, recorded: str, asked: str) -> None:
        self.trial, self.path, self.recorded, self.asked = trial, path, recorded, asked
        super().__init__(
            f"trial {trial}, step {path}: the journal holds {recorded}, the protocol now asks for "
            f"{asked}; this trial is parked for good, its records stay, the campaign goes on; a "
            "protocol takes the same way for the same results, and is changed between campaigns"
        )


class StepFailed(LabError):
    """A step that had no effect, for certain; a protocol may catch it."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"step {path} failed: {reason}")


class StepPartial(LabError):
    """A step of which some happened; a protocol may catch it and read `what`."""

    def __init__(self, path: str, what: object, reason: str) -> None:
        self.path, self.what, self.reason = path, what, reason
        super().__init__(f"step {path} happened only in part ({what}): {reason}")


class StepUnknown(LabError):
    """A step whose effect nobody can tell; the sample is suspect."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(
            f"step {path}: nobody can tell what happened ({reason}); the sample is held: "
            "inspect it; 'twinloop status' prints the 'twinloop decide' to give"
        )


class PlanningFailed(LabError):
    """A fit or an optimisation that gave nothing to use; `Planner.ask` then takes the next rung."""

    def __init__(self, planner: str, reason: str) -> None:
        self.planner, self.reason = planner, reason
        super().__init__(
            f"planner {planner} found no point: {reason}; "
            "a simpler rule proposes instead, and the proposal's memo says which"
        )


class BadProposal(LabError):
    """A planner that breaks its contract: a mistake in its code, which no fallback should hide."""

    def __init__(self, planner: str, name: str, found: object, allowed: str) -> None:
        self.planner, self.name, self.found, self.allowed = planner, name, found, allowed
        super().__init__(
            f"planner {planner} proposed {name} {found!r}, allowed: {allowed}; correct the planner "
            "(twinloop.planners.testing.check_planner shows where)"
        )


def describe_error(error: BaseException) -> str:
    """Return an error as one line for a ledger: its text, and its type where it is not ours."""
    text = str(error) if isinstance(error, LabError) else f"{type(error).__name__}: {error}"
    # a device's bytes read as text may hold what no ledger takes
    return text[:1000].encode("utf-8", "replace").decode("utf-8")
