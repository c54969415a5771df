"""A hub and a depot in one process, for whoever checks an instrument: nothing is kept.

    python -m twinloop.agents.hub.bench --announce FILE --arrays FOLDER

It ends when standard input closes. The file gets two lines, the endpoints of hub and depot.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.hub.process import Hub, announce

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until standard input closes, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop bench", description=__doc__)
    parser.add_argument("--announce", type=Path, required=True, help="file for the endpoints")
    parser.add_argument("--arrays", type=Path, required=True, help="folder of the depot")
    options = parser.parse_args(arguments)
    # Ctrl-C reaches the whole group; who holds the pipe decides the order in which we end
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hub = Hub("tcp://127.0.0.1:0")
    depot = DepotServer(options.arrays, keep_free_bytes=0)
    depot.start()
    threading.Thread(target=_stop_with_stdin, args=(hub,), daemon=True).start()
    announce(options.announce, f"{hub.endpoint}\n{depot.endpoint}")
    hub.run()
    depot.stop()
    return 0


def _stop_with_stdin(hub: Hub) -> None:
    # not sys.stdin: its lock, held by a daemon thread, can abort the interpreter at its end
    while os.read(0, 4096):
        continue
    hub.stop()


if __name__ == "__main__":
    sys.exit(main())
