import pytest

from twinloop import units
from twinloop.agents.export.quantities import deviation_of, nexus_unit, unit_in_name


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("x_A", "angstrom"),
        ("probe_current_A", "A"),
        ("current_nA", "nA"),
        ("dIdV_nS", "nS"),
        ("two_theta_deg", "deg"),
        ("flux_ML_per_s", "ML/s"),
        ("rate_K_per_s", "K/s"),
        ("x_A_per_s", "angstrom/s"),
        ("max_dose_e_per_A2", "electron/angstrom^2"),
        ("steps_per_A", "1/angstrom"),
        ("film_islands_high_per_nm2", "1/nm^2"),
        ("intensity_counts_per_s", "counts/s"),
        ("counts_per_electron", ""),
        ("counts", "counts"),
        ("roughness_sd_ML", "ML"),
        ("merit", ""),
        ("K", ""),
        ("per", ""),
        ("ringing", ""),
        ("per_s_per", ""),
    ],
)
def test_a_name_tells_its_unit(name, unit):
    assert unit_in_name(name) == unit


def test_angstrom_and_ampere_share_a_symbol_and_are_told_apart():
    ampere, angstrom = (units.unit_of(t) for t in (units.Amperes, units.Angstroms))
    assert (nexus_unit(ampere), nexus_unit(angstrom)) == ("A", "angstrom")


def test_every_unit_of_the_types_has_a_name_in_nexus():
    found = {n: units.unit_of(getattr(units, n)) for n in units.__all__ if n[0].isupper()}
    written = {n: nexus_unit(u) for n, u in found.items() if u is not None}
    assert written.pop("Dimensionless") == ""
    assert all(written.values())


def test_a_deviation_stands_before_or_behind_the_unit():
    names = ["spacing_A", "spacing_sd_A", "y", "y_sd", "width_deg"]
    assert deviation_of("spacing_A", names) == "spacing_sd_A"
    assert deviation_of("y", names) == "y_sd"
    assert deviation_of("width_deg", names) is None
