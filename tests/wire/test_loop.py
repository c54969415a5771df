"""Order of effects, and one commit for all gates of a batch."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinloop.errors import ArgumentError
from twinloop.log.interface import Entry
from twinloop.log.memory import MemoryLog
from twinloop.wire.effects import Append, Sync
from twinloop.wire.loop import EffectRunner


@dataclass(frozen=True)
class Act:
    name: str


class Recorder:
    """A log that remembers, beside what was performed, when it was committed."""

    def __init__(self):
        self.log, self.story = MemoryLog("lab"), []
        commit = self.log.commit
        self.log.commit = lambda: (self.story.append("commit"), commit())[1]
        self.runner = EffectRunner(self.log, self._perform)

    def _perform(self, effect):
        durable = [s.entry.kind for s in list(self.log.read())[: self.log._n_durable]]
        self.story.append((effect.name, durable))

    def names(self):
        return [item if item == "commit" else item[0] for item in self.story]


def append(kind):
    return Append(Entry(kind, 1))


def test_what_needs_no_gate_runs_at_once_and_commits_nothing():
    r = Recorder()
    r.runner.add([Act("a"), append("x"), Act("b")])
    r.runner.flush()
    assert r.names() == ["a", "b"]
    assert r.log.has_pending


def test_nothing_behind_a_gate_runs_before_the_disk():
    r = Recorder()
    r.runner.add([Act("a"), append("intent"), Sync(), Act("start device")])
    assert r.names() == ["a"]
    r.runner.flush()
    assert r.story == [("a", []), "commit", ("start device", ["intent"])]


def test_all_gates_of_a_batch_share_one_commit():
    r = Recorder()
    for i in range(10):
        r.runner.add([append(f"e{i}"), Sync(), Act(f"a{i}")])
    r.runner.flush()
    assert r.names() == ["commit", *(f"a{i}" for i in range(10))]


def test_a_later_input_does_not_overtake_one_that_waits():
    r = Recorder()
    r.runner.add([append("intent"), Sync(), Act("start")])
    r.runner.add([Act("cancel")])
    r.runner.flush()
    assert r.names() == ["commit", "start", "cancel"]


def test_what_follows_a_waiting_effect_of_the_same_input_waits_with_it():
    r = Recorder()
    r.runner.add([append("intent"), Sync(), Act("write file"), append("done"), Sync(), Act("tell")])
    r.runner.flush()
    assert r.story == ["commit", ("write file", ["intent"]), "commit", ("tell", ["intent", "done"])]


def test_an_append_behind_an_effect_that_waits_is_not_logged_before_it():
    r = Recorder()
    r.runner.add([append("intent"), Sync(), Act("start")])
    r.runner.add([Act("write file"), append("done")])
    assert [s.entry.kind for s in r.log.read()] == ["intent"]
    r.runner.flush()
    assert [s.entry.kind for s in r.log.read()] == ["intent", "done"]


def test_an_agent_without_a_log_may_not_append():
    with pytest.raises(ArgumentError):
        EffectRunner(None, print).add([append("x")])


STEPS = st.lists(st.lists(st.sampled_from(["act", "append", "sync"]), max_size=6), max_size=5)


@given(inputs=STEPS)
def test_for_any_inputs_actions_keep_their_order_and_find_their_gate_on_disk(inputs):
    r, asked, needed = Recorder(), [], {}
    for i, steps in enumerate(inputs):
        effects, before, gated = [], [], []
        for j, step in enumerate(steps):
            name = f"{i}.{j}"
            if step == "act":
                asked.append(name)
                needed[name] = list(gated)
                effects.append(Act(name))
            elif step == "append":
                before.append(name)
                effects.append(append(name))
            else:
                gated = list(before)
                effects.append(Sync())
        r.runner.add(effects)
    r.runner.flush()
    done = [item for item in r.story if item != "commit"]
    assert [name for name, _ in done] == asked
    for name, durable in done:
        assert set(needed[name]) <= set(durable)
    logged = [s.entry.kind for s in r.log.read()]
    for i, steps in enumerate(inputs):
        own = [k for k in logged if k.startswith(f"{i}.")]
        assert own == [f"{i}.{j}" for j, step in enumerate(steps) if step == "append"]
