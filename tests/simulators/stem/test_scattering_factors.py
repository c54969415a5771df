"""The coefficient tables against laws and values that did not come from them."""

import numpy as np
import pytest

from twinloop.errors import ArgumentError
from twinloop.simulators.stem.scattering_factors import Parametrisation, scattering_factor_A

BOHR_A = 0.529177

# Doyle & Turner, Acta Cryst. A24, 390 (1968): relativistic Hartree-Fock, f(0) [A].
FORWARD_A = {6: 2.509, 14: 5.828, 29: 5.600, 79: 10.573}


@pytest.mark.parametrize("number", range(1, 104))
def test_far_out_lobato_sees_the_bare_nucleus(number):
    # Mott-Bethe: f = (Z - f_x) / (2 pi^2 a_0 k^2), and f_x vanishes far out.
    far_per_A = np.array([3.0e3])
    bare_A = number / (2.0 * np.pi**2 * BOHR_A * far_per_A**2)
    assert scattering_factor_A(number, far_per_A) == pytest.approx(bare_A, rel=1e-3)


@pytest.mark.parametrize("parametrisation", Parametrisation)
@pytest.mark.parametrize("number", FORWARD_A)
def test_forward_scattering_is_that_of_hartree_fock(number, parametrisation):
    forward_A = scattering_factor_A(number, np.zeros(1), parametrisation)
    assert forward_A == pytest.approx(FORWARD_A[number], rel=0.005)


@pytest.mark.parametrize("number", range(1, 104))
def test_the_two_tables_describe_the_same_atoms(number):
    per_A = np.linspace(0.3, 4.0, 30)
    lobato, kirkland = (scattering_factor_A(number, per_A, table) for table in Parametrisation)
    assert np.abs(lobato / kirkland - 1.0).max() < 0.06
    assert (np.diff(lobato) < 0).all()


def test_an_element_beyond_the_table_is_refused():
    with pytest.raises(ArgumentError, match="118"):
        scattering_factor_A(118, np.zeros(1))
