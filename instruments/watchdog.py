"""The watchdog: a process of its own, with its own connection, that outlives the adapter.

The adapter starts it as `python -m twinloop.instruments.watchdog --spec FILE`, says `life WORD` when it
holds its folder (only then are the devices touched), and writes a line to its standard input now and
then. When the pipe closes (the adapter died) or stays silent
(it hangs), each instrument gets what its last action declares for silence:

- `safe_state`: at once;
- `finish`, `hold`: nothing, for as long as the adapter may still come back (`finish_bound_lab_s`),
  and longer while a device says that it is still busy; `safe_state` only after that. A growth that
  ends by itself is thus neither cut short nor repeated: the restarted adapter asks and goes on;
- no action since it was last safe: together with the last of the others.

What was done is noted beside the ledger and folded in by the next adapter: held when the instrument
is safe, a latched trip when `safe_state` failed. A restarted adapter makes this watchdog stand down.
"""

import argparse
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from io import RawIOBase
from pathlib import Path

from twinloop.clocks import RealWireClock, ScaledLabClock, WireClock
from twinloop.errors import JournalCorrupt, LabError, describe_error
from twinloop.instruments.interface import Instrument, OnSilence
from twinloop.instruments.ledger import LedgerState
from twinloop.instruments.locks import FolderLock, LockTaken
from twinloop.instruments.spec import AdapterSpec, load_class, make_instruments
from twinloop.instruments.watchdog_notes import (
    ADAPTER_LOCK,
    LIFE,
    NOTES,
    WATCHDOG_LOCK,
    WatchdogNote,
)
from twinloop.log.interface import LogFailed
from twinloop.log.sqlite import open_readonly

__all__ = ["Watchdog", "main", "waits_of"]

_LOG = logging.getLogger(__name__)
_LOOK_S = 0.1
_BUSY_BOUNDS = 4
# an adapter needs some real seconds to come back, however fast a twin's clock runs
_SHORTEST_BOUND_S = 8.0
_TRIES = 2


def waits_of(
    state: LedgerState | None, instruments: Mapping[str, type[Instrument]], bound_s: float
) -> dict[str, float]:
    """Return how long each instrument is left alone after the adapter died [s, real].

    Args:
        state: what the ledger says; None when it cannot be read.
        instruments: their classes by name.
        bound_s: how long a `finish` or `hold` is honoured [s, real].
    """
    waits = {name: 0.0 for name in instruments if state is None}
    idle = []
    for name, cls in instruments.items() if state is not None else ():
        record = state.policy_of(name) if state is not None else None
        method = cls.actions().get(record.command.action) if record and record.command else None
        if method is None or name in (state.trips if state is not None else {}):
            idle.append(name)
        else:
            waits[name] = 0.0 if method.spec.on_silence is OnSilence.SAFE_STATE else bound_s
    # instruments of one chamber share a sample: none is made safe under the others' feet
    return waits | dict.fromkeys(idle, max(waits.values(), default=0.0))


class Watchdog:
    """Guards the instruments of one life of an adapter.

    Args:
        spec: of the adapter.
        life: which life of it.
        instruments: connected, by name.
        clock: the wire's clock.
    """

    def __init__(
        self,
        spec: AdapterSpec,
        life: str,
        instruments: Mapping[str, Instrument],
        clock: WireClock | None = None,
    ) -> None:
        self._spec, self._life, self._instruments = spec, life, dict(instruments)
        self._clock = clock or RealWireClock()
        self._news = threading.Condition()
        # silence counts from the first beat: connecting to a device may take its time
        self._heard_s: float | None = None
        self._asked: list[str] = []
        self._has_ended = self._is_dismissed = False

    def listen(self, lines: Iterable[bytes]) -> None:
        """Take the adapter's lines until the pipe closes; runs in a thread of its own."""
        for line in lines:
            word, _, rest = line.decode("utf-8", "replace").strip().partition(" ")
            with self._news:
                self._heard_s = self._clock.now_s()
                if word == "bye":
                    self._is_dismissed = True
                elif word == "safe":
                    self._asked.append(rest)
                self._news.notify_all()
        with self._news:
            self._has_ended = True
            self._news.notify_all()

    def run(self) -> int:
        """Watch until dismissed, or until everything is safe; return the exit status."""
        while True:
            asked = self._await_news()
            if self._is_dismissed:
                return 0
            for name in asked:
                self._secure(name, "asked by the adapter")
            if self._has_ended:
                self._guard("the adapter died")
                return 0
            if self._is_silent() and self._guard("the adapter is silent"):
                return 0

    def _await_news(self) -> list[str]:
        with self._news:
            left_s = None
            if self._heard_s is not None:
                left_s = max(0.0, self._heard_s + self._spec.beat_limit_s - self._clock.now_s())
            if not (self._asked or self._has_ended or self._is_dismissed):
                self._news.wait(left_s)
            asked, self._asked = self._asked, []
            return asked

    def _is_silent(self) -> bool:
        if self._heard_s is None:
            return False
        return self._clock.now_s() - self._heard_s >= self._spec.beat_limit_s

    def _guard(self, reason: str) -> bool:
        """Do what the last actions declare; False when the adapter is back before all is safe."""
        began_s = self._clock.now_s()
        bound_s = max(self._spec.finish_bound_lab_s / self._spec.clock_factor, _SHORTEST_BOUND_S)
        classes = {name: type(instrument) for name, instrument in self._instruments.items()}
        state = self._ledger()
        waits = waits_of(state, classes, bound_s)
        _LOG.warning("%s; safe states in %s s", reason, waits)
        while waits:
            if self._is_back():
                _LOG.warning("the adapter is back; left alone: %s", sorted(waits))
                return False
            gone_s = self._clock.now_s() - began_s
            for name, wait_s in list(waits.items()):
                is_over = gone_s >= _BUSY_BOUNDS * bound_s
                if gone_s >= wait_s and (wait_s == 0.0 or is_over or not self._is_busy(name)):
                    del waits[name]
                    self._secure(name, reason)
            if waits:
                with self._news:
                    self._news.wait(_LOOK_S)
        return True

    def _is_back(self) -> bool:
        if self._is_dismissed:
            return True
        if not self._has_ended:
            return not self._is_silent()
        try:
            life = (self._spec.folder / LIFE).read_text(encoding="utf-8").strip()
        except OSError:
            return False
        return life != self._life and FolderLock.is_held(self._spec.folder / ADAPTER_LOCK)

    def _is_busy(self, name: str) -> bool:
        try:
            return self._instruments[name].is_busy() is True
        except Exception:  # noqa: BLE001 - actor boundary: the author's code
            return False

    def _ledger(self) -> LedgerState | None:
        try:
            reader = open_readonly(self._spec.ledger_path)
            try:
                return LedgerState.of(reader.read())
            finally:
                reader.close()
        except (LogFailed, JournalCorrupt) as err:
            _LOG.warning("the ledger cannot be read: %s", err)
            return None

    def _secure(self, name: str, reason: str) -> None:
        instrument, error = self._instruments.get(name), None
        if instrument is None:
            return
        for n_tried in range(_TRIES):
            error = _try(instrument.safe_state)
            if error is None:
                break
            if n_tried + 1 < _TRIES:
                # the connection may have died with the adapter
                _try(instrument.disconnect)
                _try(instrument.connect)
        _LOG.warning("safe_state of %s: %s", name, error or "done")
        self._note(WatchdogNote(name, reason, error))

    def _note(self, note: WatchdogNote) -> None:
        try:
            with (self._spec.folder / NOTES).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(note)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as err:
            # a full disk must not keep the next instrument from its safe state
            _LOG.warning("no note about %s: %s", note.instrument, err)


def _try(call: Callable[[], None]) -> str | None:
    try:
        call()
    except Exception as err:  # noqa: BLE001 - actor boundary: the author's code
        return describe_error(err)
    return None


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


def _life(lines: RawIOBase) -> str:
    """Return which life of the adapter is to be guarded; "" when it ended without one."""
    word, _, life = lines.readline().decode("utf-8", "replace").strip().partition(" ")
    return life if word == "life" else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the watchdog and return its exit status."""
    parser = argparse.ArgumentParser(prog="twinloop watchdog", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="specification of the adapter")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="watchdog: %(message)s")
    # Ctrl-C reaches the whole group; the adapter decides how things end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # unbuffered: a thread that waits in a buffer's lock would abort the interpreter at its end
    lines = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    try:
        spec = AdapterSpec.read(options.spec)
        for name, one in spec.instruments.items():
            load_class(one.cls, name)
        life = _life(lines)
        if not life:
            # the adapter ended before it held its folder: there is nothing to guard
            return 0
        lock = FolderLock(spec.folder / WATCHDOG_LOCK, wait_s=5.0)
        instruments = make_instruments(spec)
        for instrument in instruments.values():
            instrument.attach(ScaledLabClock(spec.clock_factor))
            instrument.connect()
    except (LabError, LockTaken) as err:
        _say(f"failed {err}")
        return 2
    except Exception as err:  # noqa: BLE001 - actor boundary: the author's connect
        _say(f"failed {describe_error(err)}")
        return 2
    watchdog = Watchdog(spec, life, instruments)
    listener = threading.Thread(target=watchdog.listen, args=(lines,), daemon=True)
    listener.start()
    _say("ready")
    status = watchdog.run()
    for instrument in instruments.values():
        _try(instrument.disconnect)
    lock.release()
    return status


if __name__ == "__main__":
    sys.exit(main())
