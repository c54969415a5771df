"""YAML as plain data: what is read, and what hostile or careless files get."""

from pathlib import Path

import pytest

from twinloop.agents.config import yaml_text
from twinloop.agents.config.problems import Findings
from twinloop.agents.config.yaml_text import parse_yaml, read_yaml


def told(text: str) -> list[str]:
    findings = Findings()
    parse_yaml(text, "f.yaml", findings)
    return [str(problem) for problem in findings.problems]


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = """
a: 1e-3
b: 12
c: yes
d: 1:30
e: 2024-01-01
f: "7"
g:
h: true
i: .5
j: [1, two]
k: 0o17
l: .inf
"""
    document = parse_yaml(text, "f.yaml", Findings())
    assert document is not None
    assert document.value == {
        "a": 0.001, "b": 12, "c": "yes", "d": "1:30", "e": "2024-01-01", "f": "7", "g": None,
        "h": True, "i": 0.5, "j": [1, "two"], "k": "0o17", "l": ".inf",
    }  # fmt: skip


def test_each_key_knows_its_line() -> None:
    document = parse_yaml("a: 1\nb:\n  c: 2\n  d: {e: 3}\n", "f.yaml", Findings())
    assert document is not None
    place = document.place
    assert [place.at(*path).line for path in (("a",), ("b", "c"), ("b", "d", "e"))] == [1, 3, 4]
    assert place.at("b", "nowhere").line == 2


def test_a_key_that_stands_twice_is_told_with_both_lines() -> None:
    assert told("a: 1\nb: {c: 2,\n  c: 3}\na: 4\n") == [
        "f.yaml:3: b.c: found 'c' a second time (first in line 2), allowed: each key once",
        "f.yaml:4: a: found 'a' a second time (first in line 1), allowed: each key once",
    ]


def test_a_billion_laughs_cost_nothing() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert told("\n".join(lines)) == [
        "f.yaml:1: found '&a0', allowed: no anchors or aliases: write the value out"
    ]


def test_an_anchor_that_holds_itself_is_refused() -> None:
    assert "no anchors" in told("a: &a [*a]")[0]


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system [ls]", "a: !!binary aGk=", "a: !x 1"]
)
def test_tags_are_refused(text: str) -> None:
    (problem,) = told(text)
    assert "no tags" in problem


def test_a_deep_file_is_refused_before_it_is_built() -> None:
    (problem,) = told("a: " + "[" * 100_000)
    assert "at most 16 levels" in problem


def test_a_file_with_very_many_parts_is_refused() -> None:
    (problem,) = told("a: [" + "1, " * 30_000 + "1]")
    assert "20000 parts" in problem


def test_a_file_over_one_mebibyte_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_bytes(b"a: 1\n#" + b"x" * yaml_text.MAX_BYTES)
    findings = Findings()
    assert read_yaml(path, findings) is None
    assert "at most 1048576 bytes" in str(findings.problems[0])
    path.write_bytes(b"a: 1\n#" + b"x" * (yaml_text.MAX_BYTES - 6))
    document = read_yaml(path, Findings())
    assert document is not None
    assert document.value == {"a": 1}


def test_bytes_that_are_no_text_are_a_problem(tmp_path: Path) -> None:
    path = tmp_path / "raw.yaml"
    path.write_bytes(b"a: \xff\xfe")
    findings = Findings()
    assert read_yaml(path, findings) is None
    assert "UTF-8" in str(findings.problems[0])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [1, 2", "f.yaml:1"),
        ("a: 1\n\tb: 2", "f.yaml:2"),
        ("a: 1\n---\nb: 2", "single document"),
        ("- a\n- b", "'key: value' lines"),
        ("", "found nothing"),
        ("a: \x07", "special characters"),
        ("? [a, b]\n: 1", "a list or mapping as a key"),
        ("a: " + "9" * 5000, ""),
    ],
)
def test_what_is_no_mapping_is_told_where(text: str, words: str) -> None:
    problems = told(text)
    assert words in "".join(problems)
    assert bool(problems) == bool(words)
