"""Response to surprise, the gap between world and model: slow down, or stop. Off by default."""

from collections import deque
from collections.abc import Mapping
from typing import Literal

Response = Literal["slow", "stop"]
RESPONSES: tuple[Response, ...] = ("slow", "stop")
WINDOW = 10
SLOW_RATE = 0.25
"""Factor on the rate limits while the robot is slowed down."""


class SurpriseGuard:
    """Guard that compares the mean surprise of the last steps with a limit.

    The limit is a quantile of single steps, above which a few steps lie in every good drive; their
    mean over `WINDOW` steps does not.
    """

    def __init__(self, limit_nats: float, response: Response) -> None:
        """Answer a mean above `limit_nats` with `response`."""
        self.limit_nats = limit_nats
        self._response: Response = response
        self._last: deque[float] = deque(maxlen=WINDOW)

    @property
    def mean_nats(self) -> float:
        """Mean of the last steps; 0 until there are `WINDOW`."""
        return sum(self._last) / WINDOW if len(self._last) == WINDOW else 0.0

    def forget(self) -> None:
        """Forget all steps, as the model does at a reset."""
        self._last.clear()

    def judge(self, surprise: float) -> Response | None:
        """Take the surprise of a step in nats; return what has to be done, None if nothing."""
        self._last.append(surprise)
        return self._response if self.mean_nats > self.limit_nats else None


def surprise_limit(quantiles: Mapping[str, float], written: float | None) -> float:
    """Return the limit in nats: the user's, or the manifest's highest quantile.

    Raises:
        ValueError: Neither knows one.
    """
    if written is not None:
        return written
    if not quantiles:
        raise ValueError(
            "the policy's manifest holds no surprise of an evaluation: "
            "write surprise_nats into the file of --limits"
        )
    return quantiles[max(quantiles, key=float)]
