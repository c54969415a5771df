"""Errands: what a conductor has others compute or read, and what came of it. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from twinloop.agents.campaign.book import Book
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Ask, Compute
from twinloop.agents.campaign.events import (
    Computed,
    Event,
    Proposed,
    Simulated,
    SimulationsProposed,
    SimulationWanted,
)
from twinloop.agents.campaign.known import known_at, known_of_theory
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.campaign.state import CampaignState, SimulationId
from twinloop.agents.campaign.stepper import StepRequest
from twinloop.errors import ArgumentError, LabError
from twinloop.ids import seed_of
from twinloop.messages import (
    CancelTask,
    ReadoutReply,
    ReadoutRequest,
    Task,
    TaskPartial,
    TaskResult,
    encode_message,
)
from twinloop.planners.known import EXPERIMENT, Known, Proposal
from twinloop.protocols.interface import plain, trial_seed
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Send
from twinloop.wire.envelope import MAX_HEADER_BYTES

__all__ = ["Errands", "is_of_planner"]

_RETRY_S = 2.0
_DELAY_S, _LONGEST_DELAY_S = 2.0, 60.0
_PLANNER_TRIES = 3
# what the shell adds to the header of a task whose arrays it bundles
_SPARE_BYTES = 512
_TASK_PREFIX, _BATCH_PREFIX, _THEORY_PREFIX = "proposal", "batch", "theory"
_SIMULATOR = "simulator"
_SIMULATOR_AWAITED_S = 120.0
_MOST_LOST = 3
"""A question at which so many workers died is answered without them."""

_FIRST_SILENCE_S, _SILENCE_S, _SILENCE_FACTOR = 3600.0, 600.0, 10.0
"""An experiment waits for simulators that give no sign of life for so long: before the first
prediction, and then, at least the second, the third times the longest prediction."""


def is_of_planner(task: str) -> bool:
    """Return whether a task is a question to the planner.

    Example:
        >>> is_of_planner("proposal/7@112"), is_of_planner("t0007/analysis")
        (True, False)
    """
    return task.partition("/")[0] in {_TASK_PREFIX, _BATCH_PREFIX}


@dataclass(frozen=True)
class _Asked:
    """A proposal asked for: what may be known, and which proposals are under way.

    `batch` is set where only simulations are asked for; `simulating` are those under way; `n_batches`
    and `n_ended` are how many batches had been asked for and how many trials were over.
    """

    known: Known
    pending: tuple[int, ...]
    simulating: tuple[SimulationId, ...] = ()
    n_batches: int = 0
    n_ended: int = 0
    batch: int | None = None

    @classmethod
    def at(cls, state: CampaignState, known: Known, batch: int | None = None) -> "_Asked":
        """Return it for what is known at a state."""
        n_batches, n_ended = len(state.batches), len(state.ended)
        return cls(known, state.pending, state.simulating, n_batches, n_ended, batch)

    @property
    def name(self) -> str:
        """What is asked for, without what it rests on."""
        if self.batch is not None:
            return f"{_BATCH_PREFIX}/{self.batch}"
        return f"{_TASK_PREFIX}/{self.known.proposal}"


@dataclass(frozen=True)
class _Delay:
    """A task that failed for a reason of the moment: not before when it is tried again, and why."""

    until_s: float
    n_tries: int
    reason: str


class Errands:
    """Proposals, quantities and readouts that are under way.

    Args:
        book: the state and the open turn.
        brief: what is led.
        pool: who computes.
        depot: endpoint of the depot, where workers find and put arrays.
    """

    def __init__(self, book: Book, brief: Brief, pool: Pool, depot: str) -> None:
        self._book, self._brief, self._pool, self._depot = book, brief, pool, depot
        self._asking: dict[str, _Asked] = {}
        self._computing: dict[str, tuple[str, StepRequest]] = {}
        self._reading: dict[str, tuple[str, str, StepRequest, float]] = {}
        self._delays: dict[str, _Delay] = {}
        self._simulating: dict[str, SimulationId] = {}
        self._awaited_since_s: float | None = None
        self._heard_s: float | None = None
        self.progress: dict[str, float] = {}

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        times = [told_s + _RETRY_S for *_, told_s in self._reading.values()]
        if self._awaited_since_s is not None:
            times.append(self._awaited_since_s + _SIMULATOR_AWAITED_S)
        elif self._heard_s is not None:
            times.append(self._heard_s + self._patience_s)
        times += [d.until_s for d in self._delays.values() if d.until_s > self._book.now_s]
        return min(times, default=None)

    def waiting(self) -> list[str]:
        """Return what is tried again, and what nobody present can compute, for people."""
        reasons = [
            f"{task} is tried again (failed {delay.n_tries} times): {delay.reason}"
            for task, delay in self._delays.items()
        ]
        lacking = sorted(self._pool.lacking())
        return [*reasons, *(f"no compute agent for {target} is present" for target in lacking)]

    def tick(self) -> None:
        """Ask again for readings that did not come."""
        for request, (instrument, trial, step, told_s) in list(self._reading.items()):
            if self._book.now_s >= told_s + _RETRY_S:
                self._read(request, instrument, trial, step)
        self._forget_stale_delays()
        self._await_simulators()

    def _forget_stale_delays(self) -> None:
        """Drop what was to be asked again, and was answered in another way."""
        state = self._book.state
        answered = {_TASK_PREFIX: len(state.proposed), _BATCH_PREFIX: len(state.batches)}
        for task in list(self._delays):
            kind, _, number = task.partition("/")
            if kind in answered and int(number) < answered[kind]:
                del self._delays[task]

    def _await_simulators(self) -> None:
        """Let an experiment go on without theory when nobody simulates what it waits for."""
        state, now_s = self._book.state, self._book.now_s
        if state.held is None:
            self._awaited_since_s = self._heard_s = None
            return
        if _SIMULATOR in self._pool.targets():
            self._awaited_since_s = None
            self._heard_s = now_s if self._heard_s is None else self._heard_s
            silent_s = now_s - self._heard_s
            if silent_s >= self._patience_s:
                self._go_on_without(f"no simulation agent gave a sign of life for {silent_s:.0f} s")
            return
        if self._awaited_since_s is None:
            self._awaited_since_s = now_s
        if now_s >= self._awaited_since_s + _SIMULATOR_AWAITED_S:
            self._go_on_without(f"no simulation agent was present for {_SIMULATOR_AWAITED_S:g} s")

    @property
    def _patience_s(self) -> float:
        """How long the simulators may be silent while an experiment waits for them."""
        done = [s.wall_s for s in self._book.state.simulated if s.state == "done"]
        return max(_SILENCE_S, _SILENCE_FACTOR * max(done)) if done else _FIRST_SILENCE_S

    def _go_on_without(self, reason: str) -> None:
        self._awaited_since_s = self._heard_s = None
        for simulation in self._book.state.simulating:
            self.withdraw(simulation, reason)

    def give_up(self) -> None:
        """Answer what workers die at without them: a simulation is no prediction, a plan a fallback."""
        for task in self._pool.lost(_MOST_LOST):
            if task in self._asking or task in self._simulating:
                place = self._pool.place_of(task)
                if place is not None:
                    # the next one has just been given it
                    self._book.turn.free.append(Send(place, CancelTask(task=task)))
                reason = f"{_MOST_LOST} workers were lost while they computed it"
                failed = TaskResult(task=task, state="failed", reason=reason)
                self.on_result("conductor", failed, ())

    def read(self, decision: Ask) -> None:
        """Read an instrument, unless that is under way."""
        request = f"read/{decision.trial}/{decision.request.path}"
        if request not in self._reading:
            self._read(request, decision.instrument, decision.trial, decision.request)

    def forget(self, trial: str) -> None:
        """Drop what a trial that is over was waiting for."""
        for task in [t for t, (of, _) in self._computing.items() if of == trial]:
            del self._computing[task]
            self._delays.pop(task, None)
            self._book.turn.free += self._pool.cancel(task, self._book.now_s)

        for request in [r for r, (_, of, *_) in self._reading.items() if of == trial]:
            del self._reading[request]

    def propose(self, number: int) -> None:
        """Get a proposal: at once where no model is needed, else from the planner."""
        name = f"{_TASK_PREFIX}/{number}"
        if self._is_asked(name):
            return
        state = self._book.state
        known = known_at(state, self._brief.space, number, self._brief.theory)
        asked = _Asked.at(state, known)
        try:
            opening = self._brief.opening(known)
            if opening is not None:
                self._take(asked, opening, "conductor", 0.0)
                return
        except Exception as err:  # noqa: BLE001  boundary: an author's `initial`; journalled
            self._fall_back(asked, f"opening: {type(err).__name__}: {err}", "conductor", 0.0)
            return
        if any(other.batch is not None for other in self._asking.values()):
            return  # what it asks for is still unknown: the proposal would ask for it again
        self._ask(asked, "ask", priority=10)

    def propose_simulations(self, batch: int) -> None:
        """Get a batch of simulations from the planner; it may hold none."""
        theory, state = self._brief.theory, self._book.state
        if theory is None or self._is_asked(f"{_BATCH_PREFIX}/{batch}"):
            return
        if any(asked.batch is None for asked in self._asking.values()):
            return  # the proposal under way will bring simulations of its own
        known = known_of_theory(state, self._brief.space, batch, theory)
        asked = _Asked.at(state, known, batch)
        self._ask(asked, "simulate", priority=5)

    def _is_asked(self, name: str) -> bool:
        return any(a.name == name for a in self._asking.values()) or self._is_delayed(name)

    def _ask(self, asked: _Asked, method: str, priority: int) -> None:
        known = asked.known
        # one number may be asked for several times: with each prefix it is another question
        task_id = f"{asked.name}@{known.basis}"
        header, arrays = known.to_wire()
        self._asking[task_id] = asked
        refusal = self._submit(task_id, "planner", method, header, arrays, known.seed, priority)
        if refusal is not None:
            del self._asking[task_id]
            self._fall_back(asked, refusal, "conductor", 0.0)

    def simulate(self, simulation: SimulationId) -> None:
        """Have theory predict, unless that is under way."""
        batch, row = simulation
        task_id = self._task_of(simulation)
        if task_id in self._simulating or self._is_delayed(task_id):
            return
        wanted = self._book.state.batches[batch].wanted[row]
        self._simulating[task_id] = simulation
        arguments = {"x": wanted.point, "theta": wanted.theta}
        refusal = self._submit(task_id, _SIMULATOR, "simulate", arguments, {}, wanted.seed)
        if refusal is not None:
            del self._simulating[task_id]
            self._book.record(
                Simulated(batch=batch, row=row, state="failed", reason=refusal[:2000])
            )

    def _task_of(self, simulation: SimulationId) -> str:
        """Return the name of its task: a batch that was planned again is another question."""
        batch, row = simulation
        return f"{_THEORY_PREFIX}/{batch}/{row}@{self._book.state.batches[batch].basis}"

    def withdraw(self, simulation: SimulationId, reason: str) -> None:
        """Stop a simulation that nobody wants any more."""
        batch, row = simulation
        task_id = self._task_of(simulation)
        if self._simulating.pop(task_id, None) is not None:
            self._book.turn.free += self._pool.cancel(task_id, self._book.now_s)
        self._delays.pop(task_id, None)
        self.progress.pop(task_id, None)
        self._book.record(Simulated(batch=batch, row=row, state="cancelled", reason=reason))

    def on_partial(self, message: TaskPartial) -> None:
        """Note how far a simulation is, for people."""
        if message.task in self._simulating and isinstance(message.result, dict):
            self._heard_s = self._book.now_s
            done = message.result.get("done")
            if isinstance(done, int | float):
                self.progress[message.task] = float(done)

    def _on_simulated(self, simulation: SimulationId, message: TaskResult, place: str) -> None:
        batch, row = simulation
        self.progress.pop(message.task, None)
        self._heard_s = self._book.now_s
        if simulation not in self._book.state.simulating:
            return
        said = message.result if isinstance(message.result, dict) else {}
        cost = {"place": place, "wall_s": message.wall_s, "cpu_s": message.cpu_s}
        try:
            event = Simulated(
                at_s=self._book.at_s,
                batch=batch,
                row=row,
                state="done" if message.state == "done" else "failed",
                values=said.get("scalars", {}),
                exceeded=bool(said.get("budget_exceeded", False)),
                code=str(said.get("code", "")),
                arrays=tuple(ref for ref in message.arrays if not ref.inline),
                reason=message.reason,
                **cost,
            )
        except ValidationError as err:
            # NaN, or no numbers at all: journalled it would end each life of the conductor anew
            wrong = err.errors(include_url=False)[0]
            reason = f"its answer cannot be kept: {wrong['loc']}: {wrong['msg']}"
            event = Simulated(batch=batch, row=row, state="failed", reason=reason[:2000], **cost)
        self._book.record(event)

    def _take(self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float) -> None:
        """Journal what a planner answered: simulations, and the experiment unless it waits."""
        holds = proposal.source != EXPERIMENT
        is_alone = asked.batch is not None
        theory = asked.known.theory
        if holds and not is_alone and theory is not None and not theory.left:
            reason = "it waits for simulations, and none is left of at_most"
            self._fall_back(asked, reason, place, cpu_s)
            return
        events: list[Event] = []
        if proposal.simulations or proposal.withdrawn or is_alone:
            # what it cost to decide is told once
            batch_cpu_s = cpu_s if holds or is_alone else 0.0
            events.append(self._batch_event(asked, proposal, place, batch_cpu_s))
        if not holds and not is_alone:
            events.append(self._event(asked, proposal, place, cpu_s))
        # both are made before one is kept: an answer counts as a whole or not at all
        for event in events:
            self._book.record(event)

    def _batch_event(
        self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float
    ) -> SimulationsProposed:
        known, state, theory = asked.known, self._book.state, self._brief.theory
        if theory is None:
            raise ArgumentError(
                "simulations", len(proposal.simulations), "none: the campaign has no theory section"
            )
        batch = len(state.batches)
        left = max(0, theory.left - state.asked)
        wanted = tuple(
            SimulationWanted(
                x=tuple(float(v) for v in request.x),
                point=self._brief.space.to_point(request.x),
                theta={name: float(request.theta[name]) for name in theory.names},
                seed=seed_of(self._brief.first.seed, "simulation", batch, row),
                gain_per_h=request.gain_per_h,
                why=request.why,
            )
            for row, request in enumerate(proposal.simulations[:left])
        )
        is_alone = asked.batch is not None
        return SimulationsProposed(
            batch=batch,
            simulator=theory.simulator,
            wanted=wanted,
            withdrawn=tuple(
                asked.simulating[row]
                for row in proposal.withdrawn
                if 0 <= row < len(asked.simulating)
            ),
            holds=known.proposal if proposal.source != EXPERIMENT and not is_alone else None,
            proposal=None if is_alone else known.proposal,
            ended=asked.n_ended,
            basis=known.basis,
            seed=known.seed,
            why=dict(proposal.why),
            memo=dict(proposal.memo),
            place=place,
            cpu_s=cpu_s,
        )

    def _event(self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float) -> Proposed:
        known = asked.known
        return Proposed(
            number=known.proposal,
            x=tuple(float(v) for v in proposal.x),
            point=self._brief.space.to_point(proposal.x),
            basis=known.basis,
            pending=asked.pending,
            seed=known.seed,
            why=dict(proposal.why),
            memo=dict(proposal.memo),
            place=place,
            cpu_s=cpu_s,
        )

    def _fall_back(self, asked: _Asked, reason: str, place: str, cpu_s: float) -> None:
        """Propose without the planner, and say why."""
        if asked.batch is not None:
            none = Proposal(x=np.full(asked.known.d, 0.5), memo=asked.known.memo)
            none = replace(none, why={"fallback": reason[:500]})
            self._book.record(self._batch_event(asked, none, place, cpu_s))
            return
        proposal = self._brief.fallback(asked.known)
        why: dict[str, float | str] = {**proposal.why, "fallback": reason[:500]}
        # what was learned of theory so far must not be forgotten with one answer that failed
        proposal = Proposal(x=proposal.x, why=why, memo=asked.known.memo)
        self._book.record(self._event(asked, proposal, place, cpu_s))

    def _is_delayed(self, task: str) -> bool:
        delay = self._delays.get(task)
        return delay is not None and self._book.now_s < delay.until_s

    def _delay(self, task: str, reason: str) -> None:
        """Try again later: nothing was wrong with the question."""
        n_tries = self._n_tries(task) + 1
        pause_s = min(_DELAY_S * 2 ** (min(n_tries, 32) - 1), _LONGEST_DELAY_S)
        self._delays[task] = _Delay(self._book.now_s + pause_s, n_tries, reason[:200])

    def _on_proposal(
        self, asked: _Asked, result: TaskResult, arrays: Mapping[str, NDArray[Any]], place: str
    ) -> None:
        state = self._book.state
        is_late = asked.n_batches != len(state.batches)
        if is_late or asked.known.proposal != len(state.proposed):
            # another answer was journalled in the meantime, and this one does not know its memo
            return
        if result.state != "done":
            self._fall_back(asked, result.reason, place, result.cpu_s)
            return
        try:
            proposal = Proposal.from_wire(result.result, arrays)
            self._take(asked, proposal, place, result.cpu_s)
        except (LabError, LookupError, TypeError, ValueError) as err:
            # an answer that cannot be journalled would end each life of the conductor anew
            self._fall_back(asked, f"{type(err).__name__}: {err}", place, result.cpu_s)

    def _submit(
        self,
        task_id: str,
        target: str,
        method: str,
        arguments: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        seed: int,
        priority: int = 0,
        stored: Sequence[Any] = (),
    ) -> str | None:
        """Give a task to the pool; return why it cannot be told, if so."""
        inline = tuple(describe(name, array, inline=True) for name, array in arrays.items())
        try:
            task = Task(
                task=task_id,
                target=target,
                method=method,
                arguments=dict(arguments),
                arrays=(*inline, *stored),
                depot=self._depot,
                seed=seed,
                campaign=self._brief.plan.campaign,
                priority=priority,
            )
        except ValidationError as err:
            return f"{target}.{method} cannot be asked: {err}"
        n_bytes = len(encode_message(task))
        if n_bytes > MAX_HEADER_BYTES - _SPARE_BYTES:
            return (
                f"{target}.{method} cannot be asked: its arguments take {n_bytes} bytes, "
                f"allowed {MAX_HEADER_BYTES - _SPARE_BYTES}; a long list belongs into an array"
            )
        self._book.turn.free += self._pool.submit(task, tuple(arrays.values()), self._book.now_s)
        return None

    def compute(self, decision: Compute) -> None:
        """Have a quantity computed, unless that is under way."""
        task_id = f"{decision.trial}/{decision.request.path}"
        if task_id in self._computing or self._is_delayed(task_id):
            return
        step = decision.request.step
        self._computing[task_id] = (decision.trial, decision.request)
        stored = [
            value.model_copy(update={"name": name, "inline": False})
            for name, value in step.arguments.items()
            if hasattr(value, "digest")
        ]
        arguments = {k: plain(v) for k, v in step.arguments.items() if not hasattr(v, "digest")}
        target = self._brief.targets.get(step.target, step.target)
        seed = trial_seed(self._brief.first.seed, task_id)
        refusal = self._submit(task_id, target, step.method, arguments, {}, seed, stored=stored)
        if refusal is not None:
            del self._computing[task_id]
            self.computed(decision.trial, decision.request, state="failed", reason=refusal[:2000])

    def computed(
        self, trial: str, request: StepRequest, *, result: Any = None, **rest: Any
    ) -> None:
        """Record the result of a computation, a readout or a release."""
        state = rest.pop("state", "done")
        self._book.record(
            Computed(
                at_s=self._book.at_s,
                trial=trial,
                path=request.path,
                name=request.step.name,
                digest=request.digest,
                state=state,
                result=result,
                **rest,
            )
        )

    def on_result(self, sender: str, message: TaskResult, arrays: Sequence[NDArray[Any]]) -> None:
        """Take the first answer to a task."""
        task, sends = self._pool.result(sender, message, self._book.now_s)
        self._book.turn.free += sends
        if task is None:
            return
        is_passing = message.state == "cancelled" or message.may_retry
        asked = self._asking.pop(message.task, None)
        if asked is not None:
            if is_passing and self._n_tries(asked.name) + 1 < _PLANNER_TRIES:
                self._delay(asked.name, message.reason or message.state)
                return
            self._delays.pop(asked.name, None)
            names = [ref.name for ref in message.arrays if ref.inline]
            self._on_proposal(asked, message, dict(zip(names, arrays, strict=False)), sender)
            return
        simulation = self._simulating.pop(message.task, None)
        if simulation is not None:
            if is_passing and self._n_tries(message.task) + 1 < _PLANNER_TRIES:
                self._delay(message.task, message.reason or message.state)
                return
            self._delays.pop(message.task, None)
            self._on_simulated(simulation, message, sender)
            return
        wanted = self._computing.pop(message.task, None)
        if wanted is None or wanted[0] not in self._book.state.trials:
            return
        if is_passing:
            # the film is grown: what it showed must not be lost to a depot that is away
            self._delay(message.task, message.reason or message.state)
            return
        self._delays.pop(message.task, None)
        self.computed(
            *wanted,
            result=message.result,
            state="done" if message.state == "done" else "failed",
            arrays=tuple(ref for ref in message.arrays if not ref.inline),
            reason=message.reason,
            place=sender,
            wall_s=message.wall_s,
            cpu_s=message.cpu_s,
        )

    def _read(self, request: str, instrument: str, trial: str, step: StepRequest) -> None:
        self._reading[request] = (instrument, trial, step, self._book.now_s)
        message = ReadoutRequest(request=request, instrument=instrument, readout=step.step.method)
        self._book.turn.free.append(Send(self._brief.adapters[instrument], message))

    def _n_tries(self, task: str) -> int:
        return self._delays[task].n_tries if task in self._delays else 0

    def on_reading(self, sender: str, message: ReadoutReply) -> None:
        """Take a reading."""
        wanted = self._reading.get(message.request)
        if wanted is None or sender != self._brief.adapters[wanted[0]]:
            return
        del self._reading[message.request]
        if wanted[1] not in self._book.state.trials:
            return
        instrument, trial, request, _ = wanted
        self.computed(
            trial,
            request,
            result=message.result,
            state=message.state,
            reason=message.reason,
            place=instrument,
        )
