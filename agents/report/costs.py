"""What a campaign cost: laboratory time by instrument and action, computing time by kind."""

from dataclasses import dataclass

from twinloop.agents.report.choice import Choice, choice_of
from twinloop.agents.report.history import History

__all__ = ["Cost", "compute_costs", "lab_costs", "lab_s"]


@dataclass(slots=True)
class Cost:
    """One line of the bill.

    Args:
        who: instrument, or sort of computation.
        what: action or quantity.
        n: how often.
        spent_s: laboratory time, or CPU time [s].
    """

    who: str
    what: str
    n: int = 0
    spent_s: float = 0.0


def lab_costs(history: History) -> list[Cost]:
    """Return the laboratory time of each action; a command without both times costs nothing here."""
    bill: dict[tuple[str, str], Cost] = {}
    for trial in history.trials.values():
        for step in trial.steps:
            command, settled = step.commanded, step.settled
            line = _line(bill, command.instrument, command.action)
            if settled and settled.ended_lab_s is not None and settled.started_lab_s is not None:
                line.spent_s += max(settled.ended_lab_s - settled.started_lab_s, 0.0)
    return sorted(bill.values(), key=lambda cost: (cost.who, -cost.spent_s))


def lab_s(history: History) -> float:
    """Return the laboratory time of all instruments together, as the budget counts it [s]."""
    return sum(cost.spent_s for cost in lab_costs(history))


def compute_costs(history: History) -> list[Cost]:
    """Return the CPU time of proposals, of simulations and of each computed quantity."""
    bill: dict[tuple[str, str], Cost] = {}
    for proposed in history.proposed.values():
        choice = choice_of(proposed)
        what = "opening" if choice is Choice.OPENING else "proposals"
        _line(bill, "planner", what).spent_s += proposed.cpu_s
    for batch in history.batches.values():
        # one that was decided beside a proposal stands in the proposal's bill
        if batch.cpu_s > 0:
            _line(bill, "planner", "choice of simulations").spent_s += batch.cpu_s
    for answer in history.simulated:
        if answer.place:
            asked = history.batches.get(answer.batch)
            what = "simulations" if answer.state == "done" else "failed simulations"
            _line(bill, asked.simulator if asked else "theory", what).spent_s += answer.cpu_s
    for trial in history.trials.values():
        for event in trial.computed:
            target, _, what = event.name.rpartition(".")
            if event.place and target != "trial":
                _line(bill, target, what).spent_s += event.cpu_s
    return sorted(bill.values(), key=lambda cost: -cost.spent_s)


def _line(bill: dict[tuple[str, str], Cost], who: str, what: str) -> Cost:
    line = bill.setdefault((who, what), Cost(who, what))
    line.n += 1
    return line
