"""Schedules of sensors that are slower than control."""

import math


def is_due(rate_hz: float | None, control_dt_s: float, step: int) -> bool:
    """Return whether a sensor measures between the last control step and this one.

    Args:
        rate_hz: Measurements per second; None measures at every control step.
        control_dt_s: Seconds from one control step to the next.
        step: Number of the control step; step 0 begins an episode and is always measured.
    """
    if rate_hz is None or step == 0:
        return True
    # 1e-9: a product that is whole but for rounding counts as whole
    before, now = (math.floor(s * rate_hz * control_dt_s + 1e-9) for s in (step - 1, step))
    return now > before
