"""Characteristic X-rays of atoms under the beam: approximate counts, line by line.

    counts = electrons x atoms for each area x sigma x omega x weight x solid angle / 4 pi

with the ionisation cross section sigma of the shell by Bethe's formula with Powell's constants, the
fluorescence yield omega, and Kramers' background below. A thin sample: no absorption, no secondary
fluorescence, no channelling, no Coster-Kronig transitions. Totals are right within a factor of two; ratios of K lines of
neighbouring elements within some 20 %: enough to tell which elements are there, not to quantify them.

Source: cross section: Powell, Rev. Mod. Phys. 48, 33 (1976), doi:10.1103/RevModPhys.48.33; yield Z^4 / (Z^4 + c)
and Kramers' background: Williams & Carter, Transmission Electron Microscopy (Springer, 2009),
doi:10.1007/978-0-387-76501-3, chapters 4 and 35; line and edge energies: X-Ray Data Booklet (Lawrence
Berkeley National Laboratory, 2009), tables 1-1 and 1-2; resolution: Fiori & Newbury,
Scanning Electron Microscopy 1, 401 (1978).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError

__all__ = ["LINES", "Line", "XRayDetector", "expected_spectrum"]

BETHE_A2_keV2 = 6.51e-4
"""Constant of Bethe's cross section, 6.51e-14 cm^2 eV^2 (Powell, equation 3) [A^2 keV^2]."""

BETHE_B, BETHE_C = 0.9, 0.65
"""Powell's constants of the K shell; here of the L shell too."""

KRAMERS_A2 = 2.6e-10
"""Strength of the background for Z = 1 [A^2]: such that copper's K alpha at 200 keV stands 3000 times above
the 10 eV of background below it (Fiori's number, of the size that Williams & Carter give, chapter 33)."""

MANGANESE_keV = 5.895
GAUSS_FWHM = 2.0 * math.sqrt(2.0 * math.log(2.0))
ELECTRON_HOLE_FWHM = 2.5
"""d(FWHM^2)/dE of a silicon detector [eV]."""


@dataclass(frozen=True, slots=True)
class Line:
    """The main line of one shell of an element.

    Args:
        energy_keV: of the photon.
        edge_keV: to ionise the shell.
        electrons: in the shell.
        shell: "K" or "L".
    """

    energy_keV: float
    edge_keV: float
    electrons: int
    shell: str


LINES: dict[int, tuple[Line, ...]] = {
    6: (Line(0.277, 0.284, 2, "K"),),
    8: (Line(0.525, 0.543, 2, "K"),),
    13: (Line(1.487, 1.560, 2, "K"),),
    14: (Line(1.740, 1.839, 2, "K"),),
    16: (Line(2.308, 2.472, 2, "K"),),
    22: (Line(4.511, 4.966, 2, "K"), Line(0.452, 0.456, 8, "L")),
    31: (Line(9.252, 10.367, 2, "K"), Line(1.098, 1.117, 8, "L")),
    33: (Line(10.544, 11.867, 2, "K"), Line(1.282, 1.324, 8, "L")),
    38: (Line(14.165, 16.105, 2, "K"), Line(1.807, 1.940, 8, "L")),
    42: (Line(17.479, 20.000, 2, "K"), Line(2.293, 2.520, 8, "L")),
}
"""Lines by atomic number; an element that is not listed gives none."""


@dataclass(frozen=True, slots=True)
class XRayDetector:
    """A silicon drift detector.

    Args:
        channels: of the spectrum.
        channel_keV: width of one [keV].
        solid_angle_sr: that it covers [sr].
        fwhm_keV: resolution at Mn K alpha [keV].

    Example:
        >>> XRayDetector().energies_keV()[:2].round(4).tolist()
        [0.005, 0.015]
    """

    channels: int = 2048
    channel_keV: float = 0.01
    solid_angle_sr: float = 0.7
    fwhm_keV: float = 0.13

    def energies_keV(self) -> NDArray[np.float64]:
        """Return the middle of each channel [keV]."""
        return self.channel_keV * (np.arange(self.channels, dtype=np.float64) + 0.5)

    def sigma_keV(self, energy_keV: float) -> float:
        """Return the standard deviation of a line [keV]."""
        square = self.fwhm_keV**2 + 1e-3 * ELECTRON_HOLE_FWHM * (energy_keV - MANGANESE_keV)
        return math.sqrt(max(square, 0.03**2)) / GAUSS_FWHM


def expected_spectrum(
    atoms_per_A2: dict[int, float],
    electrons: float,
    energy_keV: float,
    detector: XRayDetector | None = None,
) -> NDArray[np.float64]:
    """Return the expected counts of each channel, shape (channels,).

    Args:
        atoms_per_A2: projected density of each element under the beam, by atomic number [1/A^2].
        electrons: that the beam sends.
        energy_keV: of the electrons [keV].
        detector: the detector; None: a usual one.

    Raises:
        ArgumentError: a density below 0.

    Example:
        >>> found = expected_spectrum({16: 0.2}, 1e9, 80.0)
        >>> float(XRayDetector().energies_keV()[100 + found[100:].argmax()].round(2))
        2.31
    """
    seen = XRayDetector() if detector is None else detector
    axis = seen.energies_keV()
    total = np.zeros(seen.channels)
    share = seen.solid_angle_sr / (4.0 * math.pi)
    mass = 0.0
    for number, density in atoms_per_A2.items():
        if density < 0:
            raise ArgumentError(f"atoms_per_A2[{number}]", density, "a number >= 0")
        mass += density * number**2
        for line in LINES.get(number, ()):
            if line.edge_keV >= energy_keV:
                continue
            counts = electrons * density * share * _yield(number, line)
            counts *= _cross_section_A2(line, energy_keV)
            sigma = seen.sigma_keV(line.energy_keV)
            peak = np.exp(-0.5 * ((axis - line.energy_keV) / sigma) ** 2)
            total += counts * peak / (sigma * math.sqrt(2.0 * math.pi)) * seen.channel_keV
    # Kramers: photons fall as 1/E; the window in front of the detector takes the softest.
    kramers = KRAMERS_A2 * mass / energy_keV * np.maximum(energy_keV / axis - 1.0, 0.0)
    window = np.exp(-((0.25 / axis) ** 3))
    total += electrons * share * kramers * seen.channel_keV
    return total * window


def _cross_section_A2(line: Line, energy_keV: float) -> float:
    """Return the ionisation cross section of a shell, k n b / (E E_c) ln(c E / E_c) [A^2]."""
    logarithm = math.log(max(BETHE_C * energy_keV / line.edge_keV, 1.0))
    front_A2 = BETHE_A2_keV2 * line.electrons * BETHE_B / (energy_keV * line.edge_keV)
    return front_A2 * logarithm


def _yield(number: int, line: Line) -> float:
    """Return the fluorescence yield of the shell [1]."""
    constant = 1.12e6 if line.shell == "K" else 1.02e8
    return number**4 / (number**4 + constant)
