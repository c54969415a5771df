"""The NeXus application definitions that a measurement may claim, and what it lacks for others.

A definition is claimed only where everything that it requires is there and true. Otherwise the entry
names the nearest one and what is missing for it, and stays a plain NXentry, which every reader of
NeXus takes. Checked against the definitions of FAIRmat (NXstm, NXsts, NXem, NXxrd as of 2026).
"""

from collections.abc import Mapping
from typing import Any

from twinloop.agents.export.nexus_answer import Written
from twinloop.agents.export.nexus_tree import Tree
from twinloop.agents.export.record import Answer, RunRecord
from twinloop.agents.report.history import TrialHistory

__all__ = ["claim"]

VERSION = "v2026.01"
"""Of the NeXus definitions that the claims were checked with."""

COPPER_K_ALPHA_KEV = 8.04116
"""Mean of K alpha 1 (8.04782) and K alpha 2 (8.02784), two to one [keV].

Source: G. Hoelzer et al., Phys. Rev. A 56, 4554 (1997), doi:10.1103/PhysRevA.56.4554, table III.
"""

_NO_DEFINITION = {
    "mbe": "no application definition describes growth by molecular beam epitaxy",
    "rheed": "no application definition describes RHEED; NXem is of microscopes, which image",
}


def claim(
    written: Written,
    record: RunRecord,
    trial: TrialHistory,
    answer: Answer,
    elements: tuple[str, ...],
) -> None:
    """Fill in what an application definition asks for and claim it, or say what is missing.

    Args:
        written: the entry, with its plots.
        record: the run.
        trial: what it belongs to.
        answer: the measurement.
        elements: chemical elements of the sample, told by whoever exports.
    """
    if answer.step is None:
        return
    kind = record.contracts.kind(answer.target)
    arguments, numbers = answer.step.commanded.arguments, answer.numbers
    entry = written.entry
    match kind, answer.action:
        case "stm", "scan":
            _stm(entry, arguments, numbers)
        case "stm", "spectrum" | "spectra":
            _sts(entry, arguments, numbers)
        case "stem", "scan" | "diffract" | "spectrum":
            _em(entry, elements)
        case "xrd", "scan":
            _xrd(written, record, trial, answer)
        case "xrd", "rock":
            _lacks(entry, "NXxrd", "it is of scans of the detector; here the sample turned")
        case _:
            reason = _NO_DEFINITION.get(kind, "none is known for this kind of instrument")
            _lacks(entry, "", reason)


def _lacks(entry: Tree, nearest: str, missing: str) -> None:
    made = entry.group("provenance", "NXcollection")
    made.put("nearest_definition", nearest or "none")
    made.put("missing_for_definition", missing)


def _stm(entry: Tree, asked: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    entry.put("definition", "NXstm", version=VERSION)
    entry.put("experiment_technique", "STM")
    entry.put("scan_mode", str(numbers.get("mode", asked.get("mode", ""))).replace("_", " "))
    instrument = _probe(entry)
    # NXstm requires the group; an image uses no lock-in amplifier, so that it says nothing
    instrument.group("lockin_amplifier", "NXlockin").put("modulation_status", False)
    place = instrument.group("scan_environment", "NXenvironment")
    control = place.group("scan_control", "NXspm_scan_control")
    region = control.group("scan_region", "NXspm_scan_region")
    for axis, side in (("x", "width_A"), ("y", "height_A")):
        region.put(f"scan_range_{axis}", asked.get(side), units="angstrom")
        centre = numbers.get(f"centre_{axis}_A", asked.get(f"centre_{axis}_A"))
        region.put(f"scan_offset_value_{axis}", centre, units="angstrom")
    region.put("scan_angle_x", numbers.get("angle_deg", asked.get("angle_deg")), units="deg")
    mesh = control.group("mesh_scan", "NXspm_scan_pattern")
    mesh.put("scan_points_x", asked.get("pixels_x"))
    mesh.put("scan_points_y", asked.get("pixels_y"))
    bias = instrument.group("sample_bias_voltage", "NXsensor")
    bias.put("bias_voltage", numbers.get("bias_V", asked.get("bias_V")), units="V")


def _sts(entry: Tree, asked: Mapping[str, Any], numbers: Mapping[str, Any]) -> None:
    entry.put("definition", "NXsts", version=VERSION)
    entry.put("experiment_technique", "STS")
    # the loop is open while the bias is swept: the distance stays
    entry.put("scan_mode", "constant spacing")
    instrument = _probe(entry)
    amplifier = instrument.group("lockin_amplifier", "NXlockin")
    amplifier.put("modulation_status", True)
    amplifier.put("modulation_signal", "bias")
    amplifier.put("modulation_frequency", asked.get("lockin_Hz"), units="Hz")
    amplitude = numbers.get("modulation_V", asked.get("modulation_V"))
    amplifier.put("reference_amplitude", amplitude, units="V")
    place = instrument.group("scan_environment", "NXenvironment")
    control = place.group("scan_control", "NXspm_scan_control")
    region = control.group("scan_region", "NXspm_scan_region")
    mesh = control.group("mesh_scan", "NXspm_scan_pattern")
    mesh.put("scan_points_x", asked.get("columns", 1))
    mesh.put("scan_points_y", asked.get("rows", 1))
    for axis in "xy":
        centre = asked.get(f"centre_{axis}_A", numbers.get(f"{axis}_A"))
        region.put(f"scan_offset_value_{axis}", centre, units="angstrom")
    sweep = (
        instrument.group("bias_spectroscopy_environment", "NXenvironment")
        .group("bias_spectroscopy", "NXspm_bias_spectroscopy")
        .group("bias_sweep", "NXspm_scan_control")
    )
    start_V, stop_V, points = (asked.get(n) for n in ("start_V", "stop_V", "points"))
    swept = sweep.group("scan_region", "NXspm_scan_region")
    pattern = sweep.group("linear_sweep", "NXspm_scan_pattern")
    if start_V is None or stop_V is None or points is None:
        return
    swept.put("scan_start_bias", start_V, units="V")
    swept.put("scan_end_bias", stop_V, units="V")
    swept.put("scan_offset_bias", (start_V + stop_V) / 2, units="V")
    swept.put("scan_range_bias", abs(stop_V - start_V), units="V")
    pattern.put("scan_points_bias", points)
    pattern.put("step_size_bias", (stop_V - start_V) / max(points - 1, 1), units="V")


def _probe(entry: Tree) -> Tree:
    instrument = entry.group("instrument", "NXinstrument")
    instrument.link("hardware", instrument.group("fabrication", "NXfabrication"))
    software = instrument.group("software", "NXfabrication")
    software.put("vendor", "twinloop")
    software.put("name", "twinloop adapter of the instrument")
    return instrument


def _em(entry: Tree, elements: tuple[str, ...]) -> None:
    if not elements:
        missing = "the elements of the sample (sample/atom_types); tell them with --elements"
        _lacks(entry, "NXem", missing)
        return
    if "preparation_date" not in entry.group("sample", "NXsample"):
        _lacks(entry, "NXem", "when the sample was prepared (sample/preparation_date)")
        return
    entry.put("definition", "NXem", version=VERSION)


def _xrd(written: Written, record: RunRecord, trial: TrialHistory, answer: Answer) -> None:
    """Name signal and axis as NXxrd does, beside the names that the instrument gave them."""
    entry = written.entry
    data = entry.group("data", "NXdata")
    if not {"counts", "two_theta_deg"} <= set(data.node):
        _lacks(entry, "NXxrd", "the counts or their angles: the array is not whole")
        return
    data.link("data", data.node["counts"])
    data.link("polar_angle", data.node["two_theta_deg"])
    instrument = entry.group("instrument", "NXinstrument")
    energy = instrument.group("beam", "NXbeam")
    said = "K alpha of the copper tube that the contract of diffractometers names"
    energy.put("incident_energy", COPPER_K_ALPHA_KEV, units="keV", description=said)
    detector = instrument.group("detector", "NXdetector")
    detector.put("count_time", answer.numbers.get("count_s"), units="s")
    detector.link("data", data.node["counts"])
    detector.link("polar_angle", data.node["two_theta_deg"])
    offset_deg = _offset_deg(record, trial, answer)
    omega_deg = data.node["two_theta_deg"][()] / 2 + offset_deg
    said = f"half of the detector's angle and {offset_deg:g} deg, found when it was aligned"
    sample = entry.group("sample", "NXsample")
    sample.put_array("rotation_angle", omega_deg, units="deg", description=said)
    entry.put("definition", "NXxrd", version=VERSION)


def _offset_deg(record: RunRecord, trial: TrialHistory, scan: Answer) -> float:
    """Return what the last alignment before a scan added to half of the detector's angle [deg]."""
    offset_deg = 0.0
    for answer in record.answers(trial):
        if answer.name == scan.name:
            break
        if answer.target == scan.target and answer.action == "align":
            offset_deg = float(answer.numbers.get("omega_offset_deg") or 0.0)
    return offset_deg
