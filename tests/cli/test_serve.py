"""`twinloop instrument serve` in a process of its own, as on a control PC."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from twinloop.agents.cli.main import app
from twinloop.agents.hub.process import Hub

pytestmark = pytest.mark.system

GAUGE = """
from typing import ClassVar
from twinloop.instruments.interface import Instrument

class Gauge(Instrument, kind="gauge"):
    is_twin: ClassVar[bool] = True
    def connect(self): pass
    def safe_state(self): pass
"""
LAB = """
lab: bench
clock_factor: 10
instruments:
  gauge: {served: cellar, class: "my_gauge:Gauge"}
adapters:
  cellar: {start: none}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="ends with SIGTERM")
def test_an_adapter_is_served_listed_and_ended(tmp_path: Path) -> None:
    (tmp_path / "my_gauge.py").write_text(GAUGE, encoding="utf-8")
    (tmp_path / "lab.yaml").write_text(LAB, encoding="utf-8")
    hub = Hub("tcp://127.0.0.1:0")
    routing = threading.Thread(target=hub.run)
    routing.start()
    command = [sys.executable, "-c", "from twinloop.agents.cli.main import app; app()"]
    command += ["instrument", "serve", "lab.yaml", "cellar", "--hub", hub.endpoint]
    # the watchdog is a process of its own: it finds the class by the path that it inherits
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    adapter = subprocess.Popen(command, cwd=tmp_path, env=environment)
    try:
        ready = tmp_path / "adapters" / "cellar" / "ready.txt"
        waiting = threading.Event()
        while not ready.exists() and adapter.poll() is None:
            waiting.wait(0.05)
        result = CliRunner().invoke(app, ["instrument", "list", "--hub", hub.endpoint])
        assert result.exit_code == 0
        assert re.search(r"nobody +nothing +cellar", result.stdout)
        adapter.send_signal(signal.SIGTERM)
        assert adapter.wait(timeout=30) == 0
    finally:
        adapter.kill()
        adapter.wait()
        hub.stop()
        routing.join()
