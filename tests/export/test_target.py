import errno

import pytest

from twinloop.agents.export.target import MANIFEST, ExportFailed, draft_of
from twinloop.errors import ArgumentError


def export_of(target, text, *, overwrite=False):
    with draft_of(target, overwrite=overwrite) as draft:
        (draft / MANIFEST).write_text(text, encoding="utf-8")


def fill_up(target):
    with draft_of(target, overwrite=True) as draft:
        (draft / "half").write_text("x")
        raise OSError(errno.ENOSPC, "No space left on device")


def left_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_target_appears_when_it_is_whole(tmp_path):
    with draft_of(tmp_path / "out", overwrite=False) as draft:
        (draft / "file").write_text("x")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert left_in(tmp_path) == ["out"]


def test_an_empty_folder_may_be_the_target(tmp_path):
    (tmp_path / "out").mkdir()
    export_of(tmp_path / "out", "1")
    assert left_in(tmp_path / "out") == [MANIFEST]


def test_an_export_is_replaced_only_when_asked(tmp_path):
    target = tmp_path / "out"
    export_of(target, "1")
    with pytest.raises(ArgumentError, match="--overwrite"):
        export_of(target, "2")
    assert (target / MANIFEST).read_text() == "1"
    export_of(target, "2", overwrite=True)
    assert (target / MANIFEST).read_text() == "2"
    assert left_in(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_no_export_is_never_replaced(tmp_path, overwrite):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    with pytest.raises(ArgumentError, match="a new folder"):
        export_of(tmp_path / "thesis", "1", overwrite=overwrite)
    assert left_in(tmp_path / "thesis") == ["chapter.tex"]


def test_a_file_is_no_target(tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(ArgumentError, match="a new folder"):
        export_of(tmp_path / "out", "1", overwrite=True)


def test_a_full_disk_leaves_what_was_there(tmp_path):
    target = tmp_path / "out"
    export_of(target, "1")
    with pytest.raises(ExportFailed, match=r"No space left.*untouched"):
        fill_up(target)
    assert (target / MANIFEST).read_text() == "1"
    assert left_in(tmp_path) == ["out"]


def test_another_error_leaves_no_draft(tmp_path):
    with pytest.raises(KeyboardInterrupt), draft_of(tmp_path / "out", overwrite=False):
        raise KeyboardInterrupt
    assert left_in(tmp_path) == []


def test_a_target_that_cannot_take_its_place_is_put_back(tmp_path, monkeypatch):
    target = tmp_path / "out"
    export_of(target, "1")
    rename = type(target).rename

    def refuse(self, to):
        if self.name.endswith(".draft"):
            raise OSError(errno.EACCES, "in use")
        return rename(self, to)

    monkeypatch.setattr(type(target), "rename", refuse)
    with pytest.raises(ExportFailed, match="in use"):
        export_of(target, "2", overwrite=True)
    assert (target / MANIFEST).read_text() == "1"
    assert left_in(tmp_path) == ["out"]
