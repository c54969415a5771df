"""From islands to step flow: a staircase that takes up its atoms before they meet has no oscillation.

Atoms on a terrace meet and nucleate as long as the terrace is wider than the distance that islands
keep on a flat surface of the same temperature and flux; on narrower ones they reach a step first, the
surface repeats itself at every moment, and its step density stands still. In the usual words: the
diffusion length passes the terrace width.

Source: Neave, Dobson, Joyce & Zhang, Appl. Phys. Lett. 47, 100 (1985), doi:10.1063/1.96281
(oscillations on vicinal surfaces vanish); the spacing of islands on flat surfaces: Amar, Family & Lam,
Phys. Rev. B 50, 8781 (1994), doi:10.1103/PhysRevB.50.8781.
"""

import numpy as np
import pytest
from scipy import ndimage

from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.rheed import specular_spot

pytestmark = [pytest.mark.physics, pytest.mark.timeout(600)]

MATERIAL = GrowthParameters(multi_hop=8)
SIZE = 96


def step_density(heights, steps):
    east = np.roll(heights, -1, 1)
    east[:, -1] += steps
    return float((east != heights).mean() + (np.roll(heights, 1, 0) != heights).mean())


def beat(signal):
    """Return the amplitude of the oscillation of one period a layer, less a slow change."""
    dose_ML = np.arange(signal.size) * 0.05
    rest = signal - np.polyval(np.polyfit(dose_ML, signal, 2), dose_ML)
    return 2.0 * abs(np.mean(rest * np.exp(2j * np.pi * dose_ML)))


def oscillation(steps, substrate_K, flux_ML_per_s, films=2):
    """Return the relative oscillation of the step density from 0.5 to 3.5 ML."""
    seen = []
    for seed in range(films):
        film = Film.vicinal(size=SIZE, steps=steps, parameters=MATERIAL, seed=seed)
        for _ in range(70):
            film.advance(
                temperature_K=substrate_K,
                flux_ML_per_s=flux_ML_per_s,
                duration_s=0.05 / flux_ML_per_s,
            )
            seen.append(step_density(film.heights, steps))
    mean = np.reshape(seen, (films, 70)).mean(axis=0)[10:]
    return beat(mean) / mean.mean()


def island_spacing(substrate_K, flux_ML_per_s):
    """Return the distance of islands on a flat surface at 0.15 ML [sites]."""
    film = Film.flat(size=192, parameters=MATERIAL, seed=1)
    film.advance(
        temperature_K=substrate_K, flux_ML_per_s=flux_ML_per_s, duration_s=0.15 / flux_ML_per_s
    )
    labels, _ = ndimage.label(film.heights > 0)
    sizes = np.bincount(labels.ravel())[1:]
    return 192.0 / np.sqrt(float((sizes >= 2).sum()))


def ratios():
    """Return terrace width over island spacing, and oscillation over that of a flat surface."""
    found = []
    for substrate_K, steps_tried in ((700.0, (4, 12)), (740.0, (4, 8)), (780.0, (2, 8))):
        spacing, flat = island_spacing(substrate_K, 0.5), oscillation(0, substrate_K, 0.5)
        found += [
            (SIZE / steps / spacing, oscillation(steps, substrate_K, 0.5) / flat)
            for steps in steps_tried
        ]
    return found


def test_oscillations_vanish_where_terraces_are_as_narrow_as_islands_are_apart():
    found = ratios()
    wide = [beats for width, beats in found if width > 2.3]
    narrow = [beats for width, beats in found if width < 1.3]
    assert len(wide) == len(narrow) == 3
    assert min(wide) > 0.35, found
    assert max(narrow) < 0.15, found


def test_less_flux_turns_islands_into_step_flow():
    """The diffusion length grows as flux falls, at one temperature and one terrace width."""
    fast, slow = (oscillation(4, 740.0, flux_ML_per_s) for flux_ML_per_s in (1.0, 0.05))
    assert fast > 0.05
    assert slow < 0.25 * fast


def test_the_beam_of_a_staircase_stands_still_in_step_flow():
    traces = {}
    for substrate_K in (680.0, 780.0):
        film = Film.vicinal(size=SIZE, steps=8, parameters=MATERIAL, seed=3)
        seen = []
        for _ in range(70):
            film.advance(temperature_K=substrate_K, flux_ML_per_s=0.5, duration_s=0.1)
            seen.append(specular_spot(film.heights, phase_rad=3 * np.pi, steps=8, window_sites=5))
        traces[substrate_K] = np.array(seen)
    assert beat(traces[780.0][10:]) < 0.2 * beat(traces[680.0][10:])
    # and it is bright: the steps stay as straight as they were
    assert traces[780.0][10:].mean() > 2.0 * traces[680.0][10:].mean()
