"""The report of a run: one self-contained page made from the run folder alone.

`write_report(folder)` reads the journal, the arrays and, once the campaign has ended, what a
stand-in machine kept sealed; it writes `report.html`. `python -m twinloop.agents.report FOLDER`
does the same. Reading a run folder changes nothing in it but the page, so a report can be made
while the campaign goes on, or from one that was killed.
"""

from twinloop.agents.report.page import write_report

__all__ = ["write_report"]
