"""Scanning transmission electron microscopy: the contract of the kind and its twin."""

from twinloop.instruments.stem.interface import STEM, Diffraction, Micrograph, Optics, Spectrum

__all__ = ["STEM", "Diffraction", "Micrograph", "Optics", "Spectrum"]
