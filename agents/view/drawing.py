"""A picture of the campaign as something rich can draw."""

from collections.abc import Mapping
from typing import Any

from rich.box import ROUNDED
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from twinloop.agents.report.words import duration, number, plural
from twinloop.agents.view.content import (
    SILENT_S,
    best_words,
    count,
    names,
    point_words,
    progress_words,
    silent_s,
    theory_words,
    trials,
    values,
)
from twinloop.agents.view.sparkline import chart, sparkline
from twinloop.agents.view.stream_window import StreamWindow

__all__ = ["render"]

Content = Mapping[str, Any]
_NARROWEST = 40
_CHART_LINES = 5
_MOST_TRIALS = 6
_MOST_REASONS = 5
_STATE_COLOURS = {"busy": "green", "tripped": "bold red", "held": "yellow", "reconciling": "yellow"}


def render(content: Content, streams: Mapping[str, StreamWindow], width: int) -> RenderableType:
    """Return the whole view.

    Args:
        content: what the conductor sent, and beside it `campaign`, `silent_s` and `instruments`
            (the state of each by name), as the viewer noted them; {} before the first news.
        streams: what is measured just now, by the name of the stream.
        width: columns of the terminal.
    """
    inside = max(width, _NARROWEST) - 4
    parts: list[RenderableType] = []
    if not content.get("goal"):
        parts.append(Text("waiting for the conductor ...", style="dim"))
    else:
        parts += [_progress(content, inside), _rows(content, inside)]
    for name, window in streams.items():
        if window.values:
            parts += [Text(), *_stream(name, window, inside)]
    warning = _warning(content)
    if warning is not None:
        parts.append(warning)
    return Panel(
        Group(*parts),
        title=_title(content),
        title_align="left",
        subtitle=_clock(content),
        subtitle_align="right",
        box=ROUNDED,
        border_style="red" if silent_s(content) >= SILENT_S else "cyan",
        width=max(width, _NARROWEST),
    )


def _title(content: Content) -> Text:
    return Text(f" {content.get('campaign') or 'campaign'} ", style="bold")


def _clock(content: Content) -> Text:
    words = []
    for name, what in (("at_s", "led for"), ("lab_s", "laboratory")):
        value = content.get(name)
        if isinstance(value, int | float):
            words.append(f"{what} {duration(float(value))}")
    if count(content, "life") > 1:
        words.append(f"life {count(content, 'life')}")
    return Text(f" {' · '.join(words)} " if words else "", style="dim")


def _progress(content: Content, width: int) -> RenderableType:
    done = count(content, "observations") + count(content, "failed")
    row = Table.grid(padding=(0, 1))
    words = progress_words(content)
    bar = ProgressBar(
        total=max(count(content, "experiments"), done, 1),
        completed=done,
        width=max(width - len(words) - 2, 8),
        complete_style="cyan",
    )
    row.add_row(bar, words)
    return row


def _rows(content: Content, width: int) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="ellipsis")
    best = best_words(content)
    rows.add_row("best", Text(best or "none yet", style="bold green" if best else "dim"))
    measured = values(content)
    if measured:
        low, high = number(min(measured), 3), number(max(measured), 3)
        line = sparkline(measured, max(width - 40, 10))
        goal = str(content.get("goal"))
        rows.add_row(goal[:16], Text.assemble((line, "cyan"), (f"  {low} to {high}", "dim")))
    of_theory = theory_words(content)
    if of_theory:
        rows.add_row("theory", Text(of_theory))
    for n, (name, trial) in enumerate(list(trials(content).items())[:_MOST_TRIALS]):
        rows.add_row("trials" if n == 0 else "", _trial(name, trial))
    for n, reason in enumerate(names(content, "waiting")[:_MOST_REASONS]):
        rows.add_row("waits for" if n == 0 else "", Text(reason, no_wrap=True))
    for n, (name, words) in enumerate(_instruments(content).items()):
        rows.add_row("instruments" if n == 0 else "", Text.assemble(f"{name:<10} ", words))
    workers = content.get("workers")
    if isinstance(workers, Mapping) and workers:
        rows.add_row("workers", ", ".join(_worker(*w) for w in workers.items()))
    return rows


def _worker(name: object, n_tasks: object) -> str:
    busy = plural(n_tasks, "task") if isinstance(n_tasks, int) and n_tasks else "idle"
    return f"{name} ({busy})"


def _trial(name: str, trial: Content) -> Text:
    words = Text.assemble((name, "bold"), f"  {point_words(trial.get('point'))}", no_wrap=True)
    words.append(f"  {count(trial, 'steps_done')} steps done", style="dim")
    if trial.get("is_held"):
        words.append("  held for a person", style="bold yellow")
    return words


def _instruments(content: Content) -> dict[str, Text]:
    """Return the state of each instrument; of one that does not answer, the lease alone."""
    leased = names(content, "leases")
    told = content.get("instruments")
    found = dict(told) if isinstance(told, Mapping) else {}
    words: dict[str, Text] = {}
    for name in dict.fromkeys([*leased, *map(str, found)]):
        about = found.get(name)
        lease = "" if name in leased else "no lease"
        if not isinstance(about, Mapping):
            words[name] = Text(lease or "leased", style="dim")
            continue
        state = str(about.get("state", ""))
        line = Text(f"{state} {about.get('action') or ''}".strip(), _STATE_COLOURS.get(state, ""))
        for detail in (about.get("sample"), about.get("trip"), lease):
            if detail:
                line.append(f"  {detail}", style="dim")
        words[name] = line
    return words


def _stream(name: str, window: StreamWindow, width: int) -> list[RenderableType]:
    low, high = min(0.0, *window.values), max(window.values)
    of = f" of {window.trial}" if window.trial else ""
    span = f", {duration(window.times[-1] - window.times[0])}" if len(window.times) > 1 else ""
    lost = f", {window.n_lost} elements lost on the way" if window.n_lost else ""
    head = Text.assemble(
        (f"{name}{of}", "bold"), (f"  now {number(window.values[-1], 3)}{span}{lost}", "dim")
    )
    lines = chart(window.values, width - 10, _CHART_LINES)
    scale = [number(high, 3), *[""] * (len(lines) - 2), number(low, 3)]
    body = [
        Text.assemble((f"{mark:>8} ", "dim"), (line, "green"), no_wrap=True)
        for mark, line in zip(scale, lines, strict=True)
    ]
    return [head, *body]


def _warning(content: Content) -> Text | None:
    if silent_s(content) >= SILENT_S:
        words = f"no news of the conductor for {duration(round(silent_s(content)))}: "
        return Text(words + "if it died, it is started again and goes on", style="bold red")
    if content.get("paused"):
        return Text(f"paused by {content['paused']}", style="bold yellow")
    if content.get("finished"):
        return Text(f"finished: {content['finished']}", style="bold green")
    return None
