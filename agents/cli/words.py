"""What the journal says, in lines for people."""

import json
from collections.abc import Mapping
from typing import Any

from twinloop.agents.campaign.reading import Explanation

__all__ = ["explanation_lines", "status_lines"]


def status_lines(status: Mapping[str, Any], folder: str) -> list[str]:
    """Return how a campaign stands, and what to do where it waits for a person."""
    if status["campaign"] is None:
        return ["not started: the journal is empty"]
    best = status["best"]
    lines = [
        f"campaign      {status['campaign']}, {status['state']}",
        f"observations  {status['observations']}, failed trials {status['failed']}",
        f"under way     {', '.join(status['under_way']) or 'nothing'}",
        f"best          {'none yet' if best is None else _best(best)}",
        f"time          {status['at_s']:.0f} s, laboratory {status['lab_s']:.0f} s",
        f"journal       {status['events']} events, conductor started {status['lives']} times",
    ]
    lines += [f"note          {note}" for note in status.get("notes", ())]
    for key in status["unknown"]:
        lines += [
            f"unknown       {key}: look at the sample, then",
            f"              twinloop decide {folder} {key} done|failed|unknown --reason '...'",
        ]
    return lines


def explanation_lines(explanation: Explanation) -> list[str]:
    """Return why a trial was made, and what came of it."""
    proposed, ended = explanation.proposed, explanation.ended
    lines = [
        f"trial         t{proposed.number:04d}",
        "point         " + ", ".join(f"{k} {v:.6g}" for k, v in proposed.point.items()),
        f"basis         the journal up to event {proposed.basis}",
        "pending       " + (", ".join(f"t{n:04d}" for n in proposed.pending) or "nothing"),
        f"seed          {proposed.seed}",
        f"computed by   {proposed.place or 'conductor'}, {proposed.cpu_s:.2f} CPU s",
        *(f"why           {name}: {_figure(value)}" for name, value in proposed.why.items()),
    ]
    if proposed.memo:
        lines.append(f"memo          {json.dumps(proposed.memo)}")
    lines += [f"step          {step}" for step in explanation.steps]
    if ended is None:
        return [*lines, "ended         not yet"]
    outcome = ", ".join(f"{k} {_figure(v)}" for k, v in ended.outcome.items())
    lines.append(f"ended         {' '.join(filter(None, (ended.state, ended.reason)))}")
    return [*lines, f"outcome       {outcome}"] if outcome else lines


def _best(best: Mapping[str, Any]) -> str:
    outcome = ", ".join(f"{k} {_figure(v)}" for k, v in best["outcome"].items())
    return f"{best['trial']}: {outcome}"


def _figure(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
