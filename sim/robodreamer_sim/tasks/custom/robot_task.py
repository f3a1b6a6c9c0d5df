"""Base class of a user's task: a robot from MJCF, URDF or `MjSpec`, its signals and its reward.

Subclass `RobotTask`, set the class attributes, and write `build`, `begin` and
`reward`. The result is a task like any other: `robodreamer train my_module:MyTask`. See
docs/your-task.md.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np

from robodreamer_deploy.contract import ActionSpec, Array, Contract
from robodreamer_sim.cameras.camera_set import CameraSet
from robodreamer_sim.cameras.camera_spec import BodyCamera, CameraPose, add_camera
from robodreamer_sim.cameras.mujoco_images import MujocoImages
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.env import SignalEvaluation, TaskEnv, Transition
from robodreamer_sim.errors import NoPictureError
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.physics.actuators import actuator_label, meanings, physical_action
from robodreamer_sim.tasks.custom.actions import Cartesian, Relative
from robodreamer_sim.tasks.custom.measurements import Bound, Measurement


class RobotTask(TaskEnv):
    """Task of a robot in MuJoCo.

    Actions in [-1, 1] go linearly to the control range of every actuator, in the model's order,
    unless `action` makes them changes.
    `self.model` and `self.data` are the simulation. Episodes are cut after `max_episode_steps`.
    """

    control_dt_s: ClassVar[float]
    """Seconds from one action to the next; a whole multiple of the model's time step."""
    max_episode_steps: ClassVar[int]
    proprio: ClassVar[Sequence[Measurement]]
    """Measurements of the robot itself."""
    action: ClassVar[Relative | Cartesian | None] = None
    """Action mapping: None maps to the control ranges, others to changes of measured positions."""
    goals: ClassVar[Sequence[Measurement]] = ()
    """Measurements of the goal."""
    privileged: ClassVar[Sequence[Measurement]] = ()
    """Measurements that only the simulator has, such as poses of objects: a target of learning, and
    observed by the policy only without a camera (`observe` proprio or state)."""
    cameras: ClassVar[Mapping[str, CameraPose | BodyCamera]] = {}
    """Cameras to add to those of the model; the first of all is the default."""
    geom_groups: ClassVar[tuple[int, ...] | None] = None
    """Groups of geoms that are drawn, such as (1, 2) where the model keeps its collision geoms in
    group 0; None draws 0 to 2. The option of that name goes before."""
    knows_success: ClassVar[bool] = True
    """False if `is_success` is not implemented."""

    def __init__(
        self, task: str, options: EnvOptions, renderers: RendererPool | None = None
    ) -> None:
        if options.geom_groups is None:  # so that the contract records what was drawn
            options = dataclasses.replace(options, geom_groups=self.geom_groups)
        self.model = self._compile()
        self.data = mujoco.MjData(self.model)
        self._num_substeps = self._count_substeps()
        self._elapsed_steps = 0
        self._measurements = list(self._bind(options))
        control_dt_s = self.control_dt_s * options.action_repeat
        camera_set = self._make_camera_set(task, options, renderers, control_dt_s)
        contract = Contract(
            task=task,
            observations=(*camera_set.signals, *(bound.signal for bound in self._measurements)),
            action=self._action(),
            control_dt_s=control_dt_s,
            max_episode_steps=-(-self.max_episode_steps // options.action_repeat),
            cameras=tuple(camera_set.cameras),
            options=options.to_dict(),
            knows_success=self.knows_success,
        )
        super().__init__(contract, options.action_repeat, camera_set)

    @abstractmethod
    def build(self) -> mujoco.MjSpec:
        """Return the model; `load_robot` reads MJCF and URDF files."""

    @abstractmethod
    def begin(self, random: np.random.Generator) -> None:
        """Put `self.data`, which was reset, into the first state of an episode.

        Everything random comes from `random`, so that a seed repeats an episode.
        """

    @abstractmethod
    def reward(self) -> float:
        """Return the reward for the state that the last action led to."""

    def is_success(self) -> bool:
        """Return whether the goal is met now."""
        return False

    def is_over(self) -> bool:
        """Return whether the task has ended by itself, so that nothing is earned afterwards."""
        return False

    def set_state_from_signals(self, signals: Mapping[str, Array]) -> bool:
        """Set `self.data` to the state that a real robot's signals describe, to evaluate its logs.

        Return whether they determine all that `reward`, `is_success` and `is_over` read. Joint
        positions are enough for places, which are computed afterwards.
        """
        del signals
        return False

    @property
    def mujoco_handles(self) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Model and data of the simulation."""
        return self.model, self.data

    def to_controls(self, action: Array) -> Array:
        """Return MuJoCo's controls for an action."""
        if self.action is None:
            return self._controls.to_actuators(action)
        targets = super().to_controls(action)
        told = zip(self._meanings, targets, strict=True)
        return np.array([meaning.to_control(target) for meaning, target in told])

    def _begin(self, seed: int | None) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self._elapsed_steps = 0
        self.begin(np.random.default_rng(seed) if seed is not None else self.np_random)
        mujoco.mj_forward(self.model, self.data)

    def _advance(self, actuators: Array) -> Transition:
        self.data.ctrl[:] = actuators
        mujoco.mj_step(self.model, self.data, self._num_substeps)
        mujoco.mj_forward(self.model, self.data)  # places and sensors of the new state
        self._stability.after_step(is_over=False)  # before anything is computed of the state
        self._elapsed_steps += 1
        is_over = self.is_over()
        return Transition(
            reward=float(self.reward()),
            is_terminated=is_over,
            is_truncated=not is_over and self._elapsed_steps >= self.max_episode_steps,
            success=bool(self.is_success()),
        )

    def _evaluate_signals(self, signals: Mapping[str, Array]) -> SignalEvaluation | None:
        mujoco.mj_resetData(self.model, self.data)
        if not self.set_state_from_signals(signals):
            return None
        mujoco.mj_forward(self.model, self.data)
        return SignalEvaluation(
            reward=float(self.reward()),
            success=bool(self.is_success()),
            is_terminal=bool(self.is_over()),
            privileged={k: v for k, v in self._measure().items() if k.startswith("privileged/")},
        )

    def _measure(self) -> dict[str, Array]:
        return {
            bound.signal.name: np.array(bound.read(self.data), np.float32)
            for bound in self._measurements
        }

    def _compile(self) -> mujoco.MjModel:
        spec = self.build()
        for name, camera in self.cameras.items():
            if isinstance(camera, BodyCamera):
                add_camera(spec, name, camera.pose, body=camera.body)
            else:
                add_camera(spec, name, camera)
        try:
            model = spec.compile()
        except ValueError as error:
            raise ValueError(f"the model does not compile: {error}") from error
        if not model.nu:
            raise ValueError("the model has no actuators; a URDF has none: add them in build()")
        return model

    def _count_substeps(self) -> int:
        timestep = float(self.model.opt.timestep)
        count = round(self.control_dt_s / timestep)
        if count < 1 or abs(count * timestep - self.control_dt_s) > 1e-9:
            raise ValueError(
                f"control_dt_s = {self.control_dt_s:g} s is no whole multiple of the model's time "
                f"step of {timestep:g} s"
            )
        return count

    def _action(self) -> ActionSpec:
        model = self.model
        if self.action is not None:
            self._meanings = meanings(model)
            signals = {bound.signal.name: bound.signal for bound in self._measurements}
            measured = {k: s for k, s in signals.items() if s.family == "proprio"}
            return self.action.bind(model, measured)
        labels = [actuator_label(model, i) for i in range(model.nu)]
        without = [label for i, label in enumerate(labels) if not model.actuator_ctrllimited[i]]
        if without:
            raise ValueError(
                f"actuators without limits: {', '.join(without)}; give each a ctrlrange, which the "
                "actions in [-1, 1] are mapped to"
            )
        low, high = model.actuator_ctrlrange.T.tolist()
        self._controls = ActionSpec(size=model.nu, low=tuple(low), high=tuple(high))
        return physical_action(model, low, high, labels)

    def _bind(self, options: EnvOptions) -> Iterator[Bound]:
        """Bind what is observed: privileged measurements are the robot's where it has no camera."""
        if options.uses_vectors:
            yield from self._bind_all("proprio", self.proprio)
        yield from self._bind_all("goal", self.goals)
        family = "privileged" if options.uses_cameras else "proprio"
        yield from self._bind_all(family, self.privileged)

    def _bind_all(self, family: str, measurements: Sequence[Measurement]) -> Iterator[Bound]:
        for measurement in measurements:
            yield measurement.bind(f"{family}/{measurement.name}", self.model)

    def _make_camera_set(
        self, task: str, options: EnvOptions, renderers: RendererPool | None, control_dt_s: float
    ) -> CameraSet:
        model = self.model
        own = [model.camera(i).name for i in range(model.ncam)]
        names = [*self.cameras, *(name for name in own if name and name not in self.cameras)]
        if not names and options.uses_cameras:
            raise NoPictureError(
                f"{task} has no camera; name some in `cameras`, or observe proprio"
            )
        cameras = {name: name for name in names}
        source = MujocoImages(
            lambda: (self.model, self.data), cameras, options.appearance, renderers
        )
        return CameraSet(
            task, source, options, tuple(names[:1]), control_dt_s, is_used=options.uses_cameras
        )


def load_robot(path: str | Path) -> Any:
    """Return an `MjSpec` of an MJCF or URDF file.

    Raises:
        ValueError: There is no such file, it is neither, or a mesh that it names is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no robot file {path}")
    try:
        spec = mujoco.MjSpec.from_file(str(path))
        spec.copy().compile()
    except ValueError as error:
        raise ValueError(f"{path} is no robot that MuJoCo can load: {error}") from error
    return spec
