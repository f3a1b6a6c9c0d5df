"""Tasks from a user's module: `module:Class` or `module:function`, with optional `?key=value`.

The module is found in the current folder, too. A `TaskEnv` is made as the tasks here are, with
(task, options, renderers); a Gymnasium environment or wrapper, or a function that returns one, with
`render_mode="rgb_array"` where it takes that word.
"""

import inspect
from collections.abc import Mapping
from typing import Any

import gymnasium

from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.cameras.renderer_pool import RendererPool
from robodreamer_sim.env import TaskEnv
from robodreamer_sim.options import EnvOptions
from robodreamer_sim.tasks.gymnasium.arguments import require_known_period, split_arguments
from robodreamer_sim.tasks.gymnasium.construction import (
    call_with_pictures,
    import_module,
    mend_gymnasium_robotics,
    takes,
)
from robodreamer_sim.tasks.gymnasium.env import GymnasiumTask
from robodreamer_sim.tasks.gymnasium.foreign_errors import told_in_a_sentence

LIMIT = "max_episode_steps"


def make_own(task: str, options: EnvOptions, renderers: RendererPool | None) -> TaskEnv:
    """Make a task of a class or function that a module has.

    Raises:
        ValueError: No such module or class, or one that makes no environment; lists those that
            do, closest first.
    """
    path, arguments = split_arguments(task)
    module_name, _, name = path.rpartition(":")
    with told_in_a_sentence(task, f"arguments are given as '{path}?key=value'"):
        module = import_module(task, module_name)
        creator: Any = getattr(module, name, None)
        if not (_is_environment(creator) or _is_maker(creator)):
            known = [key for key, value in vars(module).items() if _is_likely(key, value)]
            is_there = "; what is there is no gymnasium.Env" if creator is not None else ""
            raise ValueError(
                f"{task}: {module_name} has no function that makes an environment, no TaskEnv and "
                f"no Gymnasium environment called {name!r}; it has "
                f"{closest(name, known) or 'none'}{is_there}"
            )
        if inspect.isclass(creator) and issubclass(creator, TaskEnv):
            require_known_period(task, options)
            factory: Any = creator
            made: TaskEnv = factory(task, options, renderers, **arguments)
            made.summary = _summary(creator)
            return made
        env = _make_gymnasium(creator, arguments)
        if not isinstance(env, gymnasium.Env):
            raise ValueError(  # noqa: TRY004  the task is the wrong one
                f"{task}: {name} returned {type(env).__module__}.{type(env).__name__}, which is "
                "no gymnasium.Env; the package shimmy makes one of other interfaces"
            )
        made = GymnasiumTask(task, options, renderers, env=env)
        made.summary = _summary(creator)
        return made


def _make_gymnasium(creator: Any, arguments: Mapping[str, Any]) -> Any:
    """Make an environment; a limit of steps is its own argument, or put around it."""
    given = dict(arguments)
    limit = given.get(LIMIT)
    if limit is not None and not takes(creator, LIMIT):
        del given[LIMIT]
    mend_gymnasium_robotics()
    env = call_with_pictures(creator, given, creator)
    is_env = isinstance(env, gymnasium.Env)
    return gymnasium.wrappers.TimeLimit(env, limit) if is_env and limit is not None else env


def _is_environment(kind: Any) -> bool:
    return (
        inspect.isclass(kind)
        and issubclass(kind, gymnasium.Env)
        and not inspect.isabstract(kind)
        and kind not in (gymnasium.Env, gymnasium.Wrapper)
    )


def _is_maker(kind: Any) -> bool:
    """Return whether an object is a function that may make an environment."""
    return callable(kind) and not inspect.isclass(kind) and not isinstance(kind, gymnasium.Env)


def _is_likely(name: str, kind: Any) -> bool:
    """Return whether an object of a module looks like an environment or its maker."""
    return _is_environment(kind) or (_is_maker(kind) and ("make" in name or "env" in name))


def _summary(creator: Any) -> str:
    """Return the first paragraph of a class's or function's own docstring."""
    is_own = inspect.isclass(creator) or inspect.isfunction(creator)
    text = inspect.cleandoc(creator.__doc__ or "") if is_own else ""
    return " ".join(text.partition("\n\n")[0].split())
