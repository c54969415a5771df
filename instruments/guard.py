"""The adapter's side of its watchdog: start it, beat, ask it, dismiss it."""

import contextlib
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from queue import Full, Queue

from twinloop.errors import LabError

__all__ = ["Guard", "GuardFailed"]

_LOG = logging.getLogger(__name__)
_READY_S = 60.0
_WAITING_LINES = 64
_LAST_WORDS_S = 1.0


class GuardFailed(LabError):
    """The watchdog does not start: nothing would make the instruments safe if this process died."""

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(
            f"the watchdog does not start: {detail}; it needs a connection of its own to each device"
        )


class Guard:
    """One watchdog process; used by one thread. It loads, and connects to nothing before `begin`.

    Args:
        spec_path: specification of the adapter.
        folder: of the adapter; a file there takes the watchdog's words, not this process's pipe,
            which would then outlive it.

    Raises:
        OSError: the process cannot be started.
    """

    def __init__(self, spec_path: Path, folder: Path) -> None:
        command = [
            sys.executable, "-m", "twinloop.instruments.watchdog", "--spec", str(spec_path),
        ]  # fmt: skip
        with (folder / "watchdog.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._lines: Queue[bytes | None] = Queue(_WAITING_LINES)
        self._writer = threading.Thread(target=self._write_all, daemon=True)
        self._writer.start()

    def begin(self, life: str) -> None:
        """Have it connect to the devices and guard a life of the adapter; before any other word."""
        self._lines.put_nowait(f"life {life}\n".encode())

    def await_ready(self) -> None:
        """Return when it has its connections.

        Raises:
            GuardFailed: it cannot get them.
        """
        try:
            self._await_ready()
        except GuardFailed:
            self._end()
            raise

    @property
    def has_ended(self) -> bool:
        """Return True when the process is gone."""
        return self._process.poll() is not None

    def beat(self) -> None:
        """Say that this process lives; dropped while the watchdog does not read."""
        with contextlib.suppress(Full):
            self._lines.put_nowait(b"beat\n")

    def make_safe(self, instrument: str) -> None:
        """Ask it to run a safe state over its own connection."""
        try:
            self._lines.put_nowait(f"safe {instrument}\n".encode())
        except Full:
            _LOG.error("the watchdog does not read: it cannot be asked to secure %s", instrument)

    def dismiss(self) -> None:
        """Tell it that all is well, and wait for its end; again is harmless."""
        with contextlib.suppress(Full):
            self._lines.put_nowait(b"bye\n")
        self._end()

    def _write_all(self) -> None:
        """Write what is to be said: a stopped watchdog fills its pipe, and must stop nobody else."""
        while (line := self._lines.get()) is not None:
            try:
                if self._process.stdin is not None:
                    self._process.stdin.write(line)
            except (OSError, ValueError):
                # it is gone, or the pipe is closed; the adapter sees that by `has_ended`
                return

    def _await_ready(self) -> None:
        # a pipe cannot be waited for with a limit on every system; a timer can end the process
        timer = threading.Timer(_READY_S, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else b""
        finally:
            timer.cancel()
        word = line.decode("utf-8", "replace").strip()
        if word != "ready":
            raise GuardFailed(word.removeprefix("failed ") or f"it ended within {_READY_S:g} s")

    def _end(self) -> None:
        with contextlib.suppress(Full):
            self._lines.put_nowait(None)
        self._writer.join(_LAST_WORDS_S)
        if self._writer.is_alive():
            # stopped, with a full pipe: nothing that is said reaches it any more
            self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError as err:
                    _LOG.debug("pipe of the watchdog: %s", err)
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def sync_file(path: Path, text: str) -> None:
    """Write a small file whole or not at all, durably."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
