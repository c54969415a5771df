"""The grown film of (Al,Ga)As on GaAs(001) as planes that X-rays see.

A monolayer n is a plane of cations and, half a layer higher, a plane of arsenic, each with one atom
in the surface mesh where the layer is complete. Along the specular rod the shift of every second
layer by half a mesh does not show, so that the substrate repeats every monolayer.

Source: absorption: mass attenuation coefficients at 8.05 keV of Ga and As as in Chantler, J. Phys.
Chem. Ref. Data 29, 597 (2000), doi:10.1063/1.1321055, through mu = 2 r_e lambda sum f'' / volume.
"""

import numpy as np

from twinloop.simulators.film_structure import (
    ALUMINIUM,
    ARSENIC,
    GALLIUM,
    MESH_A,
    MONOLAYER_A,
    RMS_A,
    FilmStructure,
    film_monolayer_A,
)
from twinloop.simulators.xrd.film import CLASSICAL_RADIUS_A, FilmOnSubstrate, PlaneStack
from twinloop.simulators.xrd.scattering_factors import CU_KA1_A, anomalous

__all__ = ["planes_of_film"]

ELEMENTS = (GALLIUM, ALUMINIUM, ARSENIC)


def planes_of_film(film: FilmStructure, *, substrate_layers: int = 0) -> FilmOnSubstrate:
    """Return what X-rays see of a grown film.

    Args:
        film: heights, composition, interdiffusion.
        substrate_layers: layers of the substrate that are told one by one, at least; more where
            interdiffusion reaches deeper [ML].

    Example:
        >>> sample = planes_of_film(FilmStructure.flat(4, height_ML=10))
        >>> sample.film.z_A.size, round(float(sample.film.z_A[-2] / 10), 4)
        (20, 2.8339)
    """
    depth = max(substrate_layers, int(np.ceil(5.0 * film.mixing_ML)) + (film.mixing_ML > 0))
    coverage = film.layer_coverages()
    first, last = 1 - depth, coverage.size
    share = film.layer_aluminium(first, last)
    z_A = film.layer_heights_A(min(first, 0), last)[first - min(first, 0) :]
    present = np.concatenate([np.ones(depth), coverage])
    cations = np.column_stack([present * (1.0 - share), present * share, np.zeros_like(share)])
    arsenic = np.column_stack([np.zeros((share.size, 2)), present])
    planes = np.stack([cations, arsenic], axis=1).reshape(-1, len(ELEMENTS))
    heights = np.column_stack([z_A, z_A + 0.5 * film_monolayer_A(share)]).reshape(-1)
    rms_A = [RMS_A[z] for z in ELEMENTS]
    top_A = -depth * MONOLAYER_A
    cell = PlaneStack.of(
        [top_A, top_A + 0.5 * MONOLAYER_A], ELEMENTS, [[1, 0, 0], [0, 0, 1]], rms_A
    )
    absorbing = float(anomalous([GALLIUM, ARSENIC]).imag.sum())
    volume_A3 = MESH_A**2 * MONOLAYER_A
    return FilmOnSubstrate(
        film=PlaneStack.of(heights, ELEMENTS, planes, rms_A),
        cell=cell,
        period_A=MONOLAYER_A,
        mesh_area_A2=MESH_A**2,
        absorption_per_A=2.0 * CLASSICAL_RADIUS_A * CU_KA1_A * absorbing / volume_A3,
    )
