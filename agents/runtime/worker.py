"""One compute agent as a plain process.

`python -m twinloop.agents.runtime.worker --hub ENDPOINT --spec JSON`; it ends with its standard
input, with status 0 when asked to, and with another one when the hub has a newer incarnation of its
name or when it cannot be built.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from twinloop.agents.runtime.compute import EXIT_BROKEN, ComputeSpec
from twinloop.agents.runtime.processes import end_with_stdin
from twinloop.agents.runtime.twin_agent import make_agent
from twinloop.errors import LabError

__all__ = ["main"]

_LOG = logging.getLogger(__name__)
_GRACE_S = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one compute agent and return the exit status."""
    parser = argparse.ArgumentParser(prog="twinloop worker", description=__doc__)
    parser.add_argument("--hub", required=True, help="endpoint of the hub")
    parser.add_argument("--spec", required=True, help="ComputeSpec as JSON")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    spec = ComputeSpec.model_validate_json(options.spec)
    agent = make_agent(spec, options.hub)
    end_with_stdin(agent.stop, _GRACE_S)
    try:
        ended = agent.run()
    except LabError as err:
        _LOG.error("%s cannot work: %s", spec.name, err)
        return EXIT_BROKEN
    _LOG.info("%s ends: %s", spec.name, ended.reason)
    return ended.code


if __name__ == "__main__":
    sys.exit(main())
