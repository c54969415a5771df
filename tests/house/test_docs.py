"""The documentation is executed: each page from its first block to its last, in an empty folder.

- a python block runs, in one namespace a page; a warning is an error;
- a block with `title="name"` is first written to that file (a python one is not run but may be imported);
- a bash block runs where its fence says `bash run`;
- other yaml, toml and json blocks must parse;
- every relative link leads to a file, and every anchor to a heading.
"""

import json
import linecache
import os
import re
import subprocess
import sys
import tomllib
import types
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\((?P<to>[^)\s]+)\)|<img[^>]*src=\"(?P<image>[^\"]+)\"")
PARSERS = {"yaml": yaml.safe_load, "toml": tomllib.loads, "json": json.loads}


@dataclass(frozen=True)
class Block:
    """A fenced block and the line of the page on which its text begins."""

    language: str
    words: str
    text: str
    line: int

    @property
    def title(self) -> str | None:
        found = re.search(r'title="([^"]+)"', self.words)
        return found.group(1) if found else None

    @property
    def is_run(self) -> bool:
        return "run" in self.words.split()


def blocks_of(text: str) -> list[Block]:
    found = []
    for match in FENCE.finditer(text):
        language, _, words = match["info"].strip().partition(" ")
        line = text.count("\n", 0, match.start("text")) + 1
        found.append(Block(language, words, match["text"], line))
    return found


def folder_of_checkout() -> Path:
    return next(p for p in Path(__file__).resolve().parents if (p / "pyproject.toml").exists())


ROOT = folder_of_checkout()
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def page_marks(page: Path) -> list[pytest.MarkDecorator]:
    blocks = blocks_of(page.read_text(encoding="utf-8"))
    has_commands = any(b.language == "bash" and b.is_run for b in blocks)
    return [pytest.mark.system, pytest.mark.timeout(400)] if has_commands else []


def as_parameter(page: Path):
    return pytest.param(page, id=str(page.relative_to(ROOT)), marks=page_marks(page))


class Reader:
    """Follows a page in a folder of its own, as a reader would."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page, self.folder = page, folder
        self.module = types.ModuleType(f"page_{page.stem.replace('-', '_')}")

    def follow(self, block: Block) -> None:
        if block.title:
            target = self.folder / block.title
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text, encoding="utf-8")
        elif block.language == "python":
            # The text keeps its line numbers, so a traceback and inspect.getsource show the page.
            code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec")
            exec(code, self.module.__dict__)  # noqa: S102  our own pages
        elif block.language == "bash" and block.is_run:
            self.command(block.text)
        if block.language in PARSERS:
            PARSERS[block.language](block.text)

    def command(self, text: str) -> None:
        scripts = Path(sys.executable).parent
        environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
        environment["PYTHONPATH"] = str(self.folder)
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            check=False,
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=390,
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}{result.stderr}"


@pytest.mark.parametrize("page", [as_parameter(p) for p in PAGES])
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    reader = Reader(page, tmp_path)
    monkeypatch.setitem(sys.modules, reader.module.__name__, reader.module)
    known = set(sys.modules)
    linecache.checkcache()
    try:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            reader.follow(block)
    finally:
        for name in set(sys.modules) - known:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]


def slugs_of(text: str) -> set[str]:
    """Return the anchors that a page's headings get."""
    headings = re.findall(r"^#+ +(.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for match in LINK.finditer(FENCE.sub("", text)):
        to = match["to"] or match["image"]
        if re.match(r"[a-z]+:", to):
            continue
        place, _, anchor = to.partition("#")
        target = (page.parent / place) if place else page
        if not target.exists() or (
            anchor and anchor not in slugs_of(target.read_text(encoding="utf-8"))
        ):
            broken.append(to)
    return broken


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_every_relative_link_leads_somewhere(page):
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_a_link_to_nowhere_is_found():
    text = "[a](nowhere.md) [b](README.md#no-such-heading) [c](https://example.org)"
    assert broken_links(ROOT / "README.md", text) == ["nowhere.md", "README.md#no-such-heading"]


def test_a_block_that_raises_fails_its_page_and_names_the_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n```python\nx = 1\nraise KeyError(x)\n```\n", encoding="utf-8")
    (block,) = blocks_of(page.read_text(encoding="utf-8"))
    with pytest.raises(KeyError) as caught:
        Reader(page, tmp_path).follow(block)
    assert (caught.traceback[-1].lineno + 1, Path(caught.traceback[-1].path).name) == (5, "page.md")


def test_a_command_that_fails_fails_its_page(tmp_path):
    (block,) = blocks_of("```bash run\nfalse | true\n```\n")
    with pytest.raises(AssertionError):
        Reader(tmp_path / "page.md", tmp_path).follow(block)


def test_every_page_of_a_folder_is_reached_from_the_readme():
    """A page that nothing links to is found by nobody."""
    seen: set[Path] = set()
    todo = [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        seen.add(page.resolve())
        for match in LINK.finditer(page.read_text(encoding="utf-8")):
            target = (page.parent / (match["to"] or match["image"]).partition("#")[0]).resolve()
            if target.suffix == ".md" and target.exists() and target not in seen:
                todo.append(target)
    assert [str(p.relative_to(ROOT)) for p in PAGES[2:] if p.resolve() not in seen] == []
