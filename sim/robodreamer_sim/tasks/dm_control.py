"""The dm_control suite: `dmc_<domain>_<task>`.

Every task measures what the suite's own observation holds. It is drawn by the camera that published
scores use, unless others are named. Rewards lie in [0, 1]; there is no notion of success. Reaching
the time limit truncates; only a discount of 0 terminates.
"""

import math
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_sim.cameras import (
    Cameras,
    Renderers,
    choose_cameras,
    describe_camera,
    fixed_camera,
    image_signal,
)
from robodreamer_sim.compat import import_dm_control
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.spaces import actuator_limits

DEFAULT_CAMERAS = {"quadruped": 2}
"""Index of the camera of published scores; the first of the model for all other domains."""


class DmControlTask(TaskEnv):
    """A task of the suite; see the module."""

    def __init__(
        self, task: str, domain: str, options: EnvOptions, renderers: Renderers | None = None
    ) -> None:
        # Some constructors draw the model at random; here all environments get the same one.
        name = task.removeprefix(f"dmc_{domain}_")
        suite: Any = import_dm_control().load(domain, name, task_kwargs={"random": 0})
        _disable_renderer(suite.physics)
        model: mujoco.MjModel = suite.physics.model.ptr
        available = [model.camera(i).name or f"camera_{i}" for i in range(model.ncam)]
        views = {name: fixed_camera(model, i) for i, name in enumerate(available)}
        default = available[DEFAULT_CAMERAS.get(domain, 0)]
        names = choose_cameras(task, options.cameras or (default,), available)
        images = names if options.uses_cameras else ()
        spec = suite.observation_spec() if options.uses_vectors else {}
        contract = Contract(
            task=task,
            observations=(
                *(image_signal(name, options.image_size) for name in images),
                *(_signal(key, value.shape) for key, value in spec.items()),
            ),
            action=_action(suite.action_spec(), model),
            control_dt_s=float(suite.control_timestep()) * options.action_repeat,
            max_episode_steps=_max_steps(suite, options.action_repeat),
            cameras=tuple(describe_camera(model, name, views[name]) for name in images),
            options=options.to_dict(),
            knows_success=False,
        )
        super().__init__(contract, options.action_repeat)
        self._suite = suite
        self._raw: dict[str, Any] = {}
        self._default_camera = names[0]
        self._cameras = Cameras(model, suite.physics.data.ptr, views, options.look, renderers)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation."""
        return self._suite.physics.model.ptr, self._suite.physics.data.ptr

    def render_camera(
        self, camera: str | None = None, height: int = 240, width: int = 320
    ) -> NDArray[np.uint8]:
        """Return a picture (height, width, 3) for people; None takes the task's first camera."""
        return self._cameras.draw(camera or self._default_camera, height, width)

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self._suite.task.random.seed(seed)
        self._raw = self._suite.reset().observation

    def _advance(self, actuators: Array) -> Transition:
        step = self._suite.step(actuators)
        self._raw = step.observation
        is_terminated = step.last() and step.discount == 0.0
        return Transition(
            reward=float(step.reward),
            is_terminated=is_terminated,
            is_truncated=step.last() and not is_terminated,
            success=False,
        )

    def _observe(self) -> dict[str, Array]:
        observation: dict[str, Array] = {}
        for signal in self.contract.observations:
            name = signal.name.partition("/")[2]
            if signal.is_image:
                observation[signal.name] = self.render_camera(name, *signal.shape[:2])
            else:
                value = np.array(self._raw[name], np.float32)
                observation[signal.name] = value.reshape(signal.shape)
        return observation


def _disable_renderer(physics: Any) -> None:
    """Keep dm_control from starting its own renderer, which quadruped does at every reset."""
    physics.__class__ = type("Physics", (type(physics),), {"contexts": None})


def _signal(name: str, shape: tuple[int, ...]) -> Signal:
    """Declare an entry of the suite's observation; more than one axis is flattened."""
    shape = shape if len(shape) < 2 else (math.prod(shape),)
    return Signal(name=f"proprio/{name}", shape=shape, dtype="float32")


def _action(spec: Any, model: mujoco.MjModel) -> ActionSpec:
    low, high = actuator_limits(spec.minimum, spec.maximum)
    names = tuple(model.actuator(i).name for i in range(model.nu))
    return ActionSpec(size=len(low), low=low, high=high, labels=names)


def _max_steps(suite: Any, action_repeat: int) -> int | None:
    limit = suite._step_limit  # noqa: SLF001  the suite has no public name for it
    return math.ceil(math.ceil(limit) / action_repeat) if math.isfinite(limit) else None
