"""The dm_control suite: `dmc_<domain>_<task>`.

Every task measures what the suite's own observation holds. It is drawn by the camera that published
scores use, unless others are named. Rewards lie in [0, 1]; there is no notion of success. Reaching
the time limit truncates; only a discount of 0 terminates.
"""

import math
from typing import Any

import mujoco

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.compat import import_dm_control
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import actuator_label, physical_action
from robodreamer_sim.tasks.catalog import suite_names
from robodreamer_sim.tasks.dm_control.time_step import Entry, read, to_transition
from robodreamer_sim.tasks.gymnasium.spaces import actuator_limits

DEFAULT_CAMERAS = {"quadruped": 2}
"""Index of the camera of published scores; the first of the model for all other domains."""


class DmControlTask(TaskEnv):
    """Task of the suite; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        domain, name = suite_names()[task]
        # Some constructors draw the model at random; here all environments get the same one.
        suite: Any = import_dm_control().load(domain, name, task_kwargs={"random": 0})
        _disable_renderer(suite.physics)
        model: mujoco.MjModel = suite.physics.model.ptr
        available = [model.camera(i).name or f"camera_{i}" for i in range(model.ncam)]
        control_dt_s = float(suite.control_timestep()) * options.action_repeat
        camera_set = CameraSet(
            task,
            MujocoImages(
                lambda: (model, suite.physics.data.ptr),
                {name: index for index, name in enumerate(available)},
                options.appearance,
                renderers,
            ),
            options,
            defaults=(available[DEFAULT_CAMERAS.get(domain, 0)],),
            control_dt_s=control_dt_s,
            is_used=options.uses_cameras,
        )
        spec = suite.observation_spec() if options.uses_vectors else {}
        self._entries = [Entry(key, _signal(key, value.shape)) for key, value in spec.items()]
        self._controls = _controls(suite.action_spec())
        contract = Contract(
            task=task,
            observations=(*camera_set.signals, *(entry.signal for entry in self._entries)),
            action=physical_action(
                model,
                self._controls.low,
                self._controls.high,
                [actuator_label(model, i) for i in range(model.nu)],
            ),
            control_dt_s=control_dt_s,
            max_episode_steps=_max_steps(suite, options.action_repeat),
            cameras=tuple(camera_set.cameras),
            options=options.to_dict(),
            knows_success=False,
        )
        super().__init__(contract, options.action_repeat, camera_set)
        self._suite = suite
        self._raw: dict[str, Any] = {}

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation."""
        return self._suite.physics.model.ptr, self._suite.physics.data.ptr

    def to_controls(self, action: Array) -> Array:
        """Return MuJoCo's controls for an action."""
        return self._controls.to_actuators(action)

    def _begin(self, seed: int | None) -> None:
        if seed is not None:
            self._suite.task.random.seed(seed)
        self._raw = self._suite.reset().observation

    def _advance(self, actuators: Array) -> Transition:
        step = self._suite.step(actuators)
        self._raw = step.observation
        return to_transition(step)

    def _measure(self) -> dict[str, Array]:
        return read(self._entries, self._raw)


def _disable_renderer(physics: Any) -> None:
    """Keep dm_control from starting its own renderer, which quadruped does at every reset."""
    physics.__class__ = type("Physics", (type(physics),), {"contexts": None})


def _signal(name: str, shape: tuple[int, ...]) -> Signal:
    """Declare an entry of the suite's observation; more than one axis is flattened."""
    shape = shape if len(shape) < 2 else (math.prod(shape),)
    return Signal(name=f"proprio/{name}", shape=shape, dtype="float32")


def _controls(spec: Any) -> ActionSpec:
    low, high = actuator_limits(spec.minimum, spec.maximum)
    return ActionSpec(size=len(low), low=low, high=high)


def _max_steps(suite: Any, action_repeat: int) -> int | None:
    limit = suite._step_limit  # noqa: SLF001  the suite has no public name for it
    return math.ceil(math.ceil(limit) / action_repeat) if math.isfinite(limit) else None
