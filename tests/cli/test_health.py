"""The health of instruments as a person sees it: what was heard, how old it is, whose clock is off."""

import threading
from datetime import UTC, datetime, timedelta

from twinloop.agents.cli.health import Health, Watcher, change_line, list_lines, show_lines
from twinloop.agents.hub.process import Hub
from twinloop.messages import InstrumentStatus, StatusRequest
from twinloop.wire.mailbox import Mailbox

DIGEST = "ab" * 32
AHEAD_S = 7.0


def status(**change) -> InstrumentStatus:
    told = {
        "instrument": "mbe", "kind_name": "mbe", "state": "idle", "is_twin": True, "ledger": "l-1",
        "schema_digest": DIGEST, "clock_factor": 20.0, "lab_now_s": 0.0, "n_commands": 12,
        "n_unacked": 3, "spool_bytes": 2 * 2**20, "utc": "2026-01-02T10:11:12.500000+00:00",
    }  # fmt: skip
    return InstrumentStatus.model_validate({**told, **change})


def health(age_s: float = 0.1, **change) -> Health:
    return Health("chamber", status(**change), 0.25, 0.01, age_s)


def test_a_list_has_one_line_for_each_and_names_a_trip() -> None:
    lines = list_lines({"mbe": health(trip="too hot", state="tripped"), "rheed": health(9.0)})
    assert lines[1].split()[:3] == ["mbe", "mbe", "tripped"]
    assert lines[2] == "  TRIPPED: too hot"
    assert "silent" in lines[3]
    assert len({line.index("chamber") for line in (lines[1], lines[3])}) == 1


def test_everything_is_shown() -> None:
    last = "2026-01-01T00:00:00+00:00: hung; cleared 2026-01-01T01:00:00+00:00 by Ada: freed"
    told = "\n".join(show_lines(health(last_trip=last, holder="conductor (c)", epoch=4), DIGEST))
    for word in ("conductor (c), epoch 4", "l-1: 12 commands, 3 outcomes", "2.0 MiB", last):
        assert word in told
    assert "wall clock +250 ms from this machine's (+- 10 ms)" in told
    assert "as installed here" in told
    assert "limits or actions differ" in "\n".join(show_lines(health(), "cd" * 32))
    assert "twinloop instrument clear mbe" in "\n".join(show_lines(health(trip="too hot")))


def test_a_line_is_told_when_something_changes_and_only_then() -> None:
    idle = health()
    assert change_line(None, idle) == "10:11:12 mbe: idle"
    assert change_line(idle, health(lab_now_s=5.0, spool_bytes=0)) is None
    assert "TRIPPED: too hot" in str(change_line(idle, health(state="tripped", trip="too hot")))
    assert "silent" in str(change_line(idle, health(99.0)))


def test_clocks_are_compared_over_a_real_hub() -> None:
    hub = Hub("tcp://127.0.0.1:0")
    threading.Thread(target=hub.run, daemon=True).start()
    is_over = threading.Event()

    def serve() -> None:
        with Mailbox(hub.endpoint, "chamber", "adapter") as mailbox:
            while not is_over.is_set():
                for sender, message, _ in mailbox.poll(0.02):
                    if isinstance(message, StatusRequest):
                        utc = (datetime.now(UTC) + timedelta(seconds=AHEAD_S)).isoformat()
                        mailbox.send(sender, status(utc=utc))

    thread = threading.Thread(target=serve)
    thread.start()
    watcher = Watcher(hub.endpoint, "person-1")
    try:
        found = next(told for told in watcher.rounds(0.3, 30.0) if told)
    finally:
        watcher.close()
        is_over.set()
        thread.join()
        hub.stop()
    seen = found["mbe"]
    assert seen.offset_s is not None
    # the promise is the stated error, whatever the machine's load
    assert abs(seen.offset_s - AHEAD_S) <= seen.offset_error_s + 0.005
