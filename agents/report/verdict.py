"""The head of the page: what came out, how sure it is, and in which laboratory."""

from collections.abc import Mapping
from typing import Any

from twinloop.agents.report.aims import Aim
from twinloop.agents.report.choice import Choice, choice_of
from twinloop.agents.report.costs import lab_s
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.markup import note, pill, text
from twinloop.agents.report.words import duration, number, plural, quantity, title, with_sd

__all__ = ["head"]


def head(history: History) -> str:
    """Return title, state, clock, verdict and the main figures."""
    return "".join(
        [
            f"<header><h1>{text(campaign_name(history))}</h1>",
            f'<p class="sub">{_origin(history)}</p><p>{_state(history)}</p></header>',
            _clock(history),
            _verdict(history),
            _facts(history),
        ]
    )


def campaign_name(history: History) -> str:
    """Return the name of the campaign."""
    return history.started.campaign if history.started else "A campaign without a beginning"


def _origin(history: History) -> str:
    started = history.started
    if started is None:
        return "The journal does not say what was asked for."
    parts = [
        f"protocol <code>{text(started.protocol)}</code> v{started.protocol_version}",
        f"planner <code>{text(started.planner)}</code> v{started.planner_version}",
        f"seed {started.seed}",
        f"began {text(history.first_at[:16].replace('T', ' '))} UTC",
    ]
    return " · ".join(parts)


def _state(history: History) -> str:
    if history.finished is not None:
        return pill("finished", "good") + f" {text(history.finished.reason)}"
    n_open = sum(1 for t in history.trials.values() if t.started and not t.ended)
    words = (
        f"The journal ends {duration(history.end_s)} into the campaign with "
        f"{plural(n_open, 'trial')} under way: it is still running, or it was stopped. "
        "What follows is the state at that moment."
    )
    return pill("not finished", "bad") + f" {text(words)}"


def _clock(history: History) -> str:
    """Return the laboratory's clock in plain words: nobody may take a simulation for a machine."""
    leases = {lease.instrument: lease for lease in history.leases}
    factor = history.started.clock_factor if history.started else 1.0
    factors = sorted({lease.clock_factor for lease in leases.values()} | {factor})
    shown = " and ".join(f"\N{MULTIPLICATION SIGN} {number(f)}" for f in factors)
    twins = [name for name, lease in leases.items() if lease.is_twin]
    real = [name for name, lease in leases.items() if not lease.is_twin]
    if not leases:
        who = "No instrument was leased."
    elif not real:
        who = f"Simulated laboratory: {_listed(twins)} {_are(twins)} no machine."
    elif not twins:
        who = f"Real instruments: {_listed(real)}."
    else:
        who = f"Real: {_listed(real)}. Simulated: {_listed(twins)}."
    pace = (
        "Laboratory time is real time."
        if factors == [1.0]
        else "So many laboratory seconds passed in one real second; laboratory times below are "
        "what the processes would have lasted, not what anybody waited."
    )
    return (
        f'<div class="clock"><b>Laboratory clock {text(shown)}.</b> {text(who)} {text(pace)}</div>'
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names)


def _are(names: list[str]) -> str:
    return "is a twin," if len(names) == 1 else "are twins,"


def _verdict(history: History) -> str:
    aim, best = history.aim, history.best
    name = title(aim.objective) if aim.objective else "objective"
    if best is None:
        return f'<div class="verdict"><p class="lead">{text(_why_none(history))}</p></div>'
    sd = best.ended.y_sd if best.ended else 0.0
    direction = "Highest" if aim.is_maximised else "Lowest"
    unit = quantity(aim.objective, 0.0)[1:]
    conditions = "".join(
        f"<li>{text(title(knob))} <b>{text(quantity(knob, value))}</b></li>"
        for knob in history.knobs
        if (value := best.point.get(knob)) is not None
    )
    sentences = "".join(f"<p>{text(words)}</p>" for words in _remarks(history, best, sd))
    return (
        f'<div class="verdict"><span class="sub">{direction} {text(name)} measured, '
        f"in {text(best.id)}</span>"
        f'<div class="value">{text(with_sd(history.value(best), sd))}{text(unit)}</div>'
        f'<ul class="at">{conditions}</ul>{sentences}</div>'
    )


def _why_none(history: History) -> str:
    if history.observations:
        return (
            f"No experiment keeps the constraints ({_bounds_text(history.aim)}): there is no best "
            f"one among {plural(len(history.observations), 'observation')}."
        )
    n = len(history.trials)
    return f"No observation yet: {plural(n, 'trial')} begun, none with a result."


def _remarks(history: History, best: TrialHistory, sd: float) -> list[str]:
    observed = history.observations
    remarks = []
    first = observed[0]
    if first is not best:
        gain = f"The first experiment gave {number(history.value(first))}"
        opening = [
            t.y for t in observed if choice_of(t.proposed) is Choice.OPENING and t.is_feasible
        ]
        opening_best = max((y for y in opening if y is not None), default=None)
        if opening_best is not None and choice_of(best.proposed) is not Choice.OPENING:
            natural = number(history.aim.natural(opening_best))
            gain += f", the best of {plural(len(opening), 'opening point')} {natural}"
        remarks.append(gain + ".")
    remarks.append(_certainty(observed, best, sd))
    if history.aim.bounds:
        n_out = sum(1 for t in observed if not t.is_feasible)
        kept = f"{n_out} of {len(observed)} observations broke them" if n_out else "all kept them"
        remarks.append(f"Constraints: {_bounds_text(history.aim)}; {kept}.")
    return remarks


def _certainty(observed: list[TrialHistory], best: TrialHistory, sd: float) -> str:
    """Say how sure the best is: it is the luckiest of several noisy measurements as well."""
    if sd <= 0:
        return "No standard deviation is known for it, so nothing says how repeatable it is."
    spread = 2 * 2**0.5 * sd
    near = sum(
        1
        for t in observed
        if t is not best and t.is_feasible and (best.y or 0.0) - (t.y or 0.0) < spread
    )
    ties = (
        f"{plural(near, 'other experiment')} cannot be told apart from it (within two standard "
        "deviations of the difference). "
        if near
        else "It stands out from every other experiment by more than two standard deviations of "
        "the difference. "
    )
    if len(observed) == 1:
        return "It is the only observation; ± is one standard deviation of the measurement."
    return (
        f"± is one standard deviation of the measurement. {ties}As the best of "
        f"{len(observed)} noisy values it is likely to be a little flattered: repeat it before "
        "relying on it."
    )


def _bounds_text(aim: Aim) -> str:
    return ", ".join(f"{title(name)} {words}" for name, words in aim.bounds.items()) or "none named"


def _facts(history: History) -> str:
    budget = _budget(history.config)
    observed, failed = len(history.observations), len(history.ended) - len(history.observations)
    n_wanted = f" of {budget['experiments']}" if "experiments" in budget else ""
    lab_budget = f"; {number(budget['lab_h'])} h allowed" if budget.get("lab_h") else ""
    restarts = max(len(history.lives) - 1, 0)
    gap_s = history.elapsed_s - history.end_s
    away = f", {duration(gap_s)} more between lives" if gap_s > 1 and restarts else ""
    facts = [
        (f"{observed}{n_wanted}", f"observations; {failed} without result"),
        (duration(lab_s(history)), f"laboratory time, summed over instruments{lab_budget}"),
        (duration(history.end_s), f"real time led{away}"),
        (
            str(restarts),
            "restart of the conductor" if restarts == 1 else "restarts of the conductor",
        ),
    ]
    if history.simulated:
        n_done = sum(event.state == "done" for event in history.simulated)
        cpu_s = sum(event.cpu_s for event in history.simulated)
        facts.insert(2, (str(n_done), f"simulations of theory; {duration(cpu_s)} of CPU time"))
    boxes = "".join(f"<div><b>{text(a)}</b><span>{text(b)}</span></div>" for a, b in facts)
    extra = (
        note("Observations stand in the journal; every figure here is made from it alone.")
        if observed
        else ""
    )
    return f'<div class="facts">{boxes}</div>{extra}'


def _budget(config: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = config.get("campaign")
    for place in (config, inner if isinstance(inner, Mapping) else {}):
        found = place.get("budget")
        if isinstance(found, Mapping):
            return found
    return {}
