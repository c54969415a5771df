"""A rehearsal of the twin of a RHEED system: it looks at what the MBE twin beside it grows."""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes

from collections.abc import Mapping
from typing import Any

from twinloop.instruments.conformance.interface import Step
from twinloop.instruments.interface import Instrument
from twinloop.instruments.mbe.twin import MBETwin
from twinloop.instruments.rheed.twin import RHEEDTwin
from twinloop.instruments.standin.rehearsal import ChamberRehearsal

__all__ = ["RHEEDRehearsal"]


class RHEEDRehearsal(ChamberRehearsal):
    """A growth goes on while it records."""

    instrument = RHEEDTwin
    prepare = (
        Step("load", instrument="mbe"),
        Step("heat", {"substrate_K": 560.0}, instrument="mbe"),
    )
    meanwhile = {"record": Step("grow", {"flux_ML_per_s": 0.2, "dose_ML": 6.0}, instrument="mbe")}
    examples = {
        "record": {"wait_s": 600.0},
        "specular": {"exposure_s": 1.0},
        "expose": {"exposure_s": 0.5},
        "aim": {"incidence_deg": 1.0, "azimuth_deg": 10.0},
    }
    lasting = {"record": {}}
    # it ends with the growth that it looks at, which an abort of it leaves alone
    abort_s = 15.0

    def companions(self) -> Mapping[str, tuple[type[Instrument], Mapping[str, Any]]]:
        """Return the chamber around it."""
        return {"mbe": (MBETwin, self.settings())}
