import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.planners.simulations import Prior, Theory
from twinloop.planners.space import Space
from twinloop.planners.theory.coordinates import Coordinates

SPACE = Space.of({"T_K": (600, 800), "F_ML_per_s": (0.03, 1.5, "log")})
X = np.array([[0.0, 0.0], [0.5, 1.0]])
Z = np.array([[0.0], [-10.0]])


def theory(**coordinates):
    priors = {"barrier_eV": Prior(1.3, 0.1, at_least=0.5)}
    return Theory("s", "", priors, ("y",), coordinates=coordinates, constants={"left_out_eV": 0.25})


def test_coordinates_are_the_arithmetic_they_say():
    made = Coordinates(
        theory(u="-barrier_eV / (8.6e-5 * T_K) - log(F_ML_per_s)", v="left_out_eV ** 2"), SPACE
    )
    found = made.of(X, Z).numpy()
    # a parameter far below its bound counts as the bound
    assert found[:, 0] == pytest.approx(
        [-1.3 / (8.6e-5 * 600) - np.log(0.03), -0.5 / (8.6e-5 * 700) - np.log(1.5)], rel=1e-9
    )
    assert found[:, 1] == pytest.approx([0.0625, 0.0625])
    assert found.shape == (2, 2)


def test_without_coordinates_cube_and_prior_are_the_inputs():
    made = Coordinates(theory(), SPACE)
    assert made.of(X, Z).numpy()[0] == pytest.approx([0.0, 0.0, 0.5])


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "T_K.real",
        "unknown_K + 1",
        "T_K if T_K else 1",
        "(lambda: 1)()",
        "exp(T_K, 2)",
        "T_K // 2",
        "T_K +",
        "exp",
        "T_K * log",
        "'text'",
        "[T_K]",
        "True",
    ],
)
def test_anything_but_arithmetic_is_refused(text):
    with pytest.raises(ArgumentError, match="coordinate u"):
        Coordinates(theory(u=text), SPACE)


def test_the_gradient_goes_through():
    import torch

    z = torch.zeros((1, 1), dtype=torch.float64, requires_grad=True)
    x = torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    Coordinates(theory(u="exp(barrier_eV)"), SPACE).of_tensors(x, z).sum().backward()
    assert z.grad.item() == pytest.approx(0.1 * np.exp(1.3))
