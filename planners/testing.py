"""The contract of a planner, executed: one call in the test of your planner.

Example:
    >>> from twinloop.planners.sobol import SobolPlanner
    >>> check_planner(SobolPlanner)
"""

import random
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.errors import LabError
from twinloop.planners.interface import Known, Planner, Proposal, Rung, Simulations, Space, Theory
from twinloop.planners.ladder import repeats_pending
from twinloop.planners.simulations import Prior

__all__ = [
    "CHECKS",
    "ConformanceFailed",
    "PlannerFactory",
    "check_planner",
    "example_known",
    "example_theory",
]

PlannerFactory = Callable[[], Planner]

_SPACE = Space.of({"substrate_K": (500.0, 800.0), "flux_ML_per_s": (0.05, 0.5, "log")})


class ConformanceFailed(LabError):
    """A planner that does not keep the contract."""

    def __init__(self, planner: str, rule: str, found: object, allowed: str) -> None:
        self.planner, self.rule, self.found, self.allowed = planner, rule, found, allowed
        super().__init__(f"planner {planner}: {rule}: found {found}, allowed: {allowed}")


def example_known(
    n: int = 9, *, proposal: int | None = None, pending: int = 0, constrained: bool = False
) -> Known:
    """Return `n` noisy results of a smooth bump in two dimensions, made up from a fixed seed.

    Args:
        n: results.
        proposal: number of the proposal asked for; `n` + `pending` when left out.
        pending: points under way.
        constrained: with one constraint, which cuts the best half of the bump off.
    """
    rng = np.random.default_rng(20240607)
    x, waiting = rng.random((n, 2)), rng.random((pending, 2))
    noise = rng.normal(0.0, 0.02, (n, 1))
    y = np.exp(-8.0 * ((x - (0.35, 0.6)) ** 2).sum(axis=1, keepdims=True)) + noise
    return Known.of(
        _SPACE,
        x,
        y,
        y_sd=np.full((n, 1), 0.02),
        slack=x[:, :1] - 0.35 if constrained else None,
        pending=waiting,
        proposal=n + pending if proposal is None else proposal,
        campaign_seed=7,
    )


def check_planner(factory: PlannerFactory) -> None:
    """Try every rule on planners that `factory` makes.

    Args:
        factory: returns a new planner; often the class itself.

    Raises:
        ConformanceFailed: the first rule that is broken, with what was found.
    """
    for check in CHECKS:
        check(factory)


def check_answers_from_the_empty_journal_on(factory: PlannerFactory) -> None:
    """A campaign starts with nothing known, and nothing but points of the cube may come out."""
    for known in (example_known(0), example_known(1), example_known(9, pending=3)):
        _ask(factory(), known)


def check_answers_with_constraints(factory: PlannerFactory) -> None:
    """Results with slack, feasible or not, get an answer."""
    known = example_known(8, constrained=True)
    if _ask(factory(), known).x.shape != (known.d,):
        raise ConformanceFailed(factory().name, "constraints", "another shape", f"({known.d},)")


def check_same_known_same_bits(factory: PlannerFactory) -> None:
    """Asked twice for the same, it answers the same to the last bit."""
    known, planner = example_known(9, pending=2), factory()
    _same("the same known twice", planner, _ask(planner, known), _ask(planner, known))


def check_fresh_equals_warm(factory: PlannerFactory) -> None:
    """What it was asked before leaves no trace: a planner that was restarted goes on alike."""
    warm = factory()
    for earlier in (example_known(0), example_known(7), example_known(8, pending=1)):
        _ask(warm, earlier)
    known = example_known(9, pending=2)
    _same("a fresh one and a warm one", warm, _ask(factory(), known), _ask(warm, known))


def check_leaves_global_randomness_alone(factory: PlannerFactory) -> None:
    """Global generators neither steer the answer nor move."""
    known, planner, answers = example_known(9), factory(), []
    for seed in (1, 2):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        before = _random_states()
        answers.append(_ask(planner, known))
        if _random_states() != before:
            raise ConformanceFailed(planner.name, "global generators", "moved", "put back by `ask`")
    _same("other global seeds", planner, *answers)


def check_leaves_known_alone(factory: PlannerFactory) -> None:
    """What it was given is as it was."""
    known, planner = example_known(9, pending=1), factory()
    _ask(planner, known)
    if known != example_known(9, pending=1):
        raise ConformanceFailed(planner.name, "known", "changed by the call", "read, not written")


def check_survives_the_wire(factory: PlannerFactory) -> None:
    """What crosses the wire gives the same proposal, and the proposal crosses it unchanged."""
    known, planner = example_known(9, pending=2), factory()
    here = _ask(planner, known)
    there = _ask(planner, Known.from_wire(*known.to_wire()))
    _same("known across the wire", planner, here, there)
    _same("proposal across the wire", planner, here, Proposal.from_wire(*here.to_wire()))


def check_repeats_no_pending_point(factory: PlannerFactory) -> None:
    """The point it would propose is under way: it proposes another one."""
    known, planner = example_known(8), factory()
    wanted = _ask(planner, known)
    crowded = _with_pending(known, wanted)
    answer = _ask(planner, crowded)
    if repeats_pending(answer.x, crowded):
        raise ConformanceFailed(planner.name, "pending", answer.x.tolist(), "a point not under way")


def check_needs_no_fallback(factory: PlannerFactory) -> None:
    """On benign results the planner itself answers, not the ladder under it."""
    planner = factory()
    answer = _ask(planner, example_known(9))
    if answer.why["rung"] not in {Rung.OPENING, Rung.PLANNER}:
        raise ConformanceFailed(planner.name, "rung", answer.why, "an answer of its own")


CHECKS: tuple[Callable[[PlannerFactory], None], ...] = (
    check_answers_from_the_empty_journal_on,
    check_answers_with_constraints,
    check_same_known_same_bits,
    check_fresh_equals_warm,
    check_leaves_global_randomness_alone,
    check_leaves_known_alone,
    check_survives_the_wire,
    check_repeats_no_pending_point,
    check_needs_no_fallback,
)


def _ask(planner: Planner, known: Known) -> Proposal:
    """Ask, and look at the answer without trusting `ask`."""
    answer = planner.ask(known)
    if not np.all((answer.x >= 0.0) & (answer.x <= 1.0)):
        raise ConformanceFailed(planner.name, "x", answer.x.tolist(), "points of the unit cube")
    return answer


def _same(rule: str, planner: Planner, one: Proposal, other: Proposal) -> None:
    if one != other:
        gap = float(np.abs(one.x - other.x).max())
        raise ConformanceFailed(
            planner.name, rule, f"x apart by {gap:g}, {one.why} and {other.why}", "the same bits"
        )


def _with_pending(known: Known, proposal: Proposal) -> Known:
    return Known.of(
        known.space,
        known.x,
        known.y,
        y_sd=known.y_sd,
        pending=np.vstack([known.pending, proposal.x]),
        proposal=known.proposal,
        campaign_seed=known.campaign_seed,
    )


def _random_states() -> list[Any]:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002
    states: list[Any] = [random.getstate(), numpy_state[1].tobytes(), numpy_state[2]]
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        states.append(torch.random.get_rng_state().numpy().tobytes())
    return states


def example_theory(
    n: int = 0,
    *,
    m: int = 64,
    truth: Mapping[str, float] | None = None,
    missing_loss: float = 0.0,
    is_mirrored: bool = False,
    seed: int = 1,
    x: NDArray[np.float64] | None = None,
    **rest: Any,
) -> Known:
    """Return experiments and simulations of a theory in closed form: a bump whose place is unknown.

    Theory: quality exp(-8 |x - c|^2) with c = (place_1, place_2), and a trace, c_1 + x_1 / 2. An
    experiment gives both at the truth, with noise of 0.02.

    Args:
        n: experiments, at fixed random points unless `x` is given.
        m: simulations over the prior, at fixed random points.
        truth: `place_1`, `place_2`; (0.6, 0.4) when None.
        missing_loss: a loss exp(-missing_loss x_2) of the quality that theory does not know.
        is_mirrored: the machine does at x what theory says of 1 - x.
        seed: of the noise and of the points.
        x: where experiments were made, shape (n, 2).
        rest: more for `Known.of`.
    """
    theory = Theory(
        "bump", "bump v1", {"place_1": Prior(0.5, 0.15), "place_2": Prior(0.5, 0.15)},
        ("quality", "trace"), simulation_h=0.001, experiment_h=0.1,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    points, theta = rng.random((m, 2)), 0.5 + 0.15 * 1.2 * rng.standard_normal((m, 2))
    simulations = Simulations(
        x=points,
        theta=theta,
        values=_bump(points, theta) + 0.01 * rng.standard_normal((m, 2)),
        exceeded=np.zeros(m, dtype=bool),
        pending_x=np.zeros((0, 2)),
        pending_theta=np.zeros((0, 2)),
    )
    place = np.array(list((truth or {"place_1": 0.6, "place_2": 0.4}).values()))
    made = rng.random((n, 2)) if x is None else x
    seen = _bump(1.0 - made if is_mirrored else made, np.tile(place, (len(made), 1)))
    seen[:, 0] *= np.exp(-missing_loss * made[:, 1])
    seen += 0.02 * np.random.default_rng([seed, 1]).standard_normal((len(made), 2))
    sd = np.full((len(made), 1), 0.02)
    return Known.of(
        Space.of({"a_K": (0.0, 1.0), "b_K": (0.0, 1.0)}),
        made,
        seen[:, :1],
        y_sd=sd,
        simulations=simulations,
        theory=theory,
        features={"trace": np.hstack([seen[:, 1:], sd])},
        **{"proposal": len(made), "campaign_seed": 3, **rest},
    )


def _bump(x: NDArray[np.float64], theta: NDArray[np.float64]) -> NDArray[np.float64]:
    quality = np.exp(-8.0 * ((x - theta) ** 2).sum(axis=1))
    return np.stack([quality, theta[:, 0] + 0.5 * x[:, 0]], axis=1)
