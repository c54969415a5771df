"""`twinloop instrument`: serve one beside its machine, see what there is, stop it, clear a trip."""

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinloop.agents.cli.commands import LabCommand, LabGroup, me
from twinloop.agents.cli.offer_command import offer

if TYPE_CHECKING:
    from twinloop.agents.cli.health import Health
    from twinloop.instruments.interface import Instrument

__all__ = ["instrument_app"]

instrument_app = typer.Typer(
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Serve, list, stop and clear instruments.",
)

instrument_app.command(cls=LabCommand)(offer)

Run = Annotated[Path | None, typer.Option("--run", metavar="FOLDER", help="run folder of the hub")]
Hub = Annotated[str | None, typer.Option(help="endpoint of the hub, instead of --run")]


@instrument_app.command("serve", cls=LabCommand)
def serve_instruments(
    lab: Annotated[
        Path, typer.Argument(metavar="LAB", help="laboratory file, or the name of a shipped one")
    ],
    adapter: Annotated[str, typer.Argument(metavar="ADAPTER", help="a key of adapters there")],
    hub: Annotated[str, typer.Option(help="endpoint of the hub; FOLDER/hub.txt of the run has it")],
    folder: Annotated[
        Path | None, typer.Option(help="of its ledger and spool; left out: adapters/ADAPTER")
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(help="stand-in machine: endpoint, or the file it announces itself in"),
    ] = None,
    exit_with_stdin: Annotated[
        bool, typer.Option("--exit-with-stdin", help="end when standard input closes")
    ] = False,
) -> None:
    """Serve the instruments of one adapter, beside their machine.

    Runs on the control PC, on the light base install, until it is told to end;
    then every instrument goes to its safe state. Have a service manager start
    it again: it reads its ledger and asks the machine what became of the last
    command. The folder must be the same at every start.

    Example:
      twinloop instrument serve labs/real.yaml growth_pc --hub tcp://127.0.0.1:5555
    Next:
      twinloop instrument list --hub tcp://127.0.0.1:5555
    """
    import logging

    from twinloop.agents.config.adapter import adapter_spec
    from twinloop.agents.config.interface import load_laboratory
    from twinloop.instruments.serving import serve

    chosen = folder or Path("adapters") / adapter
    spec = adapter_spec(load_laboratory(lab), adapter, hub=hub, folder=chosen, machine=machine)
    logging.basicConfig(level=logging.INFO, format="adapter: %(message)s")
    raise typer.Exit(serve(spec, exit_with_stdin=exit_with_stdin))


@instrument_app.command("list", cls=LabCommand)
def list_instruments(run: Run = None, hub: Hub = None) -> None:
    """List installed instrument classes, or the instruments of a run.

    Without --run: what a laboratory file may name, with each action and the
    limits of its arguments. With --run or --hub: what is served there now, who
    holds it, and what it does.

    Example:
      twinloop instrument list
      twinloop instrument list --run runs/mbe_growth-20260117-101500
    Next:
      twinloop instrument clear NAME ...     where one is tripped
    """
    if run is None and hub is None:
        for line in _installed():
            typer.echo(line)
        return
    from twinloop.agents.cli.health import list_lines

    for line in list_lines(_health(run, hub)):
        typer.echo(line)


@instrument_app.command("show", cls=LabCommand)
def show_instrument(
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="name in the laboratory file")],
    run: Run = None,
    hub: Hub = None,
    cls: Annotated[
        str | None,
        typer.Option(
            "--class", metavar="CLASS", help="installed name or module:Class, to compare schemas"
        ),
    ] = None,
) -> None:
    """Show everything that is known of one served instrument.

    State and what it does, who holds its lease, its ledger and spool, the trip
    that stands and the last one with who cleared it, how far its wall clock is
    from this machine's, and the digest of its actions and limits. With --class
    the digest is compared with that of a class that is installed here.

    Example:
      twinloop instrument show mbe --run runs/mbe_growth-20260117-101500
    Next:
      twinloop instrument watch mbe --run FOLDER
    """
    from twinloop.agents.cli.health import show_lines
    from twinloop.errors import ArgumentError

    found = _health(run, hub)
    if instrument not in found:
        raise ArgumentError("NAME", instrument, f"one of {', '.join(found) or 'none is served'}")
    for line in show_lines(found[instrument], _digest_of(cls)):
        typer.echo(line)


@instrument_app.command("watch", cls=LabCommand)
def watch_instruments(
    instrument: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="name in the laboratory file; all without it"),
    ] = None,
    run: Run = None,
    hub: Hub = None,
    every_s: Annotated[float, typer.Option("--every", min=0.2, help="period [s]")] = 1.0,
    lasts_s: Annotated[
        float | None, typer.Option("--for", min=0.0, help="end after so long [s]")
    ] = None,
) -> None:
    """Follow served instruments: a line whenever something changes, until Ctrl-C.

    A line tells the instrument's own time, its state, what it does, who holds
    it, and a trip. An instrument that is not heard of any more is `silent`.

    Example:
      twinloop instrument watch --run runs/mbe_growth-20260117-101500
    Next:
      twinloop instrument show NAME --run FOLDER
    """
    from contextlib import closing

    from twinloop.agents.cli.health import Health, Watcher, change_line

    before: dict[str, Health] = {}
    with closing(Watcher(_endpoint(run, hub), _asker())) as watcher:
        try:
            for found in watcher.rounds(every_s, lasts_s):
                for name, health in found.items():
                    line = change_line(before.get(name), health)
                    if line is not None and instrument in {None, name}:
                        typer.echo(line)
                before = found
        except KeyboardInterrupt:
            return


@instrument_app.command("clear", cls=LabCommand)
def clear_trip(
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="name in the laboratory file")],
    reason: Annotated[str, typer.Option(help="why it is safe again; the ledger keeps it")],
    run: Run = None,
    hub: Hub = None,
) -> None:
    """Clear the trip of an instrument, after a person has looked at it.

    A trip (a limit, an interlock, an emergency stop, a safe state that failed)
    stays until somebody says, with a name and a reason, that work may go on.

    Example:
      twinloop instrument clear mbe --reason "shutter freed" --run FOLDER
    Next:
      twinloop instrument list --run FOLDER
    """
    from twinloop.agents.cli.person import ask, instruments_at
    from twinloop.errors import ArgumentError
    from twinloop.messages import Clear, InstrumentStatus

    endpoint = _endpoint(run, hub)
    found = instruments_at(endpoint)
    if instrument not in found:
        raise ArgumentError("NAME", instrument, f"one of {', '.join(found) or 'none is served'}")
    agent, before = found[instrument]
    if before.trip is None:
        typer.echo(f"{instrument} is not tripped: {before.state}")
        return
    message = Clear(instrument=instrument, person=me(), reason=reason)
    after = ask(endpoint, agent, message, InstrumentStatus)
    typer.echo(
        f"{instrument}: {after.state}{f', still tripped: {after.trip}' if after.trip else ''}"
    )
    if after.trip:
        raise typer.Exit(1)


@instrument_app.command("stop", cls=LabCommand)
def stop_instruments(
    reason: Annotated[str, typer.Option(help="what you saw; the ledger keeps it")],
    instrument: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="name in the laboratory file; all without it"),
    ] = None,
    run: Run = None,
    hub: Hub = None,
) -> None:
    """EMERGENCY STOP: safe state now, in every instrument or in one.

    What runs is cancelled. The stop is a trip: nothing starts there, whoever
    asks, until a person clears it. It does not replace the switch at the machine.

    Example:
      twinloop instrument stop --reason smoke --run FOLDER
    Next:
      twinloop instrument clear NAME --reason "..." --run FOLDER
    """
    from twinloop.agents.cli.person import emergency_stop
    from twinloop.messages import EmergencyStop

    stop = EmergencyStop(instrument=instrument, reason=f"{me()}: {reason}")
    for name, status in emergency_stop(_endpoint(run, hub), stop).items():
        typer.echo(f"{name}: {status.state}, {status.trip}")


_LISTEN_S = 1.5


def _health(run: Path | None, hub: str | None) -> "dict[str, Health]":
    from contextlib import closing

    from twinloop.agents.cli.health import Watcher

    found: dict[str, Health] = {}
    with closing(Watcher(_endpoint(run, hub), _asker())) as watcher:
        for told in watcher.rounds(_LISTEN_S / 3, _LISTEN_S):
            found = told  # the last round: an offset is measured best by the quickest of three
    return found


def _asker() -> str:
    import secrets

    return f"person-{secrets.token_hex(4)}"


def _digest_of(name: str | None) -> str | None:
    if name is None:
        return None
    from twinloop.errors import ArgumentError
    from twinloop.instruments.interface import Instrument
    from twinloop.plugins import find_object

    found = find_object("instruments", name, key="--class")
    if not (isinstance(found, type) and issubclass(found, Instrument)):
        raise ArgumentError("--class", name, "a class derived from Instrument")
    return found.schema_digest()


def _endpoint(run: Path | None, hub: str | None) -> str:
    from twinloop.agents.cli.person import hub_of
    from twinloop.errors import ArgumentError

    if (run is None) == (hub is None):
        raise ArgumentError("--run, --hub", [run, hub], "exactly one of them")
    return hub_of(run) if run is not None else str(hub)


def _installed() -> list[str]:
    from twinloop.errors import ArgumentError
    from twinloop.instruments.interface import Instrument
    from twinloop.plugins import find_object, installed

    lines = []
    for name in installed("instruments"):
        try:
            found = find_object("instruments", name)
        except ArgumentError as err:
            lines.append(f"{name:16} cannot be imported: {err.allowed}")
            continue
        if isinstance(found, type) and issubclass(found, Instrument):
            lines += _class_lines(name, found)
    return lines


def _class_lines(name: str, cls: "type[Instrument]") -> list[str]:
    sort = "twin" if cls.is_twin else "contract" if inspect.isabstract(cls) else "machine"
    lines = [
        f"{name:16} {cls.kind:10} {sort:10} {(cls.__doc__ or '').strip().partition(chr(10))[0]}"
    ]
    for method in cls.actions().values() if sort == "contract" else ():
        arguments = ", ".join(
            f"{p.name} {p.limit.low:g} to {p.limit.high:g} {p.unit}" if p.limit else p.name
            for p in method.spec.parameters
        )
        lines.append(f"  {method.spec.name}({arguments})")
    return lines
