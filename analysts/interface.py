"""Write an analyst: from raw measurements to quantities with their uncertainty.

An analyst is one class in one file. Its fields are settings; each method marked `@quantity` is a
pure function of its keyword arguments, numbers and arrays, and returns a number, an array or a
`Result`:

    from twinloop.analysts.interface import Analyst, quantity
    from twinloop.results import Array, Result


    class Brightness(Result):
        mean: float
        mean_sd: float


    class Photometer(Analyst, name="photometer"):
        '''Says how bright a frame is.'''

        dark_counts: float = 0.0

        @quantity
        def brightness(self, *, frame: Array) -> Brightness:
            counts = frame - self.dark_counts
            return Brightness(
                mean=float(counts.mean()), mean_sd=float(counts.std() / counts.size**0.5)
            )

A protocol names the class as the type of an argument, passes arrays on without ever loading them,
and awaits: `seen = await analyst.brightness(frame=frame)`. The function itself runs on a compute
agent, which has the arrays. Hence two rules: no state, no clock, no random numbers (the same
arguments give the same answer wherever it runs), and no error for data that are merely poor: say so
with a large standard deviation. State one for every number that a planner may use.

In plain Python: `Photometer().compute("brightness", frame=frame)`. An analyst is found by its name
once its module is imported, by an entry point of the group `twinloop.analysts`, or as
`module:Name` (`find_analyst`).
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, TypeVar, overload

from pydantic import BaseModel, ConfigDict

from twinloop.errors import ArgumentError
from twinloop.plugins import find_class

__all__ = ["Analyst", "Quantity", "find_analyst", "quantity"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Quantity(Generic[P, R]):
    """A method that computes; made by `@quantity`.

    Args:
        function: the plain function, `self` first, then keyword arguments only.

    Raises:
        ArgumentError: a positional argument.
    """

    def __init__(self, function: Callable[..., R]) -> None:
        for parameter in list(inspect.signature(function).parameters.values())[1:]:
            if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                name = f"{function.__qualname__}.{parameter.name}"
                raise ArgumentError(name, "positional", "keyword-only: write *, first")
        self.function = function
        self.__doc__ = function.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> "Quantity[P, R]": ...
    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Awaitable[R]]: ...
    def __get__(self, instance: object | None, owner: type) -> Any:
        """Return the quantity on the class; on an instance the bound plain function.

        A protocol never holds an instance but a stand-in whose calls are awaited, hence the type.
        """
        return self if instance is None else self.function.__get__(instance, owner)


def quantity(function: Callable[Concatenate[S, P], R]) -> Quantity[P, R]:
    """Make a method a quantity that protocols may await."""
    return Quantity(function)


class Analyst(BaseModel):
    """Base of every analyst; a subclass's fields are its settings.

    Class attributes:
        name: how a campaign file calls it; given as `class Mine(Analyst, name="mine")`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(Quantity,))
    name: ClassVar[str] = ""

    def __init_subclass__(cls, name: str = "", **settings: Any) -> None:
        """Register the subclass under its name."""
        super().__init_subclass__(**settings)
        if name:
            cls.name = name
            _REGISTRY[name] = cls

    @classmethod
    def quantities(cls) -> dict[str, Callable[..., Any]]:
        """Return the plain functions by name; each takes the analyst first, then keywords."""
        return {
            name: value.function
            for base in reversed(cls.__mro__)
            for name, value in vars(base).items()
            if isinstance(value, Quantity)
        }

    def compute(self, name: str, **arguments: Any) -> Any:
        """Return a quantity, here and now.

        Args:
            name: of the quantity (not of the analyst).
            arguments: numbers and arrays.

        Raises:
            ArgumentError: no such quantity, or arguments that it does not take.
        """
        known = self.quantities()
        if name not in known:
            raise ArgumentError(f"{type(self).__name__}.{name}", name, f"one of {sorted(known)}")
        function = known[name]
        try:
            inspect.signature(function).bind(self, **arguments)
        except TypeError as err:
            allowed = str(inspect.signature(function))
            raise ArgumentError(f"{type(self).__name__}.{name}", str(err), allowed) from err
        return function(self, **arguments)


_REGISTRY: dict[str, type[Analyst]] = {}


def find_analyst(name: str) -> type[Analyst]:
    """Return an analyst class by its name, its entry point, or as `module:Name`.

    Raises:
        ArgumentError: nothing of that name.
    """
    return find_class("analysts", name, Analyst, _REGISTRY, key="analyst")
