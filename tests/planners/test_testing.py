import numpy as np
import pytest

from twinloop.errors import BadProposal
from twinloop.planners.interface import Planner, Proposal
from twinloop.planners.testing import CHECKS, ConformanceFailed, check_planner

COUNTER = {"asked": 0}


class Forgetful(Planner, name="forgetful"):
    def propose(self, known):
        COUNTER["asked"] += 1
        return Proposal(x=np.full(known.d, 1.0 / (1 + COUNTER["asked"])))


class Remembering(Planner, name="remembering"):
    def propose(self, known):
        # The memory of an instance: the same known twice differs, and fresh differs from warm.
        seen = self.__dict__.setdefault("seen", [])
        seen.append(known.n)
        return Proposal(x=np.full(known.d, 1.0 / (1 + len(seen))))


class Scribbling(Planner, name="scribbling"):
    def propose(self, known):
        x = known.x.mean(axis=0) if known.n else np.full(known.d, 0.5)
        known.y[:] = 0.0
        return Proposal(x=x)


class Entropic(Planner, name="entropic"):
    def propose(self, known):
        return Proposal(x=np.random.default_rng().random(known.d))


class Helpless(Planner, name="helpless"):
    def propose(self, known):
        return Proposal(x=np.full(known.d, np.nan))


class Straying(Planner, name="straying"):
    def propose(self, known):
        return Proposal(x=np.full(known.d, 1.5))


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        (Forgetful, "the same known twice"),
        (Remembering, "the same known twice"),
        (Scribbling, "known"),
        (Entropic, "the same known twice"),
        (Helpless, "rung"),
    ],
)
def test_a_broken_planner_is_caught_by_the_rule_it_breaks(broken, rule):
    with pytest.raises(ConformanceFailed) as caught:
        check_planner(broken)
    assert caught.value.rule == rule
    assert caught.value.planner == broken.name


def test_a_point_outside_the_cube_is_caught():
    with pytest.raises(BadProposal, match="straying"):
        check_planner(Straying)


def test_a_trace_of_earlier_calls_is_caught_by_itself():
    fresh_equals_warm = next(c for c in CHECKS if c.__name__ == "check_fresh_equals_warm")
    with pytest.raises(ConformanceFailed, match="a fresh one and a warm one"):
        fresh_equals_warm(Remembering)


def test_every_check_of_the_module_is_run():
    from twinloop.planners import testing

    written = {getattr(testing, name) for name in dir(testing) if name.startswith("check_")}
    assert written - {check_planner} == set(CHECKS)
