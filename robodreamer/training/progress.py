"""Progress display: a live panel in a terminal, plain lines in a log file."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from robodreamer.utils.formatting import format_duration
from robodreamer.utils.interactive import is_interactive
from robodreamer_deploy.utils.suggest import printable_lines

BAR_WIDTH = 40


class _Console(Console):
    """Console that stays quiet when its reader has left, where rich's ends the process."""

    def on_broken_pipe(self) -> None:
        """Stop writing."""
        self.quiet = True


class Progress:
    """Display of a run's progress, which turns itself off once writing fails.

    A closed terminal, a reader that left or a log on a full disk must not end a run.
    """

    def __init__(
        self,
        title: str,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        is_notebook = is_interactive() and not sys.stderr.isatty()
        # A notebook shows on red what goes to standard error.
        output: TextIO = stream or (sys.stdout if is_notebook else sys.stderr)
        is_terminal = output.isatty()
        self.title = title
        self._clock = clock
        self._console = _Console(
            file=output, highlight=False, soft_wrap=not is_terminal, force_jupyter=False
        )
        self._live = Live(console=self._console, auto_refresh=False) if is_terminal else None
        self._first: tuple[float, float] | None = None

    def start(self) -> None:
        """Start the live display."""
        if self._live:
            with self._tolerant():
                self._live.start()

    def stop(self) -> None:
        """Stop the live display; its last state stays on the screen."""
        if self._live:
            with self._tolerant():
                self._live.stop()

    def say(self, text: str) -> None:
        """Print a line that stays."""
        with self._tolerant():
            self._console.print(printable_lines(text), markup=False)

    def show(self, share: float, figures: dict[str, str]) -> None:
        """Replace the live display, or print one line where there is no terminal.

        Args:
            share: Part of the run that is done, in [0, 1].
            figures: Texts to show, by name.
        """
        with self._tolerant():
            self._show(share, figures)

    def _show(self, share: float, figures: dict[str, str]) -> None:
        left = self._time_left(share)
        if self._live is None:
            parts = [f"{name} {value}" for name, value in figures.items()]
            self._console.print(f"{share:4.0%} {' | '.join(parts)} | left {left}", markup=False)
            return
        full = round(share * BAR_WIDTH)
        bar = "█" * full + "░" * (BAR_WIDTH - full)
        rows = {"done": f"{bar} {share:.0%}", "time left": left} | figures
        width = max(map(len, rows))
        lines = [_line(f"{name:{width}}  {value}") for name, value in rows.items()]
        self._live.update(Group(_line(self.title), *lines), refresh=True)

    @contextmanager
    def _tolerant(self) -> Iterator[None]:
        """Turn the display off at the first failure."""
        try:
            yield
        except OSError:
            self._live = None
            self._console.quiet = True

    def _time_left(self, share: float) -> str:
        """Return the time to the end as text, from the pace since this process first showed."""
        now = self._clock()
        self._first = self._first or (now, share)
        began, share_then = self._first
        if share <= share_then:
            return "?"
        return format_duration((now - began) * (1 - share) / (share - share_then))


def _line(text: str) -> Text:
    """Return text that stays on one line, cut where the terminal ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")
