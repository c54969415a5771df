"""The report of a check as plain text."""

from collections import Counter

from twinloop.instruments.conformance.clauses import CLAUSES, GROUPS
from twinloop.instruments.conformance.interface import Finding, Report, Verdict

__all__ = ["clause_line", "report_text"]

_MARKS = {
    Verdict.PASSED: "ok",
    Verdict.FAILED: "FAILED",
    Verdict.NOT_APPLICABLE: "-",
    Verdict.NOT_JUDGED: "not judged",
}


def report_text(report: Report) -> str:
    """Return the whole report: one line for each clause, and what to do about each broken one."""
    lines = [report.instrument, ""]
    looked_at = [i for i in CLAUSES if any(f.clause == i for f in report.findings)]
    group = ""
    for clause in looked_at:
        if clause[0] != group:
            group = clause[0]
            lines.append(GROUPS[group])
        lines.append("  " + clause_line(report, clause))
        for finding in report.failed:
            if finding.clause == clause:
                lines += _told(finding)
    lines += ["", *_last_lines(report, looked_at)]
    return "\n".join(lines)


def clause_line(report: Report, clause: str) -> str:
    """Return what a clause came to, in one line."""
    verdict = report.verdict_of(clause)
    line = f"{_MARKS[verdict]:10} {clause:3} {CLAUSES[clause].sentence}"
    if verdict is Verdict.NOT_JUDGED:
        line += f" [{_why(report, clause, verdict)}]"
    return line


def _why(report: Report, clause: str, verdict: Verdict) -> str:
    told = {f.happened for f in report.findings if f.clause == clause and f.verdict is verdict}
    return "; ".join(sorted(told)) or "not looked at"


def _told(finding: Finding) -> list[str]:
    subject = f"  {finding.clause}, {finding.subject}" if finding.subject else f"  {finding.clause}"
    return [f"  {subject}", *(f"  {line}" for line in finding.lines())]


def _last_lines(report: Report, looked_at: list[str]) -> list[str]:
    lines = [f"note: {note}" for note in report.notes]
    counts = Counter(report.verdict_of(clause) for clause in looked_at)
    parts = [f"{counts[v]} {v.value}" for v in Verdict if counts[v]]
    n_looks = sum(f.verdict in {Verdict.PASSED, Verdict.FAILED} for f in report.findings)
    lines.append(
        f"{len(looked_at)} clauses: {', '.join(parts)}; {n_looks} looks in {report.took_s:.0f} s"
    )
    return lines
