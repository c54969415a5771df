"""Reflection high-energy electron diffraction: contract and twin."""
