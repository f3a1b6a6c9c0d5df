"""A class of the user's as a task: `module:Class`.

The module is found in the current folder, too. A `TaskEnv` is made as the tasks here are, with
(task, options, renderers); a Gymnasium environment without arguments, with `render_mode` if it has
rgb_array among its modes.
"""

import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium

from robodreamer_deploy.naming import closest
from robodreamer_sim.cameras.rendering import Renderers
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.gymnasium_task import GymnasiumTask


def make_own(task: str, options: EnvOptions, renderers: Renderers | None) -> TaskEnv:
    """Make a task of a class that a module has.

    Raises:
        ValueError: No such module or class, or a class that is no environment; lists those that
            are, closest first.
    """
    module_name, _, name = task.rpartition(":")
    module = _import(task, module_name)
    kind: Any = getattr(module, name, None)
    if not _is_environment(kind):
        known = [key for key, value in vars(module).items() if _is_environment(value)]
        raise ValueError(
            f"{task}: {module_name} has no TaskEnv and no Gymnasium environment called {name!r}; "
            f"it has {closest(name, known) or 'none'}"
        )
    if issubclass(kind, TaskEnv):
        factory: Any = kind
        return factory(task, options, renderers)
    return GymnasiumTask(task, options, renderers, env=_make_gymnasium(kind))


def _import(task: str, module_name: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: what the module needs may lie beside it
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{task}: {error}; a module lies in the current folder or is installed"
        ) from error


def _is_environment(kind: Any) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, gymnasium.Env)
        and not inspect.isabstract(kind)
        and kind is not gymnasium.Env
    )


def _make_gymnasium(kind: Any) -> gymnasium.Env[Any, Any]:
    modes = kind.metadata.get("render_modes", [])
    return kind(render_mode="rgb_array") if "rgb_array" in modes else kind()
