"""Errands: what a conductor has others compute or read, and what came of it. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pydantic import ValidationError

from twinloop.agents.campaign.book import Book
from twinloop.agents.campaign.brief import Brief
from twinloop.agents.campaign.core import Ask, Compute
from twinloop.agents.campaign.events import Computed, Proposed
from twinloop.agents.campaign.known import known_at
from twinloop.agents.campaign.pool import Pool
from twinloop.agents.campaign.stepper import StepRequest
from twinloop.errors import LabError
from twinloop.messages import ReadoutReply, ReadoutRequest, Task, TaskResult, encode_message
from twinloop.planners.known import Known, Proposal
from twinloop.protocols.interface import plain, trial_seed
from twinloop.wire.arrays import describe
from twinloop.wire.effects import Send
from twinloop.wire.envelope import MAX_HEADER_BYTES

__all__ = ["Errands"]

_RETRY_S = 2.0
_DELAY_S, _LONGEST_DELAY_S = 2.0, 60.0
_PLANNER_TRIES = 3
# what the shell adds to the header of a task whose arrays it bundles
_SPARE_BYTES = 512
_TASK_PREFIX = "proposal"


@dataclass(frozen=True)
class _Asked:
    """A proposal asked for: what may be known, and which proposals are under way."""

    known: Known
    pending: tuple[int, ...]


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

    @property
    def wake_at_s(self) -> float | None:
        """Return when `tick` wants to be called."""
        times = [told_s + _RETRY_S for *_, told_s in self._reading.values()]
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
        if any(asked.known.proposal == number for asked in self._asking.values()):
            return
        if self._is_delayed(f"{_TASK_PREFIX}/{number}"):
            return
        known = known_at(self._book.state, self._brief.space, number)
        asked = _Asked(known, self._book.state.pending)
        try:
            opening = self._brief.opening(known)
            if opening is not None:
                self._book.record(self._event(asked, opening, "conductor", 0.0))
                return
        except Exception as err:  # noqa: BLE001  boundary: an author's `initial`; journalled
            self._fall_back(asked, f"opening: {type(err).__name__}: {err}", "conductor", 0.0)
            return
        task_id = f"{_TASK_PREFIX}/{number}@{known.basis}"
        header, arrays = known.to_wire()
        self._asking[task_id] = asked
        refusal = self._submit(task_id, "planner", "ask", header, arrays, known.seed, priority=10)
        if refusal is not None:
            del self._asking[task_id]
            self._fall_back(asked, refusal, "conductor", 0.0)

    def _event(self, asked: _Asked, proposal: Proposal, place: str, cpu_s: float) -> Proposed:
        known = asked.known
        return Proposed(
            number=known.proposal,
            x=tuple(float(v) for v in proposal.x),
            point=self._brief.space.to_point(proposal.x),
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

    def _fall_back(self, asked: _Asked, reason: str, place: str, cpu_s: float) -> None:
        """Propose without the planner, and say why."""
        proposal = self._brief.fallback(asked.known)
        why = {**proposal.why, "fallback": reason[:500]}
        proposal = Proposal(x=proposal.x, why=why, memo=proposal.memo)
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
        known = asked.known
        if known.proposal != len(self._book.state.proposed):
            return
        if result.state != "done":
            self._fall_back(asked, result.reason, place, result.cpu_s)
            return
        try:
            proposal = Proposal.from_wire(result.result, arrays)
            event = self._event(asked, proposal, place, result.cpu_s)
        except (LabError, TypeError, ValueError) as err:
            # an answer that cannot be journalled would end each life of the conductor anew
            self._fall_back(asked, f"{type(err).__name__}: {err}", place, result.cpu_s)
            return
        self._book.record(event)

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
            number = f"{_TASK_PREFIX}/{asked.known.proposal}"
            if is_passing and self._n_tries(number) + 1 < _PLANNER_TRIES:
                self._delay(number, message.reason or message.state)
                return
            self._delays.pop(number, None)
            names = [ref.name for ref in message.arrays if ref.inline]
            self._on_proposal(asked, message, dict(zip(names, arrays, strict=False)), sender)
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
