"""Construction of other people's environments from a Gymnasium id, a class or a function.

Images are requested where possible: with `render_mode="rgb_array"` if the callee takes it.
"""

import dataclasses
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator

from robodreamer_deploy.utils.suggest import similar
from robodreamer_sim.compat import import_gymnasium_robotics

RENDER_MODE = "render_mode"
OURS = "robodreamer_sim.tasks.gymnasium"
FASTER: Mapping[Any, str] = {
    "gymnasium.envs.box2d.car_racing:CarRacing": f"{OURS}.car_racing:CarRacing",
}
"""Our environments that are the same to the bit and need less time, by entry point."""
WITH_PICTURES = {RENDER_MODE: "rgb_array"}


def make_registered(task: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Make the environment of an id, `ID` or `MODULE:ID`, without Gymnasium's run-time checks.

    Raises:
        ValueError: No such module or id; lists what would work.
    """
    module, _, name = name.removeprefix("gym:").rpartition(":")
    if module:
        import_module(task, module)
    if name not in gymnasium.registry:
        with suppress(ModuleNotFoundError):
            import_gymnasium_robotics()  # registers its own
    try:
        spec = gymnasium.spec(name)
    except (gymnasium.error.Error, ModuleNotFoundError) as error:
        raise ValueError(f"{task}: {_unknown_id(name, module, str(error))}") from error
    if spec.entry_point in FASTER:
        spec = dataclasses.replace(spec, entry_point=FASTER[spec.entry_point])
    creator: Any = spec.entry_point
    if isinstance(creator, str):
        creator = load_env_creator(creator)
    mend_gymnasium_robotics()
    make: Callable[..., Any] = gymnasium.make
    return call_with_pictures(creator, arguments, make, spec, disable_env_checker=True)


def call_with_pictures(
    creator: Any,
    arguments: Mapping[str, Any],
    call: Callable[..., Any],
    *positional: Any,
    **settings: Any,
) -> Any:
    """Call the maker of an environment, with images if it offers them.

    Args:
        creator: A class or function; its signature is checked for `render_mode`.
        arguments: What the user gives it; a `render_mode` among them is kept.
        call: What is called: `creator` itself, or what calls it.
        positional: Its other arguments.
        settings: Its other named arguments.
    """
    given = {**settings, **arguments}
    offers = None if RENDER_MODE in given else _offers_pictures(creator)
    if (offers is not None and not offers) or RENDER_MODE in given:
        return call(*positional, **given)
    try:
        return call(*positional, **given, **WITH_PICTURES)
    except TypeError as error:
        if offers or RENDER_MODE not in str(error):
            raise
        return call(*positional, **given)  # it hands on what it is given, to one that has no word


def _offers_pictures(creator: Any) -> bool | None:
    """Return whether it makes an environment with images on request; None if unknown."""
    metadata = getattr(creator, "metadata", None)
    modes = metadata.get("render_modes") if isinstance(metadata, Mapping) else None
    takes = _takes(creator, RENDER_MODE)
    if takes is False or (modes is not None and "rgb_array" not in modes):
        return False
    return takes


def _takes(creator: Any, word: str) -> bool | None:
    """Return whether a call takes a named argument; None if it takes any, and may hand it on."""
    try:
        parameters = inspect.signature(creator).parameters
    except (TypeError, ValueError):
        return None
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if word in parameters and parameters[word].kind in named:
        return True
    has_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    return None if has_any else False


def takes(creator: Any, word: str) -> bool:
    """Return whether a class or function has a named argument of that name."""
    return _takes(creator, word) is True


def mend_gymnasium_robotics() -> None:
    """Import it mended, if it is there: packages that build on it, as gym_xarm does, need it so."""
    with suppress(ModuleNotFoundError, ValueError):
        import_gymnasium_robotics()


def import_module(task: str, name: str) -> ModuleType:
    """Import a module, from the current folder too.

    Raises:
        ValueError: There is no such module.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)  # for good: what the module needs may lie beside it
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{name}.".startswith(f"{error.name}."):
            raise  # one of its own imports
        raise ValueError(
            f"{task}: {error}; a module lies in the current folder or is installed"
        ) from error


def _unknown_id(name: str, module: str, complaint: str) -> str:
    """Return why an id is not there, and what would work."""
    words = [complaint.strip().rstrip(".")]
    close = similar(name, gymnasium.registry)
    if close and name not in close:
        words.append(f"the closest ids are {', '.join(close)}")
    if not module:
        words.append("gym:MODULE:ID first imports the package that registers an id")
        namespace = name.partition("/")[0].replace("-", "_") if "/" in name else ""
        if namespace.isidentifier() and importlib.util.find_spec(namespace):
            words[-1] += f", here gym:{namespace}:{name}"
    return "; ".join(words)
