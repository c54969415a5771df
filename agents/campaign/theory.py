"""The theory of a campaign: what a simulator says of itself, and what is believed of its parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from twinloop.planners.simulations import Prior, Theory
from twinloop.simulators.interface import Simulator, find_simulator

__all__ = ["prior_of", "theory_of", "theory_with"]


def theory_with(
    simulator: type[Simulator],
    priors: Mapping[str, Prior],
    observables: Sequence[str],
    *,
    simulation_h: float,
    experiment_h: float,
    at_most: int,
    is_maximised: bool = True,
) -> Theory:
    """Return a theory with the coordinates of its simulator.

    Args:
        simulator: what predicts.
        priors: belief about each parameter; one that is left out is what the simulator says of it.
        observables: the objective first.
        simulation_h: what one simulation costs [h].
        experiment_h: what one experiment costs [h].
        at_most: simulations in the whole campaign.
        is_maximised: False where a small objective is wanted.
    """
    return Theory(
        simulator=simulator.name,
        code="",
        # the journal sorts names; so does everybody who reads it
        priors=dict(sorted(priors.items())),
        observables=tuple(observables),
        is_maximised=is_maximised,
        simulation_h=simulation_h,
        experiment_h=experiment_h,
        left=at_most,
        coordinates=dict(simulator.coordinates),
        constants={n: value for n, value in simulator.absent.items() if n not in priors},
    )


def theory_of(config: Mapping[str, Any]) -> Theory | None:
    """Return the theory of a complete campaign file, as the journal keeps one; None without one."""
    section = config.get("theory")
    if section is None:
        return None
    return theory_with(
        find_simulator(section["simulator"]["name"]),
        {name: prior_of(given) for name, given in section["theta"].items()},
        section["observables"],
        simulation_h=section["simulator"]["cost_h"],
        experiment_h=section["experiment_h"],
        at_most=section["simulator"]["at_most"],
        is_maximised="maximise" in config["goal"],
    )


def prior_of(given: Mapping[str, Any]) -> Prior:
    """Return the prior that a section of a file says; a bound may be left out, or be None."""
    bounds = {k: given[k] for k in ("at_least", "at_most") if given.get(k) is not None}
    return Prior(given["mean"], given["sd"], **bounds)
