import numpy as np

from twinloop.agents.runtime.compute_core import Job
from twinloop.agents.runtime.desk import Desk
from twinloop.messages import Task
from twinloop.wire.arrays import describe


class Depot:
    """Holds arrays by name, and counts what is asked of it."""

    def __init__(self, arrays):
        self.arrays, self.asked = arrays, []

    def get(self, ref):
        self.asked.append(ref.name)
        return self.arrays[ref.name]


def test_arrays_of_the_same_bytes_and_another_shape_are_kept_apart():
    """Empty arrays all have one digest; the slack of 4 trials came back as that of 3 (issue 3)."""
    arrays = {
        "three": np.zeros((3, 0)),
        "four": np.zeros((4, 0)),
        "flat": np.arange(6.0),
        "square": np.arange(6.0).reshape(2, 3),
    }
    refs = tuple(describe(name, array, inline=False) for name, array in arrays.items())
    task = Task(task="t", target="planner", method="ask", arrays=refs, depot="tcp://127.0.0.1:9")
    desk, depot = Desk(), Depot(arrays)
    desk._depots[task.depot] = depot
    for _ in range(2):
        found = desk.fetch(Job("conductor", task, ()))
        assert {name: a.shape for name, a in found.items()} == {
            name: a.shape for name, a in arrays.items()
        }
    assert depot.asked == list(arrays)
