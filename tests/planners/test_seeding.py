import importlib.machinery
import random
import sys
import types

import numpy as np
import pytest

from twinloop.planners.seeding import seeded


def draw():
    return random.random(), np.random.random(), np.random.standard_normal()  # noqa: NPY002


def test_the_seed_decides_what_global_generators_draw():
    with seeded(2**63 - 1):
        first = draw()
    draw()
    with seeded(2**63 - 1):
        assert draw() == first
    with seeded(3):
        assert draw() != first


def test_states_are_put_back_also_after_an_error():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    undisturbed = draw()
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with pytest.raises(ZeroDivisionError), seeded(5):
        _ = 1.0 / (draw() == ())
    assert draw() == undisturbed


def test_a_torch_that_another_thread_is_importing_is_not_touched(monkeypatch):
    half = types.ModuleType("torch")
    half.__spec__ = importlib.machinery.ModuleSpec("torch", None)
    half.__spec__._initializing = True
    monkeypatch.setitem(sys.modules, "torch", half)
    with seeded(1):
        first = draw()
    with seeded(1):
        assert draw() == first
    half.__spec__._initializing = False
    with pytest.raises(AttributeError, match="get_num_threads"), seeded(1):
        pass
