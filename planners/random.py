"""Blind chance: the baseline whose expected cost is known exactly."""

import numpy as np

from twinloop.planners.interface import Known, Planner, Proposal

__all__ = ["RandomPlanner"]


class RandomPlanner(Planner, name="random"):
    """Propose points drawn evenly from the unit cube; no result changes them.

    Example:
        >>> planner = RandomPlanner()
        >>> known = Known.of({"anneal_s": (0, 120)})
        >>> planner.ask(known) == planner.ask(known)
        True
    """

    def initial(self, known: Known) -> Proposal:
        """Answer at once: no worker is needed."""
        return self.propose(known)

    def propose(self, known: Known) -> Proposal:
        """Return a point that depends on the seed of this proposal alone."""
        return Proposal(x=np.random.default_rng(known.seed).random(known.d))
