"""The campaign file, key by key. `docs/reference/configuration.md` is made from these models."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from twinloop.agents.config.section import LabHours, Quantity, Section, refused
from twinloop.ids import Name

__all__ = [
    "Bounds",
    "Budget",
    "CampaignFile",
    "Crew",
    "GoalSection",
    "Placement",
    "PriorSection",
    "Range",
    "Share",
    "SimulatorSection",
    "TheorySection",
    "Workers",
]

_REFERENCE = r"[A-Za-z_][A-Za-z0-9_.-]*(:[A-Za-z_][A-Za-z0-9_.]*)?"


def _named(value: object) -> object:
    """Let `planner: sobol` stand for `planner: {name: sobol}`."""
    return {"name": value} if isinstance(value, str) else value


def _text_or_mapping(value: object) -> object:
    if not isinstance(value, str | dict):
        allowed = "a name, a path, or a laboratory written out here"
        raise refused(allowed)
    return value


_TEXT_OR_MAPPING = WithJsonSchema({"type": ["string", "object"]})
NamedOptions = Annotated[dict[str, Any], BeforeValidator(_named), _TEXT_OR_MAPPING]
LabReference = Annotated[str | dict[str, Any], BeforeValidator(_text_or_mapping), _TEXT_OR_MAPPING]
Reference = Annotated[str, Field(pattern=f"^{_REFERENCE}$")]


def _frozen(value: object) -> object:
    """Let a YAML list stand for a tuple."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_frozen)]


class Range(Section):
    """Bounds of one knob."""

    low: Quantity = Field(description="lowest value, in the unit of the field, or '410 degC'")
    high: Quantity = Field(description="highest value, above low")
    scale: Literal["linear", "log"] = Field(
        default="linear", description="log where a factor counts, not a difference; then low > 0"
    )


class Bounds(Section):
    """What one field of the Outcome must satisfy."""

    at_least: Quantity | None = Field(default=None, description="smallest value allowed")
    at_most: Quantity | None = Field(default=None, description="largest value allowed")

    @model_validator(mode="after")
    def _has_a_bound(self) -> "Bounds":
        if self.at_least is None and self.at_most is None:
            raise refused("at_least, at_most, or both")
        return self


class GoalSection(Section):
    """What is wanted: one field of the Outcome, and conditions on others."""

    maximise: str | None = Field(default=None, description="field of the Outcome to make large")
    minimise: str | None = Field(default=None, description="field of the Outcome to make small")
    subject_to: dict[str, Bounds] = Field(
        default={}, description="conditions, by field of the Outcome"
    )
    noise_sd: Quantity = Field(
        default=0.0,
        description="standard deviation of one measurement of the objective, in its unit, where "
        "the Outcome has no field OBJECTIVE_sd; 0: not known",
    )

    @model_validator(mode="after")
    def _one_direction(self) -> "GoalSection":
        if (self.maximise is None) == (self.minimise is None):
            raise refused("exactly one of maximise, minimise")
        return self


class Share(Section):
    """What one worker may use; Ray keeps to it."""

    num_cpus: float = Field(default=1.0, ge=0, le=1024, description="CPUs of each")
    num_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs of each")


class Crew(Share):
    """Several workers of one sort."""

    count: int = Field(default=1, ge=1, le=1024, description="how many of each sort")


class Workers(Section):
    """Compute agents."""

    planner: Share = Field(
        default=Share(), description="the planner, one process: it owns the belief"
    )
    analysts: Crew = Field(default=Crew(), description="analysts")


class Placement(Section):
    """Where compute agents live."""

    address: str = Field(
        default="local",
        pattern=r"^(local|auto|(ray://)?[A-Za-z0-9.-]+:[0-9]{1,5})$",
        description="Ray cluster: local (an own one), auto, HOST:PORT or ray://HOST:PORT",
    )
    in_process: bool = Field(
        default=False, description="true: no Ray; compute agents are threads of the conductor"
    )

    @model_validator(mode="after")
    def _one_place(self) -> "Placement":
        if self.in_process and self.address != "local":
            raise refused("either in_process: true or an address")
        return self


class Budget(Section):
    """When to end."""

    experiments: int = Field(ge=1, le=100_000, description="physical experiments in all")
    lab_h: LabHours | None = Field(
        default=None, gt=0, description="laboratory time in all [h], or '2 days'; left out: no end"
    )


class PriorSection(Section):
    """Belief about one parameter of the theory: normal, perhaps cut off."""

    mean: float = Field(description="mean, in the unit that the name says")
    sd: float = Field(gt=0, description="standard deviation, the same unit")
    at_least: float | None = Field(default=None, description="smallest value that makes sense")
    at_most: float | None = Field(default=None, description="largest value that makes sense")

    @model_validator(mode="after")
    def _mean_is_inside(self) -> "PriorSection":
        low, high = self.at_least, self.at_most
        if (low is not None and self.mean < low) or (high is not None and self.mean > high):
            raise refused("a mean between at_least and at_most")
        return self


class SimulatorSection(Section):
    """The simulator that theory is asked by."""

    name: Reference = Field(description="installed simulator, or module:Name")
    settings: dict[str, Any] = Field(default={}, description="fields of that simulator")
    workers: int = Field(default=1, ge=1, le=1024, description="how many run side by side")
    num_cpus: float = Field(default=1.0, ge=0, le=1024, description="CPUs of each")
    num_gpus: float = Field(default=0.0, ge=0, le=64, description="GPUs of each")
    cost_h: LabHours = Field(
        default=0.01, ge=0, description="what one simulation costs, against laboratory time [h]"
    )
    at_most: int = Field(
        default=2000, ge=1, le=100_000, description="simulations in the whole campaign"
    )


class TheorySection(Section):
    """Theory in the loop."""

    simulator: SimulatorSection = Field(description="what computes the prediction")
    theta: dict[str, PriorSection] = Field(
        min_length=1, description="what the machine is believed to be, by parameter"
    )
    observables: Names = Field(
        default=(),
        max_length=64,  # each is described in the header of every question to the planner
        description="numbers of the Outcome that theory predicts under the same name, beside the "
        "objective; left out: all of them",
    )
    experiment_h: LabHours = Field(
        default=0.1,
        gt=0,
        description="what an experiment costs until the first are over; then what they lasted [h]",
    )


class CampaignFile(Section):
    """A campaign: what is tried, for what goal, on which laboratory, by which planner."""

    campaign: Name = Field(description="name of the campaign, for folders and keys")
    protocol: Reference = Field(description="what one trial does: installed name, or module:name")
    lab: LabReference = Field(
        description="laboratory: path relative to this file, shipped name, or written out here"
    )
    seed: int = Field(default=0, ge=0, lt=2**63, description="seed of everything random")
    search: dict[str, Range] = Field(
        min_length=1, description="range of each field of the protocol's Point, no more, no fewer"
    )
    goal: GoalSection = Field(description="what is wanted of the protocol's Outcome")
    planner: NamedOptions = Field(
        description="who chooses: {name: plain_bo, n_initial: 6}, or a name alone"
    )
    budget: Budget = Field(description="when to end")
    theory: TheorySection | None = Field(default=None, description="theory in the loop")
    parallel: int = Field(default=1, ge=1, le=1024, description="trials under way at once")
    ahead: int = Field(
        default=1, ge=0, le=1024, description="proposals kept ready beside those under way"
    )
    on_unknown: Literal["ask_human", "stop"] = Field(
        default="ask_human",
        description="an outcome nobody can tell: hold that sample and go on with others, or stop",
    )
    workers: Workers = Field(default=Workers(), description="shares of the compute agents")
    placement: Placement = Field(default=Placement(), description="where compute agents live")
    device: Literal["cpu", "cuda"] = Field(
        default="cpu", description="where planners and analysts compute"
    )
