"""What every command of the command line has in common: help as it was written, errors as text.

Typer's own types are `Any` here: versions of it differ in whether they bring click along.
"""

import getpass
import inspect
import socket
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from twinloop.errors import ConfigError, LabError

__all__ = ["CONFIG_STATUS", "ERROR_STATUS", "LabCommand", "LabGroup", "me"]

ERROR_STATUS = 1
CONFIG_STATUS = 2


def me() -> str:
    """Return who is asking, for the journal."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


class LabCommand(TyperCommand):
    """A command whose help keeps the lines of its docstring."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 (typer's signature)
        """Write the docstring line by line: examples stay examples."""
        formatter.write("\n")
        for line in inspect.cleandoc(self.help or "").splitlines():
            formatter.write(f"  {line}".rstrip() + "\n")


class LabGroup(TyperGroup):
    """A group of commands that prints a LabError, or a missing extra, without a traceback."""

    def invoke(self, ctx: Any) -> object:
        """Run the command; end with status 2 for a wrong configuration, 1 for another error."""
        try:
            return super().invoke(ctx)
        except ConfigError as err:
            for problem in err.problems:
                typer.echo(str(problem), err=True)
            count = len(err.problems)
            typer.echo(
                f"{count} problem{'' if count == 1 else 's'}; nothing was started. "
                "Every key is described in docs/reference/configuration.md",
                err=True,
            )
            raise typer.Exit(CONFIG_STATUS) from err
        except LabError as err:
            typer.echo(str(err), err=True)
            raise typer.Exit(ERROR_STATUS) from err
        except ModuleNotFoundError as err:
            if err.name is None or err.name.partition(".")[0] == "twinloop":
                raise
            typer.echo(
                f"this command needs {err.name}, which the light base install leaves out; "
                "install it with: pip install 'twinloop[all]'",
                err=True,
            )
            raise typer.Exit(ERROR_STATUS) from err
