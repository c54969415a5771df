"""The diffractometer, driven as a protocol would drive it."""

import asyncio

import numpy as np
import pytest

from twinloop.analysts.xrd import XRDAnalyst
from twinloop.clocks import VirtualClock
from twinloop.errors import ArgumentError
from twinloop.instruments.interface import Done, NotTouched, Partial
from twinloop.instruments.standin.testing import command_for
from twinloop.instruments.xrd.interface import XRD
from twinloop.instruments.xrd.twin import XRDTwin, _nonparalysable

RANGE = {"start_deg": 25.0, "stop_deg": 39.0, "step_deg": 0.05, "count_s": 2.0}


@pytest.fixture(name="bench_of")
def benches():
    made = []

    def make(*arguments, **settings):
        made.append(Bench(*arguments, **settings))
        return made[-1]

    yield make
    for bench in made:
        bench.twin.disconnect()


class Bench:
    """A twin with a sample on its stage."""

    def __init__(self, specimen="alas_20ML", *, is_aligned=True, **settings):
        self.stream = []
        self.twin = XRDTwin(specimen=specimen, **settings)
        self.twin.attach(VirtualClock(), lambda *element: self.stream.append(element))
        self.twin.connect()
        if specimen is not None:
            self.act("take")
        if specimen is not None and is_aligned:
            self.act("align", two_theta_deg=31.63)

    def act(self, action, **arguments):
        self.command = command_for(self.twin, action, "s1", **arguments)
        self.twin.begin(self.command)
        return asyncio.run(getattr(self.twin, action)(**arguments))

    def complaint(self, result):
        return asyncio.run(self.twin.counts_are_plausible(self.command, result))


def test_a_scan_shows_the_film_that_is_on_the_stage(bench_of):
    bench = bench_of(seed=3)
    seen = bench.act("scan", **RANGE)
    assert seen.two_theta_deg == pytest.approx(np.arange(25.0, 39.01, 0.05))
    assert bench.complaint(seen) is None
    found = XRDAnalyst(dead_time_s=1e-6).compute(
        "film", two_theta_deg=seen.two_theta_deg, counts=seen.counts, count_s=2.0
    )
    assert found.thickness_ML == pytest.approx(20.0, abs=3 * found.thickness_sd_ML)
    hidden_deg = bench.twin.truth()["state"]["zero_deg"]
    assert found.zero_deg == pytest.approx(hidden_deg, abs=0.01)


def test_a_sample_comes_tilted_and_align_turns_it_upright(bench_of):
    bench = bench_of(seed=5, is_aligned=False)
    before = bench.act("scan", **RANGE).counts.max()
    aligned = bench.act("align", two_theta_deg=31.63)
    truth = bench.twin.truth()["state"]
    assert aligned.omega_offset_deg == pytest.approx(truth["tilt_deg"], abs=0.01)
    # the divergence of the beam, as a full width
    assert aligned.width_deg == pytest.approx(2.355 * 0.03, abs=0.02)
    assert bench.act("scan", **RANGE).counts.max() > 2 * before


def test_a_rocking_curve_has_its_top_where_the_sample_is_upright(bench_of):
    bench = bench_of(seed=6, is_aligned=False)
    curve = bench.act("rock", two_theta_deg=31.63, span_deg=1.6)
    found = XRDAnalyst().compute("rocking_curve", omega_deg=curve.omega_deg, counts=curve.counts)
    tilt_deg = bench.twin.truth()["state"]["tilt_deg"]
    assert found.centre_deg == pytest.approx(tilt_deg, abs=max(3 * found.centre_sd_deg, 0.01))


def test_a_powder_does_not_mind_a_tilt(bench_of):
    bench = bench_of("si_powder", is_aligned=False, peaks_deg=())
    seen = bench.act("scan", start_deg=25.0, stop_deg=100.0, step_deg=0.02, count_s=1.0)
    found = XRDAnalyst().compute(
        "cubic_lattice", two_theta_deg=seen.two_theta_deg, counts=seen.counts
    )
    assert found.lattice == "diamond"
    assert found.a_A == pytest.approx(5.431, abs=4 * found.a_sd_A)


def test_time_passes_for_every_point_and_for_the_way_there(bench_of):
    bench = bench_of()
    before_s = bench.twin.clock.now_s()
    bench.act("scan", start_deg=40.0, stop_deg=41.0, step_deg=0.1, count_s=3.0)
    passed_s = bench.twin.clock.now_s() - before_s
    # points, two looks at the control reflection, the ways there and back
    ways_deg = (40.0 - 31.63) + (41.0 - 31.63)
    assert passed_s == pytest.approx((11 * 3.0 + 2 * 1.0) + 13 * 0.2 + ways_deg / 2.0, abs=0.1)


def test_counts_follow_poisson_the_dead_time_and_the_age_of_the_tube(bench_of):
    bench = bench_of("gaas", seed=1, beam_counts_per_s=1e7, background_counts_per_s=5000.0)
    seen = bench.act("scan", start_deg=40.0, stop_deg=50.0, step_deg=0.01, count_s=1.0)
    age_h = bench.twin.truth()["state"]["tube_h"]
    true = 5000.0 * np.exp(-age_h / 3000.0)
    assert seen.counts.mean() == pytest.approx(true / (1 + true * 1e-6), rel=0.01)
    assert seen.counts.var() == pytest.approx(seen.counts.mean(), rel=0.2)


def test_points_appear_on_the_stream_once_each_while_the_scan_goes_on(bench_of):
    bench = bench_of()
    bench.stream.clear()
    seen = bench.act("scan", **RANGE)
    assert {name for name, _, _ in bench.stream} == {"scan"}
    streamed = np.concatenate([arrays["counts"] for _, _, arrays in bench.stream])
    assert np.array_equal(streamed, seen.counts)
    assert bench.stream[0][1]["two_theta_deg"] == pytest.approx(25.45)


def test_an_aborted_scan_tells_how_far_it_came(bench_of):
    bench = bench_of()
    command = command_for(bench.twin, "scan", "s1", **RANGE)
    bench.twin.begin(command)

    async def aborted():
        task = asyncio.create_task(bench.twin.scan(**RANGE))
        while len(bench.stream) < 3:  # noqa: ASYNC110 - no event says so
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await bench.twin.what_was_scanned(command)

    bench.stream.clear()
    verdict = asyncio.run(aborted())
    assert isinstance(verdict, Partial)
    assert 30 <= verdict.what["points"] < 281
    assert asyncio.run(bench.twin.shutter_is_open()) is False


def test_a_finished_scan_is_known_by_its_key(bench_of):
    bench = bench_of()
    seen = bench.act("scan", **RANGE)
    verdict = asyncio.run(bench.twin.what_was_scanned(bench.command))
    assert isinstance(verdict, Done)
    assert np.array_equal(verdict.result.counts, seen.counts)


def test_a_seed_is_a_diffractometer_and_its_noise(bench_of):
    first, again, other = (bench_of(seed=seed).act("scan", **RANGE).counts for seed in (4, 4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_loaded_counter_says_for_how_long_it_was_ready(bench_of):
    bench = bench_of("gaas", is_aligned=False, seed=1, background_counts_per_s=2e6)
    seen = bench.act("scan", start_deg=40.0, stop_deg=42.0, step_deg=0.01, count_s=0.01)
    true = 2e6 * np.exp(-bench.twin.truth()["state"]["tube_h"] / 3000.0)
    assert seen.live_s.mean() == pytest.approx(0.01 / (1 + true * 1e-6), rel=0.01)
    assert (seen.counts / seen.live_s).mean() == pytest.approx(true, rel=0.01)
    # renewal theory: the variance of counts is the mean over (1 + n tau)^2, not the mean
    assert seen.counts.var() == pytest.approx(seen.counts.mean() / (1 + true * 1e-6) ** 2, rel=0.4)
    assert bench.complaint(seen) is None


@pytest.mark.parametrize(("rate_per_s", "count_s"), [(400.0, 0.5), (4000.0, 2.0)])
def test_a_counter_followed_photon_by_photon_counts_as_renewal_theory_says(rate_per_s, count_s):
    rng, dead_s = np.random.default_rng(3), 1e-3
    counts = [_nonparalysable(rng, rate_per_s, count_s, dead_s) for _ in range(2000)]
    mean = rate_per_s / (1 + rate_per_s * dead_s) * count_s
    assert np.mean(counts) == pytest.approx(mean, rel=0.01)
    assert np.var(counts) == pytest.approx(mean / (1 + rate_per_s * dead_s) ** 2, rel=0.15)


@pytest.mark.parametrize("slip_deg", [0.025, -0.05, 0.1])
def test_a_small_slip_shows_in_the_control_reflection(bench_of, monkeypatch, slip_deg):
    monkeypatch.setattr("twinloop.instruments.xrd.twin.SLIP_DEG", slip_deg)
    bench = bench_of()
    bench.twin.inject("misaligned")
    seen = bench.act("scan", **RANGE)
    # a rocking curve of a standard deviation of 0.03 deg
    left = np.exp(-0.5 * (slip_deg / 0.03) ** 2)
    assert seen.control[1] / seen.control[0] == pytest.approx(left, abs=0.15)
    assert "the sample has moved" in bench.complaint(seen)


def test_a_sample_that_slipped_between_two_scans_is_noticed_before_the_second(bench_of):
    bench = bench_of()
    bench.twin.state["tilt_deg"] += 0.03
    seen = bench.act("scan", **RANGE)
    assert "before the scan" in bench.complaint(seen)
    bench.act("align", two_theta_deg=31.63)
    assert bench.complaint(bench.act("scan", **RANGE)) is None


def test_sixty_scans_of_a_sample_at_rest_are_not_complained_of(bench_of):
    bench = bench_of(seed=8)
    short = {"start_deg": 30.5, "stop_deg": 32.8, "step_deg": 0.05, "count_s": 0.2}
    assert [bench.complaint(bench.act("scan", **short)) for _ in range(60)] == [None] * 60


def test_without_an_alignment_there_is_no_control(bench_of):
    bench = bench_of(is_aligned=False)
    assert bench.act("scan", **RANGE).control is None


def test_a_sample_that_slips_is_noticed_and_aligned_anew(bench_of):
    bench = bench_of()
    bench.twin.inject("misaligned")
    assert "align" in bench.complaint(bench.act("scan", **RANGE))
    bench.act("align", two_theta_deg=31.63)
    assert bench.complaint(bench.act("scan", **RANGE)) is None


def test_a_tube_that_trips_is_noticed_and_warmed_up(bench_of):
    bench = bench_of()
    bench.twin.inject("tube_off")
    assert "tube" in bench.complaint(bench.act("scan", **RANGE))
    assert asyncio.run(bench.twin.tube_is_on()) is False
    before_s = bench.twin.clock.now_s()
    bench.act("warm_up")
    assert bench.twin.clock.now_s() - before_s >= 900
    assert bench.complaint(bench.act("scan", **RANGE)) is None


def test_a_blinded_counter_is_noticed_and_its_live_time_saves_the_scan(bench_of):
    bench = bench_of()
    bench.twin.inject("detector_saturated")
    seen = bench.act("scan", **{**RANGE, "count_s": 20.0})
    assert "saturated" in bench.complaint(seen)
    scan = {"two_theta_deg": seen.two_theta_deg, "counts": seen.counts, "count_s": 20.0}
    misled = XRDAnalyst(dead_time_s=1e-6).compute("film", **scan)
    assert misled.misfit > 3.0
    found = XRDAnalyst().compute("film", **scan, live_s=seen.live_s)
    assert found.thickness_ML == pytest.approx(20.0, abs=3 * found.thickness_sd_ML)
    assert found.misfit < 2.0


def test_a_fault_comes_at_the_run_that_the_settings_name(bench_of):
    bench = bench_of(faults=({"name": "tube_off", "run": 2},))
    assert bench.twin.has_fault("tube_off") is False
    assert "tube" in bench.complaint(bench.act("scan", **RANGE))


def test_a_safe_state_closes_the_shutter(bench_of):
    bench = bench_of()
    bench.twin.safe_state()
    assert asyncio.run(bench.twin.shutter_is_open()) is False


def test_where_nothing_is_reflected_align_turns_nothing(bench_of):
    bench = bench_of(is_aligned=False, seed=2)
    with pytest.raises(NotTouched, match="nothing stands out"):
        bench.act("align", two_theta_deg=45.0)
    assert bench.twin.truth()["state"]["omega_offset_deg"] == 0.0


def test_a_scan_without_a_sample_or_with_too_many_points_is_refused(bench_of):
    bench = bench_of()
    with pytest.raises(NotTouched, match="points"):
        bench.act("scan", start_deg=20.0, stop_deg=120.0, step_deg=0.001)
    with pytest.raises(NotTouched, match="points"):
        bench.act("scan", start_deg=50.0, stop_deg=20.0)
    empty = bench_of(None)
    with pytest.raises(NotTouched, match="no sample"):
        empty.act("scan", **RANGE)


def test_an_unknown_specimen_is_refused():
    with pytest.raises(ArgumentError, match="si_powder"):
        XRDTwin(specimen="cheese").stock("s1")


def test_scans_wait_for_the_tube():
    for action in ("scan", "rock", "align"):
        assert XRD.actions()[action].spec.interlocks == ("tube_is_on",)
