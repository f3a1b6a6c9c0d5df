"""First images of many episodes, which show what a randomised task looks like."""

import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make

NUM_EPISODES = 16


def first_images(
    task: str, options: EnvOptions, count: int = NUM_EPISODES
) -> dict[str, NDArray[np.uint8]]:
    """Return the first image of every observed camera in episodes 0, 1, ..., `count` - 1.

    Returns:
        Images (count, H, W, C) by signal. Each episode has a start seed of its own, so that
        quantities drawn once per environment differ as well.

    Raises:
        ValueError: As `make`.
    """
    env = make(task, options)
    names = [signal.name for signal in env.contract.observations if signal.is_image]
    seen = [env.reset(seed=seed, options={"start_seed": seed})[0] for seed in range(count)]
    env.close()
    return {name: np.stack([observation[name] for observation in seen]) for name in names}
