import pytest

from twinloop.errors import ConfigError
from twinloop.instruments.standin.settings import ChamberSettings, Truth, paced, read_settings


def test_the_shipped_chamber_is_readable_and_hides_something():
    settings = read_settings("growth_chamber.yaml")
    truth = settings.truth_drawn()
    assert truth != Truth()
    assert abs(truth.surface_barrier_eV - 1.30) < 3 * 0.04
    assert abs(truth.thermocouple_offset_K) < 3 * 12
    assert settings.load_s == 6.0


@pytest.mark.parametrize(
    ("name", "mechanism"),
    [
        ("growth_chamber_biased.yaml", "desorption_energy_eV"),
        ("growth_chamber_misleading.yaml", "thermocouple_reversed_about_K"),
    ],
)
def test_a_wrong_chamber_is_the_shipped_one_with_a_mechanism_more(name, mechanism):
    plain = read_settings("growth_chamber.yaml")
    settings = read_settings(name)
    assert getattr(settings.truth_drawn(), mechanism) is not None
    truth = settings.truth_drawn().model_copy(update={mechanism: None})
    assert truth == plain.truth_drawn()
    assert settings.model_copy(update={"truth": plain.truth, "seed": plain.seed}) == plain


def test_a_quantity_may_carry_its_unit():
    settings = ChamberSettings.model_validate({"load_s": "0.5 min"})
    assert settings.load_s == pytest.approx(30.0)


def test_a_wrong_unit_names_file_and_key(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("heater: {lag_s: 4 K}\n")
    with pytest.raises(ConfigError) as caught:
        read_settings(str(path))
    assert "bad.yaml" in str(caught.value)
    assert "heater" in str(caught.value)


@pytest.mark.parametrize("text", ["size: 3\n", "unknown: 1\n", "clock_factor: .inf\n", "[1"])
def test_settings_that_cannot_be_used_are_a_config_error(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        read_settings(str(path))


def test_a_missing_file_is_a_config_error():
    with pytest.raises(ConfigError):
        read_settings("no_such_chamber.yaml")


def test_a_drawn_truth_depends_on_the_seed_alone():
    assert Truth.drawn(3) == Truth.drawn(3)
    assert Truth.drawn(3) != Truth.drawn(4)


def test_a_laboratory_may_pace_the_same_chamber_otherwise():
    settings = read_settings("growth_chamber.yaml")
    faster = paced(settings, 1000.0)
    assert faster.clock_factor == 1000.0
    assert faster.truth == settings.truth
    with pytest.raises(ConfigError, match="clock_factor"):
        paced(settings, float("inf"))


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{size: 24, steps: 9, detector: {window_A: 40}}\n", "steps"),
        ("{size: 24, steps: 3}\n", "window_A"),
        ("{heater: {loop: {}}, truth: {thermocouple_reversed_about_K: 700}}\n", "reversed"),
        ("{cells: {gallium: {overshoot: 2}}}\n", "overshoot"),
        ("{detector: {camera: {rows: 8}}}\n", "rows"),
    ],
)
def test_sections_that_do_not_fit_together_are_a_config_error(tmp_path, text, word):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        read_settings(str(path))


def test_a_cell_may_be_written_with_units(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text("cells: {gallium: {standby_K: 650 degC, overshoot_s: 0.1 min}}\n")
    cell = read_settings(str(path)).cells.gallium
    assert cell.standby_K == pytest.approx(923.15)
    assert cell.overshoot_s == pytest.approx(6.0)
