"""`python -m twinloop.agents.report FOLDER [--out FILE]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from twinloop.agents.report.page import write_report
from twinloop.errors import LabError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the report of a run folder; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m twinloop.agents.report",
        description="Write report.html, one self-contained page, from the journal of a run folder.",
    )
    parser.add_argument("folder", type=Path, help="the run folder")
    parser.add_argument(
        "--out", type=Path, help="the file to write; FOLDER/report.html if left out"
    )
    given = parser.parse_args(arguments)
    try:
        path = write_report(given.folder, given.out)
    except (LabError, OSError) as err:
        sys.stderr.write(f"no report: {err}\n")
        return 2
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
