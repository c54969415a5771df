"""What a twin's run has told, as the results of the contract."""

from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.stem.interface import (
    DETECTORS,
    MODELS,
    Diffraction,
    Micrograph,
    Spectrum,
)

__all__ = ["diffraction_of", "micrograph_of", "spectrum_of"]


def micrograph_of(progress: Progress) -> Micrograph:
    """Return the image of a scan that is done."""
    numbers = dict(progress.numbers)
    numbers.pop("lines")
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
    numbers = {name: value for name, value in progress.numbers.items() if name != "points"}
    return Diffraction(**progress.arrays, **numbers, model="multislice")


def spectrum_of(progress: Progress) -> Spectrum:
    """Return the spectrum of a run that is done."""
    return Spectrum(**progress.arrays, **progress.numbers, model="approximate")
