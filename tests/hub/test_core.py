"""Names, presence and routing, without a network."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from twinloop.agents.hub.core import HubCore, HubSend, Route
from twinloop.messages import WIRE_VERSION, Beat, Bye, Hello, OutcomeAck, Watch


def hello(name="planner", incarnation="a1", **more):
    return Hello(name=name, role="worker", incarnation=incarnation, **more)


def hub_with(*names):
    hub = HubCore("h1", 65536)
    for name in names:
        hub.receive(f"c-{name}".encode(), hello(name, f"{name}-1"), 0.0)
    return hub


def told(sends):
    return [(s.connection, s.message.kind) for s in sends]


def test_hello_is_answered_with_the_rules_of_this_hub():
    hub = HubCore("h1", 65536)
    (send,) = hub.receive(b"c1", hello(), 0.0)
    assert send.connection == b"c1"
    assert (send.message.hub, send.message.max_bytes, send.message.beat_s) == ("h1", 65536, 1.0)
    assert hub.names == ["planner"]


def test_a_message_goes_to_the_named_agent_with_the_sender_the_hub_knows():
    hub = hub_with("conductor", "planner")
    assert hub.route(b"c-conductor", b"planner", 1.0) == Route(b"c-planner", b"conductor")


def test_nobody_speaks_before_hello():
    hub = hub_with("planner")
    (send,) = hub.route(b"stranger", b"planner", 1.0)
    assert (send.connection, send.message.code) == (b"stranger", "say_hello")
    (send,) = hub.receive(b"stranger", Beat(n=1), 1.0)
    assert send.message.code == "say_hello"
    assert hub.counts["refused: say_hello"] == 2


def test_a_message_to_nobody_comes_back():
    hub = hub_with("planner")
    (send,) = hub.route(b"c-planner", b"nobody\xff", 1.0)
    assert (send.message.kind, send.connection) == ("undeliverable", b"c-planner")
    assert hub.counts["undeliverable"] == 1


def test_the_newest_incarnation_owns_the_name_and_the_older_is_told():
    hub = hub_with("conductor", "planner")
    sends = hub.receive(b"c9", hello("planner", "planner-2"), 1.0)
    assert told(sends) == [(b"c-planner", "replaced"), (b"c9", "welcome")]
    assert sends[0].message.by == "planner-2"
    assert hub.route(b"c-conductor", b"planner", 1.0).connection == b"c9"
    (send,) = hub.route(b"c-planner", b"conductor", 1.0)
    assert send.message.code == "say_hello"


def test_a_zombie_cannot_take_its_name_back():
    hub = hub_with("planner")
    hub.receive(b"c9", hello("planner", "planner-2"), 1.0)
    for connection in (b"c-planner", b"c-new"):
        (send,) = hub.receive(connection, hello("planner", "planner-1"), 2.0)
        assert (send.message.kind, send.message.by) == ("replaced", "planner-2")
    assert hub.route(b"c9", b"planner", 2.0) == Route(b"c9", b"planner")


def test_the_same_incarnation_on_a_new_connection_is_the_same_agent():
    hub = hub_with("conductor", "planner")
    sends = hub.receive(b"c9", hello("planner", "planner-1"), 1.0)
    assert told(sends) == [(b"c9", "welcome")]
    assert hub.route(b"c-conductor", b"planner", 1.0).connection == b"c9"
    assert not isinstance(hub.route(b"c-planner", b"conductor", 1.0), Route)


def test_a_new_life_on_the_same_connection_is_not_told_to_end_itself():
    hub = hub_with("planner")
    sends = hub.receive(b"c-planner", hello("planner", "planner-2"), 1.0)
    assert told(sends) == [(b"c-planner", "welcome")]


def test_hello_twice_is_harmless():
    hub = hub_with("planner")
    assert told(hub.receive(b"c-planner", hello("planner", "planner-1"), 0.1)) == [
        (b"c-planner", "welcome")
    ]
    assert isinstance(hub.route(b"c-planner", b"planner", 0.2), Route)


def test_a_connection_has_one_name():
    hub = hub_with("planner")
    (send,) = hub.receive(b"c-planner", hello("conductor", "x"), 1.0)
    assert send.message.code == "name"
    assert hub.names == ["planner"]


def test_nobody_may_be_called_hub():
    (send,) = HubCore("h1", 1).receive(b"c1", hello("Hub"), 0.0)
    assert send.message.code == "name"


def test_another_wire_version_is_refused_with_both_named():
    (send,) = HubCore("h1", 1).receive(b"c1", hello(wire=(7, 8)), 0.0)
    assert send.message.code == "wire"
    assert "[7, 8]" in send.message.reason


def test_a_wire_version_in_common_is_enough():
    (send,) = HubCore("h1", 1).receive(b"c1", hello(wire=(WIRE_VERSION, 7)), 0.0)
    assert send.message.wire == WIRE_VERSION


def test_the_number_of_agents_is_bounded():
    hub = hub_with(*(f"n{i}" for i in range(1000)))
    (send,) = hub.receive(b"c9", hello("one-more"), 1.0)
    assert send.message.code == "full"
    (send,) = hub.receive(b"c9", hello("n5", "n5-2"), 1.0)[1:]
    assert send.message.kind == "welcome"


def watcher(*names):
    hub = hub_with(*names)
    hub.receive(b"c-w", hello("w", "w-1", watch=True), 0.0)
    return hub


def news(sends):
    return [
        (s.connection, s.message.name, s.message.is_here)
        for s in sends
        if s.message.kind == "presence"
    ]


def test_a_watcher_gets_who_is_here_and_each_change():
    hub = hub_with("planner")
    sends = hub.receive(b"c-w", hello("w", "w-1", watch=True), 0.0)
    assert (b"c-w", "planner", True) in news(sends)
    assert news(hub.receive(b"c2", hello("sim", "s1"), 1.0)) == [(b"c-w", "sim", True)]
    assert news(hub.receive(b"c2", Bye(), 1.0)) == [(b"c-w", "sim", False)]
    assert not isinstance(hub.route(b"c-planner", b"sim", 1.0), Route)


def test_watching_may_begin_later():
    hub = hub_with("planner", "w")
    assert (b"c-w", "planner", True) in news(hub.receive(b"c-w", Watch(), 1.0))
    assert news(hub.receive(b"c2", hello("sim", "s1"), 1.0)) == [(b"c-w", "sim", True)]


def alive(hub, now_s, *names):
    for name in names:
        hub.receive(f"c-{name}".encode(), Beat(n=1), now_s)


def test_a_silent_agent_is_told_as_gone_after_three_seconds_and_as_back_when_it_speaks():
    hub = watcher("sim")
    story = []
    for step in range(1, 11):
        now_s = step / 2
        alive(hub, now_s, "w")
        story += [(now_s, *n[1:]) for n in news(hub.tick(now_s))]
    assert story == [(3.0, "sim", False)]
    assert news(hub.receive(b"c-sim", Beat(n=2), 6.0)) == [(b"c-w", "sim", True)]


def test_a_message_of_an_agent_that_was_silent_is_routed_and_tells_that_it_is_back():
    hub = watcher("sim")
    alive(hub, 4.0, "w")
    hub.tick(4.0)
    where = hub.route(b"c-sim", b"w", 5.0)
    assert (where.connection, where.sender) == (b"c-w", b"sim")
    assert news(where.news) == [(b"c-w", "sim", True)]


def test_routed_messages_count_as_life():
    hub = watcher("sim")
    for step in range(1, 11):
        alive(hub, step, "w")
        hub.route(b"c-sim", b"w", float(step))
        assert news(hub.tick(float(step))) == []


def test_a_beat_is_answered():
    hub = hub_with("planner")
    assert hub.receive(b"c-planner", Beat(n=7), 1.0) == [HubSend(b"c-planner", Beat(n=7))]


def test_a_lost_connection_is_told_at_once():
    hub = watcher("sim")
    assert news(hub.connection_lost(b"c-sim")) == [(b"c-w", "sim", False)]
    assert hub.connection_lost(b"c-sim") == []


def test_a_replacement_is_told_with_its_new_incarnation():
    hub = watcher("sim")
    sends = hub.receive(b"c9", hello("sim", "sim-2"), 1.0)
    assert [s.message.incarnation for s in sends if s.message.kind == "presence"] == ["sim-2"]


def test_an_agent_not_heard_of_for_ten_minutes_is_forgotten():
    hub = watcher("sim")
    for now_s in (3.0, 602.0):
        alive(hub, now_s, "w")
        hub.tick(now_s)
    assert not isinstance(hub.route(b"c-w", b"sim", 602.0), Route)
    assert hub._by_connection.keys() == {b"c-w"}


def test_words_that_are_not_for_the_hub_are_counted():
    hub = hub_with("planner")
    assert hub.receive(b"c-planner", OutcomeAck(key=("c", "t", "s", 0)), 1.0) == []
    assert hub.counts["rejected: outcome_ack is not for the hub"] == 1


def test_an_idle_hub_sleeps():
    hub = HubCore("h1", 1)
    assert hub.wake_at_s is None
    hub.receive(b"c1", hello(), 0.0)
    assert hub.wake_at_s is not None
    hub.receive(b"c1", Bye(), 0.1)
    hub.tick(hub.wake_at_s)
    assert hub.wake_at_s is None


CONNECTIONS = st.sampled_from([b"c1", b"c2", b"c3", b"c4"])
NAMES = st.sampled_from(["a", "b"])
LIVES = st.sampled_from(["i1", "i2", "i3"])


class AnyPeers(RuleBasedStateMachine):
    """Whatever peers do, each name has one owner and tables stay consistent."""

    def __init__(self):
        super().__init__()
        self.hub, self.now_s, self.replaced = HubCore("h", 1), 0.0, set()

    @rule(connection=CONNECTIONS, name=NAMES, life=LIVES, watch=st.booleans())
    def say_hello(self, connection, name, life, watch):
        sends = self.hub.receive(connection, hello(name, life, watch=watch), self.now_s)
        kinds = [s.message.kind for s in sends if s.connection == connection]
        if (name, life) in self.replaced and kinds[0] != "refused":
            assert kinds == ["replaced"]

    @rule(connection=CONNECTIONS, message=st.sampled_from([Beat(n=1), Bye(), Watch()]))
    def say(self, connection, message):
        self.hub.receive(connection, message, self.now_s)

    @rule(connection=CONNECTIONS, to=NAMES)
    def route(self, connection, to):
        where = self.hub.route(connection, to.encode(), self.now_s)
        if isinstance(where, Route):
            assert self.hub._by_connection[connection].wire_name == where.sender
            assert self.hub._agents[to.encode()].connection == where.connection

    @rule(connection=CONNECTIONS)
    def lose(self, connection):
        self.hub.connection_lost(connection)

    @rule(wait_s=st.sampled_from([0.5, 2.0, 4.0, 700.0]))
    def wait(self, wait_s):
        self.now_s += wait_s
        self.hub.tick(self.now_s)

    @invariant()
    def each_connection_has_the_agent_that_names_it(self):
        for connection, agent in self.hub._by_connection.items():
            assert agent.connection == connection
            assert self.hub._agents[agent.wire_name] is agent
        self.replaced = {
            (a.hello.name, life) for a in self.hub._agents.values() for life in a.retired
        }


AnyPeers.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestAnyPeers = AnyPeers.TestCase
