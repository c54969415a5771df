"""Several beliefs about looks that explain the trials alike, instead of the likeliest one.

A fit to a handful of trials may be sure of a landscape that is smoother than the true one, along one
axis or along all, or of a discrepancy that all films share; and who is sure of that looks no more. So
the scales are drawn from their posterior, and what is asked of the belief is the average over the draws
(Snoek, Larochelle & Adams, NeurIPS 25, 2951 (2012), integrated acquisition).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from twinloop.planners.look_belief import LookBelief, Rows, ScalesPosterior
from twinloop.planners.slice_sampler import elliptical_slices
from twinloop.planners.space import Floats

__all__ = ["AveragedBelief"]

_MEMBERS = 8
_FIRST, _SKIPPED = 120, 24
"""Moves of the chain before the first draw, from the likeliest scales, and between two draws."""


class AveragedBelief:
    """Beliefs about the same trials, each as likely as the next.

    Args:
        members: one or more.
        likeliest: the vector of the fit from which they were drawn, for the memo.
    """

    def __init__(self, members: Sequence[LookBelief], likeliest: Floats) -> None:
        self.members, self.likeliest = tuple(members), likeliest

    @classmethod
    def drawn(
        cls, rows: Rows, values: Floats, start: Mapping[str, Any], rng: np.random.Generator
    ) -> "AveragedBelief":
        """Return beliefs whose scales are drawn from their posterior.

        Args:
            rows: what was measured.
            values: what came of it, shape (r,), of a spread about 1.
            start: what the memo of the last fit gave, or nothing.
            rng: of the draws.

        Raises:
            PlanningFailed: no finite answer.
        """
        likeliest = LookBelief.fitted(rows, values, start).raw
        posterior = ScalesPosterior(rows, values)
        draws = elliptical_slices(
            posterior.log_likelihood, middle=posterior.middle, width=posterior.width,
            start=likeliest, rng=rng, n=_MEMBERS, skipped=_SKIPPED, first=_FIRST,
        )  # fmt: skip
        return cls([posterior.belief(raw) for raw in draws], likeliest)

    def waiting_for(self, pending: Rows) -> "AveragedBelief":
        """Return the beliefs when these are under way."""
        return AveragedBelief([b.waiting_for(pending) for b in self.members], self.likeliest)

    def mean(self, asked: Rows) -> Floats:
        """Return the mean of quantities, shape (r,)."""
        found: Floats = np.mean([b.mean(asked) for b in self.members], axis=0)
        return found

    def variance(self, asked: Rows) -> Floats:
        """Return the variance of quantities, shape (r,), noise left out; that of the means is in it."""
        means = [b.mean(asked) for b in self.members]
        within = np.mean([b.variance(asked) for b in self.members], axis=0)
        found: Floats = within + np.var(means, axis=0)
        return found

    def noise(self, asked: Rows) -> Floats:
        """Return the variance by which a measurement of quantities strays from them, shape (r,)."""
        found: Floats = np.mean([b.noise(asked) for b in self.members], axis=0)
        return found
