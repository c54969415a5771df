"""What theory was asked and what it answered, as one NeXus file: traces by simulation."""

from typing import Any

import numpy as np

from twinloop.agents.campaign.events import Simulated, SimulationsProposed, SimulationWanted
from twinloop.agents.export.contracts import Meaning
from twinloop.agents.export.nexus_answer import DIGEST_OF, put_numbers
from twinloop.agents.export.nexus_tree import Tree
from twinloop.agents.export.quantities import unit_in_name
from twinloop.agents.export.record import RunRecord

__all__ = ["has_traces", "write_theory"]

NOTICE = "PREDICTION: computed by a simulation of theory, not measured"


def has_traces(record: RunRecord) -> bool:
    """Return whether a simulation gave arrays; numbers alone are in the Parquet tables."""
    return any(event.arrays for event in record.history.simulated)


def write_theory(root: Tree, record: RunRecord) -> None:
    """Write each answered simulation that has arrays, with what it was asked."""
    root.tell(notice=NOTICE, default="theory")
    entry = root.group("theory", "NXentry", notice=NOTICE)
    entry.put("title", f"theory asked by {record.campaign}")
    entry.put("experiment_identifier", f"{record.campaign}.{record.run_id}")
    for event in record.history.simulated:
        batch = record.history.batches.get(event.batch)
        if event.arrays and batch is not None and event.row < len(batch.wanted):
            _put(entry, record, event, batch, batch.wanted[event.row])


def _put(
    entry: Tree,
    record: RunRecord,
    event: Simulated,
    batch: SimulationsProposed,
    wanted: SimulationWanted,
) -> None:
    made = entry.group(f"simulation_{event.batch:03d}_{event.row:03d}", "NXprocess")
    made.put("program", batch.simulator)
    made.put("date", record.at(event.log_key()) or None)
    made.put("code", event.code or None)
    made.put("seed", np.uint64(wanted.seed) if 0 <= wanted.seed < 2**64 else str(wanted.seed))
    for name, numbers in (
        ("point", wanted.point),
        ("theta", wanted.theta),
        ("values", event.values),
    ):
        put_numbers(made.group(name, "NXparameters"), numbers, _by_name)
    arrays = made.group("arrays", "NXcollection")
    for ref in event.arrays:
        array: Any = record.load(ref, f"simulation {event.batch}/{event.row}")
        if array is not None:
            name = ref.name.rpartition(".")[2]
            said = {"digest": ref.digest, "digest_of": DIGEST_OF}
            arrays.put_array(name, array, units=unit_in_name(name), long_name=name, **said)


def _by_name(name: str) -> Meaning:
    return Meaning(unit_in_name(name))
