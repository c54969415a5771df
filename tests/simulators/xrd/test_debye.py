import numpy as np
import pytest
from ase.build import bulk
from ase.cluster import Octahedron

from twinloop.errors import ArgumentError
from twinloop.simulators.xrd.debye import debye_intensity, direct_sums, pair_sums
from twinloop.simulators.xrd.powder import reflections
from twinloop.simulators.xrd.scattering_factors import form_factors

Q_PER_A = np.linspace(0.3, 18.0, 150)


def cluster(n=5):
    atoms = Octahedron("Au", n, 1)
    atoms.numbers[::3] = 29
    return atoms


def test_a_pair_interferes_as_debye_wrote():
    found = debye_intensity([6, 8], [[0, 0, 0], [0.3, 0.4, 1.2]], Q_PER_A)
    f = form_factors([6, 8], Q_PER_A)
    sinc = np.sin(1.3 * Q_PER_A) / (1.3 * Q_PER_A)
    assert found == pytest.approx(f[0] ** 2 + f[1] ** 2 + 2 * f[0] * f[1] * sinc, rel=1e-8)


@pytest.mark.parametrize(
    "q",
    [Q_PER_A, np.array([0.2, 0.5, 7.0, 25.0]), np.linspace(0.01, 2.0, 130)],
    ids=["even", "uneven", "low"],
)
def test_spread_sums_equal_sums_of_sines(q):
    atoms = cluster()
    light, heavy = atoms.positions[::3], atoms.positions[1::3]
    for first, second in ((atoms.positions, None), (light, heavy)):
        exact = direct_sums(first, second, q)
        assert pair_sums(first, second, q) == pytest.approx(exact, abs=1e-7 * len(atoms))


def test_sums_of_sines_equal_a_plain_double_loop():
    places = np.random.default_rng(1).normal(size=(12, 3)) * 5
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1)[np.triu_indices(12, 1)]
    plain = np.sinc(np.outer(Q_PER_A, apart) / np.pi).sum(axis=1)
    assert direct_sums(places, None, Q_PER_A) == pytest.approx(plain, abs=1e-11)


def test_forward_all_electrons_scatter_in_phase():
    atoms = cluster()
    assert debye_intensity(atoms.numbers, atoms.positions, [0.0]) == pytest.approx(
        atoms.numbers.sum() ** 2, rel=1e-3
    )


def test_small_angles_give_the_radius_of_gyration():
    atoms = Octahedron("Au", 6, 1)
    away2 = ((atoms.positions - atoms.positions.mean(axis=0)) ** 2).sum(axis=1).mean()
    q = np.array([0.005, 0.01, 0.02])
    found = debye_intensity(atoms.numbers, atoms.positions, q)
    f2 = form_factors([79], q)[0] ** 2 * len(atoms) ** 2
    # Guinier: I = I0 exp(-q^2 R^2 / 3)
    assert np.log(found / f2) == pytest.approx(-(q**2) * away2 / 3, rel=0.02)


def test_a_large_cluster_has_the_lines_of_its_crystal():
    atoms = Octahedron("Cu", 11, 0, latticeconstant=3.615)
    q = np.arange(2.6, 5.4, 0.01)
    found = debye_intensity(atoms.numbers, atoms.positions, q)
    lines = 2 * np.pi / reflections(bulk("Cu", a=3.615)).d_A
    for line in lines[:3]:
        near = np.abs(q - line) < 0.12
        assert q[near][found[near].argmax()] == pytest.approx(line, abs=0.03)


def test_thermal_motion_damps_interference_not_the_atoms_themselves():
    atoms = cluster(3)
    warm = debye_intensity(atoms.numbers, atoms.positions, [30.0], rms_A=0.3)
    f = form_factors(atoms.numbers, [30.0])[:, 0]
    assert warm == pytest.approx(np.sum(f**2), rel=1e-6)


def test_two_atoms_at_one_place_are_refused():
    with pytest.raises(ArgumentError, match="one place"):
        debye_intensity([6, 6], [[0, 0, 0], [0, 0, 0]], Q_PER_A)


def test_a_negative_momentum_is_refused():
    with pytest.raises(ArgumentError, match="q_per_A"):
        debye_intensity([6, 6], [[0, 0, 0], [0, 0, 1]], [-1.0])


@pytest.mark.physics
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("n", [5, 9])
def test_intensities_agree_with_debyecalculator(n):
    calculator = pytest.importorskip("debyecalculator", reason="DebyeCalculator is the reference")
    atoms = cluster(n)
    judge = calculator.DebyeCalculator(
        qmin=0.5, qmax=20.0, qstep=0.02, biso=0.3, device="cpu", pair_sum="direct"
    )
    q, theirs = (np.asarray(part, dtype=np.float64) for part in judge.iq(atoms)[:2])
    rms_A = np.sqrt(0.3 / (8 * np.pi**2))
    ours = debye_intensity(atoms.numbers, atoms.positions, q, rms_A=rms_A)
    # theirs counts every pair, and of every atom the square, half
    assert 0.5 * ours == pytest.approx(theirs, rel=1e-3)
