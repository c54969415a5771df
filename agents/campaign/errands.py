"""Errands: what a conductor has others compute or read, and what came of it. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from twinloop.agents.campaign.book import Book
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Ask, Compute
from twinloop.agents.campaign.events import Computed, Proposed
from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.campaign.stepper import StepRequest
from twinloop.messages import ReadoutReply, ReadoutRequest, Task, TaskResult
from twinloop.planners.known import Known, Proposal
from twinloop.protocols.interface import plain, trial_seed
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Send

__all__ = ["Errands"]

_RETRY_S = 2.0
_TASK_PREFIX = "proposal"


@dataclass(frozen=True)
class _Asked:
    """A proposal asked for: what may be known, and which proposals are under way."""

    known: Known
    pending: tuple[int, ...]


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

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        return min((told_s + _RETRY_S for *_, told_s in self._reading.values()), default=None)

    def tick(self) -> None:
        """Ask again for readings that did not come."""
        for request, (instrument, trial, step, told_s) in list(self._reading.items()):
            if self._book.now_s >= told_s + _RETRY_S:
                self._read(request, instrument, trial, step)

    def read(self, decision: Ask) -> None:
        """Read an instrument, unless that is under way."""
        request = f"read/{decision.trial}/{decision.request.path}"
        if request not in self._reading:
            self._read(request, decision.instrument, decision.trial, decision.request)

    def forget(self, trial: str) -> None:
        """Drop what a trial that is over was waiting for."""
        for task in [t for t, (of, _) in self._computing.items() if of == trial]:
            del self._computing[task]
            self._book.turn.free += self._pool.cancel(task, self._book.now_s)

    def propose(self, number: int) -> None:
        """Get a proposal: at once where no model is needed, else from the planner."""
        if any(asked.known.proposal == number for asked in self._asking.values()):
            return
        known = known_at(self._book.state, self._brief.space, number)
        asked = _Asked(known, self._book.state.pending)
        opening = self._brief.opening(known)
        if opening is not None:
            self._proposed(asked, opening, "conductor", 0.0)
            return
        task_id = f"{_TASK_PREFIX}/{number}@{known.basis}"
        header, arrays = known.to_wire()
        self._asking[task_id] = asked
        self._submit(task_id, "planner", "ask", header, arrays, known.seed, priority=10)

    def _proposed(self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float) -> None:
        known = asked.known
        point = self._brief.space.to_point(proposal.x)
        self._book.record(
            Proposed(
                number=known.proposal,
                x=tuple(float(v) for v in proposal.x),
                point=point,
                source=proposal.source,
                theta=None if proposal.theta is None else dict(proposal.theta),
                basis=known.basis,
                pending=asked.pending,
                seed=known.seed,
                why=dict(proposal.why),
                memo=dict(proposal.memo),
                place=place,
                cpu_s=cpu_s,
            )
        )

    def _on_proposal(
        self, asked: _Asked, result: TaskResult, arrays: Mapping[str, NDArray[Any]], place: str
    ) -> None:
        known = asked.known
        if known.proposal != len(self._book.state.proposed):
            return
        if result.state == "done":
            proposal = Proposal.from_wire(result.result, arrays)
        else:
            proposal = self._brief.fallback(known)
            why = {**proposal.why, "fallback": result.reason[:500]}
            proposal = Proposal(x=proposal.x, why=why, memo=proposal.memo)
        self._proposed(asked, proposal, place, result.cpu_s)

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
    ) -> None:
        inline = tuple(describe(name, array, inline=True) for name, array in arrays.items())
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
        self._book.turn.free += self._pool.submit(task, tuple(arrays.values()), self._book.now_s)

    def compute(self, decision: Compute) -> None:
        """Have a quantity computed, unless that is under way."""
        task_id = f"{decision.trial}/{decision.request.path}"
        if task_id in self._computing:
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
        self._submit(task_id, target, step.method, arguments, {}, seed, stored=stored)

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
        asked = self._asking.pop(message.task, None)
        if asked is not None:
            names = [ref.name for ref in message.arrays if ref.inline]
            self._on_proposal(asked, message, dict(zip(names, arrays, strict=False)), sender)
            return
        wanted = self._computing.pop(message.task, None)
        if wanted is None or wanted[0] not in self._book.state.trials:
            return
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

    def on_reading(self, message: ReadoutReply) -> None:
        """Take a reading."""
        wanted = self._reading.pop(message.request, None)
        if wanted is None or wanted[1] not in self._book.state.trials:
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
