"""Two answers to the question what the detector sees at a place: exact and slow, approximate and fast.

Both take a specimen that repeats and give the part of the beam on a detector at any place; a caller
that scans need not know which one it has. `MultisliceModel` cuts a window out of the specimen around
the places that it is asked for, with a border that keeps the cut away from the image, and refuses what
would take too long.
"""

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.convolution import Illumination
from twinloop.simulators.structure import AtomicStructure

__all__ = ["ImageModel", "MultisliceModel", "window"]

BORDER_A = 6.0
"""Of the window around the image: the cut's disturbance and the probe's tails stay in it [A]."""

SAMPLINGS_FOR_mrad = 1.06
"""By how much the band limit exceeds the detector's outer angle."""

STEPS_PER_S = 2.0e8
"""Grid points that a wave passes in one second of one CPU: what a request is weighed with."""

MOST_WAVES = 12_000


class ImageModel(Protocol):
    """Gives the part of the beam that a detector sees."""

    def intensity(self, x_A: NDArray[np.float64], y_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of the beam at each place, same shape."""
        ...


def window(
    structure: AtomicStructure, x_A: tuple[float, float], y_A: tuple[float, float]
) -> tuple[AtomicStructure, tuple[float, float]]:
    """Return the part of a repeating specimen in a window, and where its corner lies.

    A specimen whose whole cell is no larger than the window is returned as it is: it stays periodic.

    Args:
        structure: the specimen.
        x_A: from, to [A].
        y_A: from, to [A].
    """
    edges = structure.cell_A[:2]
    lows, highs = np.array([x_A[0], y_A[0]]), np.array([x_A[1], y_A[1]])
    if bool((edges <= highs - lows).all()):
        return structure, (0.0, 0.0)
    home = structure.positions_A.copy()
    home[:, :2] %= edges
    first, last = np.floor(lows / edges).astype(int), np.floor(highs / edges).astype(int)
    steps = [np.arange(first[i], last[i] + 1) * edges[i] for i in (0, 1)]
    shifts = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
    shifts = np.column_stack([shifts, np.zeros(shifts.shape[0])])
    places = (home[None] + shifts[:, None]).reshape(-1, 3)
    inside = ((places[:, :2] >= lows) & (places[:, :2] < highs)).all(axis=1)
    places = places[inside] - np.array([*lows, 0.0])
    index = np.tile(np.arange(structure.n), shifts.shape[0])[inside]
    cell = np.array([*(highs - lows), structure.cell_A[2]])
    cut = AtomicStructure.of(structure.numbers[index], places, cell, structure.rms_A[index])
    return cut, (float(lows[0]), float(lows[1]))


class MultisliceModel:
    """Images by PRISM in its Gram form, named `multislice`.

    Args:
        structure: the specimen.
        illumination: the probe.
        rings_mrad: inner and outer angle of the detector.
        x_A: from, to: the places that will be asked for [A].
        y_A: from, to [A].
        device: "cpu" or "cuda".
        phonons: snapshots to average; 0: the atoms stand still.
        seed: of the snapshots; the same for every window on one specimen.
        limit_s: seconds of one CPU that a first image may take; a GPU is taken to be 50 times as fast.

    Raises:
        ArgumentError: a window that would take longer, or a device that is not there.
    """

    def __init__(
        self,
        structure: AtomicStructure,
        illumination: Illumination,
        rings_mrad: tuple[float, float],
        x_A: tuple[float, float],
        y_A: tuple[float, float],
        *,
        device: str = "cpu",
        phonons: int = 0,
        seed: int = 0,
        limit_s: float = 120.0,
    ) -> None:
        from twinloop.simulators.stem.detectors import Detector
        from twinloop.simulators.stem.electrons import wavelength_A
        from twinloop.simulators.stem.imager import Imager, Recipe
        from twinloop.simulators.stem.phonons import pinned_snapshots
        from twinloop.simulators.stem.probe import Probe

        spans = [(span[0] - BORDER_A, span[1] + BORDER_A) for span in (x_A, y_A)]
        cut, self._corner_A = window(structure, *spans)
        electrons_A = wavelength_A(illumination.energy_keV)
        widest_mrad = SAMPLINGS_FOR_mrad * max(rings_mrad[1], 1.5 * illumination.semiangle_mrad)
        sampling_A = 1e3 * electrons_A / (3.0 * widest_mrad)
        self.expected_s = self._cost(cut, illumination, sampling_A, phonons)
        self.expected_s /= 50.0 if device.startswith("cuda") else 1.0
        if self.expected_s > limit_s:
            size = "x".join(f"{edge:.0f}" for edge in cut.cell_A)
            raise ArgumentError(
                "field_A",
                f"a window of {size} A, about {self.expected_s:.0f} s of computing",
                f"what takes {limit_s:.0f} s at most; scan a smaller field, or with the model convolution",
            )
        self._probe = Probe(
            energy_keV=illumination.energy_keV,
            semiangle_mrad=illumination.semiangle_mrad,
            aberrations=illumination.aberrations,
            source_sigma_A=illumination.source_sigma_A,
            focal_spread_A=illumination.focal_spread_A,
        )
        self._imager = Imager(
            cut,
            self._probe,
            {"ring": Detector(*rings_mrad)},
            Recipe(sampling_A=sampling_A, device=device),
            # Shaken before they are cut: each window sees the same atoms at the same places.
            [window(still, *spans)[0] for still in pinned_snapshots(structure, phonons, seed)],
        )

    @staticmethod
    def _cost(
        cut: AtomicStructure, illumination: Illumination, sampling_A: float, phonons: int
    ) -> float:
        """Return about how many seconds of one CPU the waves of a window take."""
        area_A2 = float(cut.cell_A[0] * cut.cell_A[1])
        radius_per_A = 0.5 / illumination.finest_A
        waves = math.pi * radius_per_A**2 * area_A2
        if waves > MOST_WAVES:
            return math.inf
        slices = max(float(cut.cell_A[2]), 1.0)
        points = area_A2 / sampling_A**2
        return waves * slices * points * max(phonons, 1) / STEPS_PER_S

    def intensity(self, x_A: NDArray[np.float64], y_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the part of the beam that reaches the detector, at each place, same shape."""
        places = np.column_stack([x_A.ravel() - self._corner_A[0], y_A.ravel() - self._corner_A[1]])
        self._imager.gram  # noqa: B018 - computed now: few places one by one would cost more in sum
        found = self._imager.at(self._probe, places)["ring"]
        return found.reshape(x_A.shape)
