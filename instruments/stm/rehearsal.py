"""A rehearsal of the twin of a tunnelling microscope: small frames on a sheet from its autoloader."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from typing import Any

from twinloop.instruments.conformance.interface import Rehearsal, Step
from twinloop.instruments.stm.twin import STMTwin

__all__ = ["STMRehearsal"]

_BACK = (Step("retract"),)
_NEAR = (Step("retract"), Step("approach"))


class STMRehearsal(Rehearsal):
    """Few pixels, low currents."""

    instrument = STMTwin
    clock_factor = 100.0
    silence_s = 4.0
    before = {
        "take": _BACK, "give": _BACK, "approach": _BACK, "move_coarse": _BACK,
        "scan": _NEAR, "spectrum": _NEAR, "spectra": _NEAR, "pulse": _NEAR, "manipulate": _NEAR,
    }  # fmt: skip
    prepare = (Step("retract"), Step("take"))
    examples = {
        "set_feedback": {"setpoint_nA": 0.1, "bias_V": 0.5},
        "scan": {
            "width_A": 40.0, "height_A": 40.0, "pixels_x": 16, "pixels_y": 16, "line_time_s": 0.1,
        },
        "spectrum": {"points": 21, "point_time_s": 0.02},
        "spectra": {
            "width_A": 20.0, "height_A": 20.0, "columns": 2, "rows": 2, "points": 11,
            "point_time_s": 0.02,
        },
        "pulse": {"bias_V": 2.0, "duration_s": 0.01},
        "manipulate": {"from_x_A": 0.0, "from_y_A": 0.0, "to_x_A": 10.0, "to_y_A": 0.0},
        "move_coarse": {"dx_A": 500.0, "dy_A": 0.0},
    }  # fmt: skip
    lasting = {
        "scan": {"pixels_y": 100, "line_time_s": 5.0},
        "spectrum": {"points": 501, "point_time_s": 2.0},
        "spectra": {"columns": 4, "rows": 4, "points": 40, "point_time_s": 1.5},
        "manipulate": {"to_x_A": 1600.0},
    }
    safe = {"is_retracted": True}

    def settings(self) -> dict[str, Any]:
        """Return a microscope with an autoloader and a vessel."""
        (self.folder / "vessel").mkdir(parents=True, exist_ok=True)
        where = {"folder": str(self.folder / "stm"), "vessel": str(self.folder / "vessel")}
        return {**where, "specimen": "clean_graphene", "seed": 3}
