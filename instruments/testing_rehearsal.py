"""A rehearsal of the furnace for tests."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twinloop.instruments.conformance.interface import Effect, Rehearsal
from twinloop.instruments.testing import Furnace, FurnaceLine

__all__ = ["FurnaceRehearsal"]


class FurnaceRehearsal(Rehearsal):
    """Counts what the furnace line did, by its own physical log."""

    instrument = Furnace
    examples = {
        "anneal": {"hold_K": 400.0, "hold_s": 0.2},
        "heat": {"target_K": 400.0},
    }
    lasting = {"anneal": {"hold_s": 4.0}}
    goes_on = ("anneal",)
    safe = {"temperature_K": (250.0, 320.0)}
    interlocks = {"lid_is_closed": "lid-open"}
    faults = ("lid-open", "noise")
    breaks = {"anneal": "noise", "heat": "noise", "quench": "noise"}

    def settings(self) -> dict[str, Any]:
        """Return a furnace of its own."""
        return {"folder": str(self.folder)}

    def effects(self) -> Sequence[Effect]:
        """Read the physical log, and how each run ended."""
        line = FurnaceLine(Path(self.folder))
        found = []
        for event in line.effects():
            key = str(event.get("key", ""))
            if event["what"] == "run":
                found.append(Effect(self.action_of(key), key, "began"))
                numbers = {"peak_K": float(event["hold_K"])}
                state = line.state_of(key)
                if state in {"done", "partial"}:
                    what = "done" if state == "done" else "cut"
                    found.append(Effect(self.action_of(key), key, what, numbers))  # type: ignore[arg-type]
            elif event["what"] in {"heat", "quench"}:
                found.append(Effect(event["what"], key, "began"))
        return found

    def inject(self, fault: str) -> None:
        """Let a fault stand at the line."""
        FurnaceLine(Path(self.folder)).inject(fault)

    def mend(self, fault: str) -> None:
        """Take it away."""
        FurnaceLine(Path(self.folder)).mend(fault)
