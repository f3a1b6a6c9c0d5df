"""dm_control's composed tasks: `manipulation_...` and `locomotion_...`.

`manipulation`: a Jaco arm of 6 joints and 3 fingers, driven by velocities, among bricks and boxes;
what it measures of them is privileged with a camera on. `locomotion`: a CMU humanoid of 56 joints,
or a rodent. Rewards lie in [0, 1] (`locomotion_rodent_two_touch`: 25 for each touch); there is no
notion of success. Reaching the time limit truncates; only a discount of 0 terminates.

A model is compiled for every episode, because bricks and terrain change. dm_control's own renderer
is never started: the observations that would need it are left out.
"""

import importlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.camera_spec import CameraPose, quaternion
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.compat import import_dm_control
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import physical_action
from robodreamer_sim.tasks.catalog import LOCOMOTION
from robodreamer_sim.tasks.dm_control.time_step import Entry, read, to_transition
from robodreamer_sim.tasks.gymnasium.spaces import actuator_limits

HAND = "jaco_arm/jaco_hand/hand"
WRIST = CameraPose((-0.16, 0.0, -0.02), (0.0, 0.0, -0.24), 75)
USUAL_CAMERAS = {
    "manipulation": "front_close",
    "locomotion_cmu": "float_far",
    "locomotion_rodent": "side_alt",
}
BLIND = {"locomotion_rodent_two_touch": "top_camera"}
"""Blank camera of a task, by task name."""
PREFIXES = {"jaco_arm/jaco_hand/": "hand_", "jaco_arm/": "arm_", "walker/": "", "/": "_"}
GOALS = {"target_position": "position", "desired_order": "order", "walker/target": "target"}
UNITS = {
    "hand_joints_pos": "rad",
    "joints_pos": "rad",
    "joints_vel": "rad/s",
    "position": "m",
    "linear_velocity": "m/s",
    "angular_velocity": "rad/s",
    "pinch_site_pos": "m",
    "body_height": "m",
    "end_effectors_pos": "m",
    "appendages_pos": "m",
    "sensors_gyro": "rad/s",
    "sensors_accelerometer": "m/s^2",
    "sensors_velocimeter": "m/s",
    "target": "m",
    "origin": "m",
}
"""Units of signals by the end of their name; the arm's joints are sines and cosines."""


class ComposerTask(TaskEnv):
    """Composed task, by name; see the module."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        family, _, name = task.partition("_")
        self._composed: Any = _load(family, name)
        self._global_state = np.random.RandomState(0)
        self._restart(0)
        model, _ = self.mujoco_handles
        cameras = {_plain(model.camera(i).name): i for i in range(model.ncam)}
        cameras.pop(BLIND.get(task, ""), None)
        (usual,) = (name for start, name in USUAL_CAMERAS.items() if task.startswith(start))
        control_dt_s = float(self._composed.control_timestep()) * options.action_repeat
        camera_set = CameraSet(
            task,
            MujocoImages(lambda: self.mujoco_handles, cameras, options.appearance, renderers),
            options,
            defaults=(usual,),
            control_dt_s=control_dt_s,
            is_used=options.uses_cameras,
        )
        self._entries = list(_entries(self._composed.observation_spec(), family, options))
        spec = self._composed.action_spec()
        low, high = actuator_limits(spec.minimum, spec.maximum)
        self._controls = ActionSpec(size=model.nu, low=low, high=high)
        contract = Contract(
            task=task,
            observations=(*camera_set.signals, *(entry.signal for entry in self._entries)),
            action=physical_action(
                model,
                self._controls.low,
                self._controls.high,
                [_plain(model.actuator(i).name) for i in range(model.nu)],
            ),
            control_dt_s=control_dt_s,
            max_episode_steps=self._max_steps(options.action_repeat),
            cameras=tuple(camera_set.cameras),
            options=options.to_dict(),
            knows_success=False,
        )
        super().__init__(contract, options.action_repeat, camera_set)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation; they are replaced at every reset."""
        physics = self._composed.physics
        return physics.model.ptr, physics.data.ptr

    def to_controls(self, action: Array) -> Array:
        """Return MuJoCo's controls for an action."""
        return self._controls.to_actuators(action)

    def _begin(self, seed: int | None) -> None:
        self._restart(seed)

    def _restart(self, seed: int | None) -> None:
        """Begin an episode; what dm_control draws from NumPy's global generator is seeded too."""
        if seed is not None:
            self._composed.random_state.seed(seed)
            self._global_state.seed(seed)
            _forget_order(self._composed.task)
        with _global_generator(self._global_state):
            self._raw = self._composed.reset().observation

    def _advance(self, actuators: Array) -> Transition:
        step = self._composed.step(actuators)
        self._raw = step.observation
        return to_transition(step)

    def _measure(self) -> dict[str, Array]:
        return read(self._entries, self._raw)

    def _max_steps(self, action_repeat: int) -> int:
        limit: float = self._composed._time_limit  # noqa: SLF001  it has no public name
        steps = math.ceil(limit / self._composed.control_timestep() - 1e-9)
        return math.ceil(steps / action_repeat)


def _load(family: str, name: str) -> Any:
    """Make dm_control's environment, without what it would draw, and with a wrist camera."""
    import_dm_control()
    physics: Any = importlib.import_module("dm_control.mjcf").Physics
    physics.contexts = None  # its renderer, which a bowl of terrain would start at every reset
    with _without_pictures(), _global_generator(np.random.RandomState(0)):
        if family == "locomotion":
            module = importlib.import_module(f"dm_control.locomotion.examples.{LOCOMOTION[name]}")
            return getattr(module, name)(random_state=0)
        environment = importlib.import_module("dm_control.manipulation").load(
            f"{name}_features", seed=0
        )
    root = environment.task.root_entity.mjcf_model
    root.find("body", HAND).add(
        "camera", name="wrist", pos=WRIST.position, quat=quaternion(WRIST), fovy=WRIST.fovy_deg
    )
    return environment


def _forget_order(task: Any) -> None:
    """Put the bricks of a stack in order, which an episode shuffles as the last one left it."""
    order: Array | None = getattr(task, "_initial_order", None)
    if order is not None:
        order.sort()


@contextmanager
def _without_pictures() -> Iterator[None]:
    """Switch off what a task observes through its own cameras, while an environment is made."""
    composer: Any = importlib.import_module("dm_control.composer")
    original = composer.Environment

    def make(task: Any, **settings: Any) -> Any:
        for key, observable in task.observables.items():
            if key.endswith("camera"):
                observable.enabled = False
        return original(task=task, **settings)

    composer.Environment = make
    try:
        yield
    finally:
        composer.Environment = original


@contextmanager
def _global_generator(state: np.random.RandomState) -> Iterator[None]:
    """Replace NumPy's global generator, which parts of dm_control draw from."""
    before = np.random.get_state()  # noqa: NPY002
    np.random.set_state(state.get_state())  # noqa: NPY002
    try:
        yield
    finally:
        state.set_state(np.random.get_state())  # noqa: NPY002
        np.random.set_state(before)  # noqa: NPY002


def _entries(spec: Mapping[str, Any], family: str, options: EnvOptions) -> Iterator[Entry]:
    """Yield what is observed: of the robot, then of objects, then goals."""
    entries = [
        Entry(key, signal)
        for key, value in spec.items()
        if math.prod(value.shape) and (signal := _signal(key, value.shape, family, options))
    ]
    families = ("proprio", "privileged", "goal")
    yield from sorted(entries, key=lambda entry: families.index(entry.signal.family))


def _signal(key: str, shape: tuple[int, ...], family: str, options: EnvOptions) -> Signal | None:
    name = GOALS.get(key) or _readable(key)
    is_of_robot = family == "locomotion" or key.startswith("jaco_arm")
    if key in GOALS:
        kind = "goal"
    elif options.uses_cameras and not is_of_robot:
        kind = "privileged"
    elif options.uses_vectors:
        kind = "proprio"
    else:
        return None
    units = [unit for ending, unit in UNITS.items() if name.endswith(ending)]
    return Signal(
        name=f"{kind}/{name}",
        shape=(math.prod(shape),),
        dtype="float32",
        unit="" if name == "arm_joints_pos" or not units else units[0],
    )


def _readable(key: str) -> str:
    key = key.replace("unnamed_model", "box")
    for prefix, replacement in PREFIXES.items():
        key = key.replace(prefix, replacement)
    return key


def _plain(name: str) -> str:
    return name.rpartition("/")[2]
