import asyncio

import numpy as np
import pytest

from twinloop.instruments.interface import Done, NotTouched
from twinloop.instruments.rheed import RHEED, Trace
from twinloop.instruments.standin.settings import ChamberSettings, DetectorSettings
from twinloop.instruments.standin.testing import Bench, command_for

SETTINGS = ChamberSettings(size=16, multi_hop=4, seed=5)


@pytest.fixture
def bench():
    bench = Bench(SETTINGS)
    yield bench
    bench.close()


def grow(bench, sample="s1", flux=0.5, dose=2.0):
    async def trial():
        await bench.prepare(sample, substrate_K=650.0)
        return await bench.grow(sample, flux_ML_per_s=flux, dose_ML=dose)

    return bench.run(trial())[1]


def test_the_contract_names_its_actions():
    assert set(RHEED.actions()) == {"record", "specular", "expose", "aim"}
    assert RHEED.actions()["record"].spec.check({}, "rheed.record") == {"wait_s": 600.0}


def test_a_trace_reaches_from_before_the_opening_to_the_end(bench):
    trace = grow(bench)
    assert isinstance(trace, Trace)
    assert trace.is_complete
    assert trace.time_s.shape == trace.intensity.shape
    assert np.all(np.diff(trace.time_s) > 0)
    assert trace.time_s[0] < -1.0
    assert trace.time_s[-1] == pytest.approx(4.0)


def test_the_substrate_is_bright_and_half_a_layer_is_dark(bench):
    trace = grow(bench)
    level = SETTINGS.detector.counts_per_s
    assert trace.intensity[trace.time_s <= 0].mean() == pytest.approx(level, rel=0.12)
    half = np.abs(trace.time_s - 1.0) < 0.1
    assert trace.intensity[half].mean() < 0.3 * level


def test_a_slow_growth_is_exposed_longer_not_sampled_more(bench):
    trace = grow(bench, flux=0.05, dose=1.0)
    assert trace.exposure_s == pytest.approx(1.0 / (50 * 0.05))
    assert (trace.time_s > 0).sum() == 50


def test_the_stream_shows_each_sample_once_and_in_order(bench):
    trace = grow(bench)
    shown = np.concatenate([arrays["time_s"] for _, arrays in bench.stream])
    np.testing.assert_array_equal(shown, trace.time_s)
    assert len(bench.stream) > 20
    assert bench.stream[-1][0]["time_s"] == pytest.approx(4.0)


def test_a_record_that_starts_after_the_growth_gets_all_of_it():
    traces = []
    for is_late in (False, True):
        bench = Bench(SETTINGS)

        async def trial(bench=bench, is_late=is_late):
            await bench.prepare("s1", substrate_K=650.0)
            if not is_late:
                return (await bench.grow("s1", flux_ML_per_s=0.5, dose_ML=2.0))[1]
            await bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=0.5, dose_ML=2.0)
            return await bench.act(bench.rheed, "record", "s1", wait_s=10.0)

        traces.append(bench.run(trial()))
        bench.close()
        shown = np.concatenate([arrays["time_s"] for _, arrays in bench.stream])
        np.testing.assert_array_equal(shown, traces[-1].time_s)
    np.testing.assert_array_equal(traces[0].time_s, traces[1].time_s)
    np.testing.assert_array_equal(traces[0].intensity, traces[1].intensity)


def test_without_a_growth_nothing_was_touched(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        await bench.act(bench.rheed, "record", "s1", wait_s=20.0)

    with pytest.raises(NotTouched, match="20 s"):
        bench.run(trial())


def test_a_record_that_gave_up_leaves_the_next_growth_to_the_next_record(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        with pytest.raises(NotTouched):
            await bench.act(bench.rheed, "record", "s1", wait_s=5.0)
        return await bench.grow("s1", flux_ML_per_s=0.5, dose_ML=1.0)

    assert bench.run(trial())[1].is_complete


def test_a_growth_that_is_cut_short_leaves_an_incomplete_trace(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        record = asyncio.create_task(bench.act(bench.rheed, "record", "s1", wait_s=60.0))
        growth = asyncio.create_task(
            bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=10.0)
        )
        await bench.until_grown(1.0)
        growth.cancel()
        return await record

    trace = bench.run(trial())
    assert not trace.is_complete
    assert 0.5 < trace.time_s[-1] < 3.0


def test_a_recorded_trace_is_answered_by_its_key(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        command = command_for(bench.rheed, "record", "s1", wait_s=60.0)
        _, trace = await asyncio.gather(
            bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=1.0),
            bench.obey(bench.rheed, command),
        )
        reconciler = type(bench.rheed).actions()["record"].reconciler
        return trace, await reconciler(bench.rheed, command)

    trace, verdict = bench.run(trial())
    assert isinstance(verdict, Done)
    np.testing.assert_array_equal(verdict.result.intensity, trace.intensity)


def test_the_spot_of_a_frame_is_at_the_specular_angle_and_dims_on_a_rough_film():
    bench = Bench(SETTINGS.model_copy(update={"size": 48}))

    async def trial():
        await bench.prepare("s1", substrate_K=620.0)
        flat = await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)
        await bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=2.0, dose_ML=2.5)
        return flat, await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)

    flat, rough = bench.run(trial())
    bench.close()
    assert flat.dtype == np.uint16
    assert flat.shape == (96, 96)
    row, column = np.unravel_index(int(flat.argmax()), flat.shape)
    # second anti-phase at 15 keV, 2.827 A: arcsin(3 x 0.0994 / 11.31) = 1.51 deg, 30.2 pixels up
    assert (row, column) == (pytest.approx(65, abs=1), 48)
    assert flat[row, column] > 2 * int(rough[row, column])
    assert flat.max() < np.iinfo(np.uint16).max


def test_equal_chambers_show_equal_frames():
    frames = []
    for _ in range(2):
        bench = Bench(SETTINGS)

        async def trial(bench=bench):
            await bench.prepare("s1", substrate_K=650.0)
            return await bench.act(bench.rheed, "expose", "s1", exposure_s=1.0)

        frames.append(bench.run(trial()))
        bench.close()
    np.testing.assert_array_equal(frames[0], frames[1])


def test_a_longer_exposure_is_less_noisy_and_says_so():
    quiet = DetectorSettings(white_noise=0.05, floor_noise=0.0)
    bench = Bench(SETTINGS.model_copy(update={"detector": quiet}))

    async def trial(exposure_s):
        readings = [
            await bench.act(bench.rheed, "specular", "s1", exposure_s=exposure_s) for _ in range(40)
        ]
        return np.std([r.intensity for r in readings], ddof=1), readings[0].intensity_sd

    bench.run(bench.prepare("s1", substrate_K=650.0))
    short, short_sd = bench.run(trial(0.05))
    long, long_sd = bench.run(trial(5.0))
    bench.close()
    assert short_sd / long_sd == pytest.approx(10.0)
    # 40 readings: the deviation is known within 11 %
    assert short == pytest.approx(short_sd, rel=0.35)
    assert long == pytest.approx(long_sd, rel=0.35)
