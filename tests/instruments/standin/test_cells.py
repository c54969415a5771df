"""Two cells of a chamber, without the chamber."""

import pytest

from twinloop.errors import ArgumentError
from twinloop.instruments.standin.cells import CELLS, Cells
from twinloop.instruments.standin.settings import CellSettings, CellsSettings

SETTINGS = CellsSettings(gallium=CellSettings(standby_K=1050.0, overshoot=0.1, overshoot_s=4.0))


def settled(flux):
    cells = Cells(SETTINGS)
    cells.ask_flux(flux)
    for _ in range(1000):
        cells.advance(0.5)
        if cells.are_settled:
            return cells
    raise AssertionError("the cells do not settle")


def test_each_cell_goes_where_its_calibration_says_and_what_is_not_needed_stands_by():
    cells = settled({"gallium": 0.7, "aluminium": 0.0})
    assert dict(cells)["gallium"].calibrated_ML_per_s == pytest.approx(0.7, rel=0.01)
    assert cells.reading_K("aluminium") == pytest.approx(SETTINGS.aluminium.standby_K, abs=0.1)


def test_nothing_arrives_from_closed_shutters_or_from_a_cell_that_was_not_asked():
    cells = settled({"gallium": 0.7, "aluminium": 0.3})
    assert set(cells.arriving().values()) == {0.0}
    cells.open({"gallium": 0.7})
    arriving = cells.arriving()
    # freshly opened: a tenth more than it settles at
    assert arriving["gallium"] == pytest.approx(0.77, rel=0.02)
    assert arriving["aluminium"] == 0.0
    cells.advance(20.0)
    assert cells.arriving()["gallium"] == pytest.approx(0.7, rel=0.02)
    cells.close()
    assert cells.arriving()["gallium"] == 0.0


def test_a_set_point_walks_no_faster_than_the_cell_may():
    cells = Cells(SETTINGS)
    cells.ask("gallium", 1150.0)
    last_K, fastest = SETTINGS.gallium.standby_K, 0.0
    for _ in range(60):
        cells.advance(0.5)
        now_K = dict(cells)["gallium"].loop.set_point_K
        fastest, last_K = max(fastest, (now_K - last_K) / 0.5), now_K
    assert fastest == pytest.approx(SETTINGS.gallium.rate_K_per_s)
    assert not Cells(SETTINGS).are_settled


def test_cells_out_of_order_lose_a_quarter_of_their_flux_while_their_temperature_stands():
    cells = settled({"gallium": 0.7, "aluminium": 0.3})
    cells.open({"gallium": 0.7, "aluminium": 0.3})
    cells.advance(30.0)
    before, reading_K = cells.arriving(), cells.reading_K("gallium")
    cells.is_out_of_order = True
    cells.advance(40.0)
    for name in CELLS:
        assert cells.arriving()[name] / before[name] == pytest.approx(0.75, abs=0.01)
    assert cells.reading_K("gallium") == pytest.approx(reading_K, abs=0.1)


def test_a_restarted_controller_finds_the_crucibles_as_they_were():
    cells = settled({"gallium": 0.7, "aluminium": 0.3})
    cells.is_out_of_order = True
    cells.advance(5.0)
    again = Cells(SETTINGS)
    again.put_back(cells.state())
    assert again.is_out_of_order
    for (_, one), (_, other) in zip(cells, again, strict=True):
        assert (one.left, one.drift) == (other.left, other.drift)
    assert again.reading_K("gallium") == SETTINGS.gallium.standby_K


def test_a_flux_beyond_any_melt_changes_no_set_point():
    cells = Cells(SETTINGS)
    with pytest.raises(ArgumentError):
        cells.ask_flux({"gallium": 1e12, "aluminium": 0.3})
    assert dict(cells)["aluminium"].loop.target_K == SETTINGS.aluminium.standby_K
