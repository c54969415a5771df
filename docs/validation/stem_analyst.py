"""Is the STEM analyst as sure as it may be? Its deviations against the twin's truth, and pictures.

    python docs/validation/stem_analyst.py [cases [films]]

scans seeded reference specimens and films with the twin of the microscope, lets the analyst look, and
compares with what the twin hides. Writes `stem_analyst.json` and `stem_analyst.md` beside this file,
and pictures into `docs/images/stem/`.

A case draws its own microscope: aberrations, calibration, drift, jitter. Places of columns are compared
up to a common shift, because nobody knows where the stage stands. The seeds (`COLUMN_SEEDS`, `FILM_SEEDS`)
were looked at by nobody while the analyst was made: what it was made with has seeds below 30 000.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twinloop.analysts.stem import STEMAnalyst
from twinloop.clocks import VirtualClock
from twinloop.instruments.standin.testing import command_for
from twinloop.instruments.stem.twin import STEMTwin
from twinloop.simulators.film_structure import MESH_A, FilmStructure
from twinloop.simulators.specimen import Specimen
from twinloop.simulators.stem.stock import LAMELLA_DEEP

COLUMN_SEEDS, FILM_SEEDS = 40_000, 50_000
HERE = Path("docs/validation")
IMAGES = Path("docs/images/stem")
ANALYST = STEMAnalyst()
SORTS = {"mos2": (3.16, 10.0), "srtio3": (3.905, 10.0), "graphene_defects": (2.46, 60.0)}
"""Lattice constant [A] and dwell time [us] of the columns' cases."""

FIELD = {"field_A": 18.0, "pixels": 96}
FILM_FIELD = {"field_A": 90.0, "pixels": 288, "region": (0, 96, 288, 96)}
SIDE = 24
LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
QUANTILES = (0.6745, 0.9945, 1.2816, 1.6449, 1.9600)


class FilmTwin(STEMTwin):
    """A microscope whose autoloader holds films of known thickness."""

    def stock(self, sample: str) -> Specimen:
        """Return a film drawn from the seed."""
        return Specimen(sample, self.seed, film_of(self.seed))


def film_of(seed: int) -> FilmStructure:
    """Return a film of 3 to 14 ML, rough and interdiffused as drawn, AlAs or (Al,Ga)As."""
    rng = np.random.default_rng([seed, 77])
    k = np.fft.fftfreq(SIDE)
    damping = np.exp(-2 * np.pi**2 * 9.0 * (k[:, None] ** 2 + k[None] ** 2))
    waves = np.fft.ifft2(np.fft.fft2(rng.standard_normal((SIDE, SIDE))) * damping).real
    heights = rng.uniform(3.0, 14.0) + rng.uniform(0.0, 1.0) * waves / waves.std()
    whole = np.floor(heights + rng.uniform()).astype(np.int32).clip(0)
    mixing_ML = float(rng.choice([0.0, 0.3, 0.6, 1.0, 1.5, 2.0]))
    return FilmStructure(whole, np.full(40, float(rng.choice([1.0, 1.0, 0.7, 0.5]))), mixing_ML)


def opened(cls: type[STEMTwin], **settings: Any) -> STEMTwin:
    """Return a microscope with its sample on the stage."""
    twin = cls(**settings)
    twin.attach(VirtualClock())
    twin.connect()
    act(twin, "take")
    return twin


def act(twin: STEMTwin, action: str, **arguments: Any) -> Any:
    """Perform one action."""
    twin.begin(command_for(twin, action, "s1", **arguments))
    return asyncio.run(getattr(twin, action)(**arguments))


def seen_by_analyst(image: Any) -> dict[str, Any]:
    """Return the arguments of the analyst for an image."""
    return {
        "counts": image.counts,
        "pixel_A": image.pixel_A,
        "dark_counts": image.dark_counts,
        "is_acquired": image.is_acquired,
    }


def true_pixels(twin: STEMTwin) -> NDArray[np.float64]:
    """Return row and column at which the atoms in the last scan appear, jitter aside."""
    truth = twin.truth()
    path, atoms = truth["path"], truth["specimen"].atoms
    x_A, y_A = path.places_A(0, path.raster.shape[0])
    middle = np.array([x_A.mean(), y_A.mean()])
    edges = atoms.cell_A[:2]
    near = (atoms.positions_A[:, :2] - middle + 0.5 * edges) % edges - 0.5 * edges
    reach = 0.5 * max(np.ptp(x_A), np.ptp(y_A)) + 2.0
    near = near[(np.abs(near) < reach).all(axis=1)] + middle
    found: NDArray[np.float64] = path.pixels_of(near[:, 0], near[:, 1])
    return found


def column_case(seed: int) -> dict[str, Any]:
    """Scan and compare one field of columns."""
    sort = list(SORTS)[seed % len(SORTS)]
    lattice_A, dwell_us = SORTS[sort]
    twin = opened(STEMTwin, seed=seed, specimen=sort)
    act(twin, "set_optics", current_nA=0.06, inner_mrad=60.0)
    scale = twin.truth()["state"]["column"]
    image = act(twin, "scan", dwell_us=dwell_us, **FIELD)
    columns = ANALYST.compute("columns", **seen_by_analyst(image))
    lattice = ANALYST.compute("lattice", expected_a_A=lattice_A, **seen_by_analyst(image))
    truth = true_pixels(twin) * image.pixel_A
    twin.disconnect()
    found = np.column_stack([columns.y_A, columns.x_A])
    away = np.hypot(*(found[:, None] - truth[None]).transpose(2, 0, 1))
    edge = FIELD["field_A"] - 1.0
    inside = (away.min(axis=1) < 0.6) & (found.min(axis=1) > 1.0) & (found.max(axis=1) < edge)
    error = (found - truth[away.argmin(axis=1)])[inside]
    error -= np.median(error, axis=0)
    sd = np.column_stack([columns.y_sd_A, columns.x_sd_A])[inside]
    true_scale = 0.5 * (scale["scale_x"] + scale["scale_y"])
    return {
        "sort": sort,
        "error_A": error,
        "sd_A": sd,
        "scale": (lattice.scale - true_scale, lattice.scale_sd) if lattice.is_seen else None,
        "alarm": lattice.is_distorted or lattice.is_blurred,
    }


def film_case(seed: int) -> dict[str, Any]:
    """Scan and compare one film in cross-section."""
    twin = opened(FilmTwin, seed=seed, specimen="film")
    act(twin, "set_optics", current_nA=0.05)
    image = act(twin, "scan", dwell_us=10.0, **FILM_FIELD)
    film = film_of(seed)
    truth = twin.truth()
    cut = next(e for e in truth["specimen"].history if e.what == "cut_lamella").numbers
    x_A, _ = truth["path"].places_A(0, truth["path"].raster.shape[0])
    twin.disconnect()
    along = np.arange(int(x_A.min() // MESH_A), int(x_A.max() // MESH_A) + 1)
    rows = (int(cut["row"]) + np.arange(min(SIDE, LAMELLA_DEEP))) % SIDE
    local_ML = film.heights_ML[np.ix_(rows, (int(cut["column"]) + along) % SIDE)].mean()
    found = ANALYST.compute("film", **seen_by_analyst(image))
    return {
        "seen": found.is_seen,
        "thickness": (found.thickness_ML - float(local_ML), found.thickness_sd_ML),
        "width": (found.width_ML - film.mixing_ML, found.width_sd_ML),
        "mixing_ML": film.mixing_ML,
        "whole": film.coverage_ML - float(local_ML),
    }


def wilson(part: float, number: float) -> tuple[float, float]:
    """Return between what the true part lies, with 95 %, by a number of independent cases.

    Source: Wilson, J. Am. Stat. Assoc. 22, 209 (1927), doi:10.1080/01621459.1927.10502953.
    """
    square = 1.96**2 / max(number, 1e-9)
    middle = (part + 0.5 * square) / (1.0 + square)
    half = np.sqrt(part * (1.0 - part) * square + 0.25 * square**2) / (1.0 + square)
    return float(middle - half), float(middle + half)


def independent(inside: NDArray[np.bool_], case: NDArray[np.int64]) -> float:
    """Return how many independent truths say as much as these: those of one image stand or fall together."""
    part = float(inside.mean())
    away = np.bincount(case, inside - part)
    variance = float((away**2).sum()) / inside.size**2
    return min(float(inside.size), part * (1.0 - part) / max(variance, 1e-12))


def coverage(
    errors: NDArray[np.float64], sds: NDArray[np.float64], case: NDArray[np.int64] | None = None
) -> dict[str, Any]:
    """Return which part of the truths lies inside intervals of each level, and how sure that is."""
    z = np.abs(errors / sds)
    at_90 = z < QUANTILES[LEVELS.index(0.9)]
    number = independent(at_90, np.arange(z.size) if case is None else case)
    inside = {
        f"{level:g}": float((z < q).mean()) for level, q in zip(LEVELS, QUANTILES, strict=True)
    }
    rms, median = float(np.sqrt(np.mean(errors**2))), float(np.median(sds))
    return {
        "n": float(z.size),
        "independent": round(number, 1),
        "rms_error": rms,
        "median_sd": median,
        **inside,
        "wilson_90": wilson(float(at_90.mean()), number),
    }


def summary(columns: list[dict[str, Any]], films: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the table."""
    table: dict[str, Any] = {}
    for sort in SORTS:
        mine = [case for case in columns if case["sort"] == sort]
        for axis, name in ((1, "x_A"), (0, "y_A")):
            errors = np.concatenate([case["error_A"][:, axis] for case in mine])
            sds = np.concatenate([case["sd_A"][:, axis] for case in mine])
            table[f"columns {sort} {name}"] = coverage(errors, sds, _numbers(mine, 1))
    errors = np.concatenate([case["error_A"].ravel() for case in columns])
    sds = np.concatenate([case["sd_A"].ravel() for case in columns])
    table["columns all"] = coverage(errors, sds, _numbers(columns, 2))
    scales = np.array([case["scale"] for case in columns if case["scale"] is not None])
    table["pixel size [1]"] = coverage(*scales.T)
    seen = [case for case in films if case["seen"]]
    for name in ("thickness", "width"):
        table[f"film {name} [ML]"] = coverage(*np.array([case[name] for case in seen]).T)
    return {
        "cases": {"columns": len(columns), "films": len(films), "films seen": len(seen)},
        "alarms": sum(case["alarm"] for case in columns),
        "whole_film_rms_ML": float(np.sqrt(np.mean([case["whole"] ** 2 for case in films]))),
        "table": table,
    }


def _numbers(cases: list[dict[str, Any]], axes: int) -> NDArray[np.int64]:
    """Return which case each of the columns' places is of."""
    return np.repeat(np.arange(len(cases)), [axes * len(case["error_A"]) for case in cases])


def text_of(found: dict[str, Any]) -> str:
    """Return the page."""
    levels = " | ".join(f"{level:.0%}" for level in LEVELS)
    about = (
        f"Cases: {found['cases']}. False alarms of distortion or blur in healthy scans: "
        f"{found['alarms']}. The thickness is that of the field of view; the whole film's differs by "
        f"{found['whole_film_rms_ML']:.2f} ML rms."
    )
    lines = [
        "# Is the STEM analyst as sure as it may be?",
        "",
        "Made by `python docs/validation/stem_analyst.py`; do not edit. The convolution model made the",
        "images, so that figures of thickness and contrast are those of incoherent imaging.",
        "",
        about,
        "",
        f"| quantity | n | rms error | median sd | {levels} | 90% lies in |",
        "|---|---|---|---|" + "---|" * (len(LEVELS) + 1),
    ]
    for name, row in found["table"].items():
        parts = " | ".join(f"{row[f'{level:g}']:.3f}" for level in LEVELS)
        lines.append(
            f"| {name} | {row['n']:.0f} | {row['rms_error']:.4f} | {row['median_sd']:.4f} | {parts} "
            f"| {row['wilson_90'][0]:.3f} to {row['wilson_90'][1]:.3f} |"
        )
    lines += [
        "",
        "The last column is Wilson's 95 % interval of the share inside 90 % intervals; columns of one image",
        "share its probe and its lines, and count as fewer independent ones (`independent` in the JSON file).",
        "The seeds are fresh: none served to make the analyst.",
    ]
    lines += ["", "![reliability](../images/stem/reliability.png)", ""]
    return "\n".join(lines)


def draw_reliability(found: dict[str, Any]) -> None:
    """Draw which part of the truths lies inside intervals of each level."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.2, 5.0), layout="constrained")
    axes.plot([0.4, 1.0], [0.4, 1.0], color="0.6", lw=1.0)
    axes.fill_between([0.88, 0.92], 0.85, 0.95, color="0.9")
    for name in ("columns all", "pixel size [1]", "film thickness [ML]", "film width [ML]"):
        row = found["table"][name]
        axes.plot(LEVELS, [row[f"{level:g}"] for level in LEVELS], "o-", ms=4, label=name)
    axes.set(
        xlabel="level of the interval",
        ylabel="part of the truths inside it",
        xlim=(0.4, 1.0),
        ylim=(0.4, 1.0),
    )
    axes.legend(frameon=False)
    figure.savefig(IMAGES / "reliability.png", dpi=150)
    plt.close(figure)


def draw_pictures() -> None:
    """Draw the images that everybody knows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shots: list[tuple[str, str, Callable[[], Any]]] = [
        (
            "graphene",
            "graphene, 80 kV: vacancies, silicon",
            lambda: _shot("graphene_defects", 36.0, 60.0, 0.1),
        ),
        ("mos2", "MoS2, 80 kV: sulphur vacancies", lambda: _shot("mos2", 40.0, 20.0, 0.06)),
        ("srtio3", "SrTiO3 [001], 80 kV, 12 nm", lambda: _shot("srtio3", 40.0, 10.0, 0.03)),
        ("film", "AlAs on GaAs, [1-10], 80 kV", _film_shot),
    ]
    figure, axes = plt.subplots(2, 2, figsize=(10.0, 10.4), layout="constrained")
    for axis, (_, title, shot) in zip(axes.ravel(), shots, strict=True):
        image = shot()
        low, high = np.percentile(image.counts, [0.5, 99.8])
        extent = (image.x_A[0], image.x_A[-1], image.y_A[0], image.y_A[-1])
        axis.imshow(image.counts, cmap="gray", origin="lower", extent=extent, vmin=low, vmax=high)
        bar_A = 10.0
        axis.plot([extent[0] + 2, extent[0] + 2 + bar_A], [extent[2] + 2] * 2, color="w", lw=3)
        axis.text(extent[0] + 2, extent[2] + 3.2, "1 nm", color="w")
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(IMAGES / "haadf.png", dpi=110)
    plt.close(figure)


def _shot(sort: str, field_A: float, dwell_us: float, current_nA: float) -> Any:
    twin = opened(STEMTwin, seed=2, specimen=sort)
    hidden_A = twin.truth()["state"]["column"]["defocus_A"]
    act(twin, "set_optics", defocus_A=-hidden_A, current_nA=current_nA, inner_mrad=60.0)
    image = act(twin, "scan", field_A=field_A, pixels=320, dwell_us=dwell_us)
    twin.disconnect()
    return image


def _film_shot() -> Any:
    class Film(STEMTwin):
        def stock(self, sample: str) -> Specimen:
            rng = np.random.default_rng(6)
            k = np.fft.fftfreq(48)
            damping = np.exp(-2 * np.pi**2 * 16.0 * (k[:, None] ** 2 + k[None] ** 2))
            waves = np.fft.ifft2(np.fft.fft2(rng.standard_normal((48, 48))) * damping).real
            heights = np.floor(9.5 + 0.5 * waves / waves.std()).astype(np.int32)
            return Specimen(sample, 1, FilmStructure(heights, np.ones(12), 0.5))

    twin = opened(Film, seed=2, specimen="film")
    hidden_A = twin.truth()["state"]["column"]["defocus_A"]
    act(twin, "set_optics", defocus_A=-hidden_A, current_nA=0.05)
    image = act(twin, "scan", field_A=80.0, pixels=400, dwell_us=10.0)
    twin.disconnect()
    return image


def main() -> None:
    """Run the cases and write table, page and pictures."""
    counts = [int(word) for word in sys.argv[1:]] or [210, 210]
    IMAGES.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    columns = [column_case(COLUMN_SEEDS + seed) for seed in range(counts[0])]
    films = [film_case(FILM_SEEDS + seed) for seed in range(counts[-1])]
    found = summary(columns, films)
    found["cpu_s"] = round(time.process_time() - start, 1)
    (HERE / "stem_analyst.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    (HERE / "stem_analyst.md").write_text(text_of(found), encoding="utf-8")
    draw_reliability(found)
    draw_pictures()
    sys.stdout.write(text_of(found) + "\n")


if __name__ == "__main__":
    main()
