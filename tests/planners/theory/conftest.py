"""Torch is imported as a planner imports it: its warnings of the import are silenced there."""

import pytest

from twinloop.planners.theory_bo import TheoryBO


@pytest.fixture(autouse=True, scope="session")
def libraries() -> None:
    """Import torch, botorch and scipy's optimiser once."""
    TheoryBO().prepare()
