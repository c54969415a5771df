"""What did not go by the book: restarts, failures, retries, doubts, and what people did."""

from dataclasses import dataclass

from twinloop.agents.campaign.events import Paused
from twinloop.agents.report.choice import Choice, choice_of
from twinloop.agents.report.history import History, Step, TrialHistory
from twinloop.agents.report.words import plural

__all__ = ["Incident", "incidents"]


@dataclass(frozen=True, slots=True)
class Incident:
    """One line of the list.

    Args:
        at_s: seconds the campaign had been led [s]; None for no particular moment.
        kind: a word for it.
        where: trial, command or instrument.
        what: in a sentence.
    """

    at_s: float | None
    kind: str
    where: str
    what: str


def incidents(history: History) -> list[Incident]:
    """Return everything worth a look, in the order of time."""
    found = [
        *_lives(history),
        *_leases(history),
        *_people(history),
        *_proposals(history),
        *_simulations(history),
        *(i for trial in history.trials.values() for i in _trial(history, trial)),
        *(Incident(None, "journal", "", text) for text in history.unreadable),
    ]
    return sorted(found, key=lambda i: float("inf") if i.at_s is None else i.at_s)


def _lives(history: History) -> list[Incident]:
    return [
        Incident(
            life.at_s,
            "restart",
            f"life {life.life}",
            f"the conductor was started again (incarnation {life.incarnation}) and went on from "
            "the journal",
        )
        for life in history.lives
        if life.life > 1
    ]


def _leases(history: History) -> list[Incident]:
    found, ledgers = [], dict[str, str]()
    for lease in history.leases:
        known = ledgers.get(lease.instrument)
        ledgers[lease.instrument] = lease.ledger
        if known is not None and known != lease.ledger:
            what = (
                f"adapter {lease.adapter} came back with another ledger ({lease.ledger} instead of "
                f"{known}): what it had done under the old one it no longer knew"
            )
            found.append(Incident(lease.at_s, "new ledger", lease.instrument, what))
        elif known is not None:
            what = f"lease taken anew, epoch {lease.epoch}, same ledger"
            found.append(Incident(lease.at_s, "lease", lease.instrument, what))
    return found


def _people(history: History) -> list[Incident]:
    found = []
    for pause in history.pauses:
        kind = "paused" if isinstance(pause, Paused) else "resumed"
        found.append(Incident(pause.at_s, kind, pause.person, pause.reason or "no reason given"))
    for decided in history.decided:
        what = f"{decided.person} settled an unknown outcome as {decided.state}: {decided.reason}"
        found.append(Incident(decided.at_s, "decided", str(decided.key), what))
    return found


def _proposals(history: History) -> list[Incident]:
    found = [
        Incident(event.at_s, "discarded", f"proposal {event.number}", event.reason)
        for event in history.discarded
    ]
    for proposed in history.proposed.values():
        if choice_of(proposed) is Choice.FALLBACK:
            reason = proposed.why.get("fallback") or proposed.why.get("fell") or "not said"
            what = f"the planner could not propose ({reason}); a fallback point was taken"
            found.append(Incident(proposed.at_s, "fallback", f"proposal {proposed.number}", what))
    return found


def _simulations(history: History) -> list[Incident]:
    found = []
    for batch in history.batches.values():
        where = f"batch {batch.batch}"
        if "fallback" in batch.why:
            what = f"the planner could not choose simulations ({batch.why['fallback']}): none"
            found.append(Incident(batch.at_s, "fallback", where, what))
        failed = [s for s in history.simulated if s.batch == batch.batch and s.state == "failed"]
        if failed:
            n, reason = plural(len(failed), "simulation"), failed[0].reason or "no reason given"
            found.append(Incident(failed[0].at_s, "failed", where, f"{n} failed: {reason}"))
    return found


def _trial(history: History, trial: TrialHistory) -> list[Incident]:
    found = [i for step in trial.steps for i in _step(history, step)]
    found += [
        Incident(event.at_s, "failed", f"{trial.id} {event.name}", event.reason)
        for event in trial.computed
        if event.state == "failed"
    ]
    if trial.ended is not None and trial.ended.state != "done":
        found.append(Incident(trial.ended.at_s, trial.ended.state, trial.id, trial.ended.reason))
    return found


def _step(history: History, step: Step) -> list[Incident]:
    command, settled = step.commanded, step.settled
    where = f"{command.key.trial} {command.instrument}.{command.action}"
    if settled is None:
        if history.finished is None:
            return []
        return [Incident(command.at_s, "open", where, "no outcome in the journal")]
    if settled.state == "done":
        return []
    kind = "retried" if settled.may_retry else settled.state
    again = f" (attempt {command.key.attempt})" if command.key.attempt else ""
    return [Incident(settled.at_s, kind, where, (settled.reason or "no reason given") + again)]
