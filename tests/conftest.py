"""Fixtures that several rooms need."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository(pytestconfig) -> Path:
    """Return the folder of the checkout."""
    return pytestconfig.rootpath
