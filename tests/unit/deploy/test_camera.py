"""Cameras: a film, a stream over HTTP, and devices that hang or vanish; and a robot of parts."""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    check_features,
    is_enabling,
    is_episodic,
)
from robodreamer_deploy.robots.camera import CameraSettings, OpenCVCamera
from robodreamer_deploy.robots.composite import CompositeRobot
from robodreamer_deploy.robots.image_fit import make_fit
from robodreamer_deploy.robots.loading import load_robot
from toy_robot import CONTRACT, IMAGE, Bench, Point

RATE_HZ = 50
SHAPE = (24, 32, 3)


def film_frame(number: int) -> np.ndarray:
    """Return a red picture, in OpenCV's order, with a bar that moves down."""
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:, :, 2] = 200
    frame[2 * number % 48 :][:4] = 0
    return frame


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), RATE_HZ, (64, 48))
    for number in range(15):
        writer.write(film_frame(number))
    writer.release()
    return path


def connect(source: Path | str, **settings: Any) -> OpenCVCamera:
    camera = OpenCVCamera(CameraSettings(source=str(source), **settings), SHAPE)
    camera.connect()
    return camera


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait for what another thread does; the bound is for a test that fails."""
    end = time.monotonic() + 60.0
    while not is_so() and time.monotonic() < end:
        time.sleep(0.005)


def test_a_film_is_shown_in_its_own_time_in_red_green_blue(film: Path) -> None:
    start = time.monotonic()
    camera = connect(film)
    first = camera.newest()
    assert first is not None
    assert (first.picture.shape, first.picture.dtype) == (SHAPE, np.uint8)
    red, green, blue = np.median(first.picture, axis=(0, 1))
    assert red > 150
    assert max(green, blue) < 60
    assert start <= first.stamp_s <= time.monotonic()
    wait_until(lambda: camera.report.num_frames > 10)
    later = camera.newest()
    assert later is not None
    assert later.number >= 10
    assert later.stamp_s - start >= later.number / RATE_HZ, "not as fast as it can be read"
    assert camera.report.num_dropped >= later.number - 2, "nobody asked in between"
    camera.disconnect()
    camera.disconnect()


def test_the_end_of_a_film_is_told_and_its_last_frame_gets_old(film: Path) -> None:
    camera = connect(film)
    wait_until(lambda: camera.fault is not None)
    assert camera.fault == f"the film {film} is over after 15 frames"
    last = camera.newest()
    assert last is not None
    assert last.number == 14
    time.sleep(0.05)
    assert camera.newest() == last, "its stamp tells how old it is"
    camera.disconnect()


def test_a_crop_is_cut_out_before_resizing(film: Path) -> None:
    picture = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
    cut = make_fit(SHAPE, (8, 16, 24, 32))(picture)
    np.testing.assert_array_equal(cut, picture[8:32, 16:48])
    with pytest.raises(RobotError, match=r"the crop \(40, 0, 24, 32\) lies outside .* 48 x 64"):
        make_fit(SHAPE, (40, 0, 24, 32))(picture)
    with pytest.raises(RobotError, match="lies outside of a picture"):
        connect(film, crop=(40, 0, 24, 32))


def test_a_picture_is_not_distorted_but_cut_to_the_shape_of_training() -> None:
    wide = np.zeros((48, 96, 3), np.uint8)
    wide[:, 24:72] = 255
    assert (make_fit((24, 24, 3))(wide) == 255).all()
    assert make_fit((24, 24, 1))(wide).shape == (24, 24, 1)
    assert make_fit((48, 96, 3))(wide) is wide
    with pytest.raises(RobotError, match=r"\(48, 96\) cannot become \(24, 24, 3\)"):
        make_fit((24, 24, 3))(wide[:, :, 0])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("/dev/video99", "there is no camera /dev/video99; there "),
        ("77", "camera 77 cannot be opened; there "),
        (__file__, "cannot be opened"),
    ],
)
def test_a_camera_that_is_not_there_is_refused(source: str, words: str) -> None:
    with pytest.raises(RobotError, match=words):
        connect(source)


class Capture:
    """A device driver, as far as OpenCV's capture shows it; it can be unplugged, or hang."""

    def __init__(self, *, hangs_after: int = 10**9, unplugged_after: int = 10**9) -> None:
        self.hangs_after, self.unplugged_after = hangs_after, unplugged_after
        self.let_go = threading.Event()
        self.num_grabbed = 0
        self.is_released = False

    def get(self, _: int) -> float:
        return 100.0

    def grab(self) -> bool:
        time.sleep(0.01)
        if self.num_grabbed >= self.hangs_after:
            self.let_go.wait()
        self.num_grabbed += 1
        return self.num_grabbed <= self.unplugged_after

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((48, 64, 3), np.uint8)

    def release(self) -> None:
        self.is_released = True


def device(capture: Capture) -> OpenCVCamera:
    return OpenCVCamera(
        CameraSettings(source="/dev/video0"), SHAPE, open_capture=lambda settings: capture
    )


def test_an_unplugged_camera_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    capture = Capture(unplugged_after=3)
    robot = CompositeRobot(Bench("", CONTRACT), {"image/side": device(capture)})
    robot.connect()
    with caplog.at_level(logging.ERROR):
        wait_until(lambda: bool(caplog.text))
    assert "/dev/video0 gives no more frames, 3 came; was it unplugged?" in caplog.text
    assert "image/side" not in robot.get_observation()
    robot.disconnect()
    assert capture.is_released


def test_a_driver_that_hangs_neither_delays_a_reading_nor_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("robodreamer_deploy.robots.camera.CLOSE_WITHIN_S", 0.2)
    capture = Capture(hangs_after=2)
    camera = device(capture)
    camera.connect()
    wait_until(lambda: camera.report.num_frames == 2)
    time.sleep(0.06)
    frame = camera.newest()
    assert frame is not None
    assert time.monotonic() - frame.stamp_s > 0.05, "its age shows that it hangs"
    camera.disconnect()
    assert not capture.is_released, "the thread hangs in the driver and is left behind"
    assert "does not let itself be closed" in caplog.text
    capture.let_go.set()


def test_a_camera_that_never_shows_anything_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robodreamer_deploy.robots.camera.FIRST_FRAME_WITHIN_S", 0.1)
    capture = Capture(hangs_after=0)
    monkeypatch.setattr("robodreamer_deploy.robots.camera.CLOSE_WITHIN_S", 0.1)
    with pytest.raises(RobotError, match=r"/dev/video0 gave no picture within 0\.1 s"):
        device(capture).connect()
    capture.let_go.set()


def test_late_frames_are_counted() -> None:
    capture = Capture()
    camera = device(capture)
    camera.connect()
    capture.grab = lambda: time.sleep(0.04) or True  # 100 a second were promised
    wait_until(lambda: camera.report.num_late >= 2)
    camera.disconnect()
    assert camera.report.num_late >= 2


class Stream(BaseHTTPRequestHandler):
    """Motion JPEG, as network cameras serve it: 10 frames, then the line breaks."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for number in range(10):
            jpeg = cv2.imencode(".jpg", film_frame(number))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
            time.sleep(0.02)

    def log_message(self, format: str, *_: Any) -> None:  # noqa: A002  the base's name
        pass


@pytest.fixture
def stream() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/stream.mjpg"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_stream_is_shown_and_its_end_is_told(stream: str) -> None:
    camera = connect(stream)
    frame = camera.newest()
    assert frame is not None
    assert np.median(frame.picture[:, :, 0]) > 150
    wait_until(lambda: camera.fault is not None)
    assert camera.fault is not None
    assert "the stream broke off" in camera.fault
    camera.disconnect()


# --- a robot of parts ------------------------------------------------------------------------


class Blind(Bench):
    """The toy without its own eye and target."""

    @property
    def observation_features(self) -> dict[str, tuple[int, ...]]:
        return {"proprio/position": (2,)}

    def get_observation(self) -> dict[str, np.ndarray]:
        return {"proprio/position": self.position.astype(np.float32)}


def composite(tmp_path: Path, **parts: Any) -> str:
    path = tmp_path / "parts.json"
    path.write_text(json.dumps({"robot": f"{__file__}:Blind", **parts}))
    return f"composite:{path}"


def test_robot_camera_and_goal_form_one_robot(film: Path, tmp_path: Path) -> None:
    spec = composite(
        tmp_path,
        cameras={"image/eye": {"source": str(film)}},
        goals={"goal/target": [0.25, -0.5]},
    )
    robot = load_robot(spec, CONTRACT)
    assert isinstance(robot, CompositeRobot)
    check_features(robot, CONTRACT)
    robot.connect()
    observation = robot.get_observation()
    CONTRACT.check(observation, inputs_only=True)
    assert observation["image/eye"].shape == IMAGE
    assert robot.observation_stamps.keys() == observation.keys()
    assert robot.observation_stamps["image/eye"] <= robot.observation_stamps["proprio/position"]
    np.testing.assert_array_equal(observation["goal/target"], np.array([0.25, -0.5], np.float32))
    robot.set_goal("goal/target", [1.0, 2.0])
    np.testing.assert_array_equal(robot.get_observation()["goal/target"], [1, 2])
    robot.disconnect()
    robot.disconnect()


def test_a_goal_that_is_none_is_refused() -> None:
    robot = CompositeRobot(Blind("", CONTRACT), {}, {"goal/target": np.zeros(2)})
    with pytest.raises(ValueError, match="there is no goal/place; there are goal/target"):
        robot.set_goal("goal/place", [0, 0])
    for bad in ([0.0], [np.nan, 0.0]):
        with pytest.raises(ValueError, match=r"goal/target takes \(2,\) finite values"):
            robot.set_goal("goal/target", bad)


def test_a_part_that_fails_leaves_no_other_connected() -> None:
    class Dead(Blind):
        def connect(self) -> None:
            raise RobotError("no power")

    for robot, other in (
        (Blind("", CONTRACT), OpenCVCamera(CameraSettings(source="/dev/video99"), SHAPE)),
        (Dead("", CONTRACT), device(Capture())),
    ):
        capture = Capture()
        composite = CompositeRobot(robot, {"image/eye": device(capture), "image/side": other})
        with pytest.raises(RobotError, match=r"no power|no camera"):
            composite.connect()
        assert capture.is_released
        assert not robot.is_connected


def test_a_rig_has_the_dead_mans_switch_and_the_episodes_of_its_robot() -> None:
    class Careful(Blind):
        is_enabled = False

    composite: Any = CompositeRobot(Careful("", CONTRACT), {})
    assert is_enabling(composite)
    assert not composite.is_enabled
    assert not is_episodic(composite)
    assert not is_enabling(CompositeRobot(Blind("", CONTRACT), {}))
    assert is_episodic(CompositeRobot(Point("", CONTRACT), {}))
    with pytest.raises(AttributeError, match="CompositeRobot has no wheels"):
        _ = CompositeRobot(Blind("", CONTRACT), {}).wheels


def test_a_missing_camera_leaves_no_part_connected(tmp_path: Path) -> None:
    spec = composite(tmp_path, cameras={"image/eye": {"source": "/dev/video99"}})
    robot: Any = load_robot(spec, CONTRACT)
    with pytest.raises(RobotError, match="image/eye: there is no camera /dev/video99"):
        robot.connect()
    assert not robot.robot.is_connected


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"cameras": {"image/ear": {"source": "0"}}}, "has image/ear; the policy reads goal/"),
        ({"cameras": {"image/eye": {"sauce": "0"}}}, "has unknown fields: sauce"),
        ({"cameras": {"image/eye": {"source": "0", "rate_hz": 0}}}, "rate_hz 0.0 is not above 0"),
        ({"robot": "dynamixel:gone.json"}, "gone.json cannot be read"),
        ({"goals": {"proprio/position": [0, 0]}}, "two parts of the robot deliver proprio/posit"),
    ],
)
def test_a_rig_that_cannot_be_is_refused(tmp_path: Path, parts: dict[str, Any], words: str) -> None:
    with pytest.raises(RobotError, match=words):
        load_robot(composite(tmp_path, **parts), CONTRACT)
