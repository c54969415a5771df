"""`twinloop config`: look at a configuration without starting anything."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinloop.agents.cli.commands import LabCommand, LabGroup
from twinloop.errors import ConfigError

if TYPE_CHECKING:
    from twinloop.agents.config.interface import Campaign

__all__ = ["config_app"]

_HOURS = ("base_h", "look_h")
"""Options that a planner of looks is given, not asked for."""

config_app = typer.Typer(
    cls=LabGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check a configuration; describe its keys.",
)


class Of(StrEnum):
    """The two sorts of file."""

    CAMPAIGN = "campaign"
    LABORATORY = "laboratory"


@config_app.command("check", cls=LabCommand)
def check_config(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="campaign file, or the name of a shipped one")
    ],
    as_json: Annotated[
        bool,
        typer.Option("--json", help="print the complete configuration, every default filled in"),
    ] = False,
) -> None:
    """Say what a campaign would do, or everything that is wrong with it.

    Reads the campaign and its laboratory, looks up protocol, planner and
    instruments, converts units, and compares: the search space with the
    protocol's Point, the goal with its Outcome, the instruments with the
    laboratory. Each problem names file and line, key, what was found and what
    is allowed. Nothing is started.

    Example:
      twinloop config check configs/campaigns/mbe_growth.yaml
    Next:
      twinloop run configs/campaigns/mbe_growth.yaml
    """
    from twinloop.agents.config.interface import check

    checked = check(config)
    for note in checked.notes:
        typer.echo(f"note: {note}", err=True)
    if checked.campaign is None:
        raise ConfigError(checked.problems)
    if as_json:
        typer.echo(json.dumps(checked.campaign.resolved(), indent=2))
        return
    for line in describe(checked.campaign):
        typer.echo(line)
    typer.echo(f"Nothing is wrong. Run it with: twinloop run {config}")


@config_app.command("schema", cls=LabCommand)
def print_schema(
    of: Annotated[Of, typer.Argument(help="which file")] = Of.CAMPAIGN,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="the page of every key instead, both files")
    ] = False,
) -> None:
    """Print the JSON Schema of a campaign or laboratory file.

    An editor that knows the schema checks and completes while you type. With
    --markdown: the page docs/reference/configuration.md.

    Example:
      twinloop config schema > campaign.schema.json
    Next, as the first line of your campaign file:
      # yaml-language-server: $schema=campaign.schema.json
    """
    if markdown:
        from twinloop.agents.config.reference import reference_page

        typer.echo(reference_page(), nl=False)
        return
    from twinloop.agents.config.interface import json_schema

    typer.echo(json.dumps(json_schema(of.value), indent=2))


def describe(campaign: "Campaign") -> list[str]:
    """Return what a campaign would do, in lines."""
    protocol, lab, goal = campaign.protocol, campaign.laboratory, campaign.goal
    hours = campaign.budget.lab_h
    budget = f"{campaign.budget.experiments} experiments"
    options = {k: v for k, v in campaign.planner.items() if k not in {"name", *_HOURS}}
    return [
        f"campaign    {campaign.name}, seed {campaign.seed}",
        f"protocol    {protocol.name}, version {protocol.version}, source {protocol.source_digest[:12]}",
        f"laboratory  {lab.name}, {lab.clock_factor:g} laboratory seconds in one real second",
        *(f"  {line}" for line in _instruments(campaign)),
        *_looks(campaign),
        "search",
        *(
            f"  {d.name:20} {d.low:g} to {d.high:g} {d.unit}{' (log)' * (d.scale == 'log')}"
            for d in campaign.space.dimensions
        ),
        f"goal        {'maximise' if goal.is_maximised else 'minimise'} {goal.field}",
        *(f"  {bound}" for bound in _bounds(campaign)),
        f"planner     {campaign.planner['name']}"
        + "".join(f", {k} {v}" for k, v in options.items()),
        f"budget      {budget}" + (f", {hours:g} h of laboratory time" if hours else ""),
    ]


def _looks(campaign: "Campaign") -> list[str]:
    """Return what a trial costs with and without each look, where the planner weighs them."""
    base_h, look_h = (campaign.planner.get(option) for option in _HOURS)
    if not look_h:
        return []
    looks = ", ".join(f"{name} {hours:g} h" for name, hours in look_h.items())
    return [f"hours       {base_h:g} h for each trial; more with {looks}"]


def _instruments(campaign: "Campaign") -> list[str]:
    lines = []
    for parameter, name in campaign.instruments.items():
        instrument = campaign.laboratory.instruments[name]
        server = "a twin on Ray"
        if instrument.served is not None:
            adapter = campaign.laboratory.adapters[instrument.served]
            starter = "started here" if adapter.start == "demo" else "started beside its machine"
            server = f"served by {adapter.name}, {starter}"
        called = parameter if parameter == name else f"{parameter} = {name}"
        lines.append(f"{called:20} {instrument.cls.__name__}, {server}")
    return lines


def _bounds(campaign: "Campaign") -> list[str]:
    return [
        f"{constraint.field} {words} {bound:g}"
        for constraint in campaign.goal.constraints
        for words, bound in (("at least", constraint.at_least), ("at most", constraint.at_most))
        if bound is not None
    ]
