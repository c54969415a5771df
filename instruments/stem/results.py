"""What a twin's run has told, as the results of the contract."""

import math
from collections.abc import Mapping

from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.stem.interface import (
    DETECTORS,
    MODELS,
    Diffraction,
    Micrograph,
    Spectrum,
)

__all__ = ["complaint_of", "diffraction_of", "how_far", "micrograph_of", "spectrum_of"]

DARK_SIGMAS = 3.0
SATURATED_SHARE = 1e-3

HOW_FAR = frozenset({"lines", "lines_asked", "points", "points_asked", "fraction_done"})
"""What only a run that was cut short tells of itself, besides its dose."""


def how_far(unit: str, done: int, asked: int, fraction: float) -> dict[str, float]:
    """Return how far a run has come: lines or points of those asked for, and its part of the dose.

    Args:
        unit: "lines" or "points".
        done: of them.
        asked: of them.
        fraction: of the electrons that were to be sent.
    """
    return {unit: float(done), f"{unit}_asked": float(asked), "fraction_done": fraction}


def complaint_of(image: Micrograph, key: str) -> str | None:
    """Return what is wrong with an image: no electrons, or too many; None where it is plausible."""
    seen = image.counts[image.is_acquired]
    saturated = float((seen >= image.saturation_counts).mean())
    if saturated > SATURATED_SHARE:
        return f"{100 * saturated:.1f} % of the pixels are saturated ({key}): lower the gain or the current"
    noise = image.dark_sd_counts / math.sqrt(seen.size)
    if float(seen.mean()) - image.dark_counts > DARK_SIGMAS * noise:
        return None
    return f"the image is at the dark level ({key}): the beam is off, or the field is beside the sample"


def micrograph_of(progress: Progress) -> Micrograph:
    """Return the image of a scan that is done."""
    numbers = _result(progress.numbers)
    detector, model = int(numbers.pop("detector")), int(numbers.pop("model"))
    is_complete = bool(numbers.pop("is_complete"))
    return Micrograph(
        **progress.arrays,
        **numbers,
        detector=DETECTORS[detector],
        model=MODELS[model],
        is_complete=is_complete,
    )


def diffraction_of(progress: Progress) -> Diffraction:
    """Return the patterns of a run that is done."""
    return Diffraction(**progress.arrays, **_result(progress.numbers), model="multislice")


def spectrum_of(progress: Progress) -> Spectrum:
    """Return the spectrum of a run that is done."""
    numbers = _result(progress.numbers)
    numbers.pop("dose_e_per_A2")
    return Spectrum(**progress.arrays, **numbers, model="approximate")


def _result(numbers: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in numbers.items() if name not in HOW_FAR}
