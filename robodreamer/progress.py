"""Progress: a live line in a terminal, a plain line now and then in a log file."""

import sys
import time
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text


class Progress:
    """Shows where a run stands. `share` is the part of the run that is done."""

    def __init__(self, title: str, stream: TextIO | None = None) -> None:
        self.title = title
        stream = stream or sys.stderr
        is_terminal = stream.isatty()
        self._console = Console(file=stream, highlight=False, soft_wrap=not is_terminal)
        self._live = Live(console=self._console, auto_refresh=False) if is_terminal else None
        self._began = time.monotonic()
        self._share_at_start: float | None = None

    def start(self) -> None:
        """Begin to show."""
        if self._live:
            self._live.start()

    def stop(self) -> None:
        """Leave the last state on the screen."""
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        self._console.print(text, markup=False)

    def show(self, share: float, figures: dict[str, str]) -> None:
        """Replace the live display, or print one line where there is no terminal."""
        left = self._time_left(share)
        if self._live is None:
            parts = [f"{name} {value}" for name, value in figures.items()]
            self._console.print(f"{share:4.0%} {' | '.join(parts)} | left {left}", markup=False)
            return
        table = Table.grid(padding=(0, 2))
        for _ in range(2):
            table.add_column(no_wrap=True, overflow="ellipsis")
        table.add_row(f"{share:.0%}", ProgressBar(total=1.0, completed=share, width=40))
        table.add_row("time left", left)
        for name, value in figures.items():
            table.add_row(name, value)
        title = Text(self.title, no_wrap=True, overflow="ellipsis")
        self._live.update(Group(title, table), refresh=True)

    def _time_left(self, share: float) -> str:
        """Return the time to the end as text, from the pace since this process began."""
        if self._share_at_start is None:
            self._share_at_start = share
        gained = share - self._share_at_start
        if gained <= 0:
            return "?"
        seconds = (time.monotonic() - self._began) * (1 - share) / gained
        return format_duration(seconds)


def format_duration(seconds: float) -> str:
    """Return a duration as 45 s, 12 min or 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
