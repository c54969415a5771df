"""What stays in a chamber when its controller dies: the film at rest, the detector's memory.

Written after every operation of the growth lane, read when the machine process starts again. An
operation that was under way when the process died is not continued: its film is lost.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.instruments.standin.plant import GrowthTrace, Plant
from twinloop.instruments.standin.sample import SampleState
from twinloop.log.durable import write_whole
from twinloop.simulators.specimen import Event

__all__ = ["Rest", "last_ended"]

_FILE = "rest.npz"


def last_ended(history: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the key of the last operation that changed something, if it came to an end.

    None when it was cut short by the death of the machine, or when there was none.
    """
    last = next((event for event in reversed(history) if "key" in event), None)
    return None if last is None or "state" not in last else str(last["key"])


class Rest:
    """The file in which a chamber's state at rest is kept.

    Args:
        folder: of the machine.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def save(self, plant: Plant, last: str | None, claims: Mapping[str, int]) -> None:
        """Keep the state, durably.

        Args:
            plant: whose.
            last: key of the last operation that changed something.
            claims: number of the growth whose trace a `record` has taken, by its key.
        """
        arrays: dict[str, np.ndarray[Any, Any]] = {}
        about: dict[str, Any] = {"last": last, "claims": dict(claims), **plant.resting()}
        if plant.sample is not None:
            state = plant.sample.state()
            about["sample"] = {"name": state.name, "life": state.life, "mixing": state.mixing}
            about["asked"] = dict(state.asked)
            about["events"] = [asdict(event) for event in state.events]
            about["cations"] = [list(pair) for pair in state.cations]
            arrays |= {f"film_{name}": array for name, array in state.film.items()}
        about["traces"] = []
        for trace in plant.traces:
            arrays[f"time_{trace.growth}"] = np.array(trace.time_s)
            arrays[f"intensity_{trace.growth}"] = np.array(trace.intensity)
            facts = (
                "growth",
                "sample",
                "exposure_s",
                "has_ended",
                "is_complete",
                "is_claimed",
                "emission",
                "usual_counts_per_s",
            )
            about["traces"].append({fact: getattr(trace, fact) for fact in facts})
        file = io.BytesIO()
        text = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        np.savez(file, about=text, **arrays)  # type: ignore[arg-type]
        try:
            write_whole(self._path, file.getvalue())
        except OSError:
            # the film is then lost with this process, as it would be without this file
            self._path.unlink(missing_ok=True)

    def restore(self, plant: Plant, last: str | None) -> dict[str, int]:
        """Put the state back, if it is that after the operation `last`; return the claims.

        The heater idles, whatever it was at: the temperature last asked for stays on record.
        """
        if last is None or not self._path.is_file():
            return {}
        with np.load(self._path, allow_pickle=False) as kept:
            about = json.loads(kept["about"].tobytes())
            if about["last"] != last:
                return {}
            plant.come_to_rest(about)
            for facts in about["traces"]:
                growth = facts["growth"]
                plant.traces.append(
                    GrowthTrace(
                        time_s=kept[f"time_{growth}"].tolist(),
                        intensity=kept[f"intensity_{growth}"].tolist(),
                        **facts,
                    )
                )
            if "sample" in about:
                film = {n.removeprefix("film_"): kept[n] for n in kept if n.startswith("film_")}
                events = tuple(Event(**event) for event in about.get("events", ()))
                plant.put_back(
                    SampleState(
                        **about["sample"],
                        asked=about["asked"],
                        film=film,
                        events=events,
                        cations=tuple((a, b) for a, b in about.get("cations", ())),
                    )
                )
        return {str(key): int(growth) for key, growth in about["claims"].items()}
