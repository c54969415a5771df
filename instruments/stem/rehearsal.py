"""A rehearsal of the twin of a scanning transmission electron microscope: few pixels, little dose."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from typing import Any

from twinloop.instruments.conformance.interface import Rehearsal, Step
from twinloop.instruments.stem.twin import STEMTwin

__all__ = ["STEMRehearsal"]

_DARK = (Step("blank", {"is_blanked": True}),)


class STEMRehearsal(Rehearsal):
    """Small fields of MoS2."""

    instrument = STEMTwin
    clock_factor = 100.0
    silence_s = 4.0
    before = {"move_stage": _DARK}
    examples = {
        "scan": {"field_A": 40.0, "pixels": 32},
        "diffract": {"exposure_us": 1000.0},
        "spectrum": {"field_A": 20.0, "live_s": 5.0},
        "move_stage": {"x_A": 100.0, "y_A": 0.0},
        "blank": {"is_blanked": False},
    }
    lasting = {
        "scan": {
            "field_A": 100.0,
            "pixels": 320,
            "dwell_us": 10_000.0,
            "max_dose_e_per_A2": 1e8,
        },
        "spectrum": {"live_s": 600.0},
    }
    safe = {"beam_is_blanked": True}

    def settings(self) -> dict[str, Any]:
        """Return a microscope with an autoloader and a vessel."""
        (self.folder / "vessel").mkdir(parents=True, exist_ok=True)
        where = {"folder": str(self.folder / "stem"), "vessel": str(self.folder / "vessel")}
        return {**where, "specimen": "mos2", "seed": 3}
