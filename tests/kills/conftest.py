"""Campaigns in processes of their own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twinloop.agents.kills.campaign_run import CampaignRun, small_campaign


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., CampaignRun]]:
    """Return what starts a small campaign; nothing of it is left after the test."""
    runs: list[CampaignRun] = []

    def start(**change: Any) -> CampaignRun:
        runs.append(CampaignRun(tmp_path / f"r{len(runs)}", small_campaign(**change)))
        runs[-1].start()
        return runs[-1]

    yield start
    for run in runs:
        run.close()
