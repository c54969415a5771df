"""What the rehearsals of the chamber's twins share: a machine process, and its physical log."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from twinloop.instruments.conformance.interface import Effect, Rehearsal
from twinloop.instruments.standin.physical_log import read_physical_log

__all__ = ["ChamberRehearsal"]


class ChamberRehearsal(Rehearsal):
    """A stand-in machine in a process of its own, which survives the adapter.

    Class attributes:
        machine: its file in configs/standins.
    """

    machine = "alloy_chamber.yaml"
    clock_factor = 10.0
    longest_s = 90.0
    _process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start the machine; the twins wait for the file in which it announces itself."""
        command = [
            sys.executable, "-m", "twinloop.instruments.standin.machine",
            "--config", self.machine, "--folder", str(self.folder / "machine"),
            "--vessel", str(self.folder / "vessel"), "--announce", str(self.folder / "machine.json"),
            "--clock-factor", str(self.clock_factor), "--exit-with-stdin",
        ]  # fmt: skip
        (self.folder / "vessel").mkdir(parents=True, exist_ok=True)
        with (self.folder / "machine.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log)

    def stop(self) -> None:
        """End the machine."""
        process = self._process
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.kill()
            process.wait()

    def settings(self) -> dict[str, Any]:
        """Return where the machine is."""
        return {"machine": str(self.folder / "machine.json")}

    def effects(self) -> Sequence[Effect]:
        """Read the physical log of the machine.

        Heating and loading are written when they are done, growth and anneal also when they begin.
        """
        found = []
        for event in read_physical_log(self.folder / "machine" / "physical.log"):
            key = str(event.get("key", ""))
            if not key.startswith("check-"):
                continue
            action, numbers = self.action_of(key), event.get("numbers", {})
            if str(event["kind"]).endswith("_started"):
                found.append(Effect(action, key, "began"))
                continue
            if not any(e.key == key and e.what == "began" for e in found):
                found.append(Effect(action, key, "began"))
            is_done = event.get("state", "done") == "done"
            found.append(Effect(action, key, "done" if is_done else "cut", numbers))
        return found
