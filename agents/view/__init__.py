"""The live view: a campaign in the terminal while it runs.

`live_view` is an agent like others, in the role of a viewer: the conductor sends it a picture of
the campaign twice a second, adapters tell it how their instruments are, and streams of the depot
are drawn as they come. It decides nothing and nothing waits for it. `render` and `log_lines` are
pure: they make a drawing, or lines of text, of such a picture.
"""

from twinloop.agents.view.drawing import render
from twinloop.agents.view.log_lines import log_lines
from twinloop.agents.view.stream_window import StreamWindow
from twinloop.agents.view.viewer import live_view

__all__ = ["StreamWindow", "live_view", "log_lines", "render"]
