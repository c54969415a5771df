import pytest

from twinloop.agents.export.contracts import Contracts


@pytest.fixture(scope="module")
def contracts():
    found, amiss = Contracts.of({"protocol": "grow_and_look"})
    assert not amiss
    return found


@pytest.mark.parametrize(
    ("target", "action", "field", "unit"),
    [
        ("stm", "scan", "z_forward_A", "angstrom"),
        ("stm", "scan", "setpoint_nA", "nA"),
        ("stem", "scan", "counts", "counts"),
        ("stem", "scan", "dose_e_per_A2", "electron/angstrom^2"),
        ("rheed", "record", "intensity", "counts/s"),  # neither type nor name: its docstring alone
        ("rheed", "expose", "result", "counts"),
        ("mbe", "heat", "result", "K"),
        ("xrd", "scan", "counts", "counts"),
        ("stm_analyst", "film", "roughness_ML", "ML"),
        ("stm", "no_such_action", "z_A", "angstrom"),
    ],
)
def test_a_result_has_the_unit_of_its_contract(contracts, target, action, field, unit):
    assert contracts.returned(target, action, field).unit == unit


def test_a_result_has_the_words_of_its_contract(contracts):
    said = contracts.returned("stm", "scan", "z_forward_A").text
    assert said.startswith("height of the tip while it went forward")


def test_arguments_and_readouts_have_units(contracts):
    assert contracts.argument("stm", "scan", "width_A").unit == "angstrom"
    assert contracts.argument("stem", "scan", "max_dose_e_per_A2").unit == "electron/angstrom^2"
    assert contracts.readout("mbe", "thermocouple_K").unit == "K"
    assert contracts.kind("rheed") == "rheed"


@pytest.mark.parametrize("protocol", [None, 3, "nobody_has_it", "twinloop.errors:LabError"])
def test_without_its_protocol_names_still_tell_units(protocol):
    contracts, amiss = Contracts.of({"protocol": protocol})
    assert "units are read from names" in amiss
    assert contracts.returned("stm", "scan", "z_forward_A").unit == "angstrom"
    assert contracts.kind("stm") == ""
