"""Cells against the tables of vapour pressure, and against exponentials known on paper."""

import math

import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.effusion_cell import (
    VAPOURS,
    CellShape,
    EffusionCell,
    Vapour,
    melt_temperature_K,
)
from twinloop.simulators.temperature_loop import Gains, TemperatureLoop, ThermalBody

GALLIUM, ALUMINIUM = VAPOURS["gallium"], VAPOURS["aluminium"]


def cell(*, shape=None, start_K=1150.0):
    loop = TemperatureLoop(ThermalBody(), Gains(sample_s=0.25), start_K=start_K)
    return EffusionCell(shape or CellShape(), GALLIUM, loop)


# CRC Handbook of Chemistry and Physics, vapour pressure of the metallic elements: temperatures at
# which the pressure is 1, 10 and 100 Pa, from 1037, 1175, 1347 and 1209, 1359, 1544 degC.
@pytest.mark.parametrize(
    ("vapour", "melt_K", "pressure_Pa"),
    [
        (GALLIUM, 1310.0, 1.0),
        (GALLIUM, 1448.0, 10.0),
        (GALLIUM, 1620.0, 100.0),
        (ALUMINIUM, 1482.0, 1.0),
        (ALUMINIUM, 1632.0, 10.0),
        (ALUMINIUM, 1817.0, 100.0),
    ],
)
def test_vapour_pressures_are_those_of_the_handbook(vapour, melt_K, pressure_Pa):
    assert vapour.at(melt_K) == pytest.approx(pressure_Pa, rel=0.1)


def test_effusion_is_the_kinetic_theory_of_gases():
    # n v / 4 with n = p / kT and v = sqrt(8 k T / pi m): the same by another road
    melt_K, mass_kg, k = 1200.0, 69.723 * 1.66053906660e-27, 1.380649e-23
    density = GALLIUM.at(melt_K) / (k * melt_K)
    speed = math.sqrt(8.0 * k * melt_K / (math.pi * mass_kg))
    assert GALLIUM.effusion_per_m2_s(melt_K) == pytest.approx(0.25 * density * speed, rel=1e-9)


def test_a_pure_arrhenius_law_has_its_enthalpy_as_slope():
    vapour = Vapour(mass_u=70.0, pressure_Pa=1e10, enthalpy_eV=2.7)
    slope = math.log(vapour.at(1250.0) / vapour.at(1200.0)) / (1 / 1200.0 - 1 / 1250.0)
    assert slope * 8.617333262e-5 == pytest.approx(2.7, rel=1e-9)


def test_the_calibration_is_the_inverse_of_the_flux():
    shape = CellShape()
    for flux in (0.02, 0.5, 2.0):
        melt_K = melt_temperature_K(shape, ALUMINIUM, flux)
        assert shape.flux_ML_per_s(ALUMINIUM, melt_K) == pytest.approx(flux, rel=1e-9)
    # growers run gallium near 1150 K and aluminium near 1300 K for about a monolayer a second
    assert 1100 < melt_temperature_K(shape, GALLIUM, 1.0) < 1220
    assert 1230 < melt_temperature_K(shape, ALUMINIUM, 1.0) < 1370


def test_a_flux_that_no_melt_delivers_is_refused():
    with pytest.raises(ArgumentError, match="flux_ML_per_s"):
        melt_temperature_K(CellShape(), GALLIUM, 1e9)


def test_the_transient_of_the_shutter_decays_and_comes_back_with_its_time_constant():
    one = cell(shape=CellShape(overshoot=0.2, overshoot_s=10.0))
    steady = one.flux_ML_per_s / 1.2
    one.open()
    for passed_s in (5.0, 15.0):
        one.advance(10.0 if passed_s == 15.0 else 5.0)
        expected = 1.0 + 0.2 * math.exp(-passed_s / 10.0)
        assert one.flux_ML_per_s / steady == pytest.approx(expected, rel=1e-3)
    one.close()
    one.advance(10.0)
    excess = 1.0 - (1.0 - math.exp(-1.5)) * math.exp(-1.0)
    assert one.flux_ML_per_s / steady == pytest.approx(1.0 + 0.2 * excess, rel=1e-3)


def test_a_crucible_that_empties_delivers_the_power_of_what_is_left():
    one = cell(shape=CellShape(charge_ML=50.0, fill_power=0.5))
    full = one.flux_ML_per_s
    # dm/dt = -J sqrt(m / m0) empties in 2 m0 / J, and the flux falls on a straight line
    steps = round(2.0 * 50.0 / full / 0.25)
    found = []
    for _ in range(steps):
        one.advance(0.25)
        found.append(one.flux_ML_per_s / full)
    assert found[steps // 2] == pytest.approx(0.5, abs=0.01)
    assert found[-1] == pytest.approx(0.0, abs=0.03)
    assert one.left < 0.001


def test_a_hotter_melt_gives_more():
    one = cell()
    before = one.flux_ML_per_s
    one.loop.ask(1180.0)
    one.advance(60.0)
    assert one.flux_ML_per_s / before == pytest.approx(
        GALLIUM.at(1180) / GALLIUM.at(1150), rel=0.02
    )


def test_what_a_crucible_remembers_is_put_back():
    one, other = cell(shape=CellShape(overshoot=0.2)), cell(shape=CellShape(overshoot=0.2))
    one.open()
    one.advance(20.0)
    one.drift = -0.1
    other.put_back(one.state())
    assert other.flux_ML_per_s == pytest.approx(one.flux_ML_per_s)
    assert not other.is_open


def test_a_cell_without_an_orifice_is_refused():
    with pytest.raises(ArgumentError, match="orifice_m2"):
        CellShape(orifice_m2=0.0)
    with pytest.raises(ArgumentError, match="cell"):
        CellShape(overshoot=-0.1)
