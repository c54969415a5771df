"""`twinloop instrument offer`: a served instrument, behind the calls of another program's clients."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from twinloop.agents.bridges.served_instrument import ServedInstrument

__all__ = ["offer"]

_TAKE_S = 600.0


def offer(
    instrument: Annotated[str, typer.Argument(metavar="NAME", help="name in the laboratory file")],
    hub: Annotated[str, typer.Option(help="endpoint of the hub at which it is served")],
    _as: Annotated[Literal["dtmicroscope"], typer.Option("--as", help="whose clients may call it")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="of Pyro5; 0: any")] = 9093,
    json_port: Annotated[
        int, typer.Option(min=0, max=65535, help="of JSON-RPC in netstrings; 0: any")
    ] = 9094,
    sample: Annotated[
        str | None, typer.Option(help="the sample in it; left out: the one that it holds")
    ] = None,
    take: Annotated[bool, typer.Option("--take", help="bring --sample in first")] = False,
    max_dose: Annotated[
        float, typer.Option(min=0.0, help="largest dose of one exposure [e/A^2]")
    ] = 1e7,
    folder: Annotated[
        Path | None, typer.Option(help="of commands, outcomes, images; left out: offered/NAME")
    ] = None,
) -> None:
    """Let the clients of DTMicroscope work with a served STEM.

    Takes the lease of the instrument, so no campaign has it meanwhile, and
    answers at tem.server and microscope.server (Pyro5) and at TEMClient's
    JSON-RPC, on this computer alone: neither wire has authentication. Limits,
    interlocks and the ledger are those of a campaign. Ends with Ctrl-C. Its
    folder must be the same after a crash: it asks for what it had not heard.

    Example:
      twinloop instrument offer stem --as dtmicroscope --hub tcp://127.0.0.1:5555
    Next:
      docs/how-to/bridge-dtmicroscope.md     what each call does
    """
    from twinloop.agents.bridges.dtmicroscope_calls import OfferedSTEM
    from twinloop.agents.bridges.dtmicroscope_server import DTMicroscopeServer
    from twinloop.agents.bridges.served_instrument import ServedInstrument

    where = folder or Path("offered") / instrument
    with ServedInstrument(hub, instrument, folder=where, sample=sample) as stem:
        _must_be_a_stem(stem)
        if take:
            stem.do("take").result(_TAKE_S)
        if stem.sample is None and stem.status is not None:
            stem.sample = stem.status.sample
        offered = OfferedSTEM(stem, max_dose_e_per_A2=max_dose)
        with DTMicroscopeServer(offered, port=port, json_port=json_port) as server:
            # a process that a shell started in the background has inherited that Ctrl-C is ignored
            signal.signal(signal.SIGINT, signal.default_int_handler)
            typer.echo(f"{instrument} holds {stem.sample or 'no sample'}; Ctrl-C ends")
            typer.echo(f"  PYRO:tem.server@localhost:{server.port}")
            typer.echo(f"  PYRO:microscope.server@localhost:{server.port}")
            typer.echo(f'  TEMClient("localhost", {server.json_port})')
            server.wait()


def _must_be_a_stem(stem: "ServedInstrument") -> None:
    """Refuse another kind.

    Raises:
        ArgumentError: it is of another kind.
    """
    from twinloop.errors import ArgumentError

    if stem.status is not None and stem.status.kind_name != "stem":
        allowed = "an instrument of the kind stem: DTMicroscope's clients command a microscope"
        raise ArgumentError("NAME", f"{stem.instrument} ({stem.status.kind_name})", allowed)
