"""Fixtures that several rooms need; one thread for torch and numpy, as compute agents have it."""

import os
from pathlib import Path

import pytest

# read when the libraries are loaded: small matrices take longer with more
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repository(pytestconfig) -> Path:
    """Return the folder of the checkout."""
    return pytestconfig.rootpath
