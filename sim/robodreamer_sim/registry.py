"""`make`: a task by its name. Importing this costs no simulator."""

import dataclasses
import importlib
import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from robodreamer_sim.errors import GraphicsError, NoPictureError
from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions
from robodreamer_sim.tasks.catalog import named_tasks
from robodreamer_sim.tasks.gymnasium.arguments import require_known_period

if TYPE_CHECKING:
    from robodreamer_sim.cameras.renderer import Renderers
    from robodreamer_sim.env import TaskEnv

OWN_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\?.*)?")
"""`module:Class` or `module:function`, with arguments if need be."""


def make(
    task: str, options: EnvOptions = DEFAULT_OPTIONS, renderers: "Renderers | None" = None
) -> "TaskEnv":
    """Make a task by name.

    Args:
        task: A name of `list_tasks`; `gym:ID`, or `gym:MODULE:ID` of one that a module registers,
            for any Gymnasium environment; `module:Class` or `module:function`. The latter take
            arguments, `?key=value&key=value`.
        options: What is observed, and how.
        renderers: Shared among the environments of a process; None gives this one its own.

    Raises:
        ValueError: An unknown task or camera, or options the task cannot serve; lists what exists.
        GraphicsError: Cameras on a machine that cannot render (raised at the first picture), or
            MUJOCO_GL names what is not there.
    """
    require_mujoco()
    from robodreamer_sim.randomization import resolve
    from robodreamer_sim.randomization.history import histories_kept

    randomization = resolve(options.randomize, task)
    options = dataclasses.replace(options, randomize=randomization or "none")
    with histories_kept(randomization):
        env = _make(task, options, renderers)
    if randomization:
        env.randomize(randomization)
    return env


def make_with_what_it_has(task: str, options: EnvOptions = DEFAULT_OPTIONS) -> "TaskEnv":
    """Make a task, without pictures where it has none.

    Raises:
        ValueError: As `make`.
        GraphicsError: As `make`.
    """
    try:
        return make(task, options)
    except NoPictureError:
        return make(task, dataclasses.replace(options, observe="proprio", cameras=None))


def _make(task: str, options: EnvOptions, renderers: "Renderers | None") -> "TaskEnv":
    module, maker = _place(task)
    if module not in {"gymnasium.env", "custom.user_class"}:
        require_known_period(task, options)
    family = importlib.import_module(f"robodreamer_sim.tasks.{module}")
    return getattr(family, maker)(task, options, renderers)


def _place(task: str) -> tuple[str, str]:
    """Return the module here that makes a task, and what makes it there.

    Raises:
        ValueError: There is no such task; names the closest.
    """
    if task.startswith("gym:"):
        return "gymnasium.env", "make_gymnasium"
    if OWN_CLASS.fullmatch(task):
        return "custom.user_class", "make_own"
    named = named_tasks()
    if task in named:
        return named[task].module, named[task].maker
    close = get_close_matches(task, named, n=3, cutoff=0.4) or ["fetch_reach"]
    raise ValueError(
        f"there is no task {task!r}; the closest are {', '.join(close)}. "
        "robodreamer_sim.list_tasks() lists all; any Gymnasium environment is gym:ID or "
        "gym:MODULE:ID, a class or function of yours module:Class"
    )


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
