"""Molecular beam epitaxy: the contract of the kind and its twin."""

from twinloop.instruments.mbe.interface import MBE, Grown

__all__ = ["MBE", "Grown"]
