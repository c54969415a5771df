"""When a dead process is started again, and when no more: a decision without clock or process."""

from collections import deque
from dataclasses import dataclass

__all__ = ["GiveUp", "RestartAt", "RestartPolicy"]


@dataclass(frozen=True, slots=True)
class RestartAt:
    """Start it again at this moment.

    Args:
        at_s: on the clock that `died` was told the time by [s].
        wait_s: how long that is from the death [s].
    """

    at_s: float
    wait_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Start it no more."""

    reason: str


class RestartPolicy:
    """Back off from a child that dies often, stop with a reason at one that cannot live.

    Args:
        first_s: wait after a first death [s]; it doubles with each further death.
        longest_s: longest wait [s].
        deaths: so many deaths within `within_s` are the end.
        within_s: the time over which deaths are counted [s].

    Example:
        >>> policy = RestartPolicy(first_s=0.2, deaths=3, within_s=60.0)
        >>> policy.died(0.0), policy.died(1.0)
        (RestartAt(at_s=0.2, wait_s=0.2), RestartAt(at_s=1.4, wait_s=0.4))
        >>> policy.died(2.0)
        GiveUp(reason='3 deaths within 60 s')
    """

    def __init__(
        self,
        first_s: float = 0.2,
        longest_s: float = 5.0,
        deaths: int = 5,
        within_s: float = 60.0,
    ) -> None:
        self.first_s, self.longest_s = first_s, longest_s
        self.deaths, self.within_s = deaths, within_s
        self._times: deque[float] = deque()

    def died(self, now_s: float) -> RestartAt | GiveUp:
        """Note a death and say what follows."""
        self._times.append(now_s)
        while now_s - self._times[0] > self.within_s:
            self._times.popleft()
        n = len(self._times)
        if n >= self.deaths:
            return GiveUp(f"{n} deaths within {self.within_s:g} s")
        wait_s = min(self.longest_s, self.first_s * 2 ** (n - 1))
        return RestartAt(now_s + wait_s, wait_s)
