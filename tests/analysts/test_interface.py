import numpy as np
import pytest
from pydantic import ValidationError

from twinloop.analysts.interface import Analyst, Quantity, find_analyst, quantity
from twinloop.analysts.rheed import RHEEDAnalyst
from twinloop.errors import ArgumentError


class Photometer(Analyst, name="photometer_of_these_tests"):
    """Says how bright a frame is."""

    dark_counts: float = 0.0

    @quantity
    def brightness(self, *, frame: np.ndarray) -> float:
        """Return the mean above dark."""
        return float(frame.mean()) - self.dark_counts


def test_quantities_are_plain_functions_that_take_the_analyst_first():
    function = Photometer.quantities()["brightness"]
    assert function(Photometer(dark_counts=1.0), frame=np.full(4, 3.0)) == 2.0


def test_an_instance_gives_the_bound_function_and_the_class_the_quantity():
    assert isinstance(Photometer.brightness, Quantity)
    assert Photometer().brightness(frame=np.full(4, 3.0)) == 3.0
    assert Photometer().compute("brightness", frame=np.full(4, 3.0)) == 3.0


def test_settings_are_frozen_and_checked():
    with pytest.raises(ValidationError):
        Photometer(darkness=1.0)
    with pytest.raises(ValidationError):
        Photometer().dark_counts = 2.0


def test_unknown_quantities_and_arguments_are_refused_by_name():
    with pytest.raises(ArgumentError, match="brightness"):
        Photometer().compute("colour")
    with pytest.raises(ArgumentError, match="frame"):
        Photometer().compute("brightness", picture=1)


def test_a_positional_argument_is_refused_where_it_is_written():
    with pytest.raises(ArgumentError, match="keyword-only"):

        class Sloppy(Analyst):
            @quantity
            def brightness(self, frame: np.ndarray) -> float:
                return float(frame.mean())


def test_a_subclass_inherits_quantities():
    class Better(Photometer, name="test_better"):
        """Adds nothing."""

    assert set(Better.quantities()) == {"brightness"}


def test_an_analyst_is_found_by_name_and_by_module():
    assert find_analyst("photometer_of_these_tests") is Photometer
    assert find_analyst("twinloop.analysts.rheed:RHEEDAnalyst") is RHEEDAnalyst
    with pytest.raises(ArgumentError, match="photometer_of_these_tests"):
        find_analyst("nobody")
    with pytest.raises(ArgumentError, match="derived from Analyst"):
        find_analyst("twinloop.analysts.rheed:Quality")
