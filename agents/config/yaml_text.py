"""Read YAML as plain data, with the line of every key, and nothing else that YAML can do.

No tags, no anchors, no aliases, no dates, no "yes" for true and no "1:30" for ninety: a scalar is
text, a number, true, false or empty, as in YAML 1.2. A key that stands twice is a problem. Size,
depth and the number of parts are bounded before anything is built, so a hostile file costs little.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from twinloop.agents.config.problems import Findings, Place, Words
from twinloop.errors import ConfigError, ConfigProblem

__all__ = ["Document", "parse_yaml", "read_yaml"]

MAX_BYTES = 1 << 20
MAX_DEPTH = 16
MAX_PARTS = 20_000

_WORDS = {"": None, "~": None, "null": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?[0-9]{1,19}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Document:
    """A mapping read from one file.

    Args:
        file: the file, as people named it.
        value: plain dicts, lists, text, numbers, booleans and None.
        lines: line of each key (from 1), by path.
    """

    file: str
    value: dict[str, Any]
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        """The top of the file."""
        return Place(self.file, (), self.lines)


def read_yaml(path: Path, findings: Findings) -> Document | None:
    """Return the mapping in a file; None where it cannot be read, and the findings say why."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            findings.problem(Place(str(path)), Words("a larger file"), f"at most {MAX_BYTES} bytes")
            return None
        text = raw.decode("utf-8-sig")
    except OSError as err:
        findings.problem(
            Place(str(path)), Words(err.strerror or str(err)), "a file that can be read"
        )
        return None
    except UnicodeDecodeError as err:
        findings.problem(Place(str(path)), Words(err), "text in UTF-8")
        return None
    return parse_yaml(text, str(path), findings)


def parse_yaml(text: str, file: str, findings: Findings) -> Document | None:
    """Return the mapping in a text; None where there is none, and the findings say why."""
    try:
        _check_events(text, file)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except ConfigError as err:
        findings.problems.extend(err.problems)
        return None
    except yaml.MarkedYAMLError as err:
        line = err.problem_mark.line + 1 if err.problem_mark else None
        found = Words(", ".join(filter(None, (err.context, err.problem))))
        findings.problems.append(ConfigProblem(file, "", found, "YAML: 'key: value' lines", line))
        return None
    except yaml.YAMLError as err:
        findings.problem(Place(file), Words(err), "YAML: 'key: value' lines")
        return None
    if not isinstance(node, yaml.MappingNode):
        findings.problem(Place(file), None if node is None else node.value, "'key: value' lines")
        return None
    lines: dict[tuple[str, ...], int] = {}
    value = _build(node, Place(file, (), lines), lines, findings)
    return Document(file, value, lines)


def _check_events(text: str, file: str) -> None:
    """Refuse what is not used here, before anything is built.

    Raises:
        ConfigError: a tag, an anchor or an alias, or too many or too deep parts.
    """
    depth = 0
    for count, event in enumerate(_events(text)):
        line = event.start_mark.line + 1
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH or count > MAX_PARTS:
            allowed = f"at most {MAX_DEPTH} levels and {MAX_PARTS} parts"
            raise _refusal(file, line, Words("a deeper or longer file"), allowed)
        if getattr(event, "anchor", None) is not None:
            found = f"{'*' if isinstance(event, yaml.AliasEvent) else '&'}{event.anchor}"
            raise _refusal(file, line, found, "no anchors or aliases: write the value out")
        if getattr(event, "tag", None) is not None:
            raise _refusal(file, line, event.tag, "no tags: plain text, numbers, lists, mappings")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=yaml.SafeLoader)


def _refusal(file: str, line: int, found: str, allowed: str) -> ConfigError:
    return ConfigError([ConfigProblem(file, "", found, allowed, line)])


def _build(node: yaml.Node, place: Place, lines: dict[tuple[str, ...], int], out: Findings) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, place, lines, out)
    if isinstance(node, yaml.SequenceNode):
        return [_build(v, place.at(str(i)), lines, out) for i, v in enumerate(node.value)]
    return _scalar(node) if isinstance(node, yaml.ScalarNode) else None


def _mapping(
    node: yaml.MappingNode, place: Place, lines: dict[tuple[str, ...], int], out: Findings
) -> dict[str, Any]:
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            out.problems.append(
                ConfigProblem(
                    place.file, place.key, Words("a list or mapping as a key"), "a name", line
                )
            )
            continue
        key = str(key_node.value)
        inner = place.at(key)
        if key in built:
            found = Words(f"{key!r} a second time (first in line {lines[inner.path]})")
            out.problems.append(ConfigProblem(place.file, inner.key, found, "each key once", line))
            continue
        lines[inner.path] = line
        built[key] = _build(value_node, inner, lines, out)
    return built


def _scalar(node: yaml.ScalarNode) -> Any:
    text = str(node.value)
    if node.style is not None:  # quoted or a block: always text
        return text
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
