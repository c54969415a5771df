"""Random processes of a campaign are killed at random moments; the audit says what was lost.

    python -m twinloop.agents.kills --seed 7 --kills 20 --experiments 12

Who and when follow from the seed; what the victims were doing at that moment does not, so a seed is
a name for a schedule and not a replay.
"""

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinloop.agents.kills.audit import audit
from twinloop.agents.kills.campaign_run import CampaignRun, small_campaign

__all__ = ["EVERYTHING", "WEIGHTS", "WEIGHTS_WITH_RAY", "Tally", "kill_at_random"]

EVERYTHING = "everything"
WEIGHTS: Mapping[str, int] = {
    "conductor": 3,
    "adapter": 3,
    "hub": 2,
    "watchdog": 1,
    "machine": 1,
    "janitor": 1,
    "supervisor": 2,
    EVERYTHING: 1,
}
"""How often each victim is drawn, in relation to the others."""

WEIGHTS_WITH_RAY: Mapping[str, int] = {
    **WEIGHTS,
    "worker": 3,
    "raylet": 1,
    "gcs_server": 1,
    "ray_host": 1,
}
"""The same where compute agents are Ray actors."""

_SHORTEST_S, _LONGEST_S = 0.2, 6.0
_ORPHANS_S = 10.0
_STUCK_S = 90.0


@dataclass(frozen=True)
class Tally:
    """What came of it.

    Args:
        violations: broken promises, in words; empty is what we want.
        kills: how often each victim was killed.
        observations: trials that ended with a value.
        failed: trials that ended without one, with their reasons.
        growths: growths that the machine began.
        longest_recovery_s: longest time from a kill to the next thing that was written down [s].
    """

    violations: tuple[str, ...]
    kills: Mapping[str, int]
    observations: int
    failed: tuple[str, ...]
    growths: int
    longest_recovery_s: float


def kill_at_random(
    home: Path,
    seed: int,
    *,
    kills: int = 6,
    experiments: int = 4,
    with_ray: bool = False,
) -> Tally:
    """Run a campaign to its end with kills on the way, and audit it.

    Args:
        home: a folder for it.
        seed: of who is killed, and when.
        kills: how many, unless the campaign ends before.
        experiments: how many films.
        with_ray: compute agents are Ray actors, not threads of the conductor.

    Raises:
        DidNotHappen: it does not come to an end, or a process outlives its supervisor.
    """
    rng = random.Random(seed)  # noqa: S311 (a schedule, no secret)
    weights = WEIGHTS_WITH_RAY if with_ray else WEIGHTS
    campaign = small_campaign(experiments, in_process=not with_ray, seed=seed)
    run = CampaignRun(home, campaign)
    killed: Counter[str] = Counter()
    longest_s = 0.0
    run.start()
    try:
        for _ in range(kills):
            _let_pass(run, rng.uniform(_SHORTEST_S, _LONGEST_S))
            victim = rng.choices(list(weights), list(weights.values()))[0]
            if run.is_finished():
                break
            n_events = len(run.events())
            begun_s = time.monotonic()
            _kill(run, victim)
            killed[victim] += 1
            _await_news(run, n_events, f"life after the {victim}")
            longest_s = max(longest_s, time.monotonic() - begun_s)
        run.until_finished(_STUCK_S)
    finally:
        run.close()
    ended = run.events("trial_ended")
    return Tally(
        violations=tuple(audit(run.folder)),
        kills=dict(killed),
        observations=sum(1 for e in ended if e.y is not None),
        failed=tuple(e.reason for e in ended if e.y is None),
        growths=len(run.effects("growth_started")),
        longest_recovery_s=longest_s,
    )


def _kill(run: CampaignRun, victim: str) -> None:
    if victim == EVERYTHING:
        run.kill_everything()
    else:
        run.kill(victim)
    if victim in {"supervisor", EVERYTHING}:
        run.until(lambda: not run.processes(), "the end of all orphans", _ORPHANS_S)
        run.resume()


def _await_news(run: CampaignRun, n_events: int, what: str) -> None:
    run.until(lambda: _is_mended(run) and len(run.events()) > n_events, what, _STUCK_S)


def _is_mended(run: CampaignRun) -> bool:
    """Do what a person does when one child died too often within a minute."""
    if run.has_ended_in_trouble():
        run.resume()
    return True


def _let_pass(run: CampaignRun, lasts_s: float) -> None:
    end_s = time.monotonic() + lasts_s
    run.until(
        lambda: _is_mended(run) and (time.monotonic() > end_s or run.is_finished()),
        "a moment",
        lasts_s + 60.0,
    )
