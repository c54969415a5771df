"""All runs of a benchmark, side by side and resumable: one line of `runs.jsonl` for each."""

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from twinloop.agents.bench.run import Setting, make_reference, run_one
from twinloop.agents.bench.settings import BenchFile
from twinloop.errors import LabError

__all__ = [
    "RunsFailed",
    "Tell",
    "append_run",
    "kept_runs",
    "make_references",
    "make_runs",
    "settings_of",
]

Tell = Callable[[str], None]
T = TypeVar("T")

_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


class RunsFailed(LabError):
    """Some runs ended with an error; the others stand in `runs.jsonl`."""

    def __init__(self, failed: Sequence[str], folder: Path) -> None:
        self.failed = tuple(failed)
        super().__init__(
            f"{len(failed)} runs failed: {', '.join(failed[:5])}; see {folder / 'failed.txt'}, then "
            "give the same command again: runs that are done are not repeated"
        )


def settings_of(file: BenchFile, cache: Path) -> list[Setting]:
    """Return the runs of a benchmark, seed by seed; a run that serves several scenarios stands once."""
    found: dict[str, Setting] = {}
    for seed in range(file.first_seed, file.first_seed + file.seeds):
        for scenario in file.scenarios:
            for arm in file.arms:
                setting = Setting(file, scenario, arm, seed, cache)
                found.setdefault(setting.key, setting)
    return list(found.values())


def kept_runs(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the records of `runs.jsonl` by key; a line that a kill cut off is left out."""
    path = folder / "runs.jsonl"
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        found[record["key"]] = record
    return found


def make_references(settings: Sequence[Setting], processes: int, tell: Tell) -> None:
    """Look for the best of each truth where that has not been done."""
    by_seed = {s.seed: s for s in settings}
    with _pool(processes) as pool:
        futures = {pool.submit(make_reference, s): f"seed {seed}" for seed, s in by_seed.items()}
        for label, future in _done(futures):
            best, best_sd = future.result()
            tell(f"reference of {label}: best {best:.4f} +- {best_sd:.4f}")


def make_runs(folder: Path, settings: Sequence[Setting], processes: int, tell: Tell) -> None:
    """Make the runs that `runs.jsonl` does not hold, and append them as they end.

    Raises:
        RunsFailed: some ended with an error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = kept_runs(folder)
    left = [s for s in settings if s.key not in kept]
    tell(f"{len(settings)} runs, {len(settings) - len(left)} of them done before")
    failed: list[str] = []
    with _pool(processes) as pool:
        futures = {pool.submit(run_one, s): f"{s.scenario}/{s.arm}/{s.seed}" for s in left}
        for n, (label, future) in enumerate(_done(futures), 1):
            try:
                record = future.result()
            except Exception:  # noqa: BLE001  a run of somebody's planner; the others go on
                failed.append(label)
                with (folder / "failed.txt").open("a", encoding="utf-8") as stream:
                    stream.write(f"--- {label}\n{traceback.format_exc()}\n")
                tell(f"{n}/{len(left)} {label}: failed, see failed.txt")
                continue
            append_run(folder / "runs.jsonl", record)
            tell(f"{n}/{len(left)} {label}: {_in_words(record)}")
    if failed:
        raise RunsFailed(failed, folder)


def append_run(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record; after a line that a kill cut off, on a line of its own."""
    text = json.dumps(record, allow_nan=True) + "\n"
    with path.open("a+b") as stream:
        size = stream.seek(0, os.SEEK_END)
        if size:
            stream.seek(size - 1)
            if stream.read(1) != b"\n":
                text = "\n" + text
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def _in_words(record: Mapping[str, Any]) -> str:
    first = record["first"]
    found = f"none in {record['experiments']}" if first is None else f"at {first['experiments']}"
    return f"{found}, {record['simulations']} simulations, {record['wall_s']:.0f} s"


def _done(futures: Mapping[Future[T], str]) -> Iterator[tuple[str, Future[T]]]:
    for future in as_completed(futures):
        yield futures[future], future


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Give processes with one thread each; queued work is dropped when something is raised."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    pool = ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
