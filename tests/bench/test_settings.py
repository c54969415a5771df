"""The file of a benchmark: what is shipped, and what is refused."""

from pathlib import Path

import pytest

from twinloop.agents.bench.settings import load_bench, narrowed
from twinloop.agents.config.finding import shipped_file
from twinloop.errors import ArgumentError, ConfigError

SHIPPED = "theory_in_the_loop"


@pytest.fixture
def text():
    return shipped_file("benchmarks", SHIPPED).read_text(encoding="utf-8")


def refuse(tmp_path, text, *words):
    path = tmp_path / "bench.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_bench(path)
    for word in words:
        assert word in str(caught.value)


def test_the_shipped_benchmark_can_be_run():
    file = load_bench(Path(SHIPPED))
    assert file.seeds >= 20
    assert file.space.names == ("substrate_K", "flux_ML_per_s", "dose_ML", "anneal_s")
    assert file.prior["step_barrier_eV"].at_least == 0
    assert file.scenarios["misleading"].thermocouple.mirror_K == 710


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds: 20", "sedes: 20", ("sedes", "seeds")),
        ("baseline: plain", "baseline: none", ("baseline", "plain")),
        ("mirror_K: 710", "mirror_K: 700", ("mirror_K", "710")),
        ("lacks: [step_barrier_eV]", "lacks: [step]", ("lacks", "step_barrier_eV")),
        ("n_initial: 6", "n_initail: 6", ("arms.plain.n_initail", "n_initial")),
        ("world: real ", "world: unreal ", ("world", "real", "emulated")),
        ("size: 64", "sighs: 64", ("simulator", "sighs")),
        ("  bond_energy_eV:", "  bondage_eV:", ("truth.bondage_eV", "truth.bond_energy_eV")),
        ("  anneal_s:      {low: 0, high: 30}\n", "", ("search", "anneal_s")),
    ],
)
def test_a_mistake_is_named(tmp_path, text, old, new, words):
    assert old in text
    refuse(tmp_path, text.replace(old, new), *words)


def test_a_part_of_a_benchmark():
    file = load_bench(Path(SHIPPED))
    part = narrowed(file, seeds=2, scenarios="good, misleading", arms="plain", world="emulated")
    assert (part.seeds, list(part.scenarios), list(part.arms), part.world) == (
        2,
        ["good", "misleading"],
        ["plain"],
        "emulated",
    )
    with pytest.raises(ArgumentError, match="one of"):
        narrowed(file, scenarios="misled")
    with pytest.raises(ArgumentError, match="real or emulated"):
        narrowed(file, world="moon")
