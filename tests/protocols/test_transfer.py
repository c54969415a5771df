"""A sample moves in two steps, each with an identity of its own in the journal."""

from twinloop.agents.campaign.stepper import Stepper, StepRecord
from twinloop.instruments.mbe import MBE
from twinloop.instruments.stm import STM
from twinloop.protocols.interface import Outcome, Point, Trial, protocol
from twinloop.protocols.transfer import move


class Where(Point):
    a_K: float = 0.0


class There(Outcome):
    is_there: bool


@protocol(version=1)
async def bring(trial: Trial[Where], mbe: MBE, stm: STM) -> There:
    """Move a sample and nothing else."""
    await move(mbe, stm)
    return There(is_there=True)


def answer(request, at_s):
    step = request.step
    return StepRecord(request.path, request.digest, step.name, "done", None, (), "", at_s)


def trial():
    return Trial(id="t1", point=Where(), sample="s1", seed=3)


def test_it_is_given_before_it_is_taken():
    stepper, seen = Stepper(bring, trial()), []
    while stepper.progress().waiting:
        (request,) = stepper.progress().waiting
        seen.append((request.path, request.step.name))
        stepper.feed(answer(request, float(len(seen))))
    assert seen == [("0", "mbe.give"), ("1", "stm.take")]
    assert stepper.progress().outcome == There(is_there=True)


def test_after_a_crash_between_the_two_only_the_second_is_asked_for():
    first = Stepper(bring, trial())
    given = answer(first.progress().waiting[0], 1.0)
    again = Stepper(bring, trial())
    again.feed(given)
    assert [r.step.name for r in again.progress().waiting] == ["stm.take"]
