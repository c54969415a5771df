"""What has been told by hand: the memory behind ask and tell without a campaign."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from twinloop.errors import ArgumentError
from twinloop.planners.known import Known, Proposal
from twinloop.planners.space import Floats, Space

__all__ = ["Notebook"]


class Notebook:
    """Points asked for and results told, in order; not thread-safe, and gone with the process.

    Args:
        space: the physical search space.
        seed: of the whole search.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self.space, self.seed = space, seed
        self._asked = 0
        self._memo: Mapping[str, Any] = {}
        self._pending: list[tuple[dict[str, float], Floats]] = []
        self._x: list[Floats] = []
        self._rows: list[tuple[float, float]] = []
        self._slack: list[tuple[tuple[float, ...], tuple[float, ...]]] = []

    def known(self) -> Known:
        """Return all that has been told and what is still under way."""
        d, n = self.space.d, len(self._x)
        y = np.array(self._rows).reshape(n, 2)
        k = len(self._slack[0][0]) if self._slack else 0
        return Known.of(
            self.space,
            np.array(self._x).reshape(n, d),
            y[:, :1],
            y_sd=y[:, 1:],
            slack=np.array([s for s, _ in self._slack]).reshape(n, k),
            slack_sd=np.array([sd for _, sd in self._slack]).reshape(n, k),
            pending=np.array([x for _, x in self._pending]).reshape(len(self._pending), d),
            basis=n,
            proposal=self._asked,
            campaign_seed=self.seed,
            memo=self._memo,
        )

    def ask(self, planner: Callable[[Known], Proposal]) -> dict[str, float]:
        """Return the point that `planner` proposes, in physical values, and count it as pending."""
        proposal = planner(self.known())
        point = self.space.to_point(proposal.x)
        self._asked += 1
        self._memo = proposal.memo
        self._pending.append((point, proposal.x))
        return dict(point)

    def tell(
        self,
        point: Mapping[str, float],
        y: float,
        y_sd: float,
        slack: Sequence[float],
        slack_sd: Sequence[float],
    ) -> None:
        """Add the result at a point, one that was asked for or any other."""
        if not (np.isfinite(y) and np.isfinite(y_sd) and y_sd >= 0):
            raise ArgumentError("y, y_sd", (y, y_sd), "finite numbers, y_sd >= 0")
        if self._slack and len(slack) != len(self._slack[0][0]):
            raise ArgumentError(
                "slack", tuple(slack), f"{len(self._slack[0][0])} values, as told before"
            )
        spread = tuple(slack_sd) or (0.0,) * len(slack)
        if len(spread) != len(slack):
            raise ArgumentError("slack_sd", tuple(slack_sd), f"{len(slack)} values, or none")
        self._x.append(self._place(point))
        self._rows.append((float(y), float(y_sd)))
        self._slack.append((tuple(slack), spread))

    def _place(self, point: Mapping[str, float]) -> Floats:
        """Return where `point` lies; exactly what was proposed, where it was proposed."""
        for index, (asked, x) in enumerate(self._pending):
            if asked == point:
                del self._pending[index]
                return x
        return self.space.to_cube(point)
