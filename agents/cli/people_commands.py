"""What a person may tell a campaign that runs: pause, unpause, stop, decide."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from twinloop.agents.cli.commands import me

__all__ = ["decide", "pause", "stop", "unpause"]

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="run folder")]
Reason = Annotated[str, typer.Option(help="for the journal")]


class Verdict(StrEnum):
    """What a person found out about an outcome that nobody could tell."""

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


def pause(folder: Folder, reason: Reason = "") -> None:
    """Start no new trial; trials under way go on to their end.

    Example:
      twinloop pause runs/mbe_growth-20260117-101500 --reason "cell change"
    Next:
      twinloop unpause FOLDER
    """
    _tell(folder, "pause", {"reason": reason})


def unpause(folder: Folder, reason: Reason = "") -> None:
    """Let a paused campaign go on.

    Example:
      twinloop unpause runs/mbe_growth-20260117-101500
    """
    _tell(folder, "resume", {"reason": reason})


def stop(folder: Folder) -> None:
    """End a campaign that runs, in an orderly way.

    Actions under way end as their instruments declare; nothing is lost.

    Example:
      twinloop stop runs/mbe_growth-20260117-101500
    Next:
      twinloop resume FOLDER      takes it up again
    """
    _tell(folder, "stop", {})


def decide(
    folder: Folder,
    key: Annotated[
        str, typer.Argument(metavar="KEY", help="command key, as 'twinloop status' prints it")
    ],
    verdict: Annotated[Verdict, typer.Argument(metavar="VERDICT", help="done, failed or unknown")],
    reason: Annotated[str, typer.Option(help="what you saw; the journal keeps it")],
) -> None:
    """Say what became of a command whose outcome nobody could tell.

    Look at the sample first. done: it happened. failed: it had no effect, for
    certain, so it may be repeated. unknown: give the sample up.

    Example:
      twinloop decide FOLDER mbe_growth.1f3a77c2/t0003/2.0.0/1 failed --reason "wafer is bare"
    Next:
      twinloop status FOLDER
    """
    from twinloop.agents.campaign.reading import status
    from twinloop.errors import ArgumentError

    unknown = status(folder)["unknown"]
    if key not in unknown:
        raise ArgumentError("KEY", key, f"one of {', '.join(unknown)}" if unknown else "none waits")
    _tell(folder, "decide", {"key": key, "state": verdict.value, "reason": reason})


def _tell(
    folder: Path,
    action: Literal["pause", "resume", "stop", "decide"],
    arguments: dict[str, Any],
) -> None:
    from twinloop.agents.cli.person import ask, hub_of
    from twinloop.messages import Control, View

    message = Control(action=action, arguments=arguments, person=me())
    view = ask(hub_of(folder), "conductor", message, View)
    paused = "paused" if view.content.get("paused") else "under way"
    state = view.content.get("finished") or ("stopping" if action == "stop" else paused)
    typer.echo(f"{view.campaign}: {state}")
