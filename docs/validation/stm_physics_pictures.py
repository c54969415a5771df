"""Pictures of the tunnelling microscope's twin, for a microscopist to look at (see `stm.py`)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.simulators.kmc import Film as GrowingFilm
from twinloop.simulators.kmc import GrowthParameters
from twinloop.simulators.stm import (
    Axis,
    Broadening,
    CurrentNoise,
    Drift,
    FeedbackLoop,
    Film,
    Scanner,
    ScanWindow,
    Sheet,
    Tip,
    Waves,
    dope,
    eigenstates,
    graphene,
    local_density,
    mos2,
    stability_border,
    wave_mesh,
    without_sulphur,
)

GOLD = "afmhot"


def draw(folder: Path) -> None:
    """Write all pictures.

    Args:
        folder: an existing one.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    for name, painter in (
        ("vacancy_density", vacancy_density),
        ("constant_current", constant_current),
        ("grown_film", grown_film),
        ("loop", loop_borders),
        ("spectra", spectra),
    ):
        figure = plt.figure(figsize=(12, 8), layout="constrained")
        painter(figure)
        figure.savefig(folder / f"{name}.png", dpi=80)
        plt.close(figure)


def show(axis: Any, picture: NDArray[np.float64], size_A: tuple[float, float], title: str) -> None:
    """Draw a map with x to the right, from its 0.5 to its 99.5 percentile."""
    low, high = np.percentile(picture, [0.5, 99.5])
    image = axis.imshow(
        picture.T, origin="lower", cmap=GOLD, extent=(0, size_A[0], 0, size_A[1]), vmin=low,
        vmax=high,
    )  # fmt: skip
    axis.set_title(title, fontsize=10)
    axis.set_xlabel("x [A]")
    axis.set_ylabel("y [A]")
    axis.figure.colorbar(image, ax=axis, shrink=0.8)


def mesh(size_A: tuple[float, float], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y over a rectangle, each of shape (n, n) [A]."""
    x_A, y_A = np.meshgrid(
        np.linspace(0, size_A[0], n), np.linspace(0, size_A[1], n), indexing="ij"
    )
    return x_A, y_A


def vacancy_density(figure: Any) -> None:
    """Zero mode by site, as the vacuum shows it, and its Fourier transform."""
    whole = graphene((40, 23))
    box = whole.without([whole.nearest(49.2, 49.0)])
    states = eigenstates(box, window_eV=(-0.6, 0.6))
    axes = figure.subplots(2, 2)
    places_A = box.positions_A
    density = states.vectors[:, np.abs(states.energies_eV).argmin()] ** 2
    near = np.max(np.abs(places_A[:, :2] - np.array([49.2, 49.0])), axis=1) < 15
    axes[0, 0].scatter(
        places_A[near, 0], places_A[near, 1], s=4 + 3e3 * density[near],
        c=box.kinds[near] % 2, cmap="coolwarm",
    )  # fmt: skip
    axes[0, 0].set_aspect("equal")
    axes[0, 0].set_title("zero mode of the vacancy: area is |psi|^2, colour the sublattice")
    window = [np.exp(-0.5 * (states.energies_eV / 0.15) ** 2)]
    waves = Waves(box, (states,), 4.5)
    maps = waves.densities(window, np.array([3.0, 5.0]), (400, 400))
    size_A = (float(box.cell_A[0, 0]), float(box.cell_A[1, 1]))
    cut = slice(110, 290)
    part_A = (size_A[0] * 180 / 400, size_A[1] * 180 / 400)
    show(
        axes[0, 1],
        np.log10(maps[0][cut, cut]),
        part_A,
        "log10 density within 0.15 eV of 0, 3 A above",
    )
    show(axes[1, 0], np.log10(maps[1][cut, cut]), part_A, "the same, 5 A above")
    shown = np.log(maps[0])
    taper = np.hanning(400)[:, None] * np.hanning(400)[None, :]
    power = np.log10(np.abs(np.fft.fftshift(np.fft.fft2((shown - shown.mean()) * taper))) + 1e-3)
    wave_x, wave_y = (np.fft.fftshift(np.fft.fftfreq(400, s / 400)) * 2 * np.pi for s in size_A)
    axes[1, 1].pcolormesh(wave_x, wave_y, power.T, cmap="magma", vmin=power.max() - 3.0)
    angles = np.radians(np.arange(0, 360, 60))
    k_per_A = 4 * np.pi / (3 * np.sqrt(3) * 1.42)
    axes[1, 1].plot(
        k_per_A * np.cos(angles), k_per_A * np.sin(angles), "o", mfc="none", mec="cyan", ms=14
    )
    axes[1, 1].plot(
        np.sqrt(3) * k_per_A * np.cos(angles + np.pi / 6),
        np.sqrt(3) * k_per_A * np.sin(angles + np.pi / 6), "s", mfc="none", mec="lime", ms=12,
    )  # fmt: skip
    axes[1, 1].set(xlim=(-3.5, 3.5), ylim=(-3.5, 3.5), aspect="equal")
    axes[1, 1].set_title(
        "Fourier transform of the log (a topograph): K (circles), lattice (squares) [1/A]",
        fontsize=10,
    )


def constant_current(figure: Any) -> None:
    """Noiseless topographs of sheets."""
    axes = figure.subplots(2, 3)
    whole = graphene((21, 12))
    middle = whole.nearest(25.8, 25.5)
    size_A = (40.0, 40.0)
    x_A, y_A = mesh(size_A, 160)
    x_A, y_A = x_A + 5.8, y_A + 5.5
    layer = without_sulphur(mos2((16, 9)), [(25.0, 25.0)])
    holed = whole.without([middle])
    double = Tip.double((9.0, 4.0), depth_A=0.4)
    cases = (
        ("graphene, 0.4 V, 0.1 nA", whole, 0.4, 0.1, Tip(), 0.0),
        ("vacancy, 0.4 V, 0.1 nA", holed, 0.4, 0.1, Tip(), 0.0),
        ("nitrogen, 0.6 V, 0.1 nA", dope(whole, [middle], "N"), 0.6, 0.1, Tip(), 0.0),
        ("vacancy, double tip, 0.4 V, 0.1 nA", holed, 0.4, 0.1, double, 0.0),
        ("MoS2, S vacancy, -1.9 V, 2 nA", layer, -1.9, 2.0, Tip(), 0.6),
        ("MoS2, S vacancy, 0.6 V, 2 nA", layer, 0.6, 2.0, Tip(), 0.6),
    )
    for axis, (name, box, bias_V, setpoint_nA, tip, fermi_eV) in zip(axes.flat, cases, strict=True):
        window = (min(bias_V, -0.05), max(bias_V, 0.05))
        is_large = box.n > 1500
        waves = [(0.0, 0.0)] if is_large else wave_mesh(box, (2, 2))
        sheet = Sheet.of(box, window_eV=window, fermi_eV=fermi_eV, waves_per_A=waves)
        field = sheet.field(bias_V=bias_V, tip=tip)
        z_A = field.topograph_A(x_A, y_A, setpoint_nA=setpoint_nA)
        show(axis, z_A, size_A, f"{name}: z [A]")


def grown_film(figure: Any) -> None:
    """A film from kinetic Monte Carlo: the truth, a good scan, a bad tip, a bad loop."""
    grown = GrowingFilm.flat(size=64, parameters=GrowthParameters(), seed=3)
    grown.advance(temperature_K=640.0, flux_ML_per_s=0.2, duration_s=6.5)
    heights = np.asarray(grown.heights, dtype=np.float64)
    film = Film(heights)
    axes = figure.subplots(2, 3)
    size_A = film.extent_A
    show(axes[0, 0], heights, size_A, "heights that were grown [ML]")
    window = ScanWindow(
        size_A[0] / 2, size_A[1] / 2, 240.0, 240.0, pixels=160, lines=160, line_s=0.4
    )
    machine = {
        "axes": (Axis(0.01, 0.05, range_A=300.0), Axis(0.01, 0.05, range_A=300.0)),
        "noise": CurrentNoise(),
        "tilt": (0.002, 0.001),
    }
    double = Tip.double((22.0, 10.0), depth_A=0.5)
    cases = (
        ("a good scan: z [A]", film.field(bias_V=1.0), FeedbackLoop(), 0.0),
        ("drifting 0.3 A/s", film.field(bias_V=1.0), FeedbackLoop(), 0.3),
        ("a double tip", film.field(bias_V=1.0, tip=double), FeedbackLoop(), 0.0),
        ("a slow loop (40 A/s)", film.field(bias_V=1.0), FeedbackLoop(integral_A_per_s=40.0), 0.0),
        ("a loop that rings", film.field(bias_V=1.0), FeedbackLoop(integral_A_per_s=7500.0), 0.0),
    )
    for axis, (name, field, loop, drift) in zip(axes.flat[1:], cases, strict=True):
        scanner = Scanner(
            field, loop, np.random.default_rng(1), drift=Drift((drift, drift / 2, 0.0), 0.0),
            **machine,
        )  # fmt: skip
        z_A = np.array([line.trace.height_A for line in scanner.frame(window)]).T
        columns = np.arange(z_A.shape[0])[:, None]
        plane = np.polyfit(np.arange(z_A.shape[0]), z_A.mean(axis=1), 1)[0] * columns
        show(axis, z_A - plane, (240.0, 240.0), name)


def loop_borders(figure: Any) -> None:
    """The loop's answer to a knock below, at and above the border of control theory."""
    loop = FeedbackLoop()
    field = Film(np.zeros((8, 8))).field(bias_V=1.0)
    height_A = field.topograph_A(np.zeros(1), np.zeros(1), setpoint_nA=loop.setpoint_nA)[0]
    slope_per_A = float(field.slopes_per_A([0.0, 0.0, height_A]))
    border = stability_border(loop, slope_per_A=slope_per_A)
    axes = figure.subplots(3, 1, sharex=True)
    for axis, factor in zip(axes, (0.5, 1.0, 1.04), strict=True):
        scanner = Scanner(field, loop.times(factor * border.gain), np.random.default_rng(1))
        scanner.approach(0.0, 0.0, settle_s=0.0)
        scanner.nudge(0.01)
        heights_A = scanner.watch(600)
        axis.plot(np.arange(600) / loop.rate_Hz * 1e3, heights_A - heights_A[:1], lw=0.8)
        axis.set_title(
            f"gain {factor:g} of the border ({factor * border.gain * loop.integral_A_per_s:.0f} "
            f"A/s; border {border.gain * loop.integral_A_per_s:.0f} A/s, {border.ringing_Hz:.0f} Hz)",
            fontsize=10,
        )
        axis.set_ylabel("commanded z [A]")
    axes[-1].set_xlabel("time after a knock of 1 pm [ms]")


def spectra(figure: Any) -> None:
    """DI/dV over defects, and what temperature and modulation do to it."""
    axes = figure.subplots(2, 2)
    whole = graphene((20, 12))
    middle = whole.nearest(24.6, 25.5)
    biases_V = np.linspace(-0.9, 0.9, 361)
    place_A = whole.positions_A[middle]
    above = [[place_A[0], place_A[1] + 1.42, 4.0]]
    warm = Broadening(temperature_K=77.0, lifetime_eV=0.06, modulation_V=0.01)
    waves = wave_mesh(whole, (2, 2))
    for name, box in (
        ("pristine", whole), ("vacancy", whole.without([middle])),
        ("nitrogen", dope(whole, [middle], "N")), ("boron", dope(whole, [middle], "B")),
    ):  # fmt: skip
        sheet = Sheet.of(box, window_eV=(-0.9, 0.9), broadening=warm, waves_per_A=waves)
        found = sheet.conductances_nA_per_V(above, biases_V)[0]
        axes[0, 0].semilogy(biases_V, found, label=name)
        axes[0, 1].plot(biases_V, found / found.max(), label=name)
    axes[0, 0].set_title("graphene, 4 A over a neighbour of the site, 77 K: dI/dV [nA/V]")
    axes[0, 1].set_title("the same, each by its maximum")
    axes[0, 0].legend(fontsize=8)
    layer = mos2((6, 4))
    energies_V = np.linspace(-2.2, 1.1, 331)
    top = [[9.48 + 1.58, 10.95 + 0.912, 6.0]]
    for name, box in (
        ("pristine", layer),
        ("at a S vacancy", without_sulphur(layer, [(11.06, 11.86)])),
    ):
        sheet = Sheet.of(
            box,
            window_eV=(-2.2, 1.1),
            fermi_eV=0.3,
            broadening=warm,
            waves_per_A=wave_mesh(box, (2, 2)),
        )
        axes[1, 0].semilogy(energies_V, sheet.conductances_nA_per_V(top, energies_V)[0], label=name)
    axes[1, 0].set_title("MoS2, 6 A over a sulphur, 77 K: dI/dV [nA/V]")
    axes[1, 0].set_xlabel("sample bias [V]")
    axes[1, 0].legend(fontsize=8)
    box = whole.without([middle])
    for temperature_K, modulation_V in ((4.2, 0.002), (4.2, 0.02), (77.0, 0.002), (300.0, 0.002)):
        blur = Broadening(temperature_K, 0.002, modulation_V)
        sheet = Sheet.of(box, window_eV=(-0.2, 0.2), broadening=blur)
        low = np.linspace(-0.15, 0.15, 401)
        found = sheet.conductances_nA_per_V(above, low)[0]
        axes[1, 1].plot(low, found, label=f"{temperature_K:g} K, {1e3 * modulation_V:g} mV rms")
    axes[1, 1].set_title("the vacancy's level, by temperature and modulation: dI/dV [nA/V]")
    axes[1, 1].set_xlabel("sample bias [V]")
    axes[1, 1].legend(fontsize=8)
    # One more check that a reader can make by eye: the sites' own density.
    density = local_density(
        [eigenstates(box)],
        biases_V,
        width_eV=0.06,
        orbitals=[box.nearest(above[0][0], above[0][1])],
    )
    axes[0, 1].plot(biases_V, density[0] / density.max(), "k:", label="LDOS of that site")
    axes[0, 1].legend(fontsize=8)
