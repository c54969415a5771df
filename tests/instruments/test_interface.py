"""Arguments that are no quantities: words, numbers of pixels, lists; checked, and carried as JSON."""

import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from twinloop.errors import ArgumentError, LimitViolation
from twinloop.ids import canonical_json
from twinloop.instruments.interface import Instrument, Limit, OnSilence, Recovery, action
from twinloop.units import Volts

Pixels = Annotated[int, Field(ge=8, le=1024)]


class Scanner(Instrument, kind="scanner"):
    """Takes one argument of each sort."""

    def connect(self) -> None: ...
    def safe_state(self) -> None: ...

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
    async def scan(
        self,
        *,
        mode: Literal["constant_current", "constant_height"] = "constant_current",
        pixels: Pixels = 128,
        lines: int = 4,
        is_slow: bool = False,
        frame: tuple[int, int] = (1, 1),
        angles_deg: tuple[float, ...] = (),
        bias_V: Volts = 1.0,
        note: str | None = None,
    ) -> None:
        """Scan."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
    async def must(self, *, mode: Literal["up", "down"]) -> None:
        """Demand a word."""


SCAN = Scanner.actions()["scan"].spec
WHERE = "stm.scan"


def checked(**given: Any) -> Any:
    (name,) = given
    return SCAN.check(given, WHERE)[name]


@pytest.mark.parametrize(
    ("name", "value", "carried"),
    [
        ("mode", "constant_height", "constant_height"),
        ("pixels", 8, 8),
        ("pixels", 1024, 1024),
        ("lines", -3, -3),
        ("is_slow", True, True),
        ("frame", (3, 4), [3, 4]),
        ("frame", [3, 4], [3, 4]),
        ("angles_deg", (), []),
        ("angles_deg", (0.5, 90), [0.5, 90.0]),
        ("note", None, None),
        ("note", "left edge", "left edge"),
    ],
)
def test_what_fits_is_carried_as_json(name, value, carried):
    found = checked(**{name: value})
    assert found == carried
    assert type(found) is type(carried)
    assert json.loads(canonical_json(found)) == carried


@pytest.mark.parametrize("value", [(3, 4), [3, 4]])
def test_what_was_checked_once_may_be_checked_again(value):
    """The campaign checks, then the adapter, then the device at the moment of execution."""
    once = SCAN.check({"frame": value}, WHERE)
    assert SCAN.check(once, WHERE)["frame"] == once["frame"] == [3, 4]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "fast"),
        ("mode", ""),
        ("mode", 1),
        ("mode", None),
        ("mode", ["constant_height"]),
        ("pixels", 7),
        ("pixels", 1025),
        ("pixels", 9.5),
        ("pixels", "many"),
        ("pixels", None),
        ("lines", [1]),
        ("is_slow", 2),
        ("is_slow", "perhaps"),
        ("is_slow", None),
        ("frame", (1,)),
        ("frame", (1, 2, 3)),
        ("frame", (1.5, 2)),
        ("frame", 3),
        ("frame", "12"),
        ("angles_deg", (1.0, "north")),
        ("angles_deg", 1.0),
        ("note", 3),
    ],
)
def test_what_does_not_fit_is_refused_by_name(name, value):
    with pytest.raises(ArgumentError, match=rf"^stm\.scan\.{name}: "):
        checked(**{name: value})


def test_a_refusal_says_which_words_are_allowed():
    with pytest.raises(ArgumentError, match="'constant_current' or 'constant_height'"):
        checked(mode="fast")


def test_a_refusal_says_between_what_a_number_must_lie():
    with pytest.raises(ArgumentError, match="greater than or equal to 8"):
        checked(pixels=7)


def test_quantities_are_checked_as_before():
    assert checked(bias_V=2) == 2.0
    for wrong in (True, "1.0", None, float("nan"), float("inf")):
        with pytest.raises(ArgumentError, match=r"^stm\.scan\.bias_V: "):
            checked(bias_V=wrong)


def test_what_is_not_given_is_the_default():
    assert SCAN.check({}, WHERE)["mode"] == "constant_current"
    assert SCAN.check({}, WHERE)["pixels"] == 128


def test_an_argument_that_it_does_not_know_is_refused():
    with pytest.raises(ArgumentError, match=r"stm\.scan\.speed: .*lines"):
        SCAN.check({"speed": 3}, WHERE)


def test_an_argument_without_a_default_must_be_given():
    with pytest.raises(ArgumentError, match=r"stm\.must\.mode"):
        Scanner.actions()["must"].spec.check({}, "stm.must")


def test_the_schema_says_what_sort_an_argument_is():
    described = SCAN.describe()["parameters"]
    assert "type" not in described["bias_V"]
    assert all("type" in described[name] for name in ("mode", "pixels", "frame", "is_slow"))
    json.dumps(described)


# --- not so yet ---------------------------------------------------------------------------------

Lines = Annotated[int, Limit(16, 512)]


class Imager(Instrument, kind="imager"):
    """Has a limit on a number that has no unit."""

    def connect(self) -> None: ...
    def safe_state(self) -> None: ...

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
    async def image(self, *, lines: Lines = 32) -> None:
        """Image."""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lines", True),
        ("lines", "5"),
        ("is_slow", 1),
        ("is_slow", "yes"),
        ("frame", (True, "3")),
        ("angles_deg", (float("nan"),)),
        ("angles_deg", (float("inf"),)),
    ],
)
def test_nothing_is_taken_for_something_else(name, value):
    with pytest.raises(ArgumentError, match=rf"^stm\.scan\.{name}"):
        checked(**{name: value})


def test_a_limit_on_a_number_without_a_unit_is_kept():
    with pytest.raises(LimitViolation):
        Imager.actions()["image"].spec.check({"lines": 4}, "camera.image")


def test_defaults_are_carried_as_json_too():
    assert SCAN.check({}, WHERE)["frame"] == [1, 1]


def test_a_word_that_is_missing_is_not_called_a_number():
    with pytest.raises(ArgumentError, match="'up'"):
        Scanner.actions()["must"].spec.check({}, "stm.must")


def test_the_schema_changes_with_the_words_and_bounds_that_are_allowed():
    described = SCAN.describe()["parameters"]
    assert "constant_height" in json.dumps(described["mode"])
    assert "1024" in json.dumps(described["pixels"])


@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_that_no_number_holds_is_refused_as_an_argument(sign: int) -> None:
    # found by the conformance suite: it ended the adapter process
    spec = Scanner.actions()["scan"].spec
    for name in ("bias_V", "lines", "pixels"):
        with pytest.raises(ArgumentError):
            spec.check({name: sign * 10**400}, "scanner.scan")


def test_a_limit_is_described_alike_whichever_equal_type_was_made_first() -> None:
    described = set()
    for limit in (Limit(-4177, 4177, 2), Limit(-4177.0, 4177.0, 2.0)):
        kind = Annotated[Volts, limit]

        class Source(Instrument, kind="source"):
            def connect(self) -> None: ...
            def safe_state(self) -> None: ...

            @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.HOLD)
            async def hold(self, *, bias_V: kind) -> None:  # type: ignore[valid-type]
                """Hold."""

        described.add(canonical_json(Source.describe()["actions"]["hold"]["parameters"]))
    assert described == {b'{"bias_V":{"high":4177.0,"low":-4177.0,"rate_per_s":2.0,"unit":"V"}}'}
