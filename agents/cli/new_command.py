"""`twinloop instrument new`: write a package for an instrument that works from its first minute."""

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Annotated

import typer

__all__ = ["new", "write_package"]

_NAME = re.compile(r"^[a-z][a-z0-9_]{1,30}$")
_FILES = {
    "pyproject.toml": "pyproject.toml",
    "README.md": "README.md",
    "{module}/__init__.py": "init.py",
    "{module}/interface.py": "interface.py",
    "{module}/adapter.py": "adapter.py",
    "{module}/device.py": "device.py",
    "{module}/twin.py": "twin.py",
    "{module}/rehearsal.py": "rehearsal.py",
    "{module}/protocol.py": "protocol.py",
    "labs/twin.yaml": "twin.yaml",
    "labs/machine.yaml": "machine.yaml",
    "campaigns/first.yaml": "first.yaml",
    "tests/test_{module}.py": "test_package.py",
}


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the package, such as heat_stage")],
    to: Annotated[Path | None, typer.Option(help="folder; left out: NAME here")] = None,
) -> None:
    """Write a package for a new instrument, which passes its own tests.

    Contract, adapter, a simulated device with its twin, a rehearsal, tests, two
    laboratory files and a campaign. Nothing that exists is overwritten.

    Example:
      twinloop instrument new heat_stage
    Next:
      cd heat_stage
      twinloop instrument check heat_stage.twin:HeatStageTwin
      twinloop run campaigns/first.yaml
    """
    folder = to or Path(name)
    for path in write_package(name, folder):
        typer.echo(f"  {path}")
    camel = _class_name(name)
    typer.echo(
        f"written to {folder}. Next:\n"
        f"  cd {folder}\n"
        f"  twinloop instrument check {name}.twin:{camel}Twin\n"
        f"  twinloop run campaigns/first.yaml\n"
        "README.md says which file is yours to change"
    )


def write_package(name: str, folder: Path) -> list[Path]:
    """Write the files and return their paths.

    Raises:
        ArgumentError: a name that cannot be that of a module, or a folder that is not empty.
    """
    from twinloop.errors import ArgumentError

    if not _NAME.match(name) or keyword.iskeyword(name) or name in {"twinloop", "test", "tests"}:
        allowed = "small letters, digits and _, such as heat_stage; it becomes a Python module"
        raise ArgumentError("NAME", name, allowed)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ArgumentError("--to", str(folder), "a folder that is empty or not there yet")
    words = {"module": name, "kind": name, "Class": _class_name(name)}
    templates = files("twinloop.agents.cli.templates")
    written = []
    for place, template in _FILES.items():
        path = folder / place.format(module=name)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = templates.joinpath(f"{template}.tmpl").read_text(encoding="utf-8")
        path.write_text(Template(text).substitute(words), encoding="utf-8")
        written.append(path)
    return written


def _class_name(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("_"))
