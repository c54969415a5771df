"""Real growths, kept on disk: the same growth is computed once, whoever asks for it.

A growth is known by its knobs, its theta, its seed, the settings of the simulator and `code`, a
digest of what the simulator answers to three fixed questions: code that gives the same bits is the
same code, and another machine or another numba that does not is another one.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from twinloop.agents.bench.task import OBJECTIVE
from twinloop.ids import canonical_json, digest_of
from twinloop.simulators.interface import Prediction
from twinloop.simulators.kmc_growth import INTENSITY_DOSES_ML, KMCGrowth

__all__ = ["Grown", "Growths", "code_of_growths", "observed"]

_PROBE_X = {"substrate_K": 720.0, "flux_ML_per_s": 1.0, "dose_ML": 3.4, "anneal_s": 0.5}
_PROBE_THETA = {
    "surface_barrier_eV": 1.30,
    "bond_energy_eV": 0.25,
    "step_barrier_eV": 0.05,
    "thermocouple_offset_K": 3.0,
    "log_flux_factor": 0.02,
    "log_interdiffusion_rate": 41.2,
}
_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Grown:
    """What a growth shows, without the noise of a measurement.

    Args:
        values: observables by name, and `final_intensity`, of the film without interdiffusion.
        is_exceeded: the simulator's bound on its cost was reached: a hint, no prediction.
        cpu_s: what it cost when it was computed [s].
    """

    values: Mapping[str, float]
    is_exceeded: bool
    cpu_s: float


def observed(prediction: Prediction) -> dict[str, float]:
    """Return the observables of the benchmark from a prediction of `KMCGrowth`."""
    scalars = prediction.scalars
    found = {OBJECTIVE: scalars[OBJECTIVE]}
    found |= {name: scalars[name] for name in INTENSITY_DOSES_ML}
    # beside what planners are told: the search for the best takes the quality apart, and knows of
    # interdiffusion itself, so it gets the last intensity without that
    recovery = prediction.arrays["recovery"]
    last = recovery if recovery.size else prediction.arrays["trace"]
    found["final_intensity"] = float(last[-1, 1])
    return found


@cache
def code_of_growths() -> str:
    """Return the identity of the simulator: a digest of its answers to three questions."""
    answers = []
    for settings in ({"multi_hop": 8}, {"multi_hop": 4}, {"multi_hop": 8, "max_events": 2000}):
        said = KMCGrowth(size=16, **settings).simulate(_PROBE_X, _PROBE_THETA, 1)
        answers.append([observed(said), said.budget_exceeded])
    return f"kmc-{digest_of(canonical_json(answers))[:16]}"


class Growths:
    """Growths of `KMCGrowth`, from the disk where they are there.

    Args:
        folder: where they are kept; made if it is not there.
        settings: fields of `KMCGrowth`.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._simulator = KMCGrowth.model_validate(dict(settings))
        self.code = code_of_growths()
        self._base = {"settings": self._simulator.model_dump(mode="json"), "code": self.code}
        self._db = sqlite3.connect(folder / "growths.db", timeout=_TIMEOUT_S, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS growth (key TEXT PRIMARY KEY, content TEXT) WITHOUT ROWID"
        )

    def grow(self, x: Mapping[str, float], theta: Mapping[str, float], seed: int) -> Grown:
        """Return what grows at the knobs `x` where the world is `theta`.

        Raises:
            ArgumentError: knobs or parameters that the simulator does not take.
        """
        question = {**self._base, "x": dict(x), "theta": dict(theta), "seed": seed}
        key = digest_of(canonical_json(question))[:32]
        row = self._db.execute("SELECT content FROM growth WHERE key = ?", (key,)).fetchone()
        if row is not None:
            return Grown(**json.loads(row[0]))
        began_s = time.process_time()
        said = self._simulator.simulate(x, theta, seed)
        grown = Grown(observed(said), said.budget_exceeded, time.process_time() - began_s)
        content = {
            "values": dict(grown.values), "is_exceeded": grown.is_exceeded, "cpu_s": grown.cpu_s
        }  # fmt: skip
        self._db.execute("INSERT OR REPLACE INTO growth VALUES (?, ?)", (key, json.dumps(content)))
        return grown

    def close(self) -> None:
        """Let go of the file."""
        self._db.close()
