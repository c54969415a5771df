"""The gallium and the aluminium cell of a chamber that grows alloys.

A cell is set by its temperature, which its calibration gives for a flux: that of a full crucible, at
rest, whose flux no fault has changed. What arrives differs by the crucible that empties, by the
transient of the shutter and by the hidden error of the calibration.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from twinloop.instruments.standin.settings import CellSettings, CellsSettings, LoopSettings
from twinloop.simulators.effusion_cell import VAPOURS, CellShape, EffusionCell
from twinloop.simulators.temperature_loop import Gains, TemperatureLoop, ThermalBody

__all__ = ["CELLS", "CellName", "Cells", "loop_of"]

CellName = Literal["gallium", "aluminium"]
CELLS: tuple[CellName, ...] = ("gallium", "aluminium")

DRIFT_PER_S = 0.02
LARGEST_DRIFT = 0.29
"""Fall of ln flux of a cell out of order, and where it stops: at three quarters [1/s, 1]."""


def loop_of(settings: LoopSettings, start_K: float, offset_K: float = 0.0) -> TemperatureLoop:
    """Return the heated body and controller of some settings, settled at a reading [K]."""
    body = ThermalBody(
        body_lag_s=settings.body_lag_s,
        element_lag_s=settings.element_lag_s,
        full_power_K=settings.full_power_K,
        surroundings_K=settings.surroundings_K,
    )
    gains = Gains(
        proportional_per_K=settings.proportional_per_K,
        integral_per_K_s=settings.integral_per_K_s,
        derivative_s_per_K=settings.derivative_s_per_K,
        sample_s=settings.sample_s,
    )
    return TemperatureLoop(body, gains, start_K=start_K, offset_K=offset_K)


class Cells:
    """Both cells, at standby in the beginning.

    Args:
        settings: what they are.

    Example:
        >>> cells = Cells(CellsSettings())
        >>> cells.ask_flux({"gallium": 0.7, "aluminium": 0.3})
        >>> while not cells.are_settled:
        ...     cells.advance(0.5)
        >>> {name: round(cell.calibrated_ML_per_s, 2) for name, cell in cells}
        {'gallium': 0.7, 'aluminium': 0.3}
    """

    def __init__(self, settings: CellsSettings) -> None:
        self._settings: dict[CellName, CellSettings] = {
            "gallium": settings.gallium,
            "aluminium": settings.aluminium,
        }
        self._cells = {name: _cell(name, s) for name, s in self._settings.items()}
        self._calm_s = dict.fromkeys(CELLS, 0.0)
        self.is_out_of_order = False

    def __iter__(self) -> Iterator[tuple[CellName, EffusionCell]]:
        """Go through the cells by name."""
        return iter(self._cells.items())

    @property
    def are_settled(self) -> bool:
        """True when each has stood where it was asked to be for long enough."""
        return all(self._calm_s[name] >= self._settings[name].loop.settled_s for name in CELLS)

    def reading_K(self, name: CellName) -> float:
        """Return what the thermocouple of a cell reads [K]."""
        return self._cells[name].loop.reading_K

    def ask(self, name: CellName, target_K: float) -> None:
        """Let the set point of a cell walk to a temperature [K] at its fastest rate."""
        loop = self._cells[name].loop
        if loop.target_K != target_K:
            loop.ask(target_K, rate_K_per_s=self._settings[name].rate_K_per_s)
            self._calm_s[name] = 0.0

    def ask_flux(self, flux_ML_per_s: Mapping[CellName, float]) -> None:
        """Set each cell to what its calibration says; to standby where no flux is asked.

        Args:
            flux_ML_per_s: by cell [ML/s].

        Raises:
            ArgumentError: a flux that no melt delivers.
        """
        wanted = {
            name: cell.temperature_for(flux_ML_per_s[name])
            if flux_ML_per_s.get(name, 0.0) > 0
            else self._settings[name].standby_K
            for name, cell in self
        }
        for name, target_K in wanted.items():
            self.ask(name, target_K)

    def open(self, flux_ML_per_s: Mapping[CellName, float]) -> None:
        """Open the shutters of the cells of which flux is asked."""
        for name, cell in self:
            if flux_ML_per_s.get(name, 0.0) > 0:
                cell.open()

    def close(self) -> None:
        """Shut both beams off."""
        for _, cell in self:
            cell.close()

    def arriving(self) -> dict[CellName, float]:
        """Return what passes the open shutters, in the scale of the calibration [ML/s]."""
        return {name: cell.flux_ML_per_s if cell.is_open else 0.0 for name, cell in self}

    def advance(self, duration_s: float) -> None:
        """Let time pass in both cells."""
        for name, cell in self:
            if self.is_out_of_order:
                cell.drift = max(-LARGEST_DRIFT, cell.drift - DRIFT_PER_S * duration_s)
            cell.advance(duration_s)
            gap_K = abs(cell.loop.reading_K - cell.loop.target_K)
            is_calm = gap_K <= self._settings[name].settled_K
            self._calm_s[name] = self._calm_s[name] + duration_s if is_calm else 0.0

    def state(self) -> dict[str, dict[str, float]]:
        """Return what stays when the controller dies: not the temperatures."""
        order = {"order": {"is_out": float(self.is_out_of_order)}}
        return {**{name: cell.state() for name, cell in self}, **order}

    def put_back(self, state: Mapping[str, dict[str, float]]) -> None:
        """Take up what `state` returned; the cells stand by."""
        self.is_out_of_order = bool(state["order"]["is_out"])
        for name, cell in self:
            cell.put_back(state[name])


def _cell(name: CellName, settings: CellSettings) -> EffusionCell:
    shape = CellShape(
        charge_ML=settings.charge_ML,
        fill_power=settings.fill_power,
        overshoot=settings.overshoot,
        overshoot_s=settings.overshoot_s,
    )
    return EffusionCell(shape, VAPOURS[name], loop_of(settings.loop, settings.standby_K))
