"""The section "Theory in the loop": what theory said, how far it was followed, and what it cost."""

import math
from collections.abc import Sequence

from twinloop.agents.report.belief import Slice, slice_of
from twinloop.agents.report.belief_figure import draw_belief
from twinloop.agents.report.decisions import (
    Theta,
    carried,
    decisions,
    figure_of,
    has_theory,
    off_since,
    scores,
)
from twinloop.agents.report.evidence import Evidence
from twinloop.agents.report.history import History, TrialHistory
from twinloop.agents.report.markup import figure, note, table, text
from twinloop.agents.report.simulations_section import how_busy, what_they_bought
from twinloop.agents.report.theory_figures import (
    draw_foresight,
    draw_theta,
    draw_weight,
    foreseen,
)
from twinloop.agents.report.words import NONE, label, number, plural, title, with_sd

__all__ = ["in_the_loop"]

_LIMIT_SD = 2.0


def in_the_loop(history: History, evidence: Evidence) -> str:
    """Return the section; "" for a campaign without theory."""
    if not has_theory(history):
        return ""
    truth = _truth(history, evidence)
    return "".join(
        [
            f'<p class="lead">{text(_verdict(history))}</p>',
            _weight(history),
            _theta(history, truth),
            _foresight(history),
            _belief(history, evidence),
            what_they_bought(history),
            how_busy(history),
        ]
    )


def _verdict(history: History) -> str:
    """Say in two sentences what part theory had."""
    n, m = carried(history)
    words = []
    if m:
        words.append(f"Theory carried the choice in {n} of {plural(m, 'experiment')}.")
    off = off_since(history)
    weights = [d.figure("theory_weight") for d in decisions(history)]
    known = [weight for weight in weights if weight is not None]
    if off is not None:
        words.append(
            f"Theory was switched off at experiment {off}: compared with a model without theory "
            "after each experiment, its weight had fallen to 0; it had no say from then on."
        )
    elif known:
        words.append(
            f"It was never switched off for good; its weight began at {number(known[0], 2)} and "
            f"ended at {number(known[-1], 2)}."
        )
    done = sum(s.state == "done" for s in history.simulated)
    words.append(f"{plural(done, 'simulation')} answered.")
    return " ".join(words)


def _weight(history: History) -> str:
    picture = draw_weight(history)
    if not picture:
        return ""
    found = "<h3>Theory against no theory</h3>" + figure(
        picture,
        "Above: the weight of theory against a model that knows the experiments alone, at each "
        "decision; dots are experiments, by who chose them. Below: by how much theory foresaw the "
        "objective of each experiment better (up) or worse (down) than that model, as the "
        "difference of their logarithmic predictive densities; the weight counts everything that "
        "was measured.",
    )
    pairs = [(a, b) for a, b in scores(history) if a is not None and b is not None]
    if not pairs:
        return found
    theory, plain = (sum(side) / len(pairs) for side in zip(*pairs, strict=True))
    return found + note(
        f"Mean logarithmic score of {plural(len(pairs), 'experiment')} foreseen by both: theory "
        f"{number(theory, 3)}, without theory {number(plain, 3)}; the larger, the better."
    )


def _truth(history: History, evidence: Evidence) -> dict[str, float]:
    """Return the hidden numbers of the stand-in, only once the campaign is over."""
    if history.finished is None:
        return {}
    found: dict[str, float] = {}
    for body in evidence.truths().values():
        for name, value in body.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, float(value))
    return found


def _theta(history: History, truth: dict[str, float]) -> str:
    found = [d.theta for d in decisions(history) if d.theta is not None]
    if not found:
        return note("The planner left no calibration of theory.")
    last = found[-1]
    hidden = {name: truth[name] for name in last.names if name in truth}
    caption = (
        "What all experiments together say of the parameters of theory, at each decision; between "
        "two whole numbers only simulations came in. "
    )
    if hidden:
        caption += (
            "The line is what the stand-in really was, from its own sealed file, opened after the "
            "campaign."
        )
    elif history.finished is None:
        caption += "The hidden truth stays sealed until the campaign has ended."
    else:
        caption += "No truth is known for these parameters."
    return (
        "<h3>The parameters of theory</h3>"
        + figure(draw_theta(history, hidden), caption)
        + _theta_table(last, hidden)
    )


def _theta_table(last: Theta, hidden: dict[str, float]) -> str:
    rows = []
    for n, name in enumerate(last.names):
        mean, sd, value = last.mean[n], last.sd[n], hidden.get(name)
        cells = [
            text(label(name)),
            text(with_sd(last.prior_mean[n], last.prior_sd[n])),
            text(with_sd(mean, sd)),
            f"{sd / last.prior_sd[n]:.0%}",
        ]
        if hidden:
            off = NONE if value is None or sd <= 0 else f"{abs(mean - value) / sd:.1f} sd"
            cells += [text(number(value)), text(off)]
        rows.append(("", cells))
    heads = ["parameter", "prior", "posterior", "sd left"]
    heads += ["hidden truth", "posterior off by"] if hidden else []
    return table(heads, rows, range(1, len(heads)))


def _foresight(history: History) -> str:
    told = foreseen(history)
    if not told:
        return ""
    sigmas = [_off(trial) for trial in told]
    n_far = sum(value > _LIMIT_SD for value in sigmas if value is not None)
    errors = {who: _error(told, who) for who in ("theory", "plain")}
    words = (
        "Calibrated theory with its learned error, ± one standard deviation, as it stood before "
        f"each experiment; {n_far} of {len(told)} measurements lay more than two standard "
        "deviations off. Root mean square error: theory "
        f"{number(errors['theory'], 2)}"
    )
    if errors["plain"] is not None:
        words += f", without theory {number(errors['plain'], 2)}"
    caption = words + ". Experiments of which theory had said nothing have no blue dot."
    return "<h3>Predicted and measured</h3>" + figure(draw_foresight(history), caption)


def _said(trial: TrialHistory, name: str) -> float | None:
    return None if trial.proposed is None else figure_of(trial.proposed.why, name)


def _off(trial: TrialHistory) -> float | None:
    mean, sd, ended = _said(trial, "theory_mean"), _said(trial, "theory_sd"), trial.ended
    if mean is None or sd is None or ended is None or ended.y is None:
        return None
    both = math.hypot(sd, ended.y_sd)
    return abs(ended.y - mean) / both if both > 0 else None


def _error(told: Sequence[TrialHistory], who: str) -> float | None:
    squares = [
        (t.y - mean) ** 2
        for t in told
        if (mean := _said(t, f"{who}_mean")) is not None and t.y is not None
    ]
    return math.sqrt(sum(squares) / len(squares)) if squares else None


def _belief(history: History, evidence: Evidence) -> str:
    if not history.observations:
        return ""
    found: Slice | str
    try:
        found = slice_of(history, evidence)
    # a planner of anybody's, asked once more: its failure must not cost the section
    except Exception as err:  # noqa: BLE001
        found = f"{type(err).__name__}: {err}"
    head = "<h3>What is believed in the end</h3>"
    if isinstance(found, str):
        return head + note(f"No map: the planner gave no belief ({found[:300]}).")
    return head + figure(draw_belief(history, found), _belief_caption(found))


def _belief_caption(found: Slice) -> str:
    words = (
        "Asked of the planner with the whole journal: the objective it expects, without "
        "measurement noise, and how sure it is. "
    )
    if found.n_knobs > len(found.axes):
        over = " and ".join(title(axis.name) for axis in found.axes)
        words += (
            f"The slice spans {over}, along which the expected objective varies most, and goes "
            f"through the best experiment, {found.through.id} (ringed). The larger a dot, the "
            "nearer the experiment was to the slice."
        )
    else:
        words += f"Dots are the experiments; ringed is the best, {found.through.id}."
    return words
