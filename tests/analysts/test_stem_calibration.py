import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "validation" / "stem_analyst.py"


def script():
    spec = importlib.util.spec_from_file_location("stem_analyst_validation", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.physics
def test_ninety_percent_intervals_hold_85_to_95_percent_of_the_truths():
    cases = script()
    columns = [cases.column_case(seed) for seed in range(5000, 5210)]
    films = [cases.film_case(seed) for seed in range(6000, 6210)]
    found = cases.summary(columns, films)
    assert found["cases"]["films seen"] >= 0.9 * len(films)
    assert found["alarms"] <= 4
    for name in ("columns all", "film thickness [ML]", "film width [ML]"):
        assert 0.85 <= found["table"][name]["0.9"] <= 0.95, name


def test_a_few_cases_of_the_calibration_are_as_sure_as_they_may_be():
    cases = script()
    columns = [cases.column_case(seed) for seed in range(7000, 7003)]
    table = cases.summary(columns, [cases.film_case(7000)])["table"]
    assert table["columns all"]["n"] > 150
    assert 0.78 <= table["columns all"]["0.9"] <= 0.97
    assert table["columns all"]["rms_error"] < 0.08
    assert table["film thickness [ML]"]["rms_error"] < 0.4


@pytest.mark.parametrize(
    ("fault", "sign"), [("stage_drift", "is_distorted"), ("defocus_jump", "is_blurred")]
)
def test_faults_that_no_number_shows_are_seen_in_the_lattice(fault, sign):
    cases = script()
    for is_faulty in (False, True):
        twin = cases.opened(cases.STEMTwin, seed=3, specimen="mos2")
        if is_faulty:
            twin.inject(fault)
        cases.act(twin, "set_optics", current_nA=0.06, inner_mrad=60.0)
        image = cases.act(twin, "scan", field_A=30.0, pixels=160)
        twin.disconnect()
        found = cases.ANALYST.compute("lattice", expected_a_A=3.16, **cases.seen_by_analyst(image))
        assert getattr(found, sign) is is_faulty
