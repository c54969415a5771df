"""The microscope servers of DTMicroscope as instruments, over real Pyro5 daemons and sockets.

A stand-in speaks the protocol of server_stem.py and server_afm.py at 17245ba, its sessions included. Where
DTMicroscope itself can be imported, its own servers answer the same questions.
"""
# ruff: noqa: RUF012 - a rehearsal is declared by plain class attributes
# ruff: noqa: ARG002 - the stand-in has the signatures of the servers

import asyncio
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("Pyro5", reason="the extra `dtmicroscope` is not installed")

import Pyro5.api

from twinloop.clocks import ScaledLabClock
from twinloop.errors import ArgumentError, Disconnected, LabError
from twinloop.instruments.bridges.dtmicroscope import (
    MicroscopeServer,
    RecordedAFM,
    RecordedSTEM,
    array_of,
)
from twinloop.instruments.conformance.interface import Rehearsal, check_instrument
from twinloop.instruments.interface import Instrument, NotTouched

ROWS, COLUMNS, CHANNELS = 5, 7, 11
WAIT_S = 20.0


def on_the_wire(array: Any) -> Any:
    return array.tolist(), array.shape, str(array.dtype)


def spectra() -> Any:
    return np.random.default_rng(3).random((ROWS, COLUMNS, CHANNELS)).astype(np.float32)


def image() -> Any:
    return (100 * spectra().sum(axis=2)).astype(np.uint16)


LYING: dict[str, Any] = {
    "short": ([[1, 2], [3, 4]], (2, 3), "float32"),
    "ragged": ([[1, 2], [3]], (2, 2), "float32"),
    "words": ([["1", "2"]], (1, 2), "float32"),
    "object": ([[1, 2]], (1, 2), "object"),
    "huge": ([[1]], (100_000, 100_000), "float64"),
    "negative": ([[1, 2]], (-1, -2), "float64"),
    "wraps": ([[1, -2]], (1, 2), "uint8"),
    "none": None,
}


@Pyro5.api.expose
@Pyro5.api.behavior(instance_mode="session")
class StandIn:
    """What the STEM and the AFM server of DTMicroscope do, on a record of its own."""

    calls: list[str] = []
    go_on = threading.Event()
    is_waiting = threading.Event()
    slow_s = 4.0

    def __init__(self) -> None:
        self._kind = self._source = ""
        self._at = [0.0, 0.0]

    def initialize_microscope(self, microscope: str = "dummy", data_path: str = "") -> None:
        self.calls.append(f"initialize {microscope}")
        self._kind = microscope

    def register_data(self, data_source: str = "test.h5") -> None:
        assert self._kind == "STEM"
        if data_source == "absent.h5":
            raise FileNotFoundError(data_source)
        self.calls.append(f"register {data_source}")
        self._source = data_source

    def setup_microscope(self, data_source: str = "", dset_subset: Any = None) -> None:
        self._source = data_source

    def get_overview_image(self) -> Any:
        assert self._source, "no data in this session"
        return LYING.get(self._source, on_the_wire(image()))

    def get_point_data(self, spectrum_image_index: str, x: int, y: int) -> Any:
        self.calls.append("point")
        return on_the_wire({"Channel_001": spectra()}[spectrum_image_index][x][y])

    def get_spectrum_image(self, spectrum_image_index: str = "Channel_001") -> Any:
        self.calls.append("spectrum image")
        if spectrum_image_index == "slow":
            self.is_waiting.set()
            self.go_on.wait(self.slow_s)
        return on_the_wire(spectra())

    def get_spectrum_image_e_axis(self, spectrum_image_index: str = "Channel_001") -> Any:
        return on_the_wire(np.linspace(0.0, 1.0, CHANNELS))

    def get_dataset_info(self) -> Any:
        return [("channels", ["Height", "Phase"]), ("units", ["m", "deg"]), ("scans", [0, 1])]

    def get_scan(
        self, channels: Any = None, modification: Any = None, scan_rate: Any = None,
        direction: str = "horizontal", trace: str = "forward",
    ) -> Any:  # fmt: skip
        found = np.stack([image(), 2 * image()]).astype(float)[
            : 2 if channels is None else len(channels)
        ]
        found = found if trace == "forward" else found[:, :, ::-1]
        return on_the_wire(found if direction == "horizontal" else found.transpose(0, 2, 1))

    def scan_individual_line(
        self, direction: str, coord: float, channels: Any, modification: Any = None, trace: str = ""
    ) -> Any:
        return on_the_wire(np.full((2, COLUMNS), coord))

    def go_to(self, x: float, y: float) -> None:
        self._at = [min(max(x, -1e-6), 1e-6), min(max(y, -1e-6), 1e-6)]

    def get_spectrum(self) -> Any:
        return on_the_wire(np.arange(3.0)), on_the_wire(np.array([*self._at, 1.0]))

    x = property(lambda self: self._at[0])
    y = property(lambda self: self._at[1])
    x_min = y_min = property(lambda _: -1e-6)
    x_max = y_max = property(lambda _: 1e-6)


class Server:
    """A daemon in a thread, as `main_server` of DTMicroscope starts it."""

    def __init__(self, served: Any = StandIn, port: int = 0) -> None:
        self.daemon = Pyro5.api.Daemon(host="127.0.0.1", port=port)
        self.daemon.register(served, objectId="microscope.server")
        self.port = int(self.daemon.locationStr.rpartition(":")[2])
        self.thread = threading.Thread(target=self.daemon.requestLoop, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.daemon.shutdown()
        self.thread.join(WAIT_S)
        self.daemon.close()


@pytest.fixture
def server() -> Iterator[Server]:
    StandIn.calls.clear()
    StandIn.go_on.clear()
    StandIn.is_waiting.clear()
    made = Server()
    yield made
    StandIn.go_on.set()
    made.close()


def connected(cls: type[MicroscopeServer], **settings: Any) -> Any:
    made = cls(**{"timeout_s": 10.0, **settings})
    made.attach(ScaledLabClock(1.0))
    made.connect()
    return made


def test_what_was_recorded_comes_out(server: Server) -> None:
    stem = connected(RecordedSTEM, port=server.port, data_source="a.h5")
    found = asyncio.run(stem.overview_image())
    np.testing.assert_array_equal(found.values, image())
    assert (found.values.dtype, found.data_source) == (np.uint16, "a.h5")
    point = asyncio.run(stem.point_data(row=4, column=6))
    np.testing.assert_array_equal(point.values, spectra()[4, 6])
    np.testing.assert_array_equal(asyncio.run(stem.spectrum_image()).values, spectra())
    assert asyncio.run(stem.energy_axis()).values.shape == (CHANNELS,)
    assert asyncio.run(stem.is_answering()) is True
    stem.disconnect()


def test_a_new_connection_chooses_its_data_again(server: Server) -> None:
    stem = connected(RecordedSTEM, port=server.port, data_source="a.h5")
    stem.thread.at_once(stem._proxy._pyroRelease)
    np.testing.assert_array_equal(asyncio.run(stem.overview_image()).values, image())
    assert StandIn.calls == 2 * ["initialize STEM", "register a.h5"]
    stem.disconnect()


@pytest.mark.parametrize("lie", sorted(LYING))
def test_an_array_that_contradicts_itself_is_refused(server: Server, lie: str) -> None:
    stem = connected(RecordedSTEM, port=server.port, data_source=lie)
    with pytest.raises(NotTouched, match="get_overview_image"):
        asyncio.run(stem.overview_image())
    stem.disconnect()


def test_arrays_are_bounded(server: Server) -> None:
    stem = connected(RecordedSTEM, port=server.port, max_bytes=2 * ROWS * COLUMNS - 1)
    with pytest.raises(NotTouched, match="max_bytes"):
        asyncio.run(stem.overview_image())
    stem.disconnect()
    assert array_of([[], [0, 3], "float64"], "none").shape == (0, 3)
    np.testing.assert_array_equal(
        array_of([[1, 2, 3, 4], [2, 2], "int8"], "flat"), [[1, 2], [3, 4]]
    )


def test_what_the_server_refuses_is_said_and_nothing_happened(server: Server) -> None:
    stem = connected(RecordedSTEM, port=server.port)
    with pytest.raises(NotTouched, match="KeyError: 'Channel_009'"):
        asyncio.run(stem.point_data(row=0, column=0, channel="Channel_009"))
    with pytest.raises(NotTouched, match="IndexError"):
        asyncio.run(stem.point_data(row=ROWS, column=0))
    assert asyncio.run(stem.overview_image()).values.shape == (ROWS, COLUMNS)
    stem.disconnect()
    with pytest.raises(LabError, match="register_data with FileNotFoundError"):
        connected(RecordedSTEM, port=server.port, data_source="absent.h5")
    point = RecordedSTEM.actions()["point_data"].spec
    for wrong in ({"row": -1, "column": 0}, {"row": 1.5, "column": 0}, {"row": 0}):
        with pytest.raises(ArgumentError):
            point.check(wrong, "stem.point_data")


def test_an_abort_cuts_a_call_that_hangs(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StandIn, "slow_s", 600.0)
    stem = connected(RecordedSTEM, port=server.port, timeout_s=600.0)

    async def cut() -> None:
        running = asyncio.create_task(stem.spectrum_image(channel="slow"))
        assert await asyncio.to_thread(StandIn.is_waiting.wait, WAIT_S)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        # the thread of the connection is free again, though the server still hangs
        found = await asyncio.wait_for(stem.overview_image(), WAIT_S)
        assert found.values.shape == (ROWS, COLUMNS)

    asyncio.run(cut())
    stem.disconnect()


def test_a_server_that_is_silent_or_away_is_disconnected(server: Server) -> None:
    stem = connected(RecordedSTEM, port=server.port, timeout_s=0.5)
    with pytest.raises(Disconnected, match="run_server_stem"):
        asyncio.run(stem.spectrum_image(channel="slow"))
    StandIn.go_on.set()
    assert asyncio.run(stem.overview_image()).values.shape == (ROWS, COLUMNS)
    stem.disconnect()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(Disconnected, match=f"microscope.server@127.0.0.1:{port}"):
            connected(RecordedSTEM, port=port, timeout_s=0.3)
    away = RecordedSTEM(port=port, timeout_s=0.3)
    assert asyncio.run(away.is_answering()) is False
    with pytest.raises(Disconnected):
        away.connect()


@pytest.mark.parametrize("host", ["10.46.217.241", "0.0.0.0", "microscope.example.org"])
def test_another_host_is_asked_only_where_the_settings_say_so_in_words(host: str) -> None:
    with pytest.raises(ArgumentError, match="no authentication"):
        RecordedSTEM(host=host).connect()
    RecordedSTEM(host=host, network="trusted, without authentication")._check_network()
    with pytest.raises(ValueError, match="network"):
        RecordedSTEM(host=host, network="yes")
    for near in ("127.0.0.1", "localhost", "::1"):
        RecordedSTEM(host=near)._check_network()


def test_the_afm_gives_scans_lines_and_spectra(server: Server) -> None:
    afm = connected(RecordedAFM, port=server.port, data_path="dset.h5")
    assert asyncio.run(afm.dataset_info())["channels"] == ["Height", "Phase"]
    whole = asyncio.run(afm.scan())
    back = asyncio.run(afm.scan(direction="vertical", trace="backward", channels=("Height",)))
    assert whole.values.shape == (2, ROWS, COLUMNS)
    np.testing.assert_array_equal(back.values[0], image()[:, ::-1].T)
    assert asyncio.run(afm.scan_line(coord_m=5e-7)).values[0, 0] == 5e-7
    found = asyncio.run(afm.spectrum(x_m=5e-7, y_m=-2e-7))
    assert (found.x_m, found.y_m, found.values[0]) == (5e-7, -2e-7, 5e-7)
    assert asyncio.run(afm.x_m()) == 5e-7
    for outside in (afm.spectrum(x_m=0.0, y_m=2e-6), afm.scan_line(coord_m=2e-6)):
        with pytest.raises(NotTouched, match="-1e-06 to 1e-06 m"):
            asyncio.run(outside)
    afm.disconnect()


class RecordedSTEMRehearsal(Rehearsal):
    """Against the stand-in."""

    instrument: type[Instrument] = RecordedSTEM
    examples = {"point_data": {"row": 0, "column": 0}}
    lasting = {"spectrum_image": {"channel": "slow"}}
    safe = {"is_answering": True}

    def start(self) -> None:
        StandIn.go_on.clear()
        self.server = Server()

    def stop(self) -> None:
        StandIn.go_on.set()
        self.server.close()

    def settings(self) -> dict[str, Any]:
        return {"port": self.server.port}


class RecordedAFMRehearsal(RecordedSTEMRehearsal):
    """The same for the AFM."""

    instrument = RecordedAFM
    examples = {"scan_line": {"coord_m": 0.0}, "spectrum": {"x_m": 0.0, "y_m": 0.0}}
    lasting = {}

    def settings(self) -> dict[str, Any]:
        return {"port": self.server.port, "data_path": "dset.h5"}


@pytest.mark.system
@pytest.mark.timeout(300)
def test_it_keeps_the_quick_clauses(tmp_path: Path) -> None:
    quick = ("S", "L", "K1", "F1", "F2")
    check_instrument(
        RecordedSTEM, RecordedSTEMRehearsal, only=quick, folder=tmp_path
    ).raise_if_failed()


@pytest.mark.soak
@pytest.mark.parametrize("rehearsal", [RecordedSTEMRehearsal, RecordedAFMRehearsal])
def test_it_keeps_the_contract(rehearsal: type[Rehearsal], tmp_path: Path) -> None:
    assert rehearsal.instrument is not None
    check_instrument(rehearsal.instrument, rehearsal, folder=tmp_path).raise_if_failed()


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """Return a record in the form that DTMicroscope reads: an image and a spectrum image."""
    pytest.importorskip("DTMicroscope.server.server_stem", reason="DTMicroscope is not installed")
    import h5py
    import pyNSID
    import sidpy

    (scan, cube), path = _datasets(sidpy), tmp_path / "record.h5"
    with h5py.File(path, "w") as file:
        for n, dataset in enumerate((scan, cube)):
            group = file.create_group(f"Measurement_{n:03}/Channel_000")
            pyNSID.hdf_io.write_nsid_dataset(dataset, group, main_data_name=f"data_{n}")
    return path


def _datasets(sidpy: Any) -> tuple[Any, Any]:
    made = []
    for array, kind, axes in ((image(), "IMAGE", "xy"), (spectra(), "SPECTRAL_IMAGE", "xye")):
        dataset = sidpy.Dataset.from_array(array, title=kind.lower())
        dataset.data_type, dataset.quantity, dataset.units = kind, "intensity", "counts"
        for n, axis in enumerate(axes):
            is_energy = axis == "e"
            dimension = sidpy.Dimension(
                np.linspace(0.0, 1.0, array.shape[n]), name=axis, units="eV" if is_energy else "nm",
                quantity="energy" if is_energy else "distance",
                dimension_type="spectral" if is_energy else "spatial",
            )  # fmt: skip
            dataset.set_dimension(n, dimension)
        made.append(dataset)
    return made[0], made[1]


@pytest.mark.filterwarnings("ignore")  # DTMicroscope and what it stands on give many
def test_the_real_stem_server_answers_as_its_stand_in(record: Path) -> None:
    from DTMicroscope.server.server_stem import MicroscopeServer as Real

    server = Server(Real)
    stem = connected(RecordedSTEM, port=server.port, data_source=str(record), timeout_s=60.0)
    np.testing.assert_array_equal(asyncio.run(stem.overview_image()).values, image())
    np.testing.assert_array_equal(
        asyncio.run(stem.point_data(row=4, column=6)).values, spectra()[4, 6]
    )
    np.testing.assert_array_equal(asyncio.run(stem.spectrum_image()).values, spectra())
    energies = asyncio.run(stem.energy_axis()).values
    np.testing.assert_allclose(energies, np.linspace(0.0, 1.0, CHANNELS))
    with pytest.raises(NotTouched, match="Channel_009"):
        asyncio.run(stem.point_data(row=0, column=0, channel="Channel_009"))
    stem.disconnect()
    server.close()


@pytest.mark.filterwarnings("ignore")
def test_the_real_afm_server_answers(record: Path) -> None:
    from DTMicroscope.server.server_afm import MicroscopeServer as Real

    server = Server(Real)
    afm = connected(RecordedAFM, port=server.port, data_path=str(record), timeout_s=60.0)
    info = asyncio.run(afm.dataset_info())
    assert len(info["channels"]) == 2
    np.testing.assert_array_equal(asyncio.run(afm.scan()).values, [image()])
    found = asyncio.run(afm.spectrum(x_m=0.0, y_m=0.0))
    np.testing.assert_allclose(found.axis, np.linspace(0.0, 1.0, CHANNELS))
    np.testing.assert_array_equal(found.values, spectra()[0, 0])
    assert (found.x_m, found.y_m) == (0.0, 0.0)
    line = asyncio.run(afm.scan_line(coord_m=0.0, direction="vertical"))
    assert line.values.shape[0] == 1
    afm.disconnect()
    server.close()
