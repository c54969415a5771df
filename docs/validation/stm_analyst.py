"""How often the intervals of the STM analyst hold the truth; write `stm_analyst.json` and `.md` here.

    python docs/validation/stm_analyst.py [--first 4000] [--films 150] [--sheets 150] [--faults 50]
        [--keep FOLDER]

Films are grown by the growth code at several temperatures, imaged by the twin with another microscope
each time (its hidden state is drawn from the seed), and read by the analyst; the same is done with
graphene that has a vacancy, a nitrogen and a boron atom, and with faults of the microscope. An interval of
90 % should hold the truth in 85 to 95 of a hundred cases. The analyst's constants were fitted on cases
below 4000, so those from 4000 on judge it. With `--keep` each image stays in a folder and is not
computed again.
"""

import argparse
import itertools
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stm_cases import (
    EDGE_A,
    FAULTS,
    KINDS,
    TEMPERATURES_K,
    DefectCase,
    FaultCase,
    FilmCase,
    defect_case,
    fault_case,
    film_case,
)

from twinloop.analysts.stm import STMAnalyst
from twinloop.analysts.stm_islands import count_islands
from twinloop.analysts.stm_lattice import Defects, find_defects, fit_lattice
from twinloop.analysts.stm_levelling import flatten_lines
from twinloop.ids import seed_of
from twinloop.instruments.stm.interface import Scan
from twinloop.simulators.film_structure import MESH_A
from twinloop.simulators.stm import coloured_noise

HERE = Path(__file__).parent
ANALYST = STMAnalyst()
NINETY = 1.645
SMALLEST_COLUMNS = 4
"""Size of the smallest island that counts, in the truth as in the image (64 A^2)."""

NEAR_A = 2.0
"""A defect within this of a true one is that one [A]."""

RESTLESS = (30.0, 100.0, 200.0, 400.0, 800.0)
USUAL_A_PER_SQRT_HZ = 2.0e-4
"""Height noise that is added: times the density of a quiet microscope [A/Hz^(1/2)]."""

NOISY = 60
"""Images of graphene that are looked at in more noise."""

RATIOS = (0.0, 3.0, 5.0, 6.0, 7.0, 9.0, 15.0, 1000.0)
"""Borders of signal over noise [1]."""

VERDICTS = ("double tip", "oscillation", "crash", "saturation")

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
        if kind == "fault":
            return FaultCase(scan, str(saved["fault"]), events)
        if kind == "film":
            return FilmCase(scan, saved["inside"], saved["film"], float(saved["T"]), events)
        kinds = tuple(str(k) for k in saved["kinds"])
        return DefectCase(scan, saved["defects"], kinds, saved["ideal"], events)


def save(path: Path, case: FilmCase | DefectCase | FaultCase) -> None:
    """Keep a case."""
    arrays = {name: getattr(case.scan, name) for name in ARRAYS}
    arrays |= {f"m_{name}": np.array(getattr(case.scan, name)) for name in META}
    arrays["events"] = np.array(case.events, dtype="U20")
    if isinstance(case, FilmCase):
        arrays |= {"inside": case.inside, "film": case.film, "T": np.array(case.temperature_K)}
    elif isinstance(case, FaultCase):
        arrays["fault"] = np.array(case.fault)
    else:
        arrays |= {
            "defects": case.defects_A,
            "kinds": np.array(case.kinds, dtype="U10"),
            "ideal": case.ideal_A,
        }
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


def defect_rows(case: DefectCase) -> list[dict[str, Any]]:
    """Return each defect beside what was found of it; the first row counts what is none."""
    seen = ANALYST.compute("defects", **images(case.scan))
    rows: list[dict[str, Any]] = []
    for true, kind in zip(case.defects_A, case.kinds, strict=True):
        far = np.linalg.norm(seen.places_A - true, axis=1)
        found = bool(far.size) and float(far.min()) < NEAR_A
        row: dict[str, Any] = {"found": found, "kind": kind, "is_empty": case.scan.bias_V > 0}
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
    return rows


def sheet_row(case: DefectCase) -> dict[str, float]:
    """Return what was called a defect and is none, and the other verdicts on a healthy image.

    Defects in the rim that does not count are known in place only by the whole box, so what is found
    there counts for nothing.
    """
    seen = ANALYST.compute("defects", **images(case.scan))
    half = 0.5 * np.array([np.ptp(case.scan.x_A), np.ptp(case.scan.y_A)]) - EDGE_A
    inside = seen.places_A[(np.abs(seen.places_A) < half - NEAR_A).all(axis=1)]
    extra = sum(
        not case.defects_A.size or float(np.linalg.norm(case.defects_A - p, axis=1).min()) >= NEAR_A
        for p in inside
    )
    return {"extra": float(extra), "false_double_tip": seen.is_double_tip}


def visibility_rows(case: DefectCase, number: int) -> list[dict[str, Any]]:
    """Return whether each defect is found in more and more noise.

    Height noise of the twin's own spectrum is added to the image, by `RESTLESS` times the usual
    density. The signal is the defect's height over the lattice in the image without noise, after the
    analyst's smoothing; the noise is the deviation that the smoothed image has where no defect is.
    """
    rng = np.random.default_rng(seed_of("stm_analyst", "noise", number))
    scan, pitch_A = case.scan, float(np.diff(case.scan.x_A).mean())
    ideal = flatten_lines(case.ideal_A)
    clean = _bumps(ideal, pitch_A, 0.02)
    rows: list[dict[str, Any]] = []
    for times in RESTLESS:
        noise_A = coloured_noise(
            2 * case.ideal_A.size, rate_Hz=2.0 * scan.x_A.size / scan.line_time_s,
            density=USUAL_A_PER_SQRT_HZ * times, corner_Hz=10.0, rng=rng,
        ).reshape(scan.y_A.size, 2, scan.x_A.size)  # fmt: skip
        both = images(scan) | {
            "z_forward_A": scan.z_forward_A + noise_A[:, 0],
            "z_backward_A": scan.z_backward_A + noise_A[:, 1, ::-1],
        }
        seen = ANALYST.compute("defects", **both)
        scatter_A = seen.scatter_A
        for true, kind in zip(case.defects_A, case.kinds, strict=True):
            near = np.linalg.norm(clean.places_A - true, axis=1) < NEAR_A
            signal_A = float(clean.heights_A[near].max()) if near.any() else 0.0
            far = np.linalg.norm(seen.places_A - true, axis=1)
            found = bool(far.size) and float(far.min()) < NEAR_A
            rows.append({"kind": kind, "found": found, "ratio": signal_A / scatter_A})
    return rows


def fault_row(case: FaultCase) -> dict[str, Any]:
    """Return the verdicts on an image with a fault."""
    row: dict[str, Any] = {"fault": case.fault}
    if case.fault == "double_tip_sheet":
        seen = ANALYST.compute("defects", **images(case.scan))
        return row | {"double tip": seen.is_double_tip}
    seen = ANALYST.compute(
        "artefacts",
        **images(case.scan),
        ringing=case.scan.ringing,
        saturations=case.scan.saturations,
    )
    return row | {
        "double tip": seen.is_double_tip,
        "oscillation": seen.is_oscillating,
        "crash": seen.is_crashed,
        "saturation": seen.is_saturated,
    }


def _bumps(z: NDArray[np.float64], pitch_A: float, least_A: float) -> Defects:
    """Return what stands out of an image without noise."""
    fit = fit_lattice(z, (pitch_A, pitch_A), ANALYST.spacing_A)
    return find_defects(z, (pitch_A, pitch_A), fit, sigmas=0.0, least_A=least_A)


def _counted_nm2(heights: NDArray[np.int32]) -> float:
    """Return the area in which islands are counted: less one line and one column [nm^2]."""
    return (heights.shape[0] - 1) * (heights.shape[1] - 1) * MESH_A**2 / 100.0


def _holds(low: float, value: float, high: float) -> bool:
    return low - 1e-9 <= value <= high + 1e-9


def share(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """Return how often a statement held, with Wilson's interval of 95 % for that share."""
    values = np.array([float(row[name]) for row in rows if name in row])
    n = max(int(values.size), 1)
    part = float(values.mean()) if values.size else 0.0
    z2 = 1.96**2
    middle = (part + z2 / (2 * n)) / (1 + z2 / n)
    half = 1.96 * math.sqrt(part * (1 - part) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return {
        "cases": int(values.size),
        "share": round(part, 4),
        "low": round(max(middle - half, 0.0), 4),
        "high": round(min(middle + half, 1.0), 4),
    }


def film_summary(films: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of films."""
    ratio = np.array([r["roughness_sd_ML"] / max(r["roughness_ML"], 1e-3) for r in films])
    by_temperature = {}
    for low in TEMPERATURES_K:
        rows = [r for r in films if abs(r["temperature_K"] - low) <= 20.0]
        if rows:
            by_temperature[f"{low:g} K"] = {
                "roughness": share(rows, "roughness"),
                "islands": share(rows, "islands"),
            }
    return {
        "by_growth_temperature": by_temperature,
        "roughness_relative_sd_median": float(np.median(ratio)),
        "false_double_tips": share(films, "false_double_tip"),
        "false_crashes": share(films, "false_crash"),
    }


def summary(
    films: list[dict[str, Any]],
    defects: list[dict[str, Any]],
    sheets: list[dict[str, float]],
    visible: list[dict[str, Any]],
    faults: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return the figures of the report."""
    found = [row for row in defects if row["found"]]
    table = {
        "roughness of the imaged area": share(films, "roughness"),
        "roughness of the whole film": share(films, "film_roughness"),
        "island density of the imaged area": share(films, "islands"),
        "island density of the whole film": share(films, "film_islands"),
        "defect position, x": share(found, "x"),
        "defect position, y": share(found, "y"),
    }
    detection = {
        f"{kind}, {name}": share(
            [r for r in defects if r["kind"] == kind and r["is_empty"] == is_empty], "found"
        )
        for kind in KINDS
        for name, is_empty in (("empty states", True), ("filled states", False))
    }
    by_ratio = {
        f"{low:g} to {high:g}": {
            kind: share(
                [r for r in visible if r["kind"] == kind and low <= r["ratio"] < high], "found"
            )
            for kind in KINDS
        }
        for low, high in itertools.pairwise(RATIOS)
    }
    verdicts = {
        fault: {
            verdict: share([r for r in faults if r["fault"] == fault], verdict)
            for verdict in VERDICTS
        }
        for fault in FAULTS
    }
    return {
        "coverage_of_90_percent_intervals": table,
        "defects_found": share(defects, "found"),
        "defects_found_by_kind": detection,
        "defects_found_by_signal_over_noise": by_ratio,
        "extra_defects_per_image": round(float(np.mean([r["extra"] for r in sheets])), 4),
        "false_double_tips_of_sheets": share(list(sheets), "false_double_tip"),
        "defect_error_rms_A": round(float(np.sqrt(np.mean([r["error_A"] ** 2 for r in found]))), 4),
        "defect_sd_A": round(float(np.mean([r["sd_A"] for r in found])), 4),
        "verdicts_on_faults": verdicts,
    } | film_summary(films)


def _percent(row: dict[str, float], digits: int = 0) -> str:
    """Return a share with its interval; a dash for no case."""
    if not row["cases"]:
        return "-"
    return (
        f"{row['share']:.{digits}%} ({row['low']:.{digits}%} to {row['high']:.{digits}%}, "
        f"{row['cases']})"
    )


def markdown(report: dict[str, Any]) -> str:
    """Return the report as tables; in brackets Wilson's interval of 95 % and the number of cases."""
    numbers = ", ".join(f"{n} {what}" for what, n in report["cases"].items())
    lines = [
        (
            f"Cases from number {report['first']} on ({numbers}), none of which was used to fit the analyst. "
            "In brackets: Wilson's interval of 95 % for a share, and of how many it is one."
        ),
        "",
        "| Quantity | 90 % interval holds the truth | aim |",
        "|---|---|---|",
    ]
    for name, row in report["coverage_of_90_percent_intervals"].items():
        lines.append(f"| {name} | {_percent(row, 1)} | 85 to 95 % |")
    lines += ["", "| Films grown at | roughness | island density |", "|---|---|---|"]
    for name, row in report["by_growth_temperature"].items():
        lines.append(f"| {name} | {_percent(row['roughness'])} | {_percent(row['islands'])} |")
    lines += ["", "| Defects found | share |", "|---|---|"]
    lines += [f"| {n} | {_percent(r)} |" for n, r in report["defects_found_by_kind"].items()]
    lines += [f"| all | {_percent(report['defects_found'])} |"]
    lines += ["", f"| Signal over noise | {' | '.join(KINDS)} |", "|---|---|---|---|"]
    for name, row in report["defects_found_by_signal_over_noise"].items():
        lines.append(f"| {name} | {' | '.join(_percent(row[k]) for k in KINDS)} |")
    lines += ["", f"| Fault, called a | {' | '.join(VERDICTS)} |", "|---|---|---|---|---|"]
    for name, row in report["verdicts_on_faults"].items():
        lines.append(f"| {name} | {' | '.join(_percent(row[v]) for v in VERDICTS)} |")
    lines += [
        "",
        (
            f"More that are no defects: {report['extra_defects_per_image']:.2f} in an image of graphene. "
            f"Error of a place: {report['defect_error_rms_A']:.2f} A root mean square (stated: "
            f"{report['defect_sd_A']:.2f} A along each axis). Signal over noise: height over the lattice "
            "over the deviation of what is around, both after smoothing."
        ),
        "",
        (
            "Healthy images called a double tip: of films "
            f"{_percent(report['false_double_tips'], 1)}, of graphene "
            f"{_percent(report['false_double_tips_of_sheets'], 1)}; films called crashed, saturated or "
            f"oscillating: {_percent(report['false_crashes'], 1)}."
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compute the cases and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=4000)
    parser.add_argument("--films", type=int, default=150)
    parser.add_argument("--sheets", type=int, default=150)
    parser.add_argument("--faults", type=int, default=50)
    parser.add_argument("--keep", type=Path, default=None)
    options = parser.parse_args()
    first, keep = options.first, options.keep

    def healthy(kind: str, count: int, make: Callable[[int], Any]) -> list[tuple[int, Any]]:
        cases = [(n, kept(keep, kind, n, make)) for n in range(first, first + count)]
        return [(n, case) for n, case in cases if not case.events]

    films = [film_row(case) for _, case in healthy("film", options.films, film_case)]
    sheets = healthy("defect", options.sheets, defect_case)
    faults = [
        fault_row(kept(keep, "fault", n, fault_case)) for n in range(first, first + options.faults)
    ]
    cases = {"films": len(films), "sheets": len(sheets), "faults": len(faults)}
    report = {"first": first, "cases": cases} | summary(
        films,
        [row for _, case in sheets for row in defect_rows(case)],
        [sheet_row(case) for _, case in sheets],
        [row for n, case in sheets[:NOISY] for row in visibility_rows(case, n)],
        faults,
    )
    (HERE / "stm_analyst.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (HERE / "stm_analyst.md").write_text(markdown(report), encoding="utf-8")
    sys.stdout.write(markdown(report))


if __name__ == "__main__":
    main()
