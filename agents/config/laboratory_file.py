"""The laboratory file, key by key: who serves each instrument, in one line each."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from twinloop.agents.config.campaign_file import Reference
from twinloop.agents.config.section import LabHours, Section, refused
from twinloop.ids import Name

__all__ = ["RESERVED_AGENTS", "AdapterSection", "InstrumentLine", "LaboratoryFile"]

# Names that the runtime gives to its own agents.
RESERVED_AGENTS = frozenset({"conductor", "hub", "planner", "supervisor", "twins"})

Loopback = Annotated[
    str, Field(pattern=r"^tcp://(127\.[0-9]+\.[0-9]+\.[0-9]+|localhost|\[::1\]):[0-9]{1,5}$")
]


class InstrumentLine(Section):
    """One instrument: a twin on Ray, beside the other twins, or served by an adapter."""

    twin: Reference | None = Field(
        default=None, description="a twin on Ray: its class, installed name or module:Class"
    )
    served: Name | None = Field(
        default=None, description="name of the adapter that serves it, a key of adapters"
    )
    implementation: Reference | None = Field(
        default=None,
        alias="class",
        description="with served: the class that the adapter runs, or the contract of the kind "
        "where that class is only installed beside the machine",
    )
    settings: dict[str, Any] = Field(default={}, description="fields of that class")
    cost_h: LabHours | None = Field(
        default=None,
        ge=0,
        description="laboratory time that one sample costs here, transfer included [h], or '50 min'; "
        "needed where a planner weighs looks",
    )
    num_cpus: float | None = Field(
        default=None,
        ge=0,
        le=1024,
        description="with twin: CPUs that it adds to the actor of the twins; 1 if left out",
    )
    num_gpus: float | None = Field(
        default=None, ge=0, le=64, description="with twin: GPUs that it adds; 0 if left out"
    )

    @model_validator(mode="after")
    def _one_sort(self) -> "InstrumentLine":
        if (self.twin is None) == (self.served is None):
            raise refused("{twin: CLASS} or {served: ADAPTER, class: CLASS}")
        if self.served is not None and self.implementation is None:
            raise refused("class beside served: what the adapter runs")
        if self.twin is not None and self.implementation is not None:
            raise refused("twin alone: it names the class already")
        if self.served is not None and (self.num_cpus, self.num_gpus) != (None, None):
            raise refused("num_cpus and num_gpus only for a twin on Ray")
        return self


class AdapterSection(Section):
    """One adapter process."""

    start: Literal["demo", "none"] = Field(
        default="none",
        description="demo: the supervisor starts it here; none: somebody starts it beside the "
        "machine with 'twinloop instrument serve'",
    )
    machine: str | None = Field(
        default=None,
        description="with start: demo, the stand-in machine behind it: a file beside this one, or "
        "a shipped name; its hidden truth is read by the machine process alone",
    )
    stop_endpoint: Loopback | None = Field(
        default=None,
        description="tcp://127.0.0.1:PORT, where it takes an emergency stop without the hub",
    )

    @model_validator(mode="after")
    def _machine_of_a_demo(self) -> "AdapterSection":
        if self.machine is not None and self.start != "demo":
            raise refused("machine only with start: demo")
        return self


class LaboratoryFile(Section):
    """A laboratory: instruments, who serves them, and how fast its clock runs."""

    lab: Name = Field(description="name of the laboratory")
    clock_factor: float = Field(
        default=1.0,
        gt=0,
        le=1e6,
        description="laboratory seconds in one real second; other than 1 only where every "
        "instrument is a twin",
    )
    instruments: dict[Name, InstrumentLine] = Field(
        min_length=1, description="each instrument, one line"
    )
    adapters: dict[Name, AdapterSection] = Field(
        default={}, description="each adapter that serves an instrument"
    )
