"""Draw what the twin of the tunnelling microscope sees; write docs/images/stm/*.png.

    python docs/validation/stm_pictures.py

A film with islands and the truth beside it, vacancies in graphene, a double tip, a crash. Levelled by
the analyst's own means, otherwise as recorded.
"""

import tempfile
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from stm_cases import act, heights_inside, twin_with

from twinloop.analysts.stm_levelling import flatten_lines, level_terraces
from twinloop.simulators.film_structure import MONOLAYER_A, FilmStructure
from twinloop.simulators.kmc import Film, GrowthParameters
from twinloop.simulators.specimen import Specimen

OUT = Path(__file__).parents[1] / "images" / "stm"
SIDE_A = 240.0


def film(temperature_K: float = 690.0, dose_ML: float = 2.35) -> NDArray[np.int32]:
    """Return the heights of a film with islands on two open layers."""
    grown = Film.flat(size=96, parameters=GrowthParameters(multi_hop=8), seed=11)
    grown.advance(temperature_K=temperature_K, flux_ML_per_s=0.2, duration_s=dose_ML / 0.2)
    return grown.heights


def show(axes: Any, image: NDArray[Any], side_A: float, title: str, **how: Any) -> None:
    """Draw one image with its scale."""
    extent = (0.0, side_A / 10.0, 0.0, side_A / 10.0)
    drawn = axes.imshow(image, origin="lower", extent=extent, **how)
    axes.set(title=title, xlabel="x [nm]", ylabel="y [nm]")
    plt.colorbar(drawn, ax=axes, shrink=0.8, label="z [A]")


def terraced(z: NDArray[Any]) -> NDArray[np.float64]:
    """Return a levelled image of a film [A]."""
    level = MONOLAYER_A * level_terraces(np.asarray(z, np.float64), MONOLAYER_A).u
    return level - np.median(level)


def draw_films(folder: Path) -> None:
    """Draw a film as it is and as the microscope sees it: well, with a double tip, in a crash."""
    heights = film()
    specimen = Specimen("s1", 5, FilmStructure(heights, np.array([0.3])))
    scans = {}
    for name, fault in (("film", None), ("double_tip", "double_tip"), ("crash", "tip_crash")):
        twin = twin_with(specimen, 8, folder / name)
        if fault is not None:
            twin.inject(fault)
        scans[name] = act(twin, "scan", width_A=SIDE_A, height_A=SIDE_A)
        if fault is None:
            frame = twin.truth()["frame"]
            inside = heights_inside(heights, frame["x_A"], frame["y_A"])
        twin.disconnect()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    truth = MONOLAYER_A * (inside - np.median(inside))
    show(axes[0], truth, SIDE_A, "the film (growth code)", cmap="copper")
    show(axes[1], terraced(scans["film"].z_forward_A), SIDE_A, "as imaged, levelled", cmap="copper")
    raw = scans["film"].z_forward_A
    show(axes[2], raw - raw.mean(), SIDE_A, "as recorded: tilt, drift", cmap="copper")
    figure.savefig(OUT / "film.png", dpi=90)
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    show(axes[0], terraced(scans["film"].z_forward_A), SIDE_A, "single tip", cmap="copper")
    show(axes[1], terraced(scans["double_tip"].z_forward_A), SIDE_A, "double tip", cmap="copper")
    crash = flatten_lines(np.asarray(scans["crash"].z_forward_A, np.float64))
    show(axes[2], crash, SIDE_A, "crash in the middle", cmap="copper", vmin=-6.0, vmax=10.0)
    figure.savefig(OUT / "artefacts.png", dpi=90)


def draw_graphene(folder: Path) -> None:
    """Draw vacancies and nitrogen in graphene, forward and backward, and the current's error."""
    twin = twin_with("graphene", 3, folder / "graphene")
    act(twin, "set_feedback", setpoint_nA=0.1, bias_V=0.5)
    seen = act(
        twin, "scan", width_A=48.0, height_A=48.0, bias_V=0.5, pixels_x=160, pixels_y=160,
        line_time_s=0.3,
    )  # fmt: skip
    twin.disconnect()
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.4), layout="constrained")
    level = flatten_lines(np.asarray(seen.z_forward_A, np.float64))
    level -= np.median(level)
    show(axes[0], level, 48.0, "graphene, 0.5 V, 0.1 nA", cmap="afmhot")
    show(axes[1], level, 48.0, "the lattice around", cmap="afmhot", vmin=-0.25, vmax=0.4)
    error = 1000.0 * (seen.current_forward_nA - 0.1)
    drawn = axes[2].imshow(
        error, origin="lower", extent=(0.0, 4.8, 0.0, 4.8), cmap="gray", vmin=-15.0, vmax=15.0
    )
    axes[2].set(title="current error of the loop", xlabel="x [nm]", ylabel="y [nm]")
    plt.colorbar(drawn, ax=axes[2], shrink=0.8, label="I - setpoint [pA]")
    figure.savefig(OUT / "graphene.png", dpi=90)


def main() -> None:
    """Draw all."""
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        draw_films(Path(folder))
        draw_graphene(Path(folder))


if __name__ == "__main__":
    main()
