import asyncio

import pytest

from twinloop.errors import ArgumentError
from twinloop.instruments.interface import Done, NotDone, NotTouched, Partial, Recovery, Running
from twinloop.instruments.mbe.interface import Grown
from twinloop.instruments.mbe.twin import MBETwin
from twinloop.instruments.standin.settings import ChamberSettings
from twinloop.instruments.standin.testing import Bench, command_for

SETTINGS = ChamberSettings(size=16, multi_hop=4, seed=5)


@pytest.fixture
def bench():
    bench = Bench(SETTINGS)
    yield bench
    bench.close()


async def cut_short(bench, command, reach_ML):
    """Run a growth, and cancel it when so much has arrived."""
    task = asyncio.create_task(bench.obey(bench.mbe, command))
    await bench.until_grown(reach_ML)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def what(bench, action, command):
    return await type(bench.mbe).actions()[action].reconciler(bench.mbe, command)


def test_the_twin_keeps_the_contract_and_says_that_it_is_one():
    assert MBETwin.is_twin
    assert MBETwin.kind == "mbe"
    for action in ("load", "grow", "anneal"):
        assert MBETwin.actions()[action].recovery is Recovery.RECONCILABLE
        assert MBETwin.actions()[action].reconciler is not None
    assert MBETwin.actions()["grow"].spec.parameters[0].limit.high == 2


def test_a_growth_reports_rate_dose_and_time(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        return await bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=0.5, dose_ML=2.0)

    grown = bench.run(trial())
    assert isinstance(grown, Grown)
    assert grown.growth_s == pytest.approx(4.0)
    assert grown.rate_ML_per_s == pytest.approx(0.5, rel=0.05)
    assert grown.dose_ML == pytest.approx(grown.rate_ML_per_s * 4.0)
    assert grown.substrate_K == pytest.approx(650.0, abs=2.0)
    assert grown.is_coarse is False


def test_a_growth_beyond_its_budget_says_that_it_is_coarse():
    bench = Bench(ChamberSettings(size=16, max_events=2_000))

    async def trial():
        await bench.prepare("s1", substrate_K=800.0)
        command = command_for(bench.mbe, "grow", "s1", flux_ML_per_s=0.5, dose_ML=2.0)
        return await bench.obey(bench.mbe, command), await what(bench, "grow", command)

    grown, verdict = bench.run(trial())
    bench.close()
    assert grown.is_coarse is True
    assert isinstance(verdict, Done)
    assert verdict.result == grown


def test_laboratory_time_passes_as_long_as_the_recipe(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        start_s = bench.clock.now_s()
        await bench.grow("s1", flux_ML_per_s=0.5, dose_ML=2.0)
        return bench.clock.now_s() - start_s

    # 4 s of growth after 2 s of substrate; the record beside it must not add its own
    assert bench.run(trial()) == pytest.approx(6.0, abs=1.1)


def test_an_anneal_flattens_a_cold_film():
    bench = Bench(ChamberSettings(size=32, multi_hop=8, seed=1))

    async def trial():
        await bench.prepare("s1", substrate_K=620.0)
        await bench.act(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=1.0)
        cold = await bench.act(bench.rheed, "specular", "s1", exposure_s=10.0)
        await bench.act(bench.mbe, "heat", "s1", substrate_K=720.0)
        reading_K = await bench.act(bench.mbe, "anneal", "s1", hold_s=20.0)
        hot = await bench.act(bench.rheed, "specular", "s1", exposure_s=10.0)
        return cold, hot, reading_K

    cold, hot, reading_K = bench.run(trial())
    bench.close()
    assert hot.intensity > 1.5 * cold.intensity
    assert reading_K == pytest.approx(720.0, abs=1.0)


def test_a_cancelled_growth_is_partial_with_its_dose(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        command = command_for(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=10.0)
        await cut_short(bench, command, 2.0)
        return await what(bench, "grow", command)

    verdict = bench.run(trial())
    assert isinstance(verdict, Partial)
    assert 1.5 < verdict.what["dose_ML"] < 3.0
    assert not bench.mbe.line.readings().shutter_is_open


def test_a_finished_growth_is_answered_by_its_key(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        command = command_for(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=1.0)
        unseen = await what(bench, "grow", command)
        grown = await bench.obey(bench.mbe, command)
        return (
            unseen,
            grown,
            await what(bench, "grow", command),
            await bench.obey(bench.mbe, command),
        )

    unseen, grown, verdict, again = bench.run(trial())
    assert isinstance(unseen, NotDone)
    assert verdict == Done(grown)
    assert again == grown
    assert bench.mbe.truth()["growths"] == 1


def test_a_growth_under_way_is_running(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        command = command_for(bench.mbe, "grow", "s1", flux_ML_per_s=1.0, dose_ML=1.0)
        task = asyncio.create_task(bench.obey(bench.mbe, command))
        await asyncio.sleep(0)
        verdict = await what(bench, "grow", command)
        await task
        return verdict

    assert isinstance(bench.run(trial()), Running)


def test_what_the_machine_refuses_was_not_touched(bench):
    async def trial():
        await bench.prepare("s1", substrate_K=650.0)
        await bench.act(bench.mbe, "grow", "another", flux_ML_per_s=1.0, dose_ML=1.0)

    with pytest.raises(NotTouched, match="s1"):
        bench.run(trial())


def test_the_safe_state_is_plain_and_may_be_repeated(bench):
    bench.run(bench.prepare("s1", substrate_K=650.0))
    bench.mbe.safe_state()
    bench.mbe.safe_state()
    assert bench.run(bench.mbe.heater_is_idle())
    assert not bench.run(bench.mbe.shutter_is_open())


def test_a_shutter_that_hangs_is_caught_by_the_confirmation(bench):
    async def trial(sample, fault):
        await bench.prepare(sample, substrate_K=650.0)
        if fault:
            bench.mbe.inject(fault)
        command = command_for(bench.mbe, "grow", sample, flux_ML_per_s=1.0, dose_ML=2.0)
        grown = await bench.obey(bench.mbe, command)
        return await type(bench.mbe).actions()["grow"].confirmer(bench.mbe, command, grown)

    assert bench.run(trial("s1", None)) is None
    assert "shutter" in bench.run(trial("s2", "shutter_hung"))


def test_the_truth_is_neither_action_nor_readout(bench):
    described = MBETwin.describe()
    assert "truth" not in described["actions"]
    assert "truth" not in described["readouts"]
    assert bench.mbe.truth()["truth"]["surface_barrier_eV"] == 1.30


def test_twins_of_one_name_refuse_two_sets_of_settings(bench):
    other = MBETwin(chamber=bench.name, settings=ChamberSettings(size=24))
    with pytest.raises(ArgumentError):
        other.connect()


def test_a_chamber_in_this_process_is_not_asked_whether_it_is_busy(bench):
    # another process would ask its own chamber, which knows nothing
    assert bench.mbe.is_busy() is None


def test_a_twin_that_is_not_connected_says_so():
    with pytest.raises(ArgumentError, match="connect"):
        MBETwin().safe_state()
