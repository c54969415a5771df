"""X-ray diffraction: powders, clusters and thin films in the kinematic theory."""

from twinloop.simulators.xrd.crystal import Crystal
from twinloop.simulators.xrd.debye import debye_intensity
from twinloop.simulators.xrd.film import FilmOnSubstrate, PlaneStack
from twinloop.simulators.xrd.powder import Profile, Reflections, powder_pattern, reflections

__all__ = [
    "Crystal",
    "FilmOnSubstrate",
    "PlaneStack",
    "Profile",
    "Reflections",
    "debye_intensity",
    "powder_pattern",
    "reflections",
]
