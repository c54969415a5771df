"""How many events a journal takes and gives back each second.

Append: SQLite WAL, synchronous FULL, in a folder on the disk of the working directory, by group
size. Replay: reading, decoding and folding the events of a campaign of this many trials.
"""

import argparse
import tempfile
import time
from pathlib import Path

from measure import median, write_result

from twinloop.agents.campaign.events import (
    CampaignStarted,
    Computed,
    Proposed,
    TrialEnded,
    TrialStarted,
    entry_of,
)
from twinloop.agents.campaign.reading import fold
from twinloop.log.interface import Entry
from twinloop.log.sqlite import SqliteLog


def append_rate(folder: Path, group: int, n_events: int) -> float:
    """Return durable events per second with `group` events a commit."""
    log = SqliteLog(folder / f"group{group}.db", "speed")
    body = {"value": 1.0, "text": "x" * 800}
    began_s = time.perf_counter()
    for n in range(n_events):
        log.append(Entry("speed", 1, body, key=f"k{n}"))
        if n % group == group - 1:
            log.commit()
    log.commit()
    rate = n_events / (time.perf_counter() - began_s)
    log.close()
    return rate


def write_campaign(path: Path, n_trials: int, n_steps: int) -> SqliteLog:
    """Write the journal of a campaign: each trial `n_steps` computations."""
    log = SqliteLog(path, "speed")
    log.append(
        entry_of(
            CampaignStarted(
                campaign="speed", seed=1, config={}, protocol="p", protocol_version=1,
                protocol_digest="d", planner="sobol", planner_version=1, versions={},
                clock_factor=1.0,
            )
        )
    )  # fmt: skip
    for n in range(n_trials):
        trial = f"t{n:04d}"
        log.append(
            entry_of(
                Proposed(number=n, x=(0.5, 0.5), point={"a": 1.0}, basis=1, pending=(), seed=n)
            )
        )
        log.append(entry_of(TrialStarted(trial=trial, number=n, sample=f"s{n}")))
        for k in range(n_steps):
            step = Computed(
                trial=trial, path=str(k), name="a.b", digest="d", state="done", result=1.0
            )
            log.append(entry_of(step))
        log.append(entry_of(TrialEnded(trial=trial, number=n, state="done", y=1.0)))
    log.commit()
    return log


def replay_rate(folder: Path, n_trials: int, n_steps: int) -> tuple[float, float]:
    """Return events read per second, and events folded per second."""
    log = write_campaign(folder / "campaign.db", n_trials, n_steps)
    began_s = time.perf_counter()
    n_events = sum(1 for _ in log.read())
    read_s = time.perf_counter() - began_s
    began_s = time.perf_counter()
    fold(log.read())
    fold_s = time.perf_counter() - began_s
    log.close()
    return n_events / read_s, n_events / fold_s


def main() -> None:
    """Measure and write `results/journal.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    appended: dict[str, list[float]] = {}
    read, folded = [], []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(dir=".") as name:
            folder = Path(name)
            for group, n_events in ((1, 500), (32, 8000), (64, 8000)):
                appended.setdefault(f"{group} a commit", []).append(
                    append_rate(folder, group, n_events)
                )
            reading, folding = replay_rate(folder, 1000, 8)
            read.append(reading)
            folded.append(folding)
    write_result(
        "journal",
        {
            "appended events per second": {k: median(v) for k, v in appended.items()},
            "read events per second": median(read),
            "replayed (read, decoded, folded) events per second": median(folded),
        },
    )


if __name__ == "__main__":
    main()
