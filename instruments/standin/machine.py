"""The stand-in machine: a process that is the growth chamber.

It computes the physics in one thread and answers questions in another, paced by its clock factor.
It knows nothing of adapters, leases or campaigns: an operation once begun goes to its end, whoever
dies. Every effect is on disk in `physical.log` before the machine goes on.

    python -m twinloop.instruments.standin.machine --config growth_chamber.yaml --folder runs/machine
"""

import argparse
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import zmq
from numpy.typing import NDArray

from twinloop.clocks import RealWireClock
from twinloop.errors import LabError, MessageRejected
from twinloop.instruments.standin.chamber import LANES, Chamber, Lane
from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.standin.physical_log import EventFile
from twinloop.instruments.standin.settings import ChamberSettings, paced, read_settings
from twinloop.instruments.standin.wire import (
    MAX_FRAME_BYTES,
    Reply,
    Request,
    decode_request,
    encode_reply,
    reply_of,
)
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.wire.endpoint import bind_checked, make_socket

__all__ = ["MachineServer", "main"]

POLL_MS = 200
IDLE_WAIT_S = 0.05
GRACE_S = 6.0
"""How long a growth may go on when the parent has closed the pipe [s]: half a film helps nobody."""
QUIET_S = 1.0
"""So long after the last question nobody is there any more [s]: an adapter that ends at the same time
wants to know how the growth ended, and to reach its safe state."""
HWM = 64


class MachineServer:
    """One chamber behind one endpoint.

    Args:
        settings: what the chamber is.
        folder: of the physical log, the final surfaces and the sealed truth.
        endpoint: loopback endpoint to listen on; port 0 takes a free one.
        vessel: folder of the transfer vessel at the chamber; None: there is none.

    Raises:
        BindRefused: not loopback.
        EndpointBusy: the port is taken.
    """

    def __init__(
        self, settings: ChamberSettings, folder: Path, endpoint: str, vessel: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = EventFile(folder / "physical.log")
        self.chamber = Chamber(
            settings, log=self._log, folder=folder, history=self._log.events, vessel=vessel
        )
        self._factor = settings.clock_factor
        self._clock = RealWireClock()
        self._asked_s = self._clock.now_s()
        self._stop, self._wake = threading.Event(), threading.Event()
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = make_socket(self._context, zmq.ROUTER, max_bytes=MAX_FRAME_BYTES, hwm=HWM)
        self.endpoint = bind_checked(self._socket, endpoint)
        self._physics = threading.Thread(target=self._compute, name="physics", daemon=True)

    def serve(self) -> None:
        """Answer until `stop` is called."""
        self._log.append("machine_started", pid=os.getpid())
        self._physics.start()
        try:
            while not self._stop.is_set():
                if self._socket.poll(POLL_MS):
                    self._answer(self._socket.recv_multipart())
        finally:
            self._stop.set()
            self._wake.set()
            self._physics.join()
            self._socket.close(linger=0)
            self._context.term()
            self._log.close()

    def stop(self, grace_s: float = 0.0) -> None:
        """End `serve`; may be called from any thread.

        Args:
            grace_s: how long an operation under way may still go on towards its end, and others may
                still ask [s, real].
        """
        self._asked_s = self._clock.now_s()
        deadline_s = self._asked_s + grace_s
        while self._is_wanted() and self._clock.now_s() < deadline_s:
            self._stop.wait(IDLE_WAIT_S)
        self._stop.set()
        self._wake.set()

    def _is_wanted(self) -> bool:
        is_asked = self._clock.now_s() < self._asked_s + QUIET_S
        return is_asked or self.chamber.readings().is_busy

    def _answer(self, frames: list[bytes]) -> None:
        if len(frames) != 3:
            return
        self._asked_s = self._clock.now_s()
        sender, number, body = frames
        reply, arrays = self._reply(body)
        try:
            self._socket.send_multipart([sender, number, *encode_reply(reply, arrays)])
        except zmq.ZMQError:
            # The asker has gone; whoever comes next asks again by key.
            return

    def _reply(self, body: bytes) -> tuple[Reply, list[NDArray[Any]]]:
        try:
            answer = self._do(decode_request(body))
        except LabError as err:
            return Reply(error=str(err)), []
        self._wake.set()
        return reply_of(answer) if isinstance(answer, Progress) else (answer, [])

    def _do(self, request: Request) -> Progress | Reply:
        chamber = self.chamber
        if request.ask == "begin":
            if request.operation is None:
                raise MessageRejected("machine", "begin without an operation")
            return chamber.begin(request.operation)
        if request.ask == "progress":
            return chamber.progress(request.key, request.since)
        if request.ask == "abort":
            return chamber.abort(request.key)
        if request.ask == "safe_state":
            chamber.safe_state(request.reason)
        return Reply(readings=chamber.readings())

    def _compute(self) -> None:
        """Step both lanes; each no faster than its laboratory time allows."""
        _warm_up()
        clock = self._clock
        due_s: dict[Lane, float] = dict.fromkeys(LANES, 0.0)
        while not self._stop.is_set():
            now_s, next_s = clock.now_s(), float("inf")
            for lane in LANES:
                if due_s[lane] <= now_s:
                    passed_s = self._step(lane)
                    # An idle lane owes nothing: what begins next starts its own time.
                    idle = passed_s is None
                    due_s[lane] = now_s if idle else due_s[lane] + (passed_s or 0.0) / self._factor
                    if idle:
                        continue
                next_s = min(next_s, due_s[lane])
            self._wake.wait(min(max(0.0, next_s - clock.now_s()), IDLE_WAIT_S))
            self._wake.clear()

    def _step(self, lane: Lane) -> float | None:
        try:
            return self.chamber.step(lane)
        except Exception as err:  # noqa: BLE001 - the boundary of the physics: said, not hidden
            self.chamber.give_up(lane, repr(err))
            self._log.append("machine_broke", lane=lane, error=repr(err))
            return None


def _warm_up() -> None:
    """Load the compiled kernel before the first growth needs it."""
    film = Film.flat(size=8, parameters=GrowthParameters(multi_hop=8), seed=0)
    film.advance(temperature_K=600.0, flux_ML_per_s=1.0, duration_s=0.1)


def main(arguments: list[str] | None = None) -> int:
    """Run a machine until it is told to stop; return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop-standin", description=__doc__)
    parser.add_argument("--config", required=True, help="YAML file, or one of configs/standins")
    parser.add_argument("--folder", required=True, type=Path, help="where its physical log lies")
    parser.add_argument("--endpoint", default="tcp://127.0.0.1:0", help="where it listens")
    parser.add_argument("--vessel", type=Path, help="folder of the transfer vessel at the chamber")
    parser.add_argument("--announce", type=Path, help="file to write the endpoint and pid to")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when the parent's pipe closes"
    )
    parser.add_argument(
        "--clock-factor",
        type=float,
        help="laboratory seconds in one real second, instead of the file's",
    )
    options = parser.parse_args(arguments)
    try:
        settings = read_settings(options.config)
        if options.clock_factor is not None:
            settings = paced(settings, options.clock_factor)
        server = MachineServer(settings, options.folder, options.endpoint, options.vessel)
    except LabError as err:
        sys.stderr.write(f"{err}\n")
        return 2
    if options.exit_with_stdin:
        # Ctrl-C reaches the whole group; the parent alone decides when the machine ends.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_watch_stdin, args=(server,), daemon=True).start()
    if options.announce is not None:
        _announce(options.announce, server.endpoint)
    try:
        server.serve()
    except KeyboardInterrupt:
        return 130
    return 0


def _watch_stdin(server: MachineServer) -> None:
    # not sys.stdin: its lock, held by a daemon thread, can abort the interpreter at its end
    while os.read(0, 4096):
        pass
    server.stop(GRACE_S)


def _announce(path: Path, endpoint: str) -> None:
    """Write the file in one piece: who reads it never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(json.dumps({"endpoint": endpoint, "pid": os.getpid()}), "utf-8")
    os.replace(unfinished, path)  # noqa: PTH105 - the same on Windows and POSIX


if __name__ == "__main__":
    sys.exit(main())
