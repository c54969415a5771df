"""Each import contract breaks when it is breached: a contract that cannot fail protects nothing."""

import os
import shutil
import subprocess
import sys
import tomllib

import pytest

pytestmark = pytest.mark.system

# contract -> (file in the source tree, an import that it forbids)
BREACHES = {
    "rooms": [
        ("simulators/interface.py", "import twinloop.instruments.interface"),
        ("instruments/interface.py", "import twinloop.protocols.interface"),
        ("analysts/interface.py", "import twinloop.instruments.interface"),
        ("src/twinloop/errors.py", "import twinloop.wire.effects"),
    ],
    "planners": [
        ("planners/known.py", "import twinloop.simulators.interface"),
        ("planners/space.py", "import twinloop.instruments.mbe.twin"),
    ],
    "protocols": [("protocols/interface.py", "import twinloop.instruments.mbe.twin")],
    "twins": [("instruments/rules.py", "import twinloop.simulators.kmc")],
    "truth": [
        ("agents/campaign/core.py", "import twinloop.instruments.standin.machine"),
        ("planners/known.py", "import twinloop.instruments.standin.chamber"),
    ],
    "ray": [("agents/campaign/core.py", "def placed():\n    import ray\n")],
    "torch": [
        ("agents/campaign/core.py", "def fitted():\n    import torch\n"),
        ("instruments/rules.py", "import twinloop.planners.plain_bo"),
    ],
    "light": [
        ("instruments/interface.py", "import scipy"),
        ("agents/hub/core.py", "import twinloop.simulators.kmc"),
    ],
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory, repository):
    there = tmp_path_factory.mktemp("copy")
    for item in (repository / "src" / "twinloop").iterdir():
        if item.is_symlink():
            shutil.copytree(item, there / item.name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(repository / "src", there / "src", symlinks=True)
    shutil.copy(repository / "pyproject.toml", there)
    return there


def contracts_of(folder):
    config = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    return [c["id"] for c in config["tool"]["importlinter"]["contracts"]]


def lint(folder, contract):
    code = (
        "import sys; sys.path.insert(0, 'src');"
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-I", "-c", code, "--contract", contract, "--no-cache"],
        check=False,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=50,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_each_contract_has_a_breach_here(copy):
    assert sorted(contracts_of(copy)) == sorted(BREACHES)


@pytest.mark.parametrize(
    ("contract", "file", "line"),
    [(c, file, line) for c, breaches in BREACHES.items() for file, line in breaches],
)
def test_a_breach_is_found(copy, contract, file, line):
    target = copy / file
    before = target.read_text(encoding="utf-8")
    target.write_text(f"{before}\n{line}\n", encoding="utf-8")
    try:
        result = lint(copy, contract)
    finally:
        target.write_text(before, encoding="utf-8")
    assert result.returncode == 1, result.stdout + result.stderr
    module = file.removeprefix("src/twinloop/").removesuffix(".py").replace("/", ".")
    assert f"twinloop.{module} -> " in result.stdout
