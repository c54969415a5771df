import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.instruments.standin.chamber import RUNS_KEPT, Chamber
from twinloop.instruments.standin.interface import Operation
from twinloop.instruments.standin.physical_log import read_physical_log
from twinloop.instruments.standin.settings import ChamberSettings, DetectorSettings, Truth

SETTINGS = ChamberSettings(size=16, multi_hop=4, seed=5)


def operation(key, name, sample="s1", **arguments):
    return Operation(key=key, name=name, sample=sample, arguments=arguments)


def run(chamber, *operations):
    for one in operations:
        chamber.begin(one)
        while any([chamber.step("mbe") is not None, chamber.step("rheed") is not None]):
            pass
    return chamber.progress(operations[-1].key)


def growth(key="grow", sample="s1", flux=1.0, dose=2.0):
    return operation(key, "grow", sample, flux_ML_per_s=flux, dose_ML=dose)


def ready(settings=SETTINGS, **options):
    chamber = Chamber(settings, **options)
    run(chamber, operation("load", "load"), operation("heat", "heat", substrate_K=650.0))
    return chamber


def kinds(chamber):
    return [event["kind"] for event in chamber.log.events]


def test_a_key_that_was_done_is_answered_and_not_grown_again():
    chamber = ready()
    first = run(chamber, growth())
    again = chamber.begin(growth())
    assert again.state == "done"
    assert again.numbers == first.numbers
    assert chamber.step("mbe") is None
    assert kinds(chamber).count("growth_started") == 1


def test_an_unknown_key_is_unseen():
    assert Chamber(SETTINGS).progress("never").state == "unseen"


def test_the_film_depends_on_the_operations_not_on_when_they_are_stepped():
    one, other = ready(), ready()
    run(one, growth())
    other.begin(growth())
    while other.step("mbe") is not None:
        other.readings()
        other.progress("grow")
        other.begin(operation("look", "specular", exposure_s=1.0))
        other.step("rheed")
    assert one.truth() == other.truth()
    assert one.progress("grow").numbers == other.progress("grow").numbers


def test_the_true_coverage_carries_the_hidden_flux_error_and_the_gauge_does_not():
    truth = Truth(log_flux_factor=0.1)
    settings = ChamberSettings(size=48, seed=2, truth=truth, gauge_noise=0.0)
    chamber = ready(settings)
    numbers = run(chamber, growth(dose=4.0)).numbers
    assert numbers["dose_ML"] == pytest.approx(4.0)
    # 48 x 48 sites: Poisson deviation of 4 ML is 0.04 ML
    assert chamber.truth()["coverage_ML"] == pytest.approx(4.0 * np.exp(0.1), abs=0.15)


def test_the_surface_is_hotter_than_the_thermocouple_by_the_hidden_offset():
    truth = Truth(thermocouple_offset_K=20.0)
    chamber = ready(ChamberSettings(size=16, truth=truth))
    assert chamber.readings().thermocouple_K == pytest.approx(650.0, abs=0.3)
    assert chamber.truth()["surface_K"] == pytest.approx(670.0, abs=0.3)


def test_heating_takes_time_and_keeps_the_fastest_change():
    chamber = Chamber(SETTINGS)
    chamber.begin(operation("heat", "heat", substrate_K=850.0))
    passed_s, last_K, fastest = 0.0, 450.0, 0.0
    while (slice_s := chamber.step("mbe")) is not None:
        now_K = chamber.truth()["surface_K"]
        if slice_s:
            fastest = max(fastest, (now_K - last_K) / slice_s)
        passed_s, last_K = passed_s + slice_s, now_K
    assert fastest == pytest.approx(SETTINGS.heater.rate_K_per_s)
    assert passed_s > 400.0 / SETTINGS.heater.rate_K_per_s


def test_flux_drifts_from_growth_to_growth_and_the_gauge_sees_it():
    settings = ChamberSettings(size=16, gauge_noise=0.0, truth=Truth(flux_drift_per_growth=-0.1))
    chamber = ready(settings)
    rates = [run(chamber, growth(f"g{i}", dose=0.5)).numbers["rate_ML_per_s"] for i in range(3)]
    assert rates == pytest.approx([1.0, np.exp(-0.1), np.exp(-0.2)])


def test_an_abort_in_the_middle_says_what_was_deposited():
    chamber = ready()
    chamber.begin(growth(dose=10.0))
    while chamber.truth()["coverage_ML"] < 2.0:
        chamber.step("mbe")
    chamber.abort("grow")
    while chamber.step("mbe") is not None:
        pass
    progress = chamber.progress("grow")
    assert progress.state == "partial"
    assert 1.5 < progress.numbers["dose_ML"] < 3.0
    assert not chamber.readings().shutter_is_open
    assert kinds(chamber)[-1] == "growth_ended"


def test_an_abort_before_the_shutter_opens_is_not_done():
    chamber = ready()
    chamber.begin(growth())
    chamber.abort("grow")
    assert chamber.step("mbe") == 0.0
    assert chamber.progress("grow").state == "not_done"
    assert "growth_started" not in kinds(chamber)


def test_the_safe_state_closes_idles_and_is_idempotent():
    chamber = ready()
    chamber.begin(growth(dose=10.0))
    while chamber.truth()["coverage_ML"] < 1.0:
        chamber.step("mbe")
    chamber.safe_state("test")
    assert not chamber.readings().shutter_is_open
    assert chamber.readings().heater_is_idle
    chamber.step("mbe")
    chamber.safe_state("test")
    chamber.safe_state("test")
    assert chamber.progress("grow").state == "partial"
    assert kinds(chamber).count("safe_state") == 1


def test_after_a_safe_state_the_next_growth_heats_again_by_itself():
    chamber = ready()
    chamber.safe_state("test")
    assert chamber.truth()["surface_K"] == pytest.approx(450.0)
    run(chamber, growth())
    started = next(e for e in chamber.log.events if e["kind"] == "growth_started")
    assert started["true_K"] == pytest.approx(650.0, abs=0.3)


def test_another_sample_is_refused_and_the_key_may_be_used_later():
    chamber = ready()
    assert chamber.begin(growth("other", "s2")).state == "not_done"
    assert chamber.progress("other").state == "unseen"


def test_two_growths_at_once_are_refused():
    chamber = ready()
    chamber.begin(growth("a"))
    refused = chamber.begin(growth("b"))
    assert refused.state == "not_done"
    assert "under way" in refused.reason


def test_nothing_grows_without_a_sample():
    assert "load" in Chamber(SETTINGS).begin(growth()).reason


def test_a_heating_that_was_cut_short_may_be_repeated_under_its_key():
    chamber = Chamber(SETTINGS)
    heat = operation("heat", "heat", substrate_K=700.0)
    chamber.begin(heat)
    chamber.step("mbe")
    chamber.abort("heat")
    chamber.step("mbe")
    assert chamber.progress("heat").state == "partial"
    assert run(chamber, heat).numbers["substrate_K"] == pytest.approx(700.0, abs=2.0)


def test_a_record_takes_the_whole_growth_however_late_it_comes():
    early, late = ready(), ready()
    for chamber, is_early in ((early, True), (late, False)):
        record = operation("rec", "record")
        if is_early:
            assert chamber.begin(record).state == "running"
        run(chamber, growth())
        chamber.begin(record)
    first, second = early.progress("rec"), late.progress("rec")
    assert first.state == second.state == "done"
    np.testing.assert_array_equal(first.arrays["intensity"], second.arrays["intensity"])
    assert first.arrays["time_s"][0] < 0 < first.arrays["time_s"][-1] == pytest.approx(2.0)


def test_a_growth_is_recorded_once():
    chamber = ready()
    run(chamber, growth())
    assert chamber.begin(operation("rec1", "record")).state == "done"
    assert chamber.begin(operation("rec2", "record")).state == "running"
    assert chamber.abort("rec2").state == "not_done"


def test_interdiffusion_lowers_the_beam_after_the_growth_only():
    quiet = DetectorSettings(white_noise=0.0, floor_noise=0.0, beam_spread=0.0)
    mixed, sharp = (
        ready(ChamberSettings(size=16, detector=quiet, truth=Truth(log_interdiffusion_rate=rate)))
        for rate in (52.5, -100.0)
    )
    readings = []
    for chamber in (mixed, sharp):
        run(chamber, growth(), operation("rec", "record"))
        run(chamber, operation("look", "specular", exposure_s=1.0))
        readings.append(chamber.progress("look").numbers["intensity"])
    np.testing.assert_array_equal(
        mixed.progress("rec").arrays["intensity"], sharp.progress("rec").arrays["intensity"]
    )
    rate_per_s = np.exp(52.5 - 3.0 / (8.617333262e-5 * mixed.truth()["surface_K"]))
    expected = np.exp(-rate_per_s * 2.0) ** 2  # two seconds of growth, amplitude squared
    assert 0.1 < expected < 0.95
    assert readings[0] / readings[1] == pytest.approx(expected, rel=1e-6)


def test_a_hung_shutter_grows_more_than_was_asked():
    chamber = ready()
    chamber.inject("shutter_hung")
    numbers = run(chamber, growth(dose=2.0)).numbers
    assert numbers["dose_ML"] == pytest.approx(3.0, rel=0.05)
    assert numbers["growth_s"] == pytest.approx(2.0)
    assert chamber.truth()["coverage_ML"] == pytest.approx(3.0, abs=0.5)


def test_a_reversed_thermocouple_falls_while_the_surface_gets_hotter():
    truth = Truth(thermocouple_offset_K=9.0, thermocouple_reversed_about_K=710.0)
    chamber = ready(ChamberSettings(size=16, truth=truth))
    found_K = []
    for asked_K in (680.0, 710.0, 740.0):
        run(chamber, operation(f"heat {asked_K}", "heat", substrate_K=asked_K))
        assert chamber.readings().thermocouple_K == pytest.approx(asked_K, abs=0.3)
        found_K.append(chamber.truth()["surface_K"])
    assert found_K == pytest.approx([749.0, 719.0, 689.0], abs=0.3)


def test_what_desorbs_is_not_part_of_the_coverage():
    truth = Truth(desorption_energy_eV=1.3)  # at 650 K a third of what arrives is lost
    chamber = ready(ChamberSettings(size=48, seed=2, truth=truth, gauge_noise=0.0))
    numbers = run(chamber, growth(dose=2.0)).numbers
    assert numbers["dose_ML"] == pytest.approx(2.0)
    assert 0.0 < chamber.truth()["coverage_ML"] < 1.9
    ended = next(e for e in chamber.log.events if e["kind"] == "growth_ended")
    assert ended["true_coverage_ML"] == pytest.approx(chamber.truth()["coverage_ML"])


def test_a_thermocouple_that_jumps_is_hotter_than_it_says():
    chamber = ready()
    before_K = chamber.truth()["surface_K"]
    chamber.inject("thermocouple_jump")
    run(chamber, growth())
    assert chamber.truth()["surface_K"] == pytest.approx(before_K + 25.0, abs=0.5)
    assert chamber.readings().thermocouple_K == pytest.approx(650.0, abs=0.3)


def test_an_unknown_fault_is_refused():
    with pytest.raises(ArgumentError):
        Chamber(SETTINGS).inject("gremlin")


def test_a_restarted_machine_answers_old_keys_and_how_far_the_broken_growth_came():
    chamber = ready()
    done = run(chamber, growth("whole"))
    chamber.begin(growth("broken", dose=10.0))
    before_ML = chamber.truth()["coverage_ML"]
    while chamber.truth()["coverage_ML"] < before_ML + 3.0:
        chamber.step("mbe")
    reborn = Chamber(SETTINGS, history=chamber.log.events)
    assert reborn.progress("whole").numbers == done.numbers
    broken = reborn.begin(growth("broken"))
    assert broken.state == "partial"
    assert broken.numbers["dose_at_least_ML"] == pytest.approx(2.75, abs=0.6)
    assert reborn.readings().growths == 2


def test_the_final_surface_and_the_truth_are_kept_in_the_folder(tmp_path):
    chamber = ready(folder=tmp_path)
    run(chamber, growth())
    heights = np.load(tmp_path / "films" / "s1.npy")
    assert heights.mean() == pytest.approx(chamber.truth()["coverage_ML"])
    assert "surface_barrier_eV" in (tmp_path / "truth.json").read_text()
    assert read_physical_log(tmp_path / "physical.log") == []


def test_a_growth_beyond_its_budget_ends_and_says_so():
    settings = ChamberSettings(size=16, max_events=2_000)
    chamber = Chamber(settings)
    run(chamber, operation("load", "load"), operation("heat", "heat", substrate_K=800.0))
    run(chamber, growth(dose=2.0))
    ended = chamber.log.events[-1]
    assert ended["is_coarse"]
    assert ended["events"] < 2 * settings.max_events


def test_memory_for_old_operations_is_bounded():
    chamber = ready()
    for i in range(RUNS_KEPT + 20):
        run(chamber, operation(f"s{i}", "specular", exposure_s=1.0))
    assert len(chamber._runs) <= RUNS_KEPT
    assert chamber.progress("s0").state == "done"
