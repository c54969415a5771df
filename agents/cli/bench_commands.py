"""`twinloop bench`: a seeded, paired study of planners on simulated experiments."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["bench"]


def bench(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="benchmark file, or the name of a shipped one")
    ],
    seeds: Annotated[
        int | None, typer.Option(min=1, help="how many truths, instead of the file's")
    ] = None,
    first_seed: Annotated[int | None, typer.Option(min=0, help="seed of the first truth")] = None,
    scenarios: Annotated[str | None, typer.Option(help="names with commas; left out: all")] = None,
    arms: Annotated[str | None, typer.Option(help="names with commas; left out: all")] = None,
    world: Annotated[
        str | None, typer.Option(help="real or emulated, instead of the file's")
    ] = None,
    processes: Annotated[int, typer.Option(min=1, help="runs side by side")] = 1,
    out: Annotated[Path | None, typer.Option(help="left out: runs/bench/NAME")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="growths and references; left out: OUT/cache")
    ] = None,
    publish: Annotated[
        Path | None, typer.Option(help="folder that gets table, plot and raw data, too")
    ] = None,
    go_on_from: Annotated[
        Path | None, typer.Option(help="published study whose runs and references are taken over")
    ] = None,
    references_only: Annotated[
        bool, typer.Option("--references-only", help="look for the best of each truth, then end")
    ] = False,
    report_only: Annotated[
        bool, typer.Option("--report-only", help="make table and plot of the runs that there are")
    ] = False,
) -> None:
    """Compare planners on truths that none of them may see.

    Each run is a campaign of the production core under a virtual clock. A run is
    one line of OUT/runs.jsonl; a study that was killed goes on where it was.

    Example:
      twinloop bench theory_in_the_loop --seeds 2 --scenarios good
      twinloop bench theory_in_the_loop --processes 2 --publish docs/benchmarks
      twinloop bench theory_in_the_loop --go-on-from docs/benchmarks
    Next:
      open OUT/theory_in_the_loop.md
    """
    from twinloop.agents.bench.settings import load_bench, narrowed
    from twinloop.agents.bench.study import make_references, make_runs, settings_of

    file = narrowed(
        load_bench(config), seeds=seeds, first_seed=first_seed, scenarios=scenarios, arms=arms,
        world=world,
    )  # fmt: skip
    folder = out or Path("runs") / "bench" / file.benchmark
    cache = cache or folder / "cache"
    settings = settings_of(file, cache)
    if go_on_from is not None:
        from twinloop.agents.bench.published import take_over

        n_runs, n_references = take_over(go_on_from, folder, cache)
        typer.echo(f"{n_runs} runs and {n_references} references taken over from {go_on_from}")
    if not report_only:
        make_references(settings, processes, typer.echo)
        if references_only:
            return
        make_runs(folder, settings, processes, typer.echo)
    from twinloop.agents.bench.report import write_report

    for path in write_report(file, folder, cache, publish):
        typer.echo(str(path))
