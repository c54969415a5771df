"""From a laboratory to what one adapter process is told."""

from pathlib import Path
from typing import Any

from twinloop.agents.config.laboratory import LabInstrument, Laboratory
from twinloop.errors import ArgumentError
from twinloop.instruments.spec import AdapterSpec, InstrumentSpec, class_path
from twinloop.plugins import one_of

__all__ = ["adapter_spec"]


def adapter_spec(
    laboratory: Laboratory, adapter: str, *, hub: str, folder: Path, machine: str | None = None
) -> AdapterSpec:
    """Return what an adapter process is told at its start.

    Args:
        laboratory: the laboratory.
        adapter: name of the adapter.
        hub: endpoint of the hub.
        folder: of ledger, spool and locks; the same at every start.
        machine: endpoint of the stand-in machine behind its twins, or the file in which that
            machine announces itself; None to leave the settings as they are.

    Raises:
        ArgumentError: an adapter that serves nothing here, or a machine for instruments that take
            none.
    """
    served = laboratory.served_by(adapter)
    if not served:
        known = sorted({i.served for i in laboratory.instruments.values() if i.served})
        raise ArgumentError("adapter", adapter, one_of(known, adapter))
    entry = laboratory.adapters[adapter]
    return AdapterSpec(
        agent=adapter,
        hub=hub,
        folder=folder,
        instruments={name: _instrument(one, machine) for name, one in served.items()},
        clock_factor=laboratory.clock_factor,
        stop_endpoint=entry.stop_endpoint,
    )


def _instrument(instrument: LabInstrument, machine: str | None) -> InstrumentSpec:
    settings: dict[str, Any] = dict(instrument.settings)
    if machine is not None:
        if "machine" not in instrument.cls.model_fields:
            name = instrument.cls.__name__
            raise ArgumentError("machine", machine, f"nothing: {name} has no setting of that name")
        settings["machine"] = machine
    return InstrumentSpec(cls=class_path(instrument.cls), settings=settings)
