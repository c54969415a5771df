"""What a RHEED camera sees of a surface: kinematic diffraction of a height map.

The topmost atom of every column scatters once, with the phase q . r + q_z c h. So the specular beam
of heights h is |<exp(i q_z c h)>|^2, and at the anti-phase condition (neighbouring layers
interfere destructively) |<(-1)^h>|^2. Off the specular beam the intensity lies on rods above the
surface's reciprocal lattice; the Ewald sphere cuts them in spots on Laue circles, and disorder or a
finite transfer width widens the rods, so that the cuts become streaks. On a vicinal surface the rods
stand on the mean surface, so they lean with it and split between in-phase conditions.

Not modelled: refraction by the inner potential, multiple scattering, Kikuchi lines, absorption. So
a rough film shows rods that fade between the in-phase angles, down to rows of spots, as transmission
through its asperities would; their shadows and refracted wings are not there.

Source: Ichimiya & Cohen, Reflection High-Energy Electron Diffraction (Cambridge, 2004),
doi:10.1017/CBO9780511735097 (kinematic theory, stepped surfaces); Lent & Cohen, Surf. Sci. 139, 121
(1984), doi:10.1016/0039-6028(84)90013-2 (two-level surfaces).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.lattice_constants import MESH_A, MONOLAYER_A

__all__ = [
    "antiphase_incidence_deg",
    "antiphase_intensity",
    "expose",
    "frame",
    "specular_intensity",
    "specular_phase_rad",
    "specular_spot",
    "wavelength_A",
]

FULL_SCALE = np.iinfo(np.uint16).max

FORM_FACTOR_A2 = 0.6
"""Decay of the rods with the momentum along the surface, exp(-B q^2) [A^2]: a stand-in for atomic
form factor and thermal motion that leaves the first-order streaks a quarter of the specular one."""

TURNED_PARTS = 2
"""Samples in one cell of the finite lattice, where the beam does not run along an axis."""

BACKGROUND_WIDTH_DEG = 2.5
"""Half width of the inelastic background around the specular beam [deg]: a stand-in."""


def wavelength_A(energy_keV: float) -> float:
    """Return the relativistic wavelength of an electron [A].

    lambda = 12.2643 / sqrt(V (1 + 0.978466e-6 V)), V the acceleration voltage [V]; 0.0994 A at
    15 keV.

    Source: de Broglie's relation with CODATA constants: h / sqrt(2 m e) = 12.2643 A V^(1/2) and
    e / (2 m c^2) = 0.978466e-6 1/V.
    """
    volts = 1.0e3 * energy_keV
    return float(12.2643 / np.sqrt(volts * (1.0 + 0.978466e-6 * volts)))


def specular_phase_rad(*, energy_keV: float, incidence_deg: float, step_height_A: float) -> float:
    """Return the phase between layers in the specular beam, q_z c = 4 pi c sin(theta) / lambda."""
    sine = np.sin(np.radians(incidence_deg))
    return float(4.0 * np.pi * step_height_A * sine / wavelength_A(energy_keV))


def antiphase_incidence_deg(*, energy_keV: float, step_height_A: float, order: int = 1) -> float:
    """Return the glancing angle at which neighbouring layers cancel: q_z c = (2 order + 1) pi.

    Args:
        energy_keV: of the beam [keV].
        step_height_A: height c of a monolayer step [A].
        order: 0 is the lowest angle.
    """
    sine = (2 * order + 1) * wavelength_A(energy_keV) / (4.0 * step_height_A)
    return float(np.degrees(np.arcsin(sine)))


def specular_intensity(heights: NDArray[np.integer], *, phase_rad: float) -> float:
    """Return |<exp(i phase h)>|^2, in units of a flat surface's [1].

    Args:
        heights: any shape [ML].
        phase_rad: q_z c (see `specular_phase_rad`) [rad].
    """
    return float(abs(np.mean(np.exp(1j * phase_rad * heights))) ** 2)


def antiphase_intensity(heights: NDArray[np.integer]) -> float:
    """Return |<(-1)^h>|^2, in units of a flat surface's [1]; heights of any shape [ML]."""
    return float(np.mean(1 - 2 * (heights & 1)) ** 2)


def specular_spot(
    heights: NDArray[np.integer], *, phase_rad: float, steps: int, window_sites: float
) -> float:
    """Return what a window around the specular beam adds up, in units of a flat surface's [1].

    The intensity scattered with a momentum q along the surface counts exp(-(q w)^2 / 2), so that
    order over more than the length w is not told apart: a staircase of wider terraces looks nearly
    as flat as a flat surface.

    Args:
        heights: shape (L, L) [ML].
        phase_rad: q_z c [rad].
        steps: of a vicinal surface, ascending along the second axis, in L sites.
        window_sites: w [sites].
    """
    size = heights.shape[0]
    phase = float(np.angle(np.exp(1j * phase_rad)))
    power = np.abs(np.fft.fft2(_untwisted(heights, phase, steps)) / heights.size) ** 2
    along = 2.0 * np.pi * np.fft.fftfreq(size)
    across = along + phase * steps / size
    near = np.exp(-0.5 * window_sites**2 * (along[:, None] ** 2 + across[None, :] ** 2))
    return float((power * near).sum())


def frame(
    heights: NDArray[np.integer],
    *,
    energy_keV: float = 15.0,
    incidence_deg: float | None = None,
    lattice_A: float = MESH_A,
    step_height_A: float = MONOLAYER_A,
    azimuth_deg: float = 0.0,
    steps: int = 0,
    shape: tuple[int, int] = (96, 96),
    pixel_deg: float = 0.05,
    blur_px: float = 1.0,
    background: float = 0.05,
) -> NDArray[np.float64]:
    """Return the expected picture on the screen.

    Row 0 is the top; the last row is the shadow edge (exit angle 0); the specular beam stands in
    the middle column. Streaks of first order stand wavelength / lattice (an angle [rad]) beside it.

    Args:
        heights: shape (L, L) [ML]; L * lattice_A plays the transfer width of the beam.
        energy_keV: of the beam [keV].
        incidence_deg: glancing angle [deg]; None: the second anti-phase angle.
        lattice_A: lattice constant of the surface; that of GaAs(001) [A].
        step_height_A: height of a monolayer step; that of GaAs(001) [A].
        azimuth_deg: any; 0: the beam runs along the first axis of `heights`. Between the axes the
            reciprocal lattice of the finite surface is interpolated.
        steps: of a vicinal surface in L sites, ascending along the second axis.
        shape: rows, columns of the picture [px].
        pixel_deg: angle that a pixel sees [deg].
        blur_px: standard deviation of the screen's Gaussian blur [px], > 0.
        background: inelastic background at the specular beam, as a part of a flat surface's
            specular intensity [1].

    Returns:
        Intensity in units of the specular maximum of a flat surface, shape `shape`, >= 0.

    Raises:
        ArgumentError: heights that are not square, or an azimuth that is not finite.
    """
    if heights.ndim != 2 or heights.shape[0] != heights.shape[1]:
        raise ArgumentError("heights", heights.shape, "the shape (L, L)")
    if not np.isfinite(azimuth_deg):
        raise ArgumentError("azimuth_deg", azimuth_deg, "a finite angle [deg]")
    glancing_deg = incidence_deg
    if glancing_deg is None:
        glancing_deg = antiphase_incidence_deg(energy_keV=energy_keV, step_height_A=step_height_A)
    view = _View(
        heights.shape[0], energy_keV, glancing_deg, lattice_A, step_height_A, shape, pixel_deg,
        blur_px,
    )  # fmt: skip
    if steps or azimuth_deg % 90:
        screen = view.project_turned(heights, np.radians(azimuth_deg), steps)
    else:
        screen = view.project(np.rot90(heights, round(azimuth_deg / 90.0)))
    return screen / _flat_maximum(view) + background * view.inelastic()


def expose(
    expected: NDArray[np.float64],
    *,
    exposure_s: float,
    gain: float,
    rng: np.random.Generator,
    electrons_per_s: float = 2.0e4,
    dark_counts: float = 0.0,
) -> NDArray[np.uint16]:
    """Return what the camera counts: Poisson electrons times the gain, clipped at full scale.

    Args:
        expected: relative intensity by pixel, any shape, >= 0 (1: a flat surface's maximum).
        exposure_s: [s], >= 0.
        gain: counts for one detected electron [counts], > 0.
        rng: the source of the noise.
        electrons_per_s: detected in one pixel of expected intensity 1 [1/s].
        dark_counts: added to every pixel [counts].

    Raises:
        ArgumentError: a negative exposure, or a gain that is not positive.
    """
    if not exposure_s >= 0:
        raise ArgumentError("exposure_s", exposure_s, "a number >= 0 s")
    if not gain > 0:
        raise ArgumentError("gain", gain, "a number > 0 counts")
    electrons = rng.poisson(expected * (electrons_per_s * exposure_s))
    counts = np.rint(gain * electrons + dark_counts)
    clipped: NDArray[np.uint16] = np.clip(counts, 0, FULL_SCALE).astype(np.uint16)
    return clipped


@dataclass(frozen=True, slots=True)
class _View:
    """The geometry of a picture; units as in `frame`."""

    size: int
    energy_keV: float
    incidence_deg: float
    lattice_A: float
    step_height_A: float
    shape: tuple[int, int]
    pixel_deg: float
    blur_px: float

    def project(self, heights: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return the elastic intensity on the screen, shape `shape` [arbitrary]."""
        cut = _ewald_cut(self)
        levels, layer = np.unique(heights, return_inverse=True)
        masks = np.arange(levels.size)[:, None, None] == layer.reshape(heights.shape)
        # The sum over columns is linear in layers: one transform a layer serves every exit angle.
        layers = np.fft.fft2(masks) / heights.size
        # fft2 transforms with exp(-i q r): the phase across the layers takes the same sign
        phases = np.exp(-1j * np.outer(levels - levels[0], cut.layer_phase_rad))
        rods = np.zeros(cut.near.shape)
        for cell, weight in ((cut.near, 1.0 - cut.share), ((cut.near + 1) % self.size, cut.share)):
            amplitude = np.einsum("lr,lrm->rm", phases, layers[:, cell, cut.columns[None, :]])
            rods += weight * np.abs(amplitude) ** 2
        screen: NDArray[np.float64] = cut.vertical.T @ (rods * cut.envelope) @ cut.horizontal
        return screen

    def project_turned(
        self, heights: NDArray[np.integer], azimuth_rad: float, steps: int
    ) -> NDArray[np.float64]:
        """Return the same for any azimuth and a staircase: one transform for each exit angle."""
        cut = _ewald_cut(self, TURNED_PARTS)
        cell_per_A = 2.0 * np.pi / (self.size * self.lattice_A)
        along, across = cut.along_per_A / cell_per_A, cut.across_per_A[None, :] / cell_per_A
        first = along * np.cos(azimuth_rad) + across * np.sin(azimuth_rad)
        second = across * np.cos(azimuth_rad) - along * np.sin(azimuth_rad)
        rods = np.empty_like(along)
        for row, phase in enumerate(cut.layer_phase_rad):
            twisted = _untwisted(heights, -phase, steps)
            power = np.abs(np.fft.fft2(twisted) / heights.size) ** 2
            shift = steps * phase / (2.0 * np.pi)
            rods[row] = _between(power, first[row], second[row] + shift)
        rods *= cut.envelope / TURNED_PARTS
        screen: NDArray[np.float64] = cut.vertical.T @ rods @ cut.horizontal
        return screen

    def inelastic(self) -> NDArray[np.float64]:
        """Return the smooth background, 1 at the specular beam, shape `shape` [1]."""
        up_deg, aside_deg = self.exit_deg() - self.incidence_deg, self.aside_deg()
        far2 = up_deg[:, None] ** 2 + aside_deg[None, :] ** 2
        smooth: NDArray[np.float64] = np.exp(-0.5 * far2 / BACKGROUND_WIDTH_DEG**2)
        return smooth

    def exit_deg(self) -> NDArray[np.float64]:
        """Return the exit angle of each row, from the top [deg]."""
        rows = self.shape[0]
        return np.arange(rows - 0.5, 0.0, -1.0) * self.pixel_deg

    def aside_deg(self) -> NDArray[np.float64]:
        """Return the angle of each column beside the plane of incidence [deg]."""
        columns = self.shape[1]
        return np.arange(-(columns // 2), columns - columns // 2, dtype=np.float64) * self.pixel_deg


@dataclass(frozen=True, slots=True)
class _Cut:
    """Where the Ewald sphere cuts the rods, by row of the screen and rod of the finite lattice.

    `near` (rows, rods): cell of the transform along the beam below the cut; `share`: part that its
    upper neighbour has; `columns` (rods,): cell across the beam; `along_per_A` (rows, rods) and
    `across_per_A` (rods,): the momentum there; `layer_phase_rad` (rows,): q_z c.
    """

    near: NDArray[np.int64]
    share: NDArray[np.float64]
    columns: NDArray[np.int64]
    along_per_A: NDArray[np.float64]
    across_per_A: NDArray[np.float64]
    envelope: NDArray[np.float64]
    layer_phase_rad: NDArray[np.float64]
    vertical: NDArray[np.float64]
    horizontal: NDArray[np.float64]


@lru_cache(maxsize=8)
def _ewald_cut(view: _View, parts: int = 1) -> _Cut:
    """Solve |k_i + q| = k for the momentum along the beam, for each exit angle and rod.

    Args:
        view: the geometry.
        parts: rods in one cell of the finite lattice; more than 1 where rods stand between them.
    """
    k_per_A = 2.0 * np.pi / wavelength_A(view.energy_keV)
    cell_per_A = 2.0 * np.pi / (view.size * view.lattice_A)
    exit_rad = np.radians(view.exit_deg())
    glancing_rad = np.radians(view.incidence_deg)
    edge_rad = np.radians(np.abs(view.aside_deg()).max() + 4 * view.blur_px * view.pixel_deg)
    rods = int(np.sin(min(edge_rad, 1.5)) * k_per_A / cell_per_A * parts)
    across = np.arange(-rods, rods + 1)
    across_per_A: NDArray[np.float64] = (across / parts * cell_per_A).astype(np.float64)
    along_per_A = np.sqrt(
        (k_per_A * np.cos(exit_rad))[:, None] ** 2 - across_per_A[None, :] ** 2
    ) - k_per_A * np.cos(glancing_rad)
    place = along_per_A / cell_per_A
    below = np.floor(place)
    aside_deg = np.degrees(np.arcsin(across_per_A / k_per_A))
    blur_deg = view.blur_px * view.pixel_deg
    return _Cut(
        near=below.astype(np.int64) % view.size,
        share=place - below,
        columns=across % view.size,
        along_per_A=along_per_A,
        across_per_A=across_per_A,
        envelope=np.exp(-FORM_FACTOR_A2 * (along_per_A**2 + across_per_A[None, :] ** 2)),
        layer_phase_rad=k_per_A * view.step_height_A * (np.sin(exit_rad) + np.sin(glancing_rad)),
        vertical=_gaussian(view.exit_deg(), view.exit_deg(), blur_deg),
        horizontal=_gaussian(aside_deg, view.aside_deg(), blur_deg),
    )


@lru_cache(maxsize=8)
def _flat_maximum(view: _View) -> float:
    flat = np.zeros((view.size, view.size), dtype=np.int32)
    return float(view.project(flat).max())


def _gaussian(
    source: NDArray[np.float64], target: NDArray[np.float64], sigma: float
) -> NDArray[np.float64]:
    """Return how much of each source lands on each target, shape (n_source, n_target) [1]."""
    spread: NDArray[np.float64] = np.exp(-0.5 * ((source[:, None] - target[None, :]) / sigma) ** 2)
    return spread / float(sigma * np.sqrt(2.0 * np.pi))


def _untwisted(
    heights: NDArray[np.integer], phase_rad: float, steps: int
) -> NDArray[np.complex128]:
    """Return exp(i phase h) less the mean slope of a staircase: then it is periodic."""
    slope = np.arange(heights.shape[1]) * (steps / heights.shape[1])
    field: NDArray[np.complex128] = np.exp(1j * phase_rad * (heights - slope[None, :]))
    return field


def _between(
    power: NDArray[np.float64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a periodic table between its cells, bilinear, shape of `first`."""
    i, k = np.floor(first).astype(np.int64), np.floor(second).astype(np.int64)
    a, b = first - i, second - k
    size = power.shape[0]
    found: NDArray[np.float64] = (
        (1 - a) * (1 - b) * power[i % size, k % size]
        + a * (1 - b) * power[(i + 1) % size, k % size]
        + (1 - a) * b * power[i % size, (k + 1) % size]
        + a * b * power[(i + 1) % size, (k + 1) % size]
    )
    return found
