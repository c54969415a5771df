"""What a planner may know, made from the journal alone.

`known_at(state, ...)` is a pure function of the folded journal, so a proposal can be computed again
from the prefix that it names as its basis.
"""

import numpy as np

from twinloop.agents.campaign.state import CampaignState
from twinloop.planners.known import Known
from twinloop.planners.space import Space

__all__ = ["known_at"]


def known_at(state: CampaignState, space: Space, number: int) -> Known:
    """Return what proposal `number` may depend on, at this prefix of the journal.

    Observations stand in journal order; pending are the proposals that are ready or under way.
    The memo is that of the last proposal before `number`.
    """
    observed = state.observations
    x = np.array([state.proposed[t.number].x for t in observed]).reshape(-1, space.d)
    pending = np.array(
        [state.proposed[n].x for n in state.pending if n != number], dtype=np.float64
    ).reshape(-1, space.d)
    k = max((len(t.slack) for t in observed), default=0)
    return Known.of(
        space,
        x,
        np.array([[t.y] for t in observed], dtype=np.float64).reshape(-1, 1),
        y_sd=np.array([[t.y_sd] for t in observed]).reshape(-1, 1),
        slack=np.array([t.slack for t in observed]).reshape(len(observed), k),
        slack_sd=np.array([t.slack_sd for t in observed]).reshape(len(observed), k),
        pending=pending,
        basis=state.seq,
        proposal=number,
        campaign_seed=state.started.seed if state.started else 0,
        memo=state.proposed[number - 1].memo if 0 < number <= len(state.proposed) else {},
    )
