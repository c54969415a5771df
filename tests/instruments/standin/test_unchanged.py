"""Chambers without the newer sections of their settings grow, to the bit, what they always grew.

The digests were recorded before cells, a controlled heater, vicinal substrates and pauses existed.
Counts and heights are exact; a trace is rounded to a thousandth of a count, for the last bit of an
exponential differs between processors. Frames were recorded anew when the sign of the phase across the
layers was set right (they had shown the surface turned by half a turn), and when the screen took the lattice constant
and the step of the crystal that every other instrument meets, instead of 4 A and 2.8 A.
"""

import hashlib

import numpy as np
import pytest

from twinloop.instruments.standin.settings import ChamberSettings, FaultPlan, read_settings
from twinloop.instruments.standin.testing import Bench

FAULTS = (
    FaultPlan(name="shutter_hung", growth=1),
    FaultPlan(name="thermocouple_jump", growth=1),
)
GROWTHS = {
    "plain": (ChamberSettings(size=24, multi_hop=4, seed=5), 650.0, 0.5, 2.0, 2.0),
    "shipped": (
        read_settings("growth_chamber.yaml").model_copy(update={"size": 48}),
        700.0, 0.4, 2.5, 3.0,
    ),
    "biased": (
        read_settings("growth_chamber_biased.yaml").model_copy(update={"size": 32}),
        720.0, 0.5, 2.0, 3.0,
    ),
    "misleading": (
        read_settings("growth_chamber_misleading.yaml").model_copy(update={"size": 32}),
        700.0, 0.5, 2.0, 3.0,
    ),
    "faulty": (ChamberSettings(size=24, seed=3, faults=FAULTS), 640.0, 1.0, 1.5, 1.0),
}  # fmt: skip
RECORDED = {
    "plain": (
        "462679f0373c7118", "89135933ce5c91ba", "bfa91153217b5aeb",
        [4.0, 0.5082273109275807, 2.0329092437103227, 649.857188694533, 649.7761704150719, 2338.60561143514, 186.01075237738274],
    ),
    "shipped": (
        "923e62a5951d3d28", "c08ffa8185690d28", "b58a13cac0685699",
        [6.25, 0.39568601216522065, 2.473037576032629, 699.8020206216454, 699.6896062284812, 1685.4065601355974, 186.01075237738274],
    ),
    "biased": (
        "73b8142cda845043", "aaa9c8fdc524cc83", "93aa254c006fcbf9",
        [4.0, 0.49912282193542906, 1.9964912877417162, 719.7957594900977, 719.9646190604667, 13847.344778333638, 186.01075237738274],
    ),
    "misleading": (
        "895cd0271b1e8ec2", "3e0f23c633f5704b", "f7076eeaf095d7d4",
        [4.0, 0.4979894950286881, 1.9919579801147524, 699.7536071059495, 699.7631186095012, 8198.624784468757, 186.01075237738274],
    ),
    "faulty": (
        "c16f4d32bc4117ee", "54b538d58207c1d1", "7886b41592722220",
        [1.5, 1.0060395196756682, 2.263588919270253, 639.8056048574829, 639.9564733197934, 503.2571858377695, 186.01075237738274],
    ),
}  # fmt: skip


def digest(array: np.ndarray) -> str:
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=8).hexdigest()


def grown(settings, substrate_K, flux_ML_per_s, dose_ML, hold_s):
    bench = Bench(settings)

    async def trial():
        await bench.prepare("s1", substrate_K=substrate_K)
        found, trace = await bench.grow("s1", flux_ML_per_s=flux_ML_per_s, dose_ML=dose_ML)
        reading_K = await bench.act(bench.mbe, "anneal", "s1", hold_s=hold_s)
        spot = await bench.act(bench.rheed, "specular", "s1", exposure_s=2.0)
        frame = await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)
        return found, trace, reading_K, spot, frame

    found, trace, reading_K, spot, frame = bench.run(trial())
    heights = bench.mbe._local().chamber._plant.sample.film.heights
    bench.close()
    numbers = [
        *found.model_dump(exclude={"is_coarse"}).values(),
        reading_K,
        *spot.model_dump().values(),
    ]
    rounded = np.round(np.stack([trace.time_s, trace.intensity]), 3)
    return digest(heights), digest(rounded), digest(frame), numbers


@pytest.mark.parametrize("name", GROWTHS)
def test_a_chamber_of_old_settings_grows_the_old_film(name):
    heights, trace, frame, numbers = grown(*GROWTHS[name])
    expected = RECORDED[name]
    assert (heights, trace, frame) == expected[:3]
    assert numbers == pytest.approx(expected[3], rel=1e-12)
