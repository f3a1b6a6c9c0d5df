"""Any Gymnasium environment: `gym:ID`, `gym:MODULE:ID` for one that a module registers, or made.

Observation and action spaces are taken apart as `spaces` says. Images in an observation are
scaled as drawn ones are; where it holds none and one is wanted, `image/camera` shows what the
environment's `render()` would. The task succeeds when `info` says so under `is_success` or
`success`.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.images import ImageSource
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.errors import NoPictureError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import actuator_label, physical_action
from robodreamer_sim.physics.stability import find_simulations
from robodreamer_sim.tasks.gymnasium.arguments import split_arguments
from robodreamer_sim.tasks.gymnasium.construction import make_registered
from robodreamer_sim.tasks.gymnasium.control_period import Period, find_period
from robodreamer_sim.tasks.gymnasium.foreign_errors import told_in_a_sentence
from robodreamer_sim.tasks.gymnasium.observed_images import ObservedImages
from robodreamer_sim.tasks.gymnasium.rendering import image_source_of
from robodreamer_sim.tasks.gymnasium.spaces import (
    Leaf,
    action_spec,
    actuator_limits,
    leaves,
    to_action,
    unbounded_note,
)

HOW_TO_CUT = "TASK?max_episode_steps=N sets another"
SUCCESS_KEYS = ("is_success", "success")


class GymnasiumTask(TaskEnv):
    """A Gymnasium environment behind the contract; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None, env: Any
    ) -> None:
        self._env = env
        self._raw: Any = None
        try:
            everything = list(leaves(env.observation_space))
            self._controls = action_spec(env.action_space)
        except ValueError as error:
            raise ValueError(f"{task}: {error}") from error
        self._pictures = {_camera(leaf): leaf for leaf in everything if _is_seen(leaf)}
        self._leaves = [
            leaf
            for leaf in everything
            if not _is_seen(leaf) and (options.uses_vectors or leaf.signal.family != "proprio")
        ]
        self._may_simulate = True
        trial = _try_out(task, env, lambda: self.simulations)
        self._may_simulate = trial.elapsed_s is not None  # looking costs time at every reset
        period = _period(env, options, trial.elapsed_s)
        control_dt_s = period.seconds * options.action_repeat
        camera_set = self._make_camera_set(task, options, renderers, control_dt_s)
        contract = Contract(
            task=task,
            observations=(*camera_set.signals, *(leaf.signal for leaf in self._leaves)),
            action=self._physical_action(),
            control_dt_s=control_dt_s,
            max_episode_steps=_max_steps(env, options.action_repeat),
            cameras=tuple(camera_set.cameras),
            options=options.to_dict(),
            knows_success=trial.knows_success,
        )
        if not contract.inputs:
            kind = "pictures" if self._pictures else "goals"
            raise ValueError(f"{task} yields {kind} only; observe={options.observe!r} leaves none")
        super().__init__(contract, options.action_repeat, camera_set)
        notes = (period.note, unbounded_note(env.action_space))
        self._notes = tuple(note for note in notes if note)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
        """Model and data of the simulation; None where MuJoCo does not simulate."""
        base = self._env.unwrapped
        model, data = getattr(base, "model", None), getattr(base, "data", None)
        is_mujoco = isinstance(model, mujoco.MjModel) and isinstance(data, mujoco.MjData)
        return (model, data) if is_mujoco else None

    @property
    def simulations(self) -> Sequence[mujoco.MjData]:
        """Every MuJoCo simulation behind the environment, whoever wrapped it."""
        handles = self.mujoco_handles
        if handles is not None:
            return (handles[1],)
        return find_simulations(self._env) if self._may_simulate else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences for people about guesses and limits of the task."""
        cut = (f"{note}; {HOW_TO_CUT}" for note in super().notes)
        return *self._notes, *cut

    def close(self) -> None:
        """Close the environment and free the renderer."""
        super().close()
        self._env.close()

    def to_controls(self, action: Array) -> Array:
        """Return the values of the environment's own action for one of the policy's."""
        return self._controls.to_actuators(action)

    def _begin(self, seed: int | None) -> None:
        self._raw, _ = self._env.reset(seed=seed)

    def _advance(self, actuators: Array) -> Transition:
        action = to_action(self._env.action_space, actuators)
        self._raw, reward, is_terminated, is_truncated, info = self._env.step(action)
        success = next((info[key] for key in SUCCESS_KEYS if key in info), False)
        return Transition(
            one_number(reward), bool(is_terminated), bool(is_truncated), bool(np.all(success))
        )

    def _measure(self) -> dict[str, Array]:
        return {leaf.signal.name: leaf.read(self._raw) for leaf in self._leaves}

    def _physical_action(self) -> ActionSpec:
        """Return the action in physical units, where it is the controls of a MuJoCo model.

        It is taken for that where the environment itself, not a wrapper, accepts exactly the
        control range of the model's actuators.
        """
        controls, handles = self._controls, self.mujoco_handles
        if controls.kind == "discrete":
            return controls
        if handles is not None and self._env.action_space is self._env.unwrapped.action_space:
            model, _ = handles
            limits = actuator_limits(*model.actuator_ctrlrange.T)
            if model.nu == controls.size and np.allclose(limits, (controls.low, controls.high)):
                labels = [actuator_label(model, i) for i in range(model.nu)]
                return physical_action(model, controls.low, controls.high, labels)
        return dataclasses.replace(controls, quantities=("unknown",) * controls.size)

    def _read_picture(self, camera: str) -> NDArray[np.uint8]:
        if self._raw is None:
            raise ValueError(f"the picture {camera} is part of an observation: reset first")
        return self._pictures[camera].read(self._raw)

    def _make_camera_set(
        self, task: str, options: EnvOptions, renderers: RendererPool | None, control_dt_s: float
    ) -> CameraSet:
        """Return the cameras: those that are observed where there are some, else a drawn one.

        Raises:
            NoPictureError: Images are observed and there are none.
        """
        pictures: ImageSource = image_source_of(self._env, options.appearance, renderers)
        channels = {name: leaf.signal.shape[-1] for name, leaf in self._pictures.items()}
        if channels:
            pictures = ObservedImages(self._read_picture, channels, pictures)
        is_used = options.uses_cameras
        if is_used and not pictures.names:
            raise NoPictureError(
                f"{task} has no rgb_array rendering, so observe={options.observe!r} has no "
                "picture; observe proprio, or make it with render_mode='rgb_array'"
            )
        if not is_used:
            options = dataclasses.replace(options, cameras=None)
        usual = tuple(channels) if channels and is_used else pictures.names[:1]
        return CameraSet(
            task, pictures, options, usual, control_dt_s, is_used=is_used, channels=channels
        )


class Trial(NamedTuple):
    """Facts that only a step of the environment shows."""

    knows_success: bool
    """True if `info` reports success."""
    elapsed_s: float | None
    """Time by which the simulation's clock advanced; None without a clock."""


def make_gymnasium(task: str, options: EnvOptions, renderers: RendererPool | None) -> GymnasiumTask:
    """Make the task of a Gymnasium id, `gym:ID` or `gym:MODULE:ID`, with `?key=value` if need be.

    Raises:
        ValueError: No such module or id, or it cannot be made; lists what would work.
    """
    name, arguments = split_arguments(task)
    with told_in_a_sentence(task, f"arguments are given as '{name}?key=value'"):
        env = make_registered(task, name, arguments)
        return GymnasiumTask(task, options, renderers, env)


def one_number(reward: Any) -> float:
    """Return a reward of any type as a number.

    Raises:
        ValueError: It is none, or several.
    """
    value = np.asarray(reward)
    if value.size != 1 or value.dtype.kind not in "bifu":
        raise ValueError(
            f"the reward is {reward!r}; one number is needed, so that a wrapper has to make it one"
        )
    return float(value.item())


def _try_out(task: str, env: Any, find_data: Callable[[], Sequence[mujoco.MjData]]) -> Trial:
    """Take one step to see what `info` holds; there is no other way to find out.

    Raises:
        ValueError: It is of another interface than Gymnasium's, or its reward is no number.
    """
    begun = env.reset(seed=0)
    if not (isinstance(begun, tuple) and len(begun) == 2):
        raise ValueError(
            f"{task}: reset returned {type(begun).__name__}, not (observation, info); the package "
            "shimmy adapts environments of the older gym"
        )
    env.action_space.seed(0)
    simulations = find_data()  # a reset may have made others
    before = [data.time for data in simulations]
    stepped = env.step(env.action_space.sample())
    if not (isinstance(stepped, tuple) and len(stepped) == 5):
        count = len(stepped) if isinstance(stepped, tuple) else 1
        raise ValueError(
            f"{task}: step returned {count} values, not (observation, reward, terminated, "
            "truncated, info); the package shimmy adapts environments of the older gym"
        )
    _, reward, _, _, info = stepped
    try:
        one_number(reward)
    except ValueError as error:
        raise ValueError(f"{task}: {error}") from error
    elapsed = [data.time - time for data, time in zip(simulations, before, strict=True)]
    knows_success = any(key in info for key in SUCCESS_KEYS)
    return Trial(knows_success, max(elapsed) if elapsed else None)


def _period(env: Any, options: EnvOptions, elapsed_s: float | None) -> Period:
    if options.control_dt_s is not None:
        return Period(options.control_dt_s)
    return find_period(env.unwrapped, elapsed_s)


def _is_seen(leaf: Leaf) -> bool:
    """Return whether a leaf is an image that a policy may observe."""
    return leaf.signal.family == "image"


def _camera(leaf: Leaf) -> str:
    return leaf.signal.name.partition("/")[2]


def _max_steps(env: Any, action_repeat: int) -> int | None:
    """Return the steps after which the environment cuts its episodes, if a `TimeLimit` does."""
    limit = env.spec.max_episode_steps if env.spec else None
    while limit is None and isinstance(env, gymnasium.Wrapper):
        limit = getattr(env, "_max_episode_steps", None)
        env = env.env
    return None if limit is None else -(-int(limit) // action_repeat)
