"""Registry of tasks: `make` creates one by name. Importing this loads no simulator."""

import dataclasses
import importlib
import re
from typing import TYPE_CHECKING

from robodreamer_deploy.utils.suggest import similar
from robodreamer_sim.compat import import_mujoco
from robodreamer_sim.errors import NoPictureError
from robodreamer_sim.options import DEFAULT_OPTIONS, EnvOptions
from robodreamer_sim.tasks.catalog import named_tasks
from robodreamer_sim.tasks.gymnasium.arguments import require_known_period

if TYPE_CHECKING:
    from robodreamer_sim.cameras.renderer_pool import RendererPool
    from robodreamer_sim.env import TaskEnv

OWN_CLASS = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*(\?.*)?")
"""Pattern of `module:Class` and `module:function`, with optional arguments."""


def make(
    task: str, options: EnvOptions = DEFAULT_OPTIONS, renderers: "RendererPool | None" = None
) -> "TaskEnv":
    """Make a task by name.

    Args:
        task: A name of `list_tasks`; `gym:ID`, or `gym:MODULE:ID` of one that a module registers,
            for any Gymnasium environment; `module:Class` or `module:function`. The latter take
            arguments, `?key=value&key=value`.
        options: Options of the environment.
        renderers: Renderers shared by the environments of a process; None creates own ones.

    Raises:
        ValueError: An unknown task or camera, or options the task cannot serve; lists what exists.
        GraphicsError: The machine cannot render (raised at the first image), or MUJOCO_GL names a
            missing library.
    """
    import_mujoco()
    from robodreamer_sim.mujoco_hooks import models_edited
    from robodreamer_sim.randomization import resolve
    from robodreamer_sim.randomization.delay import history_edits

    randomization = resolve(options.randomize, task)
    options = dataclasses.replace(options, randomize=randomization or "none")
    with models_edited(*history_edits(randomization)):
        env = _make(task, options, renderers)
    if randomization:
        env.randomize(randomization)
    return env


def make_with_what_it_has(task: str, options: EnvOptions = DEFAULT_OPTIONS) -> "TaskEnv":
    """Make a task, without images where it has none.

    Raises:
        ValueError: As `make`.
        GraphicsError: As `make`.
    """
    try:
        return make(task, options)
    except NoPictureError:
        return make(task, dataclasses.replace(options, observe="proprio", cameras=None))


def _make(task: str, options: EnvOptions, renderers: "RendererPool | None") -> "TaskEnv":
    module, maker = _place(task)
    if module not in {"gymnasium.env", "custom.user_class"}:
        require_known_period(task, options)
    family = importlib.import_module(f"robodreamer_sim.tasks.{module}")
    return getattr(family, maker)(task, options, renderers)


def _place(task: str) -> tuple[str, str]:
    """Return the module that makes a task, and the name of the maker in it.

    Raises:
        ValueError: There is no such task; lists the closest.
    """
    if task.startswith("gym:"):
        return "gymnasium.env", "make_gymnasium"
    if OWN_CLASS.fullmatch(task):
        return "custom.user_class", "make_own"
    named = named_tasks()
    if task in named:
        return named[task].module, named[task].maker
    close = similar(task, named) or ["fetch_reach"]
    raise ValueError(
        f"there is no task {task!r}; the closest are {', '.join(close)}. "
        "robodreamer_sim.list_tasks() lists all; any Gymnasium environment is gym:ID or "
        "gym:MODULE:ID, a class or function of yours module:Class"
    )
