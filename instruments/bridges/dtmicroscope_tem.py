"""The microscope proxy of DTMicroscope (`tem.server`), which commands a real electron microscope.

    instruments:
      tem:
        served: tem_pc
        class: "twinloop.instruments.bridges.dtmicroscope_tem:ProxiedTEM"
        settings: {port: 9093}

The proxy stands before the maker's own interface (AutoScript). It knows no command keys, so nothing can be
reconciled; what is offered here may be repeated: settings, a stage that is sent to a place, and images of
what the beam shows anyway. The proxy cannot blank the beam: its `close`, which shuts the column valves, is the
safe state, and no image is taken before they are opened at the microscope.

Source: DTMicroscope 17245ba (2025-12-17), server/smart_proxy.py. Its docstring says that the stage is set in
nm and degrees; the code hands the numbers to AutoScript, which takes m and rad.
"""

import math
from functools import partial
from typing import Annotated, Any, ClassVar

from pydantic import Field

from twinloop.errors import ArgumentError
from twinloop.instruments.bridges.dtmicroscope import Metres, MicroscopeServer, Port, array_of
from twinloop.instruments.interface import (
    Command,
    Limit,
    NotTouched,
    OnSilence,
    Recovery,
    action,
    readout,
)
from twinloop.results import Array, Result
from twinloop.units import Seconds, Unit

__all__ = ["CameraImage", "ProxiedTEM"]

Radians = Annotated[float, Unit("rad", "radian")]
Stage_m = Annotated[Metres, Limit(-1e-3, 1e-3)]
Height_m = Annotated[Metres, Limit(-3e-4, 3e-4)]
Tilt_rad = Annotated[Radians, Limit(-0.5, 0.5)]
Exposure_s = Annotated[Seconds, Limit(1e-4, 20)]
Device = Annotated[str, Field(pattern=r"^[A-Za-z0-9_\-]{1,40}$")]
Side = Annotated[int, Field(ge=16, le=4096)]
_AXES = ("x", "y", "z", "a", "b")
_NEAR_M, _NEAR_RAD = 1e-6, 2e-3


class CameraImage(Result):
    """One image of a camera.

    Args:
        counts: shape (rows, columns), in the type that the camera gives.
        device: that took it.
    """

    counts: Array
    device: str


class ProxiedTEM(MicroscopeServer, kind="proxied_tem"):
    """An electron microscope behind the Pyro5 proxy of DTMicroscope."""

    object_id: ClassVar[str] = "tem.server"
    starts_with: ClassVar[str] = "smart_proxy.py on the microscope's computer"

    port: Port = 9093

    def begin_session(self) -> None:
        """Ask for the devices: the proxy connects to the microscope when it is first asked."""
        self._devices()

    def safe_state(self) -> None:
        """Close the column valves, on a connection of its own: another call may hang on ours."""
        self.ask_beside("close")

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    async def set_camera(
        self, *, device: Device = "flu_camera", exposure_s: Exposure_s = 0.1, size: Side = 512
    ) -> None:
        """Set exposure and size of a camera.

        Raises:
            NotTouched: there is no such device.
        """
        ask = partial(self.ask, "device_settings", device=device, exposure=exposure_s, size=size)
        if await self.read(ask) != 1:
            raise NotTouched(f"the proxy has no device {device!r}")

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=60)
    async def acquire(self, *, device: Device = "flu_camera") -> CameraImage:
        """Return an image of a camera: the beam is on whether one is taken or not.

        Raises:
            NotTouched: there is no such device; what came is no image.
        """

        def ask() -> CameraImage:
            if device not in self._devices():
                raise ArgumentError("device", device, f"one of {', '.join(self._devices())}")
            found = self.ask("acquire_image", device=device)
            counts = array_of(found, "acquire_image", n_axes=(2,), max_bytes=self.max_bytes)
            return CameraImage(counts=counts, device=device)

        return await self.read(ask)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=60)
    async def move_stage(
        self,
        *,
        x_m: Stage_m,
        y_m: Stage_m,
        z_m: Height_m = 0.0,
        a_rad: Tilt_rad = 0.0,
        b_rad: Tilt_rad = 0.0,
    ) -> None:
        """Send the stage to a place, all its axes; returns when the proxy says that it is there."""
        aim = dict(zip(_AXES, (x_m, y_m, z_m, a_rad, b_rad), strict=True))
        # never relative: a move that is repeated must end where the first one did
        await self.thread.run(
            partial(self.ask, "set_stage", stage_positions=aim, relative=False), stop=self._cut
        )

    @move_stage.confirm
    async def where_it_stands(self, command: Command, _result: object) -> str | None:
        """Read the stage back; a complaint when an axis is elsewhere."""
        found = await self.thread.run(self._stage)
        names = ("x_m", "y_m", "z_m", "a_rad", "b_rad")
        for name, value in zip(names, found, strict=True):
            told = float(command.arguments.get(name, 0.0))
            near = _NEAR_M if name.endswith("_m") else _NEAR_RAD
            if not abs(value - told) <= near:
                return f"{name}: told {told:g}, the stage reads {value:g}, {near:g} allowed"
        return None

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH)
    async def close_valves(self) -> None:
        """Close the column valves: no beam reaches the sample until they are opened by hand."""
        await self.thread.run(self.ask, "close", stop=self._cut)

    @readout
    async def stage_x_m(self) -> Metres:
        """Return where the stage says that it is, along x [m]."""
        return (await self.thread.run(self._stage))[0]

    @readout
    async def stage_y_m(self) -> Metres:
        """Return the same along y [m]."""
        return (await self.thread.run(self._stage))[1]

    @readout
    async def valves_are_closed(self) -> bool:
        """Return whether the column valves are closed."""
        found = await self.thread.run(self.ask, "get_microscope_status")
        state = found.get("column_valve") if isinstance(found, dict) else None
        if not isinstance(state, str):
            raise ArgumentError("get_microscope_status", found, "a dict with column_valve")
        return state.lower() == "closed"

    def _devices(self) -> list[str]:
        found = self.ask("get_detectors")
        if not isinstance(found, list | tuple) or not all(isinstance(name, str) for name in found):
            raise ArgumentError("get_detectors", found, "a list of names")
        return list(found)

    def _stage(self) -> list[float]:
        found: Any = self.ask("get_stage")
        is_place = isinstance(found, list | tuple) and len(found) == len(_AXES)
        if not is_place or not all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)
            for v in found
        ):
            raise ArgumentError("get_stage", found, "x, y, z in m and a, b in rad")
        return [float(value) for value in found]
