"""Validate scanning tunnelling microscopy; write `stm.json`, `stm.md` and `docs/images/stm`.

    python docs/validation/stm.py

Densities of states are compared with sisl (an optional test dependency; without it those rows are
left out), everything else with formulas of the literature, dense diagonalisation, direct sums and
control theory. Times are CPU seconds of one thread.
"""

import json
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from stm_physics_pictures import draw

from twinloop.simulators.stm import (
    Broadening,
    FeedbackLoop,
    Film,
    Scanner,
    Sheet,
    TightBinding,
    Tip,
    Waves,
    corrugation_decay_per_A,
    decay_per_A,
    dope,
    eigenstates,
    expand,
    expand_orbitals,
    graphene,
    graphene_crystal,
    local_density,
    mos2,
    mos2_crystal,
    stability_border,
    tails,
    without_sulphur,
)
from twinloop.simulators.stm.broadening import BOLTZMANN_EV_PER_K
from twinloop.simulators.stm.mos2 import THREE_BAND_EV, THREE_BAND_LATTICE_A

HERE = Path(__file__).parent
IMAGES = HERE.parent / "images" / "stm"
K_PER_A = 4.0 * np.pi / (3.0 * np.sqrt(3.0) * 1.42)
Row = dict[str, Any]

LOOPS = {
    "integral, one dead step": FeedbackLoop(),
    "mostly proportional": FeedbackLoop(proportional_A=0.05, integral_A_per_s=100.0, dead_steps=0),
    "two dead steps": FeedbackLoop(proportional_A=0.01, integral_A_per_s=2000.0, dead_steps=2),
    "slow amplifier, 500 Hz": FeedbackLoop(integral_A_per_s=300.0, bandwidth_Hz=500.0),
}


def row(what: str, reference: str, found: float, target: str, *, passed: bool) -> Row:
    """Return one line of the table."""
    return {
        "what": what,
        "reference": reference,
        "found": float(f"{found:.4g}"),
        "target": target,
        "passed": bool(passed),
    }


def near(what: str, reference: str, found: float, wanted: float, within: float) -> Row:
    """Return a line whose target is a figure and a tolerance."""
    return row(
        what, reference, found, f"{wanted:.4g} +- {within:.2g}",
        passed=abs(found - wanted) <= within,
    )  # fmt: skip


def below(what: str, reference: str, found: float, limit: float) -> Row:
    """Return a line whose target is an upper limit."""
    return row(what, reference, found, f"< {limit:g}", passed=found < limit)


def vacuum() -> list[Row]:
    """Decay of the current with height: terraces, waves with and without momentum."""
    film = Film(np.zeros((16, 16)), work_function_eV=4.0)
    field = film.field(bias_V=0.5, tip=Tip(work_function_eV=4.0))
    u, v = np.meshgrid(np.arange(8) / 2, np.arange(8) / 2, indexing="ij")
    low, high = (
        field.currents_nA(np.stack([u, v, np.full_like(u, z)], axis=-1)).mean() for z in (8.0, 9.0)
    )
    rows = [
        near("-2 kappa at 4 eV [1/A]", "tables: -2.05", -2 * decay_per_A(4.0), -2.05, 0.005),
        near("dlnI/dz over a terrace, 4 eV [1/A]", "-2 kappa", np.log(high / low), -2.05, 0.01),
        near(
            "decades of current per A, 5.05 eV", "one decade",
            2 * decay_per_A(5.05) / np.log(10), 1.0, 0.01,
        ),
    ]  # fmt: skip
    cell = TightBinding.of(graphene_crystal(), (1, 1))
    for name, k_per_A in (("Gamma", (0.0, 0.0)), ("K", (K_PER_A, 0.0))):
        waves = Waves(cell, (eigenstates(cell, k_per_A=k_per_A),), 4.0)
        pair = np.abs(waves.amplitudes([[0.2, 0.1, 9.0], [0.2, 0.1, 9.5]])[0][0]) ** 2
        wanted = -2 * np.hypot(decay_per_A(4.0), np.linalg.norm(k_per_A))
        rows.append(
            near(f"dlnI/dz of a graphene wave at {name}, 4 eV [1/A]", "-2 sqrt(kappa^2 + k^2)",
                 np.log(pair[1] / pair[0]) / 0.5, wanted, 0.02)
        )  # fmt: skip
    box = graphene((18, 11)).without([300])
    states = eigenstates(box)
    points_A = [[10.0, 11.0, 5.0], [22.0, 20.3, 6.0]]
    exact = Waves(box, (states,), 4.5).amplitudes(points_A)[0]
    summed = (tails(box, points_A, work_function_eV=4.5) @ states.vectors).T
    worst = np.abs(exact - summed).max() / np.abs(exact).max()
    rows.append(below("waves by FFT: max. error of all states", "direct sum to 20 A", worst, 1e-6))
    return [*rows, *corrugation()]


def corrugation() -> list[Row]:
    """How the picture of a terrace fades with height, and how high a step is."""
    field = Film(np.zeros((16, 16)), lattice_A=3.0).field(bias_V=1.0)
    corner = np.array([0.0, 1.5])
    high = field.topograph_A(corner, corner, setpoint_nA=1.0)
    higher = field.topograph_A(corner, corner, setpoint_nA=0.01)
    fall = np.log((higher[0] - higher[1]) / (high[0] - high[1])) / (higher[0] - high[0])
    wanted = -corrugation_decay_per_A(work_function_eV=4.5, wave_per_A=2 * np.pi / 3.0)
    heights = np.zeros((32, 8))
    heights[:16] = 1
    stepped = Film(heights).field(bias_V=1.0)
    u, v = np.meshgrid(np.arange(6) / 1.5, np.arange(6) / 1.5, indexing="ij")
    upper, lower = (stepped.topograph_A(u + x, v, setpoint_nA=0.1).mean() for x in (32.0, 96.0))
    return [
        near("fall of corrugation, 3 A square lattice [1/A]", "Tersoff & Hamann 1985",
             fall, wanted, 0.08 * abs(wanted)),
        near("height of a monolayer step [A]", "2.8 A", upper - lower, 2.8, 1e-3),
    ]  # fmt: skip


def graphene_rows() -> list[Row]:
    """Dirac point, vacancy, dopants."""
    dirac = np.abs(np.linalg.eigvalsh(graphene_crystal().bloch([K_PER_A, 0.0]))).max()
    whole = graphene((20, 10))
    gone = whole.nearest(24.6, 21.3)
    box = whole.without([gone])
    began_s = time.process_time()
    states = eigenstates(box)
    spent_s = time.process_time() - began_s
    inside = np.flatnonzero(np.abs(states.energies_eV) < 0.1)
    mode = states.vectors[:, np.abs(states.energies_eV).argmin()]
    own = mode[box.kinds % 2 == whole.kinds[gone] % 2]
    parts = np.linalg.solve(box.cell_A.T, (box.positions_A - whole.positions_A[gone])[:, :2].T).T
    apart_A = (parts - np.rint(parts)) @ box.cell_A
    amplitude, contrast = fourier_peaks(mode, apart_A, 6)
    far2, turn = np.sum(apart_A**2, axis=1), np.arctan2(apart_A[:, 1], apart_A[:, 0])
    unwound = mode**2 * far2 * np.exp(2j * turn - far2 / 162.0)
    density, _ = fourier_peaks(unwound, apart_A, 4)
    density = density[density > 0.5 * K_PER_A]
    rows = [
        below("energy of the Dirac point at K [eV]", "0", dirac, 1e-4),
        near("states within 0.1 eV of 0, 799 orbitals", "one (Lieb)", float(inside.size), 1.0, 0.0),
        below("... its weight on the vacancy's own sublattice", "0", float(own @ own), 1e-10),
        below("... six Fourier peaks of psi: distance from K / K", "0",
              np.abs(amplitude / K_PER_A - 1).max(), 0.05),
        row("... their power over the highest other peak", "root-three pattern",
            contrast, "> 10", passed=contrast > 10),
        below("... peaks of the unwound density: distance from K / K", "0",
              np.abs(density / K_PER_A - 1).max(), 0.05),
        below("... dense diagonalisation [CPU s]", "0.72 (PHYSICS.md)", spent_s, 3.0),
    ]  # fmt: skip
    return [*rows, *dopants()]


def fourier_peaks(
    values: NDArray[Any], places_A: NDArray[np.float64], count: int
) -> tuple[NDArray[np.float64], float]:
    """Return lengths of the highest Fourier peaks [1/A], and the lowest's power over the rest's."""
    mesh = np.linspace(-2.2, 2.2, 177)
    turns = [np.exp(-1j * np.outer(places_A[:, i], mesh)) for i in (0, 1)]
    power = np.abs((turns[0] * values[:, None]).T @ turns[1]) ** 2
    x, y = np.meshgrid(mesh, mesh, indexing="ij")
    lengths, lowest = [], 0.0
    for _ in range(count):
        i, j = np.unravel_index(power.argmax(), power.shape)
        lengths.append(float(np.hypot(mesh[i], mesh[j])))
        lowest = float(power[i, j])
        power[(x - mesh[i]) ** 2 + (y - mesh[j]) ** 2 < 0.3**2] = 0.0
    return np.array(lengths), lowest / float(power.max())


def dopants() -> list[Row]:
    """Empty minus filled states beside a donor and an acceptor, as a part of both."""
    sheet = graphene((13, 8))
    site = sheet.nearest(16.0, 17.0)
    apart_A = np.linalg.norm(sheet.positions_A - sheet.positions_A[site], axis=1)
    energies_eV = np.linspace(-1.0, 1.0, 401)
    rows = []
    for element, sign in (("N", 1.0), ("B", -1.0)):
        density = local_density(
            [eigenstates(dope(sheet, [site], element))], energies_eV, width_eV=0.1,
            orbitals=np.flatnonzero(apart_A < 1.5),
        ).sum(axis=0)  # fmt: skip
        empty, filled = density[energies_eV > 0.05].sum(), density[energies_eV < -0.05].sum()
        found = float((empty - filled) / (empty + filled))
        kind = "donor" if sign > 0 else "acceptor"
        rows.append(
            row(f"(empty - filled) / both beside {element}", f"{kind}: {'>' if sign > 0 else '<'} 0",
                found, "> 0.2" if sign > 0 else "< -0.2", passed=sign * found > 0.2)
        )  # fmt: skip
    return rows


def mos2_rows() -> list[Row]:
    """Gaps of the two models, states of the sulphur vacancy."""
    three = np.linalg.eigvalsh(mos2_crystal(bands=3).bloch([4 * np.pi / (3 * 3.190), 0.0]))
    crystal = mos2_crystal(bands=11)
    path = np.linspace(0.0, 1.5, 61)[:, None] * np.array([4 * np.pi / (3 * 3.160), 0.0])
    bands = np.array([np.linalg.eigvalsh(crystal.bloch(k)) for k in path])
    top, bottom = int(bands[:, 6].argmax()), int(bands[:, 7].argmin())
    levels_eV = eigenstates(without_sulphur(mos2((6, 4)), [(9.0, 10.0)])).energies_eV
    inside = int(np.sum((levels_eV > -0.9) & (levels_eV < 0.8)))
    return [
        near("MoS2, three bands: gap at K [eV]", "Liu et al. 2013: 1.66", three[1] - three[0],
             1.66, 0.01),
        row("MoS2, eleven bands: gap [eV]", "direct at K", bands[bottom, 7] - bands[top, 6],
            "extrema at K", passed=top == bottom == 40),
        near("MoS2, eleven bands: levels of a S vacancy in the gap", "a pair and one",
             float(inside), 3.0, 0.0),
    ]  # fmt: skip


def oracle() -> list[Row]:
    """Densities of states beside sisl's; none without it."""
    try:
        import sisl
    except ImportError:
        return []
    energies_eV, width_eV = np.linspace(-3.0, 3.0, 241), 0.1
    line = sisl.get_distribution("gaussian", smearing=width_eV)
    whole = graphene((10, 6))
    # sisl's rectangular cell has the armchair along x.
    geometry = sisl.geom.graphene(bond=1.42, orthogonal=True).tile(6, 0).tile(10, 1)
    theirs = sisl.Hamiltonian(geometry)
    theirs.construct(([0.1, 1.47], [0.0, -2.7]))
    cell_A = np.asarray(geometry.cell)[:2, :2]

    def order() -> NDArray[np.int64]:
        for corner in range(4):
            places_A = whole.positions_A[:, [1, 0]] + geometry.xyz[corner, :2]
            parts = (geometry.xyz[None, :, :2] - places_A[:, None]) @ np.linalg.inv(cell_A)
            far_A = np.linalg.norm((parts - np.rint(parts)) @ cell_A, axis=2)
            if far_A.min(axis=1).max() < 1e-3:
                return far_A.argmin(axis=1)
        raise SystemExit("sisl's lattice does not match")

    rank = order()
    gone = whole.nearest(12.0, 12.0)
    left = np.delete(rank, gone)
    left -= left > rank[gone]
    cases = (
        ("pristine graphene, 240 orbitals", whole, theirs, rank),
        ("graphene with a vacancy, 239 orbitals", whole.without([gone]),
         theirs.remove(int(rank[gone])), left),
    )  # fmt: skip
    rows = []
    for name, box, matrix, sites in cases:
        ours = local_density([eigenstates(box)], energies_eV, width_eV=width_eV)
        judge = matrix.eigenstate((0, 0, 0)).PDOS(energies_eV, distribution=line)
        judge = judge.reshape(-1, energies_eV.size)[sites]
        rows.append(
            below(
                f"LDOS of {name}: max. error",
                "sisl",
                np.abs(ours - judge).max() / judge.max(),
                1e-3,
            )
        )
    return [*rows, three_bands(sisl, line, energies_eV + 1.0, width_eV)]


def three_bands(sisl: Any, line: Any, energies_eV: NDArray[np.float64], width_eV: float) -> Row:
    """Compare MoS2's three bands; sisl's hoppings are one block turned by thirds (Liu's table I)."""
    p, lattice_A = THREE_BAND_EV, THREE_BAND_LATTICE_A
    first = np.array(
        [
            [p["t0"], p["t1"], p["t2"]],
            [-p["t1"], p["t11"], p["t12"]],
            [p["t2"], -p["t12"], p["t22"]],
        ]
    )
    vectors_A = [[lattice_A, 0, 0], [lattice_A / 2, lattice_A * np.sqrt(0.75), 0], [0, 0, 20.0]]
    metal = sisl.Atom(42, R=[lattice_A + 0.1] * 3)
    matrix = sisl.Hamiltonian(
        sisl.Geometry([[0, 0, 0]], metal, sisl.Lattice(vectors_A, nsc=[3, 3, 1]))
    )
    for i, energy_eV in enumerate((p["e1"], p["e2"], p["e2"])):
        matrix[i, i] = energy_eV
    for angle_deg, (one, two) in {0: (1, 0), 120: (-1, 1), 240: (0, -1)}.items():
        c, s = np.cos(2 * np.radians(angle_deg)), np.sin(2 * np.radians(angle_deg))
        turn = np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
        block = turn @ first @ turn.T
        for i in range(3):
            for j in range(3):
                matrix[i, j, (one, two, 0)] = block[i, j]
                matrix[j, i, (-one, -two, 0)] = block[i, j]
    box = mos2((1, 1), bands=3, is_rectangular=False)
    worst = 0.0
    for k in ((0.0, 0.0, 0.0), (1 / 3, 2 / 3, 0.0), (0.13, 0.31, 0.0)):
        states = eigenstates(box, k_per_A=np.array(k[:2]) @ box.crystal.reciprocal_per_A)
        ours = local_density([states], energies_eV, width_eV=width_eV)
        judge = matrix.eigenstate(k).PDOS(energies_eV, distribution=line).reshape(3, -1)
        worst = max(worst, float(np.abs(ours - judge).max() / judge.max()))
    return below("LDOS of MoS2, three bands, three wave vectors: max. error", "sisl", worst, 1e-3)


def kernel_polynomial() -> list[Row]:
    """Moments, densities and cost of the kernel polynomial method."""
    box = dope(graphene((14, 8)).without([200]), [50], "N")
    orbitals, energies_eV = [0, 150, 201, 300], np.linspace(-1.5, 1.5, 301)
    states = eigenstates(box)
    weights = np.abs(states.vectors[orbitals]) ** 2
    found = expand_orbitals(box, orbitals, moments=512)
    x = (states.energies_eV - found.centre_eV) / found.half_eV
    exact = weights @ np.cos(np.arange(512)[None, :] * np.arccos(x)[:, None])
    rows = [
        below("KPM: max. error of 512 moments", "dense", np.abs(found.moments - exact).max(), 1e-11)
    ]
    for kernel in ("jackson", "lorentz"):
        widths_eV = found.width_eV(states.energies_eV, kernel=kernel)
        scaled = (energies_eV[None, :] - states.energies_eV[:, None]) / widths_eV[:, None]
        lines = (
            np.exp(-0.5 * scaled**2) / np.sqrt(2 * np.pi)
            if kernel == "jackson"
            else 1 / (np.pi * (1 + scaled**2))
        ) / widths_eV[:, None]
        dense = weights @ lines
        error = np.abs(found.density(energies_eV, kernel=kernel) - dense).max() / dense.max()
        shape = "Gaussian" if kernel == "jackson" else "Lorentzian"
        rows.append(
            below(f"KPM, {kernel}: max. error of LDOS / max", f"dense, {shape} line", error, 0.05)
        )
    sizes, spent_s = [], []
    for n in (50, 89, 158, 281, 500):
        sheet = graphene((n, n))
        matrix = sheet.hamiltonian()
        start = scipy.sparse.eye_array(4, sheet.n, format="csr")
        expand(matrix, start, moments=8)
        tries = []
        for _ in range(3):
            began_s = time.process_time()
            expand(matrix, start, moments=64)
            tries.append(time.process_time() - began_s)
        sizes.append(sheet.n)
        spent_s.append(min(tries))
    exponent = float(np.polyfit(np.log(sizes), np.log(spent_s), 1)[0])
    rows.append(near("KPM: exponent of CPU time, 1e4 to 1e6 sites", "linear", exponent, 1.0, 0.1))
    return rows


def images() -> list[Row]:
    """Constant-current pictures: the waves themselves judge the table between."""
    whole = graphene((21, 12))
    x, y = np.meshgrid(np.linspace(0, 51, 100), np.linspace(0, 51, 100), indexing="ij")
    cases: dict[str, tuple[TightBinding, float, float]] = {
        "pristine graphene, 0.4 V": (whole, 0.4, 0.0),
        "graphene with a vacancy, 0.4 V": (whole.without([whole.nearest(25.8, 25.5)]), 0.4, 0.0),
        "MoS2 with a S vacancy, -1.9 V": (without_sulphur(mos2((8, 5)), [(12.0, 13.0)]), -1.9, 0.6),
    }
    rows = []
    for name, (box, bias_V, fermi_eV) in cases.items():
        window = (min(bias_V, -0.1), max(bias_V, 0.1))
        sheet = Sheet.of(box, window_eV=window, fermi_eV=fermi_eV)
        z_A = sheet.field(bias_V=bias_V).topograph_A(x, y, setpoint_nA=0.1)
        points_A = np.stack([x, y, z_A], axis=-1).reshape(-1, 3)[::37]
        exact_nA = np.abs(sheet.currents_nA(points_A, np.array([bias_V]))[:, 0])
        spread = float(np.sqrt(np.mean(np.log(exact_nA / 0.1) ** 2)))
        rows.append(below(f"constant current, {name}: rms ln(I / set point)", "0", spread, 0.01))
    return rows


def feedback() -> list[Row]:
    """The gain and frequency at which the simulated loop rings, beside control theory's."""
    rows = []
    for name, loop in LOOPS.items():
        field = Film(np.zeros((8, 8))).field(bias_V=1.0)
        height_A = field.topograph_A(np.zeros(1), np.zeros(1), setpoint_nA=loop.setpoint_nA)[0]
        slope_per_A = float(field.slopes_per_A([0.0, 0.0, height_A]))
        border = stability_border(loop, slope_per_A=slope_per_A)
        growths, frequencies_Hz = zip(
            *(ring(field, loop.times(f * border.gain)) for f in (0.97, 1.03)), strict=True
        )
        gain = 0.97 + 0.06 * growths[0] / (growths[0] - growths[1])
        rows.append(
            near(f"loop, {name}: simulated / predicted gain at the border", "1", gain, 1.0, 0.03)
        )
        rows.append(
            near("... ringing [Hz]", f"Nyquist: {border.ringing_Hz:.0f} Hz",
                 float(np.mean(frequencies_Hz)), border.ringing_Hz, 0.03 * border.ringing_Hz)
        )  # fmt: skip
    return rows


def ring(field: Any, loop: FeedbackLoop) -> tuple[float, float]:
    """Return growth per step and frequency [Hz] of a small oscillation of the simulated loop."""
    scanner = Scanner(field, loop, np.random.default_rng(1))
    scanner.approach(0.0, 0.0, settle_s=0.0)
    scanner.nudge(1e-6)
    heights_A = scanner.watch(600)
    # A second difference takes out what the loop settles to.
    wave = np.diff(heights_A, 2)
    envelope = np.array([np.abs(wave[i : i + 50]).max() for i in range(150, 550, 50)])
    growth = float(np.polyfit(np.arange(8) * 50.0, np.log(envelope), 1)[0])
    flat = wave[150:] * np.exp(-growth * np.arange(wave.size - 150))
    power = np.abs(np.fft.rfft(flat * np.hanning(flat.size), 1 << 15))
    return growth, float(np.fft.rfftfreq(1 << 15, 1 / loop.rate_Hz)[power.argmax()])


def spectra() -> list[Row]:
    """Widths of a sharp level in dI/dV, and I(V) beside dI/dV."""
    heat = Broadening(temperature_K=77.0, lifetime_eV=0.0, modulation_V=0.0)
    lock_in = Broadening(temperature_K=0.05, lifetime_eV=0.0, modulation_V=0.01)
    blur = Broadening(temperature_K=30.0, lifetime_eV=0.05, modulation_V=0.0)
    sheet = Sheet.of(graphene((9, 5)).without([17]), window_eV=(-1.0, 1.0), broadening=blur)
    biases_V = np.linspace(-0.9, 0.9, 1801)
    current = sheet.currents_nA([[5.0, 6.0, 5.0]], biases_V)[0]
    conductance = sheet.conductances_nA_per_V([[5.0, 6.0, 5.0]], biases_V)[0]
    error = np.abs(np.gradient(current, biases_V) - conductance)[5:-5].max() / conductance.max()
    return [
        near("thermal width / kT", "3.5 (Klein 1973)",
             heat.full_width_eV() / (BOLTZMANN_EV_PER_K * 77.0), 3.5255, 0.01),
        near("lock-in width / amplitude", "1.73 (Klein 1973)",
             lock_in.full_width_eV() / (0.01 * np.sqrt(2)), np.sqrt(3), 0.01),
        below("dI/dV against the derivative of I(V): max. error / max", "0", float(error), 1e-3),
    ]  # fmt: skip


def markdown(rows: list[Row], against: str) -> str:
    """Return the table as a page's part."""
    lines = [f"Against {against}; `python docs/validation/stm.py` makes it anew.", ""]
    lines += ["| what | reference | found | target | passed |", "|---|---|---|---|---|"]
    for one in rows:
        passed = "yes" if one["passed"] else "NO"
        lines.append(
            f"| {one['what']} | {one['reference']} | {one['found']:.4g} | {one['target']} | {passed} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all and write the files."""
    warnings.simplefilter("ignore")
    parts: tuple[Callable[[], list[Row]], ...] = (
        vacuum, graphene_rows, mos2_rows, oracle, kernel_polynomial, images, feedback, spectra,
    )  # fmt: skip
    rows = [one for part in parts for one in part()]
    try:
        against = f"sisl {version('sisl')}, theory and direct sums"
    except PackageNotFoundError:
        against = "theory and direct sums (sisl is not installed)"
    text = json.dumps({"against": against, "rows": rows}, indent=2) + "\n"
    (HERE / "stm.json").write_text(text, encoding="utf-8")
    (HERE / "stm.md").write_text(markdown(rows, against), encoding="utf-8")
    IMAGES.mkdir(parents=True, exist_ok=True)
    draw(IMAGES)
    if not all(one["passed"] for one in rows):
        raise SystemExit("some rows miss their target")


if __name__ == "__main__":
    main()
