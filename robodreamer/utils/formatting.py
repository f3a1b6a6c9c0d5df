"""Texts of figures, the same on the screen, in logs and on pages."""

from collections.abc import Mapping


def format_duration(seconds: float) -> str:
    """Return a duration as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def format_success(summary: Mapping[str, float]) -> str:
    """Return `, success 90%` to append to other figures; empty where it is not reported."""
    return f", success {summary['success']:.0%}" if "success" in summary else ""


def plural(count: int, noun: str) -> str:
    """Return `1 camera`, `2 cameras`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
