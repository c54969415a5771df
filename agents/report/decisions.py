"""What the planner said of theory, decision by decision, in the order it thought.

A decision is one answer of the planner: an experiment, a batch of simulations, or both at once. Its
place on the axis of the figures is the number of experiments it knew, and between two experiments a
part of one for each further decision: what changes there, simulations alone have changed.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from twinloop.agents.campaign.events import Proposed, SimulationsProposed
from twinloop.agents.report.history import History

__all__ = [
    "Decision",
    "Theta",
    "carried",
    "decisions",
    "figure_of",
    "has_theory",
    "off_since",
    "scores",
]

_THEORY, _PLAIN = "theory", "plain"


@dataclass(frozen=True, slots=True)
class Theta:
    """The belief about the parameters of theory at a decision, each tuple in the order of `names`."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    prior_mean: tuple[float, ...]
    prior_sd: tuple[float, ...]

    def width(self) -> float:
        """Return the posterior's standard deviation as a part of the prior's, geometric mean."""
        shares = [max(sd / prior, 1e-12) for sd, prior in zip(self.sd, self.prior_sd, strict=True)]
        return math.exp(sum(map(math.log, shares)) / len(shares))


@dataclass(frozen=True, slots=True)
class Decision:
    """One answer of the planner.

    Args:
        event: the proposal, or the batch where no experiment was proposed with it.
        seq: its number in the journal.
        n_known: experiments it knew.
        at: place on the axis, `n_known` to below `n_known + 1`.
        theta: the belief about the parameters; None where it says none, or that of a decision before.
    """

    event: Proposed | SimulationsProposed
    seq: int
    n_known: int
    at: float
    theta: Theta | None

    def figure(self, name: str) -> float | None:
        """Return a figure of the choice; None where it is not said, or no finite number."""
        return figure_of(self.event.why, name)


def has_theory(history: History) -> bool:
    """Return True where theory had a part in the campaign."""
    return bool(history.batches) or any(
        "theory_weight" in event.why for event in history.proposed.values()
    )


def decisions(history: History) -> list[Decision]:
    """Return the decisions, in the order of what they knew."""
    found = []
    for event in _events(history):
        seq = history.seqs.get(event.log_key() or "", event.basis)
        theta = _theta(event.memo.get("calibration"))
        found.append(Decision(event, seq, history.n_observed_at(event.basis), 0.0, theta))
    found.sort(key=lambda d: (d.event.basis, d.seq))
    in_all = Counter(decision.n_known for decision in found)
    so_far: Counter[int] = Counter()
    placed: list[Decision] = []
    last: Theta | None = None
    for decision in found:
        n = decision.n_known
        at = n + so_far[n] / in_all[n]
        so_far[n] += 1
        # a memo that was only handed on says nothing new
        theta = None if decision.theta == last else decision.theta
        last = decision.theta or last
        placed.append(replace(decision, at=at, theta=theta))
    return placed


def off_since(history: History) -> int | None:
    """Return after how many experiments theory was switched off; None while it is on."""
    since = None
    for decision in decisions(history):
        weight = decision.figure("theory_weight")
        if weight is not None:
            since = None if weight > 0 else decision.n_known if since is None else since
    return since


def carried(history: History) -> tuple[int, int]:
    """Return how many of the experiments that were begun theory chose, and how many had a chooser."""
    begun = [trial.proposed for trial in history.trials.values() if trial.proposed is not None]
    experts = [proposed.why.get("expert") for proposed in begun]
    return experts.count(_THEORY), sum(expert in {_THEORY, _PLAIN} for expert in experts)


def scores(history: History) -> list[tuple[float | None, float | None]]:
    """Return the log scores of theory and of no theory, one pair for each observation scored so far.

    A memo holds the latest of them, and how many there were.
    """
    pairs: dict[int, tuple[float | None, float | None]] = {}
    for decision in decisions(history):
        for name in ("scores", "guard"):
            body = decision.event.memo.get(name)
            if isinstance(body, Mapping):
                sides = [_optional(body.get(side)) for side in (_THEORY, _PLAIN)]
                found = list(zip(*sides, strict=False))
                scored = body.get("scored", len(found))
                first = max(scored - len(found), 0) if isinstance(scored, int) else 0
                pairs |= dict(enumerate(found, first))
                break
    return [pairs.get(n, (None, None)) for n in range(max(pairs, default=-1) + 1)]


def figure_of(why: Mapping[str, float | str], name: str) -> float | None:
    """Return a figure of a choice; None where it is not said, or no finite number."""
    value = why.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _events(history: History) -> list[Proposed | SimulationsProposed]:
    """Return proposals and batches that tell of theory; a batch beside its proposal is the same."""
    asked = {(event.number, event.basis) for event in history.proposed.values()}
    batches = [
        event
        for event in history.batches.values()
        if event.holds is not None or (event.proposal, event.basis) not in asked
    ]
    every: list[Proposed | SimulationsProposed] = [*history.proposed.values(), *batches]
    return [
        event
        for event in every
        # a batch of the first design rests on no thought yet
        if "theory_weight" in event.why or "calibration" in event.memo
    ]


def _theta(body: Any) -> Theta | None:
    if not isinstance(body, Mapping) or not isinstance(body.get("names"), Sequence):
        return None
    names = tuple(str(name) for name in body["names"])
    rows = [_numbers(body.get(part)) for part in ("mean", "sd", "prior_mean", "prior_sd")]
    fits = all(row is not None and len(row) == len(names) for row in rows)
    if not names or not fits:
        return None
    mean, sd, prior_mean, prior_sd = (row or () for row in rows)
    if min(sd) < 0 or min(prior_sd) <= 0:
        return None
    return Theta(names, mean, sd, prior_mean, prior_sd)


def _numbers(found: Any) -> tuple[float, ...] | None:
    if not isinstance(found, Sequence) or isinstance(found, str):
        return None
    is_whole = all(isinstance(v, int | float) and math.isfinite(v) for v in found)
    return tuple(float(v) for v in found) if is_whole else None


def _optional(found: Any) -> list[float | None]:
    items = found if isinstance(found, Sequence) and not isinstance(found, str) else ()
    return [float(v) if isinstance(v, int | float) else None for v in items]
