"""Mailbox cores and hub core together, on a seeded network that loses, doubles and delays."""

import heapq
import random

import pytest

from twinloop.agents.hub.core import HubCore, Route
from twinloop.messages import TaskPartial
from twinloop.wire.effects import Send
from twinloop.wire.mailbox_core import Deliver, MailboxCore

NAMES = ("conductor", "chamber", "planner")


class Network:
    """One hub and some agents; a connection of an agent is made anew when the hub is."""

    def __init__(self, seed, loss):
        self.random, self.loss = random.Random(seed), loss
        self.now_s, self.n, self.queue, self.inboxes = 0.0, 0, [], {name: [] for name in NAMES}
        self.agents = {n: MailboxCore(n, "worker", f"{n}-1", watch=True) for n in NAMES}
        self.links = dict.fromkeys(NAMES, 0)
        self.n_hubs = 0
        self.new_hub()
        for name, core in self.agents.items():
            self.from_agent(name, core.start(0.0))

    def new_hub(self):
        self.n_hubs += 1
        self.hub = HubCore(f"h{self.n_hubs}", 65536)
        for name in NAMES:
            self.cut(name)

    def cut(self, name):
        self.links[name] += 1

    def connection(self, name):
        return f"{name}/{self.links[name]}".encode()

    def post(self, action):
        for _ in range(self.random.choice((1, 1, 1, 2))):
            if self.random.random() >= self.loss:
                self.n += 1
                at_s = self.now_s + self.random.expovariate(20.0)
                heapq.heappush(self.queue, (at_s, self.n, action))

    def from_agent(self, name, effects):
        for effect in effects:
            if isinstance(effect, Deliver):
                self.inboxes[name].append((effect.sender, effect.message))
            elif isinstance(effect, Send):
                connection, message = self.connection(name), effect.message
                self.post(lambda c=connection, to=effect.to, m=message: self.at_hub(c, to, m))

    def at_hub(self, connection, to, message):
        name, _, link = connection.decode().partition("/")
        if int(link) != self.links[name]:
            return
        if to == "hub":
            self.from_hub(self.hub.receive(connection, message, self.now_s))
            return
        where = self.hub.route(connection, to.encode(), self.now_s)
        if isinstance(where, Route):
            self.from_hub(where.news)
            sender = where.sender.decode()
            self.post(lambda: self.at_agent(where.connection, sender, message))
        else:
            self.from_hub(where)

    def from_hub(self, sends):
        for send in sends:
            self.post(lambda s=send: self.at_agent(s.connection, "hub", s.message))

    def at_agent(self, connection, sender, message):
        name = connection.decode().partition("/")[0]
        if connection == self.connection(name):
            core = self.agents[name]
            self.from_agent(name, core.receive(sender, message, self.now_s))

    def run(self, duration_s):
        end_s = self.now_s + duration_s
        while True:
            times = [(t.wake_at_s, t) for t in (self.hub, *self.agents.values()) if t.wake_at_s]
            at_s, who = min(times, key=lambda pair: pair[0])
            if self.queue and self.queue[0][0] <= at_s:
                at_s, who = self.queue[0][0], None
            if at_s > end_s:
                self.now_s = end_s
                return
            self.now_s = max(self.now_s, at_s)
            if who is None:
                heapq.heappop(self.queue)[2]()
            elif who is self.hub:
                self.from_hub(who.tick(self.now_s))
            else:
                self.from_agent(who.name, who.tick(self.now_s))


def converse(network):
    """Everybody writes to everybody, again and again; return who was heard by whom."""
    for inbox in network.inboxes.values():
        inbox.clear()
    for n in range(20):
        for name, core in network.agents.items():
            if core.is_registered:
                words = [Send(to, TaskPartial(task="t", n=n)) for to in NAMES if to != name]
                network.from_agent(name, words)
        network.run(0.5)
    return {
        (s, name)
        for name, box in network.inboxes.items()
        for s, m in box
        if m.kind == "task_partial"
    }


EVERY_PAIR = {(a, b) for a in NAMES for b in NAMES if a != b}


@pytest.mark.parametrize("seed", range(40))
def test_after_any_loss_restart_and_cut_everybody_talks_again_with_true_names(seed):
    network = Network(seed, loss=0.2)
    network.run(3.0)
    for _ in range(network.random.randint(1, 4)):
        network.random.choice(
            [network.new_hub, lambda: network.cut(network.random.choice(NAMES))]
        )()
        network.run(network.random.uniform(0.0, 6.0))
    network.loss = 0.05
    network.run(12.0)
    assert converse(network) == EVERY_PAIR
    network.loss = 0.0
    network.run(8.0)
    assert not any(core.is_ended for core in network.agents.values())
    for core in network.agents.values():
        assert {n for n, p in core.presence.items() if p.is_here} >= set(NAMES) - {core.name}


@pytest.mark.parametrize("seed", range(10))
def test_of_two_lives_under_one_name_the_newer_stays_whatever_is_lost(seed):
    network = Network(seed, loss=0.2)
    network.run(5.0)
    old = network.agents["planner"]
    network.cut("planner")
    new = network.agents["planner"] = MailboxCore("planner", "worker", "planner-2")
    network.from_agent("planner", new.start(network.now_s))
    network.run(8.0)
    zombie = network.hub.receive(b"elsewhere", old._hello, network.now_s)
    assert [s.message.kind for s in zombie] == ["replaced"]
    assert new.is_registered
    assert not new.is_ended
