"""A chamber whose thermocouple is reversed is the mirror of one whose is not."""

import numpy as np
import pytest

from twinloop.analysts.rheed import RHEEDAnalyst
from twinloop.instruments.standin.settings import ChamberSettings, DetectorSettings, Truth
from twinloop.instruments.standin.testing import Bench

pytestmark = [pytest.mark.physics, pytest.mark.timeout(300)]

ABOUT_K = 710.0
QUIET = DetectorSettings(white_noise=0.003, floor_noise=0.001, beam_spread=0.0)
FILMS = 12


def flatness(reading_K: float, *, reversed_about_K: float | None) -> np.ndarray:
    """Return the intensity at 2 ML of films grown at a reading, shape (FILMS,) [1]."""
    truth = Truth(thermocouple_offset_K=5.0, thermocouple_reversed_about_K=reversed_about_K)
    bench = Bench(ChamberSettings(size=48, seed=11, truth=truth, detector=QUIET))
    analyst = RHEEDAnalyst()

    async def grow(sample: str) -> float:
        await bench.prepare(sample, substrate_K=reading_K)
        grown, seen = await bench.grow(sample, flux_ML_per_s=0.5, dose_ML=2.4)
        found = analyst.compute(
            "trace_intensities",
            time_s=seen.time_s,
            intensity=seen.intensity,
            rate_ML_per_s=grown.rate_ML_per_s,
        )
        return found.intensity_2ML

    found = [bench.run(grow(f"s{i}")) for i in range(FILMS)]
    bench.close()
    return np.array(found)


@pytest.mark.parametrize("away_K", [-60.0, 30.0])
def test_films_of_a_reversed_thermocouple_are_those_of_the_mirrored_reading(away_K):
    straight = flatness(ABOUT_K + away_K, reversed_about_K=None)
    mirrored = flatness(ABOUT_K - away_K, reversed_about_K=ABOUT_K)
    misled = flatness(ABOUT_K + away_K, reversed_about_K=ABOUT_K)
    error = np.sqrt((straight.var(ddof=1) + mirrored.var(ddof=1)) / FILMS)
    assert abs(mirrored.mean() - straight.mean()) < 3 * error
    assert error < 0.03
    # hotter is flatter, so what the reading says is wrong in sign
    assert np.sign(misled.mean() - straight.mean()) == -np.sign(away_K)
    assert abs(misled.mean() - straight.mean()) > 4 * error
