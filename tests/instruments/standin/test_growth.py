"""Growths with pauses, in a composition, on a staircase; their books."""

import numpy as np
import pytest

from twinloop.instruments.standin.chamber import Chamber
from twinloop.instruments.standin.growth import GrowthPlan
from twinloop.instruments.standin.interface import Operation
from twinloop.instruments.standin.settings import ChamberSettings, DetectorSettings, Truth
from twinloop.instruments.standin.testing import small_alloy_chamber

QUIET = DetectorSettings(white_noise=0.0, floor_noise=0.0, beam_spread=0.0)


def run(chamber, key, name, **arguments):
    chamber.begin(Operation(key=key, name=name, sample="s1", arguments=arguments))
    while any([chamber.step("mbe") is not None, chamber.step("rheed") is not None]):
        pass
    return chamber.progress(key)


def ready(settings, substrate_K=700.0, **options):
    chamber = Chamber(settings, **options)
    run(chamber, "load", "load")
    run(chamber, "heat", "heat", substrate_K=substrate_K)
    return chamber


def sample_of(chamber):
    return chamber._plant.sample


@pytest.mark.parametrize(
    ("dose_ML", "after_ML", "parts_s"),
    [
        (3.0, 1.0, [2.0, 2.0, 2.0]),
        (2.5, 1.0, [2.0, 2.0, 1.0]),
        (2.0, 3.0, [4.0]),
        (1.0, 1.0, [2.0]),
    ],
)
def test_a_growth_is_cut_in_parts_and_never_pauses_at_its_end(dose_ML, after_ML, parts_s):
    plan = GrowthPlan(flux_ML_per_s=0.5, dose_ML=dose_ML, pause_after_ML=after_ML, pause_s=7.0)
    assert plan.parts_s() == pytest.approx(parts_s)
    assert sum(plan.parts_s()) == pytest.approx(plan.open_s)


def test_an_interrupted_growth_has_its_dose_its_pauses_and_one_trace():
    chamber = ready(ChamberSettings(size=24, seed=2, detector=QUIET))
    found = run(
        chamber, "grow", "grow_interrupted",
        flux_ML_per_s=0.5, dose_ML=2.0, pause_after_ML=1.0, pause_s=10.0,
    )  # fmt: skip
    assert found.numbers["growth_s"] == pytest.approx(4.0)
    assert chamber.truth()["coverage_ML"] == pytest.approx(2.0, abs=0.2)
    trace = run(chamber, "record", "record").arrays
    assert trace["time_s"][-1] == pytest.approx(14.0)
    assert np.all(np.diff(trace["time_s"]) > 0)
    assert not chamber.readings().shutter_is_open
    assert [e["kind"] for e in chamber.log.events].count("growth_started") == 1


def test_the_beam_comes_back_in_a_pause():
    chamber = ready(ChamberSettings(size=48, seed=4, detector=QUIET), substrate_K=720.0)
    run(
        chamber, "grow", "grow_interrupted",
        flux_ML_per_s=1.0, dose_ML=4.0, pause_after_ML=2.0, pause_s=60.0,
    )  # fmt: skip
    seen = run(chamber, "record", "record").arrays
    closing, end = (
        seen["intensity"][np.searchsorted(seen["time_s"], at_s)] for at_s in (1.99, 61.9)
    )
    assert end > closing + 0.15 * seen["intensity"][0]


def test_an_abort_in_a_pause_leaves_the_shutter_closed_and_the_film_partial():
    chamber = ready(ChamberSettings(size=16, seed=2))
    paused = {"flux_ML_per_s": 1.0, "dose_ML": 4.0, "pause_after_ML": 1.0, "pause_s": 20.0}
    chamber.begin(Operation(key="grow", name="grow_interrupted", sample="s1", arguments=paused))
    while chamber.progress("grow").numbers.get("growth_s", 0.0) < 1.0:
        chamber.step("mbe")
    for _ in range(10):
        chamber.step("mbe")
    assert not chamber.readings().shutter_is_open
    chamber.abort("grow")
    while chamber.step("mbe") is not None:
        pass
    found = chamber.progress("grow")
    assert found.state == "partial"
    assert found.numbers["dose_ML"] == pytest.approx(1.0, rel=0.05)


@pytest.mark.parametrize(("asked_K_per_s", "walked_K_per_s"), [(30.0, 5.0), (2.0, 2.0)])
def test_a_ramp_has_the_rate_that_was_asked_or_the_heaters_own(asked_K_per_s, walked_K_per_s):
    heater = small_alloy_chamber().heater.model_copy(update={"rate_K_per_s": 5.0})
    chamber = Chamber(small_alloy_chamber(heater=heater))
    run(chamber, "load", "load")
    wanted = {"substrate_K": 600.0, "rate_K_per_s": asked_K_per_s}
    chamber.begin(Operation(key="ramp", name="ramp", sample="s1", arguments=wanted))
    points = []
    while chamber.step("mbe") is not None:
        points.append(chamber._plant.loop.set_point_K)
    assert max(points) == 600.0
    assert np.diff(points).max() / 0.5 == pytest.approx(walked_K_per_s)


def test_a_layer_remembers_what_arrived_while_it_formed():
    truth = Truth(log_flux_factor=0.0)
    chamber = ready(small_alloy_chamber(size=48, truth=truth, gauge_noise=0.0))
    found = run(chamber, "a", "grow_alloy", flux_ML_per_s=0.5, aluminium=0.25, dose_ML=2.0)
    run(chamber, "b", "grow", flux_ML_per_s=0.5, dose_ML=2.0)
    shares = sample_of(chamber).aluminium()
    assert shares[:2] == pytest.approx([0.25, 0.25], abs=0.01)
    assert shares[3] == pytest.approx(1.0, abs=1e-6)
    assert found.numbers["aluminium"] == pytest.approx(0.25, abs=0.01)
    grown = sample_of(chamber).grown().mean()
    # every layer but the last holds one monolayer of cations
    assert [every for every, _ in sample_of(chamber)._cations[:-1]] == pytest.approx(
        [1.0] * (len(shares) - 1)
    )
    cations = sum(every for every, _ in sample_of(chamber)._cations)
    assert cations == pytest.approx(grown, abs=1e-9)


def test_one_cell_is_aluminium_and_grows_no_alloy():
    chamber = ready(ChamberSettings(size=16))
    run(chamber, "grow", "grow", flux_ML_per_s=1.0, dose_ML=2.0)
    assert sample_of(chamber).aluminium().tolist() == [1.0] * len(sample_of(chamber).aluminium())
    assert len(sample_of(chamber).aluminium()) in {2, 3}
    refused = run(chamber, "a", "grow_alloy", flux_ML_per_s=1.0, aluminium=0.5, dose_ML=1.0)
    assert refused.state == "not_done"
    assert "one cell" in refused.reason
    cold = run(chamber, "h", "heat_cells", gallium_K=1100.0, aluminium_K=1200.0)
    assert cold.state == "not_done"


def test_the_transient_of_the_shutter_is_in_the_flux_that_the_gauge_counts():
    chamber = ready(small_alloy_chamber(gauge_noise=0.0))
    short = run(chamber, "a", "grow_alloy", flux_ML_per_s=0.5, aluminium=1.0, dose_ML=0.5)
    # overshoot 5 %, 3 s: mean excess over the first second is 5 % x 3 (1 - e^(-1/3)) = 4.3 %
    assert short.numbers["rate_ML_per_s"] / 0.5 == pytest.approx(1.043, abs=0.008)


def test_gallium_that_is_faster_makes_a_flatter_film():
    cells = small_alloy_chamber().cells.model_copy(update={"gallium_barrier_eV": -0.12})
    flatness = {}
    for share in (0.0, 1.0):
        found = []
        for seed in range(3):
            chamber = ready(
                small_alloy_chamber(seed, size=32, cells=cells, detector=QUIET), substrate_K=640.0
            )
            run(chamber, "a", "grow_alloy", flux_ML_per_s=0.5, aluminium=share, dose_ML=2.0)
            found.append(float(sample_of(chamber).grown().std()))
        flatness[share] = np.mean(found)
    assert flatness[0.0] < 0.8 * flatness[1.0]


def test_a_staircase_keeps_its_steps_below_the_film():
    detector = DetectorSettings(window_A=40.0)
    chamber = ready(ChamberSettings(size=24, steps=3, detector=detector, seed=3))
    run(chamber, "grow", "grow", flux_ML_per_s=1.0, dose_ML=2.0)
    sample = sample_of(chamber)
    assert sample.grown().mean() == pytest.approx(sample.film.coverage_ML, abs=1e-9)
    assert sample.film.heights.mean() == pytest.approx(sample.film.coverage_ML + 1.0, abs=1e-9)
    assert sample.specimen().film.heights_ML.mean() == pytest.approx(sample.grown().mean())


def test_a_chamber_at_rest_comes_back_with_its_cells_its_view_and_its_composition(tmp_path):
    settings = small_alloy_chamber()
    chamber = ready(settings, folder=tmp_path)
    run(chamber, "aim", "aim", incidence_deg=1.0, azimuth_deg=30.0)
    chamber.inject("thermocouple_drift")
    run(chamber, "a", "grow_alloy", flux_ML_per_s=0.5, aluminium=0.5, dose_ML=2.0)
    again = Chamber(settings, folder=tmp_path, history=chamber.log.events)
    one, other = chamber._plant, again._plant
    assert other.view == one.view
    assert other.cells.state() == one.cells.state()
    assert other.resting() == one.resting()
    assert other.thermocouple_drifts
    assert other.sample.aluminium() == pytest.approx(one.sample.aluminium())
    assert other.heater_is_idle
