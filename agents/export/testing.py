"""Run folders in which every instrument has measured, for tests of the export.

The results are made with the classes of the contracts, so that an export that no longer fits a
contract fails its tests.

Example:
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> run = films_seen_by_all(Path(folder.name))
    >>> run.close()
    >>> folder.cleanup()
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from twinloop.agents.campaign.events import Commanded, Leased, SimulationWanted
from twinloop.agents.report.testing import CONFIG, RunBuilder
from twinloop.ids import CommandKey
from twinloop.instruments.mbe.interface import Grown
from twinloop.instruments.rheed.interface import Specular, Trace
from twinloop.instruments.stem import interface as stem
from twinloop.instruments.stm import interface as stm
from twinloop.instruments.xrd import interface as xrd
from twinloop.results import encode_result

__all__ = ["LENGTHS", "act", "films_seen_by_all", "micrograph", "topograph"]

POINT = {"substrate_K": 680.0, "flux_ML_per_s": 0.2, "dose_ML": 6.0, "anneal_s": 30.0}
LENGTHS = {"stm_x_A": 2.5, "stm_y_A": 3.0, "stem_A": 0.25, "xrd_deg": 0.05}
"""Distance of neighbouring samples along each axis, in the unit of its name."""


def films_seen_by_all(
    folder: Path, *, is_twin: bool = True, is_finished: bool = True
) -> RunBuilder:
    """Return a run of two films that every instrument looked at, and of what theory was asked.

    Args:
        folder: the run folder.
        is_twin: whether the instruments are twins.
        is_finished: False leaves the second trial under way.
    """
    run = RunBuilder(folder, {**CONFIG, "protocol": "grow_and_look"})
    (folder / "run.json").write_text(json.dumps({"run": "5f4bfda201020304"}), encoding="utf-8")
    run.begin()
    for number, instrument in enumerate(("mbe", "rheed", "stm", "xrd", "stem"), start=1):
        lease(run, instrument, number, is_twin=is_twin)
    _simulations(run)
    for number in range(2):
        trial = run.start(run.propose(POINT, why={"gain_per_h": 0.25 + number, "rung": "fitted"}))
        if number == 0:
            _first_film(run, trial)
        else:
            _second_film(run, trial)
        if number == 0 or is_finished:
            outcome = {"merit": 0.4 + number / 10, "merit_sd": 0.05, "thickness_ML": 5.7}
            run.end(trial, outcome, 0.4 + number / 10, y_sd=0.05, slack=(0.1,), slack_sd=(0.02,))
    if is_finished:
        run.finish()
    run.commit()
    return run


def lease(run: RunBuilder, instrument: str, epoch: int, *, is_twin: bool) -> None:
    """Let an adapter grant its lease."""
    run.write(
        Leased(
            instrument=instrument,
            adapter="chamber" if instrument in {"mbe", "rheed"} else instrument,
            epoch=epoch,
            ledger="l1",
            clock_factor=20.0 if is_twin else 1.0,
            is_twin=is_twin,
            schema_digest=f"{epoch:02x}" * 32,
        )
    )


def act(
    run: RunBuilder,
    trial: str,
    step: str,
    name: str,
    arguments: Mapping[str, Any],
    result: object = None,
    **rest: Any,
) -> CommandKey:
    """Command "instrument.action" with arguments and settle it with a result of its contract."""
    instrument, _, action = name.partition(".")
    key = CommandKey(f"{run.campaign}.5f4bfda2", trial, step, 1)
    run.write(
        Commanded(
            key=key,
            instrument=instrument,
            target=instrument,
            action=action,
            arguments=dict(arguments),
            digest="ef" * 8,
            sample=f"{run.campaign}-{int(trial[1:]):04d}",
            ledger="l1",
        ),
        after_s=0.5,
    )
    value, arrays = encode_result(result)
    run.settle(key, instrument, 2.0, result=value, arrays=arrays, **rest)
    return key


def topograph(lines: int = 24, pixels: int = 32) -> stm.Scan:
    """Return a plane that rises along x and falls along y, as a tip would see it."""
    x_A = (np.arange(pixels) - (pixels - 1) / 2) * LENGTHS["stm_x_A"]
    y_A = (np.arange(lines) - (lines - 1) / 2) * LENGTHS["stm_y_A"]
    z_A = (0.01 * x_A[None, :] - 0.02 * y_A[:, None]).astype(np.float32)
    return stm.Scan(
        z_forward_A=z_A,
        z_backward_A=z_A + np.float32(0.1),
        current_forward_nA=np.full_like(z_A, 0.1),
        current_backward_nA=np.full_like(z_A, 0.1),
        x_A=x_A,
        y_A=y_A,
        line_start_s=np.arange(lines) * 0.5,
        line_time_s=0.5,
        centre_x_A=10.0,
        centre_y_A=-20.0,
        angle_deg=0.0,
        mode="constant_current",
        bias_V=1.0,
        setpoint_nA=0.1,
        saturations=0,
        ringing=0.04,
        check_z_A=z_A[lines // 2],
        check_line=lines // 2,
        check_start_s=12.0,
        is_complete=True,
    )


def micrograph(rows: int = 40, columns: int = 48) -> stem.Micrograph:
    """Return a dark-field image whose counts rise from pixel to pixel."""
    counts = np.arange(rows * columns, dtype=np.float32).reshape(rows, columns)
    return stem.Micrograph(
        counts=counts,
        is_acquired=counts % 7 > 0,
        x_A=(np.arange(columns) - columns / 2) * LENGTHS["stem_A"],
        y_A=(np.arange(rows) - rows / 2) * LENGTHS["stem_A"],
        pixel_A=LENGTHS["stem_A"],
        rotation_deg=0.0,
        detector="haadf",
        dark_counts=100.0,
        dark_sd_counts=13.0,
        counts_per_electron=9.0,
        saturation_counts=1e6,
        electrons_per_pixel=3745.0,
        dose_e_per_A2=6e4,
        sample_dose_e_per_A2=6e4,
        current_nA=0.03,
        dwell_us=20.0,
        line_s=0.001,
        defocus_A=0.0,
        model="instrument",
        is_complete=True,
    )


def _first_film(run: RunBuilder, trial: str) -> None:
    act(run, trial, "0", "mbe.load", {})
    act(run, trial, "1", "mbe.heat", {"substrate_K": 680.0}, 679.5)
    grown = Grown(growth_s=30.0, rate_ML_per_s=0.2, dose_ML=6.0, substrate_K=679.8)
    act(run, trial, "2.0.0", "mbe.grow", {"flux_ML_per_s": 0.2, "dose_ML": 6.0}, grown)
    time_s = np.arange(-2.0, 30.0, 0.25)
    trace = Trace(
        time_s=time_s, intensity=900 + 100 * np.cos(time_s), exposure_s=0.25, is_complete=True
    )
    act(run, trial, "2.1.0", "rheed.record", {"wait_s": 600.0}, trace)
    bright = Specular(intensity=4445.0, intensity_sd=186.0)
    act(run, trial, "3", "rheed.specular", {"exposure_s": 2.0}, bright)
    frame = np.arange(96 * 64, dtype=np.uint16).reshape(96, 64)
    act(run, trial, "4", "rheed.expose", {"exposure_s": 1.0}, frame)
    asked: dict[str, Any] = {"width_A": 80.0, "height_A": 72.0, "pixels_x": 32, "pixels_y": 24}
    act(run, trial, "5", "stm.scan", {**asked, "mode": "constant_current"}, topograph())
    run.compute(
        trial,
        "6",
        "stm_analyst.film",
        {"roughness_ML": 0.44, "roughness_sd_ML": 0.03, "is_terraced": True},
    )
    aligned = xrd.Alignment(omega_offset_deg=0.35, width_deg=0.08, peak_counts=3335.0)
    act(run, trial, "7", "xrd.align", {"two_theta_deg": 31.63}, aligned)
    angle_deg = 25.0 + LENGTHS["xrd_deg"] * np.arange(80)
    counts = np.arange(80, dtype=np.int64) ** 2
    scan = xrd.Scan(two_theta_deg=angle_deg, counts=counts, count_s=4.0)
    act(run, trial, "8", "xrd.scan", {"start_deg": 25.0, "stop_deg": 28.95}, scan)
    arguments = {"detector": "haadf", "pixels": 48, "region": [0, 0, 40, 48], "only": None}
    act(run, trial, "9", "stem.scan", arguments, micrograph())


def _second_film(run: RunBuilder, trial: str) -> None:
    bias_V = np.linspace(-1.0, 1.0, 11)
    common = {"bias_V": bias_V, "modulation_V": 0.01, "saturations": 0, "is_complete": True}
    sweep = {"start_V": -1.0, "stop_V": 1.0, "points": 11, "lockin_Hz": 800.0}
    curve = stm.Spectrum(
        current_nA=bias_V / 10,
        dIdV_nS=np.full(11, 0.1),
        x_A=1.0,
        y_A=2.0,
        setpoint_nA=0.1,
        bias_set_V=1.0,
        drift_A=0.0,
        **common,
    )
    act(run, trial, "0", "stm.spectrum", {**sweep, "x_A": 1.0, "y_A": 2.0}, curve)
    # cut short: two of three rows were reached, so that y_A does not fit
    grid = stm.Grid(
        current_nA=np.ones((2, 4, 11), np.float32),
        dIdV_nS=np.arange(88, dtype=np.float32).reshape(2, 4, 11),
        z_A=np.zeros((2, 4), np.float32),
        x_A=np.arange(4) * 5.0,
        y_A=np.arange(3) * 6.0,
        **{**common, "is_complete": False},
    )
    act(run, trial, "1", "stm.spectra", {**sweep, "columns": 4, "rows": 3}, grid, state="partial")
    patterns = stem.Diffraction(
        patterns=np.ones((4, 16, 16), np.float32),
        x_A=np.array([0.0, 1.0, 0.0, 1.0]),
        y_A=np.array([0.0, 0.0, 1.0, 1.0]),
        angle_mrad=(np.arange(16) - 8) * 2.0,
        pixel_mrad=2.0,
        exposure_us=1000.0,
        electrons=1e5,
        dose_e_per_A2=1e5,
        model="multislice",
    )
    act(run, trial, "2", "stem.diffract", {"points": 2, "step_A": 1.0}, patterns)
    lines = stem.Spectrum(
        energy_keV=np.arange(64) * 0.01,
        counts=np.arange(64, dtype=np.float32),
        live_s=10.0,
        fwhm_keV=0.13,
        electrons=1e9,
        model="approximate",
    )
    act(run, trial, "3", "stem.spectrum", {"live_s": 10.0}, lines)
    rocked = xrd.Rocking(
        omega_deg=np.linspace(-0.5, 0.5, 21), counts=np.arange(21, dtype=np.int64), count_s=0.5
    )
    act(run, trial, "4", "xrd.rock", {"two_theta_deg": 31.63}, rocked)


def _simulations(run: RunBuilder) -> None:
    wanted = [
        SimulationWanted(
            x=(0.5,) * 4, point=POINT, theta={"bond_energy_eV": 0.25}, seed=2**63 + n, why="design"
        )
        for n in range(3)
    ]
    batch = run.want(wanted)
    run.simulate(
        batch,
        0,
        values={"merit": 0.5, "intensity_2ML": 0.3},
        code="kmc 1",
        arrays=run.keep({"trace": np.ones((9, 2))}),
    )
    run.simulate(batch, 1, state="cancelled", reason="nobody wants it")
