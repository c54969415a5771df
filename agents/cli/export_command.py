"""`twinloop export`: a run in the formats of other programs."""

from pathlib import Path
from typing import Annotated

import typer

from twinloop.agents.export.formats import Format

__all__ = ["export"]


def export(
    run: Annotated[Path, typer.Argument(metavar="FOLDER", help="run folder")],
    to: Annotated[Path | None, typer.Option(help="folder to make; left out: FOLDER/export")] = None,
    which: Annotated[
        Format, typer.Option("--format", help="bluesky brings the nexus files it points to")
    ] = Format.ALL,
    trial: Annotated[str | None, typer.Option(help="t0007, or 7: this trial only")] = None,
    sample: Annotated[str | None, typer.Option(help="trials on this sample only")] = None,
    elements: Annotated[
        str, typer.Option(help="elements of the samples, as Al,Ga,As; NXem asks for them")
    ] = "",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace an export that is there")
    ] = False,
) -> None:
    """Write the data of a run for other programs.

    nexus: HDF5, one file a sample with an entry for each measurement:
    calibrated axes with units, uncertainties, and where each array comes from.
    parquet: tables of trials, proposals, commands, quantities, simulations.
    bluesky: run documents as JSON lines, one run a trial and one of the campaign.
    The run folder is only read: it may be exported while the campaign runs.
    An array that is missing or damaged is named on the error output by its
    digest, the rest is exported, and the exit status is 1.

    Example:
      twinloop export runs/mbe_growth-20260117-101500 --format nexus
    Next:
      docs/how-to/export-data.md       how to open each of them
    """
    from twinloop.agents.export.run_export import export_run

    symbols = [word.strip() for word in elements.split(",") if word.strip()]
    made = export_run(
        run,
        to,
        which=which,
        trial=trial,
        sample=sample,
        elements=symbols,
        overwrite=overwrite,
    )
    megabytes = sum(made.files.values()) / 1e6
    typer.echo(f"{made.target}: {len(made.files)} files, {megabytes:.1f} MB")
    for note in made.notes:
        typer.echo(f"note: {note}", err=True)
    for problem in made.problems:
        typer.echo(problem, err=True)
    if made.problems:
        raise typer.Exit(1)
