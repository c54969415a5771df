'''Write a planner: one class, one method.

A planner says where to look next. It sees the unit cube and maximises; physical values, units and
"minimise" are translated before and after. Copy this file's example, or `plain_bo.py`::

    """Walk from the best point so far."""
    import numpy as np

    from twinloop.planners.interface import Known, Planner, Proposal


    class Walk(Planner, name="walk"):
        """Take a step of random direction from the best point."""

        n_initial: int = 4  # a field is an option: `planner: {name: "lab.walk:Walk", step: 0.2}`
        step: float = 0.1

        def propose(self, known: Known) -> Proposal:
            rng = np.random.default_rng(known.seed)
            best = known.x[known.y[:, 0].argmax()]
            x = np.clip(best + self.step * rng.standard_normal(known.d), 0.0, 1.0)
            return Proposal(x=x, why={"best_so_far": known.y.max()})

The rules, which `twinloop.planners.testing.check_planner` tries on your class:

1. **`known` is all.** No clock, no file, no attribute that a call changes: the same `known` gives the
   same bits in any process, or a campaign could not go on after a crash as if nothing had happened.
   What a call should remember for the next (hyperparameters of a warm start) goes into
   `Proposal.memo` and comes back in `known.memo`. Raise the class attribute `version` when the same
   `known` would now give another answer.
2. **Randomness is seeded for you.** `ask` seeds torch, numpy and random from `known.seed`, and puts
   their states back. Import heavy libraries in `prepare`, not at the top of the file: the conductor
   imports your module, and takes `opening`, while no worker is up yet.
3. **Stop by iterations, never by time**: a busy machine would give another answer.
4. **Say that you failed** with `PlanningFailed` (a fit of BoTorch that fails counts as well); `ask`
   then takes the next rung of `ladder.py`. It also takes it where you repeat a pending point.

A planner that learns from theory too sets `uses_theory = True`. It finds the theory in
`known.theory`, its predictions in `known.simulations`, and what an experiment measured beside the
objective in `known.features`. It answers with `Proposal.simulations`, which are simulated while the
experiment goes on, and where they are worth more for their cost than any experiment, with the
simulator's name as `source`: then the experiment waits for them. `simulate` is asked whenever
simulation agents run out of work in between.

Without a campaign, the whole thing is three calls: see `Planner.ask` and `Planner.tell`.
'''

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar, final, overload

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, PrivateAttr

from twinloop.errors import ArgumentError, BadProposal, PlanningFailed
from twinloop.planners.digital_net import sobol
from twinloop.planners.known import (
    EXPERIMENT,
    Known,
    Proposal,
    SimulationRequest,
    Simulations,
    Theory,
    proposal_seed,
)
from twinloop.planners.ladder import Attempt, Rung, descend, recalls
from twinloop.planners.notebook import Notebook
from twinloop.planners.seeding import seeded, torch_is_loaded
from twinloop.planners.space import Dimension, Space

__all__ = [
    "EXPERIMENT",
    "BadProposal",
    "Dimension",
    "Known",
    "Planner",
    "PlanningFailed",
    "Proposal",
    "Rung",
    "SimulationRequest",
    "Simulations",
    "Space",
    "Theory",
    "proposal_seed",
    "sobol",
]

_FINAL = ("ask", "ask_simulations", "opening", "tell")


def _space(given: Any) -> Any:
    return None if given is None else Space.of(given)


class Planner(BaseModel, ABC):
    """Where to look next; subclass with `class Mine(Planner, name="mine")`. Fields are options.

    Args:
        n_initial: until so many experiments are observed, propose Sobol points without a model.
        space: for use without a campaign: `{name: (low, high)}` or `{name: (low, high, "log")}`.
        seed: for use without a campaign: of the whole search.

    Example:
        >>> from twinloop.planners.sobol import SobolPlanner
        >>> planner = SobolPlanner(space={"substrate_K": (500, 800)}, seed=7)
        >>> point = planner.ask()
        >>> planner.tell(point, y=-0.31, y_sd=0.02)
        >>> planner.told().n
        1
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: ClassVar[str] = ""
    version: ClassVar[int] = 1
    uses_theory: ClassVar[bool] = False
    least_simulations: ClassVar[int] = 0
    """Fewer are of no use to it: a campaign that allows fewer is refused."""

    lasting: ClassVar[tuple[str, ...]] = ()
    """Parts of the memo that are judgements, no warm start: a rung that starts cold keeps them."""

    n_initial: Annotated[int, Field(ge=0)] = 0
    space: Annotated[InstanceOf[Space] | None, BeforeValidator(_space)] = Field(
        default=None, exclude=True, repr=False
    )
    seed: Annotated[int, Field(ge=0, lt=2**63)] = Field(default=0, exclude=True, repr=False)

    _notebook: Notebook | None = PrivateAttr(default=None)

    def __init_subclass__(cls, *, name: str = "", **settings: Any) -> None:
        super().__init_subclass__(**settings)
        cls.name = name or cls.__name__
        for method in _FINAL:
            if method in cls.__dict__:
                raise BadProposal(cls.name, "its own", method, "`propose`, `initial`, `prepare`")

    def model_post_init(self, _context: Any, /) -> None:
        """Open a notebook where a space was given."""
        if self.space is not None:
            self._notebook = Notebook(self.space, self.seed)

    @abstractmethod
    def propose(self, known: Known) -> Proposal:
        """Return the next point; depend on `known` alone.

        Raises:
            PlanningFailed: there is no answer; the next rung of the ladder gives one.
        """

    def initial(self, known: Known) -> Proposal | None:
        """Return a point that needs no model, or None when it is time for `propose`.

        Runs in the conductor: nothing heavy may be imported here.
        """
        if known.n < self.n_initial:
            return Proposal(x=sobol(known), why={"initial": 1.0})
        return None

    def simulate(self, known: Known) -> Proposal:
        """Return which simulations are worth their cost now; none: nothing is, at what is known.

        Its `x` and `source` count for nothing.
        """
        return Proposal(x=sobol(known), memo=known.memo)

    def complaint(self, space: Space, n_constraints: int) -> str:
        """Return why this planner, with its options, cannot plan a campaign; "" where it can.

        Args:
            space: of the campaign.
            n_constraints: how many conditions the goal has.
        """
        del space, n_constraints
        return ""

    def prepare(self) -> None:
        """Import heavy libraries; called before the generators are seeded, by a worker only."""

    @final
    def opening(self, known: Known) -> Proposal | None:
        """Return what `ask` would, if that needs no model; else None.

        A conductor calls it while no worker is up, and asks a worker when it returns None.
        """
        with seeded(known.seed):
            first = self.initial(known)
        if first is None:
            return None
        return descend(self.name, known, [(Rung.OPENING, lambda _: first, known)])

    @overload
    def ask(self) -> dict[str, float]: ...
    @overload
    def ask(self, known: Known) -> Proposal: ...
    @final
    def ask(self, known: Known | None = None) -> Proposal | dict[str, float]:
        """Return the proposal for `known`, checked; without it, the next point in physical values.

        Args:
            known: what the proposal may depend on; None to use what `tell` was told.

        Raises:
            BadProposal: the planner breaks its contract.
            ArgumentError: no `known`, and the planner was made without a space.
        """
        if known is None:
            return self._my_notebook().ask(self.ask)
        return self.opening(known) or self._with_model(known)

    @final
    def ask_simulations(self, known: Known) -> Proposal:
        """Return what `simulate` does, seeded and checked; none where the numerics fail.

        Raises:
            BadProposal: the planner breaks its contract.
        """
        self.prepare()
        none = Proposal(x=sobol(known), memo=known.memo)
        # its point is not for an experiment: it may well be one that is under way
        free = replace(known, pending=known.pending[:0])
        answer = descend(self.name, free, [(Rung.PLANNER, lambda _: self.simulate(known), known)])
        if answer.why["rung"] == Rung.SOBOL:
            return replace(none, why=answer.why)
        return answer

    @final
    def tell(
        self,
        point: dict[str, float],
        y: float,
        y_sd: float = 0.0,
        *,
        slack: Sequence[float] = (),
        slack_sd: Sequence[float] = (),
    ) -> None:
        """Remember a result; larger `y` is better.

        Args:
            point: physical values, as `ask` returned them or chosen by you.
            y: the objective.
            y_sd: its standard deviation; 0 when it is not known.
            slack: how far inside each constraint (feasible where >= 0).
            slack_sd: its standard deviation.

        Raises:
            ArgumentError: a point outside the space, a number that is not finite, or a planner
                that was made without a space.
        """
        self._my_notebook().tell(point, y, y_sd, slack, slack_sd)

    @final
    def told(self) -> Known:
        """Return all that was told, as the planner sees it."""
        return self._my_notebook().known()

    def _with_model(self, known: Known) -> Proposal:
        self.prepare()
        attempts: list[Attempt] = [(Rung.PLANNER, self.propose, known)]
        if recalls(known):
            attempts.append((Rung.COLD, self.propose, replace(known, memo=self._kept(known))))
        had_torch = torch_is_loaded()
        answer = descend(self.name, known, attempts)
        if torch_is_loaded() and not had_torch:
            # `propose` imported torch itself: what it drew then was not seeded. Now it is.
            answer = descend(self.name, known, attempts)
        if answer.why["rung"] == Rung.SOBOL:
            answer = replace(answer, memo={**self._kept(known), **answer.memo})
        return answer

    def _kept(self, known: Known) -> dict[str, Any]:
        return {name: known.memo[name] for name in self.lasting if name in known.memo}

    def _my_notebook(self) -> Notebook:
        if self._notebook is None:
            raise ArgumentError(
                "space", None, f"{type(self).__name__}(space={{name: (low, high)}})"
            )
        return self._notebook
