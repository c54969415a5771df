"""The blocks of docs/how-to/export-data.md do what they say, on a run in which all have measured."""

import re
import warnings

import pytest

from twinloop.agents.export.run_export import export_run

pytest.importorskip("h5py", reason="the extra `export` is not installed")
pytest.importorskip("pyarrow", reason="the extra `export` is not installed")

BLOCK = re.compile(
    r'^```python title="(?P<title>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL
)
NEEDED = {
    "open_nexus.py": "h5py",
    "open_as_hyperspy.py": "rsciio",
    "open_parquet.py": "pandas",
    "open_bluesky.py": "bluesky",
}
SHOWN = {
    "open_nexus.py": "SIMULATED TWIN",
    "open_as_hyperspy.py": "x_A 32 2.5 -38.75 angstrom",
    "open_parquet.py": "b'ML/s'",
    "open_bluesky.py": "t0001",
}


@pytest.mark.parametrize("title", NEEDED)
def test_a_block_opens_what_was_exported(title, seen, repository, monkeypatch, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the package itself imports
        pytest.importorskip(NEEDED[title], reason=f"{NEEDED[title]} is not installed")
    page = (repository / "docs/how-to/export-data.md").read_text("utf-8")
    blocks = {match["title"]: match["text"] for match in BLOCK.finditer(page)}
    assert set(blocks) == set(NEEDED)
    export_run(seen)
    monkeypatch.chdir(seen)
    exec(compile(blocks[title], title, "exec"), {"__name__": title})  # noqa: S102  our own page
    assert SHOWN[title] in capsys.readouterr().out
