"""Where and how precisely the arithmetic runs: one device name, one precision."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twinloop.errors import ArgumentError

__all__ = ["Compute", "Precision"]

Precision = Literal["single", "double"]

BATCH_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}
"""Working set of one batch [bytes]: a CPU's caches hold it; a GPU is kept busy by it."""


@dataclass(frozen=True, slots=True)
class Compute:
    """A device and the precision of what lives there.

    Phases are always evaluated in double precision on the host and rounded once.

    Args:
        device: "cpu" or "cuda" (or "cuda:1").
        precision: "single" (complex64) or "double" (complex128).

    Raises:
        ArgumentError: a device that this machine lacks, or another precision.

    Example:
        >>> Compute().complex
        torch.complex64
    """

    device: str = "cpu"
    precision: Precision = "single"

    def __post_init__(self) -> None:
        kind = self.device.partition(":")[0]
        if kind not in BATCH_BYTES:
            raise ArgumentError("device", self.device, f"one of {', '.join(BATCH_BYTES)}")
        if kind == "cuda" and not torch.cuda.is_available():
            raise ArgumentError("device", self.device, "cpu: torch finds no CUDA device here")
        if self.precision not in {"single", "double"}:
            raise ArgumentError("precision", self.precision, "single or double")

    @property
    def real(self) -> torch.dtype:
        """The type of real arrays."""
        return torch.float32 if self.precision == "single" else torch.float64

    @property
    def complex(self) -> torch.dtype:
        """The type of complex arrays."""
        return torch.complex64 if self.precision == "single" else torch.complex128

    def batch(self, elements: int) -> int:
        """Return how many complex arrays of so many elements one batch may hold, at least 1."""
        each = max(elements, 1) * (8 if self.precision == "single" else 16)
        return max(1, BATCH_BYTES[self.device.partition(":")[0]] // each)

    def put(self, array: NDArray[np.generic]) -> Tensor:
        """Return the array on the device, floats and complex numbers in this precision."""
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        if tensor.is_complex():
            tensor = tensor.to(self.complex)
        elif tensor.is_floating_point():
            tensor = tensor.to(self.real)
        return tensor.to(self.device)

    def turn(self, phase_rad: NDArray[np.float64]) -> Tensor:
        """Return exp(i phase) on the device, evaluated in double precision."""
        return self.put(np.exp(1j * phase_rad))

    def empty(self, *shape: int) -> Tensor:
        """Return a complex array that nobody has written yet."""
        return torch.empty(shape, dtype=self.complex, device=self.device)

    def zeros(self, *shape: int) -> Tensor:
        """Return a complex array of zeros."""
        return torch.zeros(shape, dtype=self.complex, device=self.device)
