"""Finding and ending the processes of a run, on a process table that obeys the test."""

from dataclasses import dataclass, field

from twinloop.agents.runtime.processes import (
    FAMILY,
    RUN,
    MarkedProcess,
    marked_environment,
    sweep,
)


@dataclass
class FakeTable:
    """Processes that die so many looks after they were killed, or never."""

    processes: list[MarkedProcess]
    dies_after_s: dict[int, float] = field(default_factory=dict)
    immortal: set[int] = field(default_factory=set)
    killed: list[int] = field(default_factory=list)
    now_s: float = 0.0
    look_takes_s: float = 0.0

    def marked(self, run: str) -> list[MarkedProcess]:
        self.now_s += self.look_takes_s
        return [p for p in self.processes if p.run == run]

    def kill(self, process: MarkedProcess) -> None:
        self.killed.append(process.pid)
        if process.pid not in self.immortal:
            self.processes = [p for p in self.processes if p.pid != process.pid]

    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        gone = {pid for pid, at_s in self.dies_after_s.items() if at_s <= self.now_s}
        self.processes = [p for p in self.processes if p.pid not in gone]

    def time_s(self) -> float:
        return self.now_s


def process(pid: int, family: str, run: str = "r1") -> MarkedProcess:
    return MarkedProcess(pid, 0.0, run, family, "python")


def test_a_family_is_ended_with_all_its_branches_and_nobody_else() -> None:
    table = FakeTable(
        [
            process(1, "conductor"),
            process(2, "conductor/ray"),
            process(3, "conductor2"),
            process(4, "hub"),
            process(5, "conductor", run="r2"),
        ]
    )
    assert sweep("r1", "conductor", table=table) == []
    assert sorted(table.killed) == [1, 2]
    assert {p.pid for p in table.processes} == {3, 4, 5}


def test_who_ends_within_the_grace_is_not_killed() -> None:
    table = FakeTable([process(1, "hub"), process(2, "chamber")], dies_after_s={1: 0.5, 2: 4.0})
    assert sweep("r1", grace_s=2.0, table=table) == []
    assert table.killed == [2]
    assert table.now_s < 3.0


def test_a_slow_look_at_the_processes_does_not_lengthen_the_grace() -> None:
    table = FakeTable([process(1, "hub")], look_takes_s=0.4)
    assert sweep("r1", grace_s=2.0, table=table) == []
    assert table.killed == [1]
    assert table.now_s < 3.5


def test_a_spared_family_is_left_alone() -> None:
    table = FakeTable([process(1, "janitor"), process(2, "hub")])
    assert sweep("r1", spare=("janitor",), table=table) == []
    assert table.killed == [2]


def test_what_does_not_die_is_returned_after_the_time_allowed() -> None:
    table = FakeTable([process(7, "conductor/ray")], immortal={7})
    left = sweep("r1", within_s=1.0, table=table)
    assert [p.pid for p in left] == [7]
    assert 1.0 <= table.now_s <= 1.2


def test_a_process_that_appears_while_sweeping_is_ended_as_well() -> None:
    table = FakeTable([process(1, "conductor")])
    wait = table.wait

    def wait_and_fork(seconds: float) -> None:
        if table.now_s == 0.0:
            table.processes.append(process(2, "conductor/ray"))
        wait(seconds)

    table.wait = wait_and_fork  # type: ignore[method-assign]
    assert sweep("r1", table=table) == []
    assert table.killed == [1, 2]


def test_a_mark_names_the_line_of_descent_within_one_run(monkeypatch) -> None:
    monkeypatch.setenv(RUN, "r1")
    monkeypatch.setenv(FAMILY, "conductor")
    assert marked_environment("r1", "ray")[FAMILY] == "conductor/ray"
    inner = marked_environment("r2", "hub")
    assert (inner[RUN], inner[FAMILY]) == ("r2", "hub")
