"""`twinloop instrument check`: the conformance suite, from the command line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from twinloop.instruments.conformance.interface import Rehearsal, Report
    from twinloop.instruments.interface import Instrument

__all__ = ["check"]


def check(
    instrument: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE:CLASS", help="module:Class, or the name of an installed instrument"
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option("--settings", metavar="KEY=VALUE", help="setting of the class; repeatable"),
    ] = None,
    rehearsal: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="its rehearsal; left out: rehearsal.py of its package"
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="HUB", help="check the one that is served at this hub instead"),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="its name there; left out: the only one of its kind")
    ] = None,
    with_actions: Annotated[
        bool, typer.Option("--with-actions", help="at --endpoint: let it move, and stop it")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="CLAUSE", help="a clause (L2) or a group (L); repeatable"),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="write the report there as well")
    ] = None,
) -> None:
    """Check that an instrument class keeps its contract, on the real adapter.

    Serves the class beside a hub of its own, commands it with harmless
    arguments, kills clients and the adapter, and compares what it says with
    what happened; a few minutes. Every clause is described in
    docs/reference/conformance.md. At --endpoint nothing moves unless
    --with-actions is given. Status 0: no clause is broken; 1: some are;
    2: it could not be checked.

    Example:
      twinloop instrument check lab.our_furnace:Furnace --settings port=COM3
      twinloop instrument check xrd_twin --only T --only A1
    Next:
      twinloop instrument check PACKAGE:CLASS --only CLAUSE     while you mend it
    """
    from twinloop.errors import LabError

    try:
        report = _report(
            instrument, settings or [], rehearsal, endpoint, name, only or [],
            with_actions=with_actions,
        )  # fmt: skip
        if json_file is not None:
            json_file.write_text(report.json(), encoding="utf-8")
    except (LabError, OSError) as err:
        typer.echo(f"it could not be checked: {err}", err=True)
        raise typer.Exit(2) from err
    typer.echo("")
    typer.echo(report.text())
    if report.failed:
        clauses = " ".join(f"--only {clause}" for clause in report.failed_clauses)
        typer.echo(f"mend it, then: twinloop instrument check {instrument} {clauses}")
        raise typer.Exit(1)


def _report(
    instrument: str,
    settings: Sequence[str],
    rehearsal: str | None,
    endpoint: str | None,
    name: str | None,
    only: Sequence[str],
    *,
    with_actions: bool,
) -> "Report":
    from twinloop.instruments.conformance.suite import Subject, check_at, check_many

    cls = _class(instrument, needs_body=endpoint is None)
    subject = Subject(cls, _rehearsal(rehearsal), _settings(settings), only)
    if endpoint is None:
        return check_many({"instrument": subject}, progress=typer.echo)["instrument"]
    adapter, found = _served(endpoint, name, cls.kind)
    typer.echo(f"{found}, served by {adapter}")
    return check_at(
        endpoint, adapter, found, subject, with_actions=with_actions, progress=typer.echo
    )


def _class(path: str, *, needs_body: bool) -> "type[Instrument]":
    """Return the class.

    Raises:
        ArgumentError: there is none, or it is a contract without a body.
    """
    import inspect

    from twinloop.errors import ArgumentError
    from twinloop.instruments.interface import ActionMethod, Instrument, ReadoutMethod
    from twinloop.plugins import find_object

    cls = find_object("instruments", path, key="PACKAGE:CLASS")
    if not (isinstance(cls, type) and issubclass(cls, Instrument)):
        raise ArgumentError("PACKAGE:CLASS", path, "a class derived from Instrument")
    members: list[ActionMethod[..., Any] | ReadoutMethod[Any]] = [
        *cls.actions().values(),
        *cls.readouts().values(),
    ]
    lacking = sorted(
        {*getattr(cls, "__abstractmethods__", ())}
        | {m.name for m in members if m.__isabstractmethod__}
    )
    if needs_body and (inspect.isabstract(cls) or lacking):
        told = f"a class with a body for {', '.join(lacking)}"
        raise ArgumentError("PACKAGE:CLASS", path, f"{told}; this is the contract of a kind")
    return cls


def _rehearsal(path: str | None) -> "type[Rehearsal] | None":
    from twinloop.instruments.conformance.interface import Rehearsal
    from twinloop.plugins import find_class

    return None if path is None else find_class("rehearsals", path, Rehearsal, key="--rehearsal")


def _settings(words: Sequence[str]) -> dict[str, Any]:
    """Return settings from key=value; a value that is JSON is read as such.

    Raises:
        ArgumentError: a word without "=".

    Example:
        >>> _settings(["port=COM3", "baud=9600"])
        {'port': 'COM3', 'baud': 9600}
    """
    from twinloop.errors import ArgumentError

    found: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ArgumentError("--settings", word, "KEY=VALUE, such as port=COM3")
        try:
            found[key] = json.loads(value)
        except json.JSONDecodeError:
            found[key] = value
    return found


def _served(endpoint: str, name: str | None, kind: str) -> tuple[str, str]:
    """Return adapter and name of an instrument that is served at a hub.

    Raises:
        ArgumentError: none of that name, or not exactly one of that kind.
    """
    from twinloop.agents.cli.person import instruments_at
    from twinloop.errors import ArgumentError

    found = instruments_at(endpoint)
    names = [n for n, (_, status) in found.items() if status.kind_name == kind]
    if name is None and len(names) == 1:
        name = names[0]
    if name is None or name not in found:
        served = (
            ", ".join(f"{n} ({s.kind_name})" for n, (_, s) in found.items()) or "none is served"
        )
        raise ArgumentError("--name", name, f"the name of one of: {served}")
    return found[name][0], name
