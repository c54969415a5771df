"""Fixtures that several rooms need; one thread for torch and numpy, as compute agents have it."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

# read when the libraries are loaded: small matrices take longer with more
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repository(pytestconfig) -> Path:
    """Return the folder of the checkout."""
    return pytestconfig.rootpath


@pytest.hookimpl(tryfirst=True)  # before the tests of other tiers are left out
def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Refuse a system test that `make test` would not find: it looks for the mark in the files."""
    marked = {item.path for item in items if item.get_closest_marker("system")}
    unseen = sorted(str(p) for p in marked if "mark.system" not in p.read_text(encoding="utf-8"))
    if unseen:
        raise pytest.UsageError(f"write pytest.mark.system in the file itself: {', '.join(unseen)}")
