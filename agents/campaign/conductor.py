"""The conductor's process: journal, depot, mailbox and placement around its core.

    python -m twinloop.agents.campaign.conductor --folder RUN --hub tcp://127.0.0.1:PORT

Exit status: 0 the campaign is finished, 3 a person stopped it, 4 the configuration cannot be led;
anything else, and the supervisor starts it again.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.campaign.briefing import brief_of, uses_theory
from twinloop.agents.campaign.conductor_core import ConductorCore
from twinloop.agents.campaign.depot import DepotServer
from twinloop.agents.campaign.errands import is_of_planner
from twinloop.agents.campaign.pool import SendTask
from twinloop.agents.campaign.reading import fold
from twinloop.agents.campaign.state import ImpossibleEvent
from twinloop.agents.config.campaign_file import TheorySection
from twinloop.agents.config.interface import Campaign, load_campaign
from twinloop.agents.config.laboratory import LabInstrument, with_places
from twinloop.agents.runtime.compute import ComputeSpec
from twinloop.agents.runtime.payload import bundle, fits_inline, gather
from twinloop.agents.runtime.placement import InProcessPlacement, Placement, SubprocessPlacement
from twinloop.agents.runtime.processes import end_with_stdin
from twinloop.agents.runtime.run_folder import RunFolder, installed_versions
from twinloop.clocks import RealWireClock
from twinloop.errors import ArgumentError, ConfigError, FrameError, JournalCorrupt
from twinloop.ids import new_incarnation
from twinloop.log.arrays import ArrayUnavailable
from twinloop.log.sqlite import SqliteLog
from twinloop.messages import Message, TaskResult
from twinloop.wire.effects import Exit
from twinloop.wire.loop import AgentLoop
from twinloop.wire.mailbox import Mailbox

__all__ = ["CANNOT_LEAD", "Conductor", "main"]

CANNOT_LEAD = 4
NAME = "conductor"
_PROBLEMS = 3
_LOG = logging.getLogger(__name__)


def compute_specs(campaign: Campaign, vessel: Path | None = None) -> list[ComputeSpec]:
    """Return the compute agents of a campaign: one planner, the analysts, the twins on Ray.

    Args:
        campaign: the configuration.
        vessel: folder of the transfer vessel, for twins whose laboratory names none.
    """
    share = campaign.workers
    planner: dict[str, Any] = {"kind": "planner", "class": campaign.planner["name"]}
    options = {k: v for k, v in campaign.planner.items() if k != "name"}
    if "device" in options:
        options["device"] = campaign.device  # one setting for whatever can use a GPU
    planner["options"] = options
    specs = [
        ComputeSpec(
            name="planner",
            targets={"planner": planner},
            num_cpus=share.planner.num_cpus,
            num_gpus=share.planner.num_gpus,
        )
    ]
    analysts = {
        name: {"kind": "analyst", "class": f"{cls.__module__}:{cls.__name__}"}
        for name, cls in campaign.analysts.items()
    }
    if analysts:
        specs += [
            ComputeSpec(
                name=f"analyst-{n}",
                targets=analysts,
                num_cpus=share.analysts.num_cpus,
                num_gpus=share.analysts.num_gpus,
            )
            for n in range(share.analysts.count)
        ]
    if campaign.theory is not None and uses_theory(campaign):
        specs += _simulators(campaign.theory)
    return specs + _twins(campaign, vessel)


def _twins(campaign: Campaign, vessel: Path | None) -> list[ComputeSpec]:
    hosts: dict[str, list[LabInstrument]] = {}
    for twin in campaign.laboratory.twins_on_ray.values():
        hosts.setdefault(twin.host, []).append(twin)
    return [
        ComputeSpec(
            name=host,
            targets={
                twin.name: {
                    "kind": "instrument",
                    "class": twin.class_name,
                    "options": _options(twin, campaign.device, vessel),
                    "clock_factor": campaign.laboratory.clock_factor,
                }
                for twin in twins
            },
            num_cpus=sum(twin.num_cpus for twin in twins),
            num_gpus=sum(twin.num_gpus for twin in twins),
        )
        for host, twins in hosts.items()
    ]


def _options(twin: LabInstrument, device: str, vessel: Path | None) -> dict[str, Any]:
    """Return the settings of a twin on Ray, with what the campaign decides for all of them."""
    options = dict(twin.settings)
    if "device" in options:
        options["device"] = device
    return options if vessel is None else with_places(options, vessel, vessel.parent / twin.name)


def _simulators(theory: TheorySection) -> list[ComputeSpec]:
    section = theory.simulator
    target = {"kind": "simulator", "class": section.name, "options": dict(section.settings)}
    return [
        ComputeSpec(
            name=f"simulator-{n}",
            targets={"simulator": target},
            num_cpus=section.num_cpus,
            num_gpus=section.num_gpus,
        )
        for n in range(section.workers)
    ]


def make_placement(campaign: Campaign, folder: RunFolder, n_cpus: float) -> Placement:
    """Return where compute agents live: threads, Ray, or plain processes where Ray is missing."""
    if campaign.placement.in_process:
        return InProcessPlacement()
    if find_spec("ray") is None:
        _LOG.warning("ray is not installed: compute agents run as plain processes")
        return SubprocessPlacement(folder.run, folder.logs)
    from twinloop.agents.runtime.ray_placement import RayPlacement

    address = campaign.placement.address
    return RayPlacement(
        folder,
        address=None if address == "local" else address,
        # agents share what there is: a small machine places them all, only slower
        num_cpus=max(float(os.cpu_count() or 1), n_cpus),
    )


class Conductor:
    """One life of the conductor.

    Args:
        folder: the run folder.
        hub: endpoint of the hub.
    """

    def __init__(self, folder: RunFolder, hub: str) -> None:
        self.folder, self._hub = folder, hub
        self.campaign = load_campaign(folder.config_file)
        self._depot = DepotServer(folder.path / "arrays")
        self._mailbox: Mailbox | None = None

    def run(self) -> Exit:
        """Lead the campaign to its end, or until told to stop."""
        versions = _main_versions()
        brief = brief_of(self.campaign, versions, self.folder.run)
        log = SqliteLog(self.folder.path / "journal.db", f"journal-{self.folder.run}")
        # a journal that was tampered with, or that a disk has spoilt, leads nobody
        log.verify()
        state = fold(log.read())
        self._depot.start()
        (self.folder.path / "depot.txt").write_text(self._depot.endpoint, encoding="utf-8")
        specs = compute_specs(self.campaign, self.folder.vessel)
        n_cpus = sum(spec.num_cpus for spec in specs)
        placement = make_placement(self.campaign, self.folder, n_cpus)
        core = ConductorCore(
            brief,
            state,
            new_incarnation(),
            self._depot.endpoint,
            versions,
            lambda: placement.problems()[-_PROBLEMS:],
        )
        placement.start(self._hub)
        try:
            for spec in specs:
                placement.place(spec)
            return self._lead(core, log, placement)
        finally:
            placement.stop()
            self._depot.stop()
            log.close()

    def _lead(self, core: ConductorCore, log: SqliteLog, placement: Placement) -> Exit:
        with Mailbox(self._hub, NAME, "conductor", core.incarnation, watch=True) as mailbox:
            self._mailbox = mailbox

            def receive(
                sender: str, message: Message, arrays: tuple[NDArray[Any], ...], now_s: float
            ) -> list[object]:
                if isinstance(message, TaskResult):
                    message, arrays = self._with_memo(message, arrays)
                return core.receive(sender, message, now_s, arrays)

            loop = AgentLoop(
                core, mailbox, log, self._perform, receive_arrays=receive, clock=RealWireClock()
            )
            loop.inject(lambda: _tell_notes(core))
            ended = loop.run()
            for problem in placement.problems():
                _LOG.warning("placement: %s", problem)
            return ended

    def _with_memo(
        self, message: TaskResult, arrays: tuple[NDArray[Any], ...]
    ) -> tuple[TaskResult, tuple[NDArray[Any], ...]]:
        """Return a planner's answer with the arrays that were too large for its message."""
        if not is_of_planner(message.task) or all(ref.inline for ref in message.arrays):
            return message, arrays
        try:
            return gather(message, arrays, self._depot.load)
        except (ArrayUnavailable, FrameError) as err:
            _LOG.warning("an answer to %s is not whole: %s", message.task, err)
            return message, arrays

    def _perform(self, effect: object) -> None:
        if not isinstance(effect, SendTask):
            raise ArgumentError("effect", effect, "SendTask")
        if self._mailbox is None:
            return
        task, arrays = effect.task, effect.arrays
        if arrays and fits_inline(arrays[:1]) and sum(a.nbytes for a in arrays) <= 32 * 1024:
            task, arrays = bundle(task, arrays)
        elif arrays:
            inline = [ref for ref in task.arrays if ref.inline]
            stored = [ref for ref in task.arrays if not ref.inline]
            stored += [
                self._depot.lend(ref.name, array) for ref, array in zip(inline, arrays, strict=True)
            ]
            task, arrays = task.model_copy(update={"arrays": tuple(stored)}), ()
        self._mailbox.send(effect.to, task, arrays)


def _tell_notes(core: ConductorCore) -> list[object]:
    for note in core.state.notes:
        _LOG.warning("this campaign was changed between its lives: %s", note)
    return []


def _main_versions() -> dict[str, str]:
    packages = installed_versions().get("packages", {})
    names = ("twinloop", "ray", "torch", "botorch", "gpytorch", "numpy", "numba", "pyzmq")
    return {name: str(packages[name]) for name in names if name in packages}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a conductor from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", required=True, type=Path, help="run folder")
    parser.add_argument("--hub", required=True, help="endpoint of the hub")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when stdin closes")
    given = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s conductor %(levelname)s %(message)s"
    )
    if given.exit_with_stdin:
        end_with_stdin(lambda: None, grace_s=0.0)
    try:
        ended = Conductor(RunFolder.open(given.folder), given.hub).run()
    except (ConfigError, JournalCorrupt, ImpossibleEvent) as err:
        # another life would find the same
        sys.stderr.write(f"{err}\n")
        return CANNOT_LEAD
    _LOG.info("ends with status %d: %s", ended.code, ended.reason)
    return ended.code


if __name__ == "__main__":
    sys.exit(main())
