"""Base class of the tasks of gymnasium-robotics.

The physics is the package's own class, unchanged, with cameras added to its model. What it returns
as vectors is taken apart into named signals (`vector_layout`); the achieved goal, which relabelling
needs, is privileged. Episodes are cut after the number of steps that the package registers.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gymnasium
import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.camera_spec import CameraPose, add_camera
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.compat import import_gymnasium_robotics
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.mujoco_hooks import models_edited
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import actuator_label, physical_action
from robodreamer_sim.tasks.gymnasium_robotics.vector_layout import (
    Part,
    joined,
    plain,
    signal_name,
    split,
)

UNDRAWN_GROUP = 5
"""Group of geoms and sites that are not drawn."""
SUCCESS_KEYS = ("is_success", "success")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Layout of an environment's vectors as signals, and its cameras."""

    parts: tuple[Part, ...]
    """Parts of the observation vector, in order."""
    goal: tuple[Part, ...] = ()
    """Parts of the desired goal, and of the achieved goal that it is compared with."""
    action: ActionSpec
    dt_s: float
    max_steps: int
    cameras: tuple[str, ...]
    """All cameras that can be observed."""
    default_cameras: tuple[str, ...]
    """Cameras that are observed where none is named."""
    hides_goal: bool = False
    """True if the goal is shown in the images only."""

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """Parts of the observation vector and of the desired goal."""
        return *self.parts, *self.goal


class RoboticsTask(TaskEnv):
    """gymnasium-robotics environment behind the contract; see the module."""

    def __init__(
        self,
        task: str,
        physics: Any,
        layout: Layout,
        options: EnvOptions,
        renderers: RendererPool | None,
    ) -> None:
        self._physics = physics
        self._layout = layout
        self._raw: Any = None
        self._steps = 0
        self._names = [
            signal_name(part, options, hides_goal=layout.hides_goal) for part in layout.all_parts
        ]
        control_dt_s = layout.dt_s * options.action_repeat
        camera_set = CameraSet(
            task,
            MujocoImages(
                lambda: self.mujoco_handles,
                {name: name for name in layout.cameras},
                options.appearance,
                renderers,
                self._markers_placed,
            ),
            options,
            defaults=layout.default_cameras,
            control_dt_s=control_dt_s,
            is_used=options.uses_cameras,
        )
        contract = Contract(
            task=task,
            observations=(*camera_set.signals, *self._vector_signals()),
            action=layout.action,
            control_dt_s=control_dt_s,
            max_episode_steps=-(-layout.max_steps // options.action_repeat),
            cameras=tuple(camera_set.cameras),
            options=options.to_dict(),
        )
        super().__init__(contract, options.action_repeat, camera_set)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation."""
        return self._physics.model, self._physics.data

    def to_controls(self, action: Array) -> Array:
        """Return the action of the package's environment, which lies in [-1, 1] as well."""
        return np.clip(action.astype(np.float64), -1.0, 1.0)

    def _begin(self, seed: int | None) -> None:
        self._raw, _ = self._physics.reset(seed=seed)
        self._steps = 0

    def _advance(self, actuators: Array) -> Transition:
        self._raw, reward, is_terminated, _, info = self._physics.step(actuators)
        self._steps += 1
        return Transition(
            reward=float(reward),
            is_terminated=bool(is_terminated),
            is_truncated=self._steps >= self._layout.max_steps and not is_terminated,
            success=self._is_success(info),
        )

    def _measure(self) -> dict[str, Array]:
        values = zip(self._names, split(self._layout.all_parts, self._vector()), strict=True)
        measured = {name: np.array(value, np.float32) for name, value in values if name}
        if self._layout.goal:
            achieved = split(self._layout.goal, _flat(self._raw["achieved_goal"]))
            pairs = zip(self._layout.goal, achieved, strict=True)
            compared = [value for part, value in pairs if part.of == "goal"]
            measured["privileged/achieved_goal"] = np.concatenate(compared).astype(np.float32)
        return measured

    def _vector(self) -> Array:
        """Return observation and goal as one vector, in the order of the layout's parts."""
        if not self._layout.goal:
            return self._raw
        return np.concatenate([self._raw["observation"], _flat(self._raw["desired_goal"])])

    def _is_success(self, info: Mapping[str, Any]) -> bool:
        return bool(next(info[key] for key in SUCCESS_KEYS if key in info))

    @contextmanager
    def _markers_placed(self) -> Iterator[None]:
        """Place goal markers, around every image; physics stays untouched."""
        yield

    def _vector_signals(self) -> Iterator[Signal]:
        """Declare measured signals, privileged signals, and goals."""
        pairs = zip(self._names, self._layout.all_parts, strict=True)
        named = [(name, part) for name, part in pairs if name]
        named.sort(key=lambda pair: (pair[1].of == "goal", pair[0].startswith("privileged")))
        for name, part in named:
            yield part.signal(name)
        if self._layout.goal:
            goals = [part for part in self._layout.goal if part.of == "goal"]
            yield joined("achieved_goal", goals).signal("privileged/achieved_goal")


def make_physics(
    gymnasium_id: str, edit_model: Callable[[Any], None], settings: Mapping[str, Any] | None = None
) -> Any:
    """Create gymnasium-robotics' environment with an edited model, such as with added cameras."""
    import_gymnasium_robotics()
    with models_edited(edit_model):
        return gymnasium.make(gymnasium_id, disable_env_checker=True, **(settings or {})).unwrapped


def max_steps(gymnasium_id: str) -> int:
    """Return the steps after which the package cuts an episode."""
    limit = gymnasium.spec(gymnasium_id).max_episode_steps
    assert limit is not None, f"{gymnasium_id} sets no limit"
    return limit


def add_cameras(spec: Any, cameras: Mapping[str, tuple[CameraPose, str]]) -> None:
    """Add cameras to a model (an `MjSpec`), each with the body that carries it ("": the world)."""
    for name, (aim, body) in cameras.items():
        add_camera(spec, name, aim, body)


def whole_range_action(model: mujoco.MjModel) -> ActionSpec:
    """Return the map of actions to the whole control range of a model's actuators."""
    low, high = model.actuator_ctrlrange.T
    labels = [plain(actuator_label(model, i)) for i in range(model.nu)]
    return physical_action(model, low, high, labels)


def _flat(goal: Any) -> Array:
    """Return a goal, a vector or a dictionary of some, as one vector."""
    return np.concatenate(list(goal.values())) if isinstance(goal, dict) else goal
