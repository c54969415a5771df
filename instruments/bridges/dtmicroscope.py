"""The microscope servers of DTMicroscope (github.com/pycroscopy/DTMicroscope) as instruments.

A server of DTMicroscope (`run_server_stem`, `run_server_afm`) gives out recorded data as if it measured
them. In a laboratory file:

    instruments:
      recorded_stem:
        served: twin_pc
        class: "twinloop.instruments.bridges.dtmicroscope:RecordedSTEM"
        settings: {port: 9091, data_source: test_stem.h5}

The server holds one microscope for each connection: whoever connects again has to choose the microscope and
its data again, which is done here at every connection. The data are therefore a setting and no action: what
an action had chosen would be lost with the connection, unseen. Its numbers have no unit but for the AFM's
metres; arrays arrive as (list, shape, dtype) and are checked before use.

Its wire has no authentication and no encryption: whoever reaches the port commands the microscope. So only
the loopback interface is used unless `network` says otherwise in words; reach other hosts through an SSH
tunnel. Pyro's serializer is JSON, and no pickle is read. Needs the extra `dtmicroscope` (Pyro5).

Source: DTMicroscope 17245ba (2025-12-17), server/server_stem.py and server/server_afm.py.
"""

import asyncio
import contextlib
import ipaddress
import logging
import math
import socket
from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import numpy as np
from pydantic import Field, PositiveFloat, PrivateAttr

from twinloop.errors import ArgumentError, Disconnected, LabError, describe_error
from twinloop.instruments.bridges.foreign import DriverThread
from twinloop.instruments.interface import (
    Instrument,
    Limit,
    NotTouched,
    OnSilence,
    Recovery,
    action,
    readout,
)
from twinloop.results import Array, Result
from twinloop.units import Unit

__all__ = [
    "LineProfile",
    "Metres",
    "MicroscopeServer",
    "PointSpectrum",
    "Port",
    "Recorded",
    "RecordedAFM",
    "RecordedSTEM",
    "ServerComplaint",
    "array_of",
]

_LOG = logging.getLogger(__name__)

_MAX_BYTES = 64 * 2**20
_MAX_MESSAGE = 512 * 2**20
"""Longest reply that is read at all [bytes]: 64 MiB of doubles are 160 MB as text."""
_MAX_AXES = 4
_PING_S = 2.0
_MAX_SAID = 300

T = TypeVar("T")

Metres = Annotated[float, Unit("m", "meter")]
Position_m = Annotated[Metres, Limit(-1e-3, 1e-3)]
Index = Annotated[int, Field(ge=0, le=65535)]
Channel = Annotated[str, Field(min_length=1, max_length=100)]
Channels = Annotated[tuple[Channel, ...], Field(min_length=1, max_length=32)]
Direction = Literal["horizontal", "vertical"]
Trace = Literal["forward", "backward"]
Port = Annotated[int, Field(ge=1, le=65535)]


class ServerComplaint(LabError):
    """The server answered a call with an error of its own."""

    def __init__(self, call: str, said: str) -> None:
        self.call, self.said = call, said
        super().__init__(
            f"the microscope server answers {call} with {said}; see its console, and the channels "
            "that it lists when data are registered"
        )


class Recorded(Result):
    """Data out of the record, in the numbers in which they were recorded.

    Args:
        values: shape and meaning as of the action.
        channel: of the record; "" where the server does not tell.
        data_source: the record.
    """

    values: Array
    channel: str
    data_source: str


class LineProfile(Result):
    """One line of an AFM scan.

    Args:
        values: shape (channels, pixels), in the units of the channels.
        coord_m: of the line, across its direction [m].
        direction: along which it runs.
    """

    values: Array
    coord_m: Metres
    direction: Direction


class PointSpectrum(Result):
    """The spectrum of the recorded point that is nearest to where the tip was sent.

    Args:
        axis: of the spectrum, shape (points,), in the unit of the record.
        values: shape as recorded, its last axis that of `axis`.
        x_m, y_m: where the server says that the tip is [m].
    """

    axis: Array
    values: Array
    x_m: Metres
    y_m: Metres


def array_of(
    value: object, what: str, *, n_axes: Sequence[int] = (), max_bytes: int = _MAX_BYTES
) -> Array:
    """Return the array that a (list, shape, dtype) of the wire describes.

    Args:
        value: what came.
        what: how errors call it.
        n_axes: allowed numbers of axes; any when empty.
        max_bytes: largest array.

    Raises:
        ArgumentError: it is no such triple, not of numbers, too large, or its parts contradict each other.

    Example:
        >>> array_of([[[1, 2], [3, 4]], [2, 2], "uint16"], "image").dtype
        dtype('uint16')
    """
    if not isinstance(value, list | tuple) or len(value) != 3:
        raise ArgumentError(what, _short(value), "a list of values, a shape and a dtype")
    values, shape, named = value
    dtype = _dtype(named, what)
    is_shape = isinstance(shape, list | tuple) and all(
        isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape
    )
    if not is_shape or len(shape) > _MAX_AXES or (n_axes and len(shape) not in n_axes):
        allowed = f"{' or '.join(str(n) for n in n_axes) or f'up to {_MAX_AXES}'} lengths"
        raise ArgumentError(f"{what}: shape", _short(shape), allowed)
    n_values = math.prod(shape)
    if n_values * dtype.itemsize > max_bytes:
        raise ArgumentError(
            f"{what}: shape", shape, f"at most {max_bytes} bytes (setting max_bytes)"
        )
    try:
        raw = np.asarray(values)
    except ValueError as err:
        raise ArgumentError(what, "a ragged list", f"values of shape {shape}") from err
    if raw.size == n_values == 0:
        return np.zeros(shape, dtype)
    if (
        raw.dtype.kind not in "biuf"
        or raw.size != n_values
        or raw.shape not in {(n_values,), tuple(shape)}
    ):
        raise ArgumentError(what, f"{raw.dtype} {raw.shape}", f"numbers of shape {tuple(shape)}")
    with np.errstate(invalid="ignore", over="ignore"):
        made = raw.astype(dtype).reshape(shape)
    if dtype.kind != "f" and not np.array_equal(made.ravel(), raw.ravel()):
        raise ArgumentError(what, "values that it cannot hold", f"values of a {dtype}")
    return made


def _dtype(named: object, what: str) -> "np.dtype[Any]":
    try:
        dtype = np.dtype(named) if isinstance(named, str) and len(named) <= 16 else None
    except TypeError:
        dtype = None
    if dtype is None or dtype.kind not in "biuf":
        raise ArgumentError(f"{what}: dtype", _short(named), "a type of numbers, such as float32")
    return dtype


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


class MicroscopeServer(Instrument):
    """Base: the connection to a server of DTMicroscope.

    Args:
        host: of the server.
        port: 9091 of `run_server_stem`, 9092 of `run_server_afm`.
        network: "loopback only", or in words that its network is trusted: its wire has no
            authentication.
        timeout_s: longest wait for an answer [s].
        max_bytes: largest array that is taken.
    """

    object_id: ClassVar[str] = "microscope.server"
    starts_with: ClassVar[str] = "run_server_stem"

    host: str = "127.0.0.1"
    port: Port = 9091
    network: Literal["loopback only", "trusted, without authentication"] = "loopback only"
    timeout_s: PositiveFloat = 30.0
    max_bytes: int = Field(default=_MAX_BYTES, ge=1, le=2**31)
    _proxy: Any = PrivateAttr(default=None)
    _thread: DriverThread | None = PrivateAttr(default=None)

    @property
    def uri(self) -> str:
        """Return the address of the server's object."""
        return f"PYRO:{self.object_id}@{self.host}:{self.port}"

    @property
    def thread(self) -> DriverThread:
        """Return the thread in which the connection is used."""
        if self._thread is None:
            self._thread = DriverThread(type(self).__name__)
        return self._thread

    @abstractmethod
    def begin_session(self) -> None:
        """Choose microscope and data, on a connection that is new."""

    def connect(self) -> None:
        """Open the connection and choose microscope and data.

        Raises:
            ArgumentError: another host without the words for it, or Pyro5 is not installed.
            Disconnected: nobody answers.
            ServerComplaint: it does not take the data.
        """
        self._check_network()
        try:
            import Pyro5.api
        except ImportError as err:
            raise ArgumentError("Pyro5", None, "pip install 'twinloop[dtmicroscope]'") from err
        config = Pyro5.api.config
        config.MAX_MESSAGE_SIZE = min(config.MAX_MESSAGE_SIZE, _MAX_MESSAGE)
        self.thread.at_once(self._opened)

    def disconnect(self) -> None:
        """Close the connection."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.at_once(self._drop)
            thread.close()

    def ask(self, method: str, **arguments: Any) -> Any:
        """Return what a method of the server returns; in the driver's thread.

        Raises:
            Disconnected: the connection is lost, or no answer came in time.
            ServerComplaint: the server answers with an error.
        """
        return self._answer(method, self._opened(), lambda p: getattr(p, method)(**arguments))

    def ask_attribute(self, name: str) -> Any:
        """Return an attribute of the server's object; errors as of `ask`."""
        return self._answer(name, self._opened(), lambda p: getattr(p, name))

    def ask_beside(self, method: str) -> Any:
        """Return what a method returns, on a connection of its own; errors as of `ask`."""
        import Pyro5.api

        with Pyro5.api.Proxy(self.uri) as proxy:
            proxy._pyroSerializer = "json"  # noqa: SLF001
            proxy._pyroTimeout = self.timeout_s  # noqa: SLF001
            return self._answer(method, proxy, lambda p: getattr(p, method)())

    async def read(self, call: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """Return what a call in the driver's thread returns; an abort cuts the connection.

        Raises:
            NotTouched: the server refuses, or what it sent cannot be used; reading changes nothing.
            Disconnected: as of `ask`.
        """
        try:
            return await self.thread.run(partial(call, *arguments, **named), stop=self._cut)
        except (ServerComplaint, ArgumentError) as err:
            raise NotTouched(str(err)) from err

    @readout
    async def is_answering(self) -> bool:
        """Return whether the server's process answers, whatever else it does."""
        return await asyncio.to_thread(self._ping)

    def _check_network(self) -> None:
        try:
            is_loopback = ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            is_loopback = self.host == "localhost"
        if not is_loopback and self.network == "loopback only":
            allowed = (
                "127.0.0.1 or localhost, through an SSH tunnel: this wire has no authentication, whoever "
                'reaches the port commands the microscope; or network: "trusted, without authentication"'
            )
            raise ArgumentError("host", self.host, allowed)

    def _opened(self) -> Any:
        """Return the connection; a new one has its session begun."""
        if self._proxy is None:
            import Pyro5.api

            proxy = Pyro5.api.Proxy(self.uri)
            proxy._pyroSerializer = "json"  # noqa: SLF001 - public, by Pyro's documentation
            proxy._pyroTimeout = self.timeout_s  # noqa: SLF001
            proxy._pyroMaxRetries = 0  # noqa: SLF001 - who repeats is decided by the recovery class
            self._answer("connect", proxy, lambda p: p._pyroBind())  # noqa: SLF001
            self._proxy = proxy
            try:
                self.begin_session()
            except LabError:
                self._drop()
                raise
        elif self._proxy._pyroConnection is None:  # noqa: SLF001
            # another connection is another session: the server has forgotten microscope and data
            self._proxy = None
            return self._opened()
        return self._proxy

    def _answer(self, call: str, proxy: Any, ask: Callable[[Any], Any]) -> Any:
        import Pyro5.errors

        try:
            proxy._pyroClaimOwnership()  # noqa: SLF001 - used in turn: the driver's thread sees to it
            return ask(proxy)
        except Exception as err:
            # what the server raised comes as the same class: an absent file as an OSError, too
            is_remote = hasattr(err, "_pyroTraceback")
            if not is_remote and isinstance(err, Pyro5.errors.CommunicationError | OSError):
                if proxy is self._proxy:
                    self._drop()
                if not isinstance(err, Pyro5.errors.SerializeError):
                    hint = f"is it running ({self.starts_with})? {err}"
                    raise Disconnected(f"{self.uri} ({call})", self.timeout_s, hint) from err
            raise ServerComplaint(call, f"{type(err).__name__}: {str(err)[:_MAX_SAID]}") from err

    def _drop(self) -> None:
        proxy, self._proxy = self._proxy, None
        if proxy is not None:
            try:
                proxy._pyroClaimOwnership()  # noqa: SLF001
                proxy._pyroRelease()  # noqa: SLF001
            except Exception as err:  # noqa: BLE001 - a broken line, which is given up
                _LOG.warning("closing %s: %s", self.uri, describe_error(err))

    def _cut(self) -> None:
        """End a call that runs in another thread."""
        connection = getattr(self._proxy, "_pyroConnection", None)
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _ping(self) -> bool:
        import Pyro5.api
        import Pyro5.errors

        try:
            with Pyro5.api.Proxy(f"PYRO:Pyro.Daemon@{self.host}:{self.port}") as daemon:
                daemon._pyroSerializer = "json"  # noqa: SLF001
                daemon._pyroTimeout = min(self.timeout_s, _PING_S)  # noqa: SLF001
                daemon.ping()
        except (Pyro5.errors.PyroError, OSError):
            return False
        return True

    def _array(self, method: str, n_axes: Sequence[int], **arguments: Any) -> Array:
        found = self.ask(method, **arguments)
        return array_of(found, method, n_axes=n_axes, max_bytes=self.max_bytes)


class RecordedSTEM(MicroscopeServer, kind="recorded_stem"):
    """A recorded STEM session, given out by the STEM server of DTMicroscope.

    Args:
        data_source: file of the record, as the server's machine names it.
    """

    is_twin: ClassVar[bool] = True

    data_source: str = "test.h5"

    def begin_session(self) -> None:
        """Choose the STEM, and its record."""
        self.ask("initialize_microscope", microscope="STEM")
        self.ask("register_data", data_source=self.data_source)

    def safe_state(self) -> None:
        """Do nothing: a record has no beam and no stage."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def overview_image(self) -> Recorded:
        """Return the overview image, shape (rows, columns): the record's first channel."""
        return self._recorded(await self.read(self._array, "get_overview_image", (2,)), "")

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def point_data(
        self, *, row: Index, column: Index, channel: Channel = "Channel_001"
    ) -> Recorded:
        """Return what was recorded at a pixel, shape (channels of energy,) for a spectrum image.

        The server calls the row x and the column y.
        """
        found = await self.read(
            self._array, "get_point_data", (0, 1, 2), spectrum_image_index=channel, x=row, y=column
        )
        return self._recorded(found, channel)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def spectrum_image(self, *, channel: Channel = "Channel_001") -> Recorded:
        """Return the whole spectrum image, shape (rows, columns, channels of energy)."""
        ask = partial(self._array, "get_spectrum_image", (3, 4), spectrum_image_index=channel)
        return self._recorded(await self.read(ask), channel)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def energy_axis(self, *, channel: Channel = "Channel_001") -> Recorded:
        """Return the energies of its channels, shape (channels of energy,), in the record's unit."""
        ask = partial(self._array, "get_spectrum_image_e_axis", (1,), spectrum_image_index=channel)
        return self._recorded(await self.read(ask), channel)

    def _recorded(self, values: Array, channel: str) -> Recorded:
        return Recorded(values=values, channel=channel, data_source=self.data_source)


class RecordedAFM(MicroscopeServer, kind="recorded_afm"):
    """A recorded AFM session, given out by the AFM server of DTMicroscope.

    Args:
        data_path: file of the record, as the server's machine names it.
        data_source: data set in it.
    """

    is_twin: ClassVar[bool] = True
    starts_with: ClassVar[str] = "run_server_afm"

    port: Port = 9092
    data_path: str
    data_source: str = "Compound_Dataset_1"

    def begin_session(self) -> None:
        """Choose the AFM, its record, and the data set in it."""
        self.ask("initialize_microscope", microscope="AFM", data_path=self.data_path)
        self.ask("setup_microscope", data_source=self.data_source)

    def safe_state(self) -> None:
        """Do nothing: a record has no tip that could crash."""

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def dataset_info(self) -> dict[str, Any]:
        """Return what the record holds: channels, signals, units, and which of them are what."""
        found = await self.read(self.ask, "get_dataset_info")
        try:
            return {str(name): list(values) for name, values in found}
        except (TypeError, ValueError) as err:
            raise NotTouched(
                f"get_dataset_info gives {_short(found)}, not a list of pairs"
            ) from err

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def scan(
        self,
        *,
        channels: Channels | None = None,
        direction: Direction = "horizontal",
        trace: Trace = "forward",
    ) -> Recorded:
        """Return the recorded scan, shape (channels, rows, columns); all its channels without a list."""
        ask = partial(
            self._array,
            "get_scan",
            (2, 3),
            channels=_listed(channels),
            direction=direction,
            trace=trace,
        )
        named = "" if channels is None else ", ".join(channels)
        return Recorded(values=await self.read(ask), channel=named, data_source=self.data_source)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def scan_line(
        self,
        *,
        coord_m: Position_m,
        direction: Direction = "horizontal",
        trace: Trace = "forward",
        channels: Channels | None = None,
    ) -> LineProfile:
        """Return the recorded line that is nearest to a coordinate across its direction.

        Raises:
            NotTouched: the coordinate is outside the record; the server would take its edge.
        """
        across = "y" if direction == "horizontal" else "x"

        def ask() -> Array:
            self._inside(**{across: coord_m})
            return self._array(
                "scan_individual_line", (1, 2), direction=direction, coord=coord_m,
                channels=_listed(channels), trace=trace,
            )  # fmt: skip

        return LineProfile(values=await self.read(ask), coord_m=coord_m, direction=direction)

    @action(recovery=Recovery.IDEMPOTENT, on_silence=OnSilence.FINISH, silence_s=30)
    async def spectrum(self, *, x_m: Position_m, y_m: Position_m) -> PointSpectrum:
        """Send the tip to a place and return the spectrum there, as one action.

        Raises:
            NotTouched: the place is outside the record; the server would take its edge.
        """

        def ask() -> PointSpectrum:
            self._inside(x=x_m, y=y_m)
            self.ask("go_to", x=x_m, y=y_m)
            found = self.ask("get_spectrum")
            if not isinstance(found, list | tuple) or len(found) != 2:
                raise ArgumentError("get_spectrum", _short(found), "an axis and a spectrum")
            axis = array_of(found[0], "get_spectrum: axis", n_axes=(1,), max_bytes=self.max_bytes)
            values = array_of(found[1], "get_spectrum", max_bytes=self.max_bytes)
            if values.shape[-1:] != axis.shape:
                raise ArgumentError("get_spectrum", values.shape, f"a last axis of {axis.shape[0]}")
            return PointSpectrum(
                axis=axis, values=values, x_m=self._place("x"), y_m=self._place("y")
            )

        return await self.read(ask)

    @readout
    async def x_m(self) -> Metres:
        """Return where the tip is, along x [m]."""
        return await self.thread.run(self._place, "x")

    @readout
    async def y_m(self) -> Metres:
        """Return where the tip is, along y [m]."""
        return await self.thread.run(self._place, "y")

    def _place(self, name: str) -> float:
        found = self.ask_attribute(name)
        if (
            isinstance(found, bool)
            or not isinstance(found, int | float)
            or not math.isfinite(found)
        ):
            raise ArgumentError(name, _short(found), "a finite number in m")
        return float(found)

    def _inside(self, **asked_m: float) -> None:
        for name, value_m in asked_m.items():
            low_m, high_m = self._place(f"{name}_min"), self._place(f"{name}_max")
            if not low_m <= value_m <= high_m:
                allowed = f"{low_m:g} to {high_m:g} m, which the record covers"
                raise ArgumentError(f"{name}_m", value_m, allowed)


def _listed(channels: Sequence[str] | None) -> list[str] | None:
    return None if channels is None else list(channels)
