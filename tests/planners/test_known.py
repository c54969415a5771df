import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from twinloop.errors import ArgumentError
from twinloop.planners.known import (
    Known,
    Proposal,
    SimulationRequest,
    Simulations,
    Theory,
    proposal_seed,
)
from twinloop.planners.simulations import Prior

SPACE = {"a_K": (0, 1), "b_s": (0.1, 10, "log")}

THEORY = Theory(
    "kmc_growth",
    "kmc_growth v1 00",
    {"z_eV": Prior(1.3, 0.04, at_least=0.0), "a_K": Prior(0.0, 12.0)},
    ("quality", "trace"),
    coordinates={"u": "a_K / z_eV"},
    constants={"left_out_eV": 0.1},
)


def full_known(**changes):
    rng = np.random.default_rng(1)
    given = {
        "x": rng.random((3, 2)),
        "y": rng.standard_normal((3, 1)),
        "y_sd": rng.random((3, 1)),
        "slack": rng.standard_normal((3, 2)),
        "pending": rng.random((2, 2)),
        "features": {"trace": rng.random((3, 4)).astype(np.float32), "count": np.arange(3)},
        "theory": THEORY,
        "simulations": Simulations(
            x=rng.random((2, 2)),
            theta=rng.random((2, 2)),
            values=rng.random((2, 2)),
            exceeded=np.array([False, True]),
            pending_x=rng.random((1, 2)),
            pending_theta=rng.random((1, 2)),
        ),
        "basis": 41,
        "proposal": 5,
        "campaign_seed": 2**62 + 1,
        "memo": {"hyperparameters": {"y": [0.1, -1e-300, 1 / 3]}},
    } | changes
    return Known.of(SPACE, given.pop("x"), given.pop("y"), **given)


def across(known):
    header, arrays_sent = known.to_wire()
    frames = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in arrays_sent.items()}
    received = {name: np.frombuffer(b, t).reshape(s) for name, (t, s, b) in frames.items()}
    return Known.from_wire(json.loads(json.dumps(header)), received)


def test_known_crosses_the_wire_bit_for_bit():
    known = full_known()
    there = across(known)
    assert there == known
    assert there.memo["hyperparameters"]["y"] == [0.1, -1e-300, 1 / 3]
    assert there.features["trace"].dtype == np.float32
    assert there.simulations.exceeded.tolist() == [False, True]
    assert there.theory == THEORY
    assert list(there.theory.priors) == ["z_eV", "a_K"]
    assert there.seed == known.seed


def test_nothing_known_crosses_the_wire_as_well():
    known = Known.of(SPACE)
    assert across(known) == known
    assert (known.n, known.k, known.d) == (0, 0, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"y": np.array([[0.0], [0.0], [1e-300]])},
        {"pending": np.zeros((0, 2))},
        {"basis": 42},
        {"memo": {}},
        {"features": {}},
        {"simulations": None},
        {"simulations": None, "theory": None},
    ],
)
def test_known_that_differs_anywhere_is_not_equal(change):
    assert full_known(**change) != full_known()


@given(
    arrays(np.float64, (4,), elements=st.floats(0, 1)),
    st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_proposal_crosses_the_wire_bit_for_bit(x, number):
    request = SimulationRequest(x, {"barrier_eV": number, "a_K": 0.1}, number, "refine")
    sent = Proposal(
        x=x,
        source="kmc_growth",
        simulations=(request,),
        withdrawn=(3,),
        why={"gain": number},
        memo={"mode": [number]},
    )
    header, frames = sent.to_wire()
    got = Proposal.from_wire(json.loads(json.dumps(header)), frames)
    assert got == sent
    assert got.x.tobytes() == x.tobytes()
    assert got.simulations[0].theta == {"barrier_eV": number, "a_K": 0.1}
    assert (got.simulations[0].why, got.withdrawn) == ("refine", (3,))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"x": np.zeros((3, 1))}, "x"),
        ({"x": np.full((3, 2), 1.5)}, "x"),
        ({"x": np.zeros((2, 2))}, "x"),
        ({"y": np.zeros(3)}, "y"),
        ({"y": np.array([[0.0], [np.nan], [0.0]])}, "y"),
        ({"y_sd": np.full((3, 1), -0.1)}, "y_sd"),
        ({"slack": np.zeros((2, 1))}, "slack"),
        ({"pending": np.zeros((1, 3))}, "pending"),
        ({"pending": np.full((1, 2), -0.1)}, "pending"),
        ({"features": {"trace": np.zeros((2, 4))}}, "features.trace"),
        ({"memo": {"value": float("nan")}}, "memo"),
        ({"memo": {"value": np.zeros(2)}}, "memo"),
        ({"basis": -1}, "basis"),
        ({"simulations": Simulations.none(3, 2, 2)}, "simulations.x"),
        ({"simulations": Simulations.none(2, 1, 2)}, "simulations"),
        ({"theory": None}, "theory"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, name):
    with pytest.raises(ArgumentError) as caught:
        full_known(**change)
    assert caught.value.name == name


def test_simulations_need_one_row_of_everything():
    with pytest.raises(ArgumentError, match=r"simulations\.theta.*2 rows"):
        Simulations(
            x=np.zeros((2, 1)),
            theta=np.zeros((1, 1)),
            values=np.zeros((2, 1)),
            exceeded=np.zeros(2, dtype=bool),
            pending_x=np.zeros((0, 1)),
            pending_theta=np.zeros((0, 1)),
        )


def test_a_memo_of_any_size_leaves_the_header_small():
    """A header is bounded; what a planner remembers of twenty observables is not."""
    memo = {"waiting": [[k / 7 for k in range(400)] for _ in range(12)]}
    assert len(json.dumps(memo)) > 64 * 1024
    known = full_known(memo=memo)
    proposal = Proposal(x=np.full(2, 0.5), memo=memo)
    for header in (known.to_wire()[0], proposal.to_wire()[0]):
        assert len(json.dumps(header)) < 2048
    assert across(known).memo == memo
    assert Proposal.from_wire(*proposal.to_wire()).memo == memo


@pytest.mark.parametrize("text", [b"{", b"[1]", b"\xff"])
def test_a_memo_that_is_no_object_of_json_is_refused(text):
    header, frames = full_known().to_wire()
    with pytest.raises(ArgumentError, match="memo"):
        Known.from_wire(header, {**frames, "memo": np.frombuffer(text, np.uint8)})


def test_a_part_missing_on_the_wire_is_named():
    header, frames = full_known().to_wire()
    del frames["slack"]
    with pytest.raises(ArgumentError, match="a part called 'slack'"):
        Known.from_wire(header, frames)


def test_known_keeps_no_view_of_the_callers_array():
    x = np.full((1, 2), 0.5)
    known = Known.of(SPACE, x, [[1.0]])
    x[:] = 0.0
    assert known.x.tolist() == [[0.5, 0.5]]


def test_each_proposal_of_each_campaign_has_a_seed_of_its_own():
    seeds = {proposal_seed(campaign, number) for campaign in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)
