"""Tasks that step all environments of a shard at once, on `mujoco.batch`.

What they yield is what the task's own class yields for the same seeds, to 1e-6. `shard.make_shard`
chooses them by itself. Importing this costs no simulator.
"""

import dataclasses

from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions

WALKERS = ("dmc_walker_stand", "dmc_walker_walk", "dmc_walker_run")
OPEN_OPTIONS = ("observe", "cameras", "image_size", "look", "action_repeat")
"""Options that may have any value here; others need the task's own class if they are set."""


def is_native(task: str, options: EnvOptions) -> bool:
    """Tell whether a shard of this task can be a `NativeShard`."""
    others = [f.name for f in dataclasses.fields(EnvOptions) if f.name not in OPEN_OPTIONS]
    is_usual = all(getattr(options, name) == getattr(DEFAULT_OPTIONS, name) for name in others)
    return task in WALKERS and is_usual
