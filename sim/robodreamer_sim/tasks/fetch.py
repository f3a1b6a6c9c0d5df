"""The Fetch arm of gymnasium-robotics: reach, push, slide, pick and place.

A 7-joint arm whose gripper points down and is moved by up to 5 cm per step. The four actions are
the gripper's displacement along x, y, z of the world (x away from the robot, z up) and the opening
of its fingers. Episodes are cut after 50 steps of 0.04 s; the task itself never ends.

A plain name has the dense reward, minus the distance to the goal, which teaches soonest; `_sparse`
has the one of gymnasium-robotics' plain names, -1 until the goal is met.

The physics is gymnasium-robotics' own class, unchanged, with cameras added to its model. What it
returns as one vector is taken apart into named signals in SI units (it reports velocities in metres
per step). With a camera on, the object's pose is privileged: a real robot does not measure it.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import gymnasium
import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract, Signal
from robodreamer_sim.compat import import_gymnasium_robotics
from robodreamer_sim.env import TaskEnv, Transition
from robodreamer_sim.mounting import Aim, add_camera, cameras_added, fixed_camera
from robodreamer_sim.options import EnvOptions, Look
from robodreamer_sim.pictures import MujocoPictures
from robodreamer_sim.rendering import Renderers
from robodreamer_sim.rig import CameraRig

MAX_STEPS = 50

# `scene` stands in front of the robot, above the table, as close as all goals and the gripper at
# work allow: the goal sphere (4 cm) is about 4 of 64 pixels wide, 3 at the far end and 7 at the
# near one. From the front the arm hides the fewest goals, about one in ten. `side` stands on the
# arm's left and tells what is far from what is high, which from the front lie in one direction.
FIXED_CAMERAS = {
    "fetch_reach": {
        "scene": Aim((1.75, 0.75, 1.00), (1.33, 0.75, 0.53), 48),
        "side": Aim((1.34, 1.45, 0.68), (1.34, 0.75, 0.53), 36),
    },
    "fetch_push": {
        "scene": Aim((1.75, 0.75, 1.00), (1.33, 0.75, 0.50), 48),
        "side": Aim((1.34, 1.45, 0.75), (1.34, 0.75, 0.48), 36),
    },
    "fetch_slide": {
        "scene": Aim((1.98, 0.75, 1.15), (1.35, 0.75, 0.42), 56),
        "side": Aim((1.36, 1.85, 0.95), (1.36, 0.75, 0.42), 52),
    },
    "fetch_pick_and_place": {
        "scene": Aim((2.00, 0.75, 1.10), (1.33, 0.75, 0.61), 48),
        "side": Aim((1.34, 1.60, 0.80), (1.34, 0.75, 0.62), 42),
    },
}
# On the gripper, looking past the fingers, in its frame (x points down).
WRIST_CAMERA = Aim((-0.06, 0.0, 0.12), (0.12, 0.0, 0.0), 75)
CAMERAS = ("scene", "side", "wrist", "external_camera_0")  # the model's others look into the robot
VISUAL_CAMERAS = ("scene", "side")


class Part(NamedTuple):
    """A stretch of gymnasium-robotics' observation vector."""

    name: str
    unit: str
    labels: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    frame: str = "world"

    @property
    def is_of_object(self) -> bool:
        """Whether it exists only in tasks with an object."""
        return self.name.startswith("object_")

    @property
    def is_rate(self) -> bool:
        """Whether gymnasium-robotics gives it per control step instead of per second."""
        return self.unit.endswith("/s")


# Half of the arm's triangles, of which no camera sees more than two pixels; half of drawing's time.
HARDLY_SEEN = ("robot0:estop_link", "robot0:laser_link")
# What pulls the gripper along is drawn as three crossing lines, which no real camera sees.
PULLER = "robot0:mocap"
UNDRAWN_GROUP = 5
GYMNASIUM_NAMES = {
    "fetch_reach": "FetchReach",
    "fetch_push": "FetchPush",
    "fetch_slide": "FetchSlide",
    "fetch_pick_and_place": "FetchPickAndPlace",
}
XYZ = ("x", "y", "z")
FINGERS = ("right", "left")
WORKSPACE = (1.19, 0.60, 0.38), (1.49, 0.90, 0.68)
"""Where goals are; the gripper begins in its middle."""
PARTS = (
    Part("gripper_position", "m", XYZ, *WORKSPACE),
    Part("object_position", "m", XYZ, *WORKSPACE),
    Part("object_offset", "m", XYZ, (-0.25,) * 3, (0.25,) * 3, "world, from the gripper"),
    Part("finger_position", "m", FINGERS, (0.0,) * 2, (0.05,) * 2, "joint"),
    Part("object_rotation", "rad", XYZ, (-math.pi,) * 3, (math.pi,) * 3, "world, Euler angles"),
    Part("object_velocity", "m/s", XYZ, (-1.0,) * 3, (1.0,) * 3, "world, relative to the gripper"),
    Part("object_angular_velocity", "rad/s", XYZ, (-10.0,) * 3, (10.0,) * 3),
    Part("gripper_velocity", "m/s", XYZ, (-1.0,) * 3, (1.0,) * 3),
    Part("finger_velocity", "m/s", FINGERS, (-0.2,) * 2, (0.2,) * 2, "joint"),
)


class FetchTask(TaskEnv):
    """A Fetch task, by name; see the module."""

    def __init__(self, task: str, options: EnvOptions, renderers: Renderers | None = None) -> None:
        kind = task.removesuffix("_sparse")
        hides_goal = kind.endswith("_visual")
        if hides_goal and not options.uses_cameras:
            raise ValueError(
                f"{task} shows its goal in the picture only and observe={options.observe!r} has "
                "no picture; observe camera or both, or choose fetch_reach"
            )
        physics = _make_physics(kind.removesuffix("_visual"), options.look, is_dense=kind == task)
        self._physics: Any = physics
        self._dt = float(physics.dt)
        self._goal_name = "privileged/goal_position" if hides_goal else "goal/position"
        self._target_site = physics.model.site("target0").id
        self._steps = 0
        views = {name: fixed_camera(physics.model, name) for name in CAMERAS}
        control_dt_s = self._dt * options.action_repeat
        rig = CameraRig(
            task,
            MujocoPictures(
                physics.model, physics.data, views, options.look, renderers, self._goal_shown
            ),
            options,
            usual=VISUAL_CAMERAS if hides_goal else CAMERAS[:1],
            control_dt_s=control_dt_s,
            is_used=options.uses_cameras,
        )
        contract = Contract(
            task=task,
            observations=(
                *rig.signals,
                *_vector_signals(options, has_object=physics.has_object),
                _position_signal(self._goal_name),
                _position_signal("privileged/achieved_goal"),
            ),
            action=ActionSpec(
                size=4, low=(-1.0,) * 4, high=(1.0,) * 4, labels=("x", "y", "z", "fingers")
            ),
            control_dt_s=control_dt_s,
            max_episode_steps=-(-MAX_STEPS // options.action_repeat),
            cameras=tuple(rig.cameras),
            options=options.to_dict(),
        )
        super().__init__(contract, options.action_repeat, rig)

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation."""
        return self._physics.model, self._physics.data

    def _begin(self, seed: int | None) -> None:
        self._raw, _ = self._physics.reset(seed=seed)
        self._steps = 0

    def _advance(self, actuators: Array) -> Transition:
        self._raw, reward, _, _, info = self._physics.step(actuators)
        self._steps += 1
        return Transition(
            reward=float(reward),
            is_terminated=False,
            is_truncated=self._steps >= MAX_STEPS,
            success=bool(info["is_success"]),
        )

    def _measure(self) -> dict[str, Array]:
        values = dict(self._split(self._raw["observation"]))
        values["achieved_goal"] = self._raw["achieved_goal"]
        values["position"] = values["goal_position"] = self._raw["desired_goal"]
        return {
            signal.name: values[signal.name.partition("/")[2]].astype(np.float32)
            for signal in self.contract.observations
            if not signal.is_image
        }

    @contextmanager
    def _goal_shown(self) -> Iterator[None]:
        """Place the goal, a site that the simulation leaves behind, right before drawing.

        That moves nothing else; gymnasium-robotics' own way runs the dynamics once more.
        """
        self._physics.data.site_xpos[self._target_site] = self._physics.goal
        yield

    def _split(self, vector: Array) -> Iterator[tuple[str, Array]]:
        """Take the observation vector (10,) or (25,) apart, rates per second."""
        start = 0
        for part in _parts(has_object=self._physics.has_object):
            value = vector[start : start + len(part.labels)]
            yield part.name, value / self._dt if part.is_rate else value
            start += len(part.labels)


def _parts(*, has_object: bool) -> list[Part]:
    return [part for part in PARTS if has_object or not part.is_of_object]


def _vector_signals(options: EnvOptions, *, has_object: bool) -> Iterator[Signal]:
    """Declare what the robot measures, then what only the simulator knows."""
    parts = _parts(has_object=has_object)
    hides_object = options.uses_cameras
    for part in parts:
        if options.uses_vectors and not (part.is_of_object and hides_object):
            yield _part_signal("proprio", part)
    for part in parts:
        if part.is_of_object and hides_object:
            yield _part_signal("privileged", part)


def _part_signal(family: str, part: Part) -> Signal:
    return Signal(
        name=f"{family}/{part.name}",
        shape=(len(part.labels),),
        dtype="float32",
        unit=part.unit,
        frame=part.frame,
        labels=part.labels,
        low=part.low,
        high=part.high,
    )


def _position_signal(name: str) -> Signal:
    return Signal(
        name=name,
        shape=(3,),
        dtype="float32",
        unit="m",
        frame="world",
        labels=XYZ,
        low=WORKSPACE[0],
        high=WORKSPACE[1],
    )


def _make_physics(kind: str, look: Look, *, is_dense: bool) -> Any:
    """Return gymnasium-robotics' environment with our cameras in its model."""
    import_gymnasium_robotics()
    gymnasium_id = f"{GYMNASIUM_NAMES[kind]}{'Dense' if is_dense else ''}-v4"
    with cameras_added(lambda spec: _edit_model(spec, FIXED_CAMERAS[kind], look)):
        return gymnasium.make(gymnasium_id, disable_env_checker=True).unwrapped


def _edit_model(spec: Any, cameras: Mapping[str, Aim], look: Look) -> None:
    """Add the cameras, and in the lean look leave out what no picture needs."""
    if look == "lean":
        for name in HARDLY_SEEN:
            spec.geom(name).group = UNDRAWN_GROUP
        for geom in spec.body(PULLER).geoms:
            geom.group = UNDRAWN_GROUP
    for name, aim in cameras.items():
        add_camera(spec, name, aim)
    add_camera(spec, "wrist", WRIST_CAMERA, body="robot0:gripper_link")
