"""Images as the Fourier sums they are: exact at any position, on any grid, at any blur."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.compute import Compute

__all__ = ["ImageSpectrum"]


@dataclass(frozen=True, eq=False, slots=True)
class ImageSpectrum:
    """I(r) = Re sum_q v_q exp(2 pi i q . r), for several detectors.

    A probe of half angle alpha resolves nothing beyond |q| = 2 alpha / lambda, so that a few
    thousand numbers are the whole image.

    Args:
        values: v_q, shape (n_images, n_qx, n_qy), complex; may carry gradients.
        x_per_A: the frequencies along x, shape (n_qx,) [1/A].
        y_per_A: the frequencies along y, shape (n_qy,) [1/A].
        compute: where the values live.

    Example:
        >>> values = torch.tensor([[[1.0 + 0.0j], [0.5 + 0.0j]]])
        >>> wave = ImageSpectrum(values, np.array([0.0, 0.25]), np.zeros(1), Compute())
        >>> wave.at(np.array([[0.0, 0.0], [2.0, 0.0]])).tolist()
        [[1.5, 0.5]]
    """

    values: Tensor
    x_per_A: NDArray[np.float64]
    y_per_A: NDArray[np.float64]
    compute: Compute

    def blurred(self, sigma_A: float) -> "ImageSpectrum":
        """Return the image under a Gaussian source of this standard deviation [A].

        Raises:
            ArgumentError: a negative width.
        """
        if not 0.0 <= sigma_A < float("inf"):
            raise ArgumentError("sigma_A", sigma_A, "a finite number >= 0 A")
        if sigma_A == 0.0:
            return self
        square = self.x_per_A[:, None] ** 2 + self.y_per_A[None, :] ** 2
        damping = self.compute.put(np.exp(-2.0 * np.pi**2 * sigma_A**2 * square))
        return replace(self, values=self.values * damping)

    def on_grid(self, x_A: NDArray[np.float64], y_A: NDArray[np.float64]) -> Tensor:
        """Return the images on a rectangular grid, shape (n_images, n_y, n_x), real.

        Args:
            x_A: of the columns, shape (n_x,) [A].
            y_A: of the rows, shape (n_y,) [A].
        """
        across = _waves(self.x_per_A, x_A, self.compute)
        along = _waves(self.y_per_A, y_A, self.compute)
        return (along.T @ self.values.transpose(1, 2) @ across).real

    def at(self, positions_A: NDArray[np.float64]) -> Tensor:
        """Return the images at any positions, shape (n_images, n), real.

        Args:
            positions_A: x and y, shape (n, 2) [A].

        Raises:
            ArgumentError: positions of another shape.
        """
        if positions_A.ndim != 2 or positions_A.shape[1] != 2:
            raise ArgumentError("positions_A", positions_A.shape, "the shape (n, 2)")
        if self.values.requires_grad:
            return self.sum_over(*self.waves_at(positions_A))
        n, n_images = positions_A.shape[0], self.values.shape[0]
        out = torch.empty((n_images, n), dtype=self.compute.real, device=self.compute.device)
        batch = self.compute.batch(n_images * (self.x_per_A.size + self.y_per_A.size))
        # Written in place: small arrays kept between large ones would keep the heap from reuse.
        for start in range(0, n, batch):
            part = positions_A[start : start + batch]
            out[:, start : start + batch] = self.sum_over(*self.waves_at(part))
        return out

    def waves_at(self, positions_A: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
        """Return exp(2 pi i q . r) by axis, for many images at the same places; see `sum_over`."""
        across = _waves(self.x_per_A, positions_A[:, 0], self.compute)
        return across, _waves(self.y_per_A, positions_A[:, 1], self.compute)

    def sum_over(self, across: Tensor, along: Tensor) -> Tensor:
        """Return the images at the places of `waves_at`, shape (n_images, n), real."""
        rows = self.values.transpose(1, 2) @ across
        return (rows * along).sum(dim=1).real


def _waves(
    frequencies_per_A: NDArray[np.float64], places_A: NDArray[np.float64], compute: Compute
) -> Tensor:
    """Return exp(2 pi i q r), shape (n_q, n_places); cycles are reduced in double precision."""
    cycles = np.outer(frequencies_per_A, places_A)
    return compute.turn(2.0 * np.pi * (cycles - np.rint(cycles)))
