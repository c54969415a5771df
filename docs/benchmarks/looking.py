"""Is it worth deciding what to look at? Three ways to spend the same laboratory hours.

    python docs/benchmarks/looking.py [films|landscapes] [--seeds 8] [--hours 140] [--workers 2]

Arms: `looking_bo` decides for each trial; `plain_bo` never looks; `plain_bo` always takes every look.
After every trial each arm names the place that it would now choose by its own belief, and the truth
there is compared, paired over seeds.

films: the task of `configs/campaigns/grow_and_look.yaml` without its sockets. Each seed is another
laboratory, drawn from what is usual: a thermocouple off by 0 +- 15 K, a flux by 8 %, an attempt rate of
interdiffusion by 0.5 in ln, a surface barrier of 1.36 +- 0.04 eV (aluminium moves less than gallium).
Every film is grown by kinetic Monte Carlo on 48 x 48 sites; what instruments say of it is the truth with
the errors that their analysts have on the shipped twins; `FilmAnalyst` puts it together. The truth is the
merit of what has grown, the mean of three films at the place that was chosen.

landscapes: smooth random functions of two knobs from 0 to 1. Without a look a trial adds a bias that is
smooth in the knobs, of 0.12 on average, and states it; a look of 0.8 h takes most of it away, one of 3 h
nearly all. The truth is the function.

Written to looking.json beside this file, one entry for each task: what each arm reached by hours, and
the paired comparison. Lists by seed are kept, so that anybody may compare otherwise.
"""

import argparse
import json
import math
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import qmc, wilcoxon

from twinloop.analysts.film import (
    INTERFACE_SCALE_ML,
    ROUGHNESS_SCALE_ML,
    THICKNESS_ML,
    THICKNESS_SCALE_ML,
    FilmAnalyst,
)
from twinloop.planners.interface import Known, Space
from twinloop.planners.looking_bo import LookingBO
from twinloop.planners.plain_bo import PlainBO
from twinloop.simulators import film_quality, rheed
from twinloop.simulators.kmc import Film, GrowthParameters

Floats = NDArray[np.float64]
Measured = tuple[float, float, float, float]
ARMS = ("looking_bo", "never look", "always look")
LEAST_TRIALS = 6
MARKS = 2
SITES = 48
"""Edge of the lattice on which films grow."""


class World(Protocol):
    """What an arm meets."""

    knobs: Mapping[str, tuple[float, float]]
    base_h: float
    look_h: Mapping[str, float]

    def measure(self, x: Floats, looks: Floats) -> Measured:
        """Return result, its deviation, and both as they would have been without a look."""
        ...

    def truth(self, x: Floats) -> float:
        """Return what it is really worth."""
        ...


class Films:
    """A laboratory in which films are grown.

    Args:
        seed: of the laboratory and of all that happens in it.
    """

    knobs: ClassVar = dict.fromkeys(
        ("substrate_K", "flux_ML_per_s", "dose_ML", "anneal_s"), (0.0, 1.0)
    )
    sd: ClassVar = {
        "rheed": 0.012,
        "coverage_ML": 0.09,
        "stm": 0.02,
        "xrd": 0.06,
        "stem": 0.05,
        "width": 0.06,
    }
    """Of what each instrument says: as in the shipped campaign; of the thickness [ML] and width [ML]."""

    def __init__(self, seed: int) -> None:
        lab = files("twinloop.configs").joinpath("labs", "four_instruments.yaml").read_text()
        cost = {n: i["cost_h"] for n, i in yaml.safe_load(lab)["instruments"].items()}
        self.look_h = {f"look_{name}": cost.pop(name) for name in ("stm", "xrd", "stem")}
        self.base_h = sum(cost.values())
        self._seed, self._grown = seed, 0
        rng = np.random.default_rng([seed, 1])
        self._offset_K, self._log_flux = 15.0 * rng.standard_normal(), 0.08 * rng.standard_normal()
        self._log_rate = film_quality.LOG_INTERDIFFUSION_RATE + 0.5 * rng.standard_normal()
        self._parameters = GrowthParameters(
            surface_barrier_eV=1.36 + 0.04 * rng.standard_normal(),
            bond_energy_eV=0.25 + 0.03 * rng.standard_normal(),
            step_barrier_eV=abs(0.05 + 0.03 * rng.standard_normal()),
            multi_hop=8,
        )
        campaign = files("twinloop.configs").joinpath("campaigns", "grow_and_look.yaml").read_text()
        search = yaml.safe_load(campaign)["search"]
        self._space = Space.of(
            {
                n: (r["low"], r["high"], r.get("scale", "linear"))
                for n, r in search.items()
                if n in self.knobs
            }
        )

    def measure(self, x: Floats, looks: Floats) -> Measured:
        """Grow a film, look at it, put together what is seen."""
        self._grown += 1
        point = self._space.to_point(x)
        rough, width, thick, intensity = self._grow(point, self._grown)
        noise = np.random.default_rng([self._seed, 2, self._grown]).standard_normal
        sd = self.sd
        seen = {
            "rheed": intensity + sd["rheed"] * noise(), "rheed_sd": sd["rheed"],
            "coverage_ML": thick + sd["coverage_ML"] * noise(), "coverage_ML_sd": sd["coverage_ML"],
            "substrate_K": point["substrate_K"], "hot_s": _hot_s(point),
        }  # fmt: skip
        found = {
            "look_stm": {"stm_roughness_ML": (rough, sd["stm"])},
            "look_xrd": {"xrd_thickness_ML": (thick, sd["xrd"])},
            "look_stem": {
                "stem_thickness_ML": (thick, sd["stem"]),
                "stem_interface_ML": (width, sd["width"]),
            },
        }
        more = {}
        for name, taken in zip(self.look_h, looks, strict=True):
            for what, (value, spread) in found[name].items():
                told = value + spread * noise()
                if taken:
                    more |= {what: told, f"{what}_sd": spread}
        blind = FilmAnalyst().compute("film", **seen)
        all_ = FilmAnalyst().compute("film", **seen, **more)
        return all_.merit, all_.merit_sd, blind.merit, blind.merit_sd

    def truth(self, x: Floats) -> float:
        """Return the mean merit of three films."""
        point = self._space.to_point(x)
        grown = [self._grow(point, 10_000 + n) for n in range(3)]
        return float(np.mean([_merit(*film[:3]) for film in grown]))

    def _grow(self, point: Mapping[str, float], number: int) -> tuple[float, float, float, float]:
        """Return roughness, width, thickness [ML] and anti-phase intensity of a film."""
        true_K = point["substrate_K"] + self._offset_K
        flux, open_s = point["flux_ML_per_s"], point["dose_ML"] / point["flux_ML_per_s"]
        film = Film.flat(size=SITES, parameters=self._parameters, seed=1000 * self._seed + number)
        film.advance(
            temperature_K=true_K, flux_ML_per_s=flux * math.exp(self._log_flux), duration_s=open_s
        )
        film.advance(temperature_K=true_K, flux_ML_per_s=0.0, duration_s=point["anneal_s"])
        left = film_quality.interdiffusion_part(
            temperature_K=true_K,
            time_s=_hot_s(point),
            log_interdiffusion_rate=self._log_rate,
        )
        width = math.sqrt(-math.log(max(left, 1e-300)))
        heights = film.heights
        return heights.std(), width, heights.mean(), rheed.antiphase_intensity(heights)


def _hot_s(point: Mapping[str, float]) -> float:
    return point["dose_ML"] / point["flux_ML_per_s"] + point["anneal_s"]


def _merit(rough: float, width: float, thick: float) -> float:
    return math.exp(
        -0.5 * (rough / ROUGHNESS_SCALE_ML) ** 2
        - 0.5 * (width / INTERFACE_SCALE_ML) ** 2
        - 0.5 * ((thick - THICKNESS_ML) / THICKNESS_SCALE_ML) ** 2
    )


class Landscapes:
    """A sum of broad Gaussian hills, scaled to the range 0 to 1, and the bias of who does not look.

    Args:
        seed: of the landscape and of all noise.
    """

    knobs: ClassVar = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
    base_h = 2.5
    look_h: ClassVar = {"look_stm": 0.8, "look_stem": 3.0}
    bias = 0.12
    left: ClassVar = {"look_stm": 0.25, "look_stem": 0.05}
    """Root mean square of the bias, and which part each look leaves of it [1]."""
    noise = 0.02

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 7])
        rng = np.random.default_rng(seed)
        self._centres, self._heights = rng.random((6, 2)), rng.normal(size=6)
        self._wrong_at, self._wrong = rng.random((4, 2)), rng.normal(size=4)
        self._constant = rng.normal()
        net = np.stack(np.meshgrid(*[np.linspace(0, 1, 81)] * 2), axis=-1).reshape(-1, 2)
        raw = _hills(net, self._centres, self._heights, 0.08)
        self._low, self._high = float(raw.min()), float(raw.max())

    def measure(self, x: Floats, looks: Floats) -> Measured:
        """Return what a trial says."""
        part = min([1.0, *(p for p, on in zip(self.left.values(), looks, strict=True) if on)])
        hidden = _hills(x[None], self._wrong_at, self._wrong, 0.5)[0] + self._constant
        hidden *= self.bias / math.sqrt(1.0 + 0.6 * len(self._wrong))
        said = self.truth(x) + self.noise * self._rng.standard_normal()
        sd, blind_sd = (math.hypot(self.noise, p * self.bias) for p in (part, 1.0))
        return said + part * hidden, sd, said + hidden, blind_sd

    def truth(self, x: Floats) -> float:
        """Return the function."""
        raw = _hills(x[None], self._centres, self._heights, 0.08)[0]
        return float((raw - self._low) / (self._high - self._low))


def _hills(x: Floats, centres: Floats, heights: Floats, width2: float) -> Floats:
    far2 = ((x[:, None] - centres) ** 2).sum(-1)
    hills: Floats = np.exp(-far2 / width2) @ heights
    return hills


WORLDS = {"films": Films, "landscapes": Landscapes}


def run(task: str, arm: str, seed: int, marks: list[float]) -> tuple[list[float], float, int]:
    """Return the truth at the chosen place at each mark [h], the share of looks, and the trials."""
    world: World = WORLDS[task](seed)
    is_looking = arm == "looking_bo"
    looks_of = dict.fromkeys(world.look_h, (0.0, 1.0)) if is_looking else {}
    space = Space.of({**world.knobs, **looks_of})
    planner: PlainBO = PlainBO(n_initial=LEAST_TRIALS)
    if is_looking:
        planner = LookingBO(n_initial=8, look_h=dict(world.look_h), base_h=world.base_h)
    d, told, memo = len(world.knobs), [], {}
    hours, reached, looked = 0.0, [], 0.0
    planner.prepare()
    while len(reached) < len(marks):
        known = _known(space, told, seed, memo)
        proposal = planner.ask(known)
        memo = dict(proposal.memo)
        looks = (
            proposal.x[d:] >= 0.5 if is_looking else np.full(len(world.look_h), arm != "never look")
        )
        cost_h = world.base_h + float(np.array(list(world.look_h.values())) @ looks)
        # what is not over at a mark is not known there
        while len(reached) < len(marks) and hours + cost_h > marks[len(reached)]:
            reached.append(_truth_chosen(planner, known, world, d) if len(told) > 1 else 0.0)
        told.append((proposal.x, *world.measure(proposal.x[:d], looks)))
        hours, looked = hours + cost_h, looked + float(np.mean(looks))
    return reached, looked / len(told), len(told) - 1


def _known(
    space: Space, told: list[tuple[Floats, float, float, float, float]], seed: int, memo: dict
) -> Known:  # type: ignore[type-arg]
    n = len(told)
    column = lambda i: np.reshape([t[i] for t in told], (n, 1))  # noqa: E731
    return Known.of(
        space, np.reshape([t[0] for t in told], (n, space.d)), column(1), y_sd=column(2),
        features={"blind": np.hstack([column(3), column(4)])} if n else {},
        proposal=n, campaign_seed=seed, memo=memo,
    )  # fmt: skip


def _truth_chosen(planner: PlainBO, known: Known, world: World, d: int) -> float:
    """Return the truth where the arm's own belief is highest, among a net and what it has tried."""
    net = qmc.Sobol(d, seed=5).random(1024)
    places = np.vstack([net, known.x[:, :d]])
    full = np.hstack([places, np.zeros((len(places), known.d - d))])
    mean, _ = planner.moments(known, full)
    return world.truth(places[int(np.argmax(mean))])


def one_seed(task: str, seed: int, marks: list[float]) -> dict[str, tuple[list[float], float, int]]:
    """Return what every arm reached in one world."""
    import torch

    torch.set_num_threads(1)
    return {arm: run(task, arm, seed, marks) for arm in ARMS}


def main() -> None:
    """Run all arms in all worlds and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", choices=WORLDS, nargs="?", default="films")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--hours", type=float, default=140.0)
    parser.add_argument("--workers", type=int, default=2)
    o = parser.parse_args()
    marks = [float(m) for m in np.linspace(o.hours / 2, o.hours, MARKS)]
    found = []
    with ProcessPoolExecutor(o.workers) as pool:
        asked = [pool.submit(one_seed, o.task, seed, marks) for seed in range(o.seeds)]
        for seed, future in enumerate(asked):
            found.append(future.result())
            told = {arm: np.round(v[0], 3).tolist() for arm, v in found[-1].items()}
            print(f"seed {seed}: {told}", flush=True)  # noqa: T201
    at = {arm: np.array([f[arm][0] for f in found]) for arm in ARMS}
    body = {
        "command": f"python docs/benchmarks/looking.py {o.task} --seeds {o.seeds} --hours {o.hours:g}",
        "hours": marks,
        "median_truth": {arm: np.median(v, axis=0).round(4).tolist() for arm, v in at.items()},
        "mean_truth": {arm: v.mean(axis=0).round(4).tolist() for arm, v in at.items()},
        "share_of_looks": float(np.mean([f["looking_bo"][1] for f in found])),
        "trials": {arm: float(np.mean([f[arm][2] for f in found])) for arm in ARMS},
        "p_paired": {
            arm: [_p(at["looking_bo"][:, m], at[arm][:, m]) for m in range(len(marks))]
            for arm in ARMS[1:]
        },
        "better_worse": {
            arm: [
                [int((at["looking_bo"][:, m] > at[arm][:, m]).sum()),
                 int((at["looking_bo"][:, m] < at[arm][:, m]).sum())]
                for m in range(len(marks))
            ]
            for arm in ARMS[1:]
        },
        "by_seed": {arm: v.round(4).tolist() for arm, v in at.items()},
    }  # fmt: skip
    path = Path(__file__).with_suffix(".json")
    before = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    kept = {k: v for k, v in before.items() if k in WORLDS}
    path.write_text(json.dumps({**kept, o.task: body}, indent=1) + "\n", "utf-8")
    print(json.dumps({k: v for k, v in body.items() if k != "by_seed"}, indent=1))  # noqa: T201


def _p(first: Floats, second: Floats) -> float:
    """Return the chance of so unlike a pair of arms if they were alike, two-sided."""
    return float(wilcoxon(first, second).pvalue) if np.any(first != second) else 1.0


if __name__ == "__main__":
    main()
