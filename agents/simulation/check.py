"""The offline checker: journal, ledger and physical log against what we promise.

It reads plain entries and the machine's own record, and shares no decision with the cores.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from twinloop.agents.campaign.reading import fold
from twinloop.agents.simulation.bakery import Bakery, Scenario
from twinloop.ids import CommandKey

__all__ = ["Report", "check", "run_world"]


@dataclass(frozen=True)
class Report:
    """What became of a world.

    Args:
        seed: which.
        violations: broken promises, in words; empty is what we want.
        counts: messages, faults.
        virtual_s: how long it took [virtual s].
        fingerprint: digest of the history.
        trace: the last happenings.
    """

    seed: int
    violations: tuple[str, ...]
    counts: dict[str, int]
    virtual_s: float
    fingerprint: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        """Return the violations, the end of the history, and how to see it again."""
        lines = [f"seed {self.seed}: {v}" for v in self.violations]
        replay = f"python -m twinloop.agents.simulation --seed {self.seed}"
        return "\n".join([*lines, *self.trace[-40:], f"again: {replay}"])


def run_world(seed: int, scenario: Scenario | None = None, bakery: Bakery | None = None) -> Report:
    """Run one seed and check it."""
    made = bakery or Bakery(seed, scenario or Scenario())
    made.run()
    return Report(
        seed=seed,
        violations=tuple(check(made)),
        counts=dict(made.world.counts),
        virtual_s=made.world.now_s,
        fingerprint=made.world.fingerprint(),
        trace=tuple(made.world.trace),
    )


def check(bakery: Bakery) -> list[str]:
    """Return every broken promise."""
    journal = [(s.entry.kind, s.entry.body) for s in bakery.conductor.log.read()]
    found = list(bakery.hasty) + _grown_twice(bakery, journal)
    found += _commanded_before_begun(bakery, journal)
    found += _nothing_acknowledged_is_lost(bakery, journal)
    found += _samples_never_mixed(bakery)
    found += _epochs_only_grow(bakery, journal)
    found += _came_to_an_end(bakery)
    found += _simulations_add_up(journal)
    bakery.conductor.log.verify()
    bakery.adapter.sim.log.verify()
    core = bakery.conductor.core
    if core is not None and core.state != fold(bakery.conductor.log.read()):
        found.append("the state of the live core is not the fold of its journal")
    return found


def _key(parts: Any) -> str:
    return str(CommandKey(*parts))


def _grown_twice(bakery: Bakery, journal: list[tuple[str, dict[str, Any]]]) -> list[str]:
    begun = Counter(str(key) for what, key in bakery.machine.effects if what == "begin")
    found = [f"{key} was begun {n} times" for key, n in begun.items() if n > 1]
    never = {
        _key(body["key"])
        for kind, body in journal
        if kind == "settled" and body["state"] == "failed"
    }
    steps: dict[str, list[str]] = {}
    for key in begun:
        steps.setdefault(key.rpartition("/")[0], []).append(key)
    for step, keys in steps.items():
        effective = [key for key in keys if key not in never]
        if len(effective) > 1:
            found.append(f"step {step} was begun under {effective}")
        found += [f"{key} was begun, and is called a failure without effect" for key in keys
                  if key in never]  # fmt: skip
    return found


def _commanded_before_begun(bakery: Bakery, journal: list[tuple[str, dict[str, Any]]]) -> list[str]:
    commanded = {_key(body["key"]) for kind, body in journal if kind == "commanded"}
    begun = {str(key) for what, key in bakery.machine.effects if what == "begin"}
    return [f"{key} was begun and is in no journal" for key in sorted(begun - commanded)]


def _nothing_acknowledged_is_lost(
    bakery: Bakery, journal: list[tuple[str, dict[str, Any]]]
) -> list[str]:
    settled = {_key(body["key"]): body for kind, body in journal if kind in {"settled", "decided"}}
    uploaded = {str(key) for key, _ in bakery.adapter.sim.uploads}
    found = []
    for key in dict.fromkeys(bakery.acked):
        body = settled.get(key)
        if body is None:
            found.append(f"{key} was acknowledged and is not in the journal")
        elif body["arrays"] and key not in uploaded and not bakery.lost_ledgers:
            found.append(f"{key} was acknowledged and its arrays are in no depot")
    for baked, run in bakery.machine.runs.items():
        body = settled.get(str(baked))
        if body is not None and body["state"] == "done" and run.command.action == "bake":
            asked = run.command.arguments["bake_K"]
            if body["result"]["peak_K"] != asked:
                found.append(f"{baked} was settled with the result of another bake")
    return found


def _samples_never_mixed(bakery: Bakery) -> list[str]:
    found, inside = [], None
    for what, key in bakery.machine.effects:
        if what != "begin" or not isinstance(key, CommandKey):
            continue
        command = bakery.machine.runs[key].command
        if command.action == "load":
            inside = command.sample
        elif command.sample != inside:
            found.append(f"{key} was begun on {inside}, it was meant for {command.sample}")
    return found


def _epochs_only_grow(bakery: Bakery, journal: list[tuple[str, dict[str, Any]]]) -> list[str]:
    found = []
    ledgers: dict[str, list[int]] = {}
    for kind, body in journal:
        if kind == "leased":
            ledgers.setdefault(body["ledger"], []).append(body["epoch"])
    for ledger, epochs in ledgers.items():
        if epochs != sorted(epochs):
            found.append(f"ledger {ledger} granted epochs {epochs}")
    newest = 0
    for stored in bakery.adapter.sim.log.read():
        if stored.entry.kind == "leased":
            newest = stored.entry.body["epoch"]
        elif stored.entry.kind == "intent":
            epoch = stored.entry.body.get("command", stored.entry.body).get("epoch", newest)
            if epoch != newest:
                found.append(f"an action was begun under epoch {epoch}, the newest is {newest}")
    return found


def _simulations_add_up(journal: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Each simulation that was wanted is answered once, by what its inputs give, or cancelled."""
    wanted = {
        (body["batch"], row): one
        for kind, body in journal
        if kind == "simulations_proposed"
        for row, one in enumerate(body["wanted"])
    }
    answers = [body for kind, body in journal if kind == "simulated"]
    found = []
    seen = Counter((body["batch"], body["row"]) for body in answers)
    found += [f"simulation {key} was answered {n} times" for key, n in seen.items() if n > 1]
    found += [f"simulation {key} was never wanted" for key in seen if key not in wanted]
    if any(kind == "finished" for kind, _ in journal):
        found += [f"simulation {key} has no answer" for key in wanted if key not in seen]
    for body in answers:
        one = wanted.get((body["batch"], body["row"]))
        if one is None or body["state"] != "done":
            continue
        x, theta = one["point"], one["theta"]
        height = 1.0 - ((x["bake_K"] - theta["best_K"]) / 150.0) ** 2
        if body["values"]["height"] != height:
            found.append(f"simulation {body['batch'], body['row']} has another's answer")
    return found


def _came_to_an_end(bakery: Bakery) -> list[str]:
    state = fold(bakery.conductor.log.read())
    held = [t.id for t in state.trials.values() if t.is_held]
    if held and bakery.scenario.loses_ledger:
        return []
    if state.finished is None:
        core = bakery.conductor.core
        waits = core.waiting() if core else ("the conductor is down",)
        return [f"not finished at {bakery.world.now_s:.0f} s: {'; '.join(waits)}"]
    n_done = len(state.observations)
    if n_done + sum(1 for t in state.ended if t.y is None) != bakery.scenario.experiments:
        return [f"{n_done} observations, {len(state.ended)} trials ended"]
    lost = [t.reason for t in state.ended if t.y is None and "part" not in t.reason]
    return [f"a trial failed for no physical reason: {reason}" for reason in lost]
