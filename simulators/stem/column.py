"""What a microscope is besides what its panels show: aberrations left over, drift, wrong calibrations.

The panels say what was asked. The lens adds aberrations of its own, which wander with time; the coils
are calibrated with an error; the stage misses its place, creeps after a move and drifts for ever.
All of it is drawn once from the seed and then evolves with the laboratory time that passes.

Source: sizes are those of a probe-corrected 60 to 200 kV microscope in daily use: source image and focal
spread: Krivanek et al., Nature 464, 571 (2010), doi:10.1038/nature08879; drift, jitter and calibration:
Jones & Nellist, Microsc. Microanal. 19, 1050 (2013), doi:10.1017/S1431927613001402, Sang & LeBeau,
Ultramicroscopy 138, 28 (2014); lens drift within minutes: Barthel &
Thust, Ultramicroscopy 134, 6 (2013).
"""

import math
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from twinloop.simulators.stem.aberrations import Aberrations
from twinloop.simulators.stem.acquisition import ScanErrors

__all__ = ["Column"]

SETTLING_S = 60.0
"""In which the creep after a move of the stage falls to 1/e [s]."""

DEFOCUS_WALK_A = 0.6
"""Standard deviation of the wandering of defocus after one second; as its square root [A]."""

ASTIGMATISM_WALK_A = 0.15
DRIFT_WALK_A_PER_S = 0.0004
STAGE_MISS_A = 6.0
CREEP_A_PER_S = 0.25
CONTAMINATION_A_PER_nC = 0.3
"""Carbon that the beam fixes on the sample for each charge that it sends, mean over the field [A/nC]."""


@dataclass(frozen=True, slots=True)
class Column:
    """The hidden truth of one microscope at one moment.

    Args:
        defocus_A, astigmatism_along_A, astigmatism_across_A, coma_along_A, coma_across_A, c3_A: of
            the lens, added to what the panels ask for.
        source_sigma_A: standard deviation of the source's image along one axis.
        focal_spread_A: standard deviation of defocus by the energy width.
        scale_x, scale_y: true over calibrated length of the scan [1].
        shear_rad, rotation_deg: of the scan's axes.
        jitter_A: of the start of a line.
        walk_A_per_root_s: random walk of the sample.
        drift_x_A_per_s, drift_y_A_per_s: steady drift of the sample.
        creep_x_A_per_s, creep_y_A_per_s: after the last move of the stage, dying away.
        miss_x_A, miss_y_A: true place of the stage less what its encoder says.
        current_factor: true over metered current [1].
        contamination_A: carbon on the sample, thickness [A].

    Example:
        >>> column = Column.drawn(np.random.default_rng(1))
        >>> Column.of_json(column.to_json()) == column
        True
    """

    defocus_A: float = 0.0
    astigmatism_along_A: float = 0.0
    astigmatism_across_A: float = 0.0
    coma_along_A: float = 0.0
    coma_across_A: float = 0.0
    c3_A: float = 0.0
    source_sigma_A: float = 0.3
    focal_spread_A: float = 20.0
    scale_x: float = 1.0
    scale_y: float = 1.0
    shear_rad: float = 0.0
    rotation_deg: float = 0.0
    jitter_A: float = 0.0
    walk_A_per_root_s: float = 0.0
    drift_x_A_per_s: float = 0.0
    drift_y_A_per_s: float = 0.0
    creep_x_A_per_s: float = 0.0
    creep_y_A_per_s: float = 0.0
    miss_x_A: float = 0.0
    miss_y_A: float = 0.0
    current_factor: float = 1.0
    contamination_A: float = 0.0

    @classmethod
    def drawn(cls, rng: np.random.Generator, size: float = 1.0) -> "Column":
        """Return a microscope of its own.

        Args:
            rng: random numbers.
            size: of all its errors, 1 for a usual one, 0 for one that is perfect [1].
        """
        n = size * rng.standard_normal(16)
        return cls(
            defocus_A=15.0 * n[0],
            astigmatism_along_A=8.0 * n[1],
            astigmatism_across_A=8.0 * n[2],
            coma_along_A=150.0 * n[3],
            coma_across_A=150.0 * n[4],
            c3_A=4000.0 * n[5],
            source_sigma_A=0.28 + 0.03 * abs(n[6]),
            focal_spread_A=20.0 + 2.0 * abs(n[7]),
            scale_x=1.0 + 0.006 * n[8],
            scale_y=1.0 + 0.006 * n[9],
            shear_rad=0.003 * n[10],
            rotation_deg=0.4 * n[11],
            jitter_A=0.05 * size,
            walk_A_per_root_s=0.05 * size,
            drift_x_A_per_s=0.025 * n[12],
            drift_y_A_per_s=0.025 * n[13],
            miss_x_A=STAGE_MISS_A * n[14],
            miss_y_A=STAGE_MISS_A * n[15],
            current_factor=1.0 + 0.02 * float(size * rng.standard_normal()),
        )

    @classmethod
    def of_json(cls, body: dict[str, Any]) -> "Column":
        """Return the microscope of `to_json`."""
        return cls(**{f.name: float(body[f.name]) for f in fields(cls)})

    def to_json(self) -> dict[str, float]:
        """Return it as plain numbers."""
        return {name: float(value) for name, value in asdict(self).items()}

    def after(self, seconds: float, rng: np.random.Generator, size: float = 1.0) -> "Column":
        """Return it after some laboratory time.

        Args:
            seconds: that have passed [s].
            rng: random numbers.
            size: of its errors; 0: nothing wanders.
        """
        root = math.sqrt(max(seconds, 0.0)) * size
        n = rng.standard_normal(7)
        fading = math.exp(-seconds / SETTLING_S)
        crept_s = SETTLING_S * (1.0 - fading)
        return replace(
            self,
            defocus_A=self.defocus_A + DEFOCUS_WALK_A * root * n[0],
            astigmatism_along_A=self.astigmatism_along_A + ASTIGMATISM_WALK_A * root * n[1],
            astigmatism_across_A=self.astigmatism_across_A + ASTIGMATISM_WALK_A * root * n[2],
            miss_x_A=self.miss_x_A
            + self.drift_x_A_per_s * seconds
            + self.creep_x_A_per_s * crept_s
            + self.walk_A_per_root_s * root * n[3],
            miss_y_A=self.miss_y_A
            + self.drift_y_A_per_s * seconds
            + self.creep_y_A_per_s * crept_s
            + self.walk_A_per_root_s * root * n[4],
            drift_x_A_per_s=self.drift_x_A_per_s + DRIFT_WALK_A_PER_S * root * n[5],
            drift_y_A_per_s=self.drift_y_A_per_s + DRIFT_WALK_A_PER_S * root * n[6],
            creep_x_A_per_s=self.creep_x_A_per_s * fading,
            creep_y_A_per_s=self.creep_y_A_per_s * fading,
        )

    def moved(self, rng: np.random.Generator, size: float = 1.0) -> "Column":
        """Return it just after the stage has been moved: it misses anew, and creeps."""
        n = size * rng.standard_normal(4)
        return replace(
            self,
            miss_x_A=STAGE_MISS_A * n[0],
            miss_y_A=STAGE_MISS_A * n[1],
            creep_x_A_per_s=CREEP_A_PER_S * n[2],
            creep_y_A_per_s=CREEP_A_PER_S * n[3],
        )

    def irradiated(self, charge_nC: float) -> "Column":
        """Return it after the beam has sent a charge: with more carbon on the sample."""
        thicker_A = self.contamination_A + CONTAMINATION_A_PER_nC * charge_nC
        return replace(self, contamination_A=thicker_A)

    def aberrations(
        self, defocus_A: float, c3_A: float, astigmatism_A: float, astigmatism_deg: float
    ) -> Aberrations:
        """Return what the probe has when the panels ask for these."""
        asked = Aberrations(
            defocus_A=defocus_A,
            c3_A=c3_A,
            astigmatism_A=astigmatism_A,
            astigmatism_deg=astigmatism_deg,
        )
        own = np.array(
            [
                -self.defocus_A,
                self.astigmatism_along_A,
                self.astigmatism_across_A,
                self.coma_along_A,
                self.coma_across_A,
                0.0,
                0.0,
                self.c3_A,
                0.0,
            ]
        )
        return Aberrations.of_vector(asked.vector() + own)

    def scan_errors(self) -> ScanErrors:
        """Return how its scans miss their places."""
        return ScanErrors(
            scale_x=self.scale_x,
            scale_y=self.scale_y,
            shear_rad=self.shear_rad,
            rotation_deg=self.rotation_deg,
            jitter_A=self.jitter_A,
            drift_A_per_s=(
                self.drift_x_A_per_s + self.creep_x_A_per_s,
                self.drift_y_A_per_s + self.creep_y_A_per_s,
            ),
            walk_A_per_root_s=self.walk_A_per_root_s,
        )
