"""Scanning tunnelling microscopy: the contract of the kind and its twin."""

from twinloop.instruments.stm.interface import STM, Grid, Manipulated, Scan, Spectrum

__all__ = ["STM", "Grid", "Manipulated", "Scan", "Spectrum"]
