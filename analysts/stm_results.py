"""What the STM analyst answers: one record for each question."""

from twinloop.results import Array, Result

__all__ = [
    "Artefacts",
    "BoundState",
    "DefectImage",
    "DiracPoint",
    "DriftSeen",
    "FilmImage",
    "Gap",
    "LatticeImage",
]


class FilmImage(Result):
    """A film, from one image.

    Args:
        roughness_ML: root mean square of the height in the imaged area [ML].
        roughness_A: the same [A].
        film_roughness_sd_ML: the deviation when that number is to stand for the whole film [ML].
        islands_per_nm2: density of islands in the imaged area [1/nm^2]; with the bounds of a 90 %
            interval, which is not symmetric.
        film_islands_low_per_nm2, film_islands_high_per_nm2: the interval for the whole film.
        islands_counted: seen in the image, before the correction for those that run together.
        coverage_by_layer: share of the area that stands at layer k = 1, 2, ... above the lowest one
            seen or higher, shape (n,) [1].
        coverage_sd_by_layer: shape (n,) [1].
        steps_per_A: length of steps for each area [1/A].
        step_height_A: of one layer by the calibration of z [A].
        concentration: how well the heights fall on layers, 0 to 1.
        noise_A: of a pixel, from forward against backward [A].
        is_terraced: whether layers could be told apart at all.
    """

    roughness_ML: float
    roughness_sd_ML: float
    roughness_A: float
    roughness_sd_A: float
    film_roughness_sd_ML: float
    islands_per_nm2: float
    islands_sd_per_nm2: float
    islands_low_per_nm2: float
    islands_high_per_nm2: float
    film_islands_low_per_nm2: float
    film_islands_high_per_nm2: float
    islands_counted: int
    coverage_by_layer: Array
    coverage_sd_by_layer: Array
    steps_per_A: float
    steps_sd_per_A: float
    step_height_A: float
    step_height_sd_A: float
    concentration: float
    noise_A: float
    is_terraced: bool


class LatticeImage(Result):
    """A hexagonal lattice, and what it says of the scanner.

    Args:
        spacing_A: as the image shows it, mean of both axes [A].
        spacing_sd_A: its standard deviation [A].
        x_scale, y_scale: true over seen lengths [1].
        shear: true shift along x for each unit along y [1].
        angle_deg: of the first wave from x [deg].
        contrast: of the weakest wave over what is around, from 3 on a lattice is there.
        is_lattice: whether one was found.
    """

    spacing_A: float
    spacing_sd_A: float
    x_scale: float
    y_scale: float
    scale_sd: float
    shear: float
    angle_deg: float
    contrast: float
    is_lattice: bool


class DefectImage(Result):
    """Defects of a lattice.

    Args:
        places_A: from the middle of the frame, corrected by the lattice where `is_calibrated`, shape
            (n, 2) [A].
        places_sd_A: shape (n, 2) [A].
        heights_A: over the lattice after smoothing, shape (n,) [A].
        per_nm2, per_nm2_sd: density of defects [1/nm^2].
        threshold_A: what counts as one [A].
        scatter_A: deviation of the smoothed image where there is none [A]; half of the defects as high as
            `threshold_A` are found, nearly all that are a third higher.
        is_calibrated: whether the lattice corrected scale and shear.
        twins: pairs of defects that are apart by the same vector.
        twin_x_A, twin_y_A: that vector, of either sign [A]; 0 without one.
        is_double_tip: whether so many defects have a companion there that the tip has shown them twice.
            One defect alone cannot tell.
    """

    places_A: Array
    places_sd_A: Array
    heights_A: Array
    per_nm2: float
    per_nm2_sd: float
    threshold_A: float
    scatter_A: float
    is_calibrated: bool
    twins: int
    twin_x_A: float
    twin_y_A: float
    is_double_tip: bool


class DriftSeen(Result):
    """Drift of the sample, from a line that was scanned twice.

    Args:
        x_A_per_s, y_A_per_s: of the image's features under the scanner's axes [A/s].
        sd_A_per_s: of either [A/s].
        likeness: correlation of the two passes, 0 to 1.
        is_seen: whether the line tells places apart.
    """

    x_A_per_s: float
    y_A_per_s: float
    sd_A_per_s: float
    likeness: float
    is_seen: bool


class Gap(Result):
    """A gap in the density of states: edges and width [V], seen from the Fermi level at 0."""

    valence_V: float
    valence_sd_V: float
    conduction_V: float
    conduction_sd_V: float
    gap_V: float
    gap_sd_V: float
    is_sure: bool


class DiracPoint(Result):
    """The minimum of graphene's spectrum [V]."""

    dirac_V: float
    dirac_sd_V: float
    is_sure: bool


class BoundState(Result):
    """A peak: place and width [V], height over its background [nS]."""

    place_V: float
    place_sd_V: float
    width_V: float
    height_nS: float
    height_sd_nS: float
    is_sure: bool


class Artefacts(Result):
    """What speaks against an image.

    Args:
        ghost_x_A, ghost_y_A: vector to a second image [A].
        ghost_loneliness: what has no companion there, over what is usual, 0 for a perfect ghost [1].
        ghost_strength: of it in the autocorrelation, in deviations [1].
        largest_jump_A: of a whole line against the one before [A].
        is_double_tip, is_oscillating, is_crashed, is_saturated: verdicts on the cause: a loop that
            rings also jumps, a tip that touched saturates for a line or two and is double afterwards.
            Two hold together only where a saturated preamplifier has let the tip crash.
    """

    ghost_x_A: float
    ghost_y_A: float
    ghost_loneliness: float
    ghost_strength: float
    largest_jump_A: float
    is_double_tip: bool
    is_oscillating: bool
    is_crashed: bool
    is_saturated: bool
