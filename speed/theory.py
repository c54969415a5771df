"""CPU seconds of one suggestion with theory, at 10, 30 and 100 experiments, beside plain BO.

Experiments and simulations are growths of a small lattice; both planners see the same experiments,
one after the other in one run, so the ratio counts. One torch thread, as in a campaign.
"""

import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from measure import write_result

from twinloop.agents.campaign.theory import theory_of
from twinloop.agents.config.interface import load_campaign
from twinloop.planners.interface import Known, Planner, Simulations, Theory
from twinloop.planners.plain_bo import PlainBO
from twinloop.planners.space import Space
from twinloop.planners.theory.design import prior_design, to_theta
from twinloop.planners.theory_bo import TheoryBO
from twinloop.simulators.kmc_growth import KMCGrowth

SIMULATIONS, EXPERIMENTS, REPEATS = 300, (10, 30, 100), 3
GROWTH = KMCGrowth(size=32, multi_hop=8)
MEASURED_SD = 0.03


def grown(space: Space, theory: Theory, x: np.ndarray, theta: dict[str, float], seed: int) -> list:
    said = GROWTH.simulate(space.to_point(x), theta, seed)
    return [said.scalars[name] for name in theory.observables]


def simulated(space: Space, theory: Theory) -> Simulations:
    empty = Known.of(space, theory=theory, campaign_seed=1)
    wanted = prior_design(empty, range(SIMULATIONS))
    return Simulations(
        x=np.array([w.x for w in wanted]),
        theta=np.array([[w.theta[name] for name in theory.names] for w in wanted]),
        values=np.array([grown(space, theory, w.x, w.theta, n) for n, w in enumerate(wanted)]),
        exceeded=np.zeros(SIMULATIONS, dtype=bool),
        pending_x=np.zeros((0, space.d)),
        pending_theta=np.zeros((0, len(theory.names))),
    )


def known_of(space: Space, theory: Theory, simulations: Simulations, n: int) -> Known:
    rng = np.random.default_rng(2)
    truth = to_theta(0.5 * rng.standard_normal(len(theory.names)), theory)
    x = np.clip(0.55 + 0.15 * rng.standard_normal((n, space.d)), 0.0, 1.0)
    seen = np.array([grown(space, theory, row, truth, 1000 + k) for k, row in enumerate(x)])
    seen += MEASURED_SD * rng.standard_normal(seen.shape)
    sd = np.full((n, 1), MEASURED_SD)
    return Known.of(
        space,
        x,
        seen[:, :1],
        y_sd=sd,
        simulations=simulations,
        theory=theory,
        features={
            name: np.hstack([seen[:, [q]], sd]) for q, name in enumerate(theory.observables) if q
        },
        proposal=n,
        campaign_seed=1,
    )


def cost_s(planner: Planner, known: Known) -> tuple[float, dict]:
    began_s = time.process_time()
    memo = dict(planner.ask(known).memo)
    return time.process_time() - began_s, memo


def main() -> None:
    torch.set_num_threads(1)
    campaign = load_campaign("mbe_growth")
    theory = theory_of(campaign.resolved())
    simulations = simulated(campaign.space, theory)
    figures = {}
    for n in EXPERIMENTS:
        known = known_of(campaign.space, theory, simulations, n)
        cold_s, memo = cost_s(TheoryBO(), known)
        plain_memo = cost_s(PlainBO(), known)[1]
        with_theory, plain = [], []
        for k in range(REPEATS):
            later = replace(known, seed=known.seed + k)
            with_theory.append(cost_s(TheoryBO(), replace(later, memo=memo))[0])
            plain.append(cost_s(PlainBO(), replace(later, memo=plain_memo))[0])
        figures[str(n)] = {
            "first, hyperparameters fitted [CPU s]": round(cold_s, 2),
            "with theory [CPU s]": round(statistics.median(with_theory), 2),
            "plain BO [CPU s]": round(statistics.median(plain), 2),
            "ratio": round(statistics.median(with_theory) / statistics.median(plain), 1),
        }
        print(n, figures[str(n)])
    write_result("theory", {"simulations": SIMULATIONS, "suggestion by experiments": figures})


if __name__ == "__main__":
    main()
