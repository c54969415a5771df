"""`python -m twinloop.agents.cli`: the same as `twinloop`."""

from twinloop.agents.cli.main import app

app()
