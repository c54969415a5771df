"""Scanning tunnelling microscopy: electrons of the surface, vacuum, tip, feedback loop.

From a crystal (`graphene`, `mos2`) with defects to its states (`eigenstates`) and the waves above
it (`Sheet`), or from the heights of a grown film (`Film`), to the current between a surface and a
tip (`CurrentField`), and from there to a scan in time (`Scanner`).
"""

from twinloop.simulators.stm.broadening import Broadening
from twinloop.simulators.stm.density_of_states import (
    States,
    band_structure,
    eigenstates,
    local_density,
    wave_mesh,
)
from twinloop.simulators.stm.feedback import Border, FeedbackLoop, stability_border
from twinloop.simulators.stm.graphene import (
    dope,
    graphene,
    graphene_crystal,
    graphene_from_structure,
)
from twinloop.simulators.stm.kernel_polynomial import (
    Expansion,
    expand,
    expand_orbitals,
    expand_trace,
)
from twinloop.simulators.stm.manipulation import Drag, DragRules, drag_adatom, drag_vacancy
from twinloop.simulators.stm.mos2 import mos2, mos2_crystal, without_sulphur
from twinloop.simulators.stm.motion import Axis, Drift, coloured_noise
from twinloop.simulators.stm.scan import CurrentNoise, Line, Scanner, ScanWindow, Spectrum, Sweep
from twinloop.simulators.stm.surface import CurrentField, Film, Sheet
from twinloop.simulators.stm.tersoff_hamann import (
    Waves,
    corrugation_decay_per_A,
    decay_per_A,
    tails,
)
from twinloop.simulators.stm.tight_binding import Crystal, Hop, TightBinding
from twinloop.simulators.stm.tip import Tip, TipChange, TipEvent, TipRules

__all__ = [
    "Axis",
    "Border",
    "Broadening",
    "Crystal",
    "CurrentField",
    "CurrentNoise",
    "Drag",
    "DragRules",
    "Drift",
    "Expansion",
    "FeedbackLoop",
    "Film",
    "Hop",
    "Line",
    "ScanWindow",
    "Scanner",
    "Sheet",
    "Spectrum",
    "States",
    "Sweep",
    "TightBinding",
    "Tip",
    "TipChange",
    "TipEvent",
    "TipRules",
    "Waves",
    "band_structure",
    "coloured_noise",
    "corrugation_decay_per_A",
    "decay_per_A",
    "dope",
    "drag_adatom",
    "drag_vacancy",
    "eigenstates",
    "expand",
    "expand_orbitals",
    "expand_trace",
    "graphene",
    "graphene_crystal",
    "graphene_from_structure",
    "local_density",
    "mos2",
    "mos2_crystal",
    "stability_border",
    "tails",
    "wave_mesh",
    "without_sulphur",
]
