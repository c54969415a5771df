"""The crew of a campaign: which children its supervisor keeps alive, and how each is started.

    hub, [machine-ADAPTER, ADAPTER] for each adapter with `start: demo`, conductor

All are started at once: whoever is early dials until the other is there. Files of a demonstration
adapter lie in the run folder: `machines/ADAPTER` the stand-in's physical log, `adapters/ADAPTER`
ledger, spool and specification.
"""

from pathlib import Path

from twinloop.agents.config.interface import Adapter, Campaign, Laboratory
from twinloop.agents.config.laboratory import with_places
from twinloop.agents.runtime.keeper import ChildSpec, python_module
from twinloop.agents.runtime.run_folder import RunFolder, free_endpoint
from twinloop.agents.runtime.supervisor import EXIT_FINISHED, EXIT_STOPPED, Crew
from twinloop.errors import ArgumentError
from twinloop.instruments.spec import AdapterSpec, InstrumentSpec, class_path

__all__ = ["CANNOT_LEAD", "CONDUCTOR", "HUB", "adapter_spec", "crew_of"]

CANNOT_LEAD = 4
CONDUCTOR, HUB = "conductor", "hub"
_CONDUCTOR_GRACE_S = 6.0
# half a film helps nobody: a growth of a demonstration may end before its adapter does
_ADAPTER_FINISH_S = 3.0
_ADAPTER_GRACE_S = 6.5
# an operation that has begun goes to its end, within reason: half a film helps nobody
_MACHINE_GRACE_S = 7.0
_HUB_GRACE_S = 2.0


def crew_of(campaign: Campaign, folder: RunFolder, hub: str) -> Crew:
    """Return the children of a run.

    Args:
        campaign: the configuration; its laboratory says which adapters are demonstrations.
        folder: the run folder; the specifications of the adapters are written there.
        hub: endpoint where the hub is to listen.
    """
    laboratory = campaign.laboratory
    machines: list[ChildSpec] = []
    adapters: list[ChildSpec] = []
    for adapter in laboratory.adapters.values():
        if adapter.start != "demo":
            continue
        machine = None
        if adapter.machine is not None:
            machine = free_endpoint()
            machines.append(_machine(adapter, laboratory, folder, machine))
        spec = adapter_spec(laboratory, adapter.name, folder.adapters / adapter.name, hub, machine)
        spec = _with_places(spec, folder)
        spec = spec.model_copy(update={"finish_s": _ADAPTER_FINISH_S})
        adapters.append(_adapter(spec, folder.cwd))
    children = (_hub(folder, hub), *machines, *adapters, _conductor(folder, hub))
    ranks = (
        (CONDUCTOR,),
        tuple(child.name for child in adapters),
        tuple(child.name for child in machines),
        (HUB,),
    )
    return Crew(children, CONDUCTOR, ranks)


def adapter_spec(
    laboratory: Laboratory, agent: str, folder: Path, hub: str, machine: str | None = None
) -> AdapterSpec:
    """Return what the adapter process of a laboratory is told at its start.

    Args:
        laboratory: says which instruments it serves.
        agent: name of the adapter there.
        folder: of its ledger and spool.
        hub: endpoint of the hub.
        machine: endpoint of the stand-in machine, where the supervisor starts one.

    Raises:
        ArgumentError: no adapter of that name, or one that serves nothing.
    """
    served = laboratory.served_by(agent)
    if agent not in laboratory.adapters or not served:
        allowed = f"an adapter that serves something: {', '.join(laboratory.adapters) or 'none'}"
        raise ArgumentError("adapter", agent, allowed)
    added = {} if machine is None else {"machine": machine}
    return AdapterSpec(
        agent=agent,
        hub=hub,
        folder=folder,
        instruments={
            name: InstrumentSpec(
                cls=class_path(instrument.cls), settings={**instrument.settings, **added}
            )
            for name, instrument in served.items()
        },
        clock_factor=laboratory.clock_factor,
        stop_endpoint=laboratory.adapters[agent].stop_endpoint,
    )


def _with_places(spec: AdapterSpec, folder: RunFolder) -> AdapterSpec:
    placed = {
        name: one.model_copy(
            update={"settings": with_places(one.settings, folder.vessel, folder.machines / name)}
        )
        for name, one in spec.instruments.items()
    }
    return spec.model_copy(update={"instruments": placed})


def _hub(folder: RunFolder, endpoint: str) -> ChildSpec:
    command = python_module(
        "twinloop.agents.hub.process",
        "--endpoint",
        endpoint,
        "--announce",
        str(folder.hub_file),
        "--exit-with-stdin",
    )
    return ChildSpec(HUB, command, grace_s=_HUB_GRACE_S)


def _machine(
    adapter: Adapter, laboratory: Laboratory, folder: RunFolder, endpoint: str
) -> ChildSpec:
    command = python_module(
        "twinloop.instruments.standin.machine",
        "--config",
        str(adapter.machine),
        "--folder",
        str(folder.machines / adapter.name),
        "--endpoint",
        endpoint,
        "--clock-factor",
        str(laboratory.clock_factor),
        "--vessel",
        str(folder.vessel),
        "--exit-with-stdin",
    )
    return ChildSpec(f"machine-{adapter.name}", command, grace_s=_MACHINE_GRACE_S)


def _adapter(spec: AdapterSpec, cwd: Path | None) -> ChildSpec:
    spec.folder.mkdir(parents=True, exist_ok=True)
    file = spec.folder / "spec.json"
    spec.write(file)
    command = python_module("twinloop.instruments.server", "--spec", str(file), "--exit-with-stdin")
    # its watchdog outlives it on purpose: it makes the instruments safe
    return ChildSpec(spec.agent, command, cwd=cwd, grace_s=_ADAPTER_GRACE_S, sweep_family=False)


def _conductor(folder: RunFolder, hub: str) -> ChildSpec:
    command = python_module(
        "twinloop.agents.campaign.conductor",
        "--folder",
        str(folder.path),
        "--hub",
        hub,
        "--exit-with-stdin",
    )
    return ChildSpec(
        CONDUCTOR,
        command,
        cwd=folder.cwd,
        grace_s=_CONDUCTOR_GRACE_S,
        final=frozenset({EXIT_FINISHED, EXIT_STOPPED, CANNOT_LEAD}),
    )
