"""The emulator's inputs: the combinations that a simulator says its answer depends on.

A growth does not depend on temperature, barrier and flux one by one, but on their dimensionless
combinations. A simulator may tell them as arithmetic over its knobs and parameters; predictions at
different parameters then support each other. Without them the emulator works in the unit cube of
the knobs and in units of the prior.

Only arithmetic is understood: names, numbers, + - * / **, exp, log, log1p, sqrt. It is parsed, never
evaluated as Python.

Source: Buckingham, Phys. Rev. 4, 345 (1914), doi:10.1103/PhysRev.4.345 (dimensionless groups).
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from twinloop.errors import ArgumentError
from twinloop.planners.simulations import Theory
from twinloop.planners.space import Floats, Space
from twinloop.planners.theory.design import to_z

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Coordinates"]

Z_SPAN = 6.0
"""Without coordinates a parameter from -3 to +3 prior deviations fills the unit interval."""

_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS = ("exp", "log", "log1p", "sqrt")


class Coordinates:
    """Turns knobs and parameters into the inputs of the emulator.

    Args:
        theory: with `coordinates`, or without.
        space: of the knobs.

    Raises:
        ArgumentError: an expression that is no arithmetic over known names.
    """

    def __init__(self, theory: Theory, space: Space) -> None:
        self._theory, self._space = theory, space
        names = {*space.names, *theory.priors, *theory.constants}
        self._parts = [_parse(name, text, names) for name, text in theory.coordinates.items()]

    def of(self, x: Floats, z: Floats) -> "Tensor":
        """Return the inputs of points x (n, d) and parameters z (n, t), shape (n, inputs)."""
        import torch

        return self.of_tensors(torch.as_tensor(x), torch.as_tensor(z))

    def of_theta(self, x: Floats, theta: Floats) -> "Tensor":
        """Return the inputs of points and of parameters in their own units."""
        return self.of(x, to_z(theta, self._theory))

    def of_tensors(self, x: "Tensor", z: "Tensor") -> "Tensor":
        """Return the inputs; the gradient goes through."""
        import torch

        if not self._parts:
            return torch.cat([x, 0.5 + z / Z_SPAN], dim=1)
        values: dict[str, Any] = dict(self._theory.constants)
        for column, dim in enumerate(self._space.dimensions):
            if dim.scale == "log":
                ratio = float(np.log(dim.high / dim.low))
                values[dim.name] = dim.low * torch.exp(x[:, column] * ratio)
            else:
                values[dim.name] = dim.low + x[:, column] * (dim.high - dim.low)
        for column, (name, prior) in enumerate(self._theory.priors.items()):
            bounded = prior.mean + prior.sd * z[:, column]
            values[name] = bounded.clamp(prior.at_least, prior.at_most)
        rows = [
            torch.as_tensor(_value(part, values), dtype=x.dtype).expand(len(x))
            for part in self._parts
        ]
        return torch.stack(rows, dim=1)


def _parse(name: str, text: str, names: set[str]) -> ast.AST:
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as err:
        raise ArgumentError(f"coordinate {name}", text, "arithmetic") from err
    # a function's name alone is no quantity
    called_names = {n.func for n in ast.walk(tree) if isinstance(n, ast.Call)}
    for node in ast.walk(tree):
        match node:
            case ast.BinOp() | ast.UnaryOp() | ast.Load() | ast.operator() | ast.unaryop():
                if isinstance(node, ast.operator | ast.unaryop) and type(node) not in _OPERATORS:
                    raise ArgumentError(f"coordinate {name}", text, "+ - * / **")
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                pass
            case ast.Call(func=ast.Name(id=called), args=[_], keywords=[]) if called in _FUNCTIONS:
                pass
            case ast.Name(id=known) if known in names or node in called_names:
                pass
            case _:
                allowed = f"arithmetic, {', '.join(_FUNCTIONS)} over {', '.join(sorted(names))}"
                raise ArgumentError(f"coordinate {name}", text, allowed)
    return tree


def _value(node: ast.AST, values: Mapping[str, Any]) -> Any:
    import torch

    match node:
        case ast.Constant(value=number):
            return float(str(number))
        case ast.Name(id=name):
            return values[name]
        case ast.UnaryOp(op=op, operand=operand):
            return _OPERATORS[type(op)](_value(operand, values))
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id=called), args=[argument]):
            inner = torch.as_tensor(_value(argument, values), dtype=torch.float64)
            return getattr(torch, called)(inner)
        case _:
            raise ArgumentError("coordinate", ast.dump(node), "arithmetic")
