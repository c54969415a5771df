"""How often the intervals of the STM analyst hold the truth; write `stm_analyst.json` and `.md` here.

    python docs/validation/stm_analyst.py [--cases 210] [--keep FOLDER]

Films are grown by the growth code at several temperatures, imaged by the twin with another microscope
each time (its hidden state is drawn from the seed), and read by the analyst; the same is done with
graphene that has a vacancy and a nitrogen atom. An interval of 90 % should hold the truth in 85 to
95 of a hundred cases. With `--keep` each image stays in a folder and is not computed again.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stm_cases import TEMPERATURES_K, DefectCase, FilmCase, defect_case, film_case

from twinloop.analysts.stm import STMAnalyst
from twinloop.analysts.stm_islands import count_islands
from twinloop.instruments.stm.interface import Scan
from twinloop.simulators.film_structure import MESH_A

HERE = Path(__file__).parent
ANALYST = STMAnalyst()
NINETY = 1.645
SMALLEST_COLUMNS = 4
"""Size of the smallest island that counts, in the truth as in the image (64 A^2)."""

NEAR_A = 2.0
"""A defect within this of a true one is that one [A]."""

META = (
    "line_time_s", "saturations", "ringing", "check_line", "check_start_s", "bias_V", "setpoint_nA",
    "centre_x_A", "centre_y_A", "angle_deg",
)  # fmt: skip
ARRAYS = (
    "z_forward_A", "z_backward_A", "current_forward_nA", "current_backward_nA", "x_A", "y_A",
    "check_z_A", "line_start_s",
)  # fmt: skip


def kept(folder: Path | None, kind: str, case: int, make: Callable[[int], Any]) -> Any:
    """Return a case, computed or from the folder."""
    path = None if folder is None else folder / f"{kind}_{case}.npz"
    if path is None or not path.is_file():
        made = make(case)
        if path is not None:
            save(path, made)
        return made
    with np.load(path, allow_pickle=False) as saved:
        meta = {name: saved[f"m_{name}"].item() for name in META}
        arrays = {name: saved[name] for name in ARRAYS}
        events = tuple(str(e) for e in saved["events"])
        scan = Scan(**meta, **arrays, mode="constant_current", is_complete=True)
        if kind == "film":
            return FilmCase(scan, saved["inside"], saved["film"], float(saved["T"]), events)
        return DefectCase(scan, saved["defects"], events)


def save(path: Path, case: FilmCase | DefectCase) -> None:
    """Keep a case."""
    arrays = {name: getattr(case.scan, name) for name in ARRAYS}
    arrays |= {f"m_{name}": np.array(getattr(case.scan, name)) for name in META}
    arrays["events"] = np.array(case.events, dtype="U20")
    if isinstance(case, FilmCase):
        arrays |= {"inside": case.inside, "film": case.film, "T": np.array(case.temperature_K)}
    else:
        arrays["defects"] = case.defects_A
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def images(scan: Scan) -> dict[str, Any]:
    """Return what the analyst's image quantities take."""
    return {n: getattr(scan, n) for n in ("z_forward_A", "z_backward_A", "x_A", "y_A")}


def film_row(case: FilmCase) -> dict[str, float]:
    """Return what was seen of a film beside the truth, and whether each interval holds it."""
    area_A2 = case.film.size * MESH_A**2
    seen = ANALYST.compute("film", **images(case.scan), film_area_A2=area_A2)
    here = count_islands(case.inside, smallest_cells=SMALLEST_COLUMNS).count / _counted_nm2(
        case.inside
    )
    whole = count_islands(case.film, smallest_cells=SMALLEST_COLUMNS).count / _counted_nm2(
        case.film
    )
    away = float(case.inside.std()) - seen.roughness_ML
    away_whole = float(case.film.std()) - seen.roughness_ML
    ghost = ANALYST.compute(
        "artefacts",
        **images(case.scan),
        ringing=case.scan.ringing,
        saturations=case.scan.saturations,
    )
    return {
        "temperature_K": case.temperature_K,
        "roughness_true_ML": float(case.inside.std()),
        "roughness_ML": seen.roughness_ML,
        "roughness_sd_ML": seen.roughness_sd_ML,
        "roughness": abs(away) <= NINETY * seen.roughness_sd_ML,
        "film_roughness": abs(away_whole) <= NINETY * seen.film_roughness_sd_ML,
        "islands_true_per_nm2": here,
        "islands_per_nm2": seen.islands_per_nm2,
        "islands": _holds(seen.islands_low_per_nm2, here, seen.islands_high_per_nm2),
        "film_islands": _holds(
            seen.film_islands_low_per_nm2, whole, seen.film_islands_high_per_nm2
        ),
        "steps_per_A": seen.steps_per_A,
        "false_double_tip": ghost.is_double_tip,
        "false_crash": ghost.is_crashed or ghost.is_saturated or ghost.is_oscillating,
    }


def defect_rows(case: DefectCase) -> list[dict[str, float]]:
    """Return each defect that was found and is one, beside the truth."""
    seen = ANALYST.compute("defects", **images(case.scan))
    rows = []
    for true in case.defects_A:
        far = np.linalg.norm(seen.places_A - true, axis=1)
        found = bool(far.size) and float(far.min()) < NEAR_A
        row: dict[str, float] = {"found": found}
        if found:
            best = int(np.argmin(far))
            away = np.abs(seen.places_A[best] - true)
            row |= {
                "x": away[0] <= NINETY * seen.places_sd_A[best, 0],
                "y": away[1] <= NINETY * seen.places_sd_A[best, 1],
                "error_A": float(far.min()),
                "sd_A": float(seen.places_sd_A[best].mean()),
            }
        rows.append(row)
    extra = sum(
        not case.defects_A.size or float(np.linalg.norm(case.defects_A - p, axis=1).min()) >= NEAR_A
        for p in seen.places_A
    )
    if rows:
        rows[0]["extra"] = float(extra)
    return rows


def _counted_nm2(heights: NDArray[np.int32]) -> float:
    """Return the area in which islands are counted: less one line and one column [nm^2]."""
    return (heights.shape[0] - 1) * (heights.shape[1] - 1) * MESH_A**2 / 100.0


def _holds(low: float, value: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9


def share(rows: list[dict[str, float]], name: str) -> dict[str, float]:
    """Return how often a statement held, with the standard deviation of that share."""
    values = np.array([float(row[name]) for row in rows if name in row])
    part = float(values.mean())
    return {
        "cases": int(values.size),
        "share": round(part, 4),
        "share_sd": round(math.sqrt(max(part * (1.0 - part), 1e-9) / values.size), 4),
    }


def summary(films: list[dict[str, float]], defects: list[dict[str, float]]) -> dict[str, Any]:
    """Return the figures of the report."""
    found = [row for row in defects if row["found"]]
    ratio = np.array([r["roughness_sd_ML"] / max(r["roughness_ML"], 1e-3) for r in films])
    table = {
        "roughness of the imaged area": share(films, "roughness"),
        "roughness of the whole film": share(films, "film_roughness"),
        "island density of the imaged area": share(films, "islands"),
        "island density of the whole film": share(films, "film_islands"),
        "defect position, x": share(found, "x"),
        "defect position, y": share(found, "y"),
    }
    by_temperature = {}
    for low in TEMPERATURES_K:
        rows = [r for r in films if abs(r["temperature_K"] - low) <= 20.0]
        if rows:
            by_temperature[f"{low:g} K"] = {
                "roughness": share(rows, "roughness"),
                "islands": share(rows, "islands"),
            }
    return {
        "coverage_of_90_percent_intervals": table,
        "by_growth_temperature": by_temperature,
        "defects_found": share(defects, "found"),
        "extra_defects_per_image": float(
            np.mean([row["extra"] for row in defects if "extra" in row])
        ),
        "defect_error_rms_A": float(np.sqrt(np.mean([r["error_A"] ** 2 for r in found]))),
        "defect_sd_A": float(np.mean([r["sd_A"] for r in found])),
        "roughness_relative_sd_median": float(np.median(ratio)),
        "false_double_tips": share(films, "false_double_tip"),
        "false_crashes": share(films, "false_crash"),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report as a table."""
    lines = [
        "| Quantity | cases | 90 % interval holds the truth | aim |",
        "|---|---|---|---|",
    ]
    for name, row in report["coverage_of_90_percent_intervals"].items():
        lines.append(
            f"| {name} | {row['cases']} | {row['share']:.1%} +- {row['share_sd']:.1%} | 85 to 95 % |"
        )
    lines += ["", "| Films grown at | roughness | island density |", "|---|---|---|"]
    for name, row in report["by_growth_temperature"].items():
        lines.append(
            f"| {name} ({row['roughness']['cases']}) | {row['roughness']['share']:.0%} | "
            f"{row['islands']['share']:.0%} |"
        )
    lines += [
        "",
        (
            f"Defects found: {report['defects_found']['share']:.1%} of "
            f"{report['defects_found']['cases']}; more that are none: "
            f"{report['extra_defects_per_image']:.2f} in an image. Error of a place: "
            f"{report['defect_error_rms_A']:.2f} A root mean square (stated: "
            f"{report['defect_sd_A']:.2f} A along each axis)."
        ),
        "",
        (
            f"Healthy images of films called a double tip: {report['false_double_tips']['share']:.1%}; "
            f"called crashed, saturated or oscillating: {report['false_crashes']['share']:.1%}."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compute the cases and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=210)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    films, defects = [], []
    for case in range(options.cases):
        film = kept(options.keep, "film", case, film_case)
        if not film.events:
            films.append(film_row(film))
        sheet = kept(options.keep, "defect", case, defect_case)
        if not sheet.events:
            defects += defect_rows(sheet)
    report = {"cases": options.cases} | summary(films, defects)
    (HERE / "stm_analyst.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (HERE / "stm_analyst.md").write_text(markdown(report), encoding="utf-8")
    sys.stdout.write(markdown(report))


if __name__ == "__main__":
    main()
