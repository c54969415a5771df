"""A published study can be gone on from, without making its runs again."""

import json

import numpy as np
import pytest

from twinloop.agents.bench.published import publish_data, take_over
from twinloop.agents.bench.run import reference_file
from twinloop.agents.bench.study import kept_runs, settings_of
from twinloop.agents.bench.testing import tiny_setting
from twinloop.errors import ArgumentError


@pytest.fixture
def study(tmp_path):
    """Settings, records of the first three of them, and a cache with their references."""
    cache = tmp_path / "cache"
    cache.mkdir()
    settings = settings_of(tiny_setting(seeds=2).file, cache)
    kept = {s.key: {"key": s.key, "seed": s.seed, "best": float("nan")} for s in settings[:3]}
    kept["other"] = {"key": "other"}
    for setting in settings:
        np.savez(reference_file(setting), best=setting.seed)
    np.savez(cache / "reference-other.npz", best=9)
    return settings, kept


def test_what_was_published_is_taken_over(study, tmp_path):
    settings, kept = study
    publish_data(settings, kept, tmp_path / "published")
    own = tmp_path / "own"
    taken = take_over(tmp_path / "published", own, own / "cache")
    assert taken == (3, len({reference_file(s) for s in settings[:3]}))
    assert set(kept_runs(own)) == {s.key for s in settings[:3]}
    for setting in settings[:3]:
        with np.load(own / "cache" / reference_file(setting).name) as found:
            assert found["best"] == setting.seed
    assert not (own / "cache" / "reference-other.npz").exists()
    # a second time there is nothing new
    assert take_over(tmp_path / "published" / "data", own, own / "cache") == (0, 0)


def test_own_runs_are_kept(study, tmp_path):
    settings, kept = study
    publish_data(settings, kept, tmp_path / "published")
    own = tmp_path / "own"
    own.mkdir()
    mine = {"key": settings[0].key, "seed": "mine"}
    (own / "runs.jsonl").write_text(json.dumps(mine) + "\n")
    assert take_over(tmp_path / "published", own, own / "cache")[0] == 2
    assert kept_runs(own)[settings[0].key]["seed"] == "mine"


def test_published_again_only_what_counts_is_there(study, tmp_path):
    settings, kept = study
    publish_data(settings, kept, tmp_path)
    less = {settings[0].key: kept[settings[0].key]}
    files = publish_data(settings, less, tmp_path)
    assert len(kept_runs(tmp_path / "data")) == 1
    assert sorted(files) == sorted((tmp_path / "data").iterdir())


def test_where_nothing_was_published_it_says_so(tmp_path):
    with pytest.raises(ArgumentError, match=r"runs\.jsonl"):
        take_over(tmp_path, tmp_path / "own", tmp_path / "own")
