"""The page docs/reference/conformance.md, written from the clauses themselves.

python -m twinloop.instruments.conformance.reference > docs/reference/conformance.md
"""

import sys

from twinloop.instruments.conformance.clauses import CLAUSES, GROUPS

__all__ = ["reference_text"]

_INTRODUCTION = """# The clauses of the instrument contract

`twinloop instrument check PACKAGE:CLASS` judges each of them on the real adapter process:
passed, failed, not applicable (the class has nothing of the sort), or not judged (the suite lacks
something, and says what). Ids are stable. With `--endpoint` the suite looks at an instrument that is
served already: without `--with-actions` at the clauses marked *look*, with it also at those marked
*act*; those marked *own* need an adapter of the suite's own, which is killed and started again.

How to write a rehearsal, which tells the suite what is harmless, how long something lasts and how to
count what the device did, is said in `twinloop.instruments.conformance.interface`.

This page is written by `python -m twinloop.instruments.conformance.reference`.
"""

_FOR = (("own", "own"), ("inspector", "own"), ("actions", "act"), ("served", "look"))


def reference_text() -> str:
    """Return the page as Markdown.

    Example:
        >>> reference_text().splitlines()[0]
        '# The clauses of the instrument contract'
    """
    lines = [_INTRODUCTION]
    for group, title in GROUPS.items():
        lines.append(f"## {group}: {title}\n")
        for clause in CLAUSES.values():
            if clause.id[0] != group:
                continue
            sort = next((word for need, word in _FOR if need in clause.needs), "look")
            lines += [
                f"### {clause.id} ({sort})\n",
                f"{clause.sentence}\n",
                f"*Why:* {clause.why}\n",
                f"*Judged:* {clause.how}\n",
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(reference_text())
