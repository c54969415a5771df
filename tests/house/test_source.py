"""What may not stand in the source at all, read from its syntax trees."""

import ast
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOMS = ("agents", "analysts", "configs", "instruments", "planners", "protocols", "simulators")
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib"}
UNSAFE_CALLS = {
    "recv_pyobj",
    "send_pyobj",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "os.system",
    "eval",
    "exec",
}
UNSAFE_ARGUMENTS = {"allow_pickle", "shell", "weights_only"}
POSIX_ONLY_MODULES = ("fcntl", "pwd", "grp", "resource", "termios", "pty", "syslog")
POSIX_ONLY_NAMES = (
    *("os.fork", "os.setsid", "os.killpg", "os.getuid", "os.getpgid", "os.waitid"),
    *("signal.SIGKILL", "signal.SIGSTOP", "signal.SIGCHLD", "signal.SIGUSR1"),
)


def source_files(repository: Path) -> list[Path]:
    rooms = [repository / room for room in ROOMS]
    return [p for folder in (repository / "src", *rooms) for p in sorted(folder.rglob("*.py"))]


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return [node.module.partition(".")[0]]
    return []


def unsafe(tree: ast.AST) -> list[tuple[int, str]]:
    """Return line and name of each thing that runs or loads foreign code."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(tree):
        found += [(node.lineno, m) for m in imported(node) if m in UNSAFE_MODULES]
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        if name in UNSAFE_CALLS or name.rpartition(".")[2] in {"recv_pyobj", "send_pyobj"}:
            found.append((node.lineno, name))
        found += [
            (node.lineno, f"{word.arg}={ast.unparse(word.value)}")
            for word in node.keywords
            if word.arg in UNSAFE_ARGUMENTS
            and ast.unparse(word.value) != str(word.arg == "weights_only")
        ]
    return found


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from cloudpickle import dumps",
        "np.load(f, allow_pickle=True)",
        "socket.recv_pyobj()",
        "yaml.load(text)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
        "torch.load(f, weights_only=False)",
    ],
)
def test_the_search_sees_unsafe_lines(text):
    assert unsafe(ast.parse(text))


def test_nothing_unpickles_or_runs_text(repository):
    found = [
        f"{path.relative_to(repository)}:{line}: {what}"
        for path in source_files(repository)
        for line, what in unsafe(tree_of(path))
    ]
    assert found == []


def test_no_path_is_computed_from_the_place_of_a_file(repository):
    found = [
        str(path.relative_to(repository))
        for path in source_files(repository)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Name) and node.id == "__file__"
    ]
    assert found == []


def test_no_file_is_longer_than_a_reader_bears(repository):
    lengths = {
        str(path.relative_to(repository)): len(path.read_text(encoding="utf-8").splitlines())
        for path in source_files(repository)
    }
    assert {name: n for name, n in lengths.items() if n > 600} == {}


def test_each_room_of_authors_has_its_interface(repository):
    rooms = ("analysts", "instruments", "planners", "protocols", "simulators")
    assert [r for r in rooms if not (repository / r / "interface.py").exists()] == []


def control_pc_modules(repository: Path) -> list[str]:
    """Return what a Windows control PC imports: the vocabulary, its tools, the instruments."""
    package = repository / "src" / "twinloop"
    vocabulary = [*package.glob("*.py"), *package.glob("wire/*.py"), *package.glob("log/*.py")]
    instruments = [
        p for p in (repository / "instruments").rglob("*.py") if "standin" not in p.parts
    ]
    names = [p.relative_to(package) for p in vocabulary]
    names += [p.relative_to(repository) for p in instruments]
    dotted_names = [".".join(("twinloop", *n.with_suffix("").parts)) for n in names]
    return sorted(n.removesuffix(".__init__") for n in dotted_names)


WINDOWS = """
import importlib, os, signal, sys
for module in {modules!r}:
    sys.modules[module] = None  # an import of it raises
for name in {names!r}:
    module, _, attribute = name.partition(".")
    if hasattr(sys.modules[module], attribute):
        delattr(sys.modules[module], attribute)
for name in {wanted!r}:
    importlib.import_module(name)
"""


@pytest.mark.system
def test_a_control_pc_without_posix_imports_every_module(repository):
    # The standard library imports its POSIX parts where it finds them: they come first.
    first = "import subprocess, asyncio, multiprocessing, tempfile, socket, zmq, logging, shutil\n"
    code = first + WINDOWS.format(
        modules=POSIX_ONLY_MODULES,
        names=POSIX_ONLY_NAMES,
        wanted=[n for n in control_pc_modules(repository) if not n.endswith((".twin", ".testing"))],
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr


def test_posix_only_names_stand_only_behind_a_look_at_the_platform(repository):
    """A name used inside a function is met only when it runs, so the import test cannot see it."""
    package = repository / "src" / "twinloop"
    files = [*package.glob("*.py"), *package.glob("wire/*.py"), *package.glob("log/*.py")]
    files += (repository / "instruments").rglob("*.py")
    found = [
        f"{path.relative_to(repository)}: {name}"
        for path in files
        for name in unguarded_posix(tree_of(path))
    ]
    assert found == []


def unguarded_posix(tree: ast.AST) -> list[str]:
    """Return POSIX-only imports and names outside of an `if` over sys.platform or os.name."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and {"sys.platform", "os.name"} & {
            dotted(n) for n in ast.walk(node.test) if isinstance(n, ast.Attribute)
        }:
            return
        found.extend(m for m in imported(node) if m in POSIX_ONLY_MODULES)
        if isinstance(node, ast.Attribute) and dotted(node) in POSIX_ONLY_NAMES:
            found.append(dotted(node))
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return found


@pytest.mark.parametrize("text", ["import fcntl", "def f():\n    os.kill(1, signal.SIGKILL)"])
def test_the_search_sees_posix(text):
    assert unguarded_posix(ast.parse(text))
    guarded = "if sys.platform == 'linux':\n" + textwrap.indent(text, "    ")
    assert not unguarded_posix(ast.parse(guarded))
