"""The raw data of a published study: its runs and references, for others to go on from.

They stand in `data/` beside table and plot. What was made with other code, another numba or another
machine's arithmetic has other keys, and is simply not used.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twinloop.agents.bench.run import Setting, reference_file
from twinloop.agents.bench.study import append_run, kept_runs
from twinloop.errors import ArgumentError

__all__ = ["publish_data", "take_over"]

_RUNS = "runs.jsonl"


def publish_data(
    settings: Sequence[Setting], kept: Mapping[str, Mapping[str, Any]], folder: Path
) -> list[Path]:
    """Copy runs and references of a study into `folder`/data; return the files.

    Args:
        settings: the runs that are published; those that were not made are left out.
        kept: records by key.
        folder: where table and plot are.
    """
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    made = {s.key: s for s in settings if s.key in kept}
    lines = [json.dumps(kept[key], allow_nan=True) + "\n" for key in made]
    runs = data / _RUNS
    runs.write_text("".join(lines), encoding="utf-8")
    for old in data.glob("reference-*.npz"):
        old.unlink()
    used = {reference_file(s) for s in made.values()}
    found = [path for path in sorted(used) if path.is_file()]
    return [runs, *(Path(shutil.copy(path, data / path.name)) for path in found)]


def take_over(source: Path, folder: Path, cache: Path) -> tuple[int, int]:
    """Take runs and references from a published study; return how many of each were new.

    Args:
        source: folder of the published study, or its `data`.
        folder: of the own study.
        cache: its growths and references.

    Raises:
        ArgumentError: there is no published data.
    """
    data = next((d for d in (source / "data", source) if (d / _RUNS).is_file()), None)
    if data is None:
        raise ArgumentError("--go-on-from", str(source), f"a folder with {_RUNS} or data/{_RUNS}")
    for place in (folder, cache):
        place.mkdir(parents=True, exist_ok=True)
    own = kept_runs(folder)
    new = [record for key, record in kept_runs(data).items() if key not in own]
    for record in new:
        append_run(folder / _RUNS, record)
    references = [p for p in data.glob("reference-*.npz") if not (cache / p.name).exists()]
    for path in references:
        shutil.copy(path, cache / path.name)
    return len(new), len(references)
