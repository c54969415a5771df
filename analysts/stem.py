"""What STEM images say: atom columns, lattice, missing atoms, and films in cross-section.

Every number has its standard deviation, calibrated on the twin of the microscope with its convolution
model (`docs/validation/stem_analyst.md`): a 90 % interval covers 85 to 95 % of the truths. Places are in
the frame of the image: what drift and scan coils have done to it is in them, and `lattice` tells how
much that is.

An image in which nothing is seen (out of focus, no electrons, amorphous) gives empty arrays and
standard deviations as large as the quantities themselves, not an error.
"""

import math

import numpy as np
from pydantic import Field

from twinloop.analysts.interface import Analyst, quantity
from twinloop.analysts.stem_columns import Fitted, Image, find_columns, refine
from twinloop.analysts.stem_film import LAMELLA_A, Unseen, measure_film
from twinloop.analysts.stem_lattice import Lattice, find_lattice
from twinloop.analysts.stem_sites import occupation_of
from twinloop.results import Array, Result

__all__ = ["Columns", "Defects", "Film", "LatticeVectors", "STEMAnalyst"]

DEFECT_SIGMAS = 4.5
LEAST_CHANGE = 0.25
LIKELY = 0.5
FLAG_SIGMAS = 3.0
UNKNOWN_ML = 100.0


class Columns(Result):
    """Atom columns of an image.

    Args:
        x_A, y_A: places from the first pixel, by the calibration of the image, shape (n,) [A].
        x_sd_A, y_sd_A: their standard deviations: noise and jitter of the lines, shape (n,) [A].
        height, height_sd: of the Gaussians, shape (n,) [counts].
        width_A: common standard deviation of the Gaussians: probe, source and thermal motion [A].
        jitter_A: standard deviation of the line starts along the lines [A].
        count: how many.
    """

    x_A: Array
    y_A: Array
    x_sd_A: Array
    y_sd_A: Array
    height: Array
    height_sd: Array
    width_A: float
    jitter_A: float
    count: int


class LatticeVectors(Result):
    """The lattice of an image, by its calibration; zeros with deviations of 1 where none is seen.

    Args:
        a_A, b_A: lengths of the two shortest vectors, a along the lines as far as there is one [A].
        a_sd_A, b_sd_A: their standard deviations [A].
        angle_deg, angle_sd_deg: between them.
        turn_deg: of a against the lines.
        sites: columns of a cell.
        left_A: root mean square distance of columns from their sites, one axis [A].
        scale, scale_sd: true over calibrated length, from the expected a and b; 1 and 1 where none
            were given.
        strain, strain_sd: by how much the cell is sheared or stretched against the expected one,
            beyond its size: the larger of both [1].
        width_A: common standard deviation of the columns [A].
        is_seen: whether there is a lattice.
        is_blurred: whether no lattice is seen, or one whose columns are wide or stray: out of focus,
            or too few electrons.
        is_distorted: whether the strain is more than a healthy microscope causes: the sample
            drifts, or the scan is faulty.
    """

    a_A: float
    b_A: float
    a_sd_A: float
    b_sd_A: float
    angle_deg: float
    angle_sd_deg: float
    turn_deg: float
    sites: int
    left_A: float
    scale: float
    scale_sd: float
    strain: float
    strain_sd: float
    width_A: float
    is_seen: bool
    is_blurred: bool
    is_distorted: bool


class Defects(Result):
    """Sites of a lattice that are not like the others.

    Args:
        x_A, y_A: places from the first pixel, shape (n,) [A].
        change, change_sd: height relative to the same site elsewhere, less 1: -1 is an empty column,
            -0.5 one of two atoms missing, > 0 heavier atoms, shape (n,).
        missing, missing_sd: how many columns lack atoms.
        sites: how many were judged.
        is_seen: whether there is a lattice to judge by.
    """

    x_A: Array
    y_A: Array
    change: Array
    change_sd: Array
    missing: float
    missing_sd: float
    sites: int
    is_seen: bool


class Film(Result):
    """A film of (Al,Ga)As on GaAs(001) in cross-section.

    Args:
        thickness_ML, thickness_sd_ML: mean over what the image shows of the lamella [ML].
        width_ML, width_sd_ML: of the interface, standard deviation of the step of the cations [ML].
        contrast, contrast_sd: cation planes of the film relative to the substrate's: about 1 - 0.77 x
            for a share x of aluminium, by Z^1.7.
        scale, scale_sd: true over calibrated length along the growth direction, from the planes.
        planes: how many atom planes were seen.
        is_seen: whether planes, an interface and a surface were seen.
        reason: what was not; empty where all was. Thickness is then as likely anywhere below what
            the image could hold, or 0 +- 100 ML where not even that is known.
    """

    thickness_ML: float
    thickness_sd_ML: float
    width_ML: float
    width_sd_ML: float
    contrast: float
    contrast_sd: float
    scale: float
    scale_sd: float
    planes: int
    is_seen: bool
    reason: str


class STEMAnalyst(Analyst, name="stem"):
    """Reads dark-field images.

    Args:
        closest_A: distance below which two maxima are one column [A].
        frame_strain: standard deviation of the strain that drift and coils of a healthy microscope
            put into a frame, beyond a wrong pixel size [1].
        most_strain: above which a frame is called distorted [1].
        most_width_A: width of columns above which they are called blurred [A].
        most_left_A: distance from their sites above which they are called so too [A].

    Example:
        >>> y, x = np.mgrid[:96, :96] * 0.2
        >>> atoms = np.cos(np.pi * x / 3.0) ** 4 * np.cos(np.pi * y / 3.0) ** 4
        >>> noise = np.random.default_rng(0).standard_normal((96, 96))
        >>> found = STEMAnalyst().compute(
        ...     "lattice", counts=1000.0 * atoms + 20.0 * noise, pixel_A=0.2, expected_a_A=3.06
        ... )
        >>> round(found.a_A, 2), found.sites, round(found.scale, 2)
        (3.0, 1, 1.02)
    """

    closest_A: float = Field(default=0.9, gt=0)
    frame_strain: float = Field(default=0.0015, gt=0)
    most_strain: float = Field(default=0.025, gt=0)
    most_width_A: float = Field(default=0.6, gt=0)
    most_left_A: float = Field(default=0.15, gt=0)

    @quantity
    def columns(
        self,
        *,
        counts: Array,
        pixel_A: float,
        dark_counts: float = 0.0,
        is_acquired: Array | None = None,
    ) -> Columns:
        """Return the atom columns.

        Args:
            counts: the image, shape (rows, columns) [counts].
            pixel_A: distance of pixels [A].
            dark_counts: of a pixel without beam [counts].
            is_acquired: which pixels were visited, same shape; None: all.
        """
        image, fitted = self._fitted(counts, pixel_A, dark_counts, is_acquired)
        return Columns(
            x_A=fitted.places[:, 1] * pixel_A,
            y_A=fitted.places[:, 0] * pixel_A,
            x_sd_A=fitted.places_sd[:, 1] * pixel_A,
            y_sd_A=fitted.places_sd[:, 0] * pixel_A,
            height=fitted.heights,
            height_sd=fitted.heights_sd,
            width_A=fitted.width * image.pixel_A,
            jitter_A=fitted.jitter[0] * pixel_A,
            count=int(fitted.places.shape[0]),
        )

    @quantity
    def lattice(
        self,
        *,
        counts: Array,
        pixel_A: float,
        dark_counts: float = 0.0,
        is_acquired: Array | None = None,
        expected_a_A: float = 0.0,
        expected_b_A: float = 0.0,
        expected_angle_deg: float = 0.0,
    ) -> LatticeVectors:
        """Return the lattice, and what it says of pixel size and distortion.

        Args:
            counts: the image, shape (rows, columns) [counts].
            pixel_A: distance of pixels [A].
            dark_counts: of a pixel without beam [counts].
            is_acquired: which pixels were visited, same shape; None: all.
            expected_a_A: known length of a [A]; 0: unknown.
            expected_b_A: known length of b [A]; 0: that of a.
            expected_angle_deg: known angle between them; 0: the nearer of 60, 90 and 120 degrees.
        """
        image, fitted = self._fitted(counts, pixel_A, dark_counts, is_acquired)
        lattice = find_lattice(image, fitted)
        if lattice is None:
            return _no_lattice(fitted.width * pixel_A)
        known = (expected_a_A, expected_b_A, expected_angle_deg)
        return self._vectors(lattice, pixel_A, fitted.width * pixel_A, *known)

    @quantity
    def defects(
        self,
        *,
        counts: Array,
        pixel_A: float,
        dark_counts: float = 0.0,
        is_acquired: Array | None = None,
    ) -> Defects:
        """Return the sites at which atoms are missing, or are heavier than elsewhere.

        Args:
            counts: the image, shape (rows, columns) [counts].
            pixel_A: distance of pixels [A].
            dark_counts: of a pixel without beam [counts].
            is_acquired: which pixels were visited, same shape; None: all.
        """
        image, fitted = self._fitted(counts, pixel_A, dark_counts, is_acquired)
        lattice = find_lattice(image, fitted)
        if lattice is None:
            none = np.zeros(0)
            return Defects(
                x_A=none,
                y_A=none,
                change=none,
                change_sd=none,
                missing=0.0,
                missing_sd=float(max(fitted.places.shape[0], 1)),
                sites=0,
                is_seen=False,
            )
        found = occupation_of(image, fitted, lattice)
        clear = np.abs(found.change) > np.maximum(DEFECT_SIGMAS * found.change_sd, LEAST_CHANGE)
        shown = clear | (found.loss > LIKELY)
        variance = float((found.loss * (1.0 - found.loss)).sum())
        return Defects(
            x_A=found.places[shown, 1] * pixel_A,
            y_A=found.places[shown, 0] * pixel_A,
            change=found.change[shown],
            change_sd=found.change_sd[shown],
            missing=float(found.loss.sum()),
            missing_sd=math.sqrt(variance),
            sites=int(found.change.size),
            is_seen=True,
        )

    @quantity
    def film(
        self,
        *,
        counts: Array,
        pixel_A: float,
        dark_counts: float = 0.0,
        is_acquired: Array | None = None,
        lamella_A: float = LAMELLA_A,
    ) -> Film:
        """Return thickness and interface of a film of (Al,Ga)As on GaAs(001), seen along [1-10].

        Args:
            counts: the image, growth direction towards higher rows, shape (rows, columns) [counts].
            pixel_A: distance of pixels, 0.3 A at most [A].
            dark_counts: of a pixel without beam [counts].
            is_acquired: which pixels were visited, same shape; None: all.
            lamella_A: thickness of the lamella along the beam: how many atoms a column has decides how
                much chance there is in the composition that it shows [A].
        """
        image = _image(counts, pixel_A, dark_counts, is_acquired)
        found = measure_film(image.counts, image.seen, pixel_A, lamella_A)
        if isinstance(found, Unseen):
            is_bounded = found.most_ML < UNKNOWN_ML
            return Film(
                thickness_ML=0.5 * found.most_ML if is_bounded else 0.0,
                thickness_sd_ML=found.most_ML / math.sqrt(12.0) if is_bounded else UNKNOWN_ML,
                width_ML=0.0,
                width_sd_ML=UNKNOWN_ML,
                contrast=0.0,
                contrast_sd=UNKNOWN_ML,
                scale=1.0,
                scale_sd=1.0,
                planes=0,
                is_seen=False,
                reason=found.reason,
            )
        return Film(
            thickness_ML=found.thickness_ML,
            thickness_sd_ML=found.thickness_sd_ML,
            width_ML=found.width_ML,
            width_sd_ML=found.width_sd_ML,
            contrast=found.contrast,
            contrast_sd=found.contrast_sd,
            scale=found.scale,
            scale_sd=found.scale_sd,
            planes=found.planes,
            is_seen=True,
            reason="",
        )

    def _fitted(
        self, counts: Array, pixel_A: float, dark_counts: float, is_acquired: Array | None
    ) -> tuple[Image, Fitted]:
        image = _image(counts, pixel_A, dark_counts, is_acquired)
        return image, refine(image, find_columns(image, self.closest_A))

    def _vectors(
        self,
        lattice: Lattice,
        pixel_A: float,
        width_A: float,
        a_A: float,
        b_A: float,
        angle_deg: float,
    ) -> LatticeVectors:
        """Return the lattice in calibrated lengths, compared with an expected one."""
        covariance = lattice.covariance * pixel_A**2
        (ay, ax), (by, bx) = lattice.vectors * pixel_A
        first, second = math.hypot(ax, ay), math.hypot(bx, by)
        sds = []
        for start, (y, x), length in ((0, (ay, ax), first), (2, (by, bx), second)):
            slope = np.zeros(4)
            slope[start : start + 2] = y / length, x / length
            sds.append(math.sqrt(float(slope @ covariance @ slope)))
        turns = math.atan2(ay, ax), math.atan2(by, bx)
        angle = math.degrees(turns[1] - turns[0]) % 360.0
        slope = np.array([-ax / first**2, ay / first**2, bx / second**2, -by / second**2])
        angle_sd = math.degrees(math.sqrt(float(slope @ covariance @ slope)))
        usual = angle_deg or min((60.0, 90.0, 120.0), key=lambda known: abs(known - angle))
        known_a, known_b = a_A or first, b_A or a_A or second
        ratio = (known_a / first, known_b / second)
        noise = math.hypot(sds[0] / first, sds[1] / second)
        scale = 0.5 * (ratio[0] + ratio[1]) if a_A else 1.0
        scale_sd = math.hypot(0.5 * noise, self.frame_strain) if a_A else 1.0
        stretch = abs(ratio[0] - ratio[1]) if a_A else 0.0
        shear = math.radians(abs(angle - usual))
        strain = max(stretch, shear)
        strain_sd = math.hypot(noise, math.radians(angle_sd))
        is_distorted = strain > self.most_strain + FLAG_SIGMAS * strain_sd
        return LatticeVectors(
            a_A=first,
            b_A=second,
            a_sd_A=sds[0],
            b_sd_A=sds[1],
            angle_deg=angle,
            angle_sd_deg=angle_sd,
            turn_deg=math.degrees(turns[0]),
            sites=int(lattice.sites.shape[0]),
            left_A=lattice.left * pixel_A,
            scale=scale,
            scale_sd=scale_sd,
            strain=strain,
            strain_sd=strain_sd,
            width_A=width_A,
            is_seen=True,
            is_blurred=width_A > self.most_width_A or lattice.left * pixel_A > self.most_left_A,
            is_distorted=is_distorted,
        )


def _image(counts: Array, pixel_A: float, dark_counts: float, is_acquired: Array | None) -> Image:
    data = np.asarray(counts, dtype=np.float64) - dark_counts
    seen = np.ones(data.shape, bool) if is_acquired is None else np.asarray(is_acquired, bool)
    return Image(data, seen, float(pixel_A))


def _no_lattice(width_A: float) -> LatticeVectors:
    return LatticeVectors(
        a_A=0.0,
        b_A=0.0,
        a_sd_A=1.0,
        b_sd_A=1.0,
        angle_deg=0.0,
        angle_sd_deg=180.0,
        turn_deg=0.0,
        sites=0,
        left_A=0.0,
        scale=1.0,
        scale_sd=1.0,
        strain=0.0,
        strain_sd=1.0,
        width_A=width_A,
        is_seen=False,
        is_blurred=True,
        is_distorted=False,
    )
