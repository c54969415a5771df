"""The wires of DTMicroscope, for a STEM of ours: Pyro5 objects, and JSON-RPC in netstrings.

    with ServedInstrument(hub, "stem", folder=Path("offered"), sample="film-3") as stem:
        with DTMicroscopeServer(OfferedSTEM(stem), port=9093, json_port=9094) as server:
            server.wait()

`Pyro5.api.Proxy("PYRO:tem.server@localhost:9093")` and `PYRO:microscope.server@localhost:9093` reach the first,
`TEMClient("localhost", 9094)` the second. Neither has authentication: both listen on 127.0.0.1 alone, and
other hosts come through an SSH tunnel. A wrong call is answered with an error, and the server goes on.

Source: DTMicroscope 17245ba (2025-12-17), server/smart_proxy.py, server/twisted_server.py,
base/twisted_client.py; netstrings: D. J. Bernstein (1997), cr.yp.to/proto/netstrings.txt.
"""

import json
import logging
import re
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from twinloop.agents.bridges.dtmicroscope_calls import OfferedSTEM
from twinloop.errors import ArgumentError, LabError, LimitViolation, describe_error

__all__ = ["MICROSCOPE_CALLS", "TEM_CALLS", "DTMicroscopeServer", "netstring_of"]

_LOG = logging.getLogger(__name__)
_HOST = "127.0.0.1"
_MAX_REQUEST = 2**20
_IDLE_S = 300.0
_PIECE = 4096
"""How much their client reads at a time [bytes]."""
_GRID = 256
"""Every piece that it gets is some multiple of this long, but for the last [bytes]."""
_OPTIONS_BYTES = 12
"""Of the time stamps that TCP takes out of each segment on Linux [bytes]."""
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

TEM_CALLS = (
    "get_detectors", "activate_device", "device_settings", "get_stage", "set_stage", "acquire_image",
    "acquire_image_stack", "acquire_spectrum", "acquire_spectrum_points", "set_beam_position",
    "get_vacuum", "get_microscope_status", "aberration_correction", "close",
)  # fmt: skip
MICROSCOPE_CALLS = (
    "initialize_microscope", "register_data", "get_overview_image", "get_point_data",
    "get_spectrum_image", "get_spectrum_image_e_axis",
)  # fmt: skip

Calls = Mapping[str, Callable[..., Any]]


class DTMicroscopeServer:
    """Serves until it is closed.

    Args:
        stem: answers the calls.
        port: of Pyro5; 0 for any.
        json_port: of JSON-RPC in netstrings; 0 for any.

    Raises:
        ArgumentError: Pyro5 is not installed, or a port is in use.
    """

    def __init__(self, stem: OfferedSTEM, *, port: int = 9093, json_port: int = 9094) -> None:
        try:
            import Pyro5.api
        except ImportError as err:
            raise ArgumentError("Pyro5", None, "pip install 'twinloop[dtmicroscope]'") from err
        tem, microscope = (
            {name: _guarded(getattr(stem, name)) for name in names}
            for names in (TEM_CALLS, MICROSCOPE_CALLS)
        )
        for name, asked in (("port", port), ("json_port", json_port)):
            _must_be_free(name, asked)
        self._netstrings = _Netstrings({**tem, **microscope}, json_port)
        self._daemon = Pyro5.api.Daemon(host=_HOST, port=port)
        self._daemon.register(_pyro_object(tem), objectId="tem.server")
        self._daemon.register(_pyro_object(microscope), objectId="microscope.server")
        self.port = int(self._daemon.locationStr.rpartition(":")[2])
        self.json_port = int(self._netstrings.server_address[1])
        self._is_closed = threading.Event()
        self._threads = [
            threading.Thread(target=target, name=f"dtmicroscope-{name}", daemon=True)
            for name, target in (
                ("pyro", self._daemon.requestLoop),
                ("json", self._netstrings.serve_forever),
            )
        ]
        for thread in self._threads:
            thread.start()

    def wait(self) -> None:
        """Wait until it is closed."""
        self._is_closed.wait()

    def close(self) -> None:
        """Take no more calls."""
        self._daemon.shutdown()
        self._netstrings.shutdown()
        for thread in self._threads:
            thread.join(5.0)
        self._daemon.close()
        self._netstrings.server_close()
        self._is_closed.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _must_be_free(name: str, port: int) -> None:
    try:
        socket.create_server((_HOST, port)).close()
    except OSError as err:
        raise ArgumentError(name, port, f"a port that is free ({err})") from err


def _guarded(call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a call whose errors are of classes that every client knows."""

    def guarded(*arguments: Any, **named: Any) -> Any:
        try:
            return call(*arguments, **named)
        except (LimitViolation, ArgumentError, TypeError) as err:
            raise ValueError(describe_error(err)) from err
        except LabError as err:
            raise RuntimeError(str(err)) from err
        except Exception as err:  # whatever a foreign argument made of it: the server goes on
            _LOG.exception("a call failed")
            raise RuntimeError(describe_error(err)) from err

    return guarded


def _pyro_object(calls: Calls) -> object:
    import Pyro5.api

    def method_of(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def method(_self: object, *arguments: Any, **named: Any) -> Any:
            return call(*arguments, **named)

        method.__name__ = name
        exposed: Callable[..., Any] = Pyro5.api.expose(method)
        return exposed

    return type("Offered", (), {name: method_of(name, call) for name, call in calls.items()})()


class _Netstrings(socketserver.ThreadingTCPServer):
    """JSON-RPC in netstrings, a thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, calls: Calls, port: int) -> None:
        self.calls = calls
        super().__init__((_HOST, port), _Connection)
        if hasattr(socket, "TCP_MAXSEG"):
            # segments of 4096 bytes, so that pieces end where `netstring_of` expects it
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _PIECE + _OPTIONS_BYTES)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Note a connection that broke."""
        _LOG.info("connection %s of %s broke", request, client_address, exc_info=True)


class _Connection(socketserver.BaseRequestHandler):
    """Answers the requests of one connection, one after another."""

    server: _Netstrings

    def handle(self) -> None:
        self.request.settimeout(_IDLE_S)
        while True:
            try:
                payload = self._next()
            except (ValueError, ArgumentError) as err:
                self.request.sendall(netstring_of(_error(None, f"no netstring: {err}")))
                return
            if payload is None:
                return
            self.request.sendall(netstring_of(answer(self.server.calls, payload)))

    def _next(self) -> bytes | None:
        """Return the next payload; None at the end."""
        digits = b""
        while not digits.endswith(b":"):
            byte = self.request.recv(1)
            if not byte:
                return None
            digits += byte
            if len(digits) > 8:
                raise ArgumentError("length", digits.decode("ascii", "replace"), "at most 7 digits")
        n_bytes = int(digits[:-1])
        if not 0 <= n_bytes <= _MAX_REQUEST:
            raise ArgumentError("length", n_bytes, f"at most {_MAX_REQUEST}")
        found = b""
        while len(found) <= n_bytes:
            more = self.request.recv(n_bytes + 1 - len(found))
            if not more:
                return None
            found += more
        if not found.endswith(b","):
            raise ArgumentError("last byte", found[-1:].decode("ascii", "replace"), "a comma")
        return found[:-1]


def answer(calls: Calls, payload: bytes) -> dict[str, Any]:
    """Return the reply to a request of JSON-RPC."""
    try:
        request = json.loads(payload)
        name, parameters = request["method"], request.get("params") or {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        return _error(None, f"no request of JSON-RPC: {describe_error(err)}")
    number = request.get("id")
    call = calls.get(name) if isinstance(name, str) else None
    if call is None:
        return _error(
            number, f"method {str(name)[:80]!r} is not offered; there are {', '.join(calls)}"
        )
    try:
        if isinstance(parameters, dict):
            result = call(**parameters)
        elif isinstance(parameters, list):
            result = call(*parameters)
        else:
            return _error(number, "params: an object or a list")
    except (ValueError, RuntimeError) as err:
        return _error(number, str(err))
    return {"jsonrpc": "2.0", "id": number, "result": result}


def _error(number: object, text: str) -> dict[str, Any]:
    # a text, as theirs, and not the object of JSON-RPC: their client prints it
    return {"jsonrpc": "2.0", "id": number, "error": text}


def netstring_of(reply: Mapping[str, Any]) -> bytes:
    """Return a reply as a netstring that their client can read.

    Their client reads up to 4096 bytes at a time and believes that a piece which ends with a comma is the
    last. So no comma of the JSON stands where a piece may end: a space goes before it.

    Example:
        >>> netstring_of({"result": [1, 2]})
        b'16:{"result":[1,2]},'
    """
    text = json.dumps(reply, separators=(",", ":"))
    text = _STRING.sub(lambda found: found[0].replace(",", "\\u002c"), text)
    n_digits = len(str(len(text)))
    laid = _laid_out(text, n_digits + 1)
    if len(str(len(laid))) != n_digits:
        laid = _laid_out(text, n_digits + 2)
        laid += " " * (10**n_digits - len(laid))  # the spaces may just not have been needed now
    return f"{len(laid)}:{laid},".encode("ascii")


def _laid_out(text: str, n_before: int) -> str:
    pieces, start, room = [], 0, _GRID - n_before
    while start < len(text):
        piece = text[start : start + room]
        start += room
        if len(piece) == room and piece.endswith(","):
            piece = f"{piece[:-1]} "
            start -= 1
        pieces.append(piece)
        room = _GRID
    return "".join(pieces)
