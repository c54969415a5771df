"""The engine against abTEM, an independent multislice code.

The cases are those of docs/validation/stem.py. Where abTEM is not installed, figures that it once
gave (abtem_reference.json, made by that script) stand in for a few of them.
"""

import importlib.util
import json
import sys
from types import ModuleType

import numpy as np
import pytest


def validation(rootpath) -> ModuleType:
    """Return docs/validation/stem.py as a module."""
    name = "stem_validation"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, rootpath / "docs/validation/stem.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def pytest_generate_tests(metafunc):
    module = validation(metafunc.config.rootpath)
    if "case" in metafunc.fixturenames:
        names = [f"{case.name} ({case.reference})" for case in module.CASES]
        metafunc.parametrize("case", module.CASES, ids=names)
    if "kept" in metafunc.fixturenames:
        metafunc.parametrize("kept", [c for c in module.CASES if c.name in module.KEPT])


@pytest.mark.physics
@pytest.mark.filterwarnings("ignore")
def test_every_detector_agrees_with_abtem(case, repository):
    pytest.importorskip("abtem", reason="abTEM is an optional oracle")
    module = validation(repository)
    assert max(module.compare(case).values()) < module.TARGET


def test_every_detector_agrees_with_the_figures_that_abtem_gave(kept, repository):
    module = validation(repository)
    found = json.loads((repository / "tests/simulators/stem/abtem_reference.json").read_text())
    mine = module.ours(kept)
    for name, image in found["cases"][kept.name].items():
        reference = np.array(image)
        assert np.abs(mine[name] - reference).max() < module.TARGET * reference.max()
