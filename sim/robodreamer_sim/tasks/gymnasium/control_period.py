"""Control period of an environment: measured, declared, or guessed.

MuJoCo's clock is read over one step. Other environments declare `dt`, which may be a physics step
(several make a control step), and a frame rate (a step may show several frames). Neither is longer
than a step, so the longer one is taken, which is also the slower way to drive a robot: Pendulum-v1
declares 0.05 s and 30 Hz and has 0.05 s, PushT declares 0.01 s and 10 Hz and has 0.1 s.
"""

import math
from typing import Any, NamedTuple

import numpy as np

UNKNOWN_DT_S = 0.05  # of an environment that tells neither `dt` nor a frame rate
TOLERANCE = 0.05
"""Relative difference up to which `dt` and a frame rate agree: a rate is a whole number, which
rounding moves by up to 5 % from 10 Hz on."""
HOW_TO_SET = "--control-dt SECONDS sets another"


class Period(NamedTuple):
    """Seconds of one step, and what people should know about the number; often nothing."""

    seconds: float
    note: str = ""


def find_period(base: Any, measured_s: float | None) -> Period:
    """Return the period of an environment.

    Args:
        base: The environment without its wrappers.
        measured_s: What its simulation's clock advanced by in one step; None without one.
    """
    dt = real_number(getattr(base, "dt", None))
    metadata = getattr(base, "metadata", None)
    rate = real_number(metadata.get("render_fps")) if isinstance(metadata, dict) else None
    frame_s = None if rate is None else 1.0 / rate
    told = [s for s in (dt, frame_s) if s is not None]
    if measured_s is not None and measured_s > 0.0:
        return _measured(measured_s, told)
    if dt is not None and frame_s is not None and not _agree(dt, frame_s):
        return Period(
            max(told),
            f"control every {max(told):g} s is a guess: the environment tells dt = {dt:g} s and "
            f"{rate:g} frames per second ({frame_s:g} s); {HOW_TO_SET}",
        )
    if dt is not None:
        return Period(dt)
    if frame_s is not None:
        return Period(
            frame_s,
            f"control every {frame_s:g} s is taken from the frame rate, {rate:g} per second; "
            f"{HOW_TO_SET}",
        )
    return Period(
        UNKNOWN_DT_S,
        f"control every {UNKNOWN_DT_S:g} s is a guess: the environment tells neither dt nor a "
        f"frame rate; {HOW_TO_SET}",
    )


def real_number(value: Any) -> float | None:
    """Return a number of any type as a positive float; None if it is none, or not above 0."""
    if isinstance(value, (bool, np.bool_, str, bytes)) or value is None:
        return None
    try:
        number = float(value.item() if isinstance(value, np.ndarray) else value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0.0 < number < math.inf else None


def _measured(measured_s: float, told: list[float]) -> Period:
    differing = [s for s in told if not _agree(s, measured_s)]
    measured_s = next((s for s in told if math.isclose(s, measured_s, rel_tol=1e-6)), measured_s)
    if not differing:
        return Period(measured_s)
    others = " and ".join(f"{s:g} s" for s in differing)
    return Period(
        measured_s,
        f"control every {measured_s:g} s is measured by the simulation's clock; dt or the frame "
        f"rate tell {others}",
    )


def _agree(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=TOLERANCE)
