"""The page of clauses says what the code says."""

from pathlib import Path

from twinloop.instruments.conformance.clauses import CLAUSES
from twinloop.instruments.conformance.reference import reference_text
from twinloop.instruments.conformance.suite import LOOKS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "conformance.md"


def test_the_page_is_what_the_code_writes() -> None:
    hint = "python -m twinloop.instruments.conformance.reference > docs/reference/conformance.md"
    assert PAGE.read_text(encoding="utf-8") == reference_text(), hint


def test_every_clause_is_looked_at_and_nothing_else_is() -> None:
    looked_at = {clause for look in LOOKS for clause in look.clauses}
    assert looked_at == set(CLAUSES)
