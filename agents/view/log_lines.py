"""What changed between two pictures, one line for each change: for files and pipes."""

from collections.abc import Iterator, Mapping
from typing import Any

from twinloop.agents.report.words import plural
from twinloop.agents.view.content import (
    SILENT_S,
    best_words,
    count,
    names,
    point_words,
    progress_words,
    silent_s,
    theory,
    theory_words,
    trials,
    value_words,
    values,
    waiting_trial,
)

__all__ = ["log_lines"]

Content = Mapping[str, Any]


def log_lines(previous: Content | None, now: Content) -> list[str]:
    """Return a line for each change worth telling.

    Args:
        previous: the picture before, None for the first one.
        now: the present picture.

    Example:
        >>> log_lines({"life": 1}, {"life": 2})
        ['the conductor was restarted: life 2 goes on from the journal']
    """
    # what had ended before anybody looked is no news
    seen = ("observations", "failed")
    before: Content = {k: count(now, k) for k in seen} if previous is None else previous
    asked: Content = now if previous is None else previous
    lines = [*_conductor(previous, now)]
    lines += _instruments(before, now)
    lines += _trials(before, now)
    lines += _theory(asked, now)
    lines += _best(before, now)
    lines += _state(before, now)
    return lines


def _conductor(previous: Content | None, now: Content) -> Iterator[str]:
    if previous is None:
        yield f"campaign: {progress_words(now)}, life {count(now, 'life')} of the conductor"
        return
    was, life = count(previous, "life"), count(now, "life")
    if life > was:
        yield f"the conductor was restarted: life {life} goes on from the journal"
    if silent_s(previous) < SILENT_S <= silent_s(now):
        yield f"nothing heard of the conductor for {SILENT_S:g} s"
    elif silent_s(previous) >= SILENT_S > silent_s(now):
        yield "the conductor is heard again"


def _instruments(before: Content, now: Content) -> Iterator[str]:
    for key, came, went in (
        ("leases", "lease on {} granted", "lease on {} lost"),
        ("workers", "worker {} is there", "worker {} is gone"),
    ):
        was, there = names(before, key), names(now, key)
        yield from (came.format(name) for name in there if name not in was)
        yield from (went.format(name) for name in was if name not in there)
    was_tripped = _tripped(before)
    for name, reason in _tripped(now).items():
        if name not in was_tripped:
            yield f"{name} is tripped: {reason}; a person has to clear it"


def _tripped(content: Content) -> dict[str, str]:
    found = content.get("instruments")
    return {
        str(name): str(about.get("trip"))
        for name, about in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(about, Mapping) and about.get("trip")
    }


def _trials(before: Content, now: Content) -> Iterator[str]:
    was, there = trials(before), trials(now)
    gone = [name for name in was if name not in there]
    n_new = max(count(now, "observations") - count(before, "observations"), 0)
    n_failed = max(count(now, "failed") - count(before, "failed"), 0)
    if gone or n_new or n_failed:
        who = ", ".join(gone) or "a trial that was over at once"
        yield f"{who} ended: {_ends(now, n_new, n_failed)} ({progress_words(now)})"
    for name, trial in there.items():
        if name not in was:
            words = point_words(trial.get("point"))
            yield f"{name} started: {words}" if words else f"{name} started"
        if trial.get("is_held") and not was.get(name, {}).get("is_held"):
            yield f"{name} is held: nobody can tell an outcome; a person has to decide"


def _ends(now: Content, n_new: int, n_failed: int) -> str:
    words = [value_words(now, value) for value in (values(now)[-n_new:] if n_new else ())]
    if n_failed:
        words.append("no result" if n_failed == 1 else f"{n_failed} without result")
    return ", ".join(words) or "not yet told how"


def _theory(before: Content, now: Content) -> Iterator[str]:
    """Yield a line for each batch, none for each simulation."""
    was, about = theory(before), theory(now)
    n_new = sum(count(about, k) - count(was, k) for k in ("simulated", "simulating"))
    held = waiting_trial(now)
    if n_new > 0:
        yield f"theory is asked for {plural(n_new, 'simulation')}: {theory_words(now)}"
    elif held and held != waiting_trial(before):
        under_way = plural(count(about, "simulating"), "simulation")
        yield f"{held} waits for theory: {under_way} under way"
    if count(was, "simulating") and about and not count(about, "simulating"):
        yield f"theory has answered: {theory_words(now)}"
    weights = [part.get("weight") for part in (was, about)]
    is_off = [isinstance(weight, int | float) and weight <= 0 for weight in weights]
    if is_off[1] and not is_off[0]:
        yield "theory is switched off: experiments are chosen without it"


def _best(before: Content, now: Content) -> Iterator[str]:
    old, new = before.get("best"), now.get("best")
    if isinstance(new, Mapping) and new != old:
        yield f"best so far: {best_words(now)}"


def _state(before: Content, now: Content) -> Iterator[str]:
    paused, was_paused = now.get("paused"), before.get("paused")
    if paused != was_paused:
        yield f"paused by {paused}" if paused else "goes on after the pause"
    finished = now.get("finished")
    if finished and finished != before.get("finished"):
        yield f"finished: {finished}; {best_words(now) or 'no best'}"
