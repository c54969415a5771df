"""What the contract adds for chambers with two cells, a controlled heater and pauses."""

import asyncio

import pytest

from twinloop.errors import LimitViolation
from twinloop.instruments.interface import Done, NotTouched, OnSilence, Recovery
from twinloop.instruments.mbe import MBE
from twinloop.instruments.mbe.interface import CellTemperatures, Grown, GrownAlloy
from twinloop.instruments.standin.settings import ChamberSettings, read_settings
from twinloop.instruments.standin.testing import Bench, command_for, small_alloy_chamber

ACTIONS = MBE.actions()
OPTIONAL = {
    "ramp": {"substrate_K": 700.0, "rate_K_per_s": 5.0},
    "heat_cells": {"gallium_K": 1100.0, "aluminium_K": 1200.0},
    "grow_alloy": {"flux_ML_per_s": 0.5, "aluminium": 0.3, "dose_ML": 2.0},
    "grow_interrupted": {
        "flux_ML_per_s": 0.5, "dose_ML": 2.0, "pause_after_ML": 1.0, "pause_s": 5.0,
    },
}  # fmt: skip


@pytest.fixture
def bench():
    bench = Bench(small_alloy_chamber(4))
    yield bench
    bench.close()


@pytest.mark.parametrize("action", OPTIONAL)
def test_a_chamber_without_the_hardware_refuses_untouched(action):
    with pytest.raises(NotTouched):
        asyncio.run(ACTIONS[action].function(None, **OPTIONAL[action]))


def test_growths_are_reconciled_and_settings_repeated():
    for name in ("grow_alloy", "grow_interrupted"):
        assert ACTIONS[name].recovery is Recovery.RECONCILABLE
        assert ACTIONS[name].on_silence is OnSilence.FINISH
    for name in ("ramp", "heat_cells"):
        assert ACTIONS[name].recovery is Recovery.IDEMPOTENT


@pytest.mark.parametrize(
    ("action", "change"),
    [
        ("ramp", {"rate_K_per_s": 41.0}),
        ("heat_cells", {"gallium_K": 1600.0}),
        ("grow_alloy", {"aluminium": 1.01}),
        ("grow_interrupted", {"pause_s": 601.0}),
    ],
)
def test_what_lies_outside_the_types_is_refused(action, change):
    with pytest.raises(LimitViolation):
        ACTIONS[action].spec.check({**OPTIONAL[action], **change}, f"mbe.{action}")


def test_an_alloy_reports_its_composition_and_its_cells(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=680.0)
        return await bench.act(bench.mbe, "grow_alloy", "s1", **OPTIONAL["grow_alloy"])

    grown = bench.run(trial())
    assert isinstance(grown, GrownAlloy)
    assert grown.aluminium == pytest.approx(0.3, abs=0.02)
    assert grown.rate_ML_per_s == pytest.approx(0.5, rel=0.08)
    assert grown.gallium_ML_per_s + grown.aluminium_ML_per_s == pytest.approx(grown.rate_ML_per_s)
    assert grown.substrate_K == pytest.approx(680.0, abs=0.5)
    # aluminium has the lower vapour pressure: it is the hotter melt even for the smaller flux
    assert grown.aluminium_K > grown.gallium_K + 50.0


def test_alloys_and_interrupted_growths_are_answered_by_their_keys(bench):
    async def trial(action):
        command = command_for(bench.mbe, action, "s1", **OPTIONAL[action])
        result = await bench.obey(bench.mbe, command)
        return result, await type(bench.mbe).actions()[action].reconciler(bench.mbe, command)

    bench.run(bench.prepare("s1", substrate_K=680.0))
    for action, kind in (("grow_alloy", GrownAlloy), ("grow_interrupted", Grown)):
        result, verdict = bench.run(trial(action))
        assert isinstance(result, kind)
        assert verdict == Done(result)


def test_a_ramp_takes_the_time_of_its_rate_and_reaches_its_end(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=600.0)
        start_s = bench.clock.now_s()
        command = command_for(bench.mbe, "ramp", "s1", **OPTIONAL["ramp"])
        reading_K = await bench.obey(bench.mbe, command)
        said = await type(bench.mbe).actions()["ramp"].confirmer(bench.mbe, command, reading_K)
        return reading_K, bench.clock.now_s() - start_s, said

    reading_K, passed_s, said = bench.run(trial())
    assert reading_K == pytest.approx(700.0, abs=1.5)
    assert 20.0 < passed_s < 60.0
    assert said is None


def test_cells_are_brought_to_temperature_without_a_film_in(bench):
    async def trial():
        return await bench.act(bench.mbe, "heat_cells", "none", **OPTIONAL["heat_cells"])

    found = bench.run(trial())
    assert isinstance(found, CellTemperatures)
    assert found.gallium_K == pytest.approx(1100.0, abs=0.3)
    assert found.aluminium_K == pytest.approx(1200.0, abs=0.3)


def test_a_plain_chamber_interrupts_its_growths_but_neither_ramps_nor_mixes():
    bench = Bench(ChamberSettings(size=16))
    bench.run(bench.prepare("s1", substrate_K=650.0))
    grown = bench.run(
        bench.act(bench.mbe, "grow_interrupted", "s1", **OPTIONAL["grow_interrupted"])
    )
    assert grown.growth_s == pytest.approx(4.0)
    for action in ("ramp", "heat_cells", "grow_alloy"):
        with pytest.raises(NotTouched):
            bench.run(bench.act(bench.mbe, action, "s1", **OPTIONAL[action]))
    bench.close()


def test_the_shipped_alloy_chamber_is_readable_and_has_everything_on():
    settings = read_settings("alloy_chamber.yaml")
    assert settings.cells is not None
    assert settings.heater.loop is not None
    assert settings.detector.camera.frames_per_ML > 0
    # what the operator does not know: offset, flux error, camera scale
    truth = settings.truth_drawn()
    assert truth.thermocouple_offset_K != 0
    assert settings.detector.camera.scale_error != 0


def test_the_shipped_alloy_chamber_may_be_given_a_miscut():
    shipped = read_settings("alloy_chamber.yaml").model_dump()
    assert ChamberSettings.model_validate({**shipped, "steps": 3}).steps == 3
