"""Torch is imported as a planner imports it: its warnings of the import are silenced there."""

from collections.abc import Callable

import pytest

from twinloop.planners.known import Known
from twinloop.planners.plain_bo import expected_warnings
from twinloop.planners.theory.belief import TheoryBelief, believe
from twinloop.planners.theory.calibration import calibrate, measured
from twinloop.planners.theory.emulator import fit_emulator
from twinloop.planners.theory_bo import TheoryBO


@pytest.fixture(autouse=True, scope="session")
def libraries() -> None:
    """Import torch, botorch and scipy's optimiser once."""
    TheoryBO().prepare()


@pytest.fixture
def believed() -> Callable[[Known], TheoryBelief]:
    """Return a function from what is known to the belief about it."""

    def belief_of(known: Known) -> TheoryBelief:
        with expected_warnings():
            emulator = fit_emulator(known, known.theory, None)
            found = measured(known, known.theory, emulator.scatter.numpy())
            calibration = calibrate(found, emulator, known.theory, 1)
            return believe(known, known.theory, emulator, calibration)

    return belief_of
