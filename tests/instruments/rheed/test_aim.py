"""A RHEED system that is aimed, and that shows its screen while a film grows."""

import asyncio

import numpy as np
import pytest

from twinloop.instruments.interface import NotTouched, Recovery
from twinloop.instruments.rheed import RHEED, Trace
from twinloop.instruments.rheed.interface import Aimed
from twinloop.instruments.standin.settings import CameraSettings, ChamberSettings, DetectorSettings
from twinloop.instruments.standin.testing import Bench
from twinloop.lattice_constants import MONOLAYER_A
from twinloop.simulators import rheed

QUIET = DetectorSettings(white_noise=0.0, floor_noise=0.0, beam_spread=0.0)


class Screen:
    """Keeps what a twin emits, by stream."""

    def __init__(self, bench: Bench) -> None:
        self.shown: dict[str, list] = {"intensity": [], "frames": []}
        bench.rheed.attach(bench.clock, self.keep)

    def keep(self, stream, numbers, arrays):
        self.shown[stream].append((dict(numbers), dict(arrays)))


def half_layer(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        return await bench.grow("s1", flux_ML_per_s=1.0, dose_ML=0.5)

    bench.run(trial())


def test_an_instrument_that_cannot_be_aimed_refuses():
    assert RHEED.actions()["aim"].recovery is Recovery.IDEMPOTENT
    assert "cannot be aimed" in (str(_refusal()))


def _refusal() -> NotTouched:
    with pytest.raises(NotTouched) as caught:
        asyncio.run(RHEED.actions()["aim"].function(None, incidence_deg=1.0, azimuth_deg=0.0))
    return caught.value


@pytest.mark.parametrize("incidence_deg", [0.5, 1.0, 2.034])
def test_the_specular_beam_has_the_phase_of_its_angle(incidence_deg):
    bench = Bench(ChamberSettings(size=32, seed=3, detector=QUIET))
    half_layer(bench)

    async def look():
        aimed = await bench.act(
            bench.rheed, "aim", "s1", incidence_deg=incidence_deg, azimuth_deg=0.0
        )
        return aimed, await bench.act(bench.rheed, "specular", "s1", exposure_s=1.0)

    aimed, seen = bench.run(look())
    heights = bench.mbe._local().chamber._plant.sample.film.heights
    mixing = bench.mbe.truth()["mixing"]
    bench.close()
    assert aimed == Aimed(incidence_deg=incidence_deg, azimuth_deg=0.0)
    phase = rheed.specular_phase_rad(
        energy_keV=15.0, incidence_deg=incidence_deg, step_height_A=MONOLAYER_A
    )
    expected = rheed.specular_intensity(heights, phase_rad=phase) * np.exp(-2.0 * mixing)
    assert seen.intensity == pytest.approx(20_000.0 * expected, rel=1e-6, abs=1e-6)


def test_zero_asks_for_the_antiphase_angle_again():
    bench = Bench(ChamberSettings(size=32, seed=3, detector=QUIET))
    half_layer(bench)

    async def look():
        found = [await bench.act(bench.rheed, "specular", "s1", exposure_s=1.0)]
        await bench.act(bench.rheed, "aim", "s1", incidence_deg=2.0, azimuth_deg=45.0)
        back = await bench.act(bench.rheed, "aim", "s1", incidence_deg=0.0, azimuth_deg=0.0)
        return back, [*found, await bench.act(bench.rheed, "specular", "s1", exposure_s=1.0)]

    back, (before, after) = bench.run(look())
    bench.close()
    assert back.incidence_deg == pytest.approx(1.5115, abs=0.001)
    assert after.intensity == pytest.approx(before.intensity)


def test_turning_takes_time_and_moves_the_streaks():
    camera = CameraSettings(rows=96, columns=192)
    bench = Bench(ChamberSettings(size=48, detector=DetectorSettings(camera=camera)))

    async def look():
        await bench.prepare("s1", substrate_K=500.0)
        straight = await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)
        start_s = bench.clock.now_s()
        await bench.act(bench.rheed, "aim", "s1", incidence_deg=0.0, azimuth_deg=45.0)
        passed_s = bench.clock.now_s() - start_s
        return straight, passed_s, await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)

    straight, passed_s, turned = bench.run(look())
    bench.close()
    assert passed_s == pytest.approx(2.0 + 45.0 / 10.0)
    assert straight.shape == turned.shape == (96, 192)
    aside = round(1.424 / 0.02)
    streak = [frame[60:, 96 + aside - 1 : 96 + aside + 2].mean() for frame in (straight, turned)]
    ground = [frame[60:, 96 + 45 : 96 + 50].mean() for frame in (straight, turned)]
    assert streak[0] > 1.5 * ground[0]
    assert streak[1] < 1.1 * ground[1]


def test_nothing_is_aimed_while_a_film_grows():
    bench = Bench(ChamberSettings(size=16))

    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        growth = asyncio.create_task(bench.grow("s1", flux_ML_per_s=1.0, dose_ML=4.0))
        await bench.until_grown(1.0)
        with pytest.raises(NotTouched, match="growing"):
            await bench.act(bench.rheed, "aim", "s1", incidence_deg=1.0, azimuth_deg=0.0)
        return (await growth)[1]

    trace = bench.run(trial())
    bench.close()
    assert isinstance(trace, Trace)
    assert trace.is_complete


def test_frames_of_the_growing_film_are_shown_each_once_and_no_more_than_asked():
    camera = CameraSettings(rows=64, columns=64, frames_per_ML=4)
    settings = ChamberSettings(size=24, seed=2, detector=DetectorSettings(camera=camera))
    bench = Bench(settings)
    screen = Screen(bench)

    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        return (await bench.grow("s1", flux_ML_per_s=0.5, dose_ML=3.0))[1]

    trace = bench.run(trial())
    bench.close()
    frames, samples = screen.shown["frames"], screen.shown["intensity"]
    times_s = [numbers["time_s"] for numbers, _ in frames]
    assert 9 <= len(frames) <= 13
    assert np.all(np.diff(times_s) > 0.4)
    assert all(arrays["frame"].shape == (64, 64) for _, arrays in frames)
    assert frames[0][1]["frame"].dtype == np.uint16
    assert all(set(arrays) == {"time_s", "intensity"} for _, arrays in samples)
    shown = np.concatenate([arrays["time_s"] for _, arrays in samples])
    np.testing.assert_array_equal(shown, trace.time_s)


def test_a_camera_that_shows_frames_changes_neither_trace_nor_film():
    found = []
    for frames_per_ML in (0, 4):
        camera = CameraSettings(rows=64, columns=64, frames_per_ML=frames_per_ML)
        settings = ChamberSettings(size=24, seed=2, detector=DetectorSettings(camera=camera))
        bench = Bench(settings)
        half_layer(bench)
        film = bench.mbe._local().chamber._plant.sample.film.heights
        spot = bench.run(bench.act(bench.rheed, "specular", "s1", exposure_s=1.0))
        bench.close()
        found.append((film, spot))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]
