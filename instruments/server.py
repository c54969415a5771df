"""The adapter process: instruments of one chamber, served beside their machine.

    python -m twinloop.instruments.server --spec adapter.json

Its watchdog is started before anything heavy is imported here: the two processes load side by side.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from twinloop.errors import LabError
from twinloop.instruments.guard import Guard

__all__ = ["main"]

_LOG = logging.getLogger(__name__)


def _early_guard(spec: Path) -> Guard | None:
    """Return a watchdog that loads and waits; None where the file has no folder to guard."""
    try:
        folder = Path(json.loads(spec.read_text(encoding="utf-8"))["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        return Guard(spec, folder)
    except (OSError, ValueError, TypeError, KeyError) as err:
        # whoever reads the file in earnest says what is wrong with it
        _LOG.debug("no watchdog yet: %s", err)
        return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve what a file says and return the exit status; 2 when nothing was started."""
    parser = argparse.ArgumentParser(prog="twinloop adapter", description=__doc__)
    parser.add_argument("--spec", type=Path, required=True, help="JSON file of an AdapterSpec")
    parser.add_argument(
        "--exit-with-stdin", action="store_true", help="end when standard input closes"
    )
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="adapter: %(message)s")
    guard = _early_guard(options.spec)
    try:
        from twinloop.instruments.serving import serve
        from twinloop.instruments.spec import AdapterSpec

        spec = AdapterSpec.read(options.spec)
        return serve(spec, exit_with_stdin=options.exit_with_stdin, guard=guard)
    except LabError as err:
        _LOG.error("%s", err)
        return 2
    finally:
        if guard is not None:
            guard.dismiss()


if __name__ == "__main__":
    sys.exit(main())
