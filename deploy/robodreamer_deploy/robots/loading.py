"""Loading of the robot that `--robot` names.

It takes one of

    name:argument               a robot of this package (`BUILT_IN`), such as dynamixel:arm.json, or
                                one that an installed package registers in the entry point group
                                `robodreamer.robots`, such as sim:fetch_reach
    tcp://HOST:PORT             a robot of another process or computer; `:KEY` may follow, the
                                driver's key file
    path/to/file.py:Class       your own file; `:argument` may follow. Modules that lie beside it
                                can be imported, as in a script
    package.module:Class        your own installed module; `:argument` may follow

and calls what it finds as `factory(argument, contract)`.
"""

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from robodreamer_deploy.contract import Contract
from robodreamer_deploy.errors import RobotError, describe_error
from robodreamer_deploy.robots.base import (
    Robot,
)
from robodreamer_deploy.utils.suggest import closest

BUILT_IN = {
    "dynamixel": "robodreamer_deploy.robots.dynamixel.robot",
    "lerobot": "robodreamer_deploy.robots.lerobot.robot",
    "composite": "robodreamer_deploy.robots.composite",
    "ros2": "robodreamer_deploy.robots.ros2.robot",
    "tcp": "robodreamer_deploy.robots.remote.robot",
}
"""Robots of this package, also in a bare copy: the modules whose `make_robot` makes them."""
ENTRY_POINT_GROUP = "robodreamer.robots"
FORMS = "name:argument, path/to/file.py:Class or package.module:Class"
SIGNATURE = "(argument: str, contract: Contract)"
TOLD_AS_THEY_ARE = (ImportError, SyntaxError, ValueError)

Factory = Callable[[str, Contract], Robot]


def load_robot(spec: str, contract: Contract) -> Robot:
    """Make the robot that `--robot` names (see the module) for a policy's contract.

    Raises:
        RobotError: No such robot, file, module or class (lists what exists, closest first), one
            that cannot be imported or called, or it refuses the argument or the contract.
    """
    head, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise RobotError(f"--robot {spec} is not of the form {FORMS}; {_registered(head)}")
    try:
        factory, argument = _built_in(head) or _registered_factory(head), rest
        if factory is None:
            name, _, argument = rest.partition(":")
            factory = find_callable(head, name)
            _check_signature(factory, name, argument, contract)
        return factory(argument, contract)
    except RobotError:
        raise
    except Exception as error:
        told = str(error) if isinstance(error, TOLD_AS_THEY_ARE) else describe_error(error)
        raise RobotError(f"robot {head} cannot be made: {told}") from error


def find_callable(where: str, name: str) -> Callable[..., Any]:
    """Return the class or function `name` of a file (path/to/file.py) or an installed module.

    Raises:
        RobotError: No such file, module or class (lists what exists, closest first).
        Exception: Whatever importing it raises.
    """
    module = _import_file(Path(where)) if where.endswith(".py") else _import_module(where)
    found: Any = getattr(module, name, None)
    if callable(found):
        return cast("Callable[..., Any]", found)
    classes = [key for key, value in vars(module).items() if isinstance(value, type)]
    raise RobotError(f"{where} has no class {name}; it has {closest(name, classes)}")


def _built_in(name: str) -> Factory | None:
    if name not in BUILT_IN:
        return None
    return cast("Factory", importlib.import_module(BUILT_IN[name]).make_robot)


def _registered_factory(name: str) -> Factory | None:
    found = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == name]
    return cast("Factory", found[0].load()) if found else None


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module of its own, which `dataclasses` and `pickle` then find by name.

    A file is executed once in a process, however often a robot is made from it: classes that
    register themselves, as LeRobot's do, raise when they are defined a second time.
    """
    if not path.is_file():
        raise RobotError(f"there is no robot file {path}")
    path = path.resolve()
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]  # two folders may have an arm.py
    name = f"robot_file_{path.stem}_{digest}"
    if (known := sys.modules.get(name) or _imported_from(path)) is not None:
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    if (folder := str(path.parent)) not in sys.path:
        sys.path.insert(0, folder)  # for good: drivers are often imported by `connect`
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _imported_from(path: Path) -> ModuleType | None:
    """Return the module that a file was imported as by other code, such as one beside it."""
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and Path(file).name == path.name and Path(file).resolve() == path:
            return module
    return None


def _import_module(name: str) -> ModuleType:
    missing = f"there is no robot and no module {name}; {_registered(name)}"
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the robot's module exists; one of its own imports does not
        raise RobotError(missing) from error
    if getattr(module, "__file__", None) is None:
        raise RobotError(missing)  # a plain folder of that name, which Python lets pass
    return module


def _check_signature(factory: Factory, name: str, argument: str, contract: Contract) -> None:
    """Refuse a factory that cannot be called as one; what it raises within is another matter."""
    try:
        signature = inspect.signature(factory)
    except ValueError:  # written in C: it will say itself
        return
    try:
        signature.bind(argument, contract)
    except TypeError as error:
        hint = "; one written for LeRobot goes by lerobot:MODULE:CLASS"
        raise RobotError(
            f"{name} takes {signature}; a robot is made by calling it with {SIGNATURE}"
            f"{hint if hasattr(factory, 'config_class') else ''}"
        ) from error


def _registered(name: str) -> str:
    names = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
    hint = "" if names else " (is the simulator installed?)"
    return f"registered: {closest(name, [*names, *BUILT_IN])}{hint}"
