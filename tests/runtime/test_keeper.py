"""Children that are kept alive: real processes, real kills."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from twinloop.agents.runtime.keeper import ChildSpec, Keeper, News
from twinloop.agents.runtime.processes import SystemTable
from twinloop.agents.runtime.restart import RestartPolicy
from twinloop.errors import ArgumentError
from twinloop.ids import new_incarnation

pytestmark = pytest.mark.system

LISTENS = "import os\nwhile os.read(0, 100): pass\n"
DEAF = "import threading; threading.Event().wait()"
LEAVES_A_CHILD = (
    "import subprocess, sys, threading\n"
    "subprocess.Popen([sys.executable, '-c', 'import threading; threading.Event().wait()'])\n"
    "threading.Event().wait()\n"
)


def quick() -> RestartPolicy:
    return RestartPolicy(first_s=0.01, longest_s=0.05, deaths=4)


def child(name: str, program: str, **settings: object) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", program), policy=quick, **settings)


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    kept = Keeper(new_incarnation(), tmp_path / "logs")
    yield kept
    kept.end(grace_s=0.0)
    assert SystemTable().marked(kept.run) == []


def until(keeper: Keeper, is_so: Callable[[list[News]], bool]) -> list[News]:
    """Poll until the news so far satisfy; the test's time-out ends a vain wait."""
    news: list[News] = []
    while not is_so(news):
        news += keeper.poll()
        threading.Event().wait(0.01)
    return news


def says(name: str, what: str, times: int = 1) -> Callable[[list[News]], bool]:
    return lambda news: sum(n.name == name and n.what == what for n in news) >= times


def test_a_killed_child_is_started_again_and_the_news_say_how_it_died(keeper: Keeper) -> None:
    keeper.add(child("hub", LISTENS))
    until(keeper, says("hub", "started"))
    first = keeper.pid("hub")
    os.kill(first, 9)
    news = until(keeper, says("hub", "started"))
    assert [n.what for n in news] == ["died", "started"]
    assert (news[0].pid, news[0].code) == (first, -9)
    assert keeper.pid("hub") not in {first, None}
    assert keeper.n_starts("hub") == 2


def test_a_child_that_cannot_live_is_given_up_and_the_others_are_not(keeper: Keeper) -> None:
    keeper.add(child("broken", "raise SystemExit(5)"))
    keeper.add(child("hub", LISTENS))
    news = until(keeper, says("broken", "given up"))
    assert keeper.n_starts("broken") == 4
    assert news[-1].code == 5
    assert "4 deaths" in news[-1].detail
    assert keeper.state("hub") == "running"
    assert keeper.n_starts("hub") == 1


def test_an_end_on_purpose_is_no_death(keeper: Keeper) -> None:
    keeper.add(child("conductor", "raise SystemExit(3)", final=frozenset({0, 3})))
    news = until(keeper, says("conductor", "finished"))
    assert news[-1].code == 3
    assert keeper.poll() == []
    assert keeper.state("conductor") == "finished"


def test_what_a_dead_child_leaves_behind_is_ended_before_it_is_started_again(
    keeper: Keeper,
) -> None:
    keeper.add(child("conductor", LEAVES_A_CHILD))
    until(keeper, says("conductor", "started"))
    first = keeper.pid("conductor")
    until(keeper, lambda _: len(SystemTable().marked(keeper.run)) == 2)
    (orphan,) = [p for p in SystemTable().marked(keeper.run) if p.pid != first]
    os.kill(first, 9)
    until(keeper, says("conductor", "died"))
    assert not psutil.pid_exists(orphan.pid) or is_dead(orphan.pid)


def test_what_an_adapter_leaves_behind_may_finish_its_work(keeper: Keeper) -> None:
    keeper.add(child("chamber", LEAVES_A_CHILD, sweep_family=False))
    until(keeper, says("chamber", "started"))
    first = keeper.pid("chamber")
    until(keeper, lambda _: len(SystemTable().marked(keeper.run)) == 2)
    (watchdog,) = [p for p in SystemTable().marked(keeper.run) if p.pid != first]
    os.kill(first, 9)
    until(keeper, says("chamber", "died"))
    assert psutil.pid_exists(watchdog.pid)
    psutil.Process(watchdog.pid).kill()
    until(keeper, lambda _: is_dead(watchdog.pid))


def test_a_child_ends_when_its_input_closes_and_a_deaf_one_is_killed(keeper: Keeper) -> None:
    ended = child("polite", LISTENS + "raise SystemExit(7)")
    keeper.add(ended)
    keeper.add(child("deaf", DEAF))
    until(keeper, says("deaf", "started"))
    pids = [keeper.pid(name) for name in keeper.names()]
    keeper.end(grace_s=1.0)
    assert all(is_dead(pid) for pid in pids)
    assert keeper.poll() == []


def test_what_an_ended_child_leaves_behind_is_ended_too(keeper: Keeper) -> None:
    program = LEAVES_A_CHILD.replace("threading.Event().wait()\n", LISTENS)
    keeper.add(child("ray", program))
    until(keeper, says("ray", "started"))
    until(keeper, lambda _: len(SystemTable().marked(keeper.run)) == 2)
    keeper.end()
    assert SystemTable().marked(keeper.run) == []


def test_lines_go_to_a_child_and_come_from_it(keeper: Keeper) -> None:
    heard: list[str] = []
    echo = "import sys\nfor line in sys.stdin: print(line.upper(), end='', flush=True)\n"
    keeper.add(child("ray", echo, greeting=lambda: ["first", "second"], on_line=heard.append))
    until(keeper, lambda _: heard == ["FIRST", "SECOND"])
    assert keeper.say("ray", "third")
    until(keeper, lambda _: heard[2:] == ["THIRD"])
    os.kill(keeper.pid("ray"), 9)
    # a new one is greeted anew
    until(keeper, lambda _: heard[3:] == ["FIRST", "SECOND"])


def test_what_a_child_prints_is_in_its_log(keeper: Keeper, tmp_path: Path) -> None:
    keeper.add(child("hub", "print('listening'); raise SystemExit(0)", final=frozenset({0})))
    until(keeper, says("hub", "finished"))
    assert (tmp_path / "logs" / "hub.log").read_text() == "listening\n"


def test_a_name_is_kept_once(keeper: Keeper) -> None:
    keeper.add(child("hub", LISTENS))
    with pytest.raises(ArgumentError, match="hub"):
        keeper.add(child("hub", DEAF))


def is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
