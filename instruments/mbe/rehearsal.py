"""A rehearsal of the twin of a growth chamber, with a machine process behind it."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from twinloop.instruments.conformance.interface import Step
from twinloop.instruments.mbe.twin import MBETwin
from twinloop.instruments.standin.rehearsal import ChamberRehearsal

__all__ = ["MBERehearsal"]


class MBERehearsal(ChamberRehearsal):
    """Small doses at moderate heat."""

    instrument = MBETwin
    prepare = (Step("load"), Step("heat", {"substrate_K": 560.0}))
    before = {
        "heat": (Step("heat", {"substrate_K": 500.0}),),
        "ramp": (Step("heat", {"substrate_K": 500.0}),),
    }
    examples = {
        "heat": {"substrate_K": 520.0},
        "ramp": {"substrate_K": 520.0, "rate_K_per_s": 10.0},
        "heat_cells": {"gallium_K": 1080.0, "aluminium_K": 1130.0},
        "grow": {"flux_ML_per_s": 0.5, "dose_ML": 0.5},
        "grow_alloy": {"flux_ML_per_s": 0.5, "aluminium": 0.5, "dose_ML": 0.5},
        "grow_interrupted": {
            "flux_ML_per_s": 0.5, "dose_ML": 0.5, "pause_after_ML": 0.25, "pause_s": 1.0,
        },
        "anneal": {"hold_s": 2.0},
    }  # fmt: skip
    lasting = {
        "ramp": {"substrate_K": 700.0, "rate_K_per_s": 4.0},
        "grow": {"flux_ML_per_s": 0.1, "dose_ML": 4.0},
        "grow_alloy": {"flux_ML_per_s": 0.1, "dose_ML": 4.0},
        "grow_interrupted": {"dose_ML": 1.0, "pause_s": 12.0},
        "anneal": {"hold_s": 40.0},
    }
    goes_on = ("grow", "grow_alloy", "grow_interrupted", "anneal")
    safe = {"shutter_is_open": False, "heater_is_idle": True}
    follows = {"ramp.substrate_K": "thermocouple_K", "heat.substrate_K": "thermocouple_K"}
