"""Schedule of a run: checkpoints, reports, evaluations, the end, and the signals that stop it."""

import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from robodreamer.config import TrainConfig
from robodreamer.utils.interactive import is_interactive
from robodreamer_deploy.utils.streams import Say

CONFIRMED_STOP_CODE = 130  # 128 + SIGINT, as shells count
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""Ctrl-C; a service manager, container or batch system; a terminal that is closed; Ctrl-\\."""
CONFIRMATIONS = (signal.SIGINT, signal.SIGQUIT)
"""Signals that a person repeats on purpose. The others arrive twice by themselves: `timeout` sends
to the process and to its group, and after a closed terminal both the shell and the kernel send."""
STOP_TEXT = "saving; Ctrl-C again leaves at once"
STDERR = 2
SHOW_CURSOR = b"\x1b[?25h\n"


class Period:
    """Period that comes due when a multiple of its length was passed since the last look.

    Multiples are counted from 0, not from the last time it was due, so a resumed run has the same
    periods.
    """

    def __init__(self, length: float) -> None:
        self.length = length
        self._last = 0.0

    def restart(self, now: float) -> None:
        """Count from `now` on."""
        self._last = now

    def is_due(self, now: float) -> bool:
        """Return True if a multiple was passed since the last look, which is moved to `now`."""
        last, self._last = self._last, now
        return now // self.length > last // self.length


class Schedule:
    """Schedule of checkpoints, evaluations, reports and the end of a run.

    Steps are environment steps, seconds are training time. A deterministic run does everything at
    fixed steps, any other run at times.
    """

    def __init__(self, config: TrainConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config, self._clock = config, clock
        self._checkpoint = Period(60 * config.checkpoint_minutes)
        self._evaluation = Period(60 * config.evaluate_minutes)
        self._report = Period(config.log_seconds)
        if config.deterministic:
            self._checkpoint = Period(float(config.checkpoint_steps))
            self._evaluation = Period(float(config.evaluate_steps))
            self._report = Period(float(config.log_steps))
        self.evaluates = config.evaluate_minutes > 0
        """True if the run evaluates at all."""
        self.resume(steps=0, seconds=0.0)

    def resume(self, steps: int, seconds: float) -> None:
        """Continue from the steps and seconds of a checkpoint."""
        self._began = self._clock() - seconds
        for period in (self._checkpoint, self._evaluation, self._report):
            period.restart(self._now(steps))

    @property
    def seconds(self) -> float:
        """Training time, that of earlier processes of this run included."""
        return self._clock() - self._began

    def pause(self, seconds: float) -> None:
        """Exclude seconds that were not spent on training."""
        self._began += seconds

    def share_done(self, steps: int) -> float:
        """Return the share of the run that is done, in [0, 1]."""
        by_steps = steps / self.config.steps
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def is_over(self, steps: int) -> bool:
        """Return True once steps or minutes are used up."""
        return self.share_done(steps) >= 1

    def is_checkpoint_due(self, steps: int) -> bool:
        """Return True if it is time to save, once per period."""
        return self._checkpoint.is_due(self._now(steps))

    def checkpoint_is_done(self, steps: int) -> None:
        """Count the time to the next checkpoint from here."""
        self._checkpoint.restart(self._now(steps))

    def is_report_due(self, steps: int) -> bool:
        """Return True if it is time to report, once per period."""
        return self._report.is_due(self._now(steps))

    def is_evaluation_due(self, steps: int) -> bool:
        """Return True if it is time to evaluate, once per period, or never."""
        return self.evaluates and self._evaluation.is_due(self._now(steps))

    def _now(self, steps: int) -> float:
        return float(steps) if self.config.deterministic else self.seconds


class StopRequest:
    """Handler of the signals in `STOPS`: the first requests a stop, a second Ctrl-C exits at once.

    Exiting at once is safe, because half-written files have temporary names. In a notebook or at
    Python's prompt the second Ctrl-C raises `KeyboardInterrupt` instead, because the process holds
    more than this run. SIGHUP stays ignored where it already was, as under `nohup`. A thread other
    than the main one receives no signals, so there nothing can be requested.

    Args:
        say: Prints an acknowledgement; the update of a large network takes a while.
    """

    def __init__(self, say: Say) -> None:
        self.is_requested = False
        self._say = say
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":  # noqa: PYI034  beartype checks no Self
        """Install the handlers."""
        if threading.current_thread() is not threading.main_thread():
            return self
        for number in STOPS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._handlers[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        """Restore the handlers before."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self.is_requested and number not in CONFIRMATIONS:
            return
        if self.is_requested and is_interactive():
            raise KeyboardInterrupt
        if self.is_requested:
            if os.isatty(STDERR):
                os.write(STDERR, SHOW_CURSOR)  # the live display has hidden it
            os._exit(CONFIRMED_STOP_CODE)
        self.is_requested = True
        # In a thread of its own: this may have interrupted a print, which cannot be entered twice.
        threading.Thread(target=self._say, args=(STOP_TEXT,)).start()
