"""Whose turn it is: theory's or the plain planner's, in proportion to what each deserves.

Between judgements nobody knows which of the two is right. So the plain planner is owed, at each
experiment, the part of it that theory does not deserve, and half of it where theory promises less
than anyone could measure; when a whole experiment is owed, it is the plain planner's. What a theory
that misleads costs is then bounded from the first experiment on, and what a good one saves is given
away in small parts only. The plain planner's own opening is its own: points that theory chose do not
count for it, because they lie where theory looked.

Source: ours, after the proportional say of Freund & Schapire, J. Comput. Syst. Sci. 55, 119 (1997),
doi:10.1006/jcss.1997.1504 (there drawn by chance, here owed and paid, so that few experiments are
shared out evenly as well).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

__all__ = ["Turns"]

_HALF = 0.5
"""The plain planner's part of an experiment where theory promises next to nothing."""


@dataclass(frozen=True)
class Turns:
    """What the plain planner is owed, and how much of its opening it has made.

    Args:
        owed: experiments, mostly below 1.
        opened: points of its own opening.
    """

    owed: float = 0.0
    opened: int = 0

    def due(self, weight: float, *, is_promising: bool) -> "Turns":
        """Return the turns with this experiment's part.

        Args:
            weight: of theory, 0 to 1.
            is_promising: theory expects a gain that one could measure.
        """
        part = 1.0 - weight if is_promising else max(1.0 - weight, _HALF)
        return replace(self, owed=self.owed + part)

    @property
    def is_plain(self) -> bool:
        """Whether the experiment is the plain planner's."""
        return self.owed >= 1.0

    def paid(self) -> "Turns":
        """Return the turns after an experiment of the plain planner."""
        return replace(self, owed=max(self.owed - 1.0, 0.0))

    def opening(self) -> "Turns":
        """Return the turns after one more point of the plain planner's opening."""
        return replace(self, opened=self.opened + 1)

    def to_json(self) -> dict[str, float | int]:
        """Return it as JSON."""
        return {"owed": float(f"{self.owed:.8g}"), "opened": self.opened}

    @classmethod
    def from_json(cls, body: Mapping[str, float]) -> "Turns":
        """Return what `to_json` wrote; a fresh one for {}."""
        return cls(float(body.get("owed", 0.0)), int(body.get("opened", 0)))
