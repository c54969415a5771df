"""Moving atoms with the tip: pulling an adatom over a film, a vacancy through a sheet.

Below a threshold of the current (the tip is too far to attract) nothing moves; above it an atom
follows the tip, one lattice site at a time, and is lost when the tip runs ahead. Between the two a
hop happens with a probability that rises in the logarithm of the current, that is, linearly in the
tip's height: a stand-in for the barrier that the tip lowers.

Source: Eigler & Schweizer, Nature 344, 524 (1990), doi:10.1038/344524a0 (xenon on nickel: imaged at
1 nA, dragged at 10 to 60 nA, 10 mV, 4 A/s); Stroscio & Eigler, Science 254, 1319 (1991)
(threshold of the tip's height). Vacancies move by the same rule here, which no experiment has
measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import ArgumentError
from twinloop.simulators.stm.surface import Film
from twinloop.simulators.stm.tight_binding import TightBinding

__all__ = ["Drag", "DragRules", "drag_adatom", "drag_vacancy"]


@dataclass(frozen=True, slots=True)
class DragRules:
    """When an atom follows the tip.

    Args:
        threshold_nA: current at which half of the hops succeed [nA].
        width: of the threshold in ln I [1]; 0.25 is about 0.1 A of height.
        capture_A: an atom farther than this beside the tip is lost [A].

    Raises:
        ArgumentError: a number that is not positive.

    Example:
        >>> rules = DragRules(threshold_nA=10.0)
        >>> rules.probability(1.0) < 0.001, rules.probability(60.0) > 0.99
        (True, True)
    """

    threshold_nA: float = 10.0
    width: float = 0.25
    capture_A: float = 6.0

    def __post_init__(self) -> None:
        for name in ("threshold_nA", "width", "capture_A"):
            if not getattr(self, name) > 0:
                raise ArgumentError(name, getattr(self, name), "a number > 0")

    def probability(self, current_nA: float) -> float:
        """Return the chance that an atom hops after the tip at this current [1]."""
        above = np.log(max(abs(current_nA), 1e-12) / self.threshold_nA) / self.width
        return float(1.0 / (1.0 + np.exp(-np.clip(above, -50.0, 50.0))))


@dataclass(frozen=True, slots=True)
class Drag:
    """What a drag did.

    Args:
        moved: lattice steps from start to end along the two directions.
        hops: that succeeded.
        is_lost: whether the atom was left behind.
        end_A: where the atom is, unwrapped, (x, y) [A].
    """

    moved: tuple[int, int]
    hops: int
    is_lost: bool
    end_A: tuple[float, float]


def drag_adatom(
    film: Film,
    site: tuple[int, int],
    path_A: NDArray[np.float64],
    *,
    current_nA: float,
    rules: DragRules,
    rng: np.random.Generator,
) -> tuple[Film, Drag]:
    """Drag the atom on top of a site along a path of the tip; return the film since then.

    Args:
        film: before.
        site: row and column of the adatom, higher than its four neighbours.
        path_A: places of the tip, shape (p, 2) [A].
        current_nA: held on the way [nA].
        rules: of the threshold.
        rng: the source of chance.

    Raises:
        ArgumentError: a site that holds no adatom.
    """
    heights = np.array(film.heights_ML, dtype=np.float64)
    n1, n2 = heights.shape
    around = [
        heights[(site[0] + i) % n1, (site[1] + j) % n2]
        for i, j in ((1, 0), (-1, 0), (0, 1), (0, -1))
    ]
    top = heights[site[0] % n1, site[1] % n2]
    if not top >= max(around) + 1:
        raise ArgumentError("site", site, "an atom alone on its terrace")
    heights[site[0] % n1, site[1] % n2] -= 1
    base = np.array(site)

    def is_open(steps: NDArray[np.int64]) -> bool:
        here = heights[tuple((base + steps) % heights.shape)]
        return bool(here <= top - 1)

    vectors_A = film.lattice_A * np.eye(2)
    drag = _follow(base @ vectors_A, vectors_A, path_A, is_open, current_nA, rules, rng)
    heights[tuple((base + np.array(drag.moved)) % heights.shape)] += 1
    return replace(film, heights_ML=heights), drag


def drag_vacancy(
    box: TightBinding,
    vacancy: tuple[int, int, int],
    path_A: NDArray[np.float64],
    *,
    current_nA: float,
    rules: DragRules,
    rng: np.random.Generator,
) -> tuple[TightBinding, Drag]:
    """Drag a vacancy by lattice vectors along a path of the tip; return the box since then.

    Args:
        box: before.
        vacancy: atom of the cell (`Crystal.atoms`), and the cell's two numbers.
        path_A: places of the tip, shape (p, 2) [A].
        current_nA: held on the way [nA].
        rules: of the threshold.
        rng: the source of chance.

    Raises:
        ArgumentError: an atom that is there.
    """
    atom, n1, n2 = vacancy
    orbitals = np.flatnonzero(box.crystal.atoms == atom)
    if orbitals.size == 0 or box.is_present[orbitals, n1, n2].any():
        raise ArgumentError("vacancy", vacancy, "an atom that is missing")
    present, base = box.is_present.copy(), np.array([n1, n2])
    present[orbitals, n1, n2] = True

    def is_open(steps: NDArray[np.int64]) -> bool:
        one, two = (base + steps) % np.array(box.repeats)
        return bool(present[orbitals, one, two].all())

    vectors_A = box.crystal.vectors_A
    start_A = base @ vectors_A + box.crystal.places_A[orbitals[0], :2]
    drag = _follow(start_A, vectors_A, path_A, is_open, current_nA, rules, rng)
    one, two = (base + np.array(drag.moved)) % np.array(box.repeats)
    present[orbitals, one, two] = False
    return replace(box, is_present=present), drag


def _follow(
    start_A: NDArray[np.float64],
    vectors_A: NDArray[np.float64],
    path_A: NDArray[np.float64],
    is_open: Callable[[NDArray[np.int64]], bool],
    current_nA: float,
    rules: DragRules,
    rng: np.random.Generator,
) -> Drag:
    """Let an atom hop towards the tip at each point of the path, while it can."""
    chance = rules.probability(current_nA)
    moves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], dtype=np.int64)
    steps, hops = np.zeros(2, dtype=np.int64), 0
    for tip_A in path_A:
        while True:
            here_A = start_A + steps @ vectors_A
            far_A = float(np.linalg.norm(tip_A - here_A))
            if far_A > rules.capture_A:
                return _drag(start_A, vectors_A, steps, hops, is_lost=True)
            nexts_A = here_A + moves @ vectors_A
            gains_A = far_A - np.linalg.norm(tip_A - nexts_A, axis=1)
            best = int(gains_A.argmax())
            if gains_A[best] <= 1e-9 or not is_open(steps + moves[best]) or rng.random() >= chance:
                break
            steps, hops = steps + moves[best], hops + 1
    return _drag(start_A, vectors_A, steps, hops, is_lost=False)


def _drag(
    start_A: NDArray[np.float64],
    vectors_A: NDArray[np.float64],
    steps: NDArray[np.int64],
    hops: int,
    *,
    is_lost: bool,
) -> Drag:
    end_A = start_A + steps @ vectors_A
    return Drag((int(steps[0]), int(steps[1])), hops, is_lost, (float(end_A[0]), float(end_A[1])))
