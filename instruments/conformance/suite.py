"""The suite: serve a class, look at every clause, report."""

import importlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from twinloop.errors import ArgumentError, ConfigError, ConfigProblem, LabError, describe_error
from twinloop.instruments.conformance import (
    looks_connection,
    looks_death,
    looks_limits,
    looks_silence,
    looks_stop,
    looks_telemetry,
    looks_types,
    looks_work,
)
from twinloop.instruments.conformance.bench import AdapterDied, Bench, BenchFailed, Place
from twinloop.instruments.conformance.clauses import CLAUSES, chosen
from twinloop.instruments.conformance.interface import Finding, Rehearsal, Report, Verdict
from twinloop.instruments.conformance.record import Record
from twinloop.instruments.conformance.stand import Look, Stand
from twinloop.instruments.conformance.words import clause_line
from twinloop.instruments.interface import Instrument
from twinloop.instruments.spec import class_path
from twinloop.plugins import one_of

__all__ = ["LOOKS", "Subject", "check", "check_at", "check_many", "find_rehearsal"]

LOOKS: tuple[Look, ...] = (
    *looks_types.LOOKS,
    *looks_connection.LOOKS,
    *looks_work.LOOKS,
    *looks_limits.LOOKS,
    *looks_telemetry.LOOKS,
    *looks_stop.LOOKS,
    *looks_silence.LOOKS,
    *looks_death.LOOKS,
    *looks_telemetry.LAST_LOOKS,
)

Progress = Callable[[str], None]


class Subject:
    """One class to be checked, with its rehearsal.

    Args:
        cls: the class.
        rehearsal: of it; None: the one that its package has, or the defaults.
        settings: they win over those of the rehearsal.
        only: clauses or groups; all when empty.
    """

    def __init__(
        self,
        cls: type[Instrument],
        rehearsal: type[Rehearsal] | None = None,
        settings: Mapping[str, Any] | None = None,
        only: Iterable[str] = (),
    ) -> None:
        self.cls, self.given = cls, dict(settings or {})
        self.rehearsal_type = rehearsal or find_rehearsal(cls)
        self.only = chosen(tuple(only))


def find_rehearsal(cls: type[Instrument]) -> type[Rehearsal]:
    """Return the rehearsal of a class: from its module, or `rehearsal.py` beside it."""
    module = cls.__module__
    places = [module, f"{module.rpartition('.')[0]}.rehearsal".lstrip("."), f"{module}_rehearsal"]
    for place in places:
        try:
            found = vars(importlib.import_module(place))
        except ModuleNotFoundError as err:
            if err.name and not place.startswith(err.name):
                raise
            continue
        for value in found.values():
            if not (isinstance(value, type) and issubclass(value, Rehearsal)):
                continue
            if value.instrument is cls:
                return value
    return Rehearsal


def check(
    cls: type[Instrument],
    rehearsal: type[Rehearsal] | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    only: Iterable[str] = (),
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Report:
    """Check one class; see `interface.check_instrument`."""
    subject = Subject(cls, rehearsal, settings, only)
    return check_many({"instrument": subject}, folder=folder, progress=progress)["instrument"]


def check_many(
    subjects: Mapping[str, Subject], *, folder: Path | None = None, progress: Progress | None = None
) -> dict[str, Report]:
    """Check several classes on one bench: one hub, and one adapter process that serves them all.

    Args:
        subjects: by name; all with the same clock factor.
        folder: of everything; None: a temporary one.
        progress: takes a line for each clause.

    Raises:
        ConfigError: settings that a class does not take.
        BenchFailed: the hub does not start.
    """
    with _place(folder) as home:
        rehearsals = {
            name: subject.rehearsal_type(_made(home / "devices" / name), subject.given)
            for name, subject in subjects.items()
        }
        started: list[Rehearsal] = []
        bench: Bench | None = None
        try:
            for rehearsal in rehearsals.values():
                rehearsal.start()
                started.append(rehearsal)
            stands_at = {n: _place_of(n, s, rehearsals[n], home) for n, s in subjects.items()}
            bench = Bench(home / "bench")
            stands = _stands(bench, subjects, rehearsals, stands_at)
            return {
                name: _looked(stand, subjects[name], bench, progress)
                for name, stand in stands.items()
            }
        finally:
            if bench is not None:
                bench.close()
            for rehearsal in started:
                rehearsal.stop()


def check_at(
    endpoint: str,
    adapter: str,
    name: str,
    subject: Subject,
    *,
    with_actions: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Check an instrument that is served at a hub already.

    Args:
        endpoint: of the hub.
        adapter: name of the agent that serves it.
        name: of the instrument.
        subject: its class, and a rehearsal of it.
        with_actions: it may move; without it, it is only looked at.
        progress: takes a line for each clause.

    Raises:
        BenchFailed: no answer.
    """
    with _place(None) as home:
        bench = Bench(home / "bench", endpoint, adapter)
        try:
            rehearsal = subject.rehearsal_type(_made(home / "device"), subject.given)
            status = bench.status(name)
            rehearsal.clock_factor = status.clock_factor
            if status.state not in {"idle", "held"}:
                raise BenchFailed(name, f"it is {status.state}: {status.trip or status.key}",
                                  "check it when nobody works with it")  # fmt: skip
            stand = Stand(bench, name, subject.cls, rehearsal, None, may_act=with_actions)
            return _looked(stand, subject, bench, progress)
        finally:
            bench.close()


# --- private -----------------------------------------------------------------------------------


@contextmanager
def _place(folder: Path | None) -> Iterator[Path]:
    if folder is not None:
        yield _made(folder).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="twinloop-check-", ignore_cleanup_errors=True) as made:
        yield Path(made).resolve()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _settings(rehearsal: Rehearsal) -> dict[str, Any]:
    return {**rehearsal.settings(), **rehearsal.given}


def _place_of(name: str, subject: Subject, rehearsal: Rehearsal, home: Path) -> dict[str, Place]:
    """Return the places of an instrument and its companions.

    Raises:
        ConfigError: settings that a class does not take.
    """
    record = Record(home / "records" / name)
    record.order_class(class_path(subject.cls), name, rehearsal.silence_s)
    places = {name: Place(subject.cls, _settings(rehearsal), record, rehearsal.silence_s)}
    for other, (cls, settings) in rehearsal.companions().items():
        places[other] = Place(cls, settings, None)
    for place in places.values():
        _check_settings(place.cls, place.settings)
    return places


def _check_settings(cls: type[Instrument], settings: Mapping[str, Any]) -> None:
    path = class_path(cls)
    try:
        cls.model_validate(dict(settings))
    except ValidationError as err:
        problems = []
        for error in err.errors():
            key = ".".join(str(part) for part in error["loc"])
            found = None if error["type"] == "missing" else error["input"]
            allowed = f"{error['msg']}; give it as --settings {key}=..."
            if error["type"] == "extra_forbidden":
                allowed = f"no such setting; {one_of(cls.model_fields, key)}"
            problems.append(ConfigProblem(path, f"settings.{key}", found, allowed))
        raise ConfigError(problems) from err
    except (TypeError, LabError) as err:
        problem = ConfigProblem(path, "settings", dict(settings), describe_error(err))
        raise ConfigError([problem]) from err


def _stands(
    bench: Bench,
    subjects: Mapping[str, Subject],
    rehearsals: Mapping[str, Rehearsal],
    places: Mapping[str, dict[str, Place]],
) -> dict[str, Stand]:
    factors = {rehearsal.clock_factor for rehearsal in rehearsals.values()}
    if len(factors) > 1:
        raise ArgumentError("clock_factor", sorted(factors), "one for all that share a bench")
    factor = factors.pop()
    for some in places.values():
        bench.places.update(some)

    def start(**change: Any) -> None:
        bench.start(factor, **change)

    stands = {}
    for name, subject in subjects.items():
        stand = Stand(bench, name, subject.cls, rehearsals[name], places[name][name].record)
        stand.served = start
        stand.wanted = subject.only
        stands[name] = stand
    return stands


def _looked(stand: Stand, subject: Subject, bench: Bench, progress: Progress | None) -> Report:
    stand.wanted = frozenset(subject.only) - set(stand.rehearsal.skip)
    begun_s = bench.clock.now_s()
    findings: list[Finding] = []
    told: set[str] = set()
    broken: LabError | None = None
    offers = {"class", "served", *(() if stand.record is None else ("inspector", "own"))}
    offers |= {"actions"} if stand.may_act else set()
    name = class_path(subject.cls)
    for n_look, look in enumerate(LOOKS):
        wanted = [c for c in look.clauses if c in stand.wanted]
        able = [c for c in wanted if CLAUSES[c].needs <= offers]
        if broken is None and able:
            try:
                _start_if_needed(stand, able)
                # one by one: what was found before a look broke off is kept
                for finding in look.look(stand):
                    if finding.clause in able:
                        findings.append(finding)  # noqa: PERF401
            except AdapterDied as err:
                seen = {f.clause for f in findings}
                findings += [_died(stand, c, err) for c in able if c not in seen] or [
                    _died(stand, able[-1], err)
                ]
            except BenchFailed as err:
                broken = err
            except LabError as err:
                findings += [stand.not_judged(c, str(err)) for c in able]
            except Exception as err:  # noqa: BLE001 - actor boundary: the author's rehearsal
                findings += [stand.not_judged(c, describe_error(err)) for c in able]
        if broken is not None:
            seen = {f.clause for f in findings}
            reason = f"the bench broke: {broken}"[:600]
            findings += [stand.not_judged(c, reason) for c in able if c not in seen]
        found = {f.clause for f in findings}
        ahead = {c for later in LOOKS[n_look + 1 :] for c in later.clauses}
        findings += [
            stand.not_applicable(c, "nothing here falls under it")
            for c in able
            if c not in found | ahead
        ]
        report = Report(name, tuple(findings))
        for clause in look.clauses:
            if clause in able and clause not in ahead and clause not in told:
                told.add(clause)
                if progress is not None:
                    progress(clause_line(report, clause))
    if broken is not None and not any(f.verdict is Verdict.FAILED for f in findings):
        raise broken
    order = list(CLAUSES)
    findings.sort(key=lambda f: order.index(f.clause))
    took_s = bench.clock.now_s() - begun_s
    return Report(name, tuple(findings), took_s, tuple(_notes(stand, offers)))


def _died(stand: Stand, clause: str, err: AdapterDied) -> Finding:
    return stand.judge(
        clause, False, did="this clause was looked at", expected="an adapter process that lives",
        happened=str(err)[-1500:], to_do="look at the last lines of its log",
    )  # fmt: skip


def _start_if_needed(stand: Stand, clauses: list[str]) -> None:
    if "C3" in clauses or not any("served" in CLAUSES[c].needs for c in clauses):
        return
    if stand.record is not None and stand.bench.is_dead:
        stand.restart()


def _notes(stand: Stand, offers: set[str]) -> Iterator[str]:
    if "own" in offers and stand.wants("D1", "D2", "D3", "D4"):
        spread = sorted({m.spec.silence_s for m in stand.cls.actions().values()})
        declared = ", ".join(f"{s:g}" for s in spread)
        yield f"silences were rehearsed with {stand.rehearsal.silence_s:g} s (declared: {declared} s)"
    for name, reason in stand.rehearsal.skip.items():
        yield f"{name} was left out: {reason}"
    lacking = [c for c in sorted(stand.wanted) if not CLAUSES[c].needs <= offers]
    if lacking and "actions" not in offers:
        yield f"nothing was moved; --with-actions looks at more: {', '.join(lacking)}"
    elif lacking:
        yield f"an adapter of the suite's own would be needed for {', '.join(lacking)}"
    if type(stand.rehearsal) is Rehearsal:
        yield "no rehearsal was found: write one beside the class, so that more can be judged"
