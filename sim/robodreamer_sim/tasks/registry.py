"""The names of all tasks, and `make`. Importing this costs no simulator."""

import dataclasses
import importlib
import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from robodreamer_sim.faults import GraphicsError
from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions
from robodreamer_sim.tasks.names import composer_tasks, robotics_tasks

if TYPE_CHECKING:
    from robodreamer_sim.cameras.rendering import Renderers
    from robodreamer_sim.env import TaskEnv

OWN_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""`module:Class`."""
FETCH_TASKS = {
    "fetch_reach": "move the gripper of a Fetch arm to the red sphere",
    "fetch_push": "push a block to the red sphere on the table",
    "fetch_slide": "hit a puck so that it slides to a red sphere out of reach",
    "fetch_pick_and_place": "grasp a block and bring it to the red sphere, often in the air",
    "fetch_reach_visual": "fetch_reach, with the goal only in the pictures of two cameras",
}
ARM_TASKS = {
    "arm_reach": ("ArmReach", "move the tool of a 6-joint arm to the red ball"),
    "arm_push": ("ArmPush", "push a block to the red spot with a 6-joint arm"),
}
DMC_TASKS = {
    "acrobot": ("swingup", "swingup_sparse"),
    "ball_in_cup": ("catch",),
    "cartpole": (
        "balance", "balance_sparse", "swingup", "swingup_sparse", "three_poles", "two_poles",
    ),
    "cheetah": ("run",),
    "dog": ("stand", "walk", "trot", "run", "fetch"),
    "finger": ("spin", "turn_easy", "turn_hard"),
    "fish": ("upright", "swim"),
    "hopper": ("stand", "hop"),
    "humanoid": ("stand", "walk", "run", "run_pure_state"),
    "humanoid_CMU": ("stand", "walk", "run"),
    "lqr": ("lqr_2_1", "lqr_6_2"),
    "manipulator": (
        "bring_ball", "bring_peg", "insert_ball", "insert_peg",
    ),
    "pendulum": ("swingup",),
    "point_mass": ("easy", "hard"),
    "quadruped": ("walk", "run", "escape", "fetch"),
    "reacher": ("easy", "hard"),
    "stacker": ("stack_2", "stack_4"),
    "swimmer": ("swimmer6", "swimmer15"),
    "walker": ("stand", "walk", "run"),
}  # fmt: skip


def make(
    task: str, options: EnvOptions = DEFAULT_OPTIONS, renderers: "Renderers | None" = None
) -> "TaskEnv":
    """Make a task by name.

    Args:
        task: A name of `list_tasks`, `gym:ID` for any Gymnasium environment, or `module:Class`.
        options: What is observed, and how.
        renderers: Shared among the environments of a process; None gives this one its own.

    Raises:
        ValueError: An unknown task or camera, or options the task cannot serve; lists what exists.
        GraphicsError: Cameras on a machine that cannot render (raised at the first picture), or
            MUJOCO_GL names what is not there.
    """
    require_mujoco()
    from robodreamer_sim.randomize import resolve
    from robodreamer_sim.randomize.history import histories_kept

    randomization = resolve(options.randomize, task)
    options = dataclasses.replace(options, randomize=randomization or "none")
    with histories_kept(randomization):
        env = _make(task, options, renderers)
    if randomization:
        env.randomize(randomization)
    return env


def _make(task: str, options: EnvOptions, renderers: "Renderers | None") -> "TaskEnv":
    if (domain := _dmc_domain(task)) is not None:
        from robodreamer_sim.tasks.dm_control import DmControlTask

        return DmControlTask(task, domain, options, renderers)
    if (place := _place(task)) is not None:
        module, maker = place
        family = importlib.import_module(f"robodreamer_sim.tasks.{module}")
        return getattr(family, maker)(task, options, renderers)
    close = get_close_matches(task, list_tasks(), n=3, cutoff=0.4) or ["fetch_reach"]
    raise ValueError(
        f"there is no task {task!r}; the closest are {', '.join(close)}. "
        "robodreamer_sim.list_tasks() lists all; any Gymnasium environment is gym:ID, a class of "
        "yours module:Class"
    )


def _place(task: str) -> tuple[str, str] | None:
    """Return the module here that makes a task and what makes it there; None if none does."""
    if task.startswith("gym:"):
        return "gymnasium_task", "GymnasiumTask"
    if OWN_CLASS.fullmatch(task):
        return "own", "make_own"
    if task.removesuffix("_sparse") in FETCH_TASKS:
        return "fetch", "FetchTask"
    if task in ARM_TASKS:
        return "arm", ARM_TASKS[task][0]
    if task in (robotics := robotics_tasks()):
        family = robotics[task].family
        return family, f"{family.capitalize()}Task"
    return ("composer", "ComposerTask") if task in composer_tasks() else None


def _dmc_domain(task: str) -> str | None:
    """Return the suite's domain of a task; None if it is not one of the suite's."""
    for domain, names in DMC_TASKS.items():
        if task.startswith(f"dmc_{domain}_") and task.removeprefix(f"dmc_{domain}_") in names:
            return domain
    return None


def require_mujoco() -> None:
    """Import MuJoCo, which loads the back end that MUJOCO_GL names.

    Raises:
        GraphicsError: That back end is not there.
    """
    try:
        importlib.import_module("mujoco")
    except Exception as error:
        back_end = os.environ.get("MUJOCO_GL")
        if not back_end:
            raise
        raise GraphicsError(
            f"MuJoCo cannot load what MUJOCO_GL={back_end} names ({error}); unset MUJOCO_GL, or "
            "install that library"
        ) from error


def list_tasks() -> dict[str, str]:
    """Return every named task with a line that says what it is about."""
    tasks = {}
    for name, text in FETCH_TASKS.items():
        tasks[name] = f"{text} (reward: minus the distance)"
        tasks[f"{name}_sparse"] = f"{text} (reward -1 until there, then 0)"
    tasks |= {name: text for name, (_, text) in ARM_TASKS.items()}
    tasks |= {name: named.text for name, named in robotics_tasks().items()}
    tasks |= composer_tasks()
    for domain, names in DMC_TASKS.items():
        for name in names:
            tasks[f"dmc_{domain}_{name}"] = f"dm_control suite: {domain} {name}".replace("_", " ")
    return tasks
