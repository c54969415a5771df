"""The story of a sample as a NeXus entry: who proposed it and why, each step, how it ended."""

from datetime import datetime

import numpy as np

from twinloop.agents.export.contracts import Meaning
from twinloop.agents.export.nexus_answer import put_numbers
from twinloop.agents.export.nexus_tree import Tree
from twinloop.agents.export.notice import is_simulated, run_notice
from twinloop.agents.export.quantities import unit_in_name
from twinloop.agents.export.record import Answer, RunRecord
from twinloop.agents.export.telemetry import Track, tracks_of
from twinloop.agents.report.history import TrialHistory

__all__ = ["sample_of_its_own", "write_sample", "write_trial"]


def write_sample(
    entry: Tree, record: RunRecord, trial: TrialHistory, elements: tuple[str, ...]
) -> Tree:
    """Write the sample with all that was done to it; return its group."""
    sample = entry.group("sample", "NXsample")
    sample.put("name", trial.sample)
    sample.put("is_simulation", is_simulated(record.history))
    sample.put("preparation_date", record.at(f"trial_started/{trial.id}") or None)
    if elements:
        sample.put("atom_types", ", ".join(elements))
    story = sample.group("history", "NXhistory")
    for number, step in enumerate(trial.steps):
        commanded = step.commanded
        made = story.group(f"activity_{number:03d}", "NXactivity")
        made.put("start_time", record.at(commanded.log_key()) or None)
        if step.settled is not None:
            made.put("end_time", record.at(step.settled.log_key()) or None)
        state = step.settled.state if step.settled is not None else "under way"
        made.put("description", f"{commanded.instrument}.{commanded.action}: {state}")
    return sample


def sample_of_its_own(entry: Tree, sample: Tree) -> None:
    """Give a measurement a group of the sample that it may add to; the history is linked."""
    own = entry.group("sample", "NXsample")
    for name, node in sample.node.items():
        if name == "history":
            own.link(name, node)
        else:
            own.put(name, node[()])


def write_trial(entry: Tree, record: RunRecord, trial: TrialHistory) -> None:
    """Write proposal, steps, telemetry and outcome of a trial."""
    state = "under way" if trial.ended is None else trial.ended.state
    entry.put("title", f"trial {trial.id} of {record.campaign}: {state}")
    entry.tell(notice=run_notice(record.history))
    entry.put("start_time", record.at(f"trial_started/{trial.id}") or None)
    entry.put("end_time", record.at(f"trial_ended/{trial.id}") or None)
    entry.put("entry_identifier", trial.id)
    entry.put("experiment_identifier", f"{record.campaign}.{record.run_id}")
    entry.put("state", state)
    _put_proposal(entry, record, trial)
    answers = record.answers(trial)
    for number, answer in enumerate(answers):
        _put_step(entry, record, number, answer)
    _put_outcome(entry, trial)
    _put_telemetry(entry, record, trial)


def _put_proposal(entry: Tree, record: RunRecord, trial: TrialHistory) -> None:
    proposed = trial.proposed
    if proposed is None:
        return
    made = entry.group("proposal", "NXcollection")
    started = record.history.started
    made.put("planner", None if started is None else started.planner)
    made.put("date", record.at(proposed.log_key() or "") or None)
    made.put("number", proposed.number)
    made.put("basis", proposed.basis, description="last journal event that it rests on")
    made.put("pending", list(proposed.pending) or None)
    made.put("seed", np.uint64(proposed.seed) if 0 <= proposed.seed < 2**64 else str(proposed.seed))
    made.put("place", proposed.place or None)
    put_numbers(made.group("point", "NXparameters"), proposed.point, _by_name)
    put_numbers(made.group("why", "NXparameters"), proposed.why, lambda _: Meaning())


def _put_step(entry: Tree, record: RunRecord, number: int, answer: Answer) -> None:
    made = entry.group(f"process_{number:03d}_{answer.name}", "NXprocess")
    made.put("program", f"{answer.target}.{answer.action}")
    made.put("sequence_index", number + 1)
    made.put("date", record.at(answer.event.log_key() or "") or None)
    made.put("state", answer.event.state)
    made.put("reason", answer.event.reason or None)
    if answer.step is not None:
        ask = answer.step.commanded
        made.put("entry_identifier", str(ask.key))
        put_numbers(
            made.group("arguments", "NXparameters"),
            ask.arguments,
            lambda n: record.contracts.argument(ask.target, ask.action, n),
        )
    put_numbers(
        made.group("result", "NXparameters"),
        answer.numbers,
        lambda n: record.contracts.returned(answer.target, answer.action, n),
    )


def _put_outcome(entry: Tree, trial: TrialHistory) -> None:
    ended = trial.ended
    if ended is None:
        return
    made = entry.group("outcome", "NXparameters")
    put_numbers(made, ended.outcome, _by_name)
    goal = entry.group("goal", "NXparameters")
    goal.put("y", ended.y, description="the goal, larger is better")
    if ended.y is not None:
        goal.put("y_errors", ended.y_sd)
    goal.put("slack", list(ended.slack) or None, description="constraints, feasible from 0 on")
    goal.put("slack_errors", list(ended.slack_sd) or None)
    goal.put("reason", ended.reason or None)


def _put_telemetry(entry: Tree, record: RunRecord, trial: TrialHistory) -> None:
    """Write the readouts of each instrument while this trial used it."""
    spans: dict[tuple[str, str, str], list[float]] = {}
    for step in trial.steps:
        lease = record.lease(step.commanded)
        settled = "" if step.settled is None else step.settled.log_key()
        times = [record.seconds(step.commanded.log_key()), record.seconds(settled)]
        if lease is not None:
            key = (lease.adapter, lease.instrument, step.commanded.target)
            spans.setdefault(key, []).extend(t for t in times if t is not None)
    for (adapter, instrument, target), span in spans.items():
        if span:
            for track in tracks_of(record.folder, adapter, instrument, min(span), max(span)):
                _put_track(entry.group("telemetry", "NXcollection"), record, track, target)


def _put_track(group: Tree, record: RunRecord, track: Track, target: str) -> None:
    means = record.contracts.readout(target, track.readout)
    made = group.group(f"{track.instrument}_{track.readout}", "NXlog")
    start = datetime.fromtimestamp(float(track.at_s[0])).astimezone().isoformat()
    made.put_array("time", track.at_s - track.at_s[0], units="s", start=start)
    made.put_array(
        "lab_time", track.lab_s, units="s", description="laboratory clock of the adapter"
    )
    made.put_array("value", track.values, units=means.unit, description=means.text)
    made.put("description", means.text or None)


def _by_name(name: str) -> Meaning:
    return Meaning(unit_in_name(name))
