"""A rehearsal of the twin of a diffractometer: short scans of a film from its autoloader."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from typing import Any

from twinloop.instruments.conformance.interface import Rehearsal, Step
from twinloop.instruments.xrd.twin import XRDTwin

__all__ = ["XRDRehearsal"]

_ALIGNED = (Step("align", {"two_theta_deg": 31.63, "count_s": 0.2}),)


class XRDRehearsal(Rehearsal):
    """Some points around the substrate's reflection."""

    instrument = XRDTwin
    clock_factor = 300.0
    before = {"scan": _ALIGNED, "rock": _ALIGNED}
    examples = {
        "scan": {"start_deg": 31.0, "stop_deg": 32.2, "step_deg": 0.05, "count_s": 1.0},
        "rock": {"two_theta_deg": 31.63, "span_deg": 1.0, "step_deg": 0.02, "count_s": 0.5},
        "align": {"two_theta_deg": 31.63, "span_deg": 1.6, "count_s": 0.2},
    }
    lasting = {
        "scan": {"start_deg": 30.0, "stop_deg": 40.0, "count_s": 6.0},
        "rock": {"count_s": 30.0},
        "align": {"count_s": 10.0},
    }
    safe = {"shutter_is_open": False}

    def settings(self) -> dict[str, Any]:
        """Return a diffractometer with an autoloader and a vessel."""
        (self.folder / "vessel").mkdir(parents=True, exist_ok=True)
        where = {"folder": str(self.folder / "xrd"), "vessel": str(self.folder / "vessel")}
        return {**where, "specimen": "alas_20ML", "seed": 3}
