"""Errors, and their descriptions in one sentence for the user."""

import traceback
from pathlib import Path


class SignalError(ValueError):
    """A value does not fit its signal: wrong key, shape, type or not finite."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key}: {reason}")
        self.key = key


class BundleError(ValueError):
    """The folder holds no policy that may drive a robot; the message is the reason."""


class RobotError(RuntimeError):
    """The robot cannot be made, connected or driven; the message is one sentence for the user."""


class HungError(BaseException):
    """Something did not come back in time, and was broken off by the watchdog.

    No `Exception`, so that a driver which tries again after every exception cannot swallow it.
    """


class RemoteFault(RuntimeError):  # noqa: N818  the fault is the robot's
    """Error of a robot's own code in another process, which no robot should raise.

    Its message is the sentence that the other process made of it.
    """


USER_FACING = (RobotError, BundleError, SignalError, OSError, HungError, RemoteFault)
"""Errors whose message is meant for the user; others are told with their type and place."""


def describe_error(error: BaseException) -> str:
    """Return one line that tells an error; where it was raised, if nobody meant it to be read."""
    text = " ".join(str(error).split())
    if text and isinstance(error, USER_FACING):
        return text
    name = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
    return f"{name}{where}: {text}" if text else f"{name}{where}"


def full_traceback(error: BaseException) -> str:
    """Return what Python would have printed."""
    return "".join(traceback.format_exception(error))
