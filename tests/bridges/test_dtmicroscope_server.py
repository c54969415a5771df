"""A STEM of ours behind the calls of DTMicroscope's clients, over real Pyro5 and real sockets."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("Pyro5", reason="the extra `dtmicroscope` is not installed")

import Pyro5.api

from twinloop.agents.bridges.dtmicroscope_calls import OfferedSTEM
from twinloop.agents.bridges.dtmicroscope_server import DTMicroscopeServer, netstring_of
from twinloop.agents.bridges.served_instrument import ServedInstrument
from twinloop.agents.hub.process import Hub
from twinloop.clocks import RealWireClock
from twinloop.errors import ArgumentError, StepFailed
from twinloop.instruments.serving import READY
from twinloop.instruments.spec import AdapterSpec, class_path
from twinloop.instruments.stem.interface import STEM, Diffraction, Micrograph, Spectrum
from twinloop.instruments.stem.twin import STEMTwin

CLOCK = RealWireClock()
LIMIT_S = 50.0
CAMERA = 8


class Holder:
    """Holds a STEM that answers at once, and keeps what it was commanded."""

    def __init__(self) -> None:
        self.done: list[tuple[str, dict[str, Any]]] = []
        self.stage_A = {"stage_x_A": 100.0, "stage_y_A": -50.0}
        self.cancelled = 0
        self.hangs = False

    def do(self, action: str, *, returns: object = None, **arguments: Any) -> "Future[Any]":  # noqa: ARG002
        future: Future[Any] = Future()
        checked = STEM.actions()[action].spec.check(arguments, action)
        self.done.append((action, checked))
        if self.hangs:
            return future
        match action:
            case "scan":
                future.set_result(scanned(checked["field_A"], checked["pixels"]))
            case "diffract":
                patterns = np.arange(CAMERA * CAMERA, dtype=np.float32).reshape(1, CAMERA, CAMERA)
                future.set_result(Diffraction.model_construct(patterns=patterns))
            case "spectrum":
                found = {
                    "energy_keV": np.array([1.0, 2.0]),
                    "counts": np.array([3.0, 4.0], np.float32),
                }
                future.set_result(Spectrum.model_construct(**found))
            case "move_stage":
                self.stage_A = {f"stage_{axis}_A": checked[f"{axis}_A"] for axis in "xy"}
                future.set_result(None)
            case _:
                future.set_result(None)
        return future

    def read(self, readout: str, wait_s: float = 5.0) -> "Future[Any]":  # noqa: ARG002
        future: Future[Any] = Future()
        future.set_result(self.stage_A[readout])
        return future

    def cancel_command(self, future: "Future[Any]") -> None:
        self.cancelled += 1
        future.set_exception(StepFailed("scan", "aborted"))


def scanned(field_A: float, pixels: int) -> Micrograph:
    """Return an image each pixel of which tells its place; rows and columns differ."""
    step_A = field_A / pixels
    along_A = step_A * (np.arange(pixels) - pixels / 2)
    counts = np.add.outer(1000.5 * np.arange(pixels), np.arange(pixels)).astype(np.float32)
    return Micrograph.model_construct(counts=counts, x_A=along_A, y_A=along_A)


class PieceReader:
    """A client that speaks as DTMicroscope's TEMClient does, its way of finding the end included."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __getattr__(self, method: str) -> Any:
        return lambda **params: self.ask({"id": 7, "method": method, "params": params})

    def ask(self, request: Any) -> Any:
        reply = self.send(f"{len(text := json.dumps(request))}:{text},".encode())
        if "error" in reply:
            raise RuntimeError(reply["error"])
        assert reply["id"] == 7
        return reply["result"]

    def send(self, raw: bytes) -> Any:
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT_S) as line:
            line.sendall(raw)
            found = b""
            while not found.endswith(b","):
                piece = line.recv(4096)
                assert piece, "the server hung up"
                found += piece
        length, _, rest = found.partition(b":")
        assert len(rest) == int(length) + 1, "a piece of the reply ended with a comma"
        return json.loads(rest[:-1])


def array(found: Any) -> Any:
    """Return what a client makes of a list, a shape and a dtype."""
    values, shape, dtype = found
    return np.array(values, dtype=dtype).reshape(shape)


@pytest.fixture
def holder() -> Holder:
    return Holder()


@pytest.fixture
def server(holder: Holder) -> Iterator[DTMicroscopeServer]:
    with DTMicroscopeServer(OfferedSTEM(holder), port=0, json_port=0) as made:
        yield made


@pytest.fixture(params=["pyro", "json"])
def tem(server: DTMicroscopeServer, request: pytest.FixtureRequest) -> Iterator[Any]:
    if request.param == "json":
        yield PieceReader(server.json_port)
        return
    with Pyro5.api.Proxy(f"PYRO:tem.server@127.0.0.1:{server.port}") as proxy:
        proxy._pyroTimeout = LIMIT_S
        yield proxy


@pytest.fixture
def microscope(server: DTMicroscopeServer) -> Iterator[Any]:
    with Pyro5.api.Proxy(f"PYRO:microscope.server@127.0.0.1:{server.port}") as proxy:
        proxy._pyroTimeout = LIMIT_S
        yield proxy


def test_their_units_become_ours(tem: Any, holder: Holder) -> None:
    assert {"scan", "ceta_camera", "flu_camera", "super_x", "haadf"} <= set(tem.get_detectors())
    assert tem.activate_device(device="flu_camera") == 1
    assert tem.activate_device(device="espresso") == 0
    assert tem.device_settings(device="espresso", size=1) == 0
    told = {"size": 32, "exposure": 4e-6, "field_of_view": [8e-9, 8e-9], "detectors": ["BF"]}
    assert tem.device_settings(device="scan", **told) == 1
    found = array(tem.acquire_image(device="scan"))
    np.testing.assert_array_equal(found, scanned(80.0, 32).counts)
    assert found.dtype == np.float32
    action, arguments = holder.done[-1]
    assert (action, arguments["detector"], arguments["pixels"]) == ("scan", "bf", 32)
    assert arguments["field_A"] == pytest.approx(80.0)
    assert arguments["dwell_us"] == pytest.approx(4.0)
    assert array(tem.acquire_image(device="HAADF", size=16)).shape == (16, 16)
    assert holder.done[-1][1]["detector"] == "haadf"
    assert array(tem.acquire_image(device="scan")).shape == (32, 32), "that was for one image"
    assert tem.set_beam_position(x=1.5, y=-2.0) == 1
    assert tem.device_settings(device="ceta_camera", exposure=0.002, binning=2) == 1
    pattern = array(tem.acquire_image(device="flu_camera"))
    assert pattern.shape == (CAMERA // 2, CAMERA // 2)
    assert pattern[0, 0] == 0 + 1 + CAMERA + CAMERA + 1
    exposed = holder.done[-1][1]
    assert (exposed["centre_x_A"], exposed["centre_y_A"]) == (15.0, -20.0)
    assert exposed["exposure_us"] == pytest.approx(2000.0)
    assert tem.acquire_spectrum(device="super_x", exposure=0.5) == [3.0, 4.0]
    assert (holder.done[-1][1]["centre_x_A"], holder.done[-1][1]["live_s"]) == (15.0, 0.5)
    assert tem.acquire_spectrum_points(device="super_x", points=[[0, 0], [0, 3]]) == 2 * [
        [3.0, 4.0]
    ]
    assert holder.done[-1][1]["centre_y_A"] == 30.0
    assert tem.get_microscope_status() == "Idle"
    assert tem.close() == 1
    assert holder.done[-1] == ("blank", {"is_blanked": True})


def test_the_stage_moves_in_metres(tem: Any) -> None:
    assert tem.get_stage() == pytest.approx([1e-8, -5e-9, 0, 0, 0])
    assert tem.set_stage(stage_positions={"y": -4e-6})["new_stage"] == pytest.approx(
        [1e-8, -4.005e-6, 0, 0, 0]
    )
    tem.set_stage(stage_positions=[2e-6, None], relative=False)
    assert tem.get_stage() == pytest.approx([2e-6, -4.005e-6, 0, 0, 0])


@pytest.mark.parametrize(
    ("call", "arguments", "told"),
    [
        ("set_stage", {"stage_positions": {"x": 1.0}, "relative": False}, "allowed -1e\\+06 to 1e\\+06 A"),
        ("set_stage", {"stage_positions": {"a": 0.1}}, "along x and y"),
        ("set_stage", {"stage_positions": {"x": "far"}}, "finite number"),
        ("set_stage", {"stage_positions": {"w": 1}}, "x, y, z, a, b"),
        ("device_settings", {"device": "scan", "exposure": 0.1}, "allowed 0.1 to 10000 us"),
        ("device_settings", {"device": "scan", "size": 1}, "pixels"),
        ("device_settings", {"device": "scan", "field_of_view": [1e-9, 2e-9]}, "a square"),
        ("device_settings", {"device": "scan", "camera_length": 0.1}, "size, exposure"),
        ("device_settings", {"device": "scan", "detectors": ["HAADF", "BF"]}, "one of haadf"),
        ("device_settings", {"device": "flu_camera", "binning": 3}, "1, 2, 4 or 8"),
        ("acquire_image", {"device": "espresso"}, "one of scan"),
        ("acquire_image", {"device": "super_x"}, "acquire_spectrum"),
        ("acquire_image", {"device": "scan", "size": 4096}, "pixels"),
        ("acquire_image_stack", {"device": "scan"}, "not offered"),
        ("acquire_spectrum", {"device": "scan"}, "super_x"),
        ("acquire_spectrum_points", {"device": "super_x", "points": [[0, 0], [999, 0]]}, "to 2000 A"),
        ("acquire_spectrum_points", {"device": "super_x", "points": []}, "1 to 1000"),
        ("set_beam_position", {"x": 201.0, "y": 0}, "allowed -2000 to 2000 A"),
        ("set_beam_position", {"x": True, "y": 0}, "finite number"),
        ("set_beam_position", {"x": 1}, "y"),
        ("get_vacuum", {}, "not offered"),
        ("get_microscope_status", {"parameters": ["vacuum"]}, "without parameters"),
        ("aberration_correction", {"order": 2}, "not offered"),
    ],
)  # fmt: skip
def test_a_wrong_call_is_an_error_that_the_client_sees(
    tem: Any, holder: Holder, call: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises((ValueError, RuntimeError), match=told):
        getattr(tem, call)(**arguments)
    assert holder.done == [], "nothing was exposed or moved"
    assert tem.activate_device(device="scan") == 1


def test_a_setting_that_fails_changes_nothing(tem: Any) -> None:
    with pytest.raises((ValueError, RuntimeError)):
        tem.device_settings(device="scan", size=64, exposure=1.0)
    assert array(tem.acquire_image(device="scan")).shape == (256, 256)


def test_the_overview_leads_to_points(microscope: Any, holder: Holder) -> None:
    microscope.initialize_microscope("STEM")
    microscope.register_data("test_stem.h5")
    with pytest.raises(ValueError, match="get_overview_image first"):
        microscope.get_point_data("Channel_001", 0, 0)
    overview = array(microscope.get_overview_image())
    np.testing.assert_array_equal(overview, scanned(50.0, 256).counts)
    with pytest.raises(ValueError, match="after a first spectrum"):
        microscope.get_spectrum_image_e_axis("Channel_001")
    spectrum = array(microscope.get_point_data(spectrum_image_index="Channel_001", x=10, y=250))
    np.testing.assert_array_equal(spectrum, [3.0, 4.0])
    where = scanned(50.0, 256)
    exposed = holder.done[-1][1]
    assert exposed["centre_y_A"] == pytest.approx(where.y_A[10]), "x is the row"
    assert exposed["centre_x_A"] == pytest.approx(where.x_A[250])
    np.testing.assert_array_equal(array(microscope.get_spectrum_image_e_axis()), [1000.0, 2000.0])
    assert array(microscope.get_point_data("Channel_002", 0, 0)).shape == (CAMERA, CAMERA)
    for wrong, told in (
        (("Channel_009", 0, 0), "Channel_002"),
        (("Channel_001", 256, 0), "0 to 255"),
        (("Channel_001", -1, 0), "0 to 255"),
        (("Channel_001", 0, 1.5), "0 to 255"),
    ):
        with pytest.raises(ValueError, match=told):
            microscope.get_point_data(*wrong)
    with pytest.raises(RuntimeError, match="not offered"):
        microscope.get_spectrum_image()
    with pytest.raises(ValueError, match="STEM"):
        microscope.initialize_microscope("AFM")


@pytest.mark.parametrize(
    "raw",
    [
        b"5:hello,", b"2:{},", b"x:{},", b"99999999:{},", b"2:{};", b"-1:,", b"7:[1,2,3],",
        b'30:{"method":"__init__","params":9},', b'35:{"method":"get_detectors","params":3},',
        b'19:{"method":["close"]},'[:-1] + b",",
    ],
)  # fmt: skip
def test_what_is_no_request_is_answered_with_an_error(
    server: DTMicroscopeServer, holder: Holder, raw: bytes
) -> None:
    client = PieceReader(server.json_port)
    assert "error" in client.send(raw)
    assert client.activate_device(device="scan") == 1
    assert holder.done == []


def test_a_client_that_goes_away_leaves_the_server(server: DTMicroscopeServer) -> None:
    for raw in (b"", b"12", b'100:{"method"'):
        with socket.create_connection(("127.0.0.1", server.json_port)) as line:
            line.sendall(raw)
    assert PieceReader(server.json_port).activate_device(device="scan") == 1


def test_large_replies_arrive_whole_at_a_client_that_reads_by_pieces(
    server: DTMicroscopeServer,
) -> None:
    client = PieceReader(server.json_port)
    for size in (16, 100, 256, 300, 512):
        found = array(client.acquire_image(device="scan", size=size))
        np.testing.assert_array_equal(found, scanned(50.0, size).counts)


@pytest.mark.parametrize("length", [10, 60, 900, *range(960, 970), 9_900, 100_000])
def test_no_piece_of_a_netstring_ends_with_a_comma(length: int) -> None:
    reply = {
        "result": [",".join("ab"), [*range(1, 10), *([7] * (length // 2))]],
        "end": 'a, \\\\,",',
    }
    raw = netstring_of(reply)
    head, _, rest = raw.partition(b":")
    assert len(rest) == int(head) + 1
    assert rest.endswith(b",")
    assert json.loads(rest[:-1]) == reply
    assert not any(raw[end - 1 : end] == b"," for end in range(256, len(raw), 256))


def test_an_exposure_that_lasts_too_long_is_aborted(holder: Holder) -> None:
    stem = OfferedSTEM(holder, wait_s=0.05)
    holder.hangs = True
    with pytest.raises(Exception, match="expose for less"):
        stem.acquire_image("scan")
    assert holder.cancelled == 1


def test_it_listens_on_the_loopback_interface_alone(server: DTMicroscopeServer) -> None:
    assert server._daemon.sock.getsockname()[0] == "127.0.0.1"
    assert server._netstrings.socket.getsockname()[0] == "127.0.0.1"
    with pytest.raises(ArgumentError, match="a port that is free"):
        DTMicroscopeServer(OfferedSTEM(Holder()), port=server.port, json_port=0)
    with pytest.raises(ArgumentError, match="a port that is free"):
        DTMicroscopeServer(OfferedSTEM(Holder()), port=0, json_port=server.json_port)


class Bench:
    """A hub, and an adapter process with the twin of the STEM."""

    def __init__(self, folder: Path) -> None:
        self.hub = Hub("tcp://127.0.0.1:0")
        threading.Thread(target=self.hub.run, daemon=True).start()
        (folder / "vessel").mkdir(parents=True)
        where = {"folder": str(folder / "stem"), "vessel": str(folder / "vessel")}
        stem = {"class": class_path(STEMTwin), "settings": {**where, "specimen": "mos2", "seed": 3}}
        spec = AdapterSpec.model_validate(
            {
                "agent": "pc",
                "hub": self.hub.endpoint,
                "folder": folder / "adapter",
                "clock_factor": 100.0,
                "instruments": {"stem": stem},
            }
        )
        spec.write(folder / "spec.json")
        command = [sys.executable, "-m", "twinloop.instruments.server"]
        command += ["--spec", str(folder / "spec.json"), "--exit-with-stdin"]
        self.adapter = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        end_s = CLOCK.now_s() + LIMIT_S
        while not (folder / "adapter" / READY).exists():
            assert CLOCK.now_s() < end_s
            threading.Event().wait(0.02)

    def close(self) -> None:
        if self.adapter.stdin is not None:
            self.adapter.stdin.close()
        self.adapter.wait(LIMIT_S)
        self.hub.stop()


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DTMicroscopeServer]:
    folder = tmp_path_factory.mktemp("twin")
    bench = Bench(folder)
    with ServedInstrument(
        bench.hub.endpoint, "stem", folder=folder / "offered", sample="s1", find_s=LIMIT_S
    ) as stem:
        stem.do("take").result(LIMIT_S)
        with DTMicroscopeServer(OfferedSTEM(stem), port=0, json_port=0) as server:
            yield server
    bench.close()


@pytest.mark.system
@pytest.mark.timeout(240)
def test_the_twin_is_seen_through_their_calls(twin: DTMicroscopeServer) -> None:
    with Pyro5.api.Proxy(f"PYRO:microscope.server@127.0.0.1:{twin.port}") as microscope:
        client = PieceReader(twin.json_port)
        client.device_settings(device="scan", size=64, field_of_view=[4e-9, 4e-9])
        client.device_settings(device="super_x", exposure=1.0)
        overview = array(microscope.get_overview_image())
        assert overview.shape == (64, 64)
        assert overview.std() > 0.05 * overview.mean(), "atoms are brighter than the gaps"
        spectrum = array(microscope.get_point_data("Channel_001", 20, 30))
        energy_eV = array(microscope.get_spectrum_image_e_axis("Channel_001"))
        assert spectrum.shape == energy_eV.shape
        # Mo L alpha and S K alpha lie at 2.29 and 2.31 keV; nothing of MoS2 lies at 6 to 8 keV
        lines = spectrum[np.abs(energy_eV - 2300) < 150].sum()
        assert lines > 5 * spectrum[(energy_eV > 6000) & (energy_eV < 8000)].sum()
        with pytest.raises((ValueError, RuntimeError), match="allowed 5 to 1000 A"):
            client.device_settings(device="scan", field_of_view=[1e-6, 1e-6])
        before = client.get_stage()
        client.set_stage(stage_positions={"x": 1e-8})
        moved_m = client.get_stage()[0] - before[0]
        assert math.isclose(moved_m, 1e-8, abs_tol=2e-9), "the stage misses by some angstrom"


@pytest.mark.system
@pytest.mark.timeout(240)
@pytest.mark.filterwarnings("ignore")  # DTMicroscope and what it stands on give many
def test_the_real_client_of_dtmicroscope_takes_images_of_the_twin(twin: DTMicroscopeServer) -> None:
    module = pytest.importorskip(
        "DTMicroscope.base.twisted_client", reason="DTMicroscope is not installed"
    )
    tem = module.TEMClient("127.0.0.1", twin.json_port, timeout=LIMIT_S)
    assert "scan" in tem.get_detectors()
    assert tem.activate_device("flu_camera") == 1
    assert tem.device_settings("scan", size=256, field_of_view=(8e-9, 8e-9)) == 1
    image = tem.acquire_image("scan")
    assert (image.shape, image.dtype) == ((256, 256), np.float32)
    assert image.std() > 0.05 * image.mean()
    pattern = tem.acquire_image("flu_camera")
    assert pattern.ndim == 2
    assert pattern.sum() > 0
    assert len(tem.get_stage()) == 5
    with pytest.raises(RuntimeError, match="Server error: get_vacuum is not offered"):
        tem.get_vacuum()
    assert tem.close() == 1


@pytest.mark.system
@pytest.mark.timeout(240)
def test_one_command_offers_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    command = [sys.executable, "-m", "twinloop.agents.cli", "instrument", "offer", "stem"]
    command += ["--as", "dtmicroscope", "--hub", bench.hub.endpoint, "--port", "0"]
    command += ["--json-port", "0", "--sample", "s1", "--take", "--max-dose", "1e4"]
    offer = subprocess.Popen(
        [*command, "--folder", str(tmp_path / "offered")],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        assert offer.stdout is not None
        told = [offer.stdout.readline() for _ in range(4)]
        assert told[0] == "stem holds s1; Ctrl-C ends\n"
        client = PieceReader(int(told[3].rpartition(" ")[2].rstrip(")\n")))
        client.device_settings(device="scan", size=16, exposure=1e-6)
        assert array(client.acquire_image(device="scan")).shape == (16, 16)
        with pytest.raises(RuntimeError, match=r"allowed 1e\+04"):
            client.acquire_image(device="scan", exposure=1e-2, size=512)
        assert array(client.acquire_image(device="scan")).shape == (16, 16)
    finally:
        offer.send_signal(signal.SIGINT)
        offer.communicate(timeout=LIMIT_S)
        bench.close()
