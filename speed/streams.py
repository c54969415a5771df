"""Frames of a camera from an adapter process to an analyst, while commands are answered.

    python speed/streams.py [--seconds 10]

As in a campaign: a hub, an adapter process with a camera of 512 x 512 uint16 and a stage, a depot, each in
a process of its own, and an analyst process that checks each frame's digest and sums it. This process holds
the lease and commands the stage, an idempotent action, about ten times a second: time to `Accepted` (which
waits for the ledger's disk) and to `Outcome`. In turns with it: the same commands while no frame flows; and
the floor, raw ZeroMQ PUSH to PULL of the same frames between two processes, unchecked.

The camera is paced at 200, 300 and 400 frames/s, and then not at all: that row shows what is lost, that the
losses are counted on the analyst's side, and what the memory of each process grew to.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import zmq

from twinloop.clocks import RealWireClock
from twinloop.instruments.interface import Instrument, Limit, OnSilence, Recovery, action
from twinloop.units import Seconds

SIDE = 512
RING = 8
STREAM = "camera.frames"
CLOCK = RealWireClock()


class Camera(Instrument, kind="camera"):
    """Emits frames at a rate, or as fast as it can."""

    is_twin = True

    def connect(self) -> None:
        """Make the frames that it will show in turns."""
        rng = np.random.default_rng(1)
        self.ring = rng.integers(0, 4096, (RING, SIDE, SIDE), dtype=np.uint16)

    def safe_state(self) -> None:
        """Nothing moves."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.SAFE_STATE, silence_s=60)
    async def record(
        self,
        *,
        lasts_s: Annotated[Seconds, Limit(0, 600)],
        frames_per_s: Annotated[float, Limit(0, 1e6)],
    ) -> int:
        """Emit frames; 0 frames/s stands for no pause at all. Return how many."""
        began_s, n = CLOCK.now_s(), 0
        while (now_s := CLOCK.now_s()) < began_s + lasts_s:
            due = int((now_s - began_s) * frames_per_s) + 1 if frames_per_s else n + 4
            while n < due:
                self.emit("frames", {"n": float(n)}, {"frame": self.ring[n % RING]})
                n += 1
            next_s = began_s + n / frames_per_s if frames_per_s else now_s
            await asyncio.sleep(max(0.0, next_s - CLOCK.now_s()))
        return n


class Stage(Instrument, kind="stage"):
    """Goes somewhere at once."""

    is_twin = True

    def connect(self) -> None:
        """Nothing to open."""

    def safe_state(self) -> None:
        """Nothing moves."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD, silence_s=60)
    async def move(self, *, x_um: Annotated[float, Limit(-100, 100)]) -> float:
        """Move."""
        return x_um


# --- the other processes ---------------------------------------------------------------------------


def run_depot(folder: Path) -> None:
    """Serve a depot until standard input closes."""
    from twinloop.agents.campaign.depot import DepotServer

    depot = DepotServer(folder, keep_free_bytes=0)
    depot.start()
    say(endpoint=depot.endpoint)
    sys.stdin.read()
    say(lost=depot.counts["stream elements lost"])
    depot.stop()


def run_analyst(endpoint: str) -> None:
    """Sum frames until standard input closes; print what was seen of each key."""
    import threading

    from twinloop.wire.streams import StreamSubscriber

    is_over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), is_over.set()), daemon=True).start()
    seen: dict[str, dict[str, float]] = {}
    with StreamSubscriber(endpoint, STREAM) as subscriber:
        while not is_over.is_set():
            for element in subscriber.poll(0.1):
                found = seen.setdefault(
                    element.key, {"frames": 0, "lost": 0, "first_s": CLOCK.now_s()}
                )
                found["frames"] += 1
                found["lost"] += element.n_lost
                found["total"] = float(element.arrays[0].sum(dtype=np.int64))
                found["last_s"] = CLOCK.now_s()
        say(seen=seen, rejected=subscriber.n_rejected)


def run_pull(lasts_s: float) -> None:
    """Pull raw frames for a while; print how many came a second."""
    socket = zmq.Context().socket(zmq.PULL)
    socket.set_hwm(16)
    port = socket.bind_to_random_port("tcp://127.0.0.1")
    say(port=port)
    socket.recv()
    began_s, n = CLOCK.now_s(), 0
    while CLOCK.now_s() < began_s + lasts_s:
        if socket.poll(100):
            np.frombuffer(socket.recv(), np.uint16).sum(dtype=np.int64)
            n += 1
    say(frames_per_s=n / (CLOCK.now_s() - began_s))


def say(**what: object) -> None:
    """Print a line of JSON."""
    print(json.dumps(what), flush=True)


def begin(*arguments: object) -> "subprocess.Popen[str]":
    """Start this file in another role."""
    command = [sys.executable, __file__, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def hear(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return what it says next."""
    return json.loads(process.stdout.readline())


# --- the lab ---------------------------------------------------------------------------------------


class Lab:
    """Hub, adapter, depot and analyst as processes; this one is the conductor."""

    def __init__(self, folder: Path) -> None:
        from twinloop.instruments.spec import AdapterSpec
        from twinloop.messages import LeaseGranted, LeaseRequest
        from twinloop.wire.mailbox import Mailbox

        command = [sys.executable, "-m", "twinloop.agents.hub.process"]
        announce = folder / "hub.txt"
        self.hub = subprocess.Popen(
            [*command, "--endpoint", "tcp://127.0.0.1:0", "--announce", str(announce)]
        )
        wait_for(lambda: announce.exists() and announce.read_text().strip())
        hub = announce.read_text().strip()
        self.depot = begin("depot", folder / "arrays")
        self.endpoint = hear(self.depot)["endpoint"]
        self.analyst = begin("analyst", self.endpoint)
        instruments = {n: {"class": f"streams:{n.title()}"} for n in ("camera", "stage")}
        spec = AdapterSpec.model_validate(
            {"agent": "pc", "hub": hub, "folder": folder / "adapter", "instruments": instruments}
        )
        spec.write(folder / "spec.json")
        serve = [
            sys.executable,
            "-m",
            "twinloop.instruments.server",
            "--spec",
            str(folder / "spec.json"),
        ]
        self.adapter = subprocess.Popen(serve, cwd=Path(__file__).parent, stderr=subprocess.DEVNULL)
        wait_for((folder / "adapter" / "ready.txt").exists)
        self.mailbox = Mailbox(hub, "conductor", "conductor")
        self.heard: deque[Any] = deque()
        wait_for(lambda: self.mailbox.poll(0.05) is None or self.mailbox.is_registered)
        self.grants: dict[str, LeaseGranted] = {}
        for name in instruments:
            request = LeaseRequest(
                instrument=name, campaign="c", depot=self.endpoint, ttl_s=60, incarnation="a"
            )
            self.mailbox.send("pc", request)
            self.grants[name] = self.await_(lambda m: isinstance(m, LeaseGranted))
        self.n = 0

    def await_(self, accept: Any, limit_s: float = 30.0) -> Any:
        """Return the next message that is accepted."""
        end_s = CLOCK.now_s() + limit_s
        while CLOCK.now_s() < end_s:
            while self.heard:
                message = self.heard.popleft()
                if accept(message):
                    return message
            self.heard += [message for _, message, _ in self.mailbox.poll(0.05)]
        raise SystemExit("no answer")

    def command(self, name: str, action_name: str, **arguments: float) -> Any:
        """Send a command and return it."""
        from twinloop.messages import Command

        self.n += 1
        grant = self.grants[name]
        command = Command(
            key=("c", "t", str(self.n), 1), instrument=name, action=action_name, arguments=arguments,
            sample=None, epoch=grant.epoch, ledger=grant.ledger, not_after_s=1e12,
        )  # fmt: skip
        self.mailbox.send("pc", command)
        return command

    def answered_ms(self, lasts_s: float) -> dict[str, Any]:
        """Command the stage for a while; return times to `Accepted` and `Outcome`."""
        from twinloop.messages import Accepted, LeaseRenew, Outcome, OutcomeAck

        accepted_ms, outcome_ms = [], []
        end_s = CLOCK.now_s() + lasts_s
        while CLOCK.now_s() < end_s:
            for name, grant in self.grants.items():
                self.mailbox.send("pc", LeaseRenew(instrument=name, epoch=grant.epoch))
            began_s = CLOCK.now_s()
            key = self.command("stage", "move", x_um=1.0).key
            while True:
                message = self.await_(
                    lambda m, k=key: isinstance(m, Accepted | Outcome) and m.key == k
                )
                taken_ms = 1e3 * (CLOCK.now_s() - began_s)
                if isinstance(message, Accepted):
                    accepted_ms.append(taken_ms)
                elif message.state != "running":
                    outcome_ms.append(taken_ms)
                    break
            self.mailbox.send("pc", OutcomeAck(key=key))
            self.heard += [message for _, message, _ in self.mailbox.poll(0.08)]
        return {"accepted_ms": spread(accepted_ms), "outcome_ms": spread(outcome_ms)}

    def streamed(self, frames_per_s: float, lasts_s: float) -> dict[str, Any]:
        """Record for a while, commanding meanwhile."""
        from twinloop.messages import Accepted, Outcome, OutcomeAck

        command = self.command("camera", "record", lasts_s=lasts_s, frames_per_s=frames_per_s)
        self.await_(lambda m: isinstance(m, Accepted) and m.key == command.key)
        answered = self.answered_ms(lasts_s - 0.5)
        outcome = self.await_(lambda m: isinstance(m, Outcome) and m.key == command.key)
        self.mailbox.send("pc", OutcomeAck(key=command.key))
        processes = {"adapter": self.adapter, "depot": self.depot, "analyst": self.analyst}
        memory = {
            n: round(psutil.Process(p.pid).memory_info().rss / 2**20) for n, p in processes.items()
        }
        return {
            "asked_frames_per_s": frames_per_s or "as fast as it can", "key": str(command.key),
            "emitted": outcome.result, **answered, "rss_MiB": memory, "lasts_s": lasts_s,
        }  # fmt: skip

    def close(self) -> dict[str, Any]:
        """End everything; return what the analyst saw."""
        self.analyst.stdin.close()
        seen = hear(self.analyst)
        self.depot.stdin.close()
        for process in (self.adapter, self.hub):
            process.terminate()
        self.adapter.wait(20)
        self.mailbox.close()
        return seen


def wait_for(is_true: Any) -> None:
    """Return when it is true."""
    import threading

    end_s = CLOCK.now_s() + 30.0
    while not is_true():
        if CLOCK.now_s() > end_s:
            raise SystemExit("it does not start")
        threading.Event().wait(0.01)


def spread(values: list[float]) -> dict[str, float]:
    """Return count, median, 99 % and largest."""
    ordered = sorted(values)
    return {
        "n": len(ordered),
        "p50": round(statistics.median(ordered), 2),
        "p99": round(ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 2),
        "max": round(ordered[-1], 2),
    }


def raw_frames_per_s(lasts_s: float) -> float:
    """Return what raw sockets carry between two processes."""
    pull = begin("pull", lasts_s)
    port = hear(pull)["port"]
    socket = zmq.Context().socket(zmq.PUSH)
    socket.set_hwm(16)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(f"tcp://127.0.0.1:{port}")
    frame = np.random.default_rng(2).integers(0, 4096, SIDE * SIDE, dtype=np.uint16)
    while pull.poll() is None:
        if socket.poll(50, zmq.POLLOUT):
            socket.send(frame, copy=True)
    found = float(hear(pull)["frames_per_s"])
    socket.close()
    return found


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    from measure import write_result

    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder))
        lab.streamed(50, 2.0)  # everything is warm after it
        rows, quiet = [], []
        for rate in (200, 300, 400, 0):
            quiet.append(lab.answered_ms(options.seconds / 2))
            rows.append(lab.streamed(rate, options.seconds))
        seen = lab.close()
    for row in rows:
        got = seen["seen"].get(row.pop("key"), {"frames": 0, "lost": 0})
        row["received"], row["counted_lost"] = got["frames"], got["lost"]
        row["received_per_s"] = round(got["frames"] / row["lasts_s"], 1)
    quiet_ms = {k: [one[k] for one in quiet] for k in ("accepted_ms", "outcome_ms")}
    write_result(
        "streams",
        {
            "frame": f"{SIDE} x {SIDE} uint16",
            "aim": ">= 200 frames/s received, a command answered within 20 ms",
            "while_no_frame_flows": quiet_ms,
            "while_frames_flow": rows,
            "raw_push_pull_frames_per_s": round(raw_frames_per_s(options.seconds / 2)),
        },
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["depot", folder]:
            run_depot(Path(folder))
        case ["analyst", endpoint]:
            run_analyst(endpoint)
        case ["pull", lasts_s]:
            run_pull(float(lasts_s))
        case _:
            main()
