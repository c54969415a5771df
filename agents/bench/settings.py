"""The file of a benchmark: worlds, arms, scenarios, budget."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from twinloop.agents.bench.reference import Search
from twinloop.agents.bench.task import Growth
from twinloop.agents.bench.truth import Noise, Thermocouple
from twinloop.agents.campaign.theory import prior_of
from twinloop.agents.config.campaign_file import PriorSection
from twinloop.agents.config.finding import find_file
from twinloop.agents.config.problems import Findings, Words
from twinloop.agents.config.section import Section, read_section, refused
from twinloop.agents.config.yaml_text import read_yaml
from twinloop.errors import ArgumentError, ConfigError
from twinloop.planners.registry import planner_problems
from twinloop.planners.simulations import Prior
from twinloop.planners.space import Space
from twinloop.plugins import one_of
from twinloop.simulators.kmc_growth import KMCGrowth

__all__ = ["BenchFile", "Scenario", "load_bench", "narrowed"]

WorldKind = Literal["real", "emulated"]


class Axis(Section):
    """Range of one knob, in the unit of its name."""

    low: float = Field(description="lowest value")
    high: float = Field(description="highest value")
    scale: Literal["linear", "log"] = Field(default="linear", description="linear or log")


class Budget(Section):
    """What a run may use."""

    experiments: int = Field(default=40, ge=1, le=1000, description="experiments at most")
    at_least: int = Field(
        default=20, ge=0, description="experiments that are made even after the first success"
    )
    simulations: int = Field(default=2000, ge=0, description="simulations at most")


class Costs(Section):
    """What things take on the virtual clock."""

    experiment_h: float = Field(default=1.0, gt=0, description="one experiment [h]")
    simulation_h: float = Field(default=0.01, gt=0, description="one simulation [h]")


class NoiseSection(Section):
    """Noise of a measurement [1]."""

    quality: float = Field(default=0.02, ge=0, description="added to the quality")
    intensity: float = Field(default=0.03, ge=0, description="added to each intensity")
    quality_sd: float = Field(default=0.035, ge=0, description="reported with the quality")
    intensity_sd: float = Field(default=0.04, ge=0, description="reported with each intensity")


class SearchSection(Section):
    """What the search for the best of each truth may cost, in growths."""

    spread: int = Field(default=256, ge=8, description="spread over the space")
    rounds: int = Field(default=5, ge=0, description="rounds where the maximum may be")
    points: int = Field(default=32, ge=1, description="growths in a round")
    finalists: int = Field(default=8, ge=1, description="best points to choose from")
    replicates: int = Field(default=16, ge=2, description="growths of each finalist")
    fresh: int = Field(default=48, ge=2, description="growths at each of the three best")


class Scenario(Section):
    """How the theory that a planner is given differs from the truth."""

    lacks: list[str] = Field(default=[], description="parameters that the theory does not know")
    mirror_K: float | None = Field(
        default=None,
        description="temperature round which the thermocouple of the world is reversed [K]",
    )
    at_most: float | None = Field(
        default=None, gt=0, description="ratio of experiments to the baseline that is aimed at"
    )

    @property
    def thermocouple(self) -> Thermocouple:
        """What the film feels."""
        return Thermocouple(self.mirror_K)


class BenchFile(Section):
    """A benchmark."""

    benchmark: str = Field(pattern=r"^[a-z0-9_]{1,40}$", description="its name, for folders")
    seeds: int = Field(default=20, ge=1, le=1000, description="truths, each with a seed of its own")
    first_seed: int = Field(default=0, ge=0, description="seed of the first truth")
    world: WorldKind = Field(default="real", description="real growths, or their surrogate")
    within: float = Field(default=0.05, gt=0, lt=1, description="how near the best is a success")
    search: dict[str, Axis] = Field(description="range of each knob")
    truth: dict[str, PriorSection] = Field(description="prior of the truth, and of the theory")
    simulator: dict[str, Any] = Field(default={}, description="fields of kmc_growth")
    noise: NoiseSection = Field(default=NoiseSection(), description="of a measurement")
    budget: Budget = Field(default=Budget(), description="of one run")
    costs: Costs = Field(default=Costs(), description="on the virtual clock")
    workers: int = Field(default=8, ge=1, le=1024, description="simulators side by side")
    ahead: int = Field(default=0, ge=0, description="proposals kept ready beside those under way")
    reference: SearchSection = Field(
        default=SearchSection(), description="search for the best of each truth"
    )
    replicates: int = Field(
        default=12, ge=4, description="growths by which an experiment near the limit is judged"
    )
    baseline: str = Field(description="the arm that others are compared with")
    arms: dict[str, dict[str, Any]] = Field(
        min_length=1, description="planners by arm: {name: plain_bo, n_initial: 6}"
    )
    scenarios: dict[str, Scenario] = Field(min_length=1, description="by name")

    @model_validator(mode="after")
    def _fits(self) -> "BenchFile":
        if self.baseline not in self.arms:
            raise refused(f"baseline: one of the arms {', '.join(self.arms)}")
        if set(self.search) != set(Growth.model_fields):
            raise refused(f"search: exactly {', '.join(Growth.model_fields)}")
        if self.budget.at_least > self.budget.experiments:
            raise refused("budget: at_least not above experiments")
        return self

    @property
    def space(self) -> Space:
        """The search space, in the order of the protocol's Point."""
        axes = {name: self.search[name] for name in Growth.model_fields}
        return Space.of({n: (a.low, a.high, a.scale) for n, a in axes.items()})

    @property
    def prior(self) -> dict[str, Prior]:
        """The prior of the truth, by parameter."""
        return {name: prior_of(p.model_dump()) for name, p in sorted(self.truth.items())}

    @property
    def measurement(self) -> Noise:
        """The noise."""
        return Noise(**self.noise.model_dump())

    @property
    def effort(self) -> Search:
        """What the search for the best may cost."""
        return Search(**self.reference.model_dump())


def load_bench(path: Path) -> BenchFile:
    """Return a benchmark that can be run.

    Args:
        path: a file, or the name of one that ships with twinloop.

    Raises:
        ConfigError: it holds every problem.
    """
    findings = Findings()
    try:
        path = find_file("benchmarks", str(path), Path())
    except ArgumentError as err:
        raise ArgumentError("benchmark", str(path), err.allowed) from err
    document = read_yaml(path, findings)
    if document is None:
        raise ConfigError(findings.problems)
    top = document.place
    file = read_section(BenchFile, document.value, top, findings)
    if file is None:
        raise ConfigError(findings.problems)
    for arm, planner in file.arms.items():
        findings.problems += planner_problems(planner, file=top.file, key=f"arms.{arm}")
    read_section(KMCGrowth, file.simulator, top.at("simulator"), findings)
    for name in file.truth:
        if name not in KMCGrowth.beliefs:
            found = Words(f"the unknown {name!r}")
            findings.problem(top.at("truth", name), found, one_of(KMCGrowth.beliefs, name))
    for name in set(KMCGrowth.beliefs) - set(file.truth):
        findings.problem(top.at("truth", name), None, "{mean: ..., sd: ...}")
    for label, scenario in file.scenarios.items():
        _check_scenario(label, scenario, file, findings, top)
    findings.raise_if_any()
    return file


def _check_scenario(
    label: str, scenario: Scenario, file: BenchFile, findings: Findings, top: Any
) -> None:
    place = top.at("scenarios", label)
    for name in scenario.lacks:
        if name not in file.truth:
            findings.problem(place.at("lacks"), name, one_of(file.truth, name))
    axis = file.search["substrate_K"]
    middle_K = 0.5 * (axis.low + axis.high)
    if scenario.mirror_K is not None and abs(scenario.mirror_K - middle_K) > 1e-9:
        # else a reversed reading would lead out of the space that the reference was looked for in
        findings.problem(
            place.at("mirror_K"), scenario.mirror_K, f"{middle_K:g}, the middle of the range"
        )


def narrowed(
    file: BenchFile,
    *,
    seeds: int | None = None,
    first_seed: int | None = None,
    scenarios: str | None = None,
    arms: str | None = None,
    world: str | None = None,
) -> BenchFile:
    """Return a part of a benchmark, or the same in another world.

    Args:
        file: the benchmark.
        seeds: how many truths; None, here and below: as in the file.
        first_seed: seed of the first.
        scenarios: names with commas.
        arms: names with commas; the baseline is always among them.
        world: "real" or "emulated".

    Raises:
        ArgumentError: a name that the file does not have.
    """
    if world is not None and world not in {"real", "emulated"}:
        raise ArgumentError("--world", world, "real or emulated")
    given = {"seeds": seeds, "first_seed": first_seed, "world": world}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if scenarios is not None:
        changes["scenarios"] = _chosen("--scenarios", scenarios, file.scenarios)
    if arms is not None:
        changes["arms"] = _chosen("--arms", f"{file.baseline},{arms}", file.arms)
    return file.model_copy(update=changes)


def _chosen(option: str, names: str, there: dict[str, Any]) -> dict[str, Any]:
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in there:
            raise ArgumentError(option, name, one_of(there, name))
    return {name: value for name, value in there.items() if name in wanted}
