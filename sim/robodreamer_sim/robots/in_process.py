"""Simulated robot for the onboard loop: `robodreamer-deploy POLICY --robot sim:TASK`.

The environment is made as for the policy's training, from its contract; it is randomised in
another way with `sim:TASK:randomize=WORD`, such as `none`. It runs in this process and advances by
one control step at each `send_action`, however long that takes.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_sim.errors import GraphicsError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.randomization import read_word
from robodreamer_sim.registry import make
from robodreamer_sim.tasks.catalog import list_tasks

if TYPE_CHECKING:
    from robodreamer_sim.env import TaskEnv

FORMS = "sim:TASK or sim:TASK:randomize=WORD, WORD being none, mild, strong or a JSON file"


class SimulatedRobot:
    """Robot that is a simulated task; it can start and evaluate episodes.

    An action is one of the policy's, float32 (A,). Privileged signals are not measured.
    """

    is_stepped = True
    """See `robodreamer_deploy.robots.SteppedRobot`."""

    def __init__(self, env: "TaskEnv") -> None:
        self._env = env
        self._observation: dict[str, Array] | None = None
        self._is_over = False
        self._return = 0.0
        self._success = False
        self._is_closed = False

    @property
    def contract(self) -> Contract:
        """Contract of the simulated task."""
        return self._env.contract

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal, by contract name."""
        return {signal.name: signal.shape for signal in self.contract.inputs}

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of an action, `{"action": (A,)}`."""
        return {"action": (self.contract.action.size,)}

    @property
    def is_episode_over(self) -> bool:
        """True if the task has ended, or its time is out."""
        return self._is_over

    @property
    def episode_return(self) -> float:
        """Sum of rewards since the episode began."""
        return self._return

    @property
    def episode_success(self) -> bool | None:
        """True if the goal is met now; None if the task does not know."""
        return self._success if self.contract.knows_success else None

    def connect(self) -> None:
        """Begin a first episode, unless one has begun.

        Raises:
            RobotError: This machine cannot render the cameras.
        """
        if self._observation is None:
            try:
                self.start_episode(seed=0)
            except GraphicsError as error:
                raise RobotError(str(error)) from error

    def start_episode(self, seed: int) -> None:
        """Begin an episode; the same seed gives the same one whatever came before."""
        self._observation, _ = self._env.reset(seed=seed)
        self._is_over, self._return, self._success = False, 0.0, False

    def get_observation(self) -> Mapping[str, Array]:
        """Return the value of every signal that a policy may read."""
        assert self._observation is not None, "connect first"
        return {name: self._observation[name] for name in self.observation_features}

    def send_action(self, action: Array) -> Array:
        """Advance by one control step; return the action as the actuators took it, in [-1, 1]."""
        assert self._observation is not None, "connect first"
        self._observation, reward, is_terminated, is_truncated, info = self._env.step(action)
        self._return += reward
        self._success = info["success"]
        self._is_over = is_terminated or is_truncated
        if self.contract.action.kind == "discrete":
            return action
        return np.clip(action, -1.0, 1.0)

    @property
    def rest_action(self) -> Array:
        """Action (A,) that keeps it where it is.

        A servo that is commanded a position is commanded the one that it has; other actuators the
        middle of their range, and of choices it is the first.
        """
        action = np.zeros(self.contract.action.size, np.float32)
        if self.contract.action.kind == "discrete":
            action[0] = 1.0
        elif (handles := self._env.mujoco_handles) is not None:
            from robodreamer_sim.physics.servos import hold_pose  # which loads MuJoCo

            hold_pose(action, self.contract.action, *handles)
        return action

    def hold(self) -> Array:
        """Send the action of rest, unless the episode is over; return it."""
        action = self.rest_action
        if self._observation is not None and not (self._is_over or self._is_closed):
            return self.send_action(action)
        return action

    def disconnect(self) -> None:
        """Close the simulator. May be called twice."""
        if not self._is_closed:
            self._env.close()
        self._is_closed = True


def make_robot(argument: str, contract: Contract) -> SimulatedRobot:
    """Make the simulated robot of `--robot sim:TASK[:randomize=WORD]` for a policy's contract.

    Args:
        argument: What follows `sim:`.
        contract: Of the policy.

    Raises:
        RobotError: No such task or randomisation, a task whose signals, actions or rate differ from
            the policy's, or this machine cannot render.
    """
    task, separator, word = argument.partition(":randomize=")
    if "=" in task.partition("?")[0] or (":" in task and task.partition(":")[0] in list_tasks()):
        raise RobotError(f"--robot sim:{argument} is not of the form {FORMS}")
    try:
        options = EnvOptions.from_dict(contract.options)
    except (ValueError, TypeError) as error:
        raise RobotError(f"the policy was not trained in this simulator: {error}") from error
    try:
        if separator:
            options = dataclasses.replace(options, randomize=read_word(word))
        env = make(task, options)
    except (ValueError, GraphicsError) as error:
        raise RobotError(str(error)) from error
    found = "; ".join(env.contract.differences(contract, for_policy=True))
    if found:
        env.close()
        raise RobotError(f"the policy of {contract.task} cannot drive sim:{task}: {found}")
    return SimulatedRobot(env)
