"""Matplotlib figures as inline SVG that takes its colours and its font from the page.

While drawing, each colour of the page is a stand-in value; in the SVG it becomes a CSS variable, so
one figure suits a light screen, a dark one and paper. Hover texts are SVG titles: no script needed.
"""

import html
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "BAD",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SERIES",
    "Drawing",
    "Look",
    "drawing",
    "without_frame",
]

# colours that no figure uses otherwise; `--name` of the page's style sheet takes their place
INK, MUTED, GRID, PAPER, ACCENT, BAD = (f"#0102{n:02x}" for n in range(1, 7))
SERIES = tuple(f"#0103{n:02x}" for n in range(1, 13))
Look = dict[str, Any]
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "grid",
    PAPER: "paper",
    ACCENT: "accent",
    BAD: "bad",
    **{colour: f"s{n}" for n, colour in enumerate(SERIES)},
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "path.simplify_threshold": 0.5,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "savefig.dpi": 144,
    # names of arrays and fields may hold a dollar sign
    "text.parse_math": False,
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.labelcolor": INK,
    "lines.solid_capstyle": "round",
}
_NAMESPACES = re.compile(r'\s(?:xmlns(?::\w+)?|version)="[^"]*"')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_FONT = re.compile(r"font-family:[^;\"]*")
_ID = re.compile(r'\b(id="|href="#|url\(#)')
_IMAGE_ID = re.compile(r' id="image[0-9a-f]+"')
_SIZE = re.compile(r'<svg width="([\d.]+)pt" height="[\d.]+pt"')
_TURN = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_USES = re.compile(r"<use [^>]*/>")
_PATHS = re.compile(r"<path [^>]*/>")
_POINTS_PER_PIXEL = 0.75


class Drawing:
    """A figure under way, and its SVG when the `drawing` block has ended.

    Args:
        figure: to draw on.
        name: short and unique in the page; it keeps the identities of figures apart.
        label: what it shows, for readers who cannot see it.
    """

    def __init__(self, figure: "Figure", name: str, label: str) -> None:
        self.figure, self.name, self.label = figure, name, label
        self.svg = ""
        self._tips: list[tuple[str, ...]] = []

    def tip(self, artist: "Artist", *texts: str) -> None:
        """Show a text when the pointer rests on an artist.

        Args:
            artist: a patch, or a collection of points or polygons.
            texts: one for each of its parts, in their order.
        """
        artist.set_gid(f"tip{len(self._tips)}-")
        self._tips.append(texts)

    def finish(self) -> None:
        """Turn the figure into SVG."""
        file = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        self.figure.savefig(file, format="svg", metadata=nothing)
        self.svg = self._for_page(file.getvalue())

    def _for_page(self, text: str) -> str:
        text = _METADATA.sub("", text[text.index("<svg") :])
        text = _NAMESPACES.sub("", text).replace("xlink:href", "href")
        # equal pictures would have equal identities, and nothing refers to them
        text = _IMAGE_ID.sub("", text)
        text = _TURN.sub("", text)
        text = _FONT.sub("font-family: inherit", text)
        text = _ID.sub(rf"\g<1>{self.name}-", text)
        for colour, variable in _VARIABLES.items():
            text = text.replace(colour, f"var(--{variable})")
        for n, tips in enumerate(self._tips):
            text = _with_tips(text, f'<g id="{self.name}-tip{n}-">', tips)
        label = html.escape(self.label, quote=True)

        def opening(match: re.Match[str]) -> str:
            width_px = float(match[1]) / _POINTS_PER_PIXEL
            return f'<svg role="img" aria-label="{label}" style="max-width:{width_px:.0f}px"'

        return _SIZE.sub(opening, text, count=1)


def _with_tips(text: str, group: str, tips: tuple[str, ...]) -> str:
    """Wrap the parts of a group, in order, each together with its title."""
    before, found, after = text.partition(group)
    # points that share a shape refer to one definition; others are paths of their own
    is_shared = after.lstrip().startswith("<defs>")
    part = _USES if is_shared else _PATHS
    waiting = iter(tips)

    def wrapped(match: re.Match[str]) -> str:
        return f"<g><title>{html.escape(next(waiting))}</title>{match[0]}</g>"

    return before + found + part.sub(wrapped, after, count=len(tips))


@contextmanager
def drawing(name: str, label: str, width: float, height: float) -> Iterator[Drawing]:
    """Yield a figure to draw on; `svg` of it is ready after the block.

    `name` and `label` are those of `Drawing`; width and height count in 96 pixels of the page.
    """
    # imported here: a light start of the command line is a promise
    import matplotlib as mpl
    from matplotlib.figure import Figure

    style = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        size = (width * 96 * _POINTS_PER_PIXEL / 72, height * 96 * _POINTS_PER_PIXEL / 72)
        page = Drawing(Figure(figsize=size, layout="constrained"), name, label)
        yield page
        page.finish()


def without_frame(axes: "Axes") -> None:
    """Leave axes without spines, ticks and grid, as for a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
