"""A robot behind an address is the robot: same values, same episodes, same faults, in bounds."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zmq

import toy_policy
from robodreamer_deploy.contract import Array
from robodreamer_deploy.drive import Options, run
from robodreamer_deploy.errors import HungError, RemoteFault, RobotError, SignalError
from robodreamer_deploy.robots.base import check_features, is_enabling, is_episodic, is_stamped
from robodreamer_deploy.robots.loading import load_robot
from robodreamer_deploy.robots.remote.command_timeout import CommandTimeout
from robodreamer_deploy.robots.remote.robot import EpisodicRemoteRobot, RemoteRobot, make_robot
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.server_socket import Request
from robodreamer_deploy.robots.remote.wire import MAX_REPLY_BYTES, Message, encode
from served import ANY_PORT, in_a_hurry, served, serving
from toy_robot import CONTRACT, Bench, Point

ACTION = np.array([0.5, -0.25], np.float32)
pytestmark = pytest.mark.usefixtures("patient_driver")


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread does; the bound is for a test that fails."""
    end = time.monotonic() + 30.0
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.005)


class Moody(Bench):
    """A robot whose next reading is what a test wants it to be."""

    reading: Callable[[dict[str, Array]], Any] = staticmethod(lambda values: values)
    observation_stamps: Mapping[str, float] = {}

    def get_observation(self) -> dict[str, Array]:
        return self.reading(super().get_observation())


def raising(error: Exception) -> Callable[[Any], Any]:
    def reading(_: Any) -> Any:
        raise error

    return reading


@contextmanager
def driven(robot: Any, **settings: Any) -> Iterator[RemoteRobot]:
    """Serve a robot, and drive it from here."""
    with served(robot, CONTRACT, **settings) as server:
        remote = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        try:
            remote.connect()
            yield remote
        finally:
            remote.disconnect()


def point() -> Point:
    return Point("", CONTRACT)


def test_it_is_found_by_its_address_and_fits_the_policy() -> None:
    with served(point(), CONTRACT) as server:
        robot = load_robot(str(server.address), CONTRACT)
        check_features(robot, CONTRACT)
        assert is_episodic(robot)
        assert is_stamped(robot)
        robot.disconnect()


def test_it_has_episodes_only_where_the_robot_has() -> None:
    with driven(Bench("", CONTRACT)) as bench, driven(point()) as with_episodes:
        assert (is_episodic(bench), is_episodic(with_episodes)) == (False, True)


def test_an_episode_over_the_wire_is_the_one_without() -> None:
    near = point()
    near.start_episode(7)
    with driven(point()) as far:
        assert isinstance(far, EpisodicRemoteRobot)
        far.start_episode(7)
        while not near.is_episode_over:
            expected, read = near.get_observation(), far.get_observation()
            assert list(read) == list(expected)
            for name, value in read.items():
                np.testing.assert_array_equal(value, expected[name])
                assert value.dtype == expected[name].dtype
            np.testing.assert_array_equal(far.send_action(ACTION), near.send_action(ACTION.copy()))
            assert far.is_episode_over == near.is_episode_over
            assert far.episode_return == near.episode_return
            assert far.episode_success == near.episode_success


def test_a_robot_with_its_own_time_is_not_driven_fast(tmp_path: Path) -> None:
    policy = toy_policy.write_bundle(tmp_path / "toy")
    with (
        served(point(), CONTRACT) as server,
        pytest.raises(RobotError, match=r"--fast needs a simulator in this process, tcp://"),
    ):
        run(Options(policy=policy, robot=str(server.address), fast=True), lambda _: None)


def test_stamps_are_never_younger_than_the_value_and_hardly_older() -> None:
    robot = Moody("", CONTRACT)
    with driven(robot) as far:
        before = time.monotonic()
        robot.observation_stamps = {"image/eye": before - 0.3, "proprio/position": before}
        far.get_observation()
        after = time.monotonic()
        stamps = far.observation_stamps
        assert stamps.keys() == robot.get_observation().keys()
        travel = after - before
        for name, stamp in robot.observation_stamps.items():
            assert stamp - travel <= stamps[name] <= stamp + 1e-6  # the same clock, here
        assert before <= stamps["goal/target"] <= after  # no stamp: measured when it was returned


def test_time_that_a_reading_takes_does_not_make_it_older() -> None:
    robot = Moody("", CONTRACT)

    def slow(values: dict[str, Array]) -> dict[str, Array]:
        time.sleep(0.1)
        return values

    robot.reading = slow
    with driven(robot) as far:
        before = time.monotonic()
        far.get_observation()
        assert far.observation_stamps["image/eye"] >= before + 0.1


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (raising(SignalError("image/eye", "no frame")), (SignalError, "image/eye: no frame")),
        (raising(RobotError("the bus is silent")), (RobotError, "the bus is silent")),
        (raising(OSError("cable unplugged")), (RobotError, "cable unplugged")),
        (raising(KeyError("x")), (RemoteFault, r"KeyError in test_remote_robot\.py, line \d+")),
        (lambda v: {**v, "image/eye": np.array(["x"])}, (RobotError, "image/eye is of type <U1")),
        (lambda v: {**v, "image/eye": None}, (RobotError, "image/eye is of type object")),
        (lambda v: {**v, "x": np.zeros(MAX_REPLY_BYTES, np.uint8)}, (RobotError, "bytes long")),
    ],
)
def test_a_fault_there_is_the_same_fault_here_and_the_robot_goes_on(
    reading: Callable[..., Any], words: tuple[type[Exception], str]
) -> None:
    robot = Moody("", CONTRACT)
    with driven(robot) as far:
        robot.reading = reading
        with pytest.raises(words[0], match=words[1]):
            far.get_observation()
        del robot.reading
        assert "image/eye" in far.get_observation()


def test_nan_wrong_shapes_and_missing_cameras_pass_for_the_loop_to_check() -> None:
    robot = Moody("", CONTRACT)
    robot.reading = lambda values: {"proprio/position": np.array([np.nan, 0, 0], np.float64)}
    with driven(robot) as far:
        read = far.get_observation()
        assert list(read) == ["proprio/position"]
        with pytest.raises(SignalError, match=r"shape \(3,\)"):
            CONTRACT["proprio/position"].check(read["proprio/position"])


def test_a_hung_robot_is_given_up_within_the_bound_and_comes_back() -> None:
    robot, is_free = Moody("", CONTRACT), threading.Event()

    def hang(values: dict[str, Array]) -> dict[str, Array]:
        assert is_free.wait(10)
        return values

    robot.reading = hang
    with driven(robot) as far:
        start = time.monotonic()
        with in_a_hurry(far):
            with pytest.raises(RobotError, match=r"did not answer within 0\.2 s"):
                far.get_observation()
            with pytest.raises(RobotError, match=r"did not answer within 0\.5 s"):
                far.hold()
        assert time.monotonic() - start < 5.0
        is_free.set()
        far.hold()  # the answers that come too late are not taken for this one's
        assert far.get_observation().keys() == robot.get_observation().keys()


def test_a_command_that_was_overtaken_while_the_robot_hung_is_dropped() -> None:
    robot, is_free = Moody("", CONTRACT), threading.Event()
    with driven(robot) as far:
        robot.reading = lambda values: is_free.wait(10) and values
        for ask in (far.get_observation, lambda: far.send_action(ACTION), far.hold):
            with in_a_hurry(far), pytest.raises(RobotError):
                ask()
        num_holds = robot.num_holds
        is_free.set()
        far.hold()
        assert robot.sent == []
        assert robot.num_holds == num_holds + 2  # no hold is dropped


def test_commands_that_cease_hold_the_robot_and_are_not_taken_up_again_without_a_hold() -> None:
    robot = Bench("", CONTRACT)
    with driven(robot, within_s=0.1) as far:
        num_holds = robot.num_holds
        far.send_action(ACTION)
        wait_until(lambda: robot.num_holds > num_holds)
        far._acted_s = None  # a driver that does not watch its own time
        with pytest.raises(RobotError, match=r"commands had ceased for 0\.1 s: the robot was held"):
            far.send_action(ACTION)
        assert robot.num_holds == num_holds + 1
        far.hold()
        far.send_action(ACTION)
        assert len(robot.sent) == 2


def test_while_its_dead_mans_switch_is_released_a_served_robot_holds() -> None:
    robot: Any = Bench("", CONTRACT)
    robot.is_enabled = False
    with driven(robot) as far:
        assert is_enabling(far)
        assert not far.is_enabled, "so that who drives it goes on through a ramp"
        np.testing.assert_array_equal(far.send_action(ACTION), [0, 0])
        assert robot.sent == []
        robot.is_enabled = True
        far.get_observation()
        assert far.is_enabled
        far.send_action(ACTION)
        assert len(robot.sent) == 1


def test_a_switch_that_fails_is_released() -> None:
    class Broken(Bench):
        @property
        def is_enabled(self) -> bool:
            raise OSError("no joystick")

    with driven(robot := Broken("", CONTRACT)) as far:
        far.send_action(ACTION)
        assert robot.sent == []
        assert not far.is_enabled


def test_an_action_that_comes_late_is_held_instead_of_sent() -> None:
    robot = Bench("", CONTRACT)
    with driven(robot, within_s=30.0) as far:
        far.send_action(ACTION)
        assert far._acted_s is not None
        far._acted_s -= 20.0  # as if it had thought for so long
        np.testing.assert_array_equal(far.send_action(ACTION), [0, 0])
        assert len(robot.sent) == 1
        np.testing.assert_array_equal(far.send_action(ACTION), ACTION)


def test_a_robot_that_fails_to_hold_is_held_again() -> None:
    robot, attempts = Bench("", CONTRACT), []

    def fail() -> Array:
        attempts.append(time.monotonic())
        if len(attempts) < 3:
            raise OSError("the bus is silent")
        return np.zeros(2, np.float32)

    with driven(robot, within_s=0.05) as far:
        far.send_action(ACTION)
        robot.hold = fail
        wait_until(lambda: len(attempts) >= 3)


def test_it_has_one_driver_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Bench("", CONTRACT)
    with served(robot, CONTRACT) as server:
        argument = str(server.address).removeprefix("tcp:")
        first, second = make_robot(argument, CONTRACT), make_robot(argument, CONTRACT)
        first.connect()
        with pytest.raises(RobotError, match=r"has a driver, last heard \d\.\d s ago"):
            second.connect()
        with pytest.raises(RobotError, match="another driver"):
            second.send_action(ACTION)
        monkeypatch.setattr("robodreamer_deploy.robots.remote.server.SILENT_S", 0.0)
        second.connect()  # the first one was silent for too long
        with pytest.raises(RobotError, match="another driver"):
            first.hold()
        second.send_action(ACTION)
        second.disconnect()
        with pytest.raises(RobotError, match="another driver"):
            first.disconnect()
        assert len(robot.sent) == 1


def test_a_process_that_was_restarted_is_not_driven_on() -> None:
    with served(Bench("", CONTRACT), CONTRACT, within_s=30.0) as server:
        remote = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        remote.connect()
        remote.send_action(ACTION)
    start = time.monotonic()
    gone = pytest.raises(RobotError, match=r"did not answer within|is no longer there")
    with in_a_hurry(remote), gone:
        remote.hold()
    assert time.monotonic() - start < 5.0
    robot = Bench("", CONTRACT)
    with serving(Server(robot, CommandTimeout(robot, 1.0), CONTRACT, server.address, None)):
        with pytest.raises(RobotError, match="process is another one now"):
            remote.send_action(ACTION)
        assert robot.sent == []
        with pytest.raises(RobotError, match="another one now"):
            remote.disconnect()


def test_a_robot_that_is_gone_is_not_waited_for_as_long_as_a_busy_one() -> None:
    robot = point()
    with pytest.raises(HungError), served(robot, CONTRACT) as server:  # noqa: PT012
        remote = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        assert isinstance(remote, EpisodicRemoteRobot)
        remote.connect()

        def vanish(seed: int) -> None:
            server.close()
            raise HungError

        robot.start_episode = vanish
        start = time.monotonic()
        with pytest.raises(RobotError, match="is no longer there"):
            remote.start_episode(0)  # which may take 30 s
        assert time.monotonic() - start < 15.0
        with in_a_hurry(remote), pytest.raises(RobotError):
            remote.disconnect()


def test_an_address_without_a_robot_is_reported_within_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("robodreamer_deploy.robots.remote.client.CONNECT_WITHIN_S", 0.3)
    start = time.monotonic()
    with pytest.raises(RobotError, match=r"nobody listens at tcp://127\.0\.0\.1:9"):
        load_robot("tcp://127.0.0.1:9", CONTRACT)
    assert time.monotonic() - start < 2.5, "not the 3 s that it may take otherwise"


@pytest.mark.parametrize("answer", [b"", b"RDR1", b"\0" * 100, b"HTTP/1.1 200 OK", b"[]"])
def test_another_service_is_no_robot(answer: bytes) -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    socket = context.socket(zmq.ROUTER)
    port = socket.bind_to_random_port("tcp://127.0.0.1")

    def reply() -> None:
        sender, _ = socket.recv_multipart()
        socket.send_multipart([sender, answer])

    thread = threading.Thread(target=reply)
    thread.start()
    with pytest.raises(RobotError, match=r"sent no message of a robot: its header is none"):
        make_robot(f"//127.0.0.1:{port}", CONTRACT)
    thread.join()
    socket.close(0)
    context.term()


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.pop("is_episodic"),
        lambda fields: fields.update(command_within_s="soon"),
        lambda fields: fields.update(contract={}),
        lambda fields: fields["contract"].update(version=99),
    ],
)
def test_a_robot_with_another_description_is_refused(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], Any]
) -> None:
    describe = Server._describe

    def changed(server: Server, request: Request) -> Any:
        fields, arrays = describe(server, request)
        change(fields)
        return fields, arrays

    monkeypatch.setattr(Server, "_describe", changed)
    with (
        served(Bench("", CONTRACT), CONTRACT) as server,
        pytest.raises(RobotError, match=r"in another format|sent a malformed answer"),
    ):
        make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)


def test_another_contract_is_refused_before_anything_moves() -> None:
    faster = dataclasses.replace(CONTRACT, control_dt_s=0.01)
    scaled = dataclasses.replace(
        CONTRACT, action=dataclasses.replace(CONTRACT.action, high=(1.0, 1.0))
    )
    with served(Bench("", CONTRACT), CONTRACT) as server:
        refused = {"control_dt_s is 0.02, expected": faster, "action: high is": scaled}
        for words, contract in refused.items():
            with pytest.raises(RobotError, match=words):
                load_robot(str(server.address), contract)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("tcp://127.0.0.1", r"not of the form tcp://HOST:PORT"),
        ("tcp://127.0.0.1:99999", "not of the form"),
        ("tcp:127.0.0.1:5555", "not of the form"),
        ("tcp://a b:5555", "not of the form"),
        (
            "tcp://10.0.0.7:5555",
            r"not on this machine: name the driver's key as well, .*:driver",
        ),
        (
            "tcp://127.0.0.1:5555:none",
            "key none/driver.key_secret cannot be read: No such file",
        ),
    ],
)
def test_an_unusable_address_raises_a_clear_error(spec: str, words: str) -> None:
    with pytest.raises(RobotError, match=words):
        load_robot(spec, CONTRACT)


def test_requests_that_make_no_sense_raise_a_clear_error() -> None:
    robot = point()
    with driven(robot) as far:
        client = far._client
        for kind, fields, arrays, words in (
            ("dance", {}, {}, "there is no request 'dance', only describe, "),
            ("send_action", {}, {}, r"an action is float32 of shape \(2,\)"),
            ("send_action", {}, {"action": np.zeros(3, np.float32)}, "an action is float32"),
            ("send_action", {}, {"action": np.zeros(2)}, "an action is float32"),
            ("send_action", {}, {"action": ACTION * np.nan}, "is not finite"),
            ("start_episode", {"seed": -1}, {}, "a whole number from 0 on"),
            ("start_episode", {"seed": True}, {}, "a whole number from 0 on"),
            ("start_episode", {}, {}, "a whole number from 0 on"),
            ("verdict", {}, {}, "this robot has no verdict"),
            ("stop", {}, {}, "this robot has no stop"),
        ):
            with pytest.raises(RobotError, match=words):
                client.request(kind, within_s=10.0, fields=fields, arrays=arrays)
        assert robot.sent == []


def test_junk_is_counted_and_disturbs_nobody() -> None:
    context = zmq.Context[zmq.Socket[bytes]]()
    with served(point(), CONTRACT) as server:
        remote = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        remote.connect()
        junk = context.socket(zmq.DEALER)
        junk.connect(str(server.address))
        (whole,) = encode(Message(kind="hold"), max_bytes=1000)
        for data in (b"", b"junk", whole[:-1], whole + b"x"):
            junk.send(data)
        junk.send_multipart([whole, whole])
        junk.send(bytes(1 << 17))  # ZeroMQ drops the connection
        for _ in range(20):
            remote.send_action(ACTION)
        assert server.num_malformed == 5
        remote.disconnect()
        junk.close(0)
    context.term()


def test_a_hold_from_another_thread_waits_for_a_command_and_no_longer() -> None:
    robot = Bench("", CONTRACT)
    with driven(robot) as far:
        errors: list[BaseException] = []

        def hold() -> None:
            try:
                for _ in range(50):
                    far.hold()
            except BaseException as error:  # noqa: BLE001
                errors.append(error)

        thread = threading.Thread(target=hold)
        thread.start()
        for _ in range(50):
            far.send_action(ACTION)
        thread.join()
        assert errors == []
        assert robot.num_holds >= 50


def test_a_disconnected_robot_raises_a_clear_error_and_has_nothing_to_hold() -> None:
    robot = point()
    with served(robot, CONTRACT) as server:
        remote = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        remote.connect()
        remote.disconnect()
        remote.disconnect()
        num_holds = robot.num_holds
        np.testing.assert_array_equal(remote.hold(), [0, 0])
        assert robot.num_holds == num_holds  # it may have another driver by now
        with pytest.raises(RobotError, match="is disconnected"):
            remote.get_observation()


def test_stamps_do_not_run_backwards_where_messages_take_longer() -> None:
    robot = Moody("", CONTRACT)
    robot.observation_stamps = {"image/eye": time.monotonic()}
    with driven(robot) as far:
        stamps = []
        for _ in range(50):
            far.get_observation()
            stamps.append(far.observation_stamps["image/eye"])
        assert stamps == sorted(stamps)


def test_nothing_is_left_behind() -> None:
    before = threading.active_count()
    with driven(point()) as far:
        far.get_observation()
    context: AbstractContextManager[zmq.Context[Any]] = zmq.Context()
    with context as fresh:
        socket = fresh.socket(zmq.ROUTER)
        assert threading.active_count() == before
        socket.close(0)
    assert ANY_PORT.is_loopback
