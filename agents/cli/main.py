"""The command line. Nothing heavy is imported before a command needs it: help starts at once."""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from twinloop import __version__
from twinloop.agents.cli.bench_commands import bench
from twinloop.agents.cli.check_command import check
from twinloop.agents.cli.commands import LabCommand, LabGroup
from twinloop.agents.cli.config_commands import config_app
from twinloop.agents.cli.export_command import export
from twinloop.agents.cli.instrument_commands import instrument_app
from twinloop.agents.cli.new_command import new
from twinloop.agents.cli.people_commands import decide, pause, stop, unpause
from twinloop.errors import ConfigError, ConfigProblem

__all__ = ["app"]

app = typer.Typer(
    name="twinloop",
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Autonomous experiments for materials science: instruments, their twins, simulations and "
    "planners in one loop. Begin with: twinloop run mbe_growth",
)
instrument_app.command(cls=LabCommand)(check)
instrument_app.command(cls=LabCommand)(new)
app.add_typer(instrument_app, name="instrument")
app.add_typer(config_app, name="config")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="run folder")]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"twinloop {__version__}")
        raise typer.Exit


@app.callback()
def begin(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="print the version"),
    ] = False,
) -> None:
    """Let `module:Name` of a configuration stand in the present folder."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)  # at the end: a file here hides no installed module


@app.command(cls=LabCommand)
def run(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="campaign file, or the name of a shipped one")
    ],
    folder: Annotated[
        Path | None, typer.Option(help="run folder to make; left out: runs/CAMPAIGN-TIME")
    ] = None,
    view: Annotated[
        bool, typer.Option("--view/--no-view", help="live view where there is a terminal")
    ] = True,
) -> None:
    """Run a campaign to its end, in front of you.

    Checks the configuration first; when something is wrong, nothing starts.
    Everything goes into the run folder: journal, arrays, configuration as run,
    versions, report. Any process may be killed: the campaign goes on by itself.
    Ctrl-C ends it in an orderly way; 'twinloop resume' takes it up again.

    Example:
      twinloop run mbe_growth
      twinloop run my_campaign.yaml --folder runs/first --no-view
    Next:
      twinloop status FOLDER       how it stands, also while it runs
      twinloop report FOLDER       the report as one page
    """
    from twinloop.agents.config.interface import load_campaign

    campaign = load_campaign(config)
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    chosen = folder or Path("runs") / f"{campaign.name}-{stamp}"
    from twinloop.agents.runtime.supervisor import run_campaign

    raise typer.Exit(run_campaign(campaign.path, chosen, view))


@app.command(cls=LabCommand)
def resume(
    folder: Folder,
    view: Annotated[
        bool, typer.Option("--view/--no-view", help="live view where there is a terminal")
    ] = True,
) -> None:
    """Take up a campaign where it was left, whatever ended it.

    Reads the journal, asks each adapter what became of the last commands, and
    goes on: nothing that was done is done again. A folder that another process
    has in use is refused, and the error names that process.

    Example:
      twinloop resume runs/mbe_growth-20260117-101500
    Next:
      twinloop status FOLDER
    """
    from twinloop.agents.runtime.supervisor import resume_campaign

    raise typer.Exit(resume_campaign(_run_folder(folder), view))


@app.command(cls=LabCommand)
def status(folder: Folder, as_json: AsJson = False) -> None:
    """Say how a campaign stands, from its journal alone.

    Works while it runs, after it was killed, and on a copy of the folder.

    Example:
      twinloop status runs/mbe_growth-20260117-101500
    Next:
      twinloop explain FOLDER TRIAL     why that point was chosen
      twinloop decide ...               where it says 'unknown'
    """
    from twinloop.agents.campaign.reading import status as read_status
    from twinloop.agents.cli.words import status_lines

    found = read_status(_run_folder(folder))
    for line in [json.dumps(found, indent=2)] if as_json else status_lines(found, str(folder)):
        typer.echo(line)


@app.command(cls=LabCommand)
def report(folder: Folder) -> None:
    """Make the report of a run as one page.

    The page needs nothing beside it.

    Example:
      twinloop report runs/mbe_growth-20260117-101500
    Next:
      open FOLDER/report.html in a browser
    """
    from twinloop.agents.report import write_report

    typer.echo(str(write_report(_run_folder(folder))))


@app.command(cls=LabCommand)
def explain(
    folder: Folder,
    trial: Annotated[str, typer.Argument(metavar="TRIAL", help="t0007, or 7")],
) -> None:
    """Say why a trial was made, and what came of it.

    Prints what the journal holds: the events that the choice rests on (basis),
    what was still running (pending), the acquisition value and the planner's
    own words, then each step and the outcome.

    Example:
      twinloop explain runs/mbe_growth-20260117-101500 t0007
    Next:
      twinloop report FOLDER
    """
    from twinloop.agents.campaign.reading import explain as read_explanation
    from twinloop.agents.cli.words import explanation_lines

    for line in explanation_lines(read_explanation(_run_folder(folder), trial)):
        typer.echo(line)


for _command in (pause, unpause, stop, decide, bench, export):
    app.command(cls=LabCommand)(_command)


def _run_folder(folder: Path) -> Path:
    """Return the folder when a run is in it.

    Raises:
        ConfigError: it is none.
    """
    if not (folder / "run.json").is_file():
        problem = ConfigProblem(str(folder), "run.json", None, "a folder made by 'twinloop run'")
        raise ConfigError([problem])
    return folder
