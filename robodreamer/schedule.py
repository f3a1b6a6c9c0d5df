"""When a run ends, saves, reports and evaluates, and how Ctrl-C is heard."""

import os
import signal
import time
from types import FrameType
from typing import Any

from robodreamer.config import TrainConfig

CONFIRMED_STOP_CODE = 130  # 128 + SIGINT, as shells count


class Schedule:
    """Tells what is due. Steps count environment steps, seconds count training time.

    A deterministic run saves at fixed steps; any other one at times.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.config = config
        self.resume(steps=0, seconds=0.0)

    def resume(self, steps: int, seconds: float) -> None:
        """Count on from a checkpoint."""
        self._began = time.monotonic() - seconds
        self._saved_step = steps
        self._saved_at = self._reported_at = self._evaluated_at = seconds

    @property
    def seconds(self) -> float:
        """Training time, that of earlier processes of this run included."""
        return time.monotonic() - self._began

    def pause(self, seconds: float) -> None:
        """Do not count time that was spent on something other than training."""
        self._began += seconds

    def share_done(self, steps: int) -> float:
        """Return how much of the run is done, in [0, 1]."""
        by_steps = steps / self.config.steps
        by_time = self.seconds / (60 * self.config.minutes) if self.config.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def is_over(self, steps: int) -> bool:
        """Whether steps or minutes are used up."""
        return self.share_done(steps) >= 1

    def is_checkpoint_due(self, steps: int) -> bool:
        """Whether it is time to save."""
        if self.config.deterministic:
            return steps - self._saved_step >= self.config.checkpoint_steps
        return self.seconds - self._saved_at >= 60 * self.config.checkpoint_minutes

    def checkpoint_is_done(self, steps: int) -> None:
        """Count from here to the next checkpoint."""
        self._saved_step, self._saved_at = steps, self.seconds

    def is_report_due(self) -> bool:
        """Whether it is time to report; true once per period."""
        if self.seconds - self._reported_at < self.config.log_seconds:
            return False
        self._reported_at = self.seconds
        return True

    def is_evaluation_due(self, *, is_end: bool) -> bool:
        """Whether it is time to evaluate: once per period and at the end; never if it is 0."""
        period = 60 * self.config.evaluate_minutes
        if not period or (self.seconds - self._evaluated_at < period and not is_end):
            return False
        self._evaluated_at = self.seconds
        return True


class StopRequest:
    """Hears Ctrl-C and SIGTERM while it is entered: the first asks, the second leaves at once.

    Leaving at once is safe: whatever is half written has a temporary name.
    """

    def __init__(self) -> None:
        self.is_requested = False
        self._handlers: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        """Listen."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        """Listen no more."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.is_requested:
            os._exit(CONFIRMED_STOP_CODE)
        self.is_requested = True
