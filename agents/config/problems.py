"""What was found while a configuration was read: problems that forbid it, notes that do not.

Everything is collected, so that one reading tells all there is to correct.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from twinloop.errors import ArgumentError, ConfigError, ConfigProblem

__all__ = ["Findings", "Note", "Place", "Words", "closest"]


class Words(str):
    """What was found, in words: an error shows it as it is, where a value stands in quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Return the words."""
        return str(self)


@dataclass(frozen=True, slots=True)
class Place:
    """A key of a file.

    Args:
        file: the file, as people named it.
        path: keys from the top of the file.
        lines: line of each key, by path.

    Example:
        >>> Place("lab.yaml").at("adapters", "chamber").key
        'adapters.chamber'
    """

    file: str
    path: tuple[str, ...] = ()
    lines: Mapping[tuple[str, ...], int] = field(default_factory=dict, compare=False)

    def at(self, *keys: str) -> "Place":
        """Return the place of a key further down."""
        return Place(self.file, (*self.path, *keys), self.lines)

    @property
    def key(self) -> str:
        """The keys, joined by dots."""
        return ".".join(self.path)

    @property
    def line(self) -> int | None:
        """The line of the key, or of the nearest one above it that stands in the file."""
        for length in range(len(self.path), 0, -1):
            if self.path[:length] in self.lines:
                return self.lines[self.path[:length]]
        return None


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know before running; the configuration is usable."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        """Return the note as one line."""
        return f"{self.file}: {self.key}: {self.text}"


class Findings:
    """Problems and notes, in the order in which they were found."""

    def __init__(self) -> None:
        self.problems: list[ConfigProblem] = []
        self.notes: list[Note] = []

    def problem(self, place: Place, found: object, allowed: str) -> None:
        """Add something that forbids the configuration; `found` is a value, or `Words`."""
        self.problems.append(ConfigProblem(place.file, place.key, found, allowed, place.line))

    def refused(self, place: Place, err: ArgumentError) -> None:
        """Add a value that could not be used."""
        self.problem(place, err.found, err.allowed)

    def note(self, place: Place, text: str) -> None:
        """Add something to know."""
        self.notes.append(Note(place.file, place.key, text))

    def raise_if_any(self) -> None:
        """Stop here when there is a problem.

        Raises:
            ConfigError: it holds every problem.
        """
        if self.problems:
            raise ConfigError(self.problems)


def closest(names: Iterable[str], found: object) -> str | None:
    """Return the name that was probably meant; None where nothing is near.

    Example:
        >>> closest(["mbe", "rheed"], "rhed")
        'rheed'
    """
    close = difflib.get_close_matches(found, list(names), n=1) if isinstance(found, str) else []
    return close[0] if close else None
