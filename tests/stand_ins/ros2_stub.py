"""A stand-in of rclpy and the messages it needs, which behaves as the real one where it matters.

`rclpy.init` installs handlers of SIGINT and SIGTERM, unless told not to: always for the default
context, never by itself for another one. They shut every context down and call the handler that was
there before. Publishing in a context that was shut down raises, an executor runs callbacks in the
thread that spins it, and what a callback raises ends it.

`install` puts it where `import rclpy` finds it. A `World` stands for the other nodes.
"""

import array
import enum
import queue
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

NAMES = (
    "rclpy", "rclpy.signals", "rclpy.executors", "rclpy.qos", "sensor_msgs", "sensor_msgs.msg",
    "std_msgs", "std_msgs.msg", "trajectory_msgs", "trajectory_msgs.msg",
)  # fmt: skip


class SignalHandlerOptions(enum.Enum):
    NO = 0
    SIGINT = 1
    SIGTERM = 2
    ALL = 3


class RCLError(RuntimeError):
    pass


class ExternalShutdownException(Exception):  # noqa: N818  its name
    pass


@dataclass
class Time:
    sec: int = 0
    nanosec: int = 0


@dataclass
class Header:
    stamp: Time = field(default_factory=Time)
    frame_id: str = ""


def doubles(values: Any = ()) -> Any:
    return array.array("d", values)


@dataclass
class JointState:
    header: Header = field(default_factory=Header)
    name: list[str] = field(default_factory=list)
    position: Any = field(default_factory=doubles)
    velocity: Any = field(default_factory=doubles)
    effort: Any = field(default_factory=doubles)


@dataclass
class Image:
    header: Header = field(default_factory=Header)
    height: int = 0
    width: int = 0
    encoding: str = "rgb8"
    is_bigendian: int = 0
    step: int = 0
    data: Any = field(default_factory=lambda: array.array("B"))


@dataclass
class Float64MultiArray:
    data: Any = field(default_factory=doubles)


@dataclass
class JointTrajectoryPoint:
    positions: Any = field(default_factory=doubles)
    time_from_start: Time = field(default_factory=Time)


@dataclass
class JointTrajectory:
    header: Header = field(default_factory=Header)
    joint_names: list[str] = field(default_factory=list)
    points: list[JointTrajectoryPoint] = field(default_factory=list)


class Context:
    everywhere: ClassVar[list["Context"]] = []

    def __init__(self) -> None:
        self.is_valid = False
        Context.everywhere.append(self)

    def ok(self) -> bool:
        return self.is_valid

    def try_shutdown(self) -> None:
        self.is_valid = False


class Publisher:
    def __init__(self, node: "Node", topic: str) -> None:
        self.node, self.topic = node, topic

    def get_subscription_count(self) -> int:
        return self.topic in self.node.world.listeners

    def publish(self, message: Any) -> None:
        if not self.node.context.is_valid:
            raise RCLError("Failed to publish: publisher's context is invalid")
        if (listener := self.node.world.listeners.get(self.topic)) is not None:
            listener(message)


class Node:
    def __init__(self, name: str, context: Context, world: "World") -> None:
        self.name, self.context, self.world = name, context, world
        self.callbacks: dict[str, Callable[[Any], None]] = {}
        self.is_destroyed = False
        world.nodes.append(self)

    def create_subscription(self, _kind: type, topic: str, callback: Any, _qos: Any) -> None:
        self.callbacks[topic] = callback

    def create_publisher(self, _kind: type, topic: str, _qos: Any) -> Publisher:
        return Publisher(self, topic)

    def get_clock(self) -> Any:
        stamp = types.SimpleNamespace
        return stamp(now=lambda: stamp(nanoseconds=self.world.nanoseconds()))

    def destroy_node(self) -> None:
        self.is_destroyed = True


class SingleThreadedExecutor:
    def __init__(self, *, context: Context) -> None:
        self.context = context
        self.nodes: list[Node] = []
        self.is_shut_down = False

    def add_node(self, node: Node) -> None:
        self.nodes.append(node)

    def spin(self) -> None:
        while self.context.ok() and not self.is_shut_down:
            for node in self.nodes:
                try:
                    topic, message = node.world.sent.get(timeout=0.01)
                except queue.Empty:
                    continue
                try:
                    if (callback := node.callbacks.get(topic)) is not None:
                        callback(message)
                finally:
                    node.world.sent.task_done()
        if not self.is_shut_down:
            raise ExternalShutdownException

    def shutdown(self, timeout_sec: float | None = None) -> bool:
        self.is_shut_down = True
        return timeout_sec is not None


class World:
    """The other nodes: what they publish, and who listens."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.sent: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.listeners: dict[str, Callable[[Any], None]] = {}
        self.nanoseconds = time.time_ns

    def publish(self, topic: str, message: Any) -> None:
        """Publish; returns at once."""
        self.sent.put((topic, message))

    def tell(self, topic: str, message: Any) -> None:
        """Publish, and wait until all callbacks have been called."""
        self.publish(topic, message)
        self.sent.join()

    def stamp(self, age_s: float = 0.0) -> Header:
        seconds, rest = divmod(self.nanoseconds() - round(1e9 * age_s), 1_000_000_000)
        return Header(Time(seconds, rest))


DEFAULT = Context()


def _init(
    *,
    args: list[str] | None = None,
    context: Context | None = None,
    domain_id: int | None = None,
    signal_handler_options: SignalHandlerOptions | None = None,
) -> None:
    options = signal_handler_options
    if options is None:
        is_default = context is None or context is DEFAULT
        options = SignalHandlerOptions.ALL if is_default else SignalHandlerOptions.NO
    (context or DEFAULT).is_valid = True
    for number, option in ((signal.SIGINT, 1), (signal.SIGTERM, 2)):
        if options.value in (option, SignalHandlerOptions.ALL.value):
            _take_over(number)


def _take_over(number: int) -> None:
    before: Any = signal.getsignal(number)

    def shut_down(*words: Any) -> None:
        for context in Context.everywhere:
            context.is_valid = False
        if callable(before):
            before(*words)

    signal.signal(number, shut_down)


def modules(world: World) -> dict[str, types.ModuleType]:
    """Return all modules by name."""
    made = {name: types.ModuleType(name) for name in NAMES}
    contents: dict[str, dict[str, Any]] = {
        "rclpy": {
            "Context": Context,
            "init": _init,
            "create_node": lambda name, *, context=DEFAULT: Node(name, context, world),
            "try_shutdown": lambda *, context=DEFAULT: context.try_shutdown(),
        },
        "rclpy.signals": {"SignalHandlerOptions": SignalHandlerOptions},
        "rclpy.executors": {
            "SingleThreadedExecutor": SingleThreadedExecutor,
            "ExternalShutdownException": ExternalShutdownException,
        },
        "rclpy.qos": {"qos_profile_sensor_data": object()},
        "sensor_msgs.msg": {"JointState": JointState, "Image": Image},
        "std_msgs.msg": {"Float64MultiArray": Float64MultiArray},
        "trajectory_msgs.msg": {
            "JointTrajectory": JointTrajectory,
            "JointTrajectoryPoint": JointTrajectoryPoint,
        },
    }
    for name, values in contents.items():
        vars(made[name]).update(values)
    return made


@contextmanager
def installed() -> Iterator[World]:
    """Have ROS 2 in this process for a while."""
    world = World()
    sys.modules.update(modules(world))
    try:
        yield world
    finally:
        for name in NAMES:
            del sys.modules[name]


class Arm:
    """A controller of positions and its driver, in threads of their own, as in another process."""

    def __init__(self, world: World, topic: str, names: tuple[str, ...]) -> None:
        self.world, self.names = world, names
        self.positions = dict.fromkeys(names, 0.0)
        self.received: list[list[float]] = []
        world.listeners[topic] = self.command
        threading.Thread(target=self.run, daemon=True).start()

    def command(self, message: Any) -> None:
        self.received.append(list(message.data))
        self.positions = dict(zip(self.names, message.data, strict=True))

    def run(self) -> None:
        while True:
            names = sorted(self.names)
            told = JointState(
                header=self.world.stamp(), name=names,
                position=doubles(self.positions[name] for name in names),
            )  # fmt: skip
            self.world.publish("/joint_states", told)
            picture = Image(
                header=self.world.stamp(), height=8, width=6, step=18, data=bytes(8 * 18)
            )
            self.world.publish("/camera", picture)
            time.sleep(0.005)
