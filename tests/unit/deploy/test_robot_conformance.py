"""The conformance suite finds every kind of broken promise, each by the check that is for it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robodreamer_deploy.cli import check_robot
from robodreamer_deploy.cli.main import main
from robodreamer_deploy.contract import Array, Contract
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.robots.base import (
    check_features,
)
from robodreamer_deploy.robots.conformance import (
    CHECKS,
    ConformanceError,
    RobotUnderTest,
    SkippedCheckError,
    examine,
)
from toy_policy import write_bundle
from toy_robot import CONTRACT, Bench, FakeClock

ALL = [signal.name for signal in CONTRACT.observations]


class Fit(Bench):
    """Keeps every promise."""

    def __init__(self) -> None:
        super().__init__("", CONTRACT)
        self._stamps: dict[str, float] = {}

    @property
    def observation_stamps(self) -> dict[str, float]:
        return self._stamps

    def get_observation(self) -> Any:
        self._stamps = dict.fromkeys(self.observation_features, time.monotonic())
        return super().get_observation()


class Eyeless(Fit):
    @property
    def observation_features(self) -> Any:
        return {"proprio/position": (2,), "goal/target": (2,)}


class AskedTooEarly(Fit):
    """Holds only what is connected."""

    def hold(self) -> Any:
        if not self.is_connected:
            raise RobotError("connect first")
        return super().hold()


class ClosedTwice(Fit):
    """Closes what is open, and stumbles over the rest."""

    is_closed = False

    def disconnect(self) -> None:
        assert not self.is_closed, "no handle"
        self.is_closed = True
        super().disconnect()


class Dead(Fit):
    def connect(self) -> None:
        raise RobotError("no power")


class Blinking(Fit):
    """Its camera shows nothing, ever."""

    def get_observation(self) -> Any:
        return {k: v for k, v in super().get_observation().items() if k != "image/eye"}


class Numb(Fit):
    def get_observation(self) -> Any:
        return {k: v for k, v in super().get_observation().items() if k != "proprio/position"}


class NotANumber(Fit):
    def get_observation(self) -> Any:
        return {**super().get_observation(), "proprio/position": np.array([np.nan, 0], np.float32)}


class Precise(Fit):
    """Measures in double precision."""

    def get_observation(self) -> Any:
        return {**super().get_observation(), "proprio/position": np.zeros(2)}


class Prophet(Fit):
    """Stamps by another clock than the monotonic one."""

    def get_observation(self) -> Any:
        observation = super().get_observation()
        self._stamps["image/eye"] += 3600.0
        return observation


class Backwards(Fit):
    def get_observation(self) -> Any:
        observation = super().get_observation()
        self._stamps["image/eye"] = -time.monotonic()
        return observation


class Stamper(Fit):
    def get_observation(self) -> Any:
        observation = super().get_observation()
        self._stamps["image/ear"] = 0.0
        return observation


class Silent(Fit):
    """Does not tell what it did."""

    def send_action(self, action: Any) -> Any:
        super().send_action(action)


class InMillimetres(Fit):
    """Tells it in its own units."""

    def send_action(self, action: Any) -> Any:
        return 1e3 * super().send_action(action) + 20.0


class Sinking(Fit):
    """Measures the pose again with each hold, while it sinks."""

    depth = 0.0

    def hold(self) -> Any:
        self.depth += 0.1
        return np.full(2, -self.depth, np.float32)


class OneHold(Fit):
    """Cannot hold what it holds."""

    def hold(self) -> Any:
        if self.is_connected and self.num_holds:
            raise RobotError("already holding")
        return super().hold()


class Slow(Fit):
    def get_observation(self) -> Any:
        time.sleep(CONTRACT.control_dt_s * 1.2)
        return super().get_observation()


class Hung(Fit):
    def hold(self) -> Any:
        time.sleep(0.15)
        return super().hold()


class Black(Fit):
    def get_observation(self) -> Any:
        observation = super().get_observation()
        return {**observation, "image/eye": np.zeros_like(observation["image/eye"])}


class Yesterday(Fit):
    """A camera whose frames are five seconds old when they arrive."""

    def get_observation(self) -> Any:
        observation = super().get_observation()
        self._stamps["image/eye"] -= 5.0
        return observation


class Late(Fit):
    """One reading in three takes longer than two periods, the median none at all."""

    number = 0

    def get_observation(self) -> Any:
        self.number += 1
        if self.number % 3 == 0:
            time.sleep(2.2 * CONTRACT.control_dt_s)
        return super().get_observation()


class Timeless(Fit):
    def get_observation(self) -> Any:
        observation = super().get_observation()
        self._stamps["image/eye"] = np.nan
        return observation


class Enabled(Fit):
    is_enabled: Any = True


class Switched(Fit):
    is_enabled = np.True_


def specimen(kind: type[Fit], unreachable: Callable[[], Fit] | None = None) -> RobotUnderTest:
    ages = {"image/eye": 1.0, "proprio/position": 1.0}
    return RobotUnderTest(kind, CONTRACT, reach=0.5, make_unreachable=unreachable, max_ages_s=ages)


@pytest.mark.parametrize("check", CHECKS)
def test_a_robot_that_keeps_its_promises_passes(check: str) -> None:
    CHECKS[check](specimen(Enabled, Dead))


@pytest.mark.parametrize(
    ("kind", "check", "words"),
    [
        (Eyeless, "unconnected", "the policy reads image/eye, this robot has goal/target, "),
        (AskedTooEarly, "unconnected", "hold before connect failed: connect first"),
        (Dead, "observations", "connect failed: no power"),
        (Blinking, "observations", "image/eye showed nothing in 0.05 s"),
        (Numb, "observations", "the observation lacks proprio/position"),
        (NotANumber, "observations", "proprio/position: element x is nan"),
        (Precise, "observations", "proprio/position: type float64, expected float32"),
        (Prophet, "stamps", "image/eye is stamped 3.6e.03 s after now"),
        (Backwards, "stamps", "the stamp of image/eye ran backwards"),
        (Stamper, "stamps", "image/ear is stamped, but no signal"),
        (Silent, "actions", "send_action returned None, not 2 finite floats"),
        (InMillimetres, "actions", r"send_action returned .*, beyond \[-1, 1\]"),
        (Sinking, "hold", "hold called again holds elsewhere: its action changed by 0.2"),
        (OneHold, "hold", "hold failed: already holding"),
        (Hung, "hold", r"hold took [\d.]+ s, at most 0\.1 s are allowed"),
        (Slow, "times", r"reading and sending take [\d.]+ ms, at most .*, which has 20\.0 ms"),
        (Late, "times", r"of 30 times longer than a period, which has 20\.0 ms"),
        (Black, "observations", "image/eye is all one colour in .* readings: is the lens covered"),
        (Yesterday, "stamps", "image/eye is too old in 30 of 30 readings, 50.. ms .* are 1000"),
        (Timeless, "stamps", "image/eye is stamped nan, which is no time"),
        (Switched, "switch", "is_enabled says bool.*, which counts as no: yes is True alone"),
        (ClosedTwice, "disconnect", "disconnect failed: .*no handle"),
        (AskedTooEarly, "disconnect", "hold after disconnect failed: connect first"),
    ],
)
def test_a_broken_promise_is_found(
    kind: type[Fit], check: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robodreamer_deploy.robots.conformance.CAMERA_WITHIN_S", 0.05)
    if kind is Hung:
        monkeypatch.setattr("robodreamer_deploy.robots.conformance.CALL_WITHIN_S", 0.1)
    with pytest.raises(ConformanceError, match=words):
        CHECKS[check](specimen(kind))


def unreadable() -> Any:
    raise AttributeError("no bus yet")


@pytest.mark.parametrize(
    ("name", "features", "words"),
    [
        ("observation_features", lambda: None, "observation_features is NoneType, expected a prop"),
        ("observation_features", lambda: len, "observation_features is builtin_function_or_method"),
        ("observation_features", lambda: {3: (1,), "x": ()}, "reads .*, this robot has 3, x"),
        ("observation_features", lambda: dict.fromkeys(ALL, float), "position is <class 'float'> "),
        ("observation_features", lambda: dict.fromkeys(ALL, 2), "position is 2 among the features"),
        ("observation_features", unreadable, "observation_features cannot be read before connect"),
        ("action_features", lambda: None, "action_features is NoneType, expected a property"),
        ("action_features", lambda: {"action": 2}, "action is 2 among the features"),
        (
            "action_features",
            dict,
            r"this robot takes actions of shape \(\), the policy sends \(2,\)",
        ),
        ("action_features", unreadable, "action_features cannot be read before connect"),
    ],
)
def test_a_robot_that_does_not_tell_its_shapes_is_refused_in_a_sentence(
    name: str, features: Callable[[], Any], words: str
) -> None:
    odd = type("Odd", (Fit,), {name: property(lambda _: features())})
    with pytest.raises(RobotError, match=words):
        check_features(odd(), CONTRACT)


class OpensSlowly(Fit):
    """Shows nothing in its first readings, then black, then the room: as webcams do."""

    def __init__(self) -> None:
        super().__init__()
        self.num_readings = 0

    def get_observation(self) -> Any:
        observation = super().get_observation()
        self.num_readings += 1
        if self.num_readings <= 20:
            del observation["image/eye"]
        elif self.num_readings <= 60:
            observation["image/eye"][:] = 0
        return observation


def test_a_camera_that_begins_black_is_given_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Readings are as far apart as in a drive, until it shows something or its time is over."""
    module = "robodreamer_deploy.robots.conformance"
    clock = FakeClock()
    monkeypatch.setattr(f"{module}.time.sleep", clock.sleep)
    monkeypatch.setattr(f"{module}.time.monotonic", clock.now)
    CHECKS["observations"](specimen(OpensSlowly))
    assert clock.time == pytest.approx(100.0 + 60 * CONTRACT.control_dt_s)
    with pytest.raises(ConformanceError, match=r"eye is all one colour in 1.. readings"):
        CHECKS["observations"](specimen(Black))
    with pytest.raises(ConformanceError, match="eye showed nothing in 2 s"):
        CHECKS["observations"](specimen(Blinking))


class Rude(Fit):
    """Is not there, and says so in its own way."""

    def connect(self) -> None:
        raise KeyError("port")


class StuckAfterwards(Dead):
    def disconnect(self) -> None:
        raise RobotError("nothing is open")


@pytest.mark.parametrize(
    ("unreachable", "words"),
    [
        (Rude, "connect raised KeyError in .*, expected RobotError"),
        (Fit, "connect did not fail where there is no robot"),
        (StuckAfterwards, "disconnect after a failed connect failed: nothing is open"),
    ],
)
def test_a_broken_promise_about_failing_is_found(unreachable: type[Fit], words: str) -> None:
    with pytest.raises(ConformanceError, match=words):
        CHECKS["failed connect"](specimen(Fit, unreachable))


def test_what_does_not_apply_is_skipped_and_says_why() -> None:
    with pytest.raises(SkippedCheckError, match="age is unknown"):
        CHECKS["stamps"](RobotUnderTest(lambda: Bench("", CONTRACT), CONTRACT))
    findings = {name: examine(name, specimen(Sinking)) for name in CHECKS}
    assert [name for name, finding in findings.items() if finding.fault] == ["hold"]
    skipped = [name for name, finding in findings.items() if finding.skipped]
    assert skipped == ["switch", "failed connect"]


def test_hardware_is_left_where_it_is_unless_reach_is_given() -> None:
    made: list[Fit] = []

    def make() -> Fit:
        made.append(Fit())
        return made[-1]

    assert not [name for name in CHECKS if examine(name, RobotUnderTest(make, CONTRACT)).fault]
    sent = [action for robot in made for action in robot.sent]
    assert sent
    assert not np.any(sent), "only the action of holding"
    assert not any(robot.is_connected for robot in made)


TOYS = str(Path(__file__).parents[2] / "stand_ins" / "toy_robot.py")
HERE = str(Path(__file__))


class Sinker(Sinking):
    """As --robot makes one."""

    def __init__(self, argument: str, contract: Contract) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("spec", "code", "words"),
    [
        (
            f"{TOYS}:Bench",
            0,
            ("ok          hold: ", "measures    proprio/position: x 0 m, y 0 m", "ready "),
        ),
        (f"{HERE}:Sinker", 1, ("BROKEN      hold: hold called again", "breaks 1 of 9 promises")),
    ],
)
def test_users_can_ask_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spec: str, code: int, words: tuple[str, ...]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    assert main(["check-robot", str(policy), "--robot", spec]) == code
    said = capsys.readouterr().out
    for word in words:
        assert word in said


class Stuck(Bench):
    """Never comes back with a reading."""

    def get_observation(self) -> dict[str, Array]:
        time.sleep(60.0)
        return super().get_observation()


def test_a_robot_that_hangs_is_broken_off_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    monkeypatch.setattr(check_robot, "CHECK_WITHIN_S", 0.2)
    assert main(["check-robot", str(policy), "--robot", f"{HERE}:Stuck"]) == 1
    out = capsys.readouterr().out
    assert "the robot did not come back within 0.2 s" in out
    assert "not ready" in out


class Frozen(Stuck):
    """Hangs in everything from the first reading on, until it is left for good."""

    def get_observation(self) -> dict[str, Array]:
        self.is_frozen = True
        return super().get_observation()

    def hold(self) -> Array:
        if getattr(self, "is_frozen", False):
            time.sleep(4.0)
        return super().hold()

    def disconnect(self) -> None:
        if getattr(self, "is_frozen", False):
            time.sleep(4.0)


class Rigid(Bench):
    """Hangs in everything before it is connected, but for the first disconnect."""

    num_made = 0

    def __init__(self, argument: str, contract: Contract) -> None:
        super().__init__(argument, contract)
        Rigid.num_made += 1
        self.is_first = Rigid.num_made == 1

    def hold(self) -> Array:
        if not self.is_connected:
            time.sleep(4.0)
        return super().hold()

    def disconnect(self) -> None:
        if not self.is_first and not self.is_connected:
            time.sleep(4.0)
        super().disconnect()


@pytest.mark.parametrize("name", ["Frozen", "Rigid"])
def test_a_robot_that_hangs_while_it_is_left_is_broken_off_once_more(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    ended: list[str] = []
    monkeypatch.setattr(check_robot, "CHECK_WITHIN_S", 1.0)  # enough to get as far as the hang
    hanging = {kind: check_robot.CHECKS[kind] for kind in ("unconnected", "observations")}
    monkeypatch.setattr(check_robot, "CHECKS", hanging)
    monkeypatch.setattr(check_robot, "LOOK_S", 0.1, raising=False)
    module = "robodreamer_deploy.robots.conformance"
    monkeypatch.setattr(f"{module}.CALL_WITHIN_S", 0.1)
    monkeypatch.setattr(f"{module}.DISCONNECT_WITHIN_S", 0.1, raising=False)
    hung = time.sleep

    def sleep(seconds: float) -> None:
        hung(seconds)
        if seconds == 4.0:
            ended.append("waited to the end")

    monkeypatch.setattr(time, "sleep", sleep)
    assert main(["check-robot", str(policy), "--robot", f"{HERE}:{name}"]) == 1
    out = capsys.readouterr().out
    assert "did not come back within 0.1 s" in out
    assert "not ready" in out
    assert not ended


class Unsteady(Bench):
    """Fails in the reading that is printed in the end, after seven checks have connected it."""

    num_connected = 0

    def connect(self) -> None:
        super().connect()
        Unsteady.num_connected += 1

    def get_observation(self) -> dict[str, Array]:
        if Unsteady.num_connected == 8:
            raise KeyError("eye")
        return super().get_observation()


def test_a_last_reading_that_fails_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    assert main(["check-robot", str(policy), "--robot", f"{HERE}:Unsteady"]) == 1
    out = capsys.readouterr().out.splitlines()[-1]
    assert out.startswith("not ready   ")
    assert "KeyError in test_robot_conformance.py" in out


def test_a_robot_that_cannot_be_made_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = write_bundle(tmp_path / "policy")
    assert main(["check-robot", str(policy), "--robot", f"{TOYS}:Bench:broken"]) == 2
    assert capsys.readouterr().err.count("the toy is broken") == 1
