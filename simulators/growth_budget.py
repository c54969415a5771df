"""A bound on what a growth may cost, and what happens when it is reached.

The events of a growth rise 3.3-fold per 50 K, without bound. A growth gets a number of events.
Below it the film is what `Film.advance` makes of it. Above it the growth is finished coarsely, and
says so: free adatoms take up to 32 hops an event, and every thermal rate is divided by the factor
that fits the rest of the growth into half the budget. Lowering diffusion against the flux changes
the film (the final intensity falls, 0.994 to 0.889 in one trial), so such a film is a hint, not a
prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from twinloop.errors import ArgumentError
from twinloop.simulators.kmc import Advance, Film

__all__ = ["GrowthBudget"]

COARSE_MULTI_HOP = 32
RESERVE = 0.5
"""Events of the coarse end, as a part of the budget."""


@dataclass(slots=True)
class GrowthBudget:
    """The events of one growth, its anneal included.

    At most 1.5 x `max_events` events are run, and the arrivals. The state is two numbers, so a
    growth in the middle can be stored.

    Args:
        max_events: events before the growth turns coarse, > 0.
        spent: events so far.

    Raises:
        ArgumentError: `max_events` is not positive.

    Example:
        >>> from twinloop.simulators.kmc import GrowthParameters
        >>> film = Film.flat(size=16, parameters=GrowthParameters(), seed=1)
        >>> budget = GrowthBudget(max_events=1000)
        >>> step = budget.advance(
        ...     film, temperature_K=750.0, flux_ML_per_s=1.0, duration_s=1.0, remaining_s=1.0
        ... )
        >>> step.elapsed_s, step.budget_exceeded
        (1.0, True)
    """

    max_events: int
    spent: int = 0

    def __post_init__(self) -> None:
        """Check the budget."""
        if self.max_events <= 0:
            raise ArgumentError("max_events", self.max_events, "a whole number > 0")

    @property
    def is_exceeded(self) -> bool:
        """True from the moment the growth turned coarse."""
        return self.spent >= self.max_events

    def advance(
        self,
        film: Film,
        *,
        temperature_K: float,
        flux_ML_per_s: float,
        duration_s: float,
        remaining_s: float,
        cancel: Callable[[], bool] | None = None,
    ) -> Advance:
        """Let one slice of the growth pass, whatever it takes, within the budget.

        Args:
            film: changed in place.
            temperature_K: true temperature of the surface [K].
            flux_ML_per_s: [ML/s]; 0 in the anneal.
            duration_s: of this slice [s].
            remaining_s: to the end of the growth and its anneal, this slice included [s].
            cancel: True stops within one native call.

        Returns:
            The sum of what was done; `budget_exceeded` means that a part of it was coarse.
        """
        fine = Advance(0.0, 0, 0.0)
        if not self.is_exceeded:
            fine = film.advance(
                temperature_K=temperature_K,
                flux_ML_per_s=flux_ML_per_s,
                duration_s=duration_s,
                max_events=self.max_events - self.spent,
                cancel=cancel,
            )
            self.spent += fine.events
            if fine.cancelled or not fine.budget_exceeded:
                return fine
        left_s = duration_s - fine.elapsed_s
        if left_s <= 0:
            return fine
        coarse = self._coarse(
            film,
            temperature_K,
            flux_ML_per_s,
            left_s,
            max(remaining_s - fine.elapsed_s, left_s),
            cancel,
        )
        return Advance(
            duration_s if not coarse.cancelled else fine.elapsed_s + coarse.elapsed_s,
            fine.events + coarse.events,
            fine.deposited_ML + coarse.deposited_ML,
            budget_exceeded=True,
            cancelled=coarse.cancelled,
        )

    def _coarse(
        self,
        film: Film,
        temperature_K: float,
        flux_ML_per_s: float,
        duration_s: float,
        remaining_s: float,
        cancel: Callable[[], bool] | None,
    ) -> Advance:
        """Finish a slice with long walks and slowed rates, then with arrivals alone."""
        reserve = self.max_events * (1.0 + RESERVE) - self.spent
        share = max(0.0, reserve) * duration_s / remaining_s
        expected = (
            film.thermal_events_per_s(temperature_K, multi_hop=COARSE_MULTI_HOP) * remaining_s
        )
        slow = film.advance(
            temperature_K=temperature_K,
            flux_ML_per_s=flux_ML_per_s,
            duration_s=duration_s,
            max_events=int(share),
            cancel=cancel,
            multi_hop=COARSE_MULTI_HOP,
            slowdown=max(1.0, 2.0 * expected / max(reserve, 1.0)),
        )
        self.spent += slow.events
        if slow.cancelled or not slow.budget_exceeded:
            return slow
        rest = film.advance(
            temperature_K=temperature_K,
            flux_ML_per_s=flux_ML_per_s,
            duration_s=duration_s - slow.elapsed_s,
            cancel=cancel,
            slowdown=float("inf"),
        )
        return Advance(
            slow.elapsed_s + rest.elapsed_s,
            slow.events + rest.events,
            slow.deposited_ML + rest.deposited_ML,
            budget_exceeded=True,
            cancelled=rest.cancelled,
        )
