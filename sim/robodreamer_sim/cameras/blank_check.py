"""Check that cameras show something, over many frames.

An image may be black for a moment. A camera that looks into a mesh, or away from the scene, stays
blank, and an agent would train on it for hours before anybody noticed.
"""

from collections.abc import Mapping

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.errors import EnvironmentFault

BLANK = 3.0
"""Standard deviation of the pixels (of 255) up to which images count as blank."""
NUM_FRAMES = 20
"""Start-up frames that are judged together."""


def blank_reason(name: str, frames: Array) -> str:
    """Return why frames (n, ..., H, W, C) of a camera count as blank; empty if they do not."""
    deviation = float(frames.std())
    if deviation > BLANK:
        return ""
    return (
        f"{name} shows nothing: over {len(frames)} frames its pixels have a standard deviation of "
        f"{deviation:.1f} of 255; turn or move the camera, or choose another one with --cameras"
    )


class BlankCameraCheck:
    """Check of the start-up frames of vector environments."""

    def __init__(self, contract: Contract) -> None:
        self._frames: dict[str, list[Array]] = {s.name: [] for s in contract.inputs if s.is_image}

    def add(self, record: Mapping[str, Array]) -> None:
        """Add one record (N, ...). After `NUM_FRAMES` records the check is made, once.

        Raises:
            EnvironmentFault: A camera is blank.
        """
        for name, seen in self._frames.items():
            seen.append(record[name].copy())
            if len(seen) == NUM_FRAMES and (reason := blank_reason(name, np.stack(seen))):
                raise EnvironmentFault(reason, key=name)
        if any(len(seen) == NUM_FRAMES for seen in self._frames.values()):
            self._frames = {}
