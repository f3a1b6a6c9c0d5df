"""Viewer: MuJoCo's window on an environment that the newest policy drives while it learns.

It does not take part in training: the environment is its own, and the policy takes its most likely
actions, which uses no random numbers, so that a run with a viewer is the same run.
"""

import os
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from robodreamer.evaluation.policies import AgentPolicy
from robodreamer.learning.agent import Agent
from robodreamer.models.sampling import ModeSampler
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.registry import make

SEED = 2_000_003  # used by no training or evaluation environment
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")


class Viewer:
    """Window that shows the agent at its task, no faster than in reality.

    Args:
        agent: Agent in training; its weights are read as they are.
        clock: Monotonic clock in seconds.

    Raises:
        ValueError: The task is not simulated by MuJoCo.
    """

    def __init__(self, agent: Agent, clock: Callable[[], float] = time.monotonic) -> None:
        contract = agent.contract
        self._clock = clock
        self._period_s = contract.control_dt_s
        self._policy = AgentPolicy(agent, 1, ModeSampler())
        self._env: TaskEnv = make(contract.task, EnvOptions.from_dict(contract.options))
        self._observation, _ = self._env.reset(seed=SEED)
        self._is_first = True
        self._is_over = False
        self._due_s = clock()
        self._window = _open(self._env)

    @property
    def is_open(self) -> bool:
        """True until somebody closes the window."""
        return self._window.is_running()

    def step(self) -> bool:
        """Take and show one step if it is due; return True if it was."""
        now = self._clock()
        if now < self._due_s or not self.is_open:
            return False
        on_grid = self._due_s + self._period_s
        self._due_s = on_grid if on_grid > now else now + self._period_s  # a stall is not made up
        if self._is_over:
            self._observation, _ = self._env.reset()
            self._is_first, self._is_over = True, False
        else:
            self._act()
        self._window.sync()
        return True

    def close(self) -> None:
        """Close the window and the environment."""
        self._window.close()
        self._env.close()

    def _act(self) -> None:
        batch = {name: value[np.newaxis] for name, value in self._observation.items()}
        action = self._policy.act(batch, np.array([self._is_first]))[0]
        self._observation, _, is_terminated, is_truncated, _ = self._env.step(action)
        self._is_first, self._is_over = False, is_terminated or is_truncated


def require_display() -> None:
    """Refuse a machine without a display, where the viewer would end the whole process.

    Raises:
        ValueError: There is no display, or it cannot be opened.
    """
    if not any(os.environ.get(name) for name in DISPLAYS):
        raise ValueError(f"--view needs a display, but neither {' nor '.join(DISPLAYS)} is set")
    import glfw

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        is_ready = glfw.init()
    if not is_ready:
        reason = f" ({complaints[-1].message})" if complaints else ""
        raise ValueError(f"--view cannot open the display{reason}")


def _open(env: TaskEnv) -> Any:
    """Open the window on an environment's simulation."""
    import mujoco.viewer

    handles = env.mujoco_handles
    if handles is None:
        env.close()
        raise ValueError(f"--view shows MuJoCo tasks; {env.contract.task} is not one")
    return mujoco.viewer.launch_passive(*handles, show_left_ui=False, show_right_ui=False)
