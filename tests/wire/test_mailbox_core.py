"""What a mailbox decides, without a network."""

from twinloop.messages import (
    Beat,
    Presence,
    Refused,
    Replaced,
    TaskPartial,
    Undeliverable,
    Welcome,
)
from twinloop.wire.effects import Exit, Send
from twinloop.wire.mailbox_core import (
    EXIT_REFUSED,
    EXIT_REPLACED,
    Deliver,
    MailboxCore,
)

WELCOME = Welcome(wire=1, hub="h1", beat_s=1.0, max_bytes=65536)
WORK = TaskPartial(task="t", n=0)


def registered(now_s=0.0, **options):
    core = MailboxCore("planner", "worker", "a1", **options)
    core.start(now_s)
    core.receive("hub", WELCOME, now_s)
    return core


def kinds(effects):
    return [e.message.kind for e in effects if isinstance(e, Send)]


def run_to(core, end_s):
    """Tick whenever the core wants it; return what it said, with the times."""
    said = []
    while core.wake_at_s is not None and core.wake_at_s <= end_s:
        now_s = core.wake_at_s
        said += [(round(now_s, 6), e) for e in core.tick(now_s)]
    return said


def test_hello_tells_who_it_is():
    core = MailboxCore("planner", "worker", "a1", {"gpus": 1}, watch=True)
    (send,) = core.start(0.0)
    assert send.to == "hub"
    hello = send.message
    assert (hello.name, hello.role, hello.incarnation, hello.about, hello.watch) == (
        "planner",
        "worker",
        "a1",
        {"gpus": 1},
        True,
    )
    assert not core.is_registered


def test_hello_is_repeated_with_doubling_pauses_up_to_two_seconds():
    core = MailboxCore("planner", "worker", "a1")
    core.start(0.0)
    times = [at for at, e in run_to(core, 10.0)]
    assert times == [0.1, 0.3, 0.7, 1.5, 3.1, 5.1, 7.1, 9.1]


def test_welcome_registers_and_reaches_the_agent_once():
    core = MailboxCore("planner", "worker", "a1")
    core.start(0.0)
    assert core.receive("hub", WELCOME, 0.1) == [Deliver("hub", WELCOME)]
    assert core.is_registered
    assert core.receive("hub", WELCOME, 0.2) == []


def test_it_beats_once_a_second_while_the_hub_answers():
    core = registered()
    beats = []
    for second in range(1, 6):
        beats += [e.message.n for _, e in run_to(core, second)]
        core.receive("hub", Beat(n=second), float(second))
    assert beats == [1, 2, 3, 4, 5]
    assert core.is_registered


def test_a_silent_hub_is_noticed_after_three_beats_and_dialled_again():
    core = registered()
    said = run_to(core, 3.0)
    assert [(at, e.message.kind) for at, e in said] == [
        (1.0, "beat"),
        (2.0, "beat"),
        (3.0, "hello"),
    ]
    assert not core.is_registered
    assert core.receive("hub", WELCOME, 3.1) == [Deliver("hub", WELCOME)]


def test_any_word_through_the_hub_counts_as_life():
    core = registered()
    run_to(core, 2.0)
    core.receive("analyst", WORK, 2.5)
    run_to(core, 5.0)
    assert core.is_registered


def test_a_hub_that_does_not_know_us_gets_one_hello_however_often_it_says_so():
    core = registered()
    refused = Refused(code="say_hello", reason="unknown connection")
    assert kinds(core.receive("hub", refused, 0.5)) == ["hello"]
    assert core.receive("hub", refused, 0.5) == []
    assert not core.is_registered
    assert core.receive("hub", WELCOME, 0.6) == [Deliver("hub", WELCOME)]


def test_replaced_is_the_end():
    core = registered()
    (end,) = core.receive("hub", Replaced(by="b2"), 1.0)
    assert isinstance(end, Exit)
    assert end.code == EXIT_REPLACED
    assert "b2" in end.reason
    assert core.is_ended
    assert core.wake_at_s is None
    assert core.receive("hub", WELCOME, 2.0) == []
    assert core.tick(99.0) == []


def test_a_final_refusal_is_the_end_with_its_reason():
    core = MailboxCore("planner", "worker", "a1")
    core.start(0.0)
    (end,) = core.receive("hub", Refused(code="wire", reason="speak 7"), 0.1)
    assert (end.code, "speak 7" in end.reason) == (EXIT_REFUSED, True)


def test_only_the_hub_can_end_or_register_us():
    core = MailboxCore("planner", "worker", "a1")
    core.start(0.0)
    for message in (WELCOME, Replaced(by="b2"), Refused(code="name", reason="x")):
        assert core.receive("mallory", message, 0.1) == [Deliver("mallory", message)]
    assert not core.is_registered
    assert not core.is_ended


def test_messages_of_others_and_undeliverable_reach_the_agent():
    core = registered()
    assert core.receive("analyst", WORK, 0.2) == [Deliver("analyst", WORK)]
    lost = Undeliverable(to="analyst", reason="gone")
    assert core.receive("hub", lost, 0.2) == [Deliver("hub", lost)]


def presence(name, is_here=True):
    return Presence(name=name, role="worker", incarnation="x", is_here=is_here)


def test_presence_is_remembered_and_told():
    core = registered(watch=True)
    assert core.receive("hub", presence("sim-0"), 0.1) == [Deliver("hub", presence("sim-0"))]
    core.receive("hub", presence("sim-0", is_here=False), 0.2)
    assert not core.presence["sim-0"].is_here


def told_over(core, from_s, to_s, still_here=()):
    """Beat each second, with the hub answering `Watch` for those who are here."""
    told = []
    for now_s in range(from_s, to_s):
        for effect in core.tick(now_s + 0.2):
            if isinstance(effect, Deliver):
                told.append((now_s, effect.message))
            elif effect.message.kind == "watch":
                for name in still_here:
                    told += [
                        (now_s, e.message) for e in core.receive("hub", presence(name), now_s + 0.2)
                    ]
        core.receive("hub", Beat(n=1), now_s + 0.2)
    return told


def test_after_a_new_hub_those_who_do_not_come_back_are_told_as_gone():
    core = registered(watch=True)
    for name in ("sim-0", "sim-1"):
        core.receive("hub", presence(name), 0.1)
    core.receive("hub", Refused(code="say_hello", reason=""), 1.0)
    core.receive("hub", WELCOME.model_copy(update={"hub": "h2"}), 1.1)
    core.receive("hub", presence("sim-1"), 2.0)
    assert told_over(core, 2, 20, ["sim-1"]) == [(7, presence("sim-0", is_here=False))]
    assert core.presence["sim-1"].is_here


def test_after_a_broken_connection_to_the_same_hub_presence_stands():
    core = registered(watch=True)
    core.receive("hub", presence("sim-0"), 0.1)
    core.receive("hub", Refused(code="say_hello", reason=""), 1.0)
    core.receive("hub", WELCOME, 1.1)
    assert told_over(core, 2, 30, ["sim-0"]) == []


def test_a_lost_word_of_a_departure_is_made_good_by_asking_again():
    core = registered(watch=True)
    for name in ("sim-0", "sim-1"):
        core.receive("hub", presence(name), 0.1)
    told = told_over(core, 1, 30, ["sim-1"])
    assert [message for _, message in told] == [presence("sim-0", is_here=False)]


def test_a_lost_word_of_an_arrival_is_made_good_by_asking_again():
    core = registered(watch=True)
    told = told_over(core, 1, 10, ["sim-0"])
    assert [message for _, message in told] == [presence("sim-0")]


def test_who_does_not_watch_never_asks():
    core = registered()
    assert "watch" not in kinds(
        [
            e
            for s in range(1, 20)
            for e in (core.tick(s + 0.2), core.receive("hub", Beat(n=1), s + 0.2))[0]
        ]
    )
