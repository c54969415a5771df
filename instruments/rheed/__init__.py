"""Reflection high-energy electron diffraction: the contract of the kind and its twin."""

from twinloop.instruments.rheed.interface import RHEED, Specular, Trace

__all__ = ["RHEED", "Specular", "Trace"]
