"""What the findings look like: plain text, 80 columns."""

import textwrap
from collections.abc import Sequence

from robodreamer.doctor.finding import Finding

WIDTH = 80
COLUMN = 31  # where the text begins, after status and name
WORDS = {"ok": "ok", "warning": "warning", "failure": "FAILURE"}


def format_finding(finding: Finding) -> str:
    """Return a finding as a line, or more; what to do stands below it, after an arrow."""
    head = f"{WORDS[finding.status]:<9}{finding.name:<{COLUMN - 10}} "
    lines = _wrap(finding.found, head)
    if finding.advice:
        lines += _wrap(finding.advice, " " * (COLUMN - 3) + "-> ")
    return "\n".join(lines)


def format_summary(findings: Sequence[Finding]) -> str:
    """Return how many lines ask for something to be done."""
    counts = [
        f"{number} {status}{'s' if number > 1 else ''}"
        for status in ("failure", "warning")
        if (number := sum(finding.status == status for finding in findings))
    ]
    if not counts:
        return "Everything works."
    return f"{' and '.join(counts)}; what to do stands after the arrows."


def _wrap(text: str, head: str) -> list[str]:
    """Break a text into lines that begin in the same column."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=head,
        subsequent_indent=" " * COLUMN,
        break_on_hyphens=False,
        break_long_words=False,
    )
