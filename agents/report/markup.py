"""Small pieces of HTML; every text from outside passes `text`."""

import html
from collections.abc import Iterable, Sequence

__all__ = ["definitions", "figure", "meter", "note", "pill", "table", "text"]


def text(value: object) -> str:
    """Return a text with everything escaped that HTML would read as markup."""
    return html.escape(str(value), quote=True)


def note(words: str) -> str:
    """Return a remark in small print; `words` is plain text."""
    return f'<p class="note">{text(words)}</p>'


def pill(words: str, tone: str = "muted") -> str:
    """Return a word in a frame; tones are good, bad and muted."""
    return f'<span class="pill {tone}">{text(words)}</span>'


def figure(svg: str, caption: str) -> str:
    """Return a figure with its caption, "" without a picture."""
    return f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>" if svg else ""


def meter(share: float) -> str:
    """Return a bar that is so full, 0 to 1."""
    return (
        f'<span class="meter"><i style="width:{100 * min(max(share, 0.0), 1.0):.1f}%"></i></span>'
    )


def table(
    heads: Sequence[str],
    rows: Iterable[tuple[str, Sequence[str]]],
    numbers: Iterable[int] = (),
) -> str:
    """Return a table.

    Args:
        heads: titles of the columns, plain text.
        rows: class of each row, and its cells as markup.
        numbers: columns that are set to the right.
    """
    right = set(numbers)

    def cells(tag: str, contents: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{_class('n' if n in right else '')}>{content}</{tag}>"
            for n, content in enumerate(contents)
        )

    head = cells("th", [text(word) for word in heads])
    body = "".join(f"<tr{_class(kind)}>{cells('td', contents)}</tr>" for kind, contents in rows)
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Return a list of terms; the second of each pair is markup."""
    return "<dl>" + "".join(f"<dt>{text(k)}</dt><dd>{v}</dd>" for k, v in pairs) + "</dl>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
