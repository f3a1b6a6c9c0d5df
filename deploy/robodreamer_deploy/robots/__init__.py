"""What a robot is to the onboard loop, and how `--robot` finds one.

The shape is LeRobot's (features, connect, get_observation, send_action, disconnect) plus `hold`.
Observations carry the contract's names, shapes and types. Actions are the policy's: float32 (A,),
continuous in [-1, 1] or one-hot; `contract.action.to_actuators` turns them into actuator values,
so no robot types a scale a second time.

`--robot` takes one of

    name:argument               a robot that an installed package registers in the entry point
                                group `robodreamer.robots`, such as sim:fetch_reach
    path/to/file.py:Class       your own file; `:argument` may follow
    package.module:Class        your own installed module; `:argument` may follow

and calls what it finds as `factory(argument, contract)`.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, TypeGuard, cast

from robodreamer_deploy.contract import Array, Contract

ENTRY_POINT_GROUP = "robodreamer.robots"
FORMS = "name:argument, path/to/file.py:Class or package.module:Class"


class RobotError(RuntimeError):
    """The robot cannot be made, connected or driven; the message is one sentence for the user."""


class Robot(Protocol):
    """What the loop needs from hardware, and from a simulator standing in for it."""

    @property
    def observation_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every signal this robot delivers, by contract name; readable unconnected."""
        ...

    @property
    def action_features(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of what it accepts, `{"action": (A,)}`; readable unconnected."""
        ...

    def connect(self) -> None:
        """Open the hardware and leave it still.

        Raises:
            RobotError: With what is missing and what to do about it.
        """
        ...

    def get_observation(self) -> Mapping[str, Array]:
        """Return the newest value of every signal; raise rather than return stale ones.

        Signals that the policy does not read may be among them. The caller does not change the
        arrays, and does not keep them beyond the next call.
        """
        ...

    def send_action(self, action: Array) -> Array:
        """Send one action, float32 (A,) in the policy's units; return what was really sent.

        A simulator advances by one control step.
        """
        ...

    def hold(self) -> Array:
        """Bring the robot to rest and keep it there; return the action (A,) this amounts to.

        Must work at any time, more than once, and while `send_action` fails. A simulator
        advances by one control step, unless its episode is over.
        """
        ...

    def disconnect(self) -> None:
        """Close the hardware. Must work after a failed `connect`, and more than once."""
        ...


class EpisodicRobot(Robot, Protocol):
    """A robot that can start a task anew and judge how it went: a simulator, or a test rig."""

    def start_episode(self, seed: int) -> None:
        """Begin a new episode; the same seed gives the same one whatever came before."""
        ...

    @property
    def is_episode_over(self) -> bool:
        """Whether the task has ended, or its time is out; `get_observation` still works."""
        ...

    @property
    def episode_return(self) -> float:
        """Sum of rewards since `start_episode`."""
        ...

    @property
    def episode_success(self) -> bool | None:
        """Whether the goal is met by now; None if the task does not know success."""
        ...


Factory = Callable[[str, Contract], Robot]


def is_episodic(robot: Robot) -> TypeGuard[EpisodicRobot]:
    """Tell whether `robot` can start episodes and judge them."""
    return hasattr(robot, "start_episode")


def check_features(robot: Robot, contract: Contract) -> None:
    """Refuse a robot that cannot serve the policy, before it is connected.

    Raises:
        RobotError: It lacks a signal, or a shape differs from the contract's.
    """
    features = robot.observation_features
    for signal in contract.inputs:
        if signal.name not in features:
            raise RobotError(
                f"the policy reads {signal.name}, this robot has {', '.join(sorted(features))}"
            )
        if tuple(features[signal.name]) != signal.shape:
            raise RobotError(
                f"{signal.name} is {tuple(features[signal.name])} on this robot, "
                f"the policy was trained with {signal.shape}"
            )
    action_shape = tuple(robot.action_features.get("action", ()))
    if action_shape != (contract.action.size,):
        raise RobotError(
            f"this robot takes actions of shape {action_shape}, "
            f"the policy sends ({contract.action.size},)"
        )


def load_robot(spec: str, contract: Contract) -> Robot:
    """Make the robot that `--robot` names (see the module) for a policy's contract.

    Raises:
        RobotError: No such robot, file, module or class (lists what exists, closest first), or it
            refuses the argument or the contract.
    """
    head, colon, rest = spec.partition(":")
    if not colon or not rest:
        raise RobotError(f"--robot {spec} is not of the form {FORMS}; {_registered(head)}")
    registered = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    try:
        if head in registered:
            return cast("Factory", registered[head].load())(rest, contract)
        module = _import_file(Path(head)) if head.endswith(".py") else _import_module(head)
        name, _, argument = rest.partition(":")
        return _find_class(module, name, head)(argument, contract)
    except (ImportError, OSError, ValueError) as error:
        raise RobotError(f"robot {head} cannot be made: {error}") from error


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RobotError(f"there is no robot file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # the robot's module exists; one of its own imports does not
        raise RobotError(f"there is no robot and no module {name}; {_registered(name)}") from error


def _find_class(module: ModuleType, name: str, where: str) -> Factory:
    found: Any = getattr(module, name, None)
    if callable(found):
        return cast("Factory", found)
    classes = [key for key, value in vars(module).items() if isinstance(value, type)]
    raise RobotError(f"{where} has no class {name}; it has {', '.join(_closest(name, classes))}")


def _registered(name: str) -> str:
    names = [point.name for point in entry_points(group=ENTRY_POINT_GROUP)]
    if not names:
        return "no robot is registered here (is the simulator installed?)"
    return f"registered: {', '.join(_closest(name, names))}"


def _closest(name: str, names: list[str]) -> list[str]:
    """Return all of `names`, those most like `name` first."""
    close = get_close_matches(name, names, n=len(names) or 1)
    return close + sorted(set(names) - set(close))
