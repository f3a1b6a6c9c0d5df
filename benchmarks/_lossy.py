"""A simulated robot whose cameras lose frames, and what stands in for them."""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from robodreamer_deploy.contract import Array, Contract
from robodreamer_sim import make
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.robots.in_process import SimulatedRobot

StandIn = Literal["nothing", "frozen", "black"]
"""The signal is left out; the last frame is shown again; the picture is black."""
STAND_INS: tuple[StandIn, ...] = ("nothing", "frozen", "black")


class LossyRobot(SimulatedRobot):
    """Loses the same frames of the same episodes whatever stands in for them.

    Every camera is a Markov chain of its own, in which gaps have geometric lengths. The first frame
    of an episode is there: no robot is armed before its cameras deliver.

    Args:
        env: The task.
        share: Of the frames that are lost in the long run, below 1.
        gap: Mean length of a gap in steps; None loses every frame independently of the others.
        stand_in: What the loop gets in a frame's place.
    """

    def __init__(self, env: TaskEnv, share: float, gap: float | None, stand_in: StandIn) -> None:
        super().__init__(env)
        gap = 1 / (1 - share) if gap is None else gap
        self._begin, self._stay = share / ((1 - share) * gap), 1 - 1 / gap
        self._stand_in: StandIn = stand_in
        self._cameras = [signal.name for signal in env.contract.inputs if signal.is_image]
        self._random = np.random.default_rng(0)
        self._is_lost = np.zeros(len(self._cameras), bool)
        self._shown: dict[str, Array] = {}
        self.num_frames = 0
        """Frames so far, first ones left out."""
        self.num_lost = 0

    def start_episode(self, seed: int) -> None:
        """Begin an episode, with every frame there."""
        super().start_episode(seed)
        self._random = np.random.default_rng(seed)
        self._is_lost = np.zeros(len(self._cameras), bool)

    def send_action(self, action: Array) -> Array:
        """Advance by one control step, in which frames may be lost."""
        executed = super().send_action(action)
        chance = np.where(self._is_lost, self._stay, self._begin)
        self._is_lost = self._random.random(len(chance)) < chance
        self.num_frames += len(chance)
        self.num_lost += int(self._is_lost.sum())
        return executed

    def get_observation(self) -> Mapping[str, Array]:
        """Return every signal, or what stands in for it."""
        observation = dict(super().get_observation())
        for camera, is_lost in zip(self._cameras, self._is_lost, strict=True):
            if not is_lost:
                self._shown[camera] = observation[camera]
            elif self._stand_in == "frozen":
                observation[camera] = self._shown[camera]
            elif self._stand_in == "black":
                observation[camera] = np.zeros_like(observation[camera])
            else:
                del observation[camera]
        return observation


def make_lossy_robot(
    contract: Contract, share: float, gap: float | None, stand_in: StandIn
) -> LossyRobot:
    """Make the robot of a policy's task, as it was made for training."""
    env = make(contract.task, EnvOptions.from_dict(contract.options))
    return LossyRobot(env, share, gap, stand_in)
