"""What a randomised task looks like: its first picture in many episodes."""

import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make

NUM_PICTURES = 16


def randomized_pictures(
    task: str, options: EnvOptions, count: int = NUM_PICTURES
) -> dict[str, NDArray[np.uint8]]:
    """Return how the observed cameras see the beginning of episodes 0, 1, ..., `count` - 1.

    Returns:
        Pictures (count, H, W, C) by signal. Every episode is that of another environment, so that
        what is drawn once at start differs as well.

    Raises:
        ValueError: As `make`.
    """
    env = make(task, options)
    names = [signal.name for signal in env.contract.observations if signal.is_image]
    seen = [env.reset(seed=seed, options={"start_seed": seed})[0] for seed in range(count)]
    env.close()
    return {name: np.stack([observation[name] for observation in seen]) for name in names}
