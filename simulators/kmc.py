"""A growing film: solid-on-solid kinetic Monte Carlo on a periodic square lattice.

The topmost atom of a site with n lateral neighbours (0 to 4) hops at the rate
k = nu_0 exp(-(E_s + n E_n) / kT), a quarter of it in each direction, onto the neighbouring site
whatever its height. A hop between layers, down or up, has the additional Ehrlich-Schwoebel barrier
E_ES. So the rates obey detailed balance for the energy -E_n times the number of lateral bonds.
Atoms arrive at the flux F per site; with a desorption energy E_d they leave at
nu_0 exp(-(E_d + n E_n) / kT). Without flux the same call is an anneal. A vicinal surface is a
staircase that goes on across the edge of the lattice.

Source: Clarke & Vvedensky, J. Appl. Phys. 63, 2272 (1988), doi:10.1063/1.341041 (the model);
Schwoebel & Shipsey, J. Appl. Phys. 37, 3682 (1966), doi:10.1063/1.1707904 (the step barrier).
Valid for homoepitaxy on a simple cubic (001) surface without overhangs, vacancies or strain.

Example:
    >>> film = Film.flat(size=16, parameters=GrowthParameters(), seed=1)
    >>> step = film.advance(temperature_K=650.0, flux_ML_per_s=1.0, duration_s=0.5)
    >>> step.elapsed_s, film.heights.shape
    (0.5, (16, 16))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators import kmc_kernel

__all__ = [
    "BOLTZMANN_EV_PER_K",
    "Advance",
    "Film",
    "GrowthParameters",
    "square_neighbours",
    "square_rise",
]

BOLTZMANN_EV_PER_K = 8.617333262e-5
"""k_B [eV/K]. Source: CODATA 2018 (exact in the SI of 2019)."""

EVENTS_PER_CALL = 200_000
"""Events in one native call: 0.02 to 0.2 s, after which a cancel flag is looked at."""

MOBILE_FLOOR = -(2**30)
"""A height that no surface reaches: every atom may move."""


@dataclass(frozen=True, slots=True)
class GrowthParameters:
    """What the material does.

    Args:
        surface_barrier_eV: E_s, barrier of a free adatom [eV].
        bond_energy_eV: E_n, more barrier for each lateral neighbour [eV].
        step_barrier_eV: E_ES, more barrier for a hop between layers [eV], >= 0.
        desorption_energy_eV: E_d of a free adatom [eV]; None: nothing desorbs.
        attempt_frequency_per_s: nu_0 [1/s].
        multi_hop: M, up to so many hops of a free adatom in one event, at that fraction of its rate
            (1 to 32); 1 is plain kinetic Monte Carlo. The walk ends where the atom meets a
            neighbour. An atom that becomes free starts with 0 to M - 1 hops at once, which keeps
            the mean time until it meets something at rest. M = 4 lowers the specular intensity
            by 0.02 +- 0.01 at 700 K, M = 8 by 0.03 +- 0.01 (speed/results/kmc.json); in a dense gas (15 % covered), where free
            atoms mostly meet each other, their number is 6 % low for M = 4, 20 % for M = 16.
        funnelling: an arriving atom slides down to a local minimum of the surface.
        inert_substrate: atoms at or below height 0 never move.

    Raises:
        ArgumentError: a value outside its range.
    """

    surface_barrier_eV: float = 1.30
    bond_energy_eV: float = 0.25
    step_barrier_eV: float = 0.05
    desorption_energy_eV: float | None = None
    attempt_frequency_per_s: float = 1.0e13
    multi_hop: int = 1
    funnelling: bool = False
    inert_substrate: bool = False

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not self.step_barrier_eV >= 0:
            raise ArgumentError("step_barrier_eV", self.step_barrier_eV, "a number >= 0 eV")
        if not self.attempt_frequency_per_s > 0:
            raise ArgumentError(
                "attempt_frequency_per_s", self.attempt_frequency_per_s, "a number > 0 1/s"
            )
        if not 1 <= self.multi_hop <= 32:
            raise ArgumentError("multi_hop", self.multi_hop, "a whole number from 1 to 32")

    def hop_rates_per_s(self, temperature_K: float) -> NDArray[np.float64]:
        """Return the rate of a hop in any direction by class, shape (N_CLASSES,) [1/s]."""
        return self._rates(self.surface_barrier_eV, temperature_K)

    def desorption_rates_per_s(self, temperature_K: float) -> NDArray[np.float64]:
        """Return the rate of desorption by class, shape (N_CLASSES,) [1/s]."""
        if self.desorption_energy_eV is None:
            return np.zeros(kmc_kernel.N_CLASSES)
        return self._rates(self.desorption_energy_eV, temperature_K)

    def step_factor(self, temperature_K: float) -> float:
        """Return exp(-E_ES / kT), the chance that a hop between layers is not refused [1]."""
        return float(np.exp(-self.step_barrier_eV / (BOLTZMANN_EV_PER_K * temperature_K)))

    def _rates(self, barrier_eV: float, temperature_K: float) -> NDArray[np.float64]:
        rates = np.zeros(kmc_kernel.N_CLASSES)
        energies_eV = barrier_eV + np.arange(5) * self.bond_energy_eV
        rates[:5] = self.attempt_frequency_per_s * np.exp(
            -energies_eV / (BOLTZMANN_EV_PER_K * temperature_K)
        )
        return rates


@dataclass(frozen=True, slots=True)
class Advance:
    """What one call of `Film.advance` did.

    Args:
        elapsed_s: time that passed on the film [s]; less than asked if cancelled or out of budget.
        events: events that were run, refused crossings of a step included.
        deposited_ML: atoms that arrived, per site [ML].
        budget_exceeded: the events were spent before the time was over.
        cancelled: the cancel flag was seen.
    """

    elapsed_s: float
    events: int
    deposited_ML: float
    budget_exceeded: bool = False
    cancelled: bool = False


@cache
def square_neighbours(size: int) -> NDArray[np.int32]:
    """Return the four neighbours of each site of a periodic square lattice.

    Args:
        size: edge length L [sites].

    Returns:
        Site numbers row * L + column, shape (L * L, 4), read-only: north, south, west, east.
    """
    sites = np.arange(size * size, dtype=np.int32).reshape(size, size)
    shifted = [np.roll(sites, shift, axis) for axis in (0, 1) for shift in (1, -1)]
    table = np.ascontiguousarray(np.stack([s.ravel() for s in shifted], axis=1))
    table.flags.writeable = False
    return table


@cache
def square_rise(size: int, steps: int) -> NDArray[np.int8]:
    """Return what a neighbour across the edge of the lattice stands higher [ML].

    The staircase ascends along the second axis: to the east of the last column stands the first one,
    raised by all steps of one lattice.

    Args:
        size: edge length L [sites].
        steps: monolayer steps in L sites.

    Returns:
        Shape (L * L, 4), read-only, in the order of `square_neighbours`.
    """
    rise = np.zeros((size, size, 4), dtype=np.int8)
    rise[:, 0, 2], rise[:, -1, 3] = -steps, steps
    flat = np.ascontiguousarray(rise.reshape(size * size, 4))
    flat.flags.writeable = False
    return flat


class Film:
    """A surface with its own clock and its own random numbers.

    Two films with the same seed and the same calls are equal to the last bit, whatever other
    threads do. Make one with `Film.flat` or `Film.restore`.

    Args:
        heights: height of each site, shape (L, L) [ML].
        parameters: what the material does.
        seed: of the film's own random numbers.
        steps: monolayer steps of a vicinal surface in one lattice: the staircase goes on beyond the
            last column of `heights` (see `Film.vicinal`); 0: periodic.

    Raises:
        ArgumentError: a surface that is not square or smaller than 3 x 3 sites, steps outside 0 to
            L / 3, or a vicinal surface with an inert substrate.
    """

    def __init__(
        self,
        heights: NDArray[np.integer],
        *,
        parameters: GrowthParameters,
        seed: int,
        steps: int = 0,
    ) -> None:
        if heights.ndim != 2 or heights.shape[0] != heights.shape[1] or heights.shape[0] < 3:
            raise ArgumentError("heights", heights.shape, "the shape (L, L) with L >= 3")
        if not 0 <= steps <= min(heights.shape[0] // 3, 127):
            raise ArgumentError("steps", steps, "0 to a third of the lattice's edge, 127 at most")
        if steps and parameters.inert_substrate:
            # an inert substrate is told by its height, which a staircase does not have
            raise ArgumentError("steps", steps, "0 with an inert substrate")
        self.parameters, self.steps = parameters, steps
        self._size = heights.shape[0]
        self._rise = square_rise(self._size, steps) if steps else None
        n_sites = heights.size
        self._heights = heights.astype(np.int32).ravel()
        self._neighbours = square_neighbours(self._size)
        self._classes = np.zeros(n_sites, dtype=np.int8)
        self._members = np.zeros((kmc_kernel.N_CLASSES, n_sites), dtype=np.int32)
        self._places = np.zeros(n_sites, dtype=np.int32)
        self._counts = np.zeros(kmc_kernel.N_CLASSES, dtype=np.int64)
        self._random = np.zeros(4, dtype=np.uint64)
        self._tally = np.zeros(kmc_kernel.N_TALLIES, dtype=np.int64)
        self._time_s = 0.0
        kmc_kernel.seed_random(np.uint64(seed % 2**64), self._random)
        kmc_kernel.fill_lists(
            self._heights, self._neighbours, self._rise, self._floor, self._classes, self._members,
            self._places, self._counts,
        )  # fmt: skip

    @classmethod
    def flat(cls, *, size: int, parameters: GrowthParameters, seed: int) -> Self:
        """Return a fresh substrate: `size` x `size` sites of height 0."""
        return cls(np.zeros((size, size), dtype=np.int32), parameters=parameters, seed=seed)

    @classmethod
    def vicinal(cls, *, size: int, steps: int, parameters: GrowthParameters, seed: int) -> Self:
        """Return a fresh staircase: terraces of `size` / `steps` columns, ascending to the east.

        Args:
            size: edge length L [sites].
            steps: monolayer steps in L sites; the miscut is atan(steps c / (L a)).
            parameters: what the material does.
            seed: of the film's own random numbers.
        """
        levels = (np.arange(size) * steps) // size
        heights = np.broadcast_to(levels.astype(np.int32), (size, size))
        return cls(heights, parameters=parameters, seed=seed, steps=steps)

    @property
    def size(self) -> int:
        """Edge length L [sites]."""
        return int(self._size)

    @property
    def heights(self) -> NDArray[np.int32]:
        """A copy of the height of each site, shape (L, L) [ML]."""
        return self._heights.reshape(self._size, self._size).copy()

    @property
    def time_s(self) -> float:
        """Time that has passed on the film [s]."""
        return self._time_s

    @property
    def deposited_ML(self) -> float:
        """Atoms that arrived so far, per site [ML]."""
        return float(self._tally[kmc_kernel.DEPOSITED]) / self._heights.size

    @property
    def desorbed_ML(self) -> float:
        """Atoms that left so far, per site [ML]."""
        return float(self._tally[kmc_kernel.DESORBED]) / self._heights.size

    @property
    def coverage_ML(self) -> float:
        """Atoms that came and stayed, per site [ML]."""
        return self.deposited_ML - self.desorbed_ML

    @property
    def events(self) -> int:
        """Events so far: arrivals, hops (refused ones too), desorptions."""
        return int(self._tally[kmc_kernel.DEPOSITED] + self._tally[kmc_kernel.THERMAL])

    @property
    def class_counts(self) -> NDArray[np.int64]:
        """How many topmost atoms have 0, 1, 2, 3, 4 lateral neighbours, and inert sites, (6,)."""
        return self._counts.copy()

    def thermal_events_per_s(self, temperature_K: float, *, multi_hop: int | None = None) -> float:
        """Return the rate of hops and desorptions of this surface now [1/s]."""
        rates = self.parameters.hop_rates_per_s(temperature_K)
        rates[0] /= self.parameters.multi_hop if multi_hop is None else multi_hop
        rates += self.parameters.desorption_rates_per_s(temperature_K)
        return float(self._counts @ rates)

    def advance(
        self,
        *,
        temperature_K: float,
        flux_ML_per_s: float,
        duration_s: float,
        max_events: int | None = None,
        cancel: Callable[[], bool] | None = None,
        multi_hop: int | None = None,
        slowdown: float = 1.0,
    ) -> Advance:
        """Let time pass at a constant temperature and flux; a flux of 0 is an anneal.

        Args:
            temperature_K: true temperature of the surface [K], > 0.
            flux_ML_per_s: arriving atoms per site [ML/s], >= 0.
            duration_s: [s], >= 0.
            max_events: stop after so many events; None: no limit.
            cancel: looked at every `EVENTS_PER_CALL` events; True stops.
            multi_hop: instead of the parameters' own, for this call.
            slowdown: divides every thermal rate, >= 1 [1]; infinity only deposits. For the bounded
                end of a growth that has spent its budget (see `growth_budget`), never for physics.

        Raises:
            ArgumentError: a value outside its range.
        """
        self._check(temperature_K, flux_ML_per_s, duration_s, slowdown)
        hops = self.parameters.multi_hop if multi_hop is None else multi_hop
        if not 1 <= hops <= 32:
            raise ArgumentError("multi_hop", hops, "a whole number from 1 to 32")
        hop_rates = self.parameters.hop_rates_per_s(temperature_K) / slowdown
        desorption_rates = self.parameters.desorption_rates_per_s(temperature_K) / slowdown
        step_factor = self.parameters.step_factor(temperature_K)
        before = int(self._tally[kmc_kernel.DEPOSITED])
        elapsed_s, events = 0.0, 0
        cancelled = exceeded = False
        while elapsed_s < duration_s:
            allowed = EVENTS_PER_CALL if max_events is None else max_events - events
            if allowed <= 0:
                exceeded = True
                break
            if cancel is not None and cancel():
                cancelled = True
                break
            left_s = duration_s - elapsed_s
            step_s, done = kmc_kernel.run_events(
                self._heights, self._neighbours, self._rise, self._floor, self._classes, self._members,
                self._places, self._counts, self._random, self._tally, hop_rates,
                desorption_rates, step_factor, float(flux_ML_per_s * self._heights.size), int(hops),
                self.parameters.funnelling, float(left_s), int(min(allowed, EVENTS_PER_CALL)),
            )  # fmt: skip
            events += done
            # The kernel answers exactly `left_s` where it reached the end.
            elapsed_s = duration_s if step_s == left_s else elapsed_s + step_s
        self._time_s += elapsed_s
        arrived = int(self._tally[kmc_kernel.DEPOSITED]) - before
        return Advance(elapsed_s, events, arrived / self._heights.size, exceeded, cancelled)

    def snapshot(self) -> dict[str, NDArray[np.generic]]:
        """Return the whole state as plain arrays: `Film.restore` goes on bit for bit.

        Returns:
            heights int32 (L, L) [ML]; members int32 (L * L,), the lists one after another; counts
            int64 (6,); random uint64 (4,); tally int64 (3,); time_s float64 (1,).
        """
        lists = [self._members[c, : self._counts[c]] for c in range(kmc_kernel.N_CLASSES)]
        return {
            "heights": self.heights,
            "members": np.concatenate(lists),
            "counts": self._counts.copy(),
            "random": self._random.copy(),
            "tally": self._tally.copy(),
            "time_s": np.array([self._time_s]),
        }

    @classmethod
    def restore(
        cls,
        snapshot: Mapping[str, NDArray[np.generic]],
        *,
        parameters: GrowthParameters,
        steps: int = 0,
    ) -> Self:
        """Return the film of a snapshot.

        Args:
            snapshot: what `snapshot` returned.
            parameters: what the material does; not part of the snapshot.
            steps: of the vicinal surface; not part of the snapshot.

        Raises:
            ArgumentError: lists that do not fit the heights (another `inert_substrate`, or a
                damaged snapshot).
        """
        heights = np.asarray(snapshot["heights"], np.int32)
        film = cls(heights, parameters=parameters, seed=0, steps=steps)
        counts = np.asarray(snapshot["counts"], np.int64)
        members = np.asarray(snapshot["members"], np.int32)
        own = film._members
        if not np.array_equal(counts, film._counts) or members.size != film._heights.size:
            raise ArgumentError("snapshot", counts.tolist(), f"counts {film._counts.tolist()}")
        start = 0
        for c, count in enumerate(counts.tolist()):
            block = members[start : start + count]
            if not np.array_equal(np.sort(block), own[c, :count]):
                raise ArgumentError("snapshot", f"list of class {c}", "the sites of that class")
            own[c, :count] = block
            film._places[block] = np.arange(count, dtype=np.int32)
            start += count
        film._random[:] = np.asarray(snapshot["random"], np.uint64)
        film._tally[:] = np.asarray(snapshot["tally"], np.int64)
        film._time_s = float(np.asarray(snapshot["time_s"], np.float64)[0])
        return film

    @property
    def _floor(self) -> int:
        return 0 if self.parameters.inert_substrate else MOBILE_FLOOR

    @staticmethod
    def _check(
        temperature_K: float, flux_ML_per_s: float, duration_s: float, slowdown: float
    ) -> None:
        if not 0 < temperature_K < np.inf:
            raise ArgumentError("temperature_K", temperature_K, "a finite number > 0 K")
        if not 0 <= flux_ML_per_s < np.inf:
            raise ArgumentError("flux_ML_per_s", flux_ML_per_s, "a finite number >= 0 ML/s")
        if not 0 <= duration_s < np.inf:
            raise ArgumentError("duration_s", duration_s, "a finite number >= 0 s")
        if not slowdown >= 1:
            raise ArgumentError("slowdown", slowdown, "a number >= 1")
