"""Every fault that can be injected is noticed, and healthy chambers raise no alarm."""

import asyncio

import numpy as np
import pytest

from twinloop.errors import ArgumentError, ConfigError
from twinloop.instruments.standin.settings import FAULTS, ChamberSettings, FaultPlan, read_settings
from twinloop.instruments.standin.testing import Bench, command_for, small_alloy_chamber


async def complaints(bench, sample, *, substrate_K=700.0, action="grow_alloy", **arguments):
    """Grow and record; return what the confirmations of both say, those that say something."""
    await bench.prepare(sample, substrate_K=substrate_K)
    grow = command_for(bench.mbe, action, sample, **arguments)
    look = command_for(bench.rheed, "record", sample, wait_s=600.0)
    grown, trace = await asyncio.gather(bench.obey(bench.mbe, grow), bench.obey(bench.rheed, look))
    said = [
        await type(bench.mbe).actions()[action].confirmer(bench.mbe, grow, grown),
        await type(bench.rheed).actions()["record"].confirmer(bench.rheed, look, trace),
    ]
    return [words for words in said if words]


GROWTH = {"flux_ML_per_s": 0.5, "aluminium": 0.4, "dose_ML": 2.0}


def test_a_hundred_healthy_growths_raise_no_alarm():
    rng = np.random.default_rng(12)
    said = []
    for seed in range(4):
        bench = Bench(small_alloy_chamber(seed))
        for i in range(25):
            said += bench.run(
                complaints(
                    bench,
                    f"s{i}",
                    substrate_K=rng.uniform(620.0, 740.0),
                    flux_ML_per_s=rng.uniform(0.2, 1.0),
                    aluminium=rng.uniform(),
                    dose_ML=rng.uniform(1.0, 2.5),
                )
            )
        bench.close()
    assert said == []


NOTICED = {
    "shutter_hung": ("shutter", 1),
    "thermocouple_jump": ("thermocouple", 1),
    "thermocouple_drift": ("misreads", 2),
    "cell_drift": ("drifted", 2),
    "heater_failure": ("heater", 1),
    "gun_off": ("gun", 1),
    "gun_dim": ("screen", 1),
}
"""What a complaint says, and at which growth it comes at the latest."""


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed_within_so_many_growths(fault):
    word, growths = NOTICED[fault]
    bench = Bench(small_alloy_chamber(5))
    assert bench.run(complaints(bench, "before", **GROWTH)) == []
    bench.mbe.inject(fault)
    said = [bench.run(complaints(bench, f"s{i}", **GROWTH)) for i in range(growths)]
    bench.close()
    assert any(word in words for words in said[-1]), said


def test_a_thermocouple_that_jumped_goes_on_being_noticed_by_the_power_it_takes():
    bench = Bench(small_alloy_chamber(5))
    bench.mbe.inject("thermocouple_jump")
    bench.run(complaints(bench, "s1", **GROWTH))
    said = bench.run(complaints(bench, "s2", **GROWTH))
    truth_K = bench.mbe.truth()["surface_K"]
    bench.close()
    assert "power" in said[0]
    assert truth_K == pytest.approx(725.0, abs=0.5)


def test_a_heater_without_heat_says_so_where_it_is_asked_to_heat():
    bench = Bench(small_alloy_chamber(5))
    bench.mbe.inject("heater_failure")
    bench.run(complaints(bench, "s1", **GROWTH))

    async def heat():
        await bench.act(bench.mbe, "load", "s2")
        command = command_for(bench.mbe, "heat", "s2", substrate_K=700.0)
        reading_K = await bench.obey(bench.mbe, command)
        return await type(bench.mbe).actions()["heat"].confirmer(bench.mbe, command, reading_K)

    said = bench.run(heat())
    bench.close()
    assert "look at the heater" in said


def test_an_anneal_says_when_its_temperature_was_left():
    bench = Bench(small_alloy_chamber(5))

    async def anneal():
        command = command_for(bench.mbe, "anneal", "s1", hold_s=10.0)
        reading_K = await bench.obey(bench.mbe, command)
        return await type(bench.mbe).actions()["anneal"].confirmer(bench.mbe, command, reading_K)

    bench.run(bench.prepare("s1", substrate_K=700.0))
    healthy = bench.run(anneal())
    bench.mbe._local().chamber._plant.loop.is_broken = True
    broken = bench.run(anneal())
    bench.close()
    assert healthy is None
    assert "look at the heater" in broken


def test_a_planned_fault_comes_at_its_growth():
    bench = Bench(small_alloy_chamber(3, faults=(FaultPlan(name="gun_dim", growth=2),)))
    said = [bench.run(complaints(bench, f"s{i}", **GROWTH)) for i in range(2)]
    bench.close()
    assert said[0] == []
    assert "screen" in said[1][0]


@pytest.mark.parametrize("fault", ["cell_drift", "thermocouple_drift", "heater_failure"])
def test_a_fault_of_what_a_chamber_does_not_have_is_refused(fault, tmp_path):
    bench = Bench(ChamberSettings(size=16))
    with pytest.raises(ArgumentError, match="settings"):
        bench.mbe.inject(fault)
    bench.close()
    path = tmp_path / "bad.yaml"
    path.write_text(f"faults: [{{name: {fault}, growth: 1}}]\n")
    with pytest.raises(ConfigError, match="needs"):
        read_settings(str(path))


def test_a_plain_chamber_notices_a_gun_that_goes_out():
    bench = Bench(ChamberSettings(size=16, seed=2))
    bench.rheed.inject("gun_off")
    said = bench.run(complaints(bench, "s1", action="grow", flux_ML_per_s=1.0, dose_ML=1.0))
    bench.close()
    assert "gun" in said[0]
