import asyncio
import shutil

import numpy as np
import pytest

from twinloop.clocks import VirtualClock
from twinloop.errors import ArgumentError
from twinloop.instruments.interface import Done, NotDone, NotTouched, Partial
from twinloop.instruments.standin.beam_stage import BeamNote
from twinloop.instruments.standin.stage_twin import TwinFault
from twinloop.instruments.standin.testing import command_for
from twinloop.instruments.standin.twin import OperationCut
from twinloop.instruments.standin.vessel import Stage, Vessel
from twinloop.instruments.stem.twin import STEMTwin
from twinloop.simulators.film_structure import FilmStructure
from twinloop.simulators.specimen import Specimen

SMALL = {"field_A": 20.0, "pixels": 64}
TASKS = []
OPENED = []


@pytest.fixture(autouse=True)
def close_twins():
    yield
    while OPENED:
        OPENED.pop().disconnect()
    TASKS.clear()


def opened(**settings):
    twin = STEMTwin(**{"seed": 4, "specimen": "mos2", **settings})
    twin.attach(VirtualClock())
    OPENED.append(twin)
    twin.connect()
    return twin


def act(twin, action, sample="s1", **arguments):
    return obey(twin, command_for(twin, action, sample, **arguments))


def obey(twin, command):
    twin.begin(command)
    return asyncio.run(getattr(twin, command.action)(**command.arguments))


def loaded(**settings):
    twin = opened(**settings)
    act(twin, "take")
    return twin


def verdict(twin, command):
    return asyncio.run(type(twin).actions()[command.action].reconciler(twin, command))


def complaint(twin, command, result):
    return asyncio.run(type(twin).actions()[command.action].confirmer(twin, command, result))


def interrupted(twin, command, lines, how):
    """Run a command and interrupt it once it has shown so many lines."""
    shown = []

    def emit(stream, numbers, arrays):
        shown.append(arrays["counts"])
        if sum(len(block) for block in shown) >= lines:
            how()

    async def run():
        task = asyncio.current_task()
        twin.attach(VirtualClock(), emit)
        TASKS.append(task)
        return await getattr(twin, command.action)(**command.arguments)

    twin.begin(command)
    return asyncio.run(run())


def abort():
    TASKS[-1].cancel()


def test_a_scan_tells_what_it_did():
    twin = loaded()
    image = act(twin, "scan", **SMALL)
    assert image.counts.shape == image.is_acquired.shape == (64, 64)
    assert image.counts.dtype == np.float32
    assert image.is_acquired.all()
    assert image.is_complete
    assert image.pixel_A == 20.0 / 64
    np.testing.assert_allclose(np.diff(image.x_A), image.pixel_A)
    assert image.x_A.mean() == pytest.approx(0.0)
    # 30 pA for 10 us
    assert image.electrons_per_pixel == pytest.approx(30e-12 * 10e-6 / 1.602177e-19)
    assert image.dose_e_per_A2 == pytest.approx(image.electrons_per_pixel / image.pixel_A**2)
    assert image.sample_dose_e_per_A2 == image.dose_e_per_A2
    assert image.model == "convolution"
    assert image.counts.mean() > image.dark_counts


def test_the_same_seed_gives_the_same_image_and_another_another():
    images = [act(loaded(seed=seed), "scan", **SMALL).counts for seed in (4, 4, 5)]
    np.testing.assert_array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_a_second_scan_of_the_same_place_is_another_measurement():
    twin = loaded()
    first, second = act(twin, "scan", **SMALL), act(twin, "scan", **SMALL)
    assert not np.array_equal(first.counts, second.counts)
    assert second.sample_dose_e_per_A2 == pytest.approx(2 * first.dose_e_per_A2)


def test_lines_appear_on_the_stream_in_order_and_once():
    twin, shown = opened(), []
    twin.attach(VirtualClock(), lambda stream, n, a: shown.append((stream, n, a["counts"])))
    act(twin, "take")
    image = act(twin, "scan", **SMALL)
    assert {stream for stream, *_ in shown} == {"line"}
    assert len(shown) >= 16
    np.testing.assert_array_equal(np.concatenate([counts for *_, counts in shown]), image.counts)


def test_a_scan_lasts_what_dwell_times_and_flybacks_add_up_to():
    twin = loaded()
    start_s = twin.clock.now_s()
    image = act(twin, "scan", dwell_us=100.0, **SMALL)
    assert image.line_s == pytest.approx(64 * 100e-6 + 60e-6)
    assert twin.clock.now_s() - start_s == pytest.approx(0.2 + 64 * image.line_s)


def test_a_region_is_that_part_of_the_field():
    twin = loaded(misalignment=0.0)
    act(twin, "set_optics", current_nA=1.0)
    whole = act(twin, "scan", **SMALL)
    part = act(twin, "scan", region=(8, 20, 32, 24), **SMALL)
    assert part.counts.shape == (32, 24)
    np.testing.assert_allclose(part.x_A, whole.x_A[20:44])
    np.testing.assert_allclose(part.y_A, whole.y_A[8:40])
    same = np.corrcoef(part.counts.ravel(), whole.counts[8:40, 20:44].ravel())[0, 1]
    other = np.corrcoef(part.counts.ravel(), whole.counts[12:44, 20:44].ravel())[0, 1]
    assert same > 0.9
    assert same > other + 0.2


def test_a_subset_visits_its_pixels_only():
    twin = loaded()
    image = act(twin, "scan", fraction=0.2, subset_seed=7, **SMALL)
    assert image.is_acquired.sum() == round(0.2 * 64 * 64)
    assert np.all(image.counts[~image.is_acquired] == 0.0)
    assert image.counts[image.is_acquired].mean() > image.dark_counts
    listed = act(twin, "scan", only=(5, 70), **SMALL)
    assert np.flatnonzero(listed.is_acquired).tolist() == [5, 70]


def test_too_much_dose_is_refused_before_the_beam_opens():
    twin = loaded()
    with pytest.raises(NotTouched, match=r"allowed 100"):
        act(twin, "scan", max_dose_e_per_A2=100.0, **SMALL)
    assert twin.on_stage().dose_e_per_A2 == 0.0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"region": (50, 0, 32, 64)}, "inside the 64 x 64"),
        ({"only": (4096,)}, "below 4096"),
        ({"detector": "bf"}, "incoherent"),
    ],
)
def test_what_cannot_be_scanned_is_refused_with_the_reason(arguments, reason):
    with pytest.raises(NotTouched, match=reason):
        act(loaded(), "scan", **SMALL, **arguments)


def test_an_abort_leaves_the_lines_acquired_and_the_dose_given():
    twin = loaded()
    command = command_for(twin, "scan", "s1", **SMALL)
    with pytest.raises(asyncio.CancelledError):
        interrupted(twin, command, 24, abort)
    told = verdict(twin, command)
    assert isinstance(told, Partial)
    assert 24 <= told.what["lines"] < told.what["lines_asked"] == 64
    assert told.what["fraction_done"] == told.what["lines"] / 64
    assert told.what["dose_e_per_A2"] > 0
    assert twin.on_stage().dose_e_per_A2 == told.what["dose_e_per_A2"]
    last = twin.on_stage().history[-1]
    assert (last.what, last.numbers["fraction_done"]) == ("scan", told.what["fraction_done"])
    assert twin.state["is_blanked"]


def test_a_safe_state_cuts_a_scan_and_blanks_the_beam():
    twin = loaded()
    command = command_for(twin, "scan", "s1", **SMALL)
    with pytest.raises(OperationCut, match="safe state"):
        interrupted(twin, command, 8, twin.safe_state)
    assert isinstance(verdict(twin, command), Partial)
    assert asyncio.run(twin.beam_is_blanked())


def test_the_same_key_is_answered_and_never_scanned_again():
    twin = loaded()
    command = command_for(twin, "scan", "s1", **SMALL)
    first = obey(twin, command)
    again = obey(twin, command)
    np.testing.assert_array_equal(first.counts, again.counts)
    assert twin.on_stage().dose_e_per_A2 == first.dose_e_per_A2


def test_a_twin_that_was_killed_is_the_same_afterwards_and_knows_its_keys(tmp_path):
    first = loaded(folder=str(tmp_path / "stem"))
    done, cut = (command_for(first, "scan", "s1", **SMALL) for _ in range(2))
    image = obey(first, done)

    def killed():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted(first, cut, 8, killed)
    again = opened(folder=str(tmp_path / "stem"))
    told = verdict(again, done)
    assert isinstance(told, Done)
    np.testing.assert_array_equal(told.result.counts, image.counts)
    assert not isinstance(verdict(again, cut), Done | NotDone)
    never = command_for(again, "scan", "s1", **SMALL)
    assert isinstance(verdict(again, never), NotDone)
    assert again.on_stage().name == "s1"
    assert again.state["column"] == first.state["column"]


def as_it_was_when_it_died(tmp_path, command, lines, **settings):
    """Return a twin on the disk that one left whose process was killed after so many lines."""
    home, copy = tmp_path / "stem", tmp_path / "after"
    first = loaded(folder=str(home), **settings)
    act(first, "set_optics", current_nA=0.2)

    def dies():
        # what is on the disk now is all that a killed process leaves
        if not copy.exists():
            shutil.copytree(home, copy)

    interrupted(first, command(first), lines, dies)
    return first, opened(folder=str(copy), **settings)


def test_the_dose_of_a_scan_whose_computer_died_stands_and_is_told(tmp_path):
    commands = []

    def command(twin):
        commands.append(command_for(twin, "scan", "s1", dwell_us=50.0, **SMALL))
        return commands[0]

    settings = {"specimen": "graphene_defects", "beam_keV": 200.0}
    lived, again = as_it_was_when_it_died(tmp_path, command, 32, **settings)
    told = verdict(again, commands[0])
    assert isinstance(told, Partial)
    assert told.what["lines"] == 32
    assert told.what["fraction_done"] == 0.5
    whole = lived.on_stage()
    assert told.what["dose_e_per_A2"] == whole.dose_e_per_A2 > 0
    sample = again.on_stage()
    assert sample.dose_e_per_A2 == whole.dose_e_per_A2
    assert [event.what for event in sample.history] == ["take", "scan"]
    last = sample.history[-1]
    assert last.key == str(commands[0].key)
    assert last.numbers["fraction_done"] == 0.5
    # the atoms that it has knocked out by then are gone, and no more than at its end
    pristine = loaded(**settings).on_stage().atoms.n
    assert pristine - sample.atoms.n == last.numbers["atoms_lost"]
    assert whole.atoms.n < sample.atoms.n < pristine
    assert asyncio.run(again.beam_is_blanked())


def test_a_dose_is_counted_once_however_often_the_microscope_is_restarted(tmp_path):
    def command(twin):
        return command_for(twin, "scan", "s1", **SMALL)

    _, again = as_it_was_when_it_died(tmp_path, command, 16)
    dose = again.on_stage().dose_e_per_A2
    for _ in range(2):
        again = opened(folder=str(tmp_path / "after"))
        assert again.on_stage().dose_e_per_A2 == dose
        assert len(again.on_stage().history) == 2
    image = act(again, "scan", **SMALL)
    assert image.sample_dose_e_per_A2 == pytest.approx(dose + image.dose_e_per_A2)


def test_diffraction_and_x_rays_that_are_cut_short_tell_their_part(tmp_path):
    twin = loaded(folder=str(tmp_path / "stem"))
    command = command_for(twin, "spectrum", "s1", live_s=50.0)
    noted = []

    def note(*told, **words):
        type(twin).note(twin, *told, **words)
        noted.append(BeamNote.read(twin.home))
        if len(noted) == 4:
            TASKS[-1].cancel()

    twin.__dict__["note"] = note
    with pytest.raises(asyncio.CancelledError):
        interrupted(twin, command, 1, abort)
    del twin.__dict__["note"]
    told = verdict(twin, command).what
    assert told["fraction_done"] == pytest.approx(0.3)
    assert told["live_s"] == pytest.approx(15.0)
    assert twin.on_stage().dose_e_per_A2 == told["dose_e_per_A2"] > 0
    assert [round(note.numbers["fraction_done"], 9) for note in noted] == [0.0, 0.1, 0.2, 0.3]
    assert BeamNote.read(twin.home) is None


def test_a_film_comes_through_the_vessel_and_leaves_as_a_lamella(tmp_path):
    vessel = Vessel(tmp_path / "vessel")
    chamber = Stage(tmp_path / "mbe")
    chamber.write(Specimen("s1", 7, FilmStructure.flat(24, 6)), "run/t1/0/0")
    vessel.give("run/t1/1/0", chamber)
    twin = loaded(folder=str(tmp_path / "stem"), vessel=str(tmp_path / "vessel"), specimen=None)
    assert vessel.held() == []
    act(twin, "scan", field_A=60.0, pixels=96)
    act(twin, "give")
    assert vessel.held() == ["s1"]
    with pytest.raises(NotTouched, match="no sample"):
        act(twin, "scan", **SMALL)
    back = vessel.take("run/t1/9/0", "s1", Stage(tmp_path / "xrd"))
    told = [event.what for event in back.history]
    assert told[:3] == ["take", "cut_lamella", "scan"]
    assert back.dose_e_per_A2 > 0


def test_the_lamella_shows_the_vacuum_above_and_the_crystal_below(tmp_path):
    vessel = Vessel(tmp_path / "vessel")
    chamber = Stage(tmp_path / "mbe")
    chamber.write(Specimen("s1", 7, FilmStructure.flat(24, 6)), "run/t1/0/0")
    vessel.give("run/t1/1/0", chamber)
    twin = loaded(folder=str(tmp_path / "stem"), vessel=str(tmp_path / "vessel"), specimen=None)
    image = act(twin, "scan", field_A=100.0, pixels=128)
    light = image.counts - image.dark_counts
    assert light[:60].mean() > 50 * light[-8:].mean()


def test_graphene_survives_at_80_kV_and_is_holed_at_200():
    lost = {}
    for beam_keV in (80.0, 200.0):
        twin = loaded(specimen="graphene_defects", beam_keV=beam_keV)
        before = twin.on_stage().atoms.n
        act(twin, "set_optics", current_nA=0.2)
        act(twin, "scan", dwell_us=50.0, **SMALL)
        lost[beam_keV] = before - twin.on_stage().atoms.n
        assert twin.on_stage().history[-1].numbers["atoms_lost"] == lost[beam_keV]
    # 6.4e5 e/A^2 at 14.5 barn: 9 % of about 150 atoms
    assert lost[80.0] == 0
    assert 4 <= lost[200.0] <= 28


def test_time_moves_the_sample_and_the_lens():
    twin = loaded()
    before = twin.truth()["state"]["column"]
    act(twin, "move_stage", x_A=5.0, y_A=0.0)
    act(twin, "scan", **SMALL)
    after = twin.truth()["state"]["column"]
    for name in ("defocus_A", "miss_x_A", "creep_x_A_per_s"):
        assert after[name] != before[name]
    assert after["scale_x"] == before["scale_x"]
    assert after["contamination_A"] > 0


def test_a_resting_beam_gives_dose_until_it_is_blanked():
    twin = loaded()
    act(twin, "blank", is_blanked=False)
    assert not asyncio.run(twin.beam_is_blanked())
    asyncio.run(twin.clock.sleep(2.0))
    act(twin, "blank")
    assert asyncio.run(twin.beam_is_blanked())
    # 30 pA for 2 s on a spot of the size of the resolution
    assert asyncio.run(twin.sample_dose_e_per_A2()) > 1e8


def test_optics_are_set_as_a_whole_and_told():
    twin = loaded()
    seen = act(twin, "set_optics", defocus_A=40.0, current_nA=0.1)
    assert seen.defocus_A == asyncio.run(twin.defocus_A()) == 40.0
    assert seen.energy_keV == asyncio.run(twin.energy_keV()) == 80.0
    act(twin, "set_optics")
    assert asyncio.run(twin.current_nA()) == 0.03
    with pytest.raises(NotTouched, match="inner"):
        act(twin, "set_optics", inner_mrad=150.0, outer_mrad=100.0)


def test_focus_is_where_the_panel_cancels_what_the_lens_has():
    sharpness = {}
    for offset_A in (-120.0, 0.0, 120.0):
        twin = loaded(specimen="srtio3")
        hidden_A = twin.truth()["state"]["column"]["defocus_A"]
        act(twin, "set_optics", defocus_A=-hidden_A + offset_A)
        counts = act(twin, "scan", **SMALL).counts
        sharpness[offset_A] = counts.var() / counts.mean() ** 2
    assert sharpness[0.0] > 1.5 * max(sharpness[-120.0], sharpness[120.0])


def test_elements_show_in_the_spectrum():
    twin = loaded()
    act(twin, "set_optics", current_nA=1.0)
    spectrum = act(twin, "spectrum", live_s=50.0)
    assert spectrum.model == "approximate"
    near = np.abs(spectrum.energy_keV - 2.3) < 0.1
    beside = np.abs(spectrum.energy_keV - 3.2) < 0.1
    assert spectrum.counts[near].sum() > 10 * max(spectrum.counts[beside].sum(), 1.0)


def test_diffraction_puts_nearly_every_electron_inside_the_disk_of_a_thin_sample():
    twin = loaded(beam_keV=60.0)
    seen = act(twin, "diffract", points=2, step_A=1.5)
    assert seen.patterns.shape == (4, 64, 64)
    assert seen.x_A.tolist() == [-0.75, 0.75, -0.75, 0.75]
    ky, kx = np.meshgrid(seen.angle_mrad, seen.angle_mrad, indexing="ij")
    disk = np.hypot(kx, ky) < 31.0
    assert seen.patterns[:, disk].sum() > 0.9 * seen.patterns.sum()
    assert seen.patterns.sum() == pytest.approx(4 * seen.electrons, rel=0.1)


@pytest.mark.parametrize("action", ["scan", "diffract", "spectrum"])
def test_without_a_beam_the_instrument_complains(action):
    twin = loaded(faults=(TwinFault(name="beam_off", run=1),))
    arguments = SMALL if action == "scan" else {}
    command = command_for(twin, action, "s1", **arguments)
    assert "beam is off" in complaint(twin, command, obey(twin, command))


def test_a_saturated_detector_is_complained_of():
    twin = loaded(specimen="srtio3")
    twin.inject("detector_saturated")
    command = command_for(twin, "scan", "s1", **SMALL)
    assert "saturated" in complaint(twin, command, obey(twin, command))
    twin.repair("detector_saturated")
    command = command_for(twin, "scan", "s1", **SMALL)
    assert complaint(twin, command, obey(twin, command)) is None


def test_healthy_scans_raise_no_alarm():
    alarms = 0
    for seed, sort in enumerate(("mos2", "mos2_bilayer", "graphene_defects")):
        twin = loaded(seed=seed, specimen=sort)
        for _ in range(18):
            command = command_for(twin, "scan", "s1", field_A=8.0, pixels=16)
            alarms += complaint(twin, command, obey(twin, command)) is not None
    assert alarms == 0


def test_an_unknown_fault_or_specimen_is_refused():
    with pytest.raises(ArgumentError, match="beam_off"):
        opened(faults=(TwinFault(name="earthquake", run=1),))
    with pytest.raises(ArgumentError, match="graphene_defects"):
        loaded(specimen="wood")


@pytest.mark.physics
def test_multislice_shows_bright_field_and_agrees_with_convolution_in_dark_field():
    dark = {}
    for model in ("multislice", "convolution"):
        twin = loaded(model=model, misalignment=0.0, specimen="mos2")
        act(twin, "set_optics", current_nA=1.0, outer_mrad=160.0)
        dark[model] = act(twin, "scan", field_A=10.0, pixels=48)
        assert dark[model].model == model
    counts = [image.counts.ravel() for image in dark.values()]
    assert np.corrcoef(*counts)[0, 1] > 0.97
    twin = loaded(model="multislice", misalignment=0.0)
    bright = act(twin, "scan", detector="bf", field_A=10.0, pixels=32)
    assert bright.counts.mean() > 0.1 * bright.electrons_per_pixel * bright.counts_per_electron


def test_phonons_belong_to_the_sample_and_not_to_the_look():
    twin = loaded(model="multislice")
    first = twin._microscope()
    assert first.phonons == 4
    act(twin, "move_stage", x_A=5.0, y_A=0.0)
    assert twin._microscope().seed == first.seed
    act(twin, "take", sample="s2")
    assert twin._microscope().seed != first.seed
    assert loaded(model="multislice", phonons=0)._microscope().phonons == 0


def test_without_a_sample_the_dose_reads_zero(tmp_path):
    # found by the conformance suite: telemetry asks whether or not a sample is in
    twin = STEMTwin(folder=str(tmp_path), specimen="mos2")
    twin.attach(VirtualClock())
    twin.connect()
    assert asyncio.run(twin.sample_dose_e_per_A2()) == 0.0
