"""The page as a whole: reads a run folder, writes one HTML file that needs nothing else."""

import os
from collections.abc import Callable
from pathlib import Path

from twinloop.agents.report import sections
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, read_history
from twinloop.agents.report.markup import text
from twinloop.agents.report.style import STYLE
from twinloop.agents.report.theory_section import in_the_loop
from twinloop.agents.report.trials_table import trials_table
from twinloop.agents.report.verdict import campaign_name, head
from twinloop.agents.report.views_section import through_instruments
from twinloop.clocks import utc_now

__all__ = ["render_report", "write_report"]

Section = Callable[[History, Evidence], str]
# incidents last but two: whatever the sections before them found damaged is listed there
_SECTIONS: tuple[tuple[str, Section], ...] = (
    ("Course of the campaign", sections.course),
    ("Theory in the loop", in_the_loop),
    ("Films", sections.films),
    ("Through all instruments", through_instruments),
    ("All experiments", trials_table),
    ("Where it looked", sections.space),
    ("Who worked when", sections.work),
    ("Cost", sections.bill),
    ("Incidents", sections.events),
    ("The hidden truth", sections.truth),
    ("How to reproduce", sections.reproduce),
)


def write_report(folder: Path, out: Path | None = None) -> Path:
    """Write the report of a run folder and return where it is.

    Args:
        folder: the run folder; it may belong to a campaign that is still running.
        out: the file; `report.html` in the folder when None.

    Raises:
        LogFailed: the folder holds no journal that can be opened.
        OSError: the page cannot be written.
    """
    evidence = Evidence(folder)
    page = render_report(read_history(evidence), evidence)
    target = folder / "report.html" if out is None else out
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8", newline="\n")
    # a browser that reloads never sees half a page
    unfinished.replace(target)
    return target


def render_report(history: History, evidence: Evidence) -> str:
    """Return the page; a section that cannot be made says so and leaves the others alone."""
    name = text(campaign_name(history))
    parts = [_contained("head", lambda: head(history))]
    for title, make in _SECTIONS:
        body = _contained(title, lambda make=make: make(history, evidence))  # type: ignore[misc]
        if body:
            parts.append(f"<section><h2>{text(title)}</h2>{body}</section>")
    made = f'<p class="note">Made by twinloop at {text(utc_now()[:19])} UTC.</p>'
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{name}: report</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(parts)}<footer>{made}</footer></main></body></html>\n"
    )


def _contained(title: str, make: Callable[[], str]) -> str:
    try:
        return make()
    except Exception as err:  # noqa: BLE001 - damage in one part must not hide the others
        words = f"{title}: this part could not be made ({type(err).__name__}: {err})."
        return f'<p class="bad">{text(words)}</p>'
