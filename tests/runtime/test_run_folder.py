"""The run folder and its lock."""

import json
import socket
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from twinloop.agents.runtime.run_folder import (
    FolderLock,
    Owner,
    RunFolder,
    ThisHost,
    free_endpoint,
)
from twinloop.errors import ConfigError, RunFolderBusy

ME = Owner("lab-pc", "boot-2", 200, 1000.0, "2026-01-17T10:00:00+00:00")


@dataclass
class FakeHost:
    """A machine whose living processes the test names."""

    owner: Owner = ME
    living: set[int] = field(default_factory=set)

    def me(self) -> Owner:
        return self.owner

    def is_alive(self, owner: Owner) -> bool:
        return owner.pid in self.living


def locked_by(folder: Path, owner: Owner) -> None:
    FolderLock(folder, FakeHost(owner)).acquire()


def test_a_second_owner_is_refused_and_both_are_named(tmp_path: Path) -> None:
    locked_by(tmp_path, replace(ME, pid=100))
    with pytest.raises(RunFolderBusy) as refusal:
        FolderLock(tmp_path, FakeHost(living={100})).acquire()
    assert "process 100 on lab-pc" in str(refusal.value)
    assert "process 200 on lab-pc" in str(refusal.value)


@pytest.mark.parametrize(
    ("owner", "living"),
    [
        (replace(ME, pid=100), set()),
        # the pid lives, but the machine was started anew since
        (replace(ME, pid=100, boot="boot-1"), {100}),
    ],
)
def test_a_dead_owner_and_one_of_an_earlier_boot_are_succeeded(
    tmp_path: Path, owner: Owner, living: set[int]
) -> None:
    locked_by(tmp_path, owner)
    lock = FolderLock(tmp_path, FakeHost(living=living))
    lock.acquire()
    assert lock.owner() == ME


def test_an_owner_on_another_host_is_believed_to_live(tmp_path: Path) -> None:
    locked_by(tmp_path, replace(ME, host="other-pc"))
    with pytest.raises(RunFolderBusy, match="other-pc"):
        FolderLock(tmp_path, FakeHost()).acquire()


def test_a_lock_is_released_by_its_owner_alone(tmp_path: Path) -> None:
    mine = FolderLock(tmp_path, FakeHost())
    mine.acquire()
    successor = replace(ME, pid=300)
    locked_by(tmp_path, successor)
    mine.release()
    assert mine.owner() == successor


def test_a_released_folder_is_free(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path, FakeHost())
    lock.acquire()
    lock.release()
    assert lock.owner() is None
    FolderLock(tmp_path, FakeHost(replace(ME, pid=5))).acquire()


def test_an_unreadable_lock_file_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text('{"host": "lab')
    assert FolderLock(tmp_path, FakeHost()).acquire() == ME


def test_the_real_host_knows_itself_alive_and_a_changed_birth_dead() -> None:
    me = ThisHost().me()
    assert ThisHost().is_alive(me)
    assert not ThisHost().is_alive(replace(me, born_s=me.born_s - 100.0))


def test_a_new_folder_holds_configuration_versions_and_seeds(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {"campaign": "c", "seed": 7}, "c.yaml")
    assert folder.config() == {"campaign": "c", "seed": 7}
    assert json.loads((folder.path / "seeds.json").read_text()) == {"campaign": 7}
    versions = json.loads((folder.path / "versions.json").read_text())
    assert versions["packages"]["pydantic"]
    assert RunFolder.open(folder.path).run == folder.run


def test_a_folder_with_a_run_in_it_is_not_taken_for_a_new_one(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run", {"seed": 1}, "c.yaml")
    with pytest.raises(ConfigError, match="twinloop resume"):
        RunFolder.create(tmp_path / "run", {"seed": 2}, "c.yaml")
    assert RunFolder.open(tmp_path / "run").config() == {"seed": 1}


def test_a_folder_without_a_run_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run\.json"):
        RunFolder.open(tmp_path)


def test_the_hub_listens_at_the_same_place_again_while_that_is_free(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {}, "c.yaml")
    endpoint = folder.hub_endpoint()
    assert folder.hub_endpoint() == endpoint
    with socket.create_server(("127.0.0.1", int(endpoint.rpartition(":")[2]))):
        other = folder.hub_endpoint()
    assert other != endpoint
    assert folder.hub_endpoint() == other


def test_a_chosen_port_is_none_that_the_system_gives_away_by_itself() -> None:
    with ExitStack() as held:
        given = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(20)]
        lowest = min(server.getsockname()[1] for server in given)
        chosen = [int(free_endpoint().rpartition(":")[2]) for _ in range(20)]
    assert max(chosen) < lowest
    assert len(set(chosen)) > 15, "one after the other would be the same for two runs at once"


def test_a_port_in_use_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", int(free_endpoint().rpartition(":")[2]))) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("twinloop.agents.runtime.run_folder._PORTS", range(port, port + 1))
        monkeypatch.setattr("twinloop.agents.runtime.run_folder._TRIED_PORTS", 1)
        assert free_endpoint() != f"tcp://127.0.0.1:{port}"


def test_rays_folder_is_short_private_named_in_the_run_folder_and_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {}, "c.yaml")
    ray_tmp = folder.make_ray_tmp()
    assert ray_tmp.stat().st_mode & 0o777 == 0o700
    sockets = "r/session_2026-01-17_10-00-00_000000_1234567/sockets/plasma_store"
    assert len(str(ray_tmp / sockets)) < 107
    assert str(ray_tmp) in (folder.path / "ray_tmp.txt").read_text()
    (ray_tmp / "r").mkdir()
    assert RunFolder.open(folder.path).remove_ray_tmp() == [ray_tmp]
    assert not ray_tmp.exists()
    assert folder.remove_ray_tmp() == []


def test_only_folders_that_look_like_rays_are_removed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", {}, "c.yaml")
    precious, link = tmp_path / "precious", tmp_path / "tl-link"
    precious.mkdir()
    link.symlink_to(precious)
    (folder.path / "ray_tmp.txt").write_text(f"{precious}\n{link}\n\n")
    assert folder.remove_ray_tmp() == []
    assert precious.is_dir()
