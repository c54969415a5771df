"""The offline checker of a run folder: journal, ledgers and the machines' own logs, side by side.

It reads plain entries and shares no decision with the cores that wrote them. What it holds them to:
nothing acknowledged is lost, nothing physical is begun twice or without a durable record of it, a
failure said to be without effect had none, no film is grown on another's substrate, every array is
there and whole.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twinloop.ids import CommandKey
from twinloop.log.arrays import ArrayStore, ArrayUnavailable
from twinloop.log.interface import Entry
from twinloop.log.sqlite import open_readonly
from twinloop.messages import ArrayRef

__all__ = ["Evidence", "audit", "violations"]

BEGUN = ("growth_started", "anneal_started", "sample_loaded")
"""Effects in a machine's log that must happen once under one key."""

_ENDS = frozenset({"done", "failed", "partial", "unknown", "not_done"})
_Body = Mapping[str, Any]


@dataclass(frozen=True)
class Evidence:
    """What was written down.

    Args:
        journal: entries of the campaign.
        ledger: entries of all adapters, one after another.
        effects: what machines say really happened, in their order.
    """

    journal: tuple[Entry, ...] = ()
    ledger: tuple[Entry, ...] = ()
    effects: tuple[_Body, ...] = ()

    def events(self, *kinds: str) -> list[_Body]:
        """Return the bodies of the journal's events of these kinds, in order."""
        return [e.body for e in self.journal if e.kind in kinds]

    def settled(self) -> dict[str, _Body]:
        """Return how the journal says that each command ended."""
        return {_key(b["key"]): b for b in self.events("settled", "decided")}

    def commanded(self) -> dict[str, _Body]:
        """Return what the journal says was commanded."""
        return {_key(b["key"]): b for b in self.events("commanded")}

    def ended(self) -> dict[str, Entry]:
        """Return how the ledgers say that each command ended."""
        return {_key(e.body["key"]): e for e in self.ledger if e.kind in _ENDS}

    def begun(self) -> list[tuple[str, str]]:
        """Return kind and key of every physical beginning."""
        return [(e["kind"], e["key"]) for e in self.effects if e["kind"] in BEGUN]


def audit(folder: Path) -> list[str]:
    """Return every broken promise in a run folder, in words; an empty list is what we want.

    Raises:
        JournalCorrupt: a hash chain that does not hold.
    """
    ledgers = [_entries(path) for path in sorted(folder.glob("adapters/*/ledger.sqlite"))]
    logs = [_effects(path) for path in sorted(folder.glob("machines/*/physical.log"))]
    evidence = Evidence(
        journal=tuple(_entries(folder / "journal.db")),
        ledger=tuple(entry for entries in ledgers for entry in entries),
        effects=tuple(effect for effects in logs for effect in effects),
    )
    return [
        *violations(evidence),
        *_damaged_arrays(evidence, folder / "arrays"),
        *_misplaced_samples(evidence, folder / "machines"),
    ]


def violations(evidence: Evidence) -> list[str]:
    """Return every broken promise that the entries show."""
    return [
        *_begun_twice(evidence),
        *_begun_without_a_record(evidence),
        *_failures_with_an_effect(evidence),
        *_wrong_samples(evidence),
        *_lost_acknowledgements(evidence),
        *_other_results(evidence),
        *_loose_ends(evidence),
    ]


def _key(parts: Iterable[Any]) -> str:
    return str(CommandKey(*parts))


def _entries(path: Path) -> list[Entry]:
    reader = open_readonly(path)
    try:
        reader.verify()
        return [stored.entry for stored in reader.read()]
    finally:
        reader.close()


def _effects(path: Path) -> list[_Body]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def _begun_twice(evidence: Evidence) -> list[str]:
    times = Counter(evidence.begun())
    found = [f"{kind} {n} times under {key}" for (kind, key), n in times.items() if n > 1]
    attempts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for kind, key in times:
        attempts[kind, key.rpartition("/")[0]].add(key)
    return found + [
        f"{kind} under {sorted(keys)}: one step, begun more than once"
        for (kind, _), keys in attempts.items()
        if len(keys) > 1
    ]


def _begun_without_a_record(evidence: Evidence) -> list[str]:
    commanded = evidence.commanded()
    intents = {_key(e.body["command"]["key"]) for e in evidence.ledger if e.kind == "intent"}
    found = [f"{kind} under {key}: in no journal" for kind, key in evidence.begun()
             if key not in commanded]  # fmt: skip
    return found + [
        f"{kind} under {key}: no INTENT" for kind, key in evidence.begun() if key not in intents
    ]


def _failures_with_an_effect(evidence: Evidence) -> list[str]:
    settled = evidence.settled()
    return [
        f"{kind} under {key}: settled as failed without effect"
        for kind, key in evidence.begun()
        if settled.get(key, {}).get("state") == "failed"
    ]


def _wrong_samples(evidence: Evidence) -> list[str]:
    found, inside = [], None
    commanded = evidence.commanded()
    for effect in evidence.effects:
        if effect["kind"] == "sample_loaded":
            inside = effect["sample"]
        elif effect["kind"] in BEGUN:
            meant = commanded.get(effect["key"], {}).get("sample")
            if not effect["sample"] == inside == meant:
                found.append(
                    f"{effect['kind']} under {effect['key']}: on {effect['sample']}, loaded was "
                    f"{inside}, meant was {meant}"
                )
    return found


def _lost_acknowledgements(evidence: Evidence) -> list[str]:
    settled, ended = evidence.settled(), evidence.ended()
    found = []
    for entry in evidence.ledger:
        if entry.kind != "acked":
            continue
        key = _key(entry.body["key"])
        said, kept = ended.get(key), settled.get(key)
        if said is None or kept is None:
            found.append(f"{key}: acknowledged, and the journal or the ledger has no end of it")
            continue
        state = "failed" if said.kind == "not_done" else said.kind
        if (state, said.body["result"]) != (kept["state"], kept["result"]):
            found.append(f"{key}: the journal keeps another outcome than was acknowledged")
    return found


def _other_results(evidence: Evidence) -> list[str]:
    """Compare what the journal keeps of each growth with what the machine counted."""
    grown = {e["key"]: e for e in evidence.effects if e["kind"] == "growth_ended"}
    found = []
    for key, kept in evidence.settled().items():
        command = evidence.commanded()[key]
        if command["action"] != "grow" or kept["state"] != "done":
            continue
        counted = grown.get(key)
        if counted is None or counted["state"] != "done":
            found.append(f"{key}: settled as done, and the machine did not grow it to its end")
        elif any(kept["result"].get(name) != value for name, value in counted["numbers"].items()):
            found.append(f"{key}: the journal has {kept['result']}, counted {counted['numbers']}")
    return found


def _loose_ends(evidence: Evidence) -> list[str]:
    if not evidence.events("finished"):
        return []
    over = {b["number"] for b in evidence.events("trial_ended", "discarded")}
    proposed = {b["number"] for b in evidence.events("proposed")}
    open_keys = set(evidence.commanded()) - set(evidence.settled())
    found = [f"proposal {n}: finished without an end of it" for n in sorted(proposed - over)]
    return found + [f"{key}: finished without its outcome" for key in sorted(open_keys)]


def _misplaced_samples(evidence: Evidence, machines: Path) -> list[str]:
    """Return samples that are at two places, and samples that left the chamber and are nowhere."""
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted(machines.glob("*/stage/*.npz")):
        places[path.name.rsplit(".", 2)[0]].append(str(path.parent))
    for path in sorted(machines.glob("vessel/held/*.npz")):
        places[path.stem].append("the transfer vessel")
    found = [f"sample {name}: at {where} at once" for name, where in places.items() if where[1:]]
    given = [e["sample"] for e in evidence.effects if e["kind"] == "sample_given" and e["sample"]]
    return found + [f"sample {name}: given, and nowhere" for name in given if name not in places]


def _damaged_arrays(evidence: Evidence, folder: Path) -> list[str]:
    store, found = ArrayStore(folder), []
    for body in evidence.events("settled", "decided", "computed"):
        for described in body["arrays"]:
            try:
                store.load(ArrayRef.model_validate(described))
            except ArrayUnavailable as err:
                found.append(str(err))
    return found
