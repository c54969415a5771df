"""The calls that DTMicroscope's clients make, carried out on a STEM of ours.

`OfferedSTEM` answers the calls of the objects `tem.server` and `microscope.server`. What theirs and ours
call the same thing:

| theirs | ours |
|---|---|
| device `scan` (also `haadf`, `abf`, `bf`) | action `scan` |
| devices `ceta_camera`, `flu_camera` | action `diffract` where the beam was sent; the counts of one pattern |
| device `super_x` | action `spectrum` where the beam was sent |
| `size` | pixels along each side of the scan |
| `exposure` [s] | of a pixel of the scan, of a pattern, of a spectrum |
| `field_of_view` (m, m) | side of the square field |
| `set_stage`, `get_stage`: x, y, z [m], a, b [rad] | `move_stage`, along x and y |
| `set_beam_position` x, y [nm] | from the middle of the field |
| `close` | the beam is blanked |
| row, column of `get_point_data`, there called x, y | pixel of the overview image |

What a STEM of ours does not have (a vacuum gauge, an aberration corrector that aligns itself) is an error
that the client sees, never a number that was not measured. Every limit of the contract holds.

Source: DTMicroscope 17245ba (2025-12-17), server/smart_proxy.py, server/twisted_server.py,
server/server_stem.py, base/twisted_client.py. Its docstring says that the stage is set in nm and degrees; the
code hands the numbers to AutoScript, which takes m and rad, and its notebook moves by -4e-6.
"""

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from twinloop.errors import ArgumentError, Disconnected, LabError
from twinloop.instruments.stem.interface import DETECTORS, STEM, Diffraction, Micrograph, Spectrum
from twinloop.results import Array

__all__ = ["Holder", "NotOffered", "OfferedSTEM", "on_the_wire"]

_LOG = logging.getLogger(__name__)
_A_PER_M = 1e10
_A_PER_NM = 10.0
_EV_PER_KEV = 1e3
_READ_S = 10.0
_SETTLE_S = 15.0
_MAX_POINTS = 1000
_AXES = ("x", "y", "z", "a", "b")
_CAMERAS = ("ceta_camera", "flu_camera")
_CHANNELS = ("Channel_000", "Channel_001", "Channel_002")

Wire = tuple[list[Any], tuple[int, ...], str]


class Holder(Protocol):
    """What is needed of a `ServedInstrument`."""

    def do(self, action: str, *, returns: object = None, **arguments: Any) -> "Future[Any]":
        """Command an action."""

    def read(self, readout: str, wait_s: float = 5.0) -> "Future[Any]":
        """Ask a readout."""

    def cancel_command(self, future: "Future[Any]") -> None:
        """Abort an action."""


class NotOffered(LabError):
    """A call that this microscope cannot carry out."""

    def __init__(self, call: str, why: str) -> None:
        self.call, self.why = call, why
        super().__init__(f"{call} is not offered: {why}")


def on_the_wire(array: Array) -> Wire:
    """Return an array as DTMicroscope sends it: its values, its shape, its dtype.

    Example:
        >>> on_the_wire(np.array([[1, 2]], np.uint16))
        ([[1, 2]], (1, 2), 'uint16')
    """
    return array.tolist(), tuple(array.shape), str(array.dtype)


@dataclass
class _Settings:
    """What clients set, as arguments of the contract."""

    scan: dict[str, Any] = field(
        default_factory=lambda: {
            "detector": "haadf",
            "field_A": 50.0,
            "pixels": 256,
            "dwell_us": 10.0,
        }
    )
    camera: dict[str, Any] = field(default_factory=lambda: {"exposure_us": 1000.0, "binning": 1})
    xrays: dict[str, Any] = field(default_factory=lambda: {"live_s": 10.0})
    beam: dict[str, Any] = field(default_factory=lambda: {"centre_x_A": 0.0, "centre_y_A": 0.0})


class OfferedSTEM:
    """A served STEM behind their calls; one call at a time, whoever makes it.

    Args:
        stem: holds the lease.
        max_dose_e_per_A2: of each exposure; more is refused before the beam opens [e/A^2].
        wait_s: longest exposure [s, real]; it is aborted then.
    """

    def __init__(
        self, stem: Holder, *, max_dose_e_per_A2: float = 1e7, wait_s: float = 600.0
    ) -> None:
        self._stem, self._wait_s = stem, wait_s
        self._max_dose_e_per_A2 = max_dose_e_per_A2
        self._settings = _Settings()
        self._overview: Micrograph | None = None
        self._energy_keV: Array | None = None
        self._turn = threading.RLock()

    # --- tem.server ---------------------------------------------------------------------------

    def get_detectors(self) -> list[str]:
        """Return the devices."""
        return ["scan", *DETECTORS, *_CAMERAS, "super_x"]

    def activate_device(self, device: str) -> int:
        """Return 1 for a device that is there, 0 for another."""
        return int(self._is_there(device))

    def device_settings(self, device: str, **settings: Any) -> int:
        """Keep settings for later exposures; 0 for a device that is not there.

        Raises:
            ArgumentError, LimitViolation: a setting that the device does not have or cannot take; none
                of them is kept.
        """
        if not self._is_there(device):
            return 0
        with self._turn:
            kept = self._asked(device, settings)
            if device in _CAMERAS:
                self._settings.camera = kept
            elif device == "super_x":
                self._settings.xrays = kept
            else:
                self._settings.scan = kept
        return 1

    def get_stage(self) -> list[float]:
        """Return x, y, z [m] and the tilts a, b [rad]; z and the tilts of this stage are 0."""
        x_m, y_m = (self._read(f"stage_{axis}_A") / _A_PER_M for axis in "xy")
        return [x_m, y_m, 0.0, 0.0, 0.0]

    def set_stage(self, stage_positions: Any, relative: bool = True) -> dict[str, list[float]]:
        """Move the stage along x and y [m], and wait until it is still; return where it stands then.

        Args:
            stage_positions: by axis, or in the order x, y, z, a, b; None leaves an axis alone.
            relative: to where it stands.
        """
        asked = _axes(stage_positions)
        for axis in "zab":
            if asked[axis]:
                raise ArgumentError(
                    f"set_stage: {axis}", asked[axis], "0: this stage moves along x and y"
                )
        with self._turn:
            now_m = dict(zip(_AXES, self.get_stage(), strict=True))
            aim_A = {}
            for axis in "xy":
                value_m = asked[axis]
                start_m = now_m[axis] if relative or value_m is None else 0.0
                aim_A[f"{axis}_A"] = _A_PER_M * (start_m + (value_m or 0.0))
            self._do("move_stage", **aim_A)
            self._overview = None
            return {"new_stage": self.get_stage()}

    def acquire_image(self, device: str, **settings: Any) -> Wire:
        """Expose the sample once and return the image; settings count for this image only."""
        self._must_be_there(device)
        if device == "super_x":
            raise ArgumentError(
                "acquire_image: device", device, "a scan or a camera; acquire_spectrum"
            )
        with self._turn:
            asked = self._asked(device, settings)
            if device in _CAMERAS:
                return on_the_wire(self._pattern(asked, self._settings.beam))
            return on_the_wire(self._image(asked).counts)

    def acquire_image_stack(self, device: str) -> None:
        """Refuse: theirs returns settings."""
        raise NotOffered(f"acquire_image_stack({device})", "call acquire_image as often as wanted")

    def acquire_spectrum(self, device: str, **settings: Any) -> list[float]:
        """Return the counts of an X-ray spectrum where the beam was sent."""
        return self.acquire_spectrum_points(device, [self._beam_nm()], **settings)[0]

    def acquire_spectrum_points(
        self, device: str, points: Sequence[Sequence[float]], **settings: Any
    ) -> list[list[float]]:
        """Return the counts of an X-ray spectrum at each of some points (x, y) [nm].

        All points are checked before the first is exposed.
        """
        self._must_be_there(device)
        if device != "super_x":
            raise ArgumentError("acquire_spectrum: device", device, "super_x")
        if not isinstance(points, list | tuple) or not 0 < len(points) <= _MAX_POINTS:
            raise ArgumentError(
                "points", type(points).__name__, f"a list of 1 to {_MAX_POINTS} points"
            )
        with self._turn:
            asked = self._asked(device, settings)
            places = [_place(point) for point in points]
            for place in places:
                self._check("spectrum", {**asked, **place})
            return [self._spectrum({**asked, **place}).tolist() for place in places]

    def set_beam_position(self, x: float, y: float) -> int:
        """Say where later patterns and spectra are taken [nm], from the middle of the field."""
        place = _place((x, y))
        self._check("diffract", place)
        with self._turn:
            self._settings.beam = place
        return 1

    def get_vacuum(self) -> float:
        """Refuse: a number that nobody measured is worse than none."""
        raise NotOffered("get_vacuum", "this microscope has no gauge that it could read")

    def get_microscope_status(self, parameters: Any = None) -> str:
        """Return "Idle" or "Busy"."""
        if parameters:
            raise NotOffered(f"get_microscope_status({parameters})", "ask without parameters")
        if not self._turn.acquire(blocking=False):
            return "Busy"
        self._turn.release()
        return "Idle"

    def aberration_correction(self, order: Any, **_: Any) -> int:
        """Refuse: the contract has no corrector that aligns itself."""
        raise NotOffered(f"aberration_correction({order})", "set the optics in a campaign")

    def close(self) -> int:
        """Blank the beam; theirs closes the column valves."""
        self._do("blank", is_blanked=True)
        return 1

    # --- microscope.server --------------------------------------------------------------------

    def initialize_microscope(self, microscope: str = "STEM") -> None:
        """Take "STEM", which is what there is."""
        if microscope != "STEM":
            raise ArgumentError("initialize_microscope: microscope", microscope, "STEM")

    def register_data(self, data_source: str = "") -> None:
        """Do nothing: what is measured is the sample on the stage, and no file."""
        _LOG.info("register_data(%r): the sample on the stage is measured instead", data_source)

    def get_overview_image(self) -> Wire:
        """Scan with the dark-field detector, as `device_settings("scan", ...)` says; this exposes the sample."""
        with self._turn:
            self._overview = self._image({**self._settings.scan, "detector": "haadf"})
            return on_the_wire(self._overview.counts)

    def get_point_data(self, spectrum_image_index: str, x: int, y: int) -> Wire:
        """Measure at a pixel of the overview image: x is its row, y its column.

        Args:
            spectrum_image_index: Channel_001 an X-ray spectrum, Channel_002 a diffraction pattern.
            x: row.
            y: column.
        """
        with self._turn:
            place = self._pixel(x, y)
            if spectrum_image_index == _CHANNELS[1]:
                return on_the_wire(self._spectrum({**self._settings.xrays, **place}))
            if spectrum_image_index == _CHANNELS[2]:
                return on_the_wire(self._pattern(self._settings.camera, place))
        allowed = "Channel_001 (X-ray spectrum) or Channel_002 (diffraction pattern)"
        raise ArgumentError("spectrum_image_index", spectrum_image_index, allowed)

    def get_spectrum_image(self, spectrum_image_index: str = "Channel_001") -> Wire:
        """Refuse: there is no record of every pixel, and measuring all of them ruins the sample."""
        why = "nothing was recorded; measure the points that matter with get_point_data"
        raise NotOffered(f"get_spectrum_image({spectrum_image_index})", why)

    def get_spectrum_image_e_axis(self, spectrum_image_index: str = "Channel_001") -> Wire:
        """Return the energies of the channels of the last spectrum [eV]."""
        if spectrum_image_index != _CHANNELS[1] or self._energy_keV is None:
            allowed = "Channel_001, after a first spectrum (get_point_data or acquire_spectrum)"
            raise ArgumentError("get_spectrum_image_e_axis", spectrum_image_index, allowed)
        return on_the_wire(_EV_PER_KEV * self._energy_keV)

    # --- private ------------------------------------------------------------------------------

    def _is_there(self, device: object) -> bool:
        return isinstance(device, str) and device.lower() in self.get_detectors()

    def _must_be_there(self, device: object) -> None:
        if not self._is_there(device):
            raise ArgumentError("device", device, f"one of {', '.join(self.get_detectors())}")

    def _asked(self, device: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a device is set to, with some of it changed."""
        name = device.lower()
        if name in _CAMERAS:
            return self._checked("diffract", self._settings.camera, settings, _CAMERA_SETTINGS)
        if name == "super_x":
            return self._checked("spectrum", self._settings.xrays, settings, _XRAY_SETTINGS)
        kept = self._checked("scan", self._settings.scan, settings, _SCAN_SETTINGS)
        return {**kept, "detector": name} if name in DETECTORS else kept

    def _checked(
        self,
        action: str,
        kept: Mapping[str, Any],
        settings: Mapping[str, Any],
        table: Mapping[str, tuple[str, "Callable[[Any], Any]"]],
    ) -> dict[str, Any]:
        asked = dict(kept)
        for name, value in settings.items():
            if name not in table:
                raise ArgumentError(f"setting of {action}", name, f"one of {', '.join(table)}")
            argument, convert = table[name]
            asked[argument] = convert(value)
        self._check(action, {k: v for k, v in asked.items() if k != "binning"})
        return asked

    def _check(self, action: str, arguments: Mapping[str, Any]) -> None:
        STEM.actions()[action].spec.check(arguments, action)

    def _image(self, asked: Mapping[str, Any]) -> Micrograph:
        found: Micrograph = self._do(
            "scan", Micrograph, **asked, max_dose_e_per_A2=self._max_dose_e_per_A2
        )
        return found

    def _pattern(self, asked: Mapping[str, Any], place: Mapping[str, Any]) -> Array:
        found: Diffraction = self._do(
            "diffract", Diffraction, exposure_us=asked["exposure_us"], **place,
            max_dose_e_per_A2=self._max_dose_e_per_A2,
        )  # fmt: skip
        pattern, n = found.patterns[0], int(asked["binning"])
        rows, columns = (n * (length // n) for length in pattern.shape)
        binned: Array = pattern[:rows, :columns].reshape(rows // n, n, columns // n, n)
        return np.asarray(binned.sum(axis=(1, 3)), np.float32)

    def _spectrum(self, arguments: Mapping[str, Any]) -> Array:
        found: Spectrum = self._do(
            "spectrum", Spectrum, **arguments, field_A=5.0,
            max_dose_e_per_A2=self._max_dose_e_per_A2,
        )  # fmt: skip
        self._energy_keV = np.asarray(found.energy_keV)
        return np.asarray(found.counts)

    def _pixel(self, row: object, column: object) -> dict[str, float]:
        if self._overview is None:
            raise ArgumentError("get_point_data", "no overview image", "get_overview_image first")
        numbers = []
        for name, value, along in (("x (row)", row, "y_A"), ("y (column)", column, "x_A")):
            scale = getattr(self._overview, along)
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(scale):
                raise ArgumentError(f"get_point_data: {name}", value, f"0 to {len(scale) - 1}")
            numbers.append(float(scale[value]))
        return {"centre_x_A": numbers[1], "centre_y_A": numbers[0]}

    def _beam_nm(self) -> tuple[float, float]:
        beam = self._settings.beam
        return beam["centre_x_A"] / _A_PER_NM, beam["centre_y_A"] / _A_PER_NM

    def _read(self, name: str) -> float:
        return float(self._stem.read(name).result(_READ_S))

    def _do(self, action: str, returns: object = None, **arguments: Any) -> Any:
        with self._turn:
            future = self._stem.do(action, returns=returns, **arguments)
            try:
                return future.result(self._wait_s)
            except TimeoutError as err:
                self._stem.cancel_command(future)
                # what it still does must have ended before the next call begins
                future.exception(_SETTLE_S)
                raise Disconnected(action, self._wait_s, "it was aborted; expose for less") from err


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArgumentError(name, value, "a finite number")
    return float(value)


def _place(point: Sequence[float]) -> dict[str, float]:
    """Return a point in nm as arguments of the contract."""
    if not isinstance(point, list | tuple) or len(point) != 2:
        raise ArgumentError("point", point, "x and y in nm")
    x_nm, y_nm = (_number(value, f"point: {axis}") for axis, value in zip("xy", point, strict=True))
    return {"centre_x_A": _A_PER_NM * x_nm, "centre_y_A": _A_PER_NM * y_nm}


def _axes(positions: object) -> dict[str, float | None]:
    """Return what each axis of the stage was asked for."""
    if isinstance(positions, list | tuple) and len(positions) <= len(_AXES):
        positions = dict(zip(_AXES, positions, strict=False))
    if not isinstance(positions, Mapping) or not positions or set(positions) - set(_AXES):
        raise ArgumentError("set_stage", positions, f"some of {', '.join(_AXES)}, in m and rad")
    given = {axis: positions.get(axis) for axis in _AXES}
    return {
        axis: None if value is None else _number(value, f"set_stage: {axis}")
        for axis, value in given.items()
    }


def _exposure_us(value: object) -> float:
    return 1e6 * _number(value, "exposure")


def _field_A(value: object) -> float:
    sides = value if isinstance(value, list | tuple) else (value, value)
    if len(sides) != 2 or sides[0] != sides[1]:
        raise ArgumentError("field_of_view", value, "a square: (m, m), both the same")
    return _A_PER_M * _number(sides[0], "field_of_view")


def _detector(value: object) -> str:
    names = [value] if isinstance(value, str) else value
    is_one = isinstance(names, list | tuple) and len(names) == 1 and isinstance(names[0], str)
    if not is_one or names[0].lower() not in DETECTORS:  # type: ignore[index]
        raise ArgumentError("detectors", value, f"one of {', '.join(DETECTORS)}, in a list")
    return str(names[0].lower())  # type: ignore[index]


def _binning(value: object) -> int:
    if isinstance(value, bool) or value not in {1, 2, 4, 8}:
        raise ArgumentError("binning", value, "1, 2, 4 or 8")
    return int(_number(value, "binning"))


def _as_is(value: Any) -> Any:
    return value


_SCAN_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "size": ("pixels", _as_is),
    "exposure": ("dwell_us", _exposure_us),
    "field_of_view": ("field_A", _field_A),
    "detectors": ("detector", _detector),
}
_CAMERA_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "exposure": ("exposure_us", _exposure_us),
    "binning": ("binning", _binning),
}
_XRAY_SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "exposure": ("live_s", lambda value: _number(value, "exposure")),
}
