"""A robot's process under whatever arrives: answers, its driver's first, and no end."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from test_wire import ARRAYS, JSON

from robodreamer_deploy.contract import Array
from robodreamer_deploy.drive_options import make_remote_commands
from robodreamer_deploy.errors import RemoteFault, RobotError
from robodreamer_deploy.robots.remote import server as module
from robodreamer_deploy.robots.remote.client import Answer, Client
from robodreamer_deploy.robots.remote.command_timeout import CommandTimeout
from robodreamer_deploy.robots.remote.robot import Description, EpisodicRemoteRobot, make_robot
from robodreamer_deploy.robots.remote.server import Server
from robodreamer_deploy.robots.remote.server_socket import (
    MAX_WAITING_MESSAGES,
    MAX_WAITING_SENDERS,
    OTHERS_AT_ONCE,
    WARN_EVERY_S,
    Parts,
    RequestQueue,
    ThrottledWarnings,
)
from robodreamer_deploy.robots.remote.wire import (
    MAX_ARRAYS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    Message,
    decode,
    encode,
    raise_error,
)
from served import ANY_PORT, NO_RAMP, in_a_hurry, served, serving
from toy_robot import CONTRACT, Bench, Point

ACTION = np.array([0.5, -0.25], np.float32)
pytestmark = pytest.mark.usefixtures("patient_driver")
KINDS = ("describe", "connect", "get_observation", "send_action", "hold", "start_episode",
         "disconnect", "verdict", "stop", "dance", "")  # fmt: skip


def request(
    kind: str, fields: Mapping[str, Any], arrays: Mapping[str, Array] | None = None
) -> list[bytes]:
    return encode(Message(kind=kind, fields=fields, arrays=arrays or {}), max_bytes=1 << 16)


class Stranger:
    """A server that runs in this thread, and a socket that sends it anything."""

    def __init__(self, robot: Any) -> None:
        self.robot = robot
        timeout = CommandTimeout(make_remote_commands(NO_RAMP, robot, CONTRACT), 1.0)
        self.server = Server(robot, timeout, CONTRACT, ANY_PORT, None)
        self._context = zmq.Context[zmq.Socket[bytes]]()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.connect(str(self.server.address))
        self.number = 0

    def send(self, frames: list[bytes]) -> Message | None:
        """Send the server a message and let it handle it; return its answer, None if refused."""
        self._socket.send_multipart(frames)
        server_socket = self.server._socket._socket
        assert server_socket.poll(60_000), "a message has to arrive before it is handled"
        counted = self.server.num_malformed
        self.server.handle(1.0)
        if self.server.num_malformed > counted:
            return None
        assert self._socket.poll(1000), "neither answered nor counted"
        return decode(self._socket.recv_multipart(), max_bytes=MAX_REPLY_BYTES)

    def ask(
        self, kind: str, session: str = "mine", arrays: Mapping[str, Array] | None = None
    ) -> Message:
        """Send a request that is well formed."""
        self.number += 1
        answer = self.send(request(kind, {"session": session, "number": self.number}, arrays))
        assert answer is not None
        return answer

    def close(self) -> None:
        self._socket.close()
        self._context.term()
        self.server.close()


@contextmanager
def stranger(robot: Any) -> Iterator[Stranger]:
    """Open a server to anything."""
    opened = Stranger(robot)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module")
def anything() -> Iterator[Stranger]:
    with stranger(Point("", CONTRACT)) as opened:
        yield opened


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    kind=st.sampled_from(KINDS) | st.text(max_size=20),
    fields=st.dictionaries(
        st.sampled_from(("session", "number", "seed", "x")), JSON | st.just("s")
    ),
    arrays=st.dictionaries(st.sampled_from(("action", "x")), ARRAYS, max_size=2),
)
@example(kind="describe", fields={"session": []}, arrays={})
@example(kind="describe", fields={"session": {"a": [1]}, "number": {}}, arrays={})
@example(kind="connect", fields={"session": "s", "number": [[]]}, arrays={})
@example(kind="send_action", fields={"session": "s", "number": True}, arrays={})
def test_every_message_is_answered_or_counted_and_the_server_goes_on(
    anything: Stranger, kind: str, fields: dict[str, Any], arrays: dict[str, Array]
) -> None:
    num_malformed = anything.server.num_malformed
    answer = anything.send(request(kind, fields, arrays))
    assert (answer is None) == (anything.server.num_malformed == num_malformed + 1)
    assert anything.ask("describe", "afterwards").kind == "answer"


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"session": "s"}, {"number": 1}, {"session": [], "number": 1},
        {"session": {}, "number": 1}, {"session": None, "number": 1}, {"session": "", "number": 1},
        {"session": 7, "number": 1}, {"session": "s" * 65, "number": 1},
        {"session": "s", "number": 0}, {"session": "s", "number": -1},
        {"session": "s", "number": 1.0}, {"session": "s", "number": "1"},
        {"session": "s", "number": True}, {"session": "s", "number": None},
        {"session": "s", "number": 2**63}, {"session": "s", "number": 10**4000},
    ],
)  # fmt: skip
def test_a_message_without_a_session_or_number_is_counted(
    anything: Stranger, fields: dict[str, Any]
) -> None:
    num_malformed = anything.server.num_malformed
    assert anything.send(request("describe", fields)) is None
    assert anything.server.num_malformed == num_malformed + 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 5000])
def test_a_message_with_a_malformed_number_is_counted(anything: Stranger, number: str) -> None:
    num_malformed = anything.server.num_malformed
    fields = f'{{"session":"s","number":{number}}}'
    header = f'{{"version":1,"kind":"hold","fields":{fields},"arrays":[]}}'
    assert anything.send([header.encode()]) is None
    assert anything.server.num_malformed == num_malformed + 1


@pytest.mark.parametrize(
    "arrays",
    [
        {}, {"action": np.zeros(3, np.float32)}, {"action": np.zeros((2, 1), np.float32)},
        {"action": np.zeros(2)}, {"action": np.zeros(2, np.int64)}, {"other": ACTION},
        {"action": np.zeros(10_000, np.float32)}, {"action": np.array(1.0, np.float32)},
    ],
)  # fmt: skip
def test_an_action_of_another_shape_or_type_is_refused_and_held(arrays: dict[str, Array]) -> None:
    with stranger(robot := Bench("", CONTRACT)) as driver:
        driver.ask("connect")
        driver.ask("send_action", arrays={"action": ACTION})
        num_holds = robot.num_holds
        answer = driver.ask("send_action", arrays=arrays)
        assert answer.kind == "error"
        assert "float32 of shape (2,); the robot holds" in answer.fields["text"]
        assert (len(robot.sent), robot.num_holds) == (1, num_holds + 1)


class WordlessError(Exception):
    def __str__(self) -> str:
        raise KeyError("no words")


def raise_(error: BaseException) -> Any:
    raise error


@pytest.mark.parametrize(
    "reading",
    [
        lambda: None,
        lambda: 7,
        lambda: ["image/eye"],
        lambda: {7: np.zeros(2, np.float32)},
        lambda: {"image/eye": [[1], [2, 3]]},
        lambda: {"image/eye": object()},
        lambda: raise_(WordlessError()),
        lambda: raise_(SystemExit(3)),
        lambda: raise_(GeneratorExit()),
        lambda: raise_(RecursionError("deep")),
        lambda: raise_(RobotError("x" * (1 << 22))),
        lambda: raise_(OSError("\x1b[31m\ud800")),
    ],
)
def test_a_faulty_value_of_the_robots_class_is_answered_with_an_error(
    reading: Callable[[], Any],
) -> None:
    robot: Any = Bench("", CONTRACT)
    with stranger(robot) as driver:
        driver.ask("connect")
        robot.get_observation = reading
        assert driver.ask("get_observation").kind == "error"
        del robot.get_observation
        assert driver.ask("get_observation").kind == "answer"


@pytest.mark.parametrize("stamp", [float("nan"), float("inf"), -float("inf"), 10**400, None, "now"])
def test_a_stamp_that_is_no_time_is_answered_with_its_signal(stamp: Any) -> None:
    robot: Any = Bench("", CONTRACT)
    robot.observation_stamps = {"image/eye": stamp}
    with stranger(robot) as driver:
        driver.ask("connect")
        fields = driver.ask("get_observation").fields
        assert (fields["cause"], fields["key"]) == ("signal", "image/eye")
        assert "which is no time" in fields["text"]
        robot.observation_stamps = stamp  # out of a function that forgot to return a mapping
        fields = driver.ask("get_observation").fields
        assert (fields["cause"], fields["key"]) == ("signal", "observation_stamps")


def test_numpys_numbers_are_taken_as_pythons_own() -> None:
    """As they are in one process: a robot that compares and measures with numpy is a robot."""
    no, yes = np.array([0.0, 1.0]) > 0.5

    class Compares(Point):
        @property
        def is_episode_over(self) -> Any:
            return yes

        @property
        def episode_success(self) -> Any:
            return no

        @property
        def episode_return(self) -> Any:
            return np.float32(2.5)

        @property
        def observation_stamps(self) -> dict[str, Any]:
            return {"image/eye": np.float32(time.monotonic() - 3.0), "goal/target": np.int64(0)}

    with stranger(Compares("", CONTRACT)) as driver:
        fields = driver.ask("connect").fields
        assert (fields["is_over"], fields["success"], fields["episode_return"]) == (
            True, False, 2.5,
        )  # fmt: skip
        ages = driver.ask("get_observation").fields["ages_s"]
        assert ages["image/eye"] == pytest.approx(3.0, abs=1.0)


def test_requests_that_are_sent_again_do_nothing() -> None:
    with stranger(robot := Bench("", CONTRACT)) as driver:
        driver.ask("connect")
        again = request("send_action", {"session": "mine", "number": 2}, {"action": ACTION})
        first = driver.send(again)
        assert first is not None
        assert first.kind == "answer"
        for _ in range(6):
            answer = driver.send(again)
            assert answer is not None
            assert "request 2 comes after request 2 of the same session" in answer.fields["text"]
        driver.number = 9
        driver.ask("hold")
        late = driver.send(
            request("send_action", {"session": "mine", "number": 9}, {"action": ACTION})
        )
        assert late is not None
        assert late.kind == "error"
        assert len(robot.sent) == 1


def test_a_whole_session_that_is_sent_again_does_nothing() -> None:
    with stranger(robot := Bench("", CONTRACT)) as driver:
        for _ in range(2):
            driver.number = 0
            driver.ask("connect")
            driver.ask("send_action", arrays={"action": ACTION})
            driver.ask("disconnect")
        assert len(robot.sent) == 1
        assert driver.ask("connect", "another session").kind == "answer"


def test_nobody_calls_methods_of_a_class_that_happen_to_be_called_stop() -> None:
    robot: Any = Bench("", CONTRACT)
    robot.stop = robot.verdict = lambda *_: raise_(AssertionError())
    with stranger(robot) as visitor:
        for kind in ("stop", "verdict"):
            assert visitor.ask(kind).fields["text"] == f"this robot has no {kind}"


# --- who is answered when ---------------------------------------------------------------------


def messages(sender: bytes, count: int) -> list[Parts]:
    return [[sender, b"%d" % number] for number in range(count)]


def test_the_driver_is_answered_first_and_all_at_once() -> None:
    turn = RequestQueue().next([*messages(b"stranger", 50), *messages(b"driver", 3)], b"driver")
    assert turn[:3] == messages(b"driver", 3)
    assert len(turn) == 4  # one of the stranger's


def test_others_are_answered_in_turn_and_a_few_at_a_time() -> None:
    queue = RequestQueue()
    names = [b"%d" % number for number in range(2 * OTHERS_AT_ONCE)]
    received = [parts for name in names for parts in messages(name, 2)]
    turns = [queue.next(received, None)]
    while queue:
        turns.append(queue.next([], None))
    assert all(len(turn) == OTHERS_AT_ONCE for turn in turns)
    assert [parts[0] for turn in turns for parts in turn] == names + names


def test_the_number_of_waiting_messages_is_bounded() -> None:
    queue, count = RequestQueue(), 0
    names = [b"%d" % number for number in range(3 * MAX_WAITING_SENDERS)]
    queue.next([parts for name in names for parts in messages(name, 40)], None)
    while queue:
        count += len(queue.next([], None))
    assert count <= MAX_WAITING_SENDERS * MAX_WAITING_MESSAGES


def test_a_flood_of_strangers_does_not_keep_the_driver_waiting() -> None:
    with stranger(robot := Bench("", CONTRACT)) as driver:
        driver.ask("connect")
        flood = request("describe", {"session": "s", "number": 1})
        queue = driver.server._socket._queue
        queue.next([[b"%d" % i, *flood] for i in range(MAX_WAITING_SENDERS)], None)
        assert driver.ask("send_action", arrays={"action": ACTION}).kind == "answer"  # in one turn
        assert queue, "the strangers still wait"
        assert len(robot.sent) == 1


def test_warnings_that_strangers_cause_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    warnings = ThrottledWarnings(lambda: now)
    with caplog.at_level(logging.WARNING):
        for _ in range(3000):
            warnings.add("\x1b[2J" + "x" * 70_000)
        now = WARN_EVERY_S
        warnings.add("another")
    assert len(caplog.messages) == 2
    assert len(caplog.messages[0]) < 300
    assert "\x1b" not in caplog.text
    assert caplog.messages[1] == "another (and 2999 others)"


@pytest.mark.parametrize(
    "frames",
    [
        [b"x"] * (MAX_ARRAYS + 2),
        [bytes(MAX_REQUEST_BYTES // 2 + 1)] * 2,
    ],
)
def test_a_message_that_is_too_long_is_refused_before_it_waits(
    anything: Stranger, frames: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeroMQ bounds each frame, and the server their number and sum."""
    waiting: list[Parts] = []
    monkeypatch.setattr(
        RequestQueue, "next", lambda _, received, __: waiting.extend(received) or []
    )
    assert anything.send(frames) is None
    assert waiting == []


def test_malformed_messages_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    with stranger(Bench("", CONTRACT)) as visitor:
        for _ in range(300):
            visitor.send([b"junk"])
        assert visitor.server.num_malformed == 300
    assert len(caplog.messages) == 1


# --- a process that ends ----------------------------------------------------------------------


def forever(ask: Callable[[], object]) -> None:
    while True:
        ask()


def test_the_end_of_the_robots_process_and_its_hold_are_answered_to_the_driver() -> None:
    robot, ends = Point("", CONTRACT), threading.Event()
    timeout = CommandTimeout(make_remote_commands(NO_RAMP, robot, CONTRACT), 30.0)
    with serving(Server(robot, timeout, CONTRACT, ANY_PORT, None), ends) as server:
        far = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        far.connect()
        far.send_action(ACTION)
        num_holds = robot.num_holds
        ends.set()
        for ask in (far.get_observation, lambda: far.send_action(ACTION)):
            with pytest.raises(RemoteFault, match=r"process ends \(SIGTERM\); it has had it hold"):
                forever(ask)
        np.testing.assert_array_equal(far.hold(), [0, 0])  # confirmed: no false alarm
        far.disconnect()
    assert robot.num_holds == num_holds + 1


def test_the_last_answer_reaches_a_driver_that_is_slow_to_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ZeroMQ drops what was not read when its connection ends, so the process has to stay."""
    monkeypatch.setattr(module, "GOODBYE_S", 60.0)
    robot, ends = Bench("", CONTRACT), threading.Event()
    timeout = CommandTimeout(make_remote_commands(NO_RAMP, robot, CONTRACT), 30.0)
    server = Server(robot, timeout, CONTRACT, ANY_PORT, None)

    def serve_and_close() -> None:
        with closing(server):
            server.serve(lambda: ends.is_set() and "SIGTERM")

    process = threading.Thread(target=serve_and_close)
    process.start()
    far = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
    far.connect()
    ends.set()
    with pytest.raises(RemoteFault, match="process ends"):
        forever(far.get_observation)
    receive = far._client._receive

    def receive_late(end: float) -> Message | None:
        process.join(0.2)  # in which one that did not wait would be gone
        return receive(end)

    monkeypatch.setattr(far._client, "_receive", receive_late)
    far.disconnect()
    process.join(30.0)
    assert not process.is_alive(), "it does not wait for longer than its driver is there"


def test_no_hold_is_confirmed_at_the_end_if_it_failed() -> None:
    robot: Any = Bench("", CONTRACT)
    with stranger(robot) as driver:
        driver.ask("connect")
        robot.hold = lambda: raise_(OSError("no bus"))
        driver.server.shut_down("SIGTERM")
        answer = driver.ask("hold")
        assert (answer.kind, answer.fields["text"]) == ("error", "no bus")


def test_the_error_of_an_unconfirmed_hold_names_the_command_timeout() -> None:
    with served(Bench("", CONTRACT), CONTRACT) as server:
        far = make_robot(str(server.address).removeprefix("tcp:"), CONTRACT)
        far.connect()
    with in_a_hurry(far):
        words = r"if its process still runs, it has been holding since 30 s"
        with pytest.raises(RobotError, match=words):
            far.hold()
        with pytest.raises(RobotError):
            far.disconnect()


# --- the driver's side ------------------------------------------------------------------------


@settings(deadline=None)
@given(
    fields=st.dictionaries(
        st.sampled_from(
            ("ages_s", "busy_s", "is_enabled", "is_over", "episode_return", "success", "verdict",
             "cause", "text", "key")
        ),
        JSON,
    ),
    arrays=st.dictionaries(st.sampled_from(("action", "image/eye")), ARRAYS, max_size=2),
    kind=st.sampled_from(("answer", "error", "other")),
)  # fmt: skip
@example(fields={}, arrays={}, kind="answer")
@example(fields={"cause": [], "text": {}}, arrays={}, kind="error")
def test_answers_of_any_kind_are_faults_of_the_robot_for_its_driver(
    fields: dict[str, Any], arrays: dict[str, Array], kind: str
) -> None:
    far = _driver_that_is_told(
        Message(kind=kind, fields=json.loads(json.dumps(fields)), arrays=arrays)
    )
    for ask in (far.get_observation, lambda: far.send_action(ACTION), far.hold, far.verdict):
        try:
            ask()
        except (RobotError, RemoteFault, ValueError):
            continue
    assert far.is_enabled in (True, False)


def _driver_that_is_told(answer: Message) -> Any:
    """Return a driver whose robot answers everything alike, without a network."""

    class Told(Client):
        def __init__(self) -> None:
            self.address = ANY_PORT

        def request(self, kind: str, **_: Any) -> Answer:
            if answer.kind == "error":
                raise_error(answer.fields)
            return Answer(answer, 0.0)

    description = Description(
        contract={}, observation_features={}, action_features={}, is_episodic=True,
        command_within_s=1.0,
    )  # fmt: skip
    far = EpisodicRemoteRobot(Told(), description, CONTRACT)
    far._is_connected = True
    return far
