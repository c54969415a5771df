"""X-ray diffraction: the contract of the kind and its twin."""

from twinloop.instruments.xrd.interface import XRD, Alignment, Rocking, Scan

__all__ = ["XRD", "Alignment", "Rocking", "Scan"]
