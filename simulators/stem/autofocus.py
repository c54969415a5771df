"""Autofocus: find the lens's aberrations from an image, by gradient through the Gram form.

Three questions. `fit_aberrations`: the structure is known, or nearly; which setting explains this
image? `sharpest`: which setting will give the image of largest variance? Both start from a coarse
search along defocus, because the loss has side minima, and then descend. `focus_by_sharpness` asks
the microscope instead: no structure is given, only images at settings that it chooses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.aberrations import COEFFICIENTS, Aberrations
from twinloop.simulators.stem.gram import Gram
from twinloop.simulators.stem.probe import Probe

__all__ = ["Fit", "fit_aberrations", "focus_by_sharpness", "refocused", "sharpest"]

DEFAULT_RANGE_A = (-300.0, 300.0)

STARTS = 3
"""How many minima of the coarse search are followed down."""

FLOOR = 1e-12
"""Keeps the logarithm of a perfect fit finite."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What an autofocus found.

    Args:
        aberrations: the setting.
        loss: what remains: the misfit (0: nothing explained), or the negative relative variance.
        evaluations: images computed on the way.
    """

    aberrations: Aberrations
    loss: float
    evaluations: int


def fit_aberrations(
    gram: Gram,
    probe: Probe,
    images: Mapping[str, NDArray[np.float64]],
    positions_A: NDArray[np.float64],
    *,
    vary: tuple[str, ...] = ("C10",),
    defocus_range_A: tuple[float, float] = DEFAULT_RANGE_A,
) -> Fit:
    """Return the aberrations whose images fit the measured ones best.

    The misfit is the profile likelihood of images with unknown brightness, offset and noise,
    log(1 - rho^2) averaged over detectors, rho the correlation: units do not matter, and the
    clearest image counts most.

    Args:
        gram: of the structure that one believes in.
        probe: the setting that one believes in; what `vary` does not name stays.
        images: what was measured, by detector, one value a position, shape (n,) [any unit].
        positions_A: x and y, shape (n, 2) [A].
        vary: which coefficients to find; see `aberrations.COEFFICIENTS`.
        defocus_range_A: where the coarse search looks, if C10 is among them [A].

    Raises:
        ArgumentError: unknown coefficients or detectors, or images of another length.
    """
    for name, image in images.items():
        if name not in gram.names:
            raise ArgumentError("images", name, f"detectors of the gram: {', '.join(gram.names)}")
        if image.shape != (positions_A.shape[0],):
            raise ArgumentError(f"images[{name}]", image.shape, f"({positions_A.shape[0]},)")
    rows = [gram.names.index(name) for name in images]
    wanted = torch.from_numpy(np.stack([_standard(image) for image in images.values()]))
    wanted = wanted.to(gram.compute.device)

    waves = gram.spectrum(probe).waves_at(positions_A)

    def misfit(vector: Tensor) -> Tensor:
        seen = gram.spectrum(probe, vector).sum_over(*waves)[rows].double()
        seen = seen - seen.mean(dim=1, keepdim=True)
        along = (seen * wanted).sum(dim=1) / (seen**2).sum(dim=1).clamp_min(1e-30).sqrt()
        return torch.log(1.0 - along * along.abs() + FLOOR).mean()

    return _descend(misfit, probe, gram, vary, defocus_range_A)


def sharpest(
    gram: Gram,
    probe: Probe,
    detector: str,
    *,
    vary: tuple[str, ...] = ("C10",),
    defocus_range_A: tuple[float, float] = DEFAULT_RANGE_A,
) -> Fit:
    """Return the aberrations that give the image of largest relative variance.

    Args:
        gram: of the specimen.
        probe: the setting to start from.
        detector: whose image counts.
        vary: which coefficients to turn.
        defocus_range_A: where the coarse search looks [A].

    Raises:
        ArgumentError: unknown coefficients, or a detector that the gram lacks.
    """
    if detector not in gram.names:
        raise ArgumentError("detector", detector, f"one of {', '.join(gram.names)}")
    row = gram.names.index(detector)

    def dullness(vector: Tensor) -> Tensor:
        spectrum = gram.spectrum(probe, vector)
        power = spectrum.values[row].abs() ** 2
        # Parseval on the half plane of frequencies: the mean image stands at q = 0.
        mean = power[0, spectrum.y_per_A.size // 2]
        return (-0.5 * (power.sum() - mean) / mean).double()

    return _descend(dullness, probe, gram, vary, defocus_range_A)


def _standard(image: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = image - image.mean()
    length = float(np.sqrt((centred**2).sum()))
    if not length > 0.0:
        raise ArgumentError("images", "a constant image", "images with contrast")
    standard: NDArray[np.float64] = centred / length
    return standard


def _descend(
    loss: Callable[[Tensor], Tensor],
    probe: Probe,
    gram: Gram,
    vary: tuple[str, ...],
    defocus_range_A: tuple[float, float],
) -> Fit:
    """Minimise from the best places of a coarse search along defocus; keep the lowest end."""
    unknown = set(vary) - set(COEFFICIENTS)
    if unknown or not vary:
        raise ArgumentError("vary", vary, f"names from {', '.join(COEFFICIENTS)}")
    if not defocus_range_A[0] < defocus_range_A[1]:
        raise ArgumentError("defocus_range_A", defocus_range_A, "low < high")
    counted = _Counted(loss)
    # A change of one unit turns the outermost beam by one radian, whatever the coefficient.
    unit_A = 1.0 / np.abs(gram.beams.basis()).max(axis=0)
    starts = [torch.from_numpy(probe.aberrations.vector()).to(gram.compute.device)]
    if "C10" in vary:
        starts = _search(counted, starts[0], float(unit_A[0]), defocus_range_A)
    ends = [_downhill(counted, start, unit_A, vary) for start in starts]
    vector, value = min(ends, key=lambda end: end[1])
    return Fit(Aberrations.of_vector(vector.cpu().numpy()), value, counted.calls)


class _Counted:
    """A loss that knows how often it was asked."""

    def __init__(self, loss: Callable[[Tensor], Tensor]) -> None:
        self._loss = loss
        self.calls = 0

    def __call__(self, vector: Tensor) -> Tensor:
        self.calls += 1
        return self._loss(vector)


def _search(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    unit_A: float,
    defocus_range_A: tuple[float, float],
) -> list[Tensor]:
    """Return the lowest minima along defocus, sampled every half radian at the aperture's edge."""
    low_A, high_A = defocus_range_A
    tried = np.linspace(low_A, high_A, max(3, round(2.0 * (high_A - low_A) / unit_A) + 1))
    vectors = [start.clone() for _ in tried]
    with torch.no_grad():
        for vector, defocus_A in zip(vectors, tried, strict=True):
            vector[0] = -float(defocus_A)
        values = np.array([float(loss(vector)) for vector in vectors])
    walled = np.concatenate([[np.inf], values, [np.inf]])
    minima = np.flatnonzero((values <= walled[:-2]) & (values <= walled[2:]))
    lowest = minima[np.argsort(values[minima])][:STARTS]
    return [vectors[int(k)] for k in lowest]


def _downhill(
    loss: Callable[[Tensor], Tensor],
    start: Tensor,
    unit_A: NDArray[np.float64],
    vary: tuple[str, ...],
) -> tuple[Tensor, float]:
    """Return where L-BFGS ends, and the loss there."""
    columns = [COEFFICIENTS.index(name) for name in vary]
    place = torch.tensor(columns, device=start.device)
    scale = torch.from_numpy(unit_A[columns]).to(start.device)
    steps = torch.zeros_like(scale, requires_grad=True)
    solver: Any = torch.optim.LBFGS([steps], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        value = loss(start.index_add(0, place, steps * scale))
        steps.grad = torch.autograd.grad(value, steps)[0]
        return value.detach()

    solver.step(closure)
    with torch.no_grad():
        end = start.index_add(0, place, steps * scale)
        return end, float(loss(end))


def focus_by_sharpness(
    acquire: Callable[[float], NDArray[np.float64]],
    defocus_range_A: tuple[float, float] = DEFAULT_RANGE_A,
    *,
    images: int = 15,
    width_A: float = 40.0,
) -> float:
    """Return the lens setting whose measured image has the largest relative variance [A].

    Half of the images look for the peak over the whole range; the others lie within `width_A` of
    it, and the vertex of a parabola through them is the answer. Noise that does not depend on the
    setting moves no peak.

    Args:
        acquire: records an image at a setting [A]; any shape, any unit.
        defocus_range_A: settings to look among [A].
        images: how many to record, >= 6.
        width_A: half width of the peak that the parabola is laid through: about the depth of focus
            lambda / alpha^2 [A].

    Raises:
        ArgumentError: too few images, a range or a width that is not positive, or images without a
            peak.

    Example:
        >>> def acquire(setting_A):
        ...     contrast = np.exp(-0.5 * ((setting_A - 33.0) / 60.0) ** 2)
        ...     return 1.0 + contrast * np.array([-1.0, 1.0])
        >>> round(focus_by_sharpness(acquire, (-100.0, 100.0)), 1)
        33.0
    """
    low_A, high_A = defocus_range_A
    if images < 6:
        raise ArgumentError("images", images, "a whole number >= 6")
    if not low_A < high_A:
        raise ArgumentError("defocus_range_A", defocus_range_A, "low < high")
    if not width_A > 0.0:
        raise ArgumentError("width_A", width_A, "a number > 0 A")
    coarse_A = np.linspace(low_A, high_A, images // 2)
    peak_A = float(coarse_A[int(np.argmax([_contrast(acquire(float(a))) for a in coarse_A]))])
    spacing_A = float(coarse_A[1] - coarse_A[0])
    if spacing_A > 2.0 * width_A:
        found_A = f"{images} images over {high_A - low_A:g} A"
        raise ArgumentError("images", found_A, "enough that the peak cannot hide between two")
    fine_A = peak_A + np.linspace(-1.0, 1.0, images - images // 2) * max(width_A, spacing_A)
    fine = np.array([_contrast(acquire(float(a))) for a in fine_A])
    # The logarithm of a bell is a parabola; where contrast is lost noise must not weigh alike.
    bend, slope, _ = np.polyfit(fine_A - peak_A, np.log(fine), 2, w=fine)
    if not bend < 0.0:
        raise ArgumentError("acquire", "no peak of contrast", "images that have one in the range")
    return peak_A - float(slope / (2.0 * bend))


def _contrast(image: NDArray[np.float64]) -> float:
    found = float(image.var() / image.mean() ** 2)
    if not found > 0.0:
        raise ArgumentError("images", "a constant image", "images with contrast")
    return found


def refocused(probe: Probe, fit: Fit) -> Probe:
    """Return the probe with the aberrations that a fit found."""
    return replace(probe, aberrations=fit.aberrations)
