"""The best that is possible in one truth, and whether an experiment comes near it.

Nobody knows the best point of a real growth. It is looked for as well as growths can be paid for: an
even spread over the whole space, rounds of points where a surrogate may have its maximum, replicates
of the best. The best value is then the mean of fresh growths at the winner of three, because the mean
by which a finalist was chosen flatters it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from twinloop.agents.bench.gaussian_process import GaussianProcess
from twinloop.agents.bench.growths import Growths
from twinloop.agents.bench.surrogate import LEARNED, Surrogate, coordinates, learned_values
from twinloop.agents.bench.task import OBJECTIVE
from twinloop.ids import canonical_json, digest_of, seed_of
from twinloop.planners.space import Space

__all__ = ["Reference", "Search", "find_reference", "load_reference", "path_of_reference"]

Floats = NDArray[np.float64]

_CANDIDATES = 1200
_APART = 0.06  # Euclidean, in the unit cube
_WINNERS = 3


@dataclass(frozen=True, slots=True)
class Search:
    """What the search for the best may cost.

    Args:
        spread: growths spread over the whole space.
        rounds, points: rounds of growths where the maximum may be, and how many in each.
        finalists, replicates: best points, and growths of each to choose one of them.
        fresh: growths at each of the three best finalists, for the value of the winner.
    """

    spread: int = 256
    rounds: int = 5
    points: int = 32
    finalists: int = 8
    replicates: int = 16
    fresh: int = 48


@dataclass(frozen=True)
class Reference:
    """What is known of one truth after the search.

    Args:
        space: of the knobs, as the film feels them.
        theta: the truth.
        x: growths by place in the unit cube, shape (n, 4).
        y: means of what is learned at each, shape (n, 7), in the order of `LEARNED`.
        counts: replicates at each, shape (n,).
        parameters: of each process, shape (7, 6).
        best_x: the best place found.
        best: mean quality of fresh growths there.
        best_sd: its standard error.
    """

    space: Space
    theta: Mapping[str, float]
    x: Floats
    y: Floats
    counts: Floats
    parameters: Floats
    best_x: Floats
    best: float
    best_sd: float

    def surrogate(self) -> Surrogate:
        """Return the surrogate of the truth."""
        places = coordinates(self.space, self.x)
        processes = {
            name: GaussianProcess(places, self.y[:, j], self.counts, self.parameters[j])
            for j, name in enumerate(LEARNED)
        }
        return Surrogate(self.space, self.theta, processes)


def path_of_reference(
    folder: Path, theta: Mapping[str, float], space: Space, code: str, search: Search
) -> Path:
    """Return where the reference of a truth is kept, whether it is there or not."""
    spec = [dict(theta), space.to_json(), code, [getattr(search, n) for n in search.__slots__]]
    return folder / f"reference-{digest_of(canonical_json(spec))[:20]}.npz"


def load_reference(
    folder: Path, theta: Mapping[str, float], space: Space, code: str, search: Search
) -> Reference | None:
    """Return the reference of a truth from the disk; None where there is none."""
    path = path_of_reference(folder, theta, space, code, search)
    if not path.is_file():
        return None
    with np.load(path) as kept:
        parts = {name: kept[name] for name in kept.files}
    return Reference(
        space=space,
        theta=json.loads(str(parts["theta"])),
        best=float(parts["best"]),
        best_sd=float(parts["best_sd"]),
        **{name: parts[name] for name in ("x", "y", "counts", "parameters", "best_x")},
    )


def find_reference(
    folder: Path,
    growths: Growths,
    theta: Mapping[str, float],
    space: Space,
    search: Search,
    seed: int,
) -> Reference:
    """Return the reference of a truth; look for it and keep it where there is none yet.

    Args:
        folder: where references are kept.
        growths: real growths.
        theta: the truth.
        space: of the knobs, as the film feels them.
        search: what it may cost.
        seed: of the search.
    """
    kept = load_reference(folder, theta, space, growths.code, search)
    if kept is not None:
        return kept
    found = _Looking(growths, theta, space, seed).look(search)
    path = path_of_reference(folder, theta, space, growths.code, search)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part.npz")
    arrays = {n: getattr(found, n) for n in ("x", "y", "counts", "parameters", "best_x")}
    np.savez(
        draft, theta=np.array(json.dumps(dict(theta))), best=np.array(found.best),
        best_sd=np.array(found.best_sd), **arrays,
    )  # fmt: skip
    draft.replace(path)
    return found


class _Looking:
    """A search under way."""

    def __init__(
        self, growths: Growths, theta: Mapping[str, float], space: Space, seed: int
    ) -> None:
        self.growths, self.theta, self.space, self.seed = growths, theta, space, seed
        self.rng = np.random.default_rng(seed_of(seed, "search"))
        self.x = np.zeros((0, space.d))
        self.sums = np.zeros((0, len(LEARNED)))
        self.counts = np.zeros(0)
        self._surrogate: Surrogate | None = None

    def look(self, search: Search) -> Reference:
        sobol = qmc.Sobol(self.space.d, rng=np.random.default_rng(seed_of(self.seed, "spread")))
        for place in sobol.random(search.spread):
            self._grow(place, 1)
        for _ in range(search.rounds):
            for place in self._promising(search.points):
                self._grow(place, 1)
        finalists = self._finalists(search.finalists)
        means = [self._grow(place, search.replicates) for place in finalists]
        best = [finalists[i] for i in np.argsort(means)[::-1][:_WINNERS]]
        fresh = [[self._one(place, "fresh", k)[0] for k in range(search.fresh)] for place in best]
        winner = int(np.argmax([np.mean(values) for values in fresh]))
        y = self.sums / self.counts[:, None]
        places = coordinates(self.space, self.x)
        fitted = [GaussianProcess.fitted(places, column, self.counts) for column in y.T]
        return Reference(
            space=self.space,
            theta=dict(self.theta),
            x=self.x,
            y=y,
            counts=self.counts,
            parameters=np.array([process.parameters for process in fitted]),
            best_x=best[winner],
            best=float(np.mean(fresh[winner])),
            best_sd=float(np.std(fresh[winner], ddof=1) / np.sqrt(search.fresh)),
        )

    def _one(self, place: Floats, label: str, k: int) -> tuple[float, list[float]]:
        seed = seed_of(self.seed, "reference", label, place.tobytes().hex(), k)
        values = self.growths.grow(self.space.to_point(place), self.theta, seed).values
        return values[OBJECTIVE], learned_values(values)

    def _grow(self, place: Floats, n: int) -> float:
        """Grow `n` films at a place; return their mean quality."""
        rows = [self._one(place, "search", k) for k in range(n)]
        self.x = np.vstack([self.x, place])
        self.sums = np.vstack([self.sums, np.sum([learned for _, learned in rows], axis=0)])
        self.counts = np.append(self.counts, float(n))
        self._surrogate = None
        return float(np.mean([quality for quality, _ in rows]))

    def _fitted(self) -> Surrogate:
        if self._surrogate is None:
            y = self.sums[:, LEARNED.index("film")] / self.counts
            process = GaussianProcess.fitted(coordinates(self.space, self.x), y, self.counts)
            self._surrogate = Surrogate(self.space, self.theta, {"film": process})
        return self._surrogate

    def _candidates(self) -> Floats:
        """Return places over the space, and more of them round the best."""
        mean, _ = self._fitted().predict(OBJECTIVE, self.x)
        best = self.x[np.argsort(-mean)[:16]]
        local = best[self.rng.integers(len(best), size=_CANDIDATES)]
        width = self.rng.choice([0.03, 0.08, 0.2], size=(_CANDIDATES, 1))
        local = np.clip(local + width * self.rng.standard_normal(local.shape), 0.0, 1.0)
        return np.vstack([self.rng.random((_CANDIDATES // 2, self.space.d)), local])

    def _promising(self, n: int) -> list[Floats]:
        """Return places where functions drawn from the posterior have their maximum."""
        candidates = self._candidates()
        drawn = self._fitted().sampled_quality(candidates, n, self.rng)
        return [candidates[i] for i in np.unique(np.argmax(drawn, axis=1))]

    def _finalists(self, n: int) -> list[Floats]:
        """Return the places of the largest means, some way apart."""
        chosen: list[Floats] = []
        candidates = np.vstack([self._candidates() for _ in range(8)])
        mean, _ = self._fitted().predict(OBJECTIVE, candidates)
        for i in np.argsort(-mean):
            if all(np.linalg.norm(candidates[i] - c) > _APART for c in chosen):
                chosen.append(candidates[i])
            if len(chosen) == n:
                break
        return chosen
