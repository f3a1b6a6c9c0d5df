"""Seeds of episodes, from which an interrupted run resumes exactly."""

import numpy as np


def episode_seed(seed: int, environment: int, episode: int) -> int:
    """Return the 32-bit seed of an environment's episode; it depends on nothing else."""
    sequence = np.random.SeedSequence((seed, environment, episode))
    return int(sequence.generate_state(1, np.uint32)[0])


def start_seed(seed: int, environment: int) -> int:
    """Return the 32-bit seed of quantities that an environment keeps through all its episodes."""
    return int(np.random.SeedSequence((seed, environment)).generate_state(1, np.uint32)[0])
