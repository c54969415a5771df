"""The tables of a run, as rows of plain values with a type and a unit for each column.

Nothing here knows a file format: `twinloop.agents.export.parquet` writes these tables.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from twinloop.agents.export.notice import is_simulated
from twinloop.agents.export.quantities import deviation_of, unit_in_name
from twinloop.agents.export.record import Answer, RunRecord
from twinloop.agents.report.history import TrialHistory

__all__ = ["Column", "Table", "tables_of"]

Kind = Literal["text", "number", "whole", "natural", "truth", "time", "numbers", "wholes"]
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Args:
        name: unique in its table.
        kind: of its values; "natural" is for seeds, 64 bits without a sign.
        unit: as NeXus writes it; "" for none.
        text: what it says.
    """

    name: str
    kind: Kind
    unit: str = ""
    text: str = ""


@dataclass(slots=True)
class Table:
    """Rows of equal columns.

    Args:
        name: of the table, and of its file.
        columns: in order.
        rows: values by column; what a row does not name is null.
    """

    name: str
    columns: list[Column] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add_named(self, prefix: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add a column for each name that occurs in mappings, typed by all of its values."""
        values: dict[str, list[Any]] = {}
        for row in rows:
            for name, value in row.items():
                values.setdefault(name, []).append(value)
        for name, found in sorted(values.items()):
            kind = _kind(found)
            unit = unit_in_name(name) if kind in {"number", "whole"} else ""
            self.columns.append(Column(f"{prefix}{name}", kind, unit))


def tables_of(record: RunRecord) -> list[Table]:
    """Return trials, proposals, commands, computations, quantities and simulations of a run."""
    return [
        _trials(record),
        _proposals(record),
        _commands(record),
        _computations(record),
        _quantities(record),
        _simulations(record),
    ]


def _trials(record: RunRecord) -> Table:
    trials = record.trials
    table = Table(
        "trials",
        [
            Column("trial", "text"),
            Column("number", "whole"),
            Column("sample", "text"),
            Column("state", "text", text="done, failed, parked, or under way"),
            Column("reason", "text"),
            Column("is_feasible", "truth"),
            Column("y", "number", text="the goal, larger is better"),
            Column("y_sd", "number"),
            Column("slack", "numbers", text="constraints, feasible from 0 on"),
            Column("slack_sd", "numbers"),
            Column("proposed_at", "time"),
            Column("started_at", "time"),
            Column("ended_at", "time"),
            Column(
                "ended_campaign_s", "number", "s", "since the campaign began, over all its lives"
            ),
            Column("lab_s", "number", "s", "laboratory time that its instruments worked, summed"),
            Column("cpu_s", "number", "s", "of analysts and of its proposal"),
            Column("n_steps", "whole"),
            Column("is_simulated", "truth", text="an instrument of the run was a twin"),
        ],
    )
    table.add_named("point_", [t.point for t in trials])
    table.add_named("outcome_", [t.ended.outcome for t in trials if t.ended is not None])
    table.rows = [_trial_row(record, t) for t in trials]
    return table


def _trial_row(record: RunRecord, trial: TrialHistory) -> Row:
    ended, proposed = trial.ended, trial.proposed
    row = {
        "trial": trial.id,
        "number": trial.number,
        "sample": trial.sample or None,
        "state": "under way" if ended is None else ended.state,
        "reason": None if ended is None else ended.reason or None,
        "is_feasible": None if ended is None or ended.y is None else trial.is_feasible,
        "proposed_at": None if proposed is None else _time(record, proposed.log_key()),
        "started_at": _time(record, f"trial_started/{trial.id}"),
        "ended_at": _time(record, f"trial_ended/{trial.id}"),
        "lab_s": sum(_lasted_s(step.settled) for step in trial.steps),
        "cpu_s": sum(c.cpu_s for c in trial.computed) + (proposed.cpu_s if proposed else 0.0),
        "n_steps": len(trial.steps) + len(trial.computed),
        "is_simulated": is_simulated(record.history),
        **_prefixed("point_", trial.point),
    }
    if ended is not None:
        row |= {"ended_campaign_s": ended.at_s, **_prefixed("outcome_", ended.outcome)}
        if ended.y is not None:
            row |= {"y": ended.y, "y_sd": ended.y_sd}
            row |= {"slack": list(ended.slack), "slack_sd": list(ended.slack_sd)}
    return row


def _proposals(record: RunRecord) -> Table:
    found = list(record.history.proposed.values())
    chosen = {t.number for t in record.trials}
    if len(record.trials) < len(record.history.trials):
        found = [p for p in found if p.number in chosen]
    discarded = {d.number: d.reason for d in record.history.discarded}
    table = Table(
        "proposals",
        [
            Column("number", "whole"),
            Column("proposed_at", "time"),
            Column("campaign_s", "number", "s", "since the campaign began"),
            Column("planner", "text"),
            Column("basis", "whole", text="last journal event that it rests on"),
            Column("pending", "wholes", text="proposals that were under way"),
            Column("x", "numbers", text="the point in the unit cube"),
            Column("seed", "natural"),
            Column("place", "text"),
            Column("cpu_s", "number", "s"),
            Column("memo", "text", text="JSON"),
            Column("discarded", "text", text="why it was never tried"),
        ],
    )
    table.add_named("point_", [p.point for p in found])
    table.add_named("why_", [p.why for p in found])
    started = record.history.started
    table.rows = [
        {
            "number": p.number,
            "proposed_at": _time(record, p.log_key()),
            "campaign_s": p.at_s,
            "planner": None if started is None else started.planner,
            "basis": p.basis,
            "pending": list(p.pending),
            "x": list(p.x),
            "seed": p.seed,
            "place": p.place or None,
            "cpu_s": p.cpu_s,
            "memo": json.dumps(p.memo, sort_keys=True),
            "discarded": discarded.get(p.number),
            **_prefixed("point_", p.point),
            **_prefixed("why_", p.why),
        }
        for p in found
    ]
    return table


def _commands(record: RunRecord) -> Table:
    columns = [
        *(Column(n, "text") for n in ("key", "campaign", "trial", "sample", "step")),
        Column("attempt", "whole"),
        *(Column(n, "text") for n in ("instrument", "target", "action")),
        Column("arguments", "text", text="JSON"),
        Column("state", "text", text="done, failed, partial, unknown, or under way"),
        Column("reason", "text"),
        Column("may_retry", "truth"),
        Column("result", "text", text="JSON; arrays by name"),
        Column("arrays", "text", text="JSON: name, digest, dtype, shape of each"),
        Column("commanded_at", "time"),
        Column("settled_at", "time"),
        Column("lab_started_s", "number", "s", "laboratory clock of the adapter"),
        Column("lab_ended_s", "number", "s", "laboratory clock of the adapter"),
        Column("clock_factor", "number", "", "laboratory seconds in one real second"),
        Column("is_simulated_twin", "truth"),
        *(Column(n, "text") for n in ("adapter", "ledger", "schema_digest")),
        *(Column(n, "text") for n in ("decided", "decided_by", "decided_reason")),
    ]
    rows: list[Row] = [
        dict(_command_rows(record, t, n)) for t in record.trials for n in range(len(t.steps))
    ]
    return Table("commands", columns, rows)


def _command_rows(record: RunRecord, trial: TrialHistory, number: int) -> Iterator[tuple[str, Any]]:
    step = trial.steps[number]
    commanded, settled, decided = step.commanded, step.settled, step.decided
    lease = record.lease(commanded)
    yield from commanded.key._asdict().items()
    yield "key", str(commanded.key)
    yield "sample", commanded.sample
    for name in ("instrument", "target", "action", "ledger"):
        yield name, getattr(commanded, name)
    yield "arguments", json.dumps(commanded.arguments, sort_keys=True)
    yield "commanded_at", _time(record, commanded.log_key())
    yield "state", "under way" if settled is None else settled.state
    if settled is not None:
        yield "reason", settled.reason or None
        yield "may_retry", settled.may_retry
        yield "result", json.dumps(settled.result, sort_keys=True)
        yield "arrays", json.dumps([r.model_dump(mode="json") for r in settled.arrays])
        yield "settled_at", _time(record, settled.log_key())
        yield "lab_started_s", settled.started_lab_s
        yield "lab_ended_s", settled.ended_lab_s
    if lease is not None:
        yield "clock_factor", lease.clock_factor
        yield "is_simulated_twin", lease.is_twin
        yield "adapter", lease.adapter
        yield "schema_digest", lease.schema_digest
    if decided is not None:
        yield "decided", decided.state
        yield "decided_by", decided.person
        yield "decided_reason", decided.reason


def _computations(record: RunRecord) -> Table:
    columns = [
        *(Column(n, "text") for n in ("trial", "sample", "step", "name", "state", "reason")),
        Column("result", "text", text="JSON; arrays by name"),
        Column("place", "text"),
        Column("wall_s", "number", "s"),
        Column("cpu_s", "number", "s"),
        Column("computed_at", "time"),
    ]
    rows: list[Row] = [
        {
            "trial": t.id,
            "sample": t.sample,
            "step": c.path,
            "name": c.name,
            "state": c.state,
            "reason": c.reason or None,
            "result": json.dumps(c.result, sort_keys=True),
            "place": c.place or None,
            "wall_s": c.wall_s,
            "cpu_s": c.cpu_s,
            "computed_at": _time(record, c.log_key()),
        }
        for t in record.trials
        for c in t.computed
    ]
    return Table("computations", columns, rows)


def _quantities(record: RunRecord) -> Table:
    """Every number that an instrument or an analyst gave, one a row, with unit and deviation."""
    columns = [
        *(Column(n, "text") for n in ("trial", "sample", "step", "source", "action", "name")),
        Column("value", "number"),
        Column("sd", "number", text="standard deviation, in the same unit"),
        Column("unit", "text"),
        Column("at", "time"),
    ]
    rows: list[Row] = []
    for trial in record.trials:
        for answer in record.answers(trial):
            rows += _numbers(record, trial, answer)
    return Table("quantities", columns, rows)


def _numbers(record: RunRecord, trial: TrialHistory, answer: Answer) -> Iterator[Row]:
    numbers = {n: v for n, v in answer.numbers.items() if _is_number(v)}
    spreads = {n: deviation_of(n, numbers) for n in numbers}
    for name, value in numbers.items():
        if name in spreads.values():
            continue
        spread = spreads[name]
        yield {
            "trial": trial.id,
            "sample": trial.sample,
            "step": answer.path,
            "source": answer.target,
            "action": answer.action,
            "name": name,
            "value": float(value),
            "sd": None if spread is None else float(numbers[spread]),
            "unit": record.contracts.returned(answer.target, answer.action, name).unit or None,
            "at": _time(record, answer.event.log_key()),
        }


def _simulations(record: RunRecord) -> Table:
    answers = {(s.batch, s.row): s for s in record.history.simulated}
    wanted = [
        (batch, row, one)
        for batch in record.history.batches.values()
        for row, one in enumerate(batch.wanted)
    ]
    table = Table(
        "simulations",
        [
            Column("batch", "whole"),
            Column("row", "whole"),
            Column("simulator", "text"),
            Column("state", "text", text="done, failed, cancelled, or under way"),
            Column("reason", "text"),
            Column("exceeded", "truth", text="the cost bound was reached: a hint, no prediction"),
            Column("seed", "natural"),
            Column("gain_per_h", "number", "1/hour"),
            Column("why", "text"),
            Column("code", "text"),
            Column("place", "text"),
            Column("wall_s", "number", "s"),
            Column("cpu_s", "number", "s"),
            Column("wanted_at", "time"),
            Column("answered_at", "time"),
        ],
    )
    table.add_named("point_", [one.point for _, _, one in wanted])
    table.add_named("theta_", [one.theta for _, _, one in wanted])
    table.add_named("value_", [a.values for a in answers.values()])
    for batch, row, one in wanted:
        answer = answers.get((batch.batch, row))
        made: dict[str, Any] = {
            "batch": batch.batch,
            "row": row,
            "simulator": batch.simulator,
            "state": "under way",
            "seed": one.seed,
            "gain_per_h": one.gain_per_h,
            "why": one.why or None,
            "wanted_at": _time(record, batch.log_key()),
            **_prefixed("point_", one.point),
            **_prefixed("theta_", one.theta),
        }
        if answer is not None:
            kept = ("state", "exceeded", "code", "place", "wall_s", "cpu_s")
            made |= {name: getattr(answer, name) for name in kept}
            made |= {"reason": answer.reason or None, **_prefixed("value_", answer.values)}
            made["answered_at"] = _time(record, answer.log_key())
        table.rows.append(made)
    return table


def _kind(values: Sequence[Any]) -> Kind:
    present = [v for v in values if v is not None]
    if present and all(isinstance(v, bool) for v in present):
        return "truth"
    if present and all(isinstance(v, int) and not isinstance(v, bool) for v in present):
        return "whole" if all(abs(v) < 2**63 for v in present) else "number"
    if present and all(_is_number(v) for v in present):
        return "number"
    return "text"


def _prefixed(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{prefix}{name}": value for name, value in values.items()}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _lasted_s(settled: Any) -> float:
    if settled is None or settled.started_lab_s is None or settled.ended_lab_s is None:
        return 0.0
    return max(0.0, float(settled.ended_lab_s - settled.started_lab_s))


def _time(record: RunRecord, key: str | None) -> datetime | None:
    text = record.at(key or "")
    return datetime.fromisoformat(text) if text else None
