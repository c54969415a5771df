"""Read a RHEED frame: the spacing of its streaks, and how broad they are.

Spacing: the first-order streaks stand at sin(angle) = wavelength / a on both sides of the specular
one; each is placed by the least squares of a Gaussian on a sloping ground, over the rows in which
both are seen. Half their distance cancels an error of the middle.

Width: around the specular beam, but beside it, a rough surface scatters diffusely. For a surface whose
layers are correlated over xi,

    I(q) ~ sin^2(q_z c / 2) (1 + q^2 xi^2)^(-3/2)   on a smooth ground,

the transform of exp(-r / xi). One film gives one speckle, whose deviation is as large as its mean;
electrons and ground add their shot noise. With that variance the likelihood of xi is largest.

Source: Ichimiya & Cohen, Reflection High-Energy Electron Diffraction (Cambridge, 2004),
doi:10.1017/CBO9780511735097, chapters 7 and 8 (streak spacing, step disorder); the likelihood is ours,
after Whittle, J. R. Stat. Soc. B 15, 125 (1953), doi:10.1111/j.2517-6161.1953.tb00131.x.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Screen", "correlation_per_A", "first_order_px"]

CORE_PX = 2.5
"""Half width of what is left out around the specular rod [px]."""
REACH_PX = 46
"""Half height and half width of the region in which diffuse intensity is read [px]."""
GROUND_DEG = 2.5
"""Half width of the inelastic background around the specular beam [deg]."""
WIDTHS_PER_A = np.geomspace(0.015, 0.7, 34)
FORM_FACTOR_A2 = 0.6
"""Decay of all intensity with q^2, as of atoms and their thermal motion [A^2]."""
REWEIGHTS = 12
SPECKLE = 0.4
"""Variance of the speckle over its mean squared: the blur of the screen averages a few grains [1]."""


@dataclass(frozen=True, slots=True)
class Screen:
    """The geometry of a frame.

    Args:
        shape: rows, columns [px]; the last row ends at the shadow edge, the middle column holds the
            plane of incidence.
        pixel_deg: angle that a pixel sees [deg].
        wavelength_A: of the electrons [A].
        incidence_deg: glancing angle [deg].
        step_height_A: of a monolayer [A].
        counts_per_electron: gain of the camera [counts].
    """

    shape: tuple[int, int]
    pixel_deg: float
    wavelength_A: float
    incidence_deg: float
    step_height_A: float
    counts_per_electron: float = 0.02

    @property
    def specular_row(self) -> int:
        """Row of the specular beam."""
        return self.shape[0] - 1 - int(self.incidence_deg / self.pixel_deg)

    def exit_rad(self) -> NDArray[np.float64]:
        """Return the exit angle of each row, shape (rows,) [rad]."""
        angles: NDArray[np.float64] = np.radians(
            np.arange(self.shape[0] - 0.5, 0.0, -1.0) * self.pixel_deg
        )
        return angles

    def aside_rad(self) -> NDArray[np.float64]:
        """Return the angle of each column beside the plane of incidence, shape (columns,) [rad]."""
        columns = np.arange(self.shape[1]) - self.shape[1] // 2
        angles: NDArray[np.float64] = np.radians(columns * self.pixel_deg)
        return angles


def first_order_px(counts: NDArray[np.float64], screen: Screen) -> tuple[float, float]:
    """Return the distance of the first-order streaks from the middle, and its deviation [px].

    0 +- the half width of the frame where no streaks stand on both sides.

    Args:
        counts: shape (rows, columns) [counts].
        screen: its geometry.
    """
    middle = screen.shape[1] // 2
    lost = 0.0, float(middle)
    # below the specular beam: there the first Laue zone is cut by the sphere
    rows = counts[min(screen.specular_row + 4, screen.shape[0] - 9) :]
    profile = rows.mean(axis=0)
    reach = min(middle - 6, screen.shape[1] - middle - 6)
    if reach < 24:
        return lost
    offsets = np.arange(12, reach)
    both = np.minimum(profile[middle + offsets], profile[middle - offsets])
    ground = np.median(both)
    start = int(offsets[int(np.argmax(both))])
    scatter = 1.4826 * float(np.median(np.abs(both - ground)))
    if float(both.max()) - ground < 6.0 * max(scatter, 1e-9):
        return lost
    right = _place(profile, middle + start)
    left = _place(profile, middle - start)
    if right is None or left is None:
        return lost
    distance = 0.5 * (right[0] - left[0])
    return distance, 0.5 * float(np.hypot(right[1], left[1]))


def _place(profile: NDArray[np.float64], guess: int) -> tuple[float, float] | None:
    """Return the middle of a peak on a sloping ground, and its deviation [px]; None: no peak."""
    low, high = max(0, guess - 7), min(profile.size, guess + 8)
    x, y = np.arange(low, high, dtype=np.float64), profile[low:high]
    at, width = float(guess), 1.5
    for _ in range(40):
        z = (x - at) / width
        peak = np.exp(-0.5 * z**2)
        basis = np.column_stack([peak, np.ones_like(x), x - at])
        height = np.linalg.lstsq(basis, y, rcond=None)[0]
        slopes = np.column_stack([height[0] * peak * z / width, height[0] * peak * z**2 / width])
        jacobian = np.column_stack([basis, slopes])
        move = np.linalg.lstsq(jacobian, y - basis @ height, rcond=None)[0][3:]
        at += float(np.clip(move[0], -1.0, 1.0))
        width = float(np.clip(width + move[1], 0.5, 6.0))
        if np.abs(move).max() < 1e-8:
            break
    if not low < at < high - 1 or height[0] <= 0:
        return None
    rest = y - basis @ height
    variance = float(rest @ rest) / max(x.size - 5, 1)
    covariance = variance * np.linalg.pinv(jacobian.T @ jacobian)
    return at, float(np.sqrt(covariance[3, 3]))


def correlation_per_A(counts: NDArray[np.float64], screen: Screen) -> tuple[float, float]:
    """Return 1 / xi of the diffuse scattering [1/A], and the part of it in what was read [1].

    Args:
        counts: above dark, shape (rows, columns) [counts].
        screen: its geometry.
    """
    k_per_A = 2.0 * np.pi / screen.wavelength_A
    incidence = np.radians(screen.incidence_deg)
    row = screen.specular_row
    rows = slice(max(0, row - REACH_PX), min(screen.shape[0], row + REACH_PX + 1))
    aside, exit_rad = screen.aside_rad(), screen.exit_rad()[rows]
    offset = np.abs(np.arange(screen.shape[1]) - screen.shape[1] // 2)
    columns = (offset > CORE_PX) & (offset <= REACH_PX)
    across = k_per_A * np.sin(aside[columns])
    along = np.sqrt((k_per_A * np.cos(exit_rad))[:, None] ** 2 - across[None, :] ** 2)
    q2 = (along - k_per_A * np.cos(incidence)) ** 2 + across[None, :] ** 2
    phase = k_per_A * screen.step_height_A * (np.sin(exit_rad) + np.sin(incidence))
    bright = np.sin(0.5 * phase)[:, None] ** 2 * np.exp(-FORM_FACTOR_A2 * q2)
    far2 = (exit_rad - incidence)[:, None] ** 2 + aside[columns][None, :] ** 2
    ground = np.exp(-0.5 * far2 / np.radians(GROUND_DEG) ** 2)
    seen = counts[rows][:, columns]
    shot = screen.counts_per_electron * np.maximum(seen, 0.0).mean() + 1.0 / 12.0
    fits = [
        _likelihood(seen, bright * (1.0 + q2 / w**2) ** -1.5, ground, shot) for w in WIDTHS_PER_A
    ]
    costs = np.array([cost for cost, _ in fits])
    best = int(np.clip(np.argmin(costs), 1, WIDTHS_PER_A.size - 2))
    logs = np.log(WIDTHS_PER_A[best - 1 : best + 2])
    a, b, _ = np.polyfit(logs - logs[1], costs[best - 1 : best + 2], 2)
    move = float(np.clip(-0.5 * b / a, -0.2, 0.2)) if a > 0 else 0.0
    return float(np.exp(logs[1] + move)), fits[best][1]


def _likelihood(
    seen: NDArray[np.float64],
    diffuse: NDArray[np.float64],
    ground: NDArray[np.float64],
    shot: float,
) -> tuple[float, float]:
    """Return the cost of a diffuse shape on a ground, and the diffuse part of the mean.

    Args:
        seen: counts above dark.
        diffuse: shape of the mean speckle.
        ground: shape of the ground.
        shot: variance of the counts by electrons and rounding [counts^2].
    """
    parts = np.stack([diffuse.ravel(), ground.ravel()])
    values, least = seen.ravel(), 1e-4 * float(np.abs(seen).mean())
    heights = 0.5 * values.mean() / parts.mean(axis=1)
    for _ in range(REWEIGHTS):
        variance = SPECKLE * (heights[0] * parts[0]) ** 2 + shot
        weighted = parts / variance
        heights = np.maximum(np.linalg.solve(weighted @ parts.T, weighted @ values), least)
    mean = heights @ parts
    variance = SPECKLE * (heights[0] * parts[0]) ** 2 + shot
    cost = 0.5 * float(np.sum(np.log(variance) + (values - mean) ** 2 / variance))
    return cost, float(heights[0] * parts[0].mean() / mean.mean())
