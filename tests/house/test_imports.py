"""What each process loads before it has done anything: light processes start at once and live long."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system

HEAVY = ("ray", "torch", "botorch", "gpytorch", "numba", "scipy", "matplotlib", "ase")
PROCESSES = {
    "twinloop.agents.cli.main": HEAVY,
    "twinloop.agents.hub.process": HEAVY,
    "twinloop.agents.runtime.supervisor": HEAVY,
    "twinloop.agents.runtime.janitor": HEAVY,
    "twinloop.agents.runtime.crew": HEAVY,
    "twinloop.instruments.server": (*HEAVY, "psutil", "pint"),
    "twinloop.instruments.serving": (*HEAVY, "psutil", "pint"),
    "twinloop.instruments.watchdog": (*HEAVY, "psutil", "pint"),
    "twinloop.agents.campaign.conductor": HEAVY,
    "twinloop.agents.runtime.worker": HEAVY,
    "twinloop.agents.runtime.ray_host": ("torch", "botorch", "numba", "scipy", "matplotlib"),
    "twinloop.instruments.standin.machine": ("ray", "torch", "botorch", "matplotlib"),
}


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print(*{{m.partition('.')[0] for m in sys.modules}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=50)
    return set(done.stdout.split())


@pytest.mark.parametrize(("module", "unwanted"), PROCESSES.items())
def test_a_process_does_not_load_what_it_may_not_need(module, unwanted):
    assert loaded_by(module) & set(unwanted) == set()


def test_the_search_sees_what_is_loaded():
    assert "numba" in loaded_by("twinloop.simulators.kmc")
