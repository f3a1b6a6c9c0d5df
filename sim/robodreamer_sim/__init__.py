"""MuJoCo tasks, cameras and vector environments: everything that needs a simulator.

    env = robodreamer_sim.make("fetch_reach")
    environments = robodreamer_sim.VectorEnv("fetch_reach", num_envs=8, num_workers=2, seed=0)

Importing this package costs neither MuJoCo nor Gymnasium; they load when something is made.
"""

from typing import TYPE_CHECKING, Any

from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks

if TYPE_CHECKING:
    from robodreamer_sim.env import TaskEnv
    from robodreamer_sim.vector.gymnasium_adapter import GymnasiumVectorEnv
    from robodreamer_sim.vector.vector_env import EnvironmentFault, VectorEnv

__all__ = [
    "EnvOptions",
    "EnvironmentFault",
    "GymnasiumVectorEnv",
    "TaskEnv",
    "VectorEnv",
    "list_tasks",
    "make",
]


def __getattr__(name: str) -> Any:
    """Load the classes whose modules need Gymnasium on first use."""
    if name == "TaskEnv":
        from robodreamer_sim.env import TaskEnv

        return TaskEnv
    if name == "GymnasiumVectorEnv":
        from robodreamer_sim.vector.gymnasium_adapter import GymnasiumVectorEnv

        return GymnasiumVectorEnv
    if name in {"VectorEnv", "EnvironmentFault"}:
        from robodreamer_sim.vector import vector_env

        return getattr(vector_env, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
