"""A lease holder in a process of its own, to be killed: its socket dies with it.

    python -m twinloop.instruments.conformance.holder --hub ENDPOINT --name NAME --to ADAPTER

Each line of standard input is the JSON of a message to the adapter; each message that comes back is a
line of standard output, the first one the hub's welcome. A lease that was granted is renewed until the process is killed.
"""

import argparse
import sys
import threading
from collections.abc import Sequence
from queue import Empty, SimpleQueue

from twinloop.clocks import RealWireClock
from twinloop.messages import LeaseGranted, LeaseRenew, Message, decode_message, encode_message
from twinloop.wire.mailbox import Mailbox

__all__ = ["main"]

_RENEW_S = 0.2


def main(arguments: Sequence[str] | None = None) -> int:
    """Pass messages on until standard input closes, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop holder", description=__doc__)
    parser.add_argument("--hub", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--to", required=True)
    options = parser.parse_args(arguments)
    asked: SimpleQueue[str] = SimpleQueue()
    clock = RealWireClock()
    lease: LeaseGranted | None = None
    renew_at_s = 0.0
    with Mailbox(options.hub, options.name, "conductor") as mailbox:
        threading.Thread(target=_read, args=(asked,), daemon=True).start()
        is_told = False
        while mailbox.ended is None:
            if mailbox.welcome is not None and not is_told:
                is_told = True
                _tell(mailbox.welcome)
            while mailbox.is_registered:
                try:
                    line = asked.get_nowait()
                except Empty:
                    break
                if not line:
                    return 0
                mailbox.send(options.to, decode_message(line.encode()))
            if lease is not None and clock.now_s() >= renew_at_s:
                renew = LeaseRenew(instrument=lease.instrument, epoch=lease.epoch)
                mailbox.send(options.to, renew)
                renew_at_s = clock.now_s() + _RENEW_S
            for _, message, _ in mailbox.poll(0.05):
                if isinstance(message, LeaseGranted):
                    lease = message
                _tell(message)
    return 1


def _tell(message: Message) -> None:
    sys.stdout.write(encode_message(message).decode() + "\n")
    sys.stdout.flush()


def _read(asked: "SimpleQueue[str]") -> None:
    for line in iter(sys.stdin.readline, ""):
        asked.put(line)
    asked.put("")


if __name__ == "__main__":
    sys.exit(main())
