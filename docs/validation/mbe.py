"""Validate growth and RHEED; write `mbe.json`, `mbe.md` and the pictures of `docs/images`.

    python docs/validation/mbe.py

Each row compares a figure of the twin with one that does not come from it: a handbook, control theory,
an analytic limit, a published criterion. The shares of truths that an analyst's intervals cover are
those of `tests/physics/test_rheed_frames_calibration.py`, the growths on staircases those of
`tests/physics/test_step_flow.py`. Takes some minutes of one core. Needs matplotlib and scipy.
"""

import importlib.util
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import signal

from twinloop.instruments.standin.settings import read_settings
from twinloop.instruments.standin.testing import Bench
from twinloop.lattice_constants import MESH_A, MONOLAYER_A
from twinloop.simulators import rheed
from twinloop.simulators.effusion_cell import VAPOURS, CellShape, EffusionCell
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.temperature_loop import (
    Gains,
    TemperatureLoop,
    ThermalBody,
    closed_loop,
)

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MATERIAL = GrowthParameters(multi_hop=8)
HANDBOOK_K = {
    "gallium": {1.0: 1310.0, 10.0: 1448.0, 100.0: 1620.0},
    "aluminium": {1.0: 1482.0, 10.0: 1632.0, 100.0: 1817.0},
}
"""Temperature of a vapour pressure in Pa. Source: CRC Handbook of Chemistry and Physics."""
CAMERA = {"shape": (160, 192), "pixel_deg": 0.02}

TRUTHS = {
    "amplitude": "heights: |<(-1)^h>|^2 at 1/2, 1, 3/2 ML",
    "terrace": "heights: correlation of their parity",
    **dict.fromkeys(("damping", "constant", "gain", "end"), "the same fit without noise"),
}
"""Where the truth of an analyst's figure comes from."""

Row = dict[str, Any]


def row(what: str, found: float, expected: str, passed: bool, reference: str) -> Row:
    """Return one line of the table."""
    return {
        "quantity": what,
        "found": round(float(found), 5),
        "expected": expected,
        "reference": reference,
        "passed": bool(passed),
    }


def near(what: str, found: float, expected: float, tolerance: float, reference: str) -> Row:
    """Return a line whose figure must lie near another."""
    passed = abs(found - expected) <= tolerance
    return row(what, found, f"{expected:.4g} +- {tolerance:.2g}", passed, reference)


def between(what: str, found: float, low: float, high: float, reference: str) -> Row:
    """Return a line whose figure must lie in a range."""
    return row(what, found, f"{low:.4g} to {high:.4g}", low <= found <= high, reference)


def tests_of(name: str) -> ModuleType:
    """Return a module of tests/physics, for the functions that its tests call."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tests" / "physics" / f"{name}.py")
    if spec is None or spec.loader is None:
        sys.exit(f"tests/physics/{name}.py is not beside docs")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells_and_heater() -> list[Row]:
    """Return the rows of vapour pressure, effusion and control."""
    found = []
    for name, table in HANDBOOK_K.items():
        errors = [VAPOURS[name].at(melt_K) / pressure - 1.0 for pressure, melt_K in table.items()]
        worst = max(errors, key=abs)
        reference = "CRC Handbook, 1 to 100 Pa"
        found.append(near(f"{name}: vapour pressure, worst error", worst, 0.0, 0.1, reference))
    gas = VAPOURS["gallium"]
    mass_kg, thermal_J = 69.723 * 1.66053906660e-27, 1.380649e-23 * 1200.0
    speed = np.sqrt(8.0 * thermal_J / (np.pi * mass_kg))
    quarter = 0.25 * gas.at(1200.0) / thermal_J * speed
    ratio = gas.effusion_per_m2_s(1200.0) / quarter
    found.append(near("effusion over n v / 4", ratio, 1.0, 1e-9, "kinetic theory"))
    body, gains = ThermalBody(), Gains(sample_s=0.002)
    loop = TemperatureLoop(body, gains, start_K=800.0)
    loop.ask(801.0)
    times_s = np.arange(301) * 0.1
    _, expected = signal.step(signal.TransferFunction(*closed_loop(body, gains, 800.5)), T=times_s)
    seen = [0.0]
    for _ in times_s[1:]:
        loop.advance(0.1)
        seen.append(loop.reading_K - 800.0)
    error = float(np.abs(np.array(seen) - expected).max())
    found.append(near("step of 1 K, worst deviation [K]", error, 0.0, 0.002, "closed loop"))
    overshoot = float(np.max(seen) - 1.0)
    exact = float(expected.max() - 1.0)
    found.append(near("overshoot [1]", overshoot, exact, 0.002, "closed loop"))
    return found


def trace_of(film: Film, substrate_K: float, flux: float, dose_ML: float) -> NDArray[np.float64]:
    """Return the anti-phase intensity every 0.025 ML, from the substrate on."""
    seen = [1.0]
    for _ in range(round(dose_ML / 0.025)):
        film.advance(temperature_K=substrate_K, flux_ML_per_s=flux, duration_s=0.025 / flux)
        seen.append(rheed.antiphase_intensity(film.heights))
    return np.array(seen)


def period_ML(trace: NDArray[np.float64]) -> float:
    """Return the mean distance of maxima and of minima, each placed by a parabola."""
    dose_ML = np.arange(trace.size) * 0.025
    slopes = []
    for values in (trace, -trace):
        places = []
        for i in range(8, trace.size - 8):
            if values[i] == values[max(0, i - 14) : i + 15].max():
                curve = np.polyfit(dose_ML[i - 5 : i + 6], values[i - 5 : i + 6], 2)
                places.append(-0.5 * curve[1] / curve[0])
        slopes.append(np.polyfit(range(len(places)), places, 1)[0])
    return float(np.mean(slopes))


def growth() -> list[Row]:
    """Return the rows of oscillations, damping and recovery."""
    found = []
    for flux in (0.2, 0.4, 0.8):
        films = [Film.flat(size=128, parameters=GrowthParameters(), seed=seed) for seed in range(4)]
        mean = np.mean([trace_of(film, 700.0, flux, 5.0) for film in films], axis=0)
        found.append(near(f"period at {flux} ML/s [ML]", period_ML(mean), 1.0, 0.02, "one layer"))
    seconds = []
    for substrate_K in (500.0, 600.0, 640.0, 680.0, 720.0):
        films = [Film.flat(size=128, parameters=MATERIAL, seed=seed) for seed in range(3)]
        mean = np.mean([trace_of(film, substrate_K, 0.4, 2.5) for film in films], axis=0)
        seconds.append(float(mean[70:91].max()))
    least = min(b / a for a, b in itertools.pairwise(seconds))
    reference = "oscillations are damped less on a warmer substrate"
    found.append(
        row("second maximum, 500 to 720 K: least ratio", least, "> 1.3", least > 1.3, reference)
    )
    found.append(
        row("second maximum at 500 K", seconds[0], "< 0.01", seconds[0] < 0.01, "no layers")
    )
    for substrate_K in (680.0, 720.0):
        film = Film.flat(size=128, parameters=MATERIAL, seed=1)
        film.advance(temperature_K=substrate_K, flux_ML_per_s=0.5, duration_s=8.0)
        before = rheed.antiphase_intensity(film.heights)
        film.advance(temperature_K=substrate_K, flux_ML_per_s=0.0, duration_s=30.0)
        gain = rheed.antiphase_intensity(film.heights) - before
        what = f"recovery in 30 s after 4 ML, {substrate_K:g} K"
        found.append(row(what, gain, "> 0.1", gain > 0.1, "recovery in a pause"))
    return found


def step_flow() -> list[Row]:
    """Return the rows of vicinal substrates."""
    tests = tests_of("test_step_flow")
    reference = "Neave et al. 1985; island spacing on a flat surface"
    found = []
    for width, beats in tests.ratios():
        what = f"oscillation of terraces {width:.2f} island spacings wide, flat = 1"
        is_wide = width > 2.0
        expected = "> 0.35" if is_wide else "< 0.15"
        passed = beats > 0.35 if is_wide else beats < 0.15
        found.append(row(what, beats, expected, passed, reference))
    return found


def diffraction() -> list[Row]:
    """Return the rows of frames."""
    flat = np.zeros((96, 96), dtype=np.int32)
    k_per_A = 2.0 * np.pi / rheed.wavelength_A(15.0)
    found = []
    wide = {"shape": (160, 360), "pixel_deg": 0.01, "blur_px": 2.0, "background": 0.0}
    for azimuth_deg, rows_A in ((0.0, MESH_A), (45.0, MESH_A / np.sqrt(2.0))):
        view = {**wide, "pixel_deg": 0.01 if azimuth_deg == 0 else 0.015}
        profile = rheed.frame(flat, azimuth_deg=azimuth_deg, **view).sum(axis=0)
        aside = profile[200:]
        first = 200 + np.sum(np.arange(aside.size) * aside) / aside.sum() - 180
        spacing_A = rheed.wavelength_A(15.0) / np.sin(np.radians(first * view["pixel_deg"]))
        what = f"distance of atomic rows, azimuth {azimuth_deg:g} deg [A]"
        found.append(near(what, spacing_A, rows_A, 0.01 * rows_A, "streak spacing"))
    heights = np.random.default_rng(1).integers(0, 3, size=(64, 64))
    square = heights + heights.T + np.rot90(heights) + np.rot90(heights.T)
    square = square + np.rot90(square, 2)
    one, other = (rheed.frame(square, azimuth_deg=angle) for angle in (0.0, 90.0))
    error = float(np.abs(one - other).max() / one.max())
    found.append(
        near("square surface at 0 and 90 deg, worst difference", error, 0, 1e-9, "symmetry")
    )
    stairs = np.broadcast_to((np.arange(96) * 3) // 96, (96, 96))
    sharp = {"shape": (240, 120), "pixel_deg": 0.01, "background": 0.0, "blur_px": 0.7}
    picture = rheed.frame(stairs, steps=3, **sharp)
    incidence = np.radians(
        rheed.antiphase_incidence_deg(energy_keV=15.0, step_height_A=MONOLAYER_A)
    )
    # terraces of 32 sites: rods that far apart, ascending steps lean them to the lower side
    apart_deg = np.degrees(2.0 * np.pi / (32 * MESH_A) / k_per_A)
    worst = 0.0
    for line in range(30, 150, 3):
        exit_rad = np.radians((239.5 - line) * 0.01)
        q_z = k_per_A * (np.sin(exit_rad) + np.sin(incidence))
        lean_deg = np.degrees(q_z * 3 * MONOLAYER_A / (96 * MESH_A) / k_per_A)
        off = (int(picture[line].argmax()) - 60) * 0.01 + lean_deg
        worst = max(worst, abs((off + 0.5 * apart_deg) % apart_deg - 0.5 * apart_deg))
    reference = "rods normal to the mean surface; apart 0.045 deg, a pixel is 0.01 deg"
    found.append(near("rods of a staircase, worst place [deg]", worst, 0.0, 0.006, reference))
    return found


def analysts() -> list[Row]:
    """Return the share of truths that intervals of 90 % cover."""
    tests = tests_of("test_rheed_frames_calibration")
    beats = tests.beats_shares(200)
    streaks, worst = tests.streak_shares(240)
    found = []
    for name, (share, cases) in {**beats, **streaks}.items():
        # one binomial deviation of so many cases
        error = float(np.sqrt(0.9 * 0.1 / cases))
        passed = 0.85 - error <= share <= 0.95 + error
        what = f"truths inside the 90 % interval: {name}, {cases} cases"
        expected = f"0.85 to 0.95, +- {error:.2f}"
        found.append(row(what, share, expected, passed, TRUTHS.get(name, "the twin's truth")))
    found.append(near("lattice constant, worst error", worst, 0.0, 0.01, "the twin's truth"))
    return found


def save(figure: Any, name: str) -> None:
    """Write one picture under docs/images."""
    target = HERE.parent / "images" / name
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=110, bbox_inches="tight", metadata={"Software": None})


def draw_frames(plt: Any) -> None:
    """Show the screen for six surfaces, as the camera counts it."""
    from matplotlib.colors import LinearSegmentedColormap

    flat = np.zeros((96, 96), dtype=np.int32)
    half = Film.flat(size=96, parameters=MATERIAL, seed=1)
    half.advance(temperature_K=690.0, flux_ML_per_s=0.5, duration_s=3.0)
    rough = Film.flat(size=96, parameters=MATERIAL, seed=1)
    rough.advance(temperature_K=500.0, flux_ML_per_s=0.5, duration_s=30.0)
    stairs = Film.vicinal(size=96, steps=6, parameters=MATERIAL, seed=1)
    stairs.advance(temperature_K=780.0, flux_ML_per_s=0.5, duration_s=5.0)
    surfaces = {
        "flat substrate": (flat, 0.0, 0),
        "1.5 ML at 690 K": (half.heights, 0.0, 0),
        "15 ML at 500 K: rough": (rough.heights, 0.0, 0),
        "flat, beam along [11]": (flat, 45.0, 0),
        "vicinal 2.5 deg, along its steps": (stairs.heights, 0.0, 6),
        "vicinal 2.5 deg, across its steps": (stairs.heights, 90.0, 6),
    }
    figure, axes = plt.subplots(2, 3, figsize=(11, 6.6))
    rng = np.random.default_rng(1)
    colours = ("#020503", "#04190c", "#0d4a22", "#3fae5c", "#bff0b8", "#f8ffee")
    phosphor = LinearSegmentedColormap.from_list("phosphor", colours)
    for axis, (title, (heights, azimuth_deg, steps)) in zip(
        axes.flat, surfaces.items(), strict=True
    ):
        expected = rheed.frame(heights, azimuth_deg=azimuth_deg, steps=steps, **CAMERA)
        counts = rheed.expose(
            expected, exposure_s=1.0, gain=0.02, rng=rng, electrons_per_s=5e5, dark_counts=40.0
        )
        # the eye and the phosphor are logarithmic
        axis.imshow(
            np.log(counts + 20.0),
            cmap=phosphor,
            extent=(-1.92, 1.92, 0.0, 3.2),
            vmin=5.8,
            vmax=9.3,
        )
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("beside the plane of incidence [deg]", fontsize=7)
        axis.set_ylabel("exit angle [deg]", fontsize=7)
        axis.tick_params(labelsize=6)
    figure.tight_layout()
    save(figure, "rheed/frames.png")


def draw_interruption(plt: Any) -> None:
    """Show the beam through a growth with pauses, as the shipped chamber records it."""
    settings = read_settings("alloy_chamber.yaml")
    # pauses at whole layers: without the hidden error of the calibration
    truth = settings.truth_drawn().model_copy(update={"log_flux_factor": 0.0})
    bench = Bench(settings.model_copy(update={"truth": truth}))

    async def trial() -> Any:
        await bench.prepare("s1", substrate_K=735.0)
        await bench.act(
            bench.mbe,
            "grow_interrupted",
            "s1",
            flux_ML_per_s=0.5,
            dose_ML=7.84,
            pause_after_ML=1.96,
            pause_s=25.0,
        )
        return await bench.act(bench.rheed, "record", "s1", wait_s=10.0)

    trace = bench.run(trial())
    bench.close()
    figure, axis = plt.subplots(figsize=(8, 3.2))
    axis.plot(trace.time_s, trace.intensity, lw=0.8, color="tab:green")
    for n in (1, 2, 3):
        start_s = n * 1.96 / 0.5 + (n - 1) * 25.0
        axis.axvspan(start_s, start_s + 25.0, color="0.9", zorder=0)
    axis.set_xlabel("time since the shutter opened [s]")
    axis.set_ylabel("specular beam [counts/s]")
    axis.set_title("0.5 ML/s at 744 K, shutter closed where shaded", fontsize=9)
    save(figure, "mbe/oscillations_interrupted.png")


def draw_cell(plt: Any) -> None:
    """Show a cell: its approach under control, and the flux when the shutter opens."""
    loop = TemperatureLoop(
        ThermalBody(body_lag_s=8.0, element_lag_s=2.0, full_power_K=1600.0),
        Gains(integral_per_K_s=0.002, derivative_s_per_K=0.015),
        start_K=1050.0,
    )
    shape = CellShape(overshoot=0.05, overshoot_s=3.0, charge_ML=20_000.0)
    cell = EffusionCell(shape, VAPOURS["gallium"], loop)
    loop.ask(1150.0, rate_K_per_s=10.0)
    times_s, melt_K, set_K = [], [], []
    for i in range(400):
        cell.advance(0.1)
        times_s.append(0.1 * (i + 1))
        melt_K.append(loop.reading_K)
        set_K.append(loop.set_point_K)
    cell.open()
    beam_s, beam = [], []
    for i in range(200):
        beam_s.append(0.1 * i)
        beam.append(cell.flux_ML_per_s)
        cell.advance(0.1)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2))
    left.plot(times_s, set_K, "k--", lw=0.8, label="set point")
    left.plot(times_s, melt_K, color="tab:red", label="melt")
    left.set_xlabel("time [s]")
    left.set_ylabel("gallium cell [K]")
    left.legend(fontsize=8)
    right.plot(beam_s, beam, color="tab:blue")
    right.axhline(cell.calibrated_ML_per_s, color="0.6", lw=0.8)
    right.set_xlabel("time since the shutter opened [s]")
    right.set_ylabel("flux [ML/s]")
    figure.tight_layout()
    save(figure, "mbe/cell_transient.png")


def draw_heater(plt: Any) -> None:
    """Show the substrate heater on a ramp and on a jump of its set point."""
    figure, axes = plt.subplots(2, 2, figsize=(9, 5), sharex=True)
    for column, rate in enumerate((5.0, 40.0)):
        loop = TemperatureLoop(ThermalBody(), Gains(), start_K=700.0)
        loop.ask(850.0, rate_K_per_s=rate)
        times_s, reading_K, set_K, power = [], [], [], []
        for i in range(600):
            loop.advance(0.1)
            times_s.append(0.1 * (i + 1))
            reading_K.append(loop.reading_K)
            set_K.append(loop.set_point_K)
            power.append(loop.power)
        upper, lower = axes[0, column], axes[1, column]
        upper.plot(times_s, set_K, "k--", lw=0.8, label="set point")
        upper.plot(times_s, reading_K, color="tab:red", label="thermocouple")
        upper.set_title(f"{rate:g} K/s", fontsize=9)
        lower.plot(times_s, power, color="tab:orange")
        lower.set_xlabel("time [s]")
    axes[0, 0].set_ylabel("substrate [K]")
    axes[1, 0].set_ylabel("power, part of full")
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    save(figure, "mbe/heater_ramp.png")


def draw_step_flow(plt: Any) -> None:
    """Show the step density while films grow on staircases of two widths."""
    density = tests_of("test_step_flow").step_density
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True)
    for axis, substrate_K in zip(axes, (700.0, 780.0), strict=True):
        for steps, name in ((0, "flat"), (4, "terraces of 24 sites"), (8, "terraces of 12 sites")):
            film = Film.vicinal(size=96, steps=steps, parameters=MATERIAL, seed=1)
            seen = [density(film.heights, steps)]
            for _ in range(100):
                film.advance(temperature_K=substrate_K, flux_ML_per_s=0.5, duration_s=0.1)
                seen.append(density(film.heights, steps))
            axis.plot(np.arange(101) * 0.05, seen, lw=1.0, label=name)
        axis.set_title(f"{substrate_K:g} K, 0.5 ML/s", fontsize=9)
        axis.set_xlabel("dose [ML]")
    axes[0].set_ylabel("steps per site")
    axes[1].legend(fontsize=8)
    save(figure, "mbe/step_flow.png")


def markdown(table: list[Row]) -> str:
    """Return the table as a page."""
    lines = ["| quantity | found | expected | reference | passed |", "|---|---|---|---|---|"]
    for line in table:
        passed = "yes" if line["passed"] else "NO"
        lines.append(
            f"| {line['quantity']} | {line['found']:.4g} | {line['expected']} | "
            f"{line['reference']} | {passed} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    """Compute every row, draw every picture, write both files."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    for draw in (draw_frames, draw_interruption, draw_cell, draw_heater, draw_step_flow):
        draw(plt)
        plt.close("all")
    if "--pictures" in sys.argv:
        return
    table = [*cells_and_heater(), *growth(), *step_flow(), *diffraction(), *analysts()]
    (HERE / "mbe.json").write_text(json.dumps({"rows": table}, indent=2) + "\n", encoding="utf-8")
    (HERE / "mbe.md").write_text(markdown(table), encoding="utf-8")
    if not all(line["passed"] for line in table):
        sys.exit("some figures miss what is expected")


if __name__ == "__main__":
    main()
