"""A stage under an electron beam: dose that was given stays given, whoever dies.

A microscope whose computer dies in the middle of a scan has given dose all the same, and may have
removed atoms. So each block of a run is noted on disk before its electrons are sent. The note goes when
the run is closed; one that is found later is what a run has left that nobody closed: the sample gets
its dose, its losses and the event in its history, and who asks by command key is told how far it came.
"""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from twinloop.ids import canonical_json
from twinloop.instruments.interface import NotTouched
from twinloop.instruments.standin.interface import State
from twinloop.instruments.standin.stage_twin import StageRun, StageTwin
from twinloop.log.durable import write_whole
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem.exposure import irradiated

__all__ = ["BeamNote", "BeamStageTwin"]

FILE = "beam.json"


@dataclass(frozen=True, slots=True)
class BeamNote:
    """What a run has done so far, the block under way included.

    Args:
        key: of the command.
        name: of the action.
        sample: on the stage.
        numbers: what is told of the run, its dose too, as if it ended after this block.
        beam_s: how long the beam has been on the sample [s].
        lost: indices of the atoms that it has knocked out.

    Example:
        >>> import tempfile
        >>> home = Path(tempfile.mkdtemp())
        >>> BeamNote("run/t1/0/0", "scan", "s1", {"lines": 4.0}, 0.1, (7,)).write(home)
        >>> BeamNote.read(home).lost, BeamNote.clear(home), BeamNote.read(home)
        ((7,), None, None)
    """

    key: str
    name: str
    sample: str
    numbers: Mapping[str, float]
    beam_s: float
    lost: tuple[int, ...] = ()

    def write(self, home: Path) -> None:
        """Keep the note, durably, instead of the one before."""
        write_whole(home / FILE, canonical_json(asdict(self)))

    @classmethod
    def read(cls, home: Path) -> "BeamNote | None":
        """Return the note that a run has left; None where every run was closed."""
        file = home / FILE
        if not file.is_file():
            return None
        kept = json.loads(file.read_text("utf-8"))
        return cls(**{**kept, "lost": tuple(kept["lost"])})

    @staticmethod
    def clear(home: Path) -> None:
        """Throw the note away: what it says stands in the history of the sample."""
        (home / FILE).unlink(missing_ok=True)


class BeamStageTwin(StageTwin):
    """A twin whose runs give dose: what `STEMTwin` has besides a stage.

    A recipe calls `note` before it lets the time of a block pass, and `expose` when the beam is blanked.
    A twin without a `folder` keeps no notes: nothing of it outlives its process.
    """

    @abstractmethod
    def age(self, seconds: float, beam_s: float = 0.0) -> None:
        """Let laboratory time pass, some of it with the beam on the sample."""

    def note(
        self,
        run: StageRun,
        numbers: dict[str, float],
        beam_s: float = 0.0,
        lost: Sequence[int] | NDArray[np.int64] = (),
    ) -> None:
        """Say how far a run has come, the block under way included; durably.

        Args:
            run: under way.
            numbers: of the run as if it ended after this block; with `dose_e_per_A2`.
            beam_s: how long the beam has been on the sample by then [s].
            lost: indices of the atoms that the run has removed.
        """
        run.numbers = numbers
        if self.folder is not None:
            atoms = tuple(int(atom) for atom in lost)
            note = BeamNote(run.key, run.name, self.on_stage().name, numbers, beam_s, atoms)
            note.write(self.home)

    def check_dose(self, name: str, dose: float, limit: float) -> float:
        """Return the dose that an action would give [e/A^2].

        Raises:
            NotTouched: it exceeds the limit.
        """
        if dose > limit:
            raise NotTouched(
                f"{name}: it would give {dose:.3g} e/A^2, allowed {limit:.3g}; lower current or "
                "dwell time, or allow more"
            )
        return dose

    def expose(self, run: StageRun, specimen: Specimen, beam_s: float, lost: int = 0) -> None:
        """Give the sample the dose of a run and its history, and let the time pass.

        Args:
            run: its numbers tell the dose.
            specimen: on the stage, less the atoms that are gone.
            beam_s: how long the beam was on it [s].
            lost: atoms that are gone.
        """
        self.change(irradiated(specimen, run.name, self.kind, run.key, run.numbers, lost))
        self.age(beam_s, beam_s)

    def _close(self, run: StageRun, state: State, reason: str) -> None:
        """Keep what has become of instrument and sample; nothing is left to be noted."""
        super()._close(run, state, reason)
        if self.folder is not None:
            BeamNote.clear(self.home)

    def _found(self) -> Specimen | None:
        """Return what is on the stage, with the dose of a run whose computer died."""
        specimen, note = super()._found(), BeamNote.read(self.home)
        if note is None:
            return specimen
        is_told = specimen is not None and note.key in {event.key for event in specimen.history}
        if specimen is not None and specimen.name == note.sample and not is_told:
            atoms = specimen.atoms.without(list(note.lost))
            left = replace(specimen, structure=atoms)
            lost = len(note.lost)
            specimen = irradiated(left, note.name, self.kind, note.key, note.numbers, lost)
            self._stage.write(specimen, note.key)
            self.age(note.beam_s, note.beam_s)
            self._save()
        run = self._book.find(note.key)
        if run.state == "partial" and not run.numbers:
            self._book.end(note.key, note.name, "partial", note.numbers, {}, run.reason)
        BeamNote.clear(self.home)
        return specimen
