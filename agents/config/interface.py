"""Configuration: read a campaign and its laboratory, and say everything that is wrong with them.

A campaign file says what is tried, for what goal, on which laboratory, by which planner; a laboratory
file says, in one line each, who serves an instrument. `docs/reference/configuration.md` describes
every key. Reading starts nothing, and imports neither ray nor torch:

    campaign = load_campaign("configs/campaigns/mbe_growth.yaml")
    campaign.space, campaign.goal, campaign.laboratory.instruments["mbe"].is_twin

Numbers may carry units ("410 degC", "2 min"); they arrive in the unit of the field. An error names
the file and line, the key, what was found and what is allowed; all are told at once:

    lab.yaml:7: instruments.mbe.served: found 'chambr', allowed: a key of adapters: 'chamber'? (...)
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from twinloop.agents.config.campaign import Campaign
from twinloop.agents.config.campaign_file import CampaignFile
from twinloop.agents.config.finding import find_file
from twinloop.agents.config.laboratory import Adapter, LabInstrument, Laboratory, read_laboratory
from twinloop.agents.config.laboratory_file import LaboratoryFile
from twinloop.agents.config.problems import Findings, Note, Words
from twinloop.agents.config.reading import read_campaign
from twinloop.agents.config.yaml_text import read_yaml
from twinloop.errors import ArgumentError, ConfigError, ConfigProblem

__all__ = [
    "Adapter",
    "Campaign",
    "Checked",
    "LabInstrument",
    "Laboratory",
    "Note",
    "check",
    "json_schema",
    "load_campaign",
    "load_laboratory",
]


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Args:
        problems: what forbids to run; empty when it can be run.
        notes: what to know before running.
        campaign: the campaign, where there is no problem.
    """

    problems: tuple[ConfigProblem, ...]
    notes: tuple[Note, ...]
    campaign: Campaign | None


def check(path: str | Path) -> Checked:
    """Return everything that is to be said about a campaign; start nothing.

    Args:
        path: a campaign file, or the name of one that ships with twinloop ("mbe_growth").
    """
    findings = Findings()
    campaign = None
    try:
        campaign = read_campaign(_campaign_path(path), findings)
    except ConfigError as err:
        findings.problems.extend(err.problems)
    return Checked(tuple(findings.problems), tuple(findings.notes), campaign)


def load_campaign(path: str | Path) -> Campaign:
    """Return a campaign that can be run.

    Args:
        path: a campaign file, or the name of one that ships with twinloop ("mbe_growth").

    Raises:
        ConfigError: it holds every problem.
    """
    checked = check(path)
    if checked.campaign is None:
        raise ConfigError(checked.problems)
    return checked.campaign


def load_laboratory(path: str | Path) -> Laboratory:
    """Return a laboratory, as an adapter beside its machine needs it.

    Args:
        path: a laboratory file, or the name of one that ships with twinloop ("standin").

    Raises:
        ConfigError: it holds every problem.
    """
    findings = Findings()
    laboratory = None
    document = read_yaml(_find("labs", path), findings)
    if document is not None:
        place, beside = document.place, Path(document.file).parent
        laboratory = read_laboratory(document.value, place, beside, findings)
    if laboratory is None:
        raise ConfigError(findings.problems)
    return laboratory


def json_schema(of: Literal["campaign", "laboratory"] = "campaign") -> dict[str, Any]:
    """Return the JSON Schema of a file, for editors that check while one types."""
    model = CampaignFile if of == "campaign" else LaboratoryFile
    schema = model.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _campaign_path(path: str | Path) -> Path:
    return _find("campaigns", path)


def _find(kind: str, path: str | Path) -> Path:
    try:
        # Path("") / path leaves the path as it was given, so that problems name it so.
        return find_file(kind, str(path), Path())
    except ArgumentError as err:
        raise ConfigError(
            [ConfigProblem(str(path), "", Words("no such file"), err.allowed)]
        ) from err
