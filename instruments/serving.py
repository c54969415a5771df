"""Serve the instruments of one chamber beside their machine, in the main thread of a process.

It holds a lock on its folder, keeps ledger, spool and telemetry there, has a watchdog with a
connection of its own, and ends on SIGTERM, Ctrl-C or (on request) when its parent is gone, after
every instrument is in its safe state. `server` is the process around it.
"""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from twinloop.ids import new_incarnation
from twinloop.instruments.guard import Guard, sync_file
from twinloop.instruments.interface import Instrument
from twinloop.instruments.locks import FolderLock
from twinloop.instruments.spec import AdapterSpec, make_instruments
from twinloop.instruments.watchdog_notes import (
    ADAPTER_LOCK,
    LIFE,
    WATCHDOG_LOCK,
    drop_notes,
    read_notes,
)
from twinloop.log.interface import LogFailed

if TYPE_CHECKING:
    from twinloop.instruments.adapter_server import AdapterServer
    from twinloop.log.sqlite import SqliteLog

__all__ = ["READY", "serve"]

_LOG = logging.getLogger(__name__)
READY = "ready.txt"
_SPEC = "adapter-spec.json"
_PREDECESSOR_S = 5.0
# a command waits for the interpreter no longer than this while frames are being streamed [s]
_SWITCH_S = 5e-4


def serve(spec: AdapterSpec, *, exit_with_stdin: bool = False, guard: Guard | None = None) -> int:
    """Serve the instruments of a specification until told to end; return the exit status.

    Call it in the main thread of a process. `folder/ready.txt` appears when the instruments are
    connected and guarded.

    Args:
        spec: what to serve, and where.
        exit_with_stdin: end when standard input closes, because the parent is gone.
        guard: a watchdog that was started on the same specification and waits for its word; the
            caller dismisses it when this raises.

    Raises:
        LockTaken: another adapter, or the watchdog of one, holds the folder.
        JournalCorrupt: the ledger was damaged.
        ArgumentError: a class that cannot be found, or a scaled clock for a real instrument.
        ConfigError: settings that a class does not take.
        GuardFailed: the watchdog cannot connect to the devices.
    """
    folder = spec.folder
    sys.setswitchinterval(_SWITCH_S)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / READY).unlink(missing_ok=True)
    instruments = make_instruments(spec)
    lock = FolderLock(folder / ADAPTER_LOCK, wait_s=_PREDECESSOR_S)
    life = new_incarnation()
    sync_file(folder / LIFE, life)
    # an earlier life's watchdog sees this life and stands down; its notes are complete after that
    FolderLock(folder / WATCHDOG_LOCK, wait_s=_PREDECESSOR_S).release()
    spec.write(folder / _SPEC)
    guards = _Guards(folder, life, guard)
    log: SqliteLog | None = None
    try:
        log = _open_ledger(spec.ledger_path)
        # before anything is answered from it: a damaged ledger knows nothing of what was done
        log.verify()
        server = _server(spec, instruments, log, life, guards)
        server.when_ready(lambda: sync_file(folder / READY, f"{life}\n"))
        _end_on_signals(server)
        if exit_with_stdin:
            threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
        ended = server.run()
    finally:
        (folder / READY).unlink(missing_ok=True)
        guards.dismiss_unused()
        _close(log)
        lock.release()
    _LOG.info("ends: %s", ended.reason)
    return ended.code


def _open_ledger(path: Path) -> "SqliteLog":
    from twinloop.log.sqlite import SqliteLog

    return SqliteLog(path, log_id=f"ledger-{new_incarnation()}")


class _Guards:
    """Watchdogs of one life: the first begins at once, beside the imports of this process."""

    def __init__(self, folder: Path, life: str, first: Guard | None) -> None:
        self._folder, self._life = folder, life
        self._first: Guard | None = self._begin(first)

    def take(self) -> Guard:
        """Return the first one, and later a new one."""
        first, self._first = self._first, None
        return first or self._begin(None)

    def dismiss_unused(self) -> None:
        """End the first one if nobody took it."""
        if self._first is not None:
            self.take().dismiss()

    def _begin(self, guard: Guard | None) -> Guard:
        guard = guard or Guard(self._folder / _SPEC, self._folder)
        guard.begin(self._life)
        return guard


def _server(
    spec: AdapterSpec,
    instruments: dict[str, Instrument],
    log: "SqliteLog",
    life: str,
    guards: _Guards,
) -> "AdapterServer":
    from twinloop.clocks import ScaledLabClock
    from twinloop.instruments.adapter_server import AdapterServer
    from twinloop.instruments.rules import AdapterSettings
    from twinloop.instruments.spool import DiskSpool
    from twinloop.instruments.telemetry import TelemetryFile

    folder = spec.folder
    settings = AdapterSettings(
        clock_factor=spec.clock_factor,
        spool_limit_bytes=spec.spool_limit_bytes,
        spool_reserve_bytes=spec.spool_reserve_bytes,
        finish_s=spec.finish_s,
    )
    return AdapterServer(
        instruments,
        agent=spec.agent,
        hub=spec.hub,
        log=log,
        spool=DiskSpool(folder / "spool"),
        clock=ScaledLabClock(spec.clock_factor),
        settings=settings,
        notes=read_notes(folder),
        start_guard=guards.take,
        read_notes=lambda: read_notes(folder),
        drop_notes=lambda: drop_notes(folder),
        telemetry=TelemetryFile(folder / "telemetry.jsonl"),
        telemetry_s=spec.telemetry_s,
        stop_endpoint=spec.stop_endpoint or "",
        incarnation=life,
    )


def _close(log: "SqliteLog | None") -> None:
    try:
        if log is not None:
            log.close()
    except LogFailed as err:
        _LOG.error("the ledger: %s", err)


def _end_on_signals(server: "AdapterServer") -> None:
    asked = threading.Event()
    reasons: list[str] = []

    def wait() -> None:
        asked.wait()
        server.stop(reasons[0])

    def note(number: int, _frame: object) -> None:
        # a handler interrupts this very thread anywhere: it must take no lock that may be held
        reasons.append(signal.Signals(number).name)
        asked.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, note)


def _end_with_stdin(server: "AdapterServer") -> None:
    # unbuffered: a thread that waits in a buffer's lock would abort the interpreter at its end
    while os.read(sys.stdin.fileno(), 4096):
        continue
    server.stop("the parent is gone")
