"""Lease holders that are killed: one process each, the next one started ahead."""

import contextlib
import itertools
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue

from twinloop.errors import MessageRejected
from twinloop.instruments.conformance.bench import ANSWER_S, START_S, TTL_S, Bench, BenchFailed
from twinloop.messages import Command, LeaseGranted, LeaseRequest, Message, Welcome, decode_message
from twinloop.messages import encode_message as encode

__all__ = ["Holder", "Holders"]

_AGAIN_S = 0.5


class Holder:
    """One client process with a socket of its own.

    Args:
        bench: whose hub and adapter it talks to.
        name: of the agent.
    """

    def __init__(self, bench: Bench, name: str) -> None:
        self._bench = bench
        command = [
            sys.executable, "-m", "twinloop.instruments.conformance.holder",
            "--hub", bench.hub, "--name", name, "--to", bench.adapter,
        ]  # fmt: skip
        with (bench.folder / "holder.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, bufsize=0
            )
        self._lines: SimpleQueue[Message] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def await_up(self) -> None:
        """Return when the hub knows it.

        Raises:
            BenchFailed: it does not come up.
        """

        def is_up() -> bool:
            with contextlib.suppress(Empty):
                return isinstance(self._lines.get_nowait(), Welcome)
            return False

        if not self._bench.wait(is_up, START_S):
            raise BenchFailed("a second client", f"it is not up after {START_S:g} s")

    def lease(self, instrument: str) -> LeaseGranted:
        """Take the lease, and keep it up until `kill`.

        Raises:
            BenchFailed: it is not granted.
        """
        bench = self._bench
        request = LeaseRequest(
            instrument=instrument, campaign=bench.campaign, depot=bench.depot, ttl_s=TTL_S,
            incarnation=secrets.token_hex(4),
        )  # fmt: skip
        found = self.ask(request, lambda m: isinstance(m, LeaseGranted))
        if not isinstance(found, LeaseGranted):
            raise BenchFailed(f"lease of a second client on {instrument}", "no answer", bench.log())
        return found

    def begin(self, command: Command, is_begun: Callable[[], bool]) -> bool:
        """Send a command until it has begun; False when it does not."""
        return self.ask(command, lambda _: False, is_begun) is None and is_begun()

    def ask(
        self,
        message: Message,
        accept: Callable[[Message], bool],
        until: Callable[[], bool] = lambda: False,
    ) -> Message | None:
        """Say something again and again until it is answered, or something is so."""
        found: list[Message] = []
        again_s, clock = 0.0, self._bench.clock

        def is_over() -> bool:
            nonlocal again_s
            if clock.now_s() >= again_s:
                self._say(message)
                again_s = clock.now_s() + _AGAIN_S
            with contextlib.suppress(Empty):
                heard = self._lines.get_nowait()
                if accept(heard):
                    found.append(heard)
            return bool(found) or until()

        self._bench.wait(is_over, ANSWER_S)
        return found[0] if found else None

    def kill(self) -> float:
        """End it as kill -9 does; return when [s, monotonic]."""
        now_s = self._bench.clock.now_s()
        self._process.kill()
        self._process.wait()
        self._reader.join(1.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        return now_s

    def _say(self, message: Message) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(encode(message) + b"\n")

    def _read(self) -> None:
        stream = self._process.stdout
        with contextlib.suppress(ValueError, OSError):
            for line in stream if stream is not None else ():
                with contextlib.suppress(MessageRejected):
                    self._lines.put(decode_message(line.strip()))


class Holders:
    """Gives one holder after another; one is always being started.

    Args:
        bench: for which.
    """

    def __init__(self, bench: Bench) -> None:
        self._bench, self._numbers = bench, itertools.count(1)
        self._spare: Holder | None = None

    def take(self) -> Holder:
        """Return a holder, and start the next one."""
        taken, self._spare = self._spare or self._new(), None
        taken.await_up()
        self._spare = self._new()
        return taken

    def close(self) -> None:
        """End the one that is waiting."""
        if self._spare is not None:
            self._spare.kill()
            self._spare = None

    def _new(self) -> Holder:
        return Holder(self._bench, f"holder-{secrets.token_hex(3)}-{next(self._numbers)}")
