"""The node that a ROS 2 robot has in this process: topics in, commands out.

It has a context of its own, in which ROS installs no handlers of SIGINT and SIGTERM: those of
`rclpy.init()` shut every context down, after which the hold at Ctrl-C could not be published any
more. `rclpy` is imported when the node is started, not before.
"""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.ros2.inbox import Inbox
from robodreamer_deploy.robots.ros2.settings import Ros2File

NAME = "robodreamer"
CLOSE_WITHIN_S = 2.0
PACKAGES = {"Float64MultiArray": "std_msgs.msg", "JointTrajectory": "trajectory_msgs.msg"}


class Ros2Node:
    """A node with an executor's thread that fills an `Inbox`, and a publisher of commands.

    Raises (when it is made):
        RobotError: There is no ROS 2 here.
    """

    def __init__(
        self, settings: Ros2File, joints: tuple[str, ...], now: Callable[[], float]
    ) -> None:
        self._settings, self._joints = settings, joints
        self.fault: str | None = None
        """Reason why no more messages arrive; None while they do."""
        self._rclpy = import_ros("rclpy")
        self._context = self._rclpy.Context()
        self._rclpy.init(
            args=[],  # the command line's words are not ROS's
            context=self._context,
            signal_handler_options=import_ros("rclpy.signals").SignalHandlerOptions.NO,
        )
        try:
            self._open(settings, now)
        except BaseException:
            self._rclpy.try_shutdown(context=self._context)
            raise

    def _open(self, settings: Ros2File, now: Callable[[], float]) -> None:
        self.node = self._rclpy.create_node(NAME, context=self._context)
        clock = self.node.get_clock()
        self.inbox = Inbox(now, lambda: int(clock.now().nanoseconds))
        self._command = getattr(import_ros(PACKAGES[settings.command.type]), settings.command.type)
        self._publisher = self.node.create_publisher(self._command, settings.command.topic, 1)
        self._subscribe()
        executors = import_ros("rclpy.executors")
        self._executor = executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name="ros2", daemon=True)

    def start(self) -> None:
        """Let messages come in."""
        self._thread.start()

    @property
    def has_listener(self) -> bool:
        """True if somebody takes the commands."""
        return self._publisher.get_subscription_count() > 0

    def publish(self, goals: Array, period_s: float) -> None:
        """Send goals (C,), positions or velocities in ROS's units, to be reached in a period.

        Raises:
            RobotError: Nobody listens, so that nothing would come of it.
        """
        if not self.has_listener:
            raise RobotError(
                f"nobody listens on {self._settings.command.topic}: is the controller running?"
            )
        values = [float(goal) for goal in goals]
        assert np.isfinite(values).all(), values
        if self._settings.command.type == "Float64MultiArray":
            self._publisher.publish(self._command(data=values))
            return
        point = import_ros("trajectory_msgs.msg").JointTrajectoryPoint(positions=values)
        point.time_from_start.sec = int(period_s)
        point.time_from_start.nanosec = round(1e9 * (period_s % 1.0))
        self._publisher.publish(self._command(joint_names=list(self._joints), points=[point]))

    def close(self) -> None:
        """End the thread and the node; the controller goes on with what it was last sent."""
        self._executor.shutdown(timeout_sec=CLOSE_WITHIN_S)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_WITHIN_S)
        self.node.destroy_node()
        self._rclpy.try_shutdown(context=self._context)

    def _subscribe(self) -> None:
        """Subscribe to the file's topics, to their newest messages, reliable or not."""
        sensors, numbers = import_ros("sensor_msgs.msg"), import_ros("std_msgs.msg")
        newest = import_ros("rclpy.qos").qos_profile_sensor_data

        def keep(topic: str) -> Callable[[Any], None]:
            return lambda message: self.inbox.put(topic, message)

        self.node.create_subscription(
            sensors.JointState, self._settings.joint_states, self.inbox.put_joints, newest
        )
        for topic in sorted({picture.topic for picture in self._settings.pictures.values()}):
            self.node.create_subscription(sensors.Image, topic, keep(topic), newest)
        for topic in sorted(set(self._settings.vectors.values())):
            self.node.create_subscription(numbers.Float64MultiArray, topic, keep(topic), newest)

    def _spin(self) -> None:
        """Be the executor's thread, until the executor is shut down."""
        try:
            self._executor.spin()
        except Exception as error:  # noqa: BLE001  a callback, or ROS itself, raises what it likes
            self.fault = f"the ROS 2 node ended with {type(error).__name__}: {error}"
        else:
            self.fault = "the ROS 2 node has ended"


def import_ros(name: str) -> Any:
    """Return a module of ROS 2.

    Raises:
        RobotError: It is not there.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise RobotError(
            f"{name} comes with a ROS 2 installation: source its setup file, and make the virtual "
            f"environment with --system-site-packages ({error})"
        ) from error
