"""Any Gymnasium environment: `gym:ID`, `gym:my_module:ID` for one that a module registers, or made.

Observation and action spaces are taken apart as `spaces` says. Where the observation holds no
picture and one is wanted, `image/camera` shows what the environment's `render()` would. The task
succeeds when `info` says so under `is_success` or `success`.
"""

import dataclasses
import importlib
from difflib import get_close_matches
from typing import Any

import gymnasium
import mujoco
import numpy as np
from gymnasium.envs.registration import EnvSpec, load_env_creator
from numpy.typing import NDArray

from robodreamer_deploy.contract import ActionSpec, Array, Camera, Contract
from robodreamer_sim.actuators import actuator_label, physical_action
from robodreamer_sim.cameras.pictures import resize
from robodreamer_sim.cameras.rendering import Renderers
from robodreamer_sim.cameras.rig import CameraRig
from robodreamer_sim.compat import import_gymnasium_robotics
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.gymnasium_pictures import pictures_of
from robodreamer_sim.tasks.spaces import Leaf, action_spec, actuator_limits, leaves, to_action

SUCCESS_KEYS = ("is_success", "success")
UNKNOWN_DT_S = 0.05  # of an environment that tells neither `dt` nor a frame rate


class GymnasiumTask(TaskEnv):
    """A Gymnasium environment behind the contract; see the module."""

    def __init__(
        self,
        task: str,
        options: EnvOptions,
        renderers: Renderers | None = None,
        env: gymnasium.Env[Any, Any] | None = None,
    ) -> None:
        self._env: Any = env or _make(task)
        self._raw: Any = None
        everything = list(leaves(self._env.observation_space))
        self._leaves = [leaf for leaf in everything if _is_wanted(leaf, options)]
        has_image = any(leaf.signal.is_image for leaf in everything)
        control_dt_s = _control_dt(self._env.unwrapped) * options.action_repeat
        rig = self._make_rig(task, options, renderers, control_dt_s, has_image=has_image)
        self._controls = action_spec(self._env.action_space)
        contract = Contract(
            task=task,
            observations=(
                *rig.signals,
                *(leaf.signal for leaf in self._leaves),
            ),
            action=self._physical_action(),
            control_dt_s=control_dt_s,
            max_episode_steps=_max_steps(self._env, options.action_repeat),
            cameras=(
                *rig.cameras,
                *(Camera(signal=leaf.signal.name) for leaf in self._leaves if leaf.signal.is_image),
            ),
            options=options.to_dict(),
            knows_success=_knows_success(self._env),
        )
        if not contract.inputs:
            kind = "pictures" if has_image else "goals"
            raise ValueError(f"{task} yields {kind} only; observe={options.observe!r} leaves none")
        super().__init__(contract, options.action_repeat, rig)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
        """Model and data of the simulation; None where MuJoCo does not simulate."""
        base = self._env.unwrapped
        is_mujoco = isinstance(getattr(base, "model", None), mujoco.MjModel)
        return (base.model, base.data) if is_mujoco else None

    def render_camera(
        self, camera: str | None = None, height: int = 240, width: int = 320
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 3), one that is observed where nothing else is drawn."""
        for leaf in self._leaves:
            is_named = leaf.signal.name == f"image/{camera}"
            if leaf.signal.is_image and (is_named or not self._rig.default):
                return resize(leaf.read(self._raw), height, width)
        return super().render_camera(camera, height, width)

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
            float(reward), bool(is_terminated), bool(is_truncated), bool(np.all(success))
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
            if model.nu and np.allclose(limits, (controls.low, controls.high)):
                labels = [actuator_label(model, i) for i in range(model.nu)]
                return physical_action(model, controls.low, controls.high, labels)
        return dataclasses.replace(controls, quantities=("unknown",) * controls.size)

    def _make_rig(
        self,
        task: str,
        options: EnvOptions,
        renderers: Renderers | None,
        control_dt_s: float,
        *,
        has_image: bool,
    ) -> CameraRig:
        """Return the cameras that are drawn: none are observed where the observation has pictures.

        Raises:
            ValueError: Pictures are wanted and there are none.
        """
        pictures = pictures_of(self._env, options.appearance, renderers)
        is_used = options.uses_cameras and not has_image
        if is_used and not pictures.names:
            raise ValueError(
                f"{task} has no rgb_array rendering, so observe={options.observe!r} has no "
                "picture; observe proprio"
            )
        if not is_used:
            options = dataclasses.replace(options, cameras=None)
        return CameraRig(task, pictures, options, pictures.names[:1], control_dt_s, is_used=is_used)


def _make(task: str) -> gymnasium.Env[Any, Any]:
    """Make the environment, with pictures if it offers them and without run-time checks.

    Raises:
        ValueError: No such module or id; lists the closest ids.
    """
    module, _, name = task.removeprefix("gym:").rpartition(":")
    try:
        if module:
            importlib.import_module(module)
        if name not in gymnasium.registry:
            import_gymnasium_robotics()  # registers its own
        settings: dict[str, Any] = {}
        if "rgb_array" in _render_modes(gymnasium.spec(name)):
            settings["render_mode"] = "rgb_array"
        return gymnasium.make(name, disable_env_checker=True, **settings)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        close = get_close_matches(name, gymnasium.registry, n=3, cutoff=0.4)
        hint = f"; the closest ids are {', '.join(close)}" if name not in close else ""
        raise ValueError(f"{task}: {error}{hint}") from error


def _knows_success(env: Any) -> bool:
    """Take one step to see whether `info` tells success; there is no other way to learn it."""
    env.reset(seed=0)
    env.action_space.seed(0)
    *_, info = env.step(env.action_space.sample())
    return any(key in info for key in SUCCESS_KEYS)


def _render_modes(spec: EnvSpec) -> list[str]:
    """Return how an environment can be rendered, before it is made."""
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    return getattr(creator, "metadata", {}).get("render_modes", [])


def _is_wanted(leaf: Leaf, options: EnvOptions) -> bool:
    if leaf.signal.is_image:
        camera = leaf.signal.name.partition("/")[2]
        return options.uses_cameras and (options.cameras is None or camera in options.cameras)
    return options.uses_vectors or leaf.signal.family != "proprio"


def _control_dt(base: Any) -> float:
    """Return seconds per step: the physics' own, or one frame at the environment's frame rate."""
    dt = getattr(base, "dt", None)
    if isinstance(dt, float):
        return dt
    rate = base.metadata.get("render_fps")
    return 1.0 / rate if rate else UNKNOWN_DT_S


def _max_steps(env: gymnasium.Env[Any, Any], action_repeat: int) -> int | None:
    limit = env.spec.max_episode_steps if env.spec else None
    return None if limit is None else -(-limit // action_repeat)
