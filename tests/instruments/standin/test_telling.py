import numpy as np
import pytest
from pydantic import ValidationError

from twinloop.instruments.standin.interface import Progress
from twinloop.instruments.standin.telling import result_of
from twinloop.results import Array, Result


class Seen(Result):
    heights_A: Array
    lines: int
    is_complete: bool
    mode: str


TOLD = {"lines": 8.0, "is_complete": 0.0, "elsewhere": 3.0}


def progress(**numbers):
    return Progress(state="done", numbers=TOLD | numbers, arrays={"heights_A": np.arange(3.0)})


def test_numbers_and_arrays_find_their_fields_and_the_rest_stays_out():
    seen = result_of(Seen, progress(), mode="slow")
    assert (seen.lines, seen.is_complete, seen.mode) == (8, False, "slow")
    assert type(seen.lines) is int
    assert seen.heights_A.tolist() == [0.0, 1.0, 2.0]


def test_what_is_given_comes_before_what_was_told():
    assert result_of(Seen, progress(), mode="slow", lines=2).lines == 2


def test_a_count_that_is_not_whole_is_refused():
    with pytest.raises(ValidationError, match="lines"):
        result_of(Seen, progress(lines=7.5), mode="slow")


def test_a_field_that_nobody_told_is_missed():
    with pytest.raises(ValidationError, match="mode"):
        result_of(Seen, progress())
