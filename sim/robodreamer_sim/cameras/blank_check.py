"""Whether cameras show anything: judged over many frames, never by a single one.

A picture may be black for a moment; a camera that looks into a mesh, or away, is so for ever, and
an agent would learn from it for hours before anybody noticed.
"""

from collections.abc import Mapping

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim.errors import EnvironmentFault

BLANK = 3.0
"""Standard deviation of the pixels (of 255) up to which pictures show nothing."""
NUM_FRAMES = 20
"""Start-up frames that are judged together."""


def complaint(name: str, frames: Array) -> str:
    """Say that a camera shows nothing in frames (n, ..., H, W, C); empty if it shows something."""
    deviation = float(frames.std())
    if deviation > BLANK:
        return ""
    return (
        f"{name} shows nothing: over {len(frames)} frames its pixels have a standard deviation of "
        f"{deviation:.1f} of 255; turn or move the camera, or choose another one with --cameras"
    )


class Sight:
    """Watches the start-up frames of vector environments."""

    def __init__(self, contract: Contract) -> None:
        self._frames: dict[str, list[Array]] = {s.name: [] for s in contract.inputs if s.is_image}

    def watch(self, record: Mapping[str, Array]) -> None:
        """Take in one record (N, ...); after `NUM_FRAMES` of them judge, and look no more.

        Raises:
            EnvironmentFault: A camera shows nothing.
        """
        for name, seen in self._frames.items():
            seen.append(record[name].copy())
            if len(seen) == NUM_FRAMES and (reason := complaint(name, np.stack(seen))):
                raise EnvironmentFault(reason, key=name)
        if any(len(seen) == NUM_FRAMES for seen in self._frames.values()):
            self._frames = {}
