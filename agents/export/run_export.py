"""Export of a run folder, in the formats that are asked for."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twinloop import __version__
from twinloop.agents.export.documents import write_documents
from twinloop.agents.export.formats import Format
from twinloop.agents.export.nexus import Places, write_nexus
from twinloop.agents.export.notice import run_notice
from twinloop.agents.export.parquet import write_parquet
from twinloop.agents.export.record import RunRecord, read_run
from twinloop.agents.export.target import MANIFEST, draft_of
from twinloop.clocks import utc_now
from twinloop.errors import ArgumentError
from twinloop.log.durable import write_whole

__all__ = ["Exported", "export_run"]

_ELEMENT_LETTERS = 2


@dataclass(slots=True)
class Exported:
    """What an export has made.

    Args:
        target: the folder.
        files: in it, with their size, by relative path [byte].
        problems: what is missing in it, and why.
        notes: what else there is to know.
    """

    target: Path
    files: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def export_run(
    run: Path,
    target: Path | None = None,
    *,
    which: Format = Format.ALL,
    trial: str | None = None,
    sample: str | None = None,
    elements: Sequence[str] = (),
    overwrite: bool = False,
) -> Exported:
    """Export a run folder; it is only read, so that it may be exported while the campaign runs.

    What is damaged or missing is left out and told; the rest is exported.

    Args:
        run: the run folder.
        target: folder to make; the folder `export` in it when left out.
        which: format; bluesky documents bring the NeXus files along, to which they point.
        trial: this one only ("t0007", or 7).
        sample: trials on this sample only.
        elements: chemical elements of the samples, for definitions that ask for them ("Ga", "As").
        overwrite: replace an export that is there.

    Raises:
        ConfigError: no run folder.
        ArgumentError: no such trial or sample, or a target that may not be replaced.
        ExportNeeds: a package of the extra `export` is missing.
        ExportFailed: the disk refused; the target is as it was.
        LogFailed: the journal cannot be opened.
    """
    for element in elements:
        if not (element.isalpha() and element.istitle() and len(element) <= _ELEMENT_LETTERS):
            raise ArgumentError("--elements", element, "symbols of elements, such as Al,Ga,As")
    record = read_run(run)
    record.select(trial, sample)
    chosen = run / "export" if target is None else target
    made = Exported(chosen)
    with draft_of(chosen, overwrite=overwrite) as draft:
        _write(record, draft, chosen, which, tuple(elements))
        made.files = {
            path.relative_to(draft).as_posix(): path.stat().st_size
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
        made.problems, made.notes = list(dict.fromkeys(record.problems)), record.notes
        manifest = json.dumps(_manifest(record, made, which), indent=2) + "\n"
        write_whole(draft / MANIFEST, manifest.encode("utf-8"))
    return made


def _write(
    record: RunRecord, draft: Path, target: Path, which: Format, elements: tuple[str, ...]
) -> None:
    places: Places = {}
    if which is not Format.PARQUET:
        (draft / "nexus").mkdir()
        places = write_nexus(record, draft / "nexus", elements)
    if which in {Format.PARQUET, Format.ALL}:
        (draft / "parquet").mkdir()
        write_parquet(record, draft / "parquet")
    if which in {Format.BLUESKY, Format.ALL}:
        (draft / "bluesky").mkdir()
        write_documents(record, draft / "bluesky", places, target / "nexus")


def _manifest(record: RunRecord, made: Exported, which: Format) -> dict[str, Any]:
    history = record.history
    return {
        "campaign": record.campaign,
        "run": record.run_id,
        "notice": run_notice(history),
        "format": which.value,
        "trials": [t.id for t in record.trials],
        "journal": {
            "id": history.log_id,
            "events": history.n_events,
            "head": history.head,
            "check": history.check,
        },
        "is_finished": history.finished is not None,
        "exported_at": utc_now(),
        "twinloop": __version__,
        "files": made.files,
        "problems": made.problems,
        "notes": made.notes,
    }
