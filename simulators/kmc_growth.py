"""Predict a growth: the film of `kmc` under the knobs of an operator, watched at anti-phase.

Example:
    >>> growth = KMCGrowth(size=16)
    >>> film = growth.simulate(
    ...     {"substrate_K": 700, "flux_ML_per_s": 1.0, "dose_ML": 4.0, "anneal_s": 1.0},
    ...     {"surface_barrier_eV": 1.30, "bond_energy_eV": 0.25, "step_barrier_eV": 0.05,
    ...      "thermocouple_offset_K": 0.0, "log_flux_factor": 0.0},
    ...     seed=1,
    ... )
    >>> film.arrays["trace"].shape
    (81, 2)
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from twinloop.errors import ArgumentError
from twinloop.simulators.film_quality import film_quality, interdiffusion_part
from twinloop.simulators.growth_coordinates import ABSENT, COORDINATES
from twinloop.simulators.interface import Cancelled, Partial, Prediction, Simulator
from twinloop.simulators.rheed import antiphase_intensity

__all__ = ["INTENSITY_DOSES_ML", "KMCGrowth", "intensity_at"]

INTENSITY_DOSES_ML: Mapping[str, float] = {
    "intensity_0p75ML": 0.75,
    "intensity_1ML": 1.0,
    "intensity_1p5ML": 1.5,
    "intensity_2ML": 2.0,
    "intensity_2p5ML": 2.5,
    "intensity_3ML": 3.0,
}
"""Nominal doses at which a trace is compared with theory [ML]: extremes and flanks."""

RECOVERY_SAMPLES = 20
"""Samples of the intensity during an anneal, its start left out."""


class KMCGrowth(
    Simulator,
    name="kmc_growth",
    knobs=("substrate_K", "flux_ML_per_s", "dose_ML", "anneal_s"),
    beliefs=(
        "surface_barrier_eV",
        "bond_energy_eV",
        "step_barrier_eV",
        "thermocouple_offset_K",
        "log_flux_factor",
        "log_interdiffusion_rate",
    ),
    optional=("log_interdiffusion_rate", "step_barrier_eV"),
    predicts=("quality", "final_intensity", "coverage_ML", *INTENSITY_DOSES_ML),
    coordinates=COORDINATES,
    absent=ABSENT,
    version=2,
):
    """Growth of one film and its anneal, without noise.

    Knobs: `substrate_K` (what the thermocouple reads), `flux_ML_per_s` and `dose_ML` (as the cell
    is calibrated), `anneal_s`. Beliefs: the barriers of `GrowthParameters`;
    `thermocouple_offset_K`, true minus read; `log_flux_factor`, ln of true over nominal flux;
    `log_interdiffusion_rate`, ln nu_i of `film_quality` (left out: a theory without it). Without
    `step_barrier_eV` it is a theory without an Ehrlich-Schwoebel barrier (0 eV).

    Scalars: `quality` (J of `film_quality`); `final_intensity` (as a detector sees it after the
    anneal: what has mixed in is lost to the coherent amplitude, a factor `interdiffusion_part`
    squared); `intensity_0p75ML` to `intensity_3ML` (`INTENSITY_DOSES_ML`, a window of 0.2 ML);
    `amplitude_2ML` (sqrt of the one at 2 ML); `roughness_ML`; `coverage_ML` (true); `growth_s`;
    `events`. Arrays: `trace`, nominal dose [ML] and intensity (n, 2); `recovery`, time of the anneal
    [s] and intensity (m, 2), empty without an anneal; neither knows of interdiffusion. Intensities
    are anti-phase specular ones, 1 for the flat substrate. A growth that ends before a dose has
    there its last intensity, where an experiment has none.

    `partial` is told `done` and `intensity` at each monolayer and each quarter of the anneal.
    """

    size: int = Field(default=128, ge=8, le=1024, description="edge length of the lattice [sites]")
    multi_hop: int = Field(default=4, ge=1, le=32, description="hops of a free adatom in one event")
    max_events: int = Field(
        default=16_000_000, gt=0, description="events before a growth is finished coarsely"
    )
    samples_per_ML: int = Field(default=20, ge=4, description="samples of the trace per layer")

    def simulate(
        self,
        x: Mapping[str, float],
        theta: Mapping[str, float],
        seed: int,
        cancel: Callable[[], bool] | None = None,
        partial: Partial | None = None,
    ) -> Prediction:
        """Return scalars and traces of the growth (see the class)."""
        self.check(x, theta)
        self._check_ranges(x)
        run = _Run(self, x, theta, seed, cancel, partial)
        trace = run.grow()
        recovery = run.anneal()
        return run.prediction(trace, recovery)

    def _check_ranges(self, x: Mapping[str, float]) -> None:
        for key in ("flux_ML_per_s", "dose_ML"):
            if not x[key] > 0:
                raise ArgumentError(f"{self.name}.{key}", x[key], "a number > 0")
        if x["anneal_s"] < 0:
            raise ArgumentError(f"{self.name}.anneal_s", x["anneal_s"], "a number >= 0 s")


def intensity_at(trace: NDArray[np.float64], dose_ML: float, *, window_ML: float = 0.2) -> float:
    """Return the mean intensity of a trace in a window around a nominal dose.

    A window, because a detector's noise would dominate a single sample.

    Args:
        trace: nominal dose [ML] and intensity, shape (n, 2).
        dose_ML: middle of the window [ML].
        window_ML: its width [ML].
    """
    near = np.abs(trace[:, 0] - dose_ML) <= 0.5 * window_ML + 1e-9
    if near.any():
        return float(trace[near, 1].mean())
    return float(np.interp(dose_ML, trace[:, 0], trace[:, 1]))


class _Run:
    """One growth under way."""

    def __init__(
        self,
        settings: KMCGrowth,
        x: Mapping[str, float],
        theta: Mapping[str, float],
        seed: int,
        cancel: Callable[[], bool] | None,
        partial: Partial | None,
    ) -> None:
        self.x, self.theta, self.cancel, self.settings = x, theta, cancel, settings
        self.partial = partial
        # numba comes with these: a configuration is read without it
        from twinloop.simulators.growth_budget import GrowthBudget
        from twinloop.simulators.kmc import Film, GrowthParameters

        parameters = GrowthParameters(
            surface_barrier_eV=theta["surface_barrier_eV"],
            bond_energy_eV=theta["bond_energy_eV"],
            step_barrier_eV=theta.get("step_barrier_eV", ABSENT["step_barrier_eV"]),
            multi_hop=settings.multi_hop,
        )
        self.film = Film.flat(size=settings.size, parameters=parameters, seed=seed)
        self.budget = GrowthBudget(max_events=settings.max_events)
        self.temperature_K = x["substrate_K"] + theta["thermocouple_offset_K"]
        self.flux_ML_per_s = x["flux_ML_per_s"] * float(np.exp(theta["log_flux_factor"]))
        self.growth_s = x["dose_ML"] / x["flux_ML_per_s"]
        self.total_s = self.growth_s + x["anneal_s"]

    def grow(self) -> NDArray[np.float64]:
        """Deposit the dose; return the trace."""
        slices = max(1, round(self.x["dose_ML"] * self.settings.samples_per_ML))
        step_s = self.growth_s / slices
        samples = [1.0]
        for n in range(1, slices + 1):
            self._pass(step_s, self.flux_ML_per_s)
            samples.append(antiphase_intensity(self.film.heights))
            if n % self.settings.samples_per_ML == 0:
                self._tell(samples[-1])
        return np.column_stack([np.linspace(0.0, self.x["dose_ML"], slices + 1), samples])

    def anneal(self) -> NDArray[np.float64]:
        """Hold without flux; return the recovery."""
        hold_s = self.x["anneal_s"]
        if hold_s <= 0:
            return np.zeros((0, 2))
        samples = []
        for n in range(1, RECOVERY_SAMPLES + 1):
            self._pass(hold_s / RECOVERY_SAMPLES, 0.0)
            samples.append(antiphase_intensity(self.film.heights))
            if n % (RECOVERY_SAMPLES // 4) == 0:
                self._tell(samples[-1])
        times_s = np.linspace(0.0, hold_s, RECOVERY_SAMPLES + 1)[1:]
        return np.column_stack([times_s, samples])

    def prediction(self, trace: NDArray[np.float64], recovery: NDArray[np.float64]) -> Prediction:
        """Return what was seen, in numbers."""
        heights = self.film.heights
        final = antiphase_intensity(heights)
        second = intensity_at(trace, 2.0)
        # `film_quality` takes the loss by interdiffusion itself: it gets the intensity without.
        quality = film_quality(
            final_intensity=final,
            intensity_2ML=second,
            growth_s=self.growth_s,
            anneal_s=self.x["anneal_s"],
            temperature_K=self.temperature_K,
            coverage_ML=self.film.deposited_ML,
            log_interdiffusion_rate=self.theta.get("log_interdiffusion_rate"),
        )
        scalars = {
            "final_intensity": final * self._interface_left() ** 2,
            **{name: intensity_at(trace, dose) for name, dose in INTENSITY_DOSES_ML.items()},
            "amplitude_2ML": float(np.sqrt(second)),
            "roughness_ML": float(heights.std()),
            "coverage_ML": self.film.deposited_ML,
            "growth_s": self.growth_s,
            "quality": quality,
            "events": float(self.film.events),
        }
        arrays = {"trace": trace, "recovery": recovery}
        return Prediction(scalars, arrays, budget_exceeded=self.budget.is_exceeded)

    def _interface_left(self) -> float:
        """Return what interdiffusion leaves of the coherent amplitude [1]."""
        rate = self.theta.get("log_interdiffusion_rate")
        if rate is None:
            return 1.0
        return interdiffusion_part(
            temperature_K=self.temperature_K,
            time_s=self.total_s,
            log_interdiffusion_rate=rate,
        )

    def _tell(self, intensity: float) -> None:
        """Tell a listener how far the growth is."""
        if self.partial is not None:
            done = min(self.film.time_s / self.total_s, 1.0)
            self.partial({"done": done, "intensity": intensity})

    def _pass(self, duration_s: float, flux_ML_per_s: float) -> None:
        """Let one slice pass within the budget.

        Raises:
            Cancelled: the cancel flag was seen.
        """
        step = self.budget.advance(
            self.film,
            temperature_K=self.temperature_K,
            flux_ML_per_s=flux_ML_per_s,
            duration_s=duration_s,
            remaining_s=max(self.total_s - self.film.time_s, duration_s),
            cancel=self.cancel,
        )
        if step.cancelled:
            raise Cancelled(self.settings.name, self.film.time_s / self.total_s)
