"""Lattice and elastic constants of GaAs and AlAs at 300 K: one place for all who see the same crystal.

On the (001) surface the cation sites form a square mesh of a / sqrt(2), and cation layers are a / 2
apart.

Source: Vurgaftman, Meyer & Ram-Mohan, J. Appl. Phys. 89, 5815 (2001), doi:10.1063/1.1368156, tables I
and II.
"""

from math import sqrt

__all__ = [
    "ALAS_A",
    "ALAS_C12_OVER_C11",
    "GAAS_A",
    "GAAS_C12_OVER_C11",
    "MESH_A",
    "MONOLAYER_A",
]

GAAS_A = 5.65325
ALAS_A = 5.6611
"""Lattice constants [A]."""

MESH_A = GAAS_A / sqrt(2.0)
MONOLAYER_A = GAAS_A / 2.0
"""Side of the surface mesh and distance of cation layers of GaAs(001) [A]: 3.9975 and 2.8266."""

ALAS_C12_OVER_C11 = 534.0 / 1250.0
GAAS_C12_OVER_C11 = 566.0 / 1221.0
"""Ratios of elastic constants [1]."""
