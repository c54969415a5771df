"""What an adapter process is told at its start: one JSON file, read by adapter and watchdog."""

import importlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
)

from twinloop.errors import ArgumentError, ConfigError, ConfigProblem
from twinloop.ids import Name
from twinloop.instruments.interface import Instrument

__all__ = ["AdapterSpec", "InstrumentSpec", "class_path", "load_class", "make_instruments"]


class InstrumentSpec(BaseModel):
    """One instrument: its class as "module:Class", and its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    cls: Annotated[str, Field(alias="class")]
    settings: dict[str, Any] = {}


class AdapterSpec(BaseModel):
    """One adapter process.

    Args:
        agent: its name at the hub.
        hub: endpoint of the hub.
        folder: of ledger, spool, telemetry and locks; the same at every start.
        instruments: by name.
        clock_factor: laboratory seconds in one real second; 1 unless all are twins.
        stop_endpoint: where it takes an emergency stop without the hub, if anywhere.
        telemetry_s: real time between two readings of all readouts [s].
        spool_limit_bytes, spool_reserve_bytes: see `AdapterSettings`.
        finish_s: see `AdapterSettings`.
        beat_limit_s: silence of the adapter after which its watchdog acts [s, real].
        finish_bound_lab_s: how long the watchdog of a dead adapter leaves alone what declares
            `finish` or `hold` on silence, waiting for the adapter to come back [s, laboratory].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    agent: Name
    hub: str
    folder: Path
    instruments: Annotated[dict[Name, InstrumentSpec], Field(min_length=1)]
    clock_factor: PositiveFloat = 1.0
    stop_endpoint: str | None = None
    telemetry_s: PositiveFloat = 1.0
    spool_limit_bytes: PositiveInt = 2 * 1024**3
    spool_reserve_bytes: PositiveInt = 64 * 1024**2
    finish_s: NonNegativeFloat = 0.0
    beat_limit_s: PositiveFloat = 5.0
    finish_bound_lab_s: PositiveFloat = 600.0

    @property
    def ledger_path(self) -> Path:
        """Return the file of the ledger."""
        return self.folder / "ledger.sqlite"

    @classmethod
    def read(cls, path: Path) -> "AdapterSpec":
        """Read a file.

        Raises:
            ConfigError: it is not there, or not a specification.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (OSError, ValidationError) as err:
            problem = ConfigProblem(str(path), "", "no usable file", str(err))
            raise ConfigError([problem]) from err

    def write(self, path: Path) -> None:
        """Write a file that `read` reads."""
        path.write_text(self.model_dump_json(by_alias=True, indent=1), encoding="utf-8")


def class_path(cls: type[Instrument]) -> str:
    """Return "module:Class" of a class.

    Example:
        >>> class_path(Instrument)
        'twinloop.instruments.interface:Instrument'
    """
    return f"{cls.__module__}:{cls.__qualname__}"


def make_instruments(spec: AdapterSpec) -> dict[str, Instrument]:
    """Return the instruments of a specification, not yet connected.

    Raises:
        ArgumentError: a class that cannot be found, or a scaled clock for a real instrument.
        ConfigError: settings that its class does not take.
    """
    return {name: _make(name, one, spec.clock_factor) for name, one in spec.instruments.items()}


def load_class(path: str, name: str) -> type[Instrument]:
    """Return the class at "module:Class".

    Args:
        path: of the class.
        name: of the instrument, for errors.

    Raises:
        ArgumentError: there is none, or it is no instrument.
    """
    module, _, attribute = path.partition(":")
    try:
        found: object = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as err:
        raise ArgumentError(f"class of {name}", path, f"module:Class ({err})") from err
    if not isinstance(found, type) or not issubclass(found, Instrument):
        raise ArgumentError(f"class of {name}", path, "a subclass of Instrument")
    return found


def _make(name: str, spec: InstrumentSpec, clock_factor: float) -> Instrument:
    found = load_class(spec.cls, name)
    if clock_factor != 1.0 and not found.is_twin:
        raise ArgumentError(f"clock_factor of {name}", clock_factor, "1: it is not a twin")
    try:
        return found(**spec.settings)
    except (ValidationError, TypeError) as err:
        problem = ConfigProblem(spec.cls, f"{name}.settings", spec.settings, str(err))
        raise ConfigError([problem]) from err
