"""The reference pages name everything there is, and nothing else."""

import re
from typing import get_args

import pytest
import typer.main

from twinloop.agents.campaign.events import Event
from twinloop.agents.cli.main import app
from twinloop.messages import WIRE_VERSION, Message


def page(repository, name):
    return (repository / "docs" / "reference" / name).read_text(encoding="utf-8")


def commands(group, words=("twinloop",)):
    """Yield every command as (words, its options)."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*words, name))
        else:
            options = {
                o for p in command.params for o in p.opts + p.secondary_opts if o[:2] == "--"
            }
            yield " ".join((*words, name)), options - {"--help"}


def test_the_page_of_the_command_line_has_every_command_with_its_options(repository):
    sections = re.split(r"^### `", page(repository, "cli.md"), flags=re.MULTILINE)[1:]
    written = {}
    for section in sections:
        title = section.partition("`")[0]
        words = " ".join(w for w in title.split() if w.islower() and w[0] not in "[<")
        written[words] = set(re.findall(r"`(--[a-z-]+)", section.partition("```")[0]))
    assert written == dict(commands(typer.main.get_command(app)))


def kinds_of(union):
    models = get_args(get_args(union)[0])
    return {model.model_fields["kind"].default for model in models}


def kinds_written(text, heading):
    """Return what stands in the first column of the tables under headings that match."""
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    rows = [
        row
        for section in sections
        if re.match(heading, section)
        for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)
    ]
    return {kind for row in rows for kind in re.findall(r"`([a-z_]+)`", row)}


def test_the_page_of_messages_has_every_kind(repository):
    text = page(repository, "messages.md")
    assert f"Wire version {WIRE_VERSION}." in text
    assert kinds_written(text, "Agent and|Conductor and") == kinds_of(Message)


def test_the_page_of_the_journal_has_every_kind_of_event(repository):
    text = page(repository, "journal.md")
    assert kinds_written(text, "Events of a campaign") == kinds_of(Event)


@pytest.mark.parametrize("room", ["instrument", "planner", "protocol"])
def test_there_is_a_page_for_each_kind_of_author(repository, room):
    assert list((repository / "docs" / "how-to").glob(f"add-a*-{room}.md"))
