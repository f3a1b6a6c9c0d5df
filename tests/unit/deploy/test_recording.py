"""Recording: a drive is read back from its log bit for bit, up to where a disk failed."""

import base64
import dataclasses
import io
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mcap.reader import make_reader
from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import StreamReader, breakup_chunk

from recorded_drive import RecordedDrive
from robodreamer_deploy.contract import Array, Camera, Signal
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.policy.manifest import derive
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording import log_metadata, mcap_file, writer
from robodreamer_deploy.recording import recorder as recorder_module
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.exact_json import from_json, to_json
from robodreamer_deploy.recording.flight_recorder import FlightRecorder
from robodreamer_deploy.recording.format import WallClock, from_messages, to_messages
from robodreamer_deploy.recording.foxglove_messages import (
    PIECE_BYTES,
    NamedSignals,
    image_message,
    read_image,
)
from robodreamer_deploy.recording.reader import LogReader
from robodreamer_deploy.recording.recorder import Recorder
from robodreamer_deploy.recording.writer import LogWriter
from toy_robot import CONTRACT, EPISODE_STEPS

TICKS = EPISODE_STEPS


def record(policy: Policy, path: Path, seeds: range = range(2), **settings: Any) -> list[LogEvent]:
    """Record a drive; return the events that went to the recorder."""
    expected: list[LogEvent] = []
    drive = RecordedDrive(policy, **settings)
    recorder = Recorder(path, drive.metadata(seed=0), now=drive.clock.now)
    drive.record([expected.append, recorder.put], seeds)
    recorder.close()
    assert recorder.fault is None
    assert (recorder.num_written, recorder.num_dropped) == (len(expected), 0)
    return expected


def assert_same(found: Any, expected: Any) -> None:
    """Compare to the bit; all NaN are one."""
    assert type(found) is type(expected), (found, expected)
    if isinstance(expected, np.ndarray):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        same = found.view(np.uint8) == expected.view(np.uint8) if found.ndim else found == expected
        if not np.all(same):
            assert np.isnan(expected).any()
            np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            assert_same(found[name], expected[name])
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_a_log_holds_everything_bit_for_bit(policy: Policy, tmp_path: Path) -> None:
    expected = record(policy, tmp_path / "log.mcap")
    reader = LogReader(tmp_path / "log.mcap")
    assert_same(tuple(reader.events()), tuple(expected))
    assert reader.is_whole
    assert not reader.damage
    assert len(expected) == 2 * (TICKS + 2)
    assert reader.metadata == RecordedDrive(policy).metadata(seed=0)
    assert reader.metadata.parse_manifest() == policy.bundle.manifest


def test_a_refused_signal_is_recorded_as_it_was(policy: Policy, tmp_path: Path) -> None:
    bad = {
        3: {"proprio/position": np.array([np.nan, -np.inf], np.float32)},
        4: {"proprio/position": np.array([[1.0, 5e-324]])},
        8: {"image/eye": np.zeros((0, 6, 3), np.uint8)},
        5: {"goal/target": np.float32(0.1), "more/flags": np.array([True, False])},
    }  # fmt: skip
    path = tmp_path / "log.mcap"
    expected = record(policy, path, range(1), change=lambda i: bad.get(i, {}))
    events = list(LogReader(path).events())
    for i, signals in bad.items():
        tick = events[1 + i].payload
        assert isinstance(tick, Tick)
        assert tick.fault is not None
        for name, value in signals.items():
            assert_same(tick.observation[name], np.asarray(value))
    assert len(events) == len(expected)


@given(
    st.dictionaries(
        st.text("abcdef", min_size=1),
        st.floats() | st.integers() | st.text() | st.lists(st.floats()),
    )
)
def test_json_is_strict_and_exact(fields: dict[str, Any]) -> None:
    content = to_json(fields)
    json.loads(content, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    found = from_json(content)
    assert found.keys() == fields.keys()
    for name, value in fields.items():
        assert_same(np.array(found[name]), np.array(value))


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))))
def test_a_picture_is_lossless_and_what_foxglove_calls_a_raw_image(image: Array) -> None:
    fields = json.loads(image_message("image/eye", image, 3_000_000_007))
    assert_same(read_image(fields), image)
    height, width, channels = image.shape
    encodings = {1: "mono8", 3: "rgb8", 4: "rgba8"}
    assert fields == {
        "timestamp": {"sec": 3, "nsec": 7}, "frame_id": "image/eye", "width": width,
        "height": height, "encoding": encodings.get(channels, f"8UC{channels}"),
        "step": width * channels, "data": base64.b64encode(image.tobytes()).decode(),
    }  # fmt: skip
    assert_same(read_image(json.loads(image_message("", image[::-1, ::-1], 0))), image[::-1, ::-1])


def test_a_large_picture_is_put_together_from_pieces() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 333, 3), np.uint8)
    assert image.nbytes > PIECE_BYTES
    assert_same(read_image(json.loads(image_message("image/eye", image, 0))), image)


def test_a_robot_may_use_its_arrays_again(policy: Policy) -> None:
    expected: list[LogEvent] = []
    drive = RecordedDrive(policy)
    position = np.zeros(2, np.float32)
    drive.robot.change = lambda i: {"proprio/position": position}
    drive.robot.busy_s = lambda i: position.fill(i) or 0.0
    drive.record([expected.append], range(1))
    ticks = [event.payload for event in expected if isinstance(event.payload, Tick)]
    assert [tick.observation["proprio/position"][0] for tick in ticks] == list(range(TICKS))


def test_the_mcap_package_reads_it_with_schemas_and_an_index(
    policy: Policy, tmp_path: Path
) -> None:
    expected = record(policy, tmp_path / "log.mcap")
    began = time.time_ns()
    with (tmp_path / "log.mcap").open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        summary = reader.get_summary()
        messages = list(reader.iter_messages())
        (attachment,) = reader.iter_attachments()
    assert summary is not None
    assert summary.statistics is not None
    assert summary.statistics.message_count == len(messages)
    assert summary.chunk_indexes
    assert attachment.data == (policy.bundle.folder / "manifest.json").read_bytes()
    topics = {channel.topic for _, channel, _ in messages}
    assert topics == {
        "/image/eye", "/proprio/position", "/goal/target", "/tick", "/state", "/episode",
        "/privileged/distance", "/calibration/eye",
        "/about",
    }  # fmt: skip
    for schema, channel, message in messages:
        assert schema is not None
        assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
        assert_fits(json.loads(message.data), json.loads(schema.data))
        assert abs(message.log_time - began) < 60e9  # the wall clock, not the loop's
        assert message.publish_time <= message.log_time
    ticks = [m.log_time for _, c, m in messages if c.topic == "/tick"]
    np.testing.assert_allclose(np.diff(ticks) / 1e9, CONTRACT.control_dt_s, atol=1e-6)
    assert len(ticks) == sum(isinstance(event.payload, Tick) for event in expected)


def assert_fits(value: Any, schema: dict[str, Any]) -> None:
    """Check a value against the small part of JSON Schema that is in use; extra keys do not fit."""
    kind: Any = {
        "object": dict, "array": list, "string": str, "integer": int, "boolean": bool,
        "number": (int, float),
    }[schema["type"]]  # fmt: skip
    assert isinstance(value, kind), (value, schema)
    for element in value if kind is list else ():
        assert_fits(element, schema["items"])
    for name, element in value.items() if kind is dict else ():
        assert_fits(element, schema["properties"][name])


class StuckFile(io.FileIO):
    """Disk that takes nothing until it is released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "xb")
        self.is_free = threading.Event()

    def write(self, content: Any, /) -> int:
        self.is_free.wait(20)
        return super().write(content)


def test_a_stuck_disk_never_makes_the_loop_wait(policy: Policy, tmp_path: Path) -> None:
    opened: list[StuckFile] = []

    def open_file(path: Path) -> BinaryIO:
        opened.append(StuckFile(path))
        return io.BufferedWriter(opened[0], 1)

    drive = RecordedDrive(policy)
    recorder = Recorder(
        tmp_path / "log.mcap", drive.metadata(), now=drive.clock.now,
        ring_bytes=20_000, open_file=open_file,
    )  # fmt: skip
    expected: list[LogEvent] = []
    waits: list[float] = []

    def put(event: LogEvent) -> None:
        start = time.perf_counter()
        recorder.put(event)
        waits.append(time.perf_counter() - start)

    drive.record([expected.append, put], range(5))
    assert max(waits) < 2.0  # the disk takes 20 s
    assert recorder.num_dropped > 0
    opened[0].is_free.set()
    recorder.close()
    reader = LogReader(tmp_path / "log.mcap")
    events = list(reader.events())
    assert reader.num_dropped == recorder.num_dropped == len(expected) - len(events) > 0
    assert_same(events[-1], expected[-1])  # the oldest go, not the newest
    assert [event.number for event in events] == sorted({event.number for event in events})


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_drive_that_is_cut_off_loses_at_most_a_second_of_its_log(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, seconds = LogWriter.write, 0.0
    written: list[int] = []
    expected: list[LogEvent] = []

    def counting(self: LogWriter, event: LogEvent) -> None:
        write(self, event)
        written.append(event.number)

    monkeypatch.setattr(LogWriter, "write", counting)
    drive = RecordedDrive(policy)
    path, copy = tmp_path / "log.mcap", tmp_path / "copy.mcap"
    recorder = Recorder(path, drive.metadata(), now=drive.clock.now, stopwatch=lambda: seconds)
    drive.record([expected.append, recorder.put], range(2))
    wait_until(lambda: len(written) == len(expected))
    seconds = 0.9
    wait_until(lambda: recorder.num_written == len(expected))
    copy.write_bytes(path.read_bytes())
    recorder.close()
    reader = LogReader(copy)
    assert_same(tuple(reader.events()), tuple(expected))
    assert not reader.is_whole
    assert reader.damage == [f"the log was cut at byte {copy.stat().st_size}"]


class FullFile(io.FileIO):
    def write(self, content: Any, /) -> int:
        if self.tell() > 20_000:
            raise OSError(28, "No space left on device")
        return super().write(content)


def test_a_full_disk_ends_the_log_and_nothing_else(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    drive = RecordedDrive(policy)
    recorder = Recorder(
        path, drive.metadata(), now=drive.clock.now,
        open_file=lambda path: io.BufferedWriter(FullFile(path, "xb"), 1),
    )  # fmt: skip
    expected: list[LogEvent] = []
    drive.record([expected.append, recorder.put], range(40))
    recorder.close()
    assert recorder.fault is not None
    assert "No space left" in recorder.fault
    reader = LogReader(path)
    events = list(reader.events())
    assert_same(tuple(events), tuple(expected[: len(events)]))
    assert not reader.is_whole


def test_events_that_are_not_on_the_disk_at_the_end_are_lost(
    policy: Policy, tmp_path: Path
) -> None:
    opened: list[StuckFile] = []

    def open_file(path: Path) -> BinaryIO:
        opened.append(StuckFile(path))
        return io.BufferedWriter(opened[0], 1)

    drive = RecordedDrive(policy)
    expected: list[LogEvent] = []
    for name, make in {"full": FullAtOnce, "stuck": open_file}.items():
        recorder = Recorder(
            tmp_path / name, drive.metadata(), now=drive.clock.now, open_file=make
        )  # fmt: skip
        drive.record([expected.append, recorder.put], range(2))
        recorder.close(timeout_s=0.1)
        assert recorder.fault is not None
        assert (recorder.num_written, recorder.num_dropped) == (0, len(expected))
        expected.clear()
    opened[0].is_free.set()


def FullAtOnce(path: Path) -> BinaryIO:  # noqa: N802  stands in for a kind of file
    path.touch()
    return Path("/dev/full").open("wb")


class Odd:
    """Value without a representation."""

    def __repr__(self) -> str:
        raise RuntimeError("nobody knows")


def test_an_event_without_a_form_as_messages_costs_only_itself(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: list[LogEvent] = []
    odd: Any = {"more/odd": Odd()}
    drive = RecordedDrive(policy, change=lambda i: odd if i == 3 else {})
    recorder = Recorder(tmp_path / "log.mcap", drive.metadata(), now=drive.clock.now)

    def put(event: LogEvent) -> None:
        expected.append(event)
        payload = event.payload
        if event.number == 7:
            assert isinstance(payload, Tick)
            event = event._replace(payload=payload._replace(fault=object()))
        recorder.put(event)

    drive.record([put], range(1))
    recorder.close()
    assert recorder.fault is not None
    assert "event 7 is left out: TypeError" in recorder.fault
    assert (recorder.num_written, recorder.num_dropped) == (len(expected) - 1, 1)
    reader = LogReader(tmp_path / "log.mcap")
    assert [event.number for event in reader.events()] == [
        event.number for event in expected if event.number != 7
    ]
    assert reader.num_dropped == 1


def test_no_log_is_overwritten(policy: Policy, tmp_path: Path) -> None:
    path = tmp_path / "log.mcap"
    path.write_text("dear to somebody")
    with pytest.raises(RobotError, match=r"log\.mcap cannot be made: File exists"):
        Recorder(path, RecordedDrive(policy).metadata(), now=lambda: 0.0)
    assert path.read_text() == "dear to somebody"


@pytest.fixture(scope="module")
def logged(policy: Policy, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[LogEvent]]:
    """Return a log of many chunks, and its events."""
    path = tmp_path_factory.mktemp("logs") / "log.mcap"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "CHUNK_BYTES", 4000)
        expected = record(policy, path)
    assert len(list(whole_chunks(path.read_bytes()))) > 5
    return path, expected


def whole_chunks(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield the end of each chunk, and the number of events up to there."""
    stream = io.BytesIO(content)
    topics: dict[int, str] = {}
    num_events = 0
    for record in StreamReader(stream, emit_chunks=True).records:
        if isinstance(record, Chunk):
            for inner in breakup_chunk(record):
                if isinstance(inner, Channel):
                    topics[inner.id] = inner.topic
                elif isinstance(inner, Message):
                    num_events += topics[inner.channel_id] in ("/tick", "/episode")
            yield stream.tell(), num_events


@given(data=st.data())
def test_a_log_cut_anywhere_is_read_to_its_last_whole_chunk(
    data: st.DataObject,
    logged: tuple[Path, list[LogEvent]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path, expected = logged
    content = path.read_bytes()
    size = data.draw(st.integers(0, len(content)))
    cut = tmp_path_factory.mktemp("cut") / "cut.mcap"
    cut.write_bytes(content[:size])
    whole = max((number for end, number in whole_chunks(content) if end <= size), default=0)
    try:
        reader = LogReader(cut)
    except RobotError:
        assert whole == 0
        return
    events = list(reader.events())
    assert len(events) == whole
    assert_same(tuple(events), tuple(expected[: len(events)]))
    assert reader.is_whole or reader.damage


@given(data=st.data())
def test_a_changed_byte_is_noticed_or_harmless(
    data: st.DataObject,
    logged: tuple[Path, list[LogEvent]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path, expected = logged
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    changed = tmp_path_factory.mktemp("changed") / "changed.mcap"
    changed.write_bytes(content)
    try:
        reader = LogReader(changed)
        events = list(reader.events())
    except RobotError:
        return
    if not reader.damage:
        assert_same(tuple(events), tuple(expected))
        assert reader.metadata == LogReader(path).metadata
        assert (reader.is_whole, reader.num_dropped, reader.fault) == (True, 0, "")


def test_memory_is_bounded_for_every_record_and_not_for_a_log(
    logged: tuple[Path, list[LogEvent]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, expected = logged
    monkeypatch.setattr(mcap_file, "MAX_BYTES", path.stat().st_size // 2)
    reader = LogReader(path)
    assert_same(tuple(reader.events()), tuple(expected))
    assert reader.is_whole


def test_a_log_of_another_version_raises_a_clear_error(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(log_metadata, "LOG_VERSION", 1)
        record(policy, tmp_path / "old.mcap", range(1))
    with pytest.raises(RobotError, match=r"old\.mcap cannot be read: log version 1; this .* 2$"):
        LogReader(tmp_path / "old.mcap")


def test_the_flight_recorder_keeps_the_last_seconds(policy: Policy, tmp_path: Path) -> None:
    drive = RecordedDrive(policy)
    flight = FlightRecorder(
        drive.metadata(), now=drive.clock.now, folder=tmp_path / "flights", seconds=0.3
    )
    assert flight.dump("nothing yet") is None
    expected: list[LogEvent] = []
    drive.record([expected.append, flight.put], range(4))
    path = flight.dump("the arm is on fire")
    assert path is not None
    reader = LogReader(path)
    events = tuple(reader.events())
    assert_same(events, tuple(expected[-len(events) :]))
    assert 0.25 < events[-1].time_s - events[0].time_s <= 0.3
    assert (reader.fault, reader.is_whole) == ("the arm is on fire", True)
    assert [p.name for p in (tmp_path / "flights").iterdir()] == [path.name]


def test_old_dumps_make_room_for_new_ones(policy: Policy, tmp_path: Path) -> None:
    flight = FlightRecorder(RecordedDrive(policy).metadata(), now=lambda: 0.0, folder=tmp_path)
    flight.put(LogEvent(0, 0.0, EpisodeStart(0, 0, "mode")))
    (tmp_path / "flight-plan.txt").write_text("not a dump")
    dumps = [flight.dump("again") for _ in range(22)]
    left = sorted(tmp_path.glob("*.mcap"))
    assert left == dumps[-20:]
    assert (tmp_path / "flight-plan.txt").exists()


def test_events_without_a_signal_or_of_other_types_are_refused(policy: Policy) -> None:
    clock = WallClock(0, 0.0)
    named = NamedSignals(policy.bundle.manifest)
    (message,) = to_messages(LogEvent(3, 0.5, EpisodeEnd("over")), clock, named)
    assert from_messages(3, {message.topic: message.content}) == LogEvent(
        3, 0.5, EpisodeEnd("over")
    )
    for content in (b"[]", b'{"event":"end"}', b'{"event":"end","reason":5,"time_s":0}', b"{"):
        with pytest.raises(ValueError, match=r"\S"):
            from_messages(3, {message.topic: content})


def test_names_of_any_kind_of_text_are_recorded(policy: Policy) -> None:
    """A driver that keeps names in arrays must not end the drive by it."""
    expected: list[LogEvent] = []
    drive = RecordedDrive(
        policy, change=lambda _: {np.str_("proprio/more"): np.zeros(1, np.float32)}
    )
    drive.record([expected.append], range(1))
    ticks = [event.payload for event in expected if isinstance(event.payload, Tick)]
    assert ticks
    assert all(type(name) is str for tick in ticks for name in tick.observation)


def test_joints_labels_and_lenses_are_recorded_by_name(policy: Policy, tmp_path: Path) -> None:
    angle = Signal(
        name="proprio/angle", shape=(2,), dtype="float32", unit="rad", frame="joint",
        labels=("shoulder", "elbow"),
    )  # fmt: skip
    speed = dataclasses.replace(angle, name="proprio/speed", unit="rad/s")
    place = dataclasses.replace(angle, name="proprio/place", unit="m", frame="world")
    camera = Signal(name="image/eye", shape=(48, 64, 3), dtype="uint8")
    contract = dataclasses.replace(
        CONTRACT,
        observations=(angle, speed, place, camera),
        cameras=(Camera(signal="image/eye", fovy_rad=math.pi / 2),),
    )
    manifest = policy.bundle.manifest
    derived: Any = derive(contract, manifest.state, manifest.token_size, manifest.validity)
    manifest = dataclasses.replace(manifest, contract=contract, **derived)
    metadata = dataclasses.replace(RecordedDrive(policy).metadata(), manifest=manifest.to_json())
    expected: list[LogEvent] = []
    RecordedDrive(policy).record([expected.append], range(1))
    first, tick = expected[0], expected[1].payload
    assert isinstance(tick, Tick)
    read = {
        "proprio/angle": np.array([0.5, np.nan], np.float32),
        "proprio/speed": np.array([1.5, 2.5], np.float32),
        "proprio/place": np.zeros(3, np.float32),
        "image/eye": np.zeros((48, 64, 3), np.uint8),
    }
    stamps = {"proprio/angle": 9.99, "proprio/speed": 10.004, "image/eye": 11.0}
    tick = tick._replace(observation=read, stamps=stamps, time_s=10.0, sense_to_act_s=0.005)
    with (tmp_path / "log.mcap").open("wb") as file:
        writer = LogWriter(file, metadata, WallClock(0, 0.0))
        for event in (first, expected[1]._replace(time_s=10.0, payload=tick)):
            writer.write(event)
        writer.finish(0)
    with (tmp_path / "log.mcap").open("rb") as file:
        found = {
            channel.topic: (schema and schema.name, json.loads(message.data), message)
            for schema, channel, message in make_reader(file).iter_messages()
        }
    schema, joints, _ = found["/joint_states"]
    assert (schema, joints) == (
        "foxglove.JointStates",
        {
            "timestamp": {"sec": 10, "nsec": 0},
            "joints": [
                {"name": "shoulder", "position": 0.5, "velocity": 1.5},
                {"name": "elbow", "velocity": 2.5},
            ],
        },
    )
    assert found["/proprio/speed"][1]["labels"] == ["shoulder", "elbow"]
    assert "labels" not in found["/proprio/place"][1]  # which has other elements than were named
    schema, lens, _ = found["/calibration/eye"]
    assert schema == "foxglove.CameraCalibration"
    assert (lens["width"], lens["height"], lens["frame_id"]) == (64, 48, "image/eye")
    np.testing.assert_allclose(lens["K"], [24, 0, 31.5, 0, 24, 23.5, 0, 0, 1])
    np.testing.assert_allclose(lens["P"], [24, 0, 31.5, 0, 0, 24, 23.5, 0, 0, 0, 1, 0])
    times = {topic: (m.publish_time, m.log_time) for topic, (*_, m) in found.items()}
    assert times["/proprio/angle"] == (9_990_000_000, 10_005_000_000)
    assert times["/proprio/speed"] == (10_004_000_000, 10_005_000_000)
    assert times["/image/eye"] == (10_005_000_000, 10_005_000_000)  # no signal is of the future
    assert times["/tick"] == (10_000_000_000, 10_005_000_000)
    events = list(LogReader(tmp_path / "log.mcap").events())
    assert_same(events[1].payload, tick)


@pytest.mark.parametrize("fails", ["sync", "write", "close"])
def test_a_disk_that_fails_at_the_end_is_a_fault_and_confirmed_events_are_counted(
    policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    class Failing(io.FileIO):
        is_failing = False

        def write(self, content: Any, /) -> int:
            self.fail("write")
            return super().write(content)

        def close(self) -> None:
            super().close()
            self.fail("close")

        def fail(self, what: str) -> None:
            if self.is_failing and what == fails:
                raise OSError(5, "Input/output error")

    opened: list[Failing] = []

    def open_file(path: Path) -> BinaryIO:
        opened.append(Failing(path, "xb"))
        return io.BufferedWriter(opened[0])

    drive = RecordedDrive(policy)
    recorder = Recorder(
        tmp_path / "log", drive.metadata(), now=drive.clock.now, open_file=open_file
    )
    expected: list[LogEvent] = []
    drive.record([expected.append, recorder.put], range(1))
    monkeypatch.setattr(recorder_module.os, "fsync", lambda _: opened[0].fail("sync"))
    opened[0].is_failing = True
    recorder.close()
    assert recorder.fault is not None
    assert "Input/output error" in recorder.fault
    assert recorder.num_written + recorder.num_dropped == len(expected)
    assert (recorder.num_dropped > 0) == (fails != "close")
