"""The janitor: ends what is left of a run when its supervisor was killed.

Every process of a run ends by itself when its parent dies. The janitor makes sure: it waits for the
supervisor's end, then for everybody else's, kills who is left after a grace, and removes Ray's
temporary folder. It holds nothing and does nothing until then.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from twinloop.agents.runtime.processes import sweep
from twinloop.agents.runtime.run_folder import RunFolder

__all__ = ["GRACE_S", "NAME", "main"]

_LOG = logging.getLogger(__name__)
NAME = "janitor"
# longer than any child allows itself; less than the ten seconds that are promised
GRACE_S = 6.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait for standard input to close, clean up, and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop janitor", description=__doc__)
    parser.add_argument("--folder", required=True, type=Path, help="run folder")
    parser.add_argument("--grace", type=float, default=GRACE_S, help="before killing [s]")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    folder = RunFolder.open(options.folder)
    run = folder.run
    while os.read(0, 4096):
        continue
    for left in sweep(run, grace_s=options.grace, spare=(NAME,)):
        _LOG.error("%s (pid %d) does not die", left.name, left.pid)
    for path in folder.remove_ray_tmp():
        _LOG.info("removed %s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
