"""Is it worth deciding what to look at? Three ways to spend the same laboratory hours.

    python docs/benchmarks/looking.py [--seeds 12] [--hours 60]

Random smooth landscapes of two knobs, drawn by seed and the same for each arm. Every trial costs
2.5 h and measures with a standard deviation of 0.10; a look of 0.8 h brings it to 0.03, one of 3 h to
0.02. Arms: `looking_bo` decides for each trial; `plain_bo` never looks; `plain_bo` always takes both
looks. After every trial each arm names the place whose posterior mean is highest, and the regret is
how far the true value there is below the best of the landscape. Written to looking.json beside this
file: median regret against hours, and the paired comparison at the end.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import wilcoxon

from twinloop.planners.interface import Known, Planner, Space
from twinloop.planners.looking_bo import LookingBO
from twinloop.planners.plain_bo import PlainBO

BASE_H = 2.5
LOOK_H = {"look_stm": 0.8, "look_stem": 3.0}
SD_BASE, SD_STM, SD_STEM = 0.10, 0.03, 0.02
KNOBS = {"a": (0.0, 1.0), "b": (0.0, 1.0)}
ARMS = ("looking_bo", "never look", "always look")


class Landscape:
    """A sum of broad Gaussian hills, scaled to the range 0 to 1."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.centres = rng.random((6, 2))
        self.heights = rng.normal(size=6)
        net = np.stack(np.meshgrid(*[np.linspace(0, 1, 81)] * 2), axis=-1).reshape(-1, 2)
        raw = self._raw(net)
        self.low, self.high = float(raw.min()), float(raw.max())

    def _raw(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        far2 = ((x[:, None] - self.centres) ** 2).sum(-1)
        hills: NDArray[np.float64] = np.exp(-far2 / 0.08) @ self.heights
        return hills

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the true value at places of shape (n, 2)."""
        return (self._raw(x) - self.low) / (self.high - self.low)


def sd_of(looks: tuple[bool, bool]) -> float:
    """Return the deviation of a trial, precisions adding."""
    precision = 1 / SD_BASE**2
    precision += looks[0] * (1 / SD_STM**2 - 1 / SD_BASE**2)
    precision += looks[1] * (1 / SD_STEM**2 - 1 / SD_BASE**2)
    return float(precision**-0.5)


def run(arm: str, seed: int, hours: float) -> tuple[list[float], list[float], float]:
    """Return hours and regrets after each trial, and the share of trials that looked."""
    truth, rng = Landscape(seed), np.random.default_rng([seed, 7])
    is_looking = arm == "looking_bo"
    names = {**KNOBS, **(dict.fromkeys(LOOK_H, (0.0, 1.0)) if is_looking else {})}
    space = Space.of(names)
    planner: Planner = LookingBO(look_h=LOOK_H, base_h=BASE_H) if is_looking else PlainBO()
    judge = PlainBO()
    xs: list[NDArray[np.float64]] = []
    ys: list[float] = []
    sds: list[float] = []
    spent, times, regrets, looked, memo = 0.0, [], [], 0, {}
    while spent < hours:
        known = Known.of(
            space,
            np.reshape(xs, (-1, space.d)),
            np.reshape(ys, (-1, 1)),
            y_sd=np.reshape(sds, (-1, 1)),
            proposal=len(xs),
            campaign_seed=seed,
            memo=memo,
        )
        proposal = planner.ask(known)
        memo = dict(proposal.memo)
        looks = tuple(proposal.x[2:] >= 0.5) if is_looking else (arm == "always look",) * 2
        sd = sd_of(looks)
        value = float(truth(proposal.x[None, :2])[0] + sd * rng.standard_normal())
        spent += BASE_H + sum(h for h, on in zip(LOOK_H.values(), looks, strict=True) if on)
        looked += any(looks)
        xs, ys, sds = [*xs, proposal.x], [*ys, value], [*sds, sd]
        if len(xs) >= 6:
            times.append(spent)
            regrets.append(_regret(judge, truth, np.array(xs)[:, :2], ys, sds))
    return times, regrets, looked / len(xs)


def _regret(
    judge: PlainBO, truth: Landscape, x: NDArray[np.float64], y: list[float], sd: list[float]
) -> float:
    """Return how far the place that one would now choose is below the best of the landscape."""
    known = Known.of(KNOBS, x, np.reshape(y, (-1, 1)), y_sd=np.reshape(sd, (-1, 1)))
    net = np.stack(np.meshgrid(*[np.linspace(0, 1, 33)] * 2), axis=-1).reshape(-1, 2)
    mean, _ = judge.moments(known, net)
    return float(1.0 - truth(net[[int(np.argmax(mean))]])[0])


def main() -> None:
    """Run all arms on all landscapes and write what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--hours", type=float, default=60.0)
    options = parser.parse_args()
    marks = np.linspace(options.hours / 2, options.hours, 4)
    at: dict[str, list[list[float]]] = {arm: [] for arm in ARMS}
    shares = []
    for seed in range(options.seeds):
        for arm in ARMS:
            times, regrets, share = run(arm, seed, options.hours + 8.0)
            told = [float(np.interp(m, times, regrets, left=1.0)) for m in marks]
            at[arm].append(told)
            if arm == "looking_bo":
                shares.append(share)
            print(f"seed {seed}, {arm}: {np.round(told, 3).tolist()}", flush=True)  # noqa: T201
    body = {
        "command": f"python docs/benchmarks/looking.py --seeds {options.seeds} --hours {options.hours:g}",
        "hours": marks.tolist(),
        "median_regret": {arm: np.median(at[arm], axis=0).round(4).tolist() for arm in ARMS},
        "mean_regret": {arm: np.mean(at[arm], axis=0).round(4).tolist() for arm in ARMS},
        "share_of_trials_that_looked": float(np.mean(shares)),
        "p_paired_at_the_end": {
            arm: _p(np.array(at["looking_bo"])[:, -1], np.array(at[arm])[:, -1]) for arm in ARMS[1:]
        },
        "p_paired_mean_over_hours": {
            arm: _p(np.mean(at["looking_bo"], axis=1), np.mean(at[arm], axis=1)) for arm in ARMS[1:]
        },
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(body, indent=1) + "\n", "utf-8")
    print(json.dumps(body, indent=1))  # noqa: T201


def _p(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(wilcoxon(first, second).pvalue) if np.any(first != second) else 1.0


if __name__ == "__main__":
    main()
