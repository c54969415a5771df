"""A run as bluesky run documents: one run a trial, and one of the campaign with a row a trial.

In the run of a trial each answered step is a stream of its own name with one event, so that equal
steps of different trials have equal streams; arrays stay in the NeXus files, where stream resources
point. `primary` of the campaign's run has what was tried and what came of it. A run that goes on has
no stop document. Names of documents, keys and uids are the same at every export of a run.

Source: event-model 1.24, https://blueskyproject.io/event-model/, whose schemas the tests apply.
"""

import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twinloop.agents.export.contracts import Meaning
from twinloop.agents.export.nexus import Placed, Places
from twinloop.agents.export.notice import is_simulated, run_notice
from twinloop.agents.export.quantities import unit_in_name
from twinloop.agents.export.record import Answer, RunRecord
from twinloop.agents.report.history import TrialHistory
from twinloop.log.durable import write_whole

__all__ = ["Document", "campaign_documents", "trial_documents", "write_documents"]

Document = tuple[str, dict[str, Any]]
"""Name and body, as bluesky's consumers take them."""

_STATUS = {"done": "success", "failed": "fail", "parked": "abort"}


def write_documents(record: RunRecord, folder: Path, places: Places, nexus: Path) -> int:
    """Write a file of JSON lines for each bluesky run into a folder; return how many documents.

    Args:
        record: the run.
        folder: exists.
        places: where its arrays are, as `write_nexus` returned it.
        nexus: the folder in which the NeXus files will be, for the resources' URIs.

    Raises:
        OSError: the disk refused.
    """
    count = _write(folder / "campaign.jsonl", campaign_documents(record))
    for trial in record.trials:
        made = trial_documents(record, trial, places, nexus)
        count += _write(folder / f"{trial.id}.jsonl", made)
    return count


def trial_documents(
    record: RunRecord, trial: TrialHistory, places: Places, nexus: Path
) -> Iterator[Document]:
    """Yield the documents of a trial, in order."""
    run = _Run(record, trial.id)
    begun_s = record.seconds(f"trial_started/{trial.id}") or 0.0
    yield "start", run.start(begun_s, trial.number, trial.sample, _about_trial(trial))
    answers = sorted(record.answers(trial), key=lambda a: a.event.at_s)
    for answer in answers:
        key = answer.event.log_key() or ""
        arrays = places.get((trial.id, answer.name), {})
        yield from run.step(answer, arrays, nexus, record.seconds(key) or begun_s)
    if trial.ended is not None:
        ended_s = record.seconds(f"trial_ended/{trial.id}") or begun_s
        yield "stop", run.stop(ended_s, _STATUS[trial.ended.state], trial.ended.reason)


def campaign_documents(record: RunRecord) -> Iterator[Document]:
    """Yield the documents of the campaign: an event of `primary` for each trial that ended."""
    history = record.history
    run = _Run(record, "campaign")
    begun_s = record.seconds("campaign_started") or 0.0
    config = {"configuration": dict(history.config)}
    yield "start", run.start(begun_s, 0, "", {"purpose": "campaign", **config})
    chosen = {t.id for t in record.trials}
    ended = [t for t in history.ended if t.id in chosen and t.y is not None]
    if ended:
        yield from run.table(record, ended, begun_s)
    if history.finished is not None:
        finished_s = record.seconds("finished") or begun_s
        yield "stop", run.stop(finished_s, "success", history.finished.reason)


class _Run:
    """Makes the documents of one bluesky run."""

    def __init__(self, record: RunRecord, name: str) -> None:
        self._record, self._name = record, name
        self.uid = _uid(record, name)
        self._n_events: dict[str, int] = {}

    def start(
        self, time_s: float, number: int, sample: str, about: Mapping[str, Any]
    ) -> dict[str, Any]:
        record = self._record
        started = record.history.started
        return {
            "uid": self.uid,
            "time": time_s,
            "scan_id": max(number, 0),
            "plan_name": "" if started is None else started.protocol,
            "plan_type": "twinloop protocol",
            "project": record.campaign,
            "twinloop_run": record.run_id,
            "twinloop_journal": record.history.log_id,
            "versions": {} if started is None else _plain_keys(started.versions),
            "notice": run_notice(record.history),
            "is_simulated": is_simulated(record.history),
            "hints": {},
            **({"sample": sample} if sample else {}),
            **_plain_keys(about),
        }

    def step(
        self, answer: Answer, arrays: Mapping[str, Placed], nexus: Path, time_s: float
    ) -> Iterator[Document]:
        """Yield a stream with one event, and where its arrays are."""
        record, owner = self._record, _plain(answer.target)
        data: dict[str, Any] = {f"{owner}-state": answer.event.state}
        meanings: dict[str, Meaning] = {}
        if answer.step is not None:
            ask = answer.step.commanded
            owner = _plain(ask.instrument)
            data = {f"{owner}-state": answer.event.state, f"{owner}-command_key": str(ask.key)}
            for name, value in _said(ask.arguments):
                data[f"{owner}-asked-{name}"] = value
                meanings[f"{owner}-asked-{name}"] = record.contracts.argument(
                    ask.target, ask.action, name
                )
        for name, value in _said(answer.numbers):
            data[f"{owner}-{name}"] = value
            meanings[f"{owner}-{name}"] = record.contracts.returned(
                answer.target, answer.action, name
            )
        source = f"twinloop:{record.run_id}/{answer.name}"
        keys = {n: _key(v, source, owner, meanings.get(n, Meaning())) for n, v in data.items()}
        external = {f"{owner}-{n}": placed for n, placed in arrays.items()}
        keys |= {n: _external(placed, source, owner) for n, placed in external.items()}
        begun_s = time_s if answer.step is None else self._commanded_s(answer, time_s)
        configuration = {owner: self._configuration(answer, begun_s)}
        descriptor = self._descriptor(answer.name, keys, {owner: list(keys)}, begun_s)
        yield "descriptor", {**descriptor, "configuration": configuration}
        yield "event", self._event(answer.name, descriptor["uid"], 1, time_s, data)
        for name, placed in external.items():
            resource = _uid(record, self._name, answer.name, name)
            yield "stream_resource", _resource(resource, self.uid, name, placed, nexus)
            yield (
                "stream_datum",
                {
                    "uid": f"{resource}/0",
                    "stream_resource": resource,
                    "descriptor": descriptor["uid"],
                    "seq_nums": {"start": 1, "stop": 2},
                    "indices": {"start": 0, "stop": 1},
                },
            )

    def table(
        self, record: RunRecord, ended: list[TrialHistory], begun_s: float
    ) -> Iterator[Document]:
        """Yield `primary`: what was tried and what came of it, a row a trial."""
        rows = [_row(record, trial) for trial in ended]
        names = [n for n in rows[0] if all(n in r and _type(r[n]) is not None for r in rows)]
        keys = {n: _key(rows[0][n], "twinloop", "trial", Meaning(unit_in_name(n))) for n in names}
        for name in names:  # a number that happens to be whole in one row is still a number
            kinds = {_type(row[name]) for row in rows}
            keys[name]["dtype"] = kinds.pop() if len(kinds) == 1 else "number"
        descriptor = self._descriptor("primary", keys, {"trial": names}, begun_s)
        yield "descriptor", {**descriptor, "hints": {"trial": {"fields": _hinted(names)}}}
        for number, (trial, row) in enumerate(zip(ended, rows, strict=True), start=1):
            time_s = record.seconds(f"trial_ended/{trial.id}") or begun_s
            data = {name: row[name] for name in names}
            yield "event", self._event("primary", descriptor["uid"], number, time_s, data)

    def stop(self, time_s: float, status: str, reason: str) -> dict[str, Any]:
        return {
            "uid": _uid(self._record, self._name, "stop"),
            "run_start": self.uid,
            "time": time_s,
            "exit_status": status,
            "reason": reason,
            "num_events": dict(self._n_events),
        }

    def _descriptor(
        self, name: str, keys: Mapping[str, Any], owners: Mapping[str, Any], time_s: float
    ) -> dict[str, Any]:
        return {
            "uid": _uid(self._record, self._name, name, "descriptor"),
            "run_start": self.uid,
            "time": time_s,
            "name": name,
            "data_keys": dict(keys),
            "object_keys": dict(owners),
            "configuration": {},
            "hints": {},
        }

    def _event(
        self, stream: str, descriptor: str, number: int, time_s: float, data: Mapping[str, Any]
    ) -> dict[str, Any]:
        self._n_events[stream] = self._n_events.get(stream, 0) + 1
        return {
            "uid": _uid(self._record, self._name, stream, str(number)),
            "descriptor": descriptor,
            "seq_num": number,
            "time": time_s,
            "data": dict(data),
            "timestamps": dict.fromkeys(data, time_s),
            "filled": {},
        }

    def _configuration(self, answer: Answer, time_s: float) -> dict[str, Any]:
        """Return what the instrument was: its contract, its ledger, its clock."""
        lease = None if answer.step is None else self._record.lease(answer.step.commanded)
        data: dict[str, Any] = {}
        if lease is not None:
            data = {
                "schema_digest": lease.schema_digest,
                "ledger": lease.ledger,
                "clock_factor": lease.clock_factor,
                "is_simulated_twin": lease.is_twin,
            }
        keys = {
            n: _key(v, "twinloop", lease.adapter if lease else "", Meaning())
            for n, v in data.items()
        }
        return {"data": data, "timestamps": dict.fromkeys(data, time_s), "data_keys": keys}

    def _commanded_s(self, answer: Answer, time_s: float) -> float:
        if answer.step is None:
            return time_s
        return self._record.seconds(answer.step.commanded.log_key()) or time_s


def _about_trial(trial: TrialHistory) -> dict[str, Any]:
    about: dict[str, Any] = {"trial": trial.id, "point": dict(trial.point)}
    if trial.proposed is not None:
        proposed = trial.proposed
        about["proposal"] = {
            "number": proposed.number,
            "basis": proposed.basis,
            "pending": list(proposed.pending),
            "seed": str(proposed.seed),  # 64 bits: more than a JSON number of other programs holds
            "why": dict(proposed.why),
            "place": proposed.place,
        }
    return about


def _row(record: RunRecord, trial: TrialHistory) -> dict[str, Any]:
    outcome = {} if trial.ended is None else trial.ended.outcome
    return {
        "trial": trial.id,
        "sample": trial.sample,
        "run": _uid(record, trial.id),
        **{f"point-{_plain(name)}": value for name, value in trial.point.items()},
        **{f"outcome-{_plain(name)}": value for name, value in outcome.items()},
        "y": trial.y,
        "y_sd": 0.0 if trial.ended is None else trial.ended.y_sd,
        "is_feasible": trial.is_feasible,
    }


def _hinted(names: list[str]) -> list[str]:
    return [n for n in names if n.startswith("point-") or n in {"y", "y_sd"}]


def _said(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what can stand in an event: numbers, texts, and anything else as JSON text."""
    for name, value in values.items():
        if value is not None:
            is_plain = isinstance(value, str | int | float | bool)
            yield _plain(name), value if is_plain else json.dumps(value, sort_keys=True)


def _plain(name: str) -> str:
    """Return a name as event-model takes keys: without dots and slashes."""
    return name.replace(".", "_").replace("/", "_") or "_"


def _plain_keys(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(str(k)): _plain_keys(v) for k, v in value.items()}
    return [_plain_keys(v) for v in value] if isinstance(value, list | tuple) else value


def _type(value: object) -> str | None:
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case _:
            return None


def _key(value: object, source: str, owner: str, meaning: Meaning) -> dict[str, Any]:
    made: dict[str, Any] = {
        "source": source,
        "dtype": _type(value) or "string",
        "shape": [],
        "object_name": owner,
    }
    if meaning.unit and made["dtype"] in {"number", "integer"}:
        made["units"] = meaning.unit
    return made


def _external(placed: Placed, source: str, owner: str) -> dict[str, Any]:
    made: dict[str, Any] = {
        "source": source,
        "dtype": "array",
        "dtype_numpy": placed.dtype,
        "shape": list(placed.shape),
        "external": "STREAM:",
        "object_name": owner,
    }
    if placed.dims:
        made["dims"] = list(placed.dims)
    if placed.units:
        made["units"] = placed.units
    return made


def _resource(uid: str, run: str, key: str, placed: Placed, nexus: Path) -> dict[str, Any]:
    uri = (nexus / placed.file).absolute().as_uri().replace("file:///", "file://localhost/", 1)
    return {
        "uid": uid,
        "run_start": run,
        "data_key": key,
        "mimetype": "application/x-hdf5",
        "uri": uri,
        "parameters": {
            "dataset": placed.dataset,
            "swmr": False,
            "chunk_shape": list(placed.chunks or placed.shape),
        },
    }


def _uid(record: RunRecord, *parts: str) -> str:
    """Return an identifier that is the same at every export of this run."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, "/".join(("twinloop", record.run_id, *parts))))


def _write(path: Path, documents: Iterator[Document]) -> int:
    lines = [json.dumps({"name": n, "doc": body}, allow_nan=False) + "\n" for n, body in documents]
    write_whole(path, "".join(lines).encode("utf-8"))
    return len(lines)
