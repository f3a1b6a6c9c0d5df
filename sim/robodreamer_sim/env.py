"""Environment interface of all tasks: dictionary observations exactly as the contract declares."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array, Camera, Contract, Signal
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.physics.stability import StabilityMonitor

if TYPE_CHECKING:
    import mujoco

    from robodreamer_sim.randomization import Randomization
    from robodreamer_sim.randomization.domain_randomizer import DomainRandomizer


MAX_STEPS = 1000
"""Simulator steps after which an episode is cut where the task itself sets no limit."""

CUT_NOTE = (
    f"episodes are cut after {MAX_STEPS} simulator steps, because the task sets no limit itself"
)


class Transition(NamedTuple):
    """Outcome of one simulator step."""

    reward: float
    is_terminated: bool
    """True if the task itself has ended; no reward follows."""
    is_truncated: bool
    """True if the time is out; the task would continue."""
    success: bool


class SignalEvaluation(NamedTuple):
    """Evaluation of signals that a robot has measured, by the task's own reward."""

    reward: float
    """Reward for the state that the signals describe."""
    success: bool
    is_terminal: bool
    """True if the task itself has ended; no reward follows."""
    privileged: Mapping[str, Array]
    """Signals that follow from the measured ones, by name; not all need to be there."""


class TaskEnv(gymnasium.Env[dict[str, Array], Array]):
    """Gymnasium environment of a task.

    Observations hold every signal of `contract`, privileged ones included. Actions are float32
    (A,), in [-1, 1] or one-hot. `info["success"]` is true if the goal is met after this step.
    `reset(seed=s)` begins the same episode, independent of earlier ones. Every episode ends: where
    the task sets no limit (`contract.max_episode_steps` is None), `MAX_STEPS` truncate it.
    """

    def __init__(self, contract: Contract, action_repeat: int, camera_set: CameraSet) -> None:
        self.contract = contract
        self._action_repeat = action_repeat
        self._camera_set = camera_set
        self.summary = ""
        """First paragraph of a user's docstring; empty where there is none."""
        self._num_steps = 0
        self._num_actions = 0
        self._randomizer: DomainRandomizer | None = None
        self._measured: Mapping[str, Array] | None = None  # from where relative actions start
        self._stability = StabilityMonitor(lambda: self.simulations)
        self.observation_space: Any = observation_space(contract)
        self.action_space = action_space(contract)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Array], dict[str, Any]]:
        """Begin an episode; the same seed begins the same one.

        Args:
            seed: Seed of the episode; None continues the random stream.
            options: `start_seed` seeds what is randomised once per environment; default 0.
        """
        self.begin_episode(seed=seed, options=options)
        return self.observe(), {"success": False}

    def step(self, action: Array) -> tuple[dict[str, Array], float, bool, bool, dict[str, Any]]:
        """Advance by one control step; see `gymnasium.Env.step`.

        Raises:
            ValueError: The action is not finite or not of shape (A,).
        """
        transition = self.take_action(action)
        info = {"success": transition.success}
        is_terminated, is_truncated = transition.is_terminated, transition.is_truncated
        return self.observe(), transition.reward, is_terminated, is_truncated, info

    def begin_episode(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> None:
        """Begin an episode as `reset` does, without observing."""
        super().reset(seed=seed, options=options)
        self._num_steps = self._num_actions = 0
        self._measured = None
        self._stability.before_reset()
        with self._randomized(seed, options or {}):
            self._begin(seed)
        self._stability.after_reset()

    def take_action(self, action: Array) -> Transition:
        """Advance as `step` does, without observing; rewards of all simulator steps are summed."""
        size = self.contract.action.size
        if action.shape != (size,) or not np.isfinite(action).all():
            raise ValueError(f"an action is {size} finite numbers, got {action}")
        self._num_actions += 1
        if self._randomizer is not None:
            action = self._randomizer.act(action)
        actuators = self.to_controls(action)
        self._measured = None  # unless observed, the next action starts from where it is
        transition = self._advance_in_time(actuators)
        reward = transition.reward
        for _ in range(self._action_repeat - 1):
            if transition.is_terminated or transition.is_truncated:
                break
            transition = self._advance_in_time(actuators)
            reward += transition.reward
        return transition._replace(reward=reward)

    def to_controls(self, action: Array) -> Array:
        """Convert an action to the simulation's controls; by default the actuators' values."""
        spec = self.contract.action
        if spec.mapping is None:
            return spec.to_actuators(action)
        return spec.to_actuators(action, self._measured or self._measure())

    def stage_images(self) -> None:
        """Stage the images that `observe` will return; see `CameraSet.stage`."""
        self._camera_set.stage(self._num_actions)

    def observe(self) -> dict[str, Array]:
        """Return the observation, once after each `begin_episode` and `take_action`."""
        observation = self._camera_set.capture(self._num_actions) | self._measure()
        if self._randomizer is not None:
            observation = self._randomizer.observe(observation)
        if (mapping := self.contract.action.mapping) is not None:
            self._measured = {mapping.signal: observation[mapping.signal].copy()}
        return observation

    @property
    def mujoco_handles(self) -> "tuple[mujoco.MjModel, mujoco.MjData] | None":
        """Model and data of the simulation, for a viewer; None where MuJoCo does not simulate."""
        return None

    @property
    def simulations(self) -> "Sequence[mujoco.MjData]":
        """All MuJoCo simulations that a step advances; empty where there is none."""
        handles = self.mujoco_handles
        return () if handles is None else (handles[1],)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people about guesses and limits of the task."""
        if self.contract.max_episode_steps is not None:
            return ()
        return (CUT_NOTE,)

    @property
    def all_cameras(self) -> tuple[Camera, ...]:
        """Geometry of all cameras that can be observed."""
        return self._camera_set.describe()

    @property
    def camera_names(self) -> tuple[str, ...]:
        """Names of all cameras that can be observed; empty if nothing can be drawn."""
        return self._camera_set.names

    def _advance_in_time(self, actuators: Array) -> Transition:
        self._stability.before_step()
        transition = self._advance(actuators)
        is_over = transition.is_terminated or transition.is_truncated
        self._stability.after_step(is_over=is_over)
        self._num_steps += 1
        is_late = self.contract.max_episode_steps is None and self._num_steps >= MAX_STEPS
        is_cut = is_late and not transition.is_terminated
        return transition._replace(is_truncated=True) if is_cut else transition

    def evaluate_signals(self, signals: Mapping[str, Array]) -> SignalEvaluation | None:
        """Evaluate signals that a robot has measured; None where they do not determine the reward.

        The result depends on the signals alone; the current episode is lost. With repeated actions
        it is None, because the robot did not measure in between, where rewards are summed.
        """
        return self._evaluate_signals(signals) if self._action_repeat == 1 else None

    def _evaluate_signals(self, signals: Mapping[str, Array]) -> SignalEvaluation | None:
        """Evaluate signals without repeated actions; by default a task cannot."""
        del signals
        return None

    def render_camera(
        self, camera: str | None = None, height: int = 240, width: int = 320
    ) -> NDArray[np.uint8]:
        """Return an image (height, width, 3) for people; None takes the task's first camera.

        Raises:
            ValueError: The task has no such camera, or none at all.
        """
        if not (camera or self._camera_set.default):
            raise ValueError(f"{self.contract.task} cannot be drawn: it has no rgb_array rendering")
        return self._camera_set.draw(camera, height, width)

    def close(self) -> None:
        """Free the renderer."""
        self._camera_set.close()

    def randomize(self, randomization: "Randomization") -> None:
        """Randomise every episode from the next `reset` on.

        Raises:
            ValueError: An entry that selects what this task does not have.
        """
        # here, because it loads MuJoCo
        from robodreamer_sim.randomization.domain_randomizer import DomainRandomizer
        from robodreamer_sim.randomization.sensors import delays_s

        self._randomizer = DomainRandomizer(
            randomization, self.contract, lambda: self.mujoco_handles
        )
        self.contract = dataclasses.replace(
            self.contract, delays_s=delays_s(self.contract, randomization)
        )

    def _randomized(
        self, seed: int | None, options: Mapping[str, Any]
    ) -> AbstractContextManager[None]:
        """Return the context in which an episode begins."""
        if self._randomizer is None:
            return nullcontext()
        episode_seed = int(self.np_random.integers(2**32)) if seed is None else seed
        return self._randomizer.episode(options.get("start_seed", 0), episode_seed)

    @abstractmethod
    def _begin(self, seed: int | None) -> None:
        """Put the simulation into the first state of an episode."""

    @abstractmethod
    def _advance(self, actuators: Array) -> Transition:
        """Advance the simulation by one of its own control steps."""

    @abstractmethod
    def _measure(self) -> dict[str, Array]:
        """Return new arrays of all signals of the contract that are not a camera's."""


def observation_space(contract: Contract) -> gymnasium.spaces.Dict:
    """Return the space of all signals of a contract, privileged ones included."""
    return gymnasium.spaces.Dict({s.name: _space(s) for s in contract.observations})


def action_space(contract: Contract) -> gymnasium.spaces.Box:
    """Return the space of a policy's actions: [-1, 1], or [0, 1] for a one-hot choice."""
    lowest = 0.0 if contract.action.kind == "discrete" else -1.0
    return gymnasium.spaces.Box(lowest, 1.0, (contract.action.size,), np.float32)


def _space(signal: Signal) -> gymnasium.spaces.Box:
    if signal.dtype == "uint8":
        return gymnasium.spaces.Box(0, 255, signal.shape, np.uint8)
    if signal.dtype == "int32":
        return gymnasium.spaces.Box(0, signal.num_classes - 1, signal.shape, np.int32)
    return gymnasium.spaces.Box(-np.inf, np.inf, signal.shape, np.float32)
