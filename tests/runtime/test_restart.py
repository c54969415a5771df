"""When a dead child is started again, and when no more."""

from hypothesis import given
from hypothesis import strategies as st

from twinloop.agents.runtime.restart import GiveUp, RestartAt, RestartPolicy


def test_the_wait_doubles_up_to_its_limit() -> None:
    policy = RestartPolicy(first_s=0.2, longest_s=1.0, deaths=10, within_s=60.0)
    waits = [policy.died(float(n)) for n in range(5)]
    assert [w.wait_s for w in waits if isinstance(w, RestartAt)] == [0.2, 0.4, 0.8, 1.0, 1.0]
    assert waits[2] == RestartAt(2.8, 0.8)


def test_five_deaths_within_a_minute_are_the_end_and_say_so() -> None:
    policy = RestartPolicy()
    assert not any(isinstance(policy.died(10.0 * n), GiveUp) for n in range(4))
    verdict = policy.died(59.9)
    assert verdict == GiveUp("5 deaths within 60 s")


def test_deaths_that_are_long_ago_do_not_count() -> None:
    policy = RestartPolicy()
    for n in range(4):
        policy.died(float(n))
    assert policy.died(61.5) == RestartAt(61.5 + 0.8, 0.8)


@given(st.lists(st.floats(0.0, 30.0), min_size=1, max_size=60))
def test_no_child_is_started_more_than_five_times_a_minute(gaps: list[float]) -> None:
    policy, now_s, starts = RestartPolicy(), 0.0, []
    for gap_s in gaps:
        now_s += gap_s
        verdict = policy.died(now_s)
        if isinstance(verdict, GiveUp):
            break
        assert verdict.at_s >= now_s
        now_s = verdict.at_s
        starts.append(now_s)
    # a start follows a death by 5 s at most, so four deaths a minute are five starts at most
    for first in starts:
        assert sum(first <= start < first + 55.0 for start in starts) <= 5
