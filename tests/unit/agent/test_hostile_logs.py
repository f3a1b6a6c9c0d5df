"""Logs that were made to harm, or damaged by a disk: each gives a sentence, in bounded memory."""

import json
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lz4.frame
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.reader import make_reader
from mcap.records import ChunkIndex
from mcap.writer import MCAP0_MAGIC

import toy_policy
from recorded_drive import RecordedDrive
from robodreamer.data.datasets.robot_log import segments
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording import mcap_file, writer
from robodreamer_deploy.recording.event_stream import LogEvent
from robodreamer_deploy.recording.format import DamagedError, WallClock, from_messages, to_messages
from robodreamer_deploy.recording.foxglove_messages import NamedSignals
from robodreamer_deploy.recording.mcap_file import MAX_BYTES, read_records, unpacked
from robodreamer_deploy.recording.reader import LogReader
from robodreamer_deploy.recording.replay import Replay
from robodreamer_deploy.recording.writer import LogWriter
from toy_robot import CONTRACT

Packer = Callable[[bytes], bytes]
PACKERS: dict[str, Packer] = {"lz4": lz4.frame.compress, "zstd": zstandard.compress}
SETTINGS = settings(max_examples=2 * settings().max_examples)


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> RecordedDrive:
    return RecordedDrive(
        Policy(load_bundle(toy_policy.write_bundle(tmp_path_factory.mktemp("toy"))))
    )


@pytest.fixture(scope="module")
def events(drive: RecordedDrive) -> list[LogEvent]:
    recorded: list[LogEvent] = []
    drive.record([recorded.append], range(1), ticks_per_snapshot=4)
    return recorded


@pytest.mark.parametrize("packing", PACKERS)
def test_a_chunk_never_unpacks_to_more_than_it_claims(packing: str) -> None:
    pack = PACKERS[packing]
    content = bytes(range(256)) * 2000
    assert unpacked(packing, pack(content), len(content)) == content
    bomb = pack(bytes(1 << 26))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError, match="holds more than the 1000 bytes that it claims"):
            unpacked(packing, bomb, 1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    for size in (MAX_BYTES + 1, 2**64 - 1):
        with pytest.raises(DamagedError, match=f"claims to hold {size} bytes"):
            unpacked(packing, bomb, size)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_chunk_that_is_not_all_there_is_refused(packing: str) -> None:
    content = bytes(range(256)) * 8000
    packed = PACKERS[packing](content)
    for rest in (packed[: len(packed) // 2], packed[:100], b"nonsense"):
        with pytest.raises(Exception, match=r"\S"):  # each library has its own
            unpacked(packing, rest, len(content))
    with pytest.raises(DamagedError, match=f"has {len(content)} bytes of {len(content) + 1}"):
        unpacked(packing, packed, len(content) + 1)
    with pytest.raises(DamagedError, match=r"packed as 'br'; lz4 and zstd can be read"):
        unpacked("br", packed, 100)


def record_of(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", kind, len(content) if length is None else length) + content


def chunk_of(
    body: bytes, *, size: int | None = None, checksum: int | None = None, packing: bytes = b""
) -> bytes:
    """Return a chunk that holds `body`, with false claims where they are given."""
    claimed = len(body) if size is None else size
    crc = zlib.crc32(body) if checksum is None else checksum
    head = struct.pack("<QQQII", 0, 0, claimed, crc, len(packing))
    return record_of(6, head + packing + struct.pack("<Q", len(body)) + body)


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (record_of(6, b"few"), "the log was cut at byte"),
        (record_of(6, struct.pack("<QQQII", 0, 0, 9, 0, 2**32 - 1)), "the log was cut at byte"),
        (chunk_of(b"few", checksum=0), "a chunk is left out: it has no checksum"),
        (chunk_of(b"few", checksum=1), "a chunk was changed, and is left out: its checksum"),
        (chunk_of(b"few", size=9), "a chunk is damaged, and is left out: it has 3 bytes of 9"),
        (chunk_of(b"few", size=2), "it holds more than the 2 bytes that it claims"),
        (chunk_of(b"few", size=2**63), f"it claims to hold {2**63} bytes"),
        (chunk_of(b"few", packing=b"br"), "packed as 'br'; lz4 and zstd can be read"),
        (chunk_of(b"few"), "a chunk is damaged, and is left out: "),
        (chunk_of(record_of(5, b"few")), "a chunk is damaged, and is left out: "),
        (record_of(5, bytes(30)), "a message is left out: it stands outside of a chunk"),
        (record_of(5, b"few") + bytes(30), "a record is damaged: it is shorter than its kind"),
        (record_of(6, b"", 2**63), "the log was cut at byte"),
        (record_of(5, b"", 2**64 - 1), "the log was cut at byte"),
        (record_of(77, b"", 2**64 - 1), "the log was cut at byte"),
        (record_of(15, b""), "the log was cut at byte"),
        (record_of(15, b"\1" * 20), "the checksum of all of it differs"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_record_that_no_program_writes_gives_a_clear_sentence(
    tmp_path: Path, record: bytes, sentence: str
) -> None:
    path = tmp_path / "log.mcap"
    path.write_bytes(MCAP0_MAGIC + record)
    complaints: list[str] = []
    list(read_records(path, complaints.append))
    assert any(sentence in complaint for complaint in complaints), complaints


@pytest.mark.parametrize("kind", [3, 8, 77])  # a schema, a message index, an unknown one
def test_a_record_of_any_kind_takes_bounded_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int
) -> None:
    """The length inside the record goes far beyond the record."""
    monkeypatch.setattr(mcap_file, "MAX_BYTES", 100_000)
    path = tmp_path / "log.mcap"
    claim = struct.pack("<HI", 0, 2_000_000)
    path.write_bytes(MCAP0_MAGIC + record_of(kind, claim, 200_000) + bytes(3_000_000))
    complaints: list[str] = []
    tracemalloc.start()
    try:
        assert not list(read_records(path, complaints.append))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert complaints == [
        "a record is damaged: it takes more than 100000 bytes, and no log needs so many"
    ]
    assert peak < 2_000_000


def test_a_changed_chunk_costs_its_own_events_and_no_others(
    drive: RecordedDrive, events: list[LogEvent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chunk names the topics, which a whole log repeats at its end."""
    monkeypatch.setattr(writer, "CHUNK_BYTES", 4000)
    path = tmp_path / "log.mcap"
    with path.open("wb") as file:
        log = LogWriter(file, drive.metadata(), WallClock(0, 0.0))
        for event in events:
            log.write(event)
        log.finish(0)
    content = path.read_bytes()
    all_lost: set[int] = set()
    for place in [event.chunk_start_offset for event in chunk_indexes(path)]:
        changed = bytearray(content)
        changed[place + 9 + 8 + 8] ^= 1  # of how much it unpacks to
        path.write_bytes(changed)
        reader = LogReader(path)
        found = [event.number for event in reader.events()]
        lost = [event.number for event in events if event.number not in found]
        assert len(lost) < len(events) / 2
        assert lost == list(range(lost[0], lost[0] + len(lost))) if lost else True
        all_lost |= set(lost)
        assert "a chunk is damaged" in reader.damage[0]
    assert all_lost >= {event.number for event in events[:-2]}


def chunk_indexes(path: Path) -> list[ChunkIndex]:
    with path.open("rb") as file:
        summary = make_reader(file).get_summary()
    assert summary is not None
    return summary.chunk_indexes


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5) | st.sampled_from([-1, 2**63, 10**400, 1e308, "NaN", "1e999", "float32"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)  # fmt: skip


def places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value within a JSON value."""
    found = [way]
    if isinstance(value, (dict, list)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += places(inner, (*way, key))
    return found


@SETTINGS
@given(data=st.data())
def test_any_content_of_a_message_is_read_or_refused(
    drive: RecordedDrive, events: list[LogEvent], data: st.DataObject
) -> None:
    number = data.draw(st.sampled_from([0, 1, 2, 5, 6, len(events) - 1]))
    named = NamedSignals(drive.policy.bundle.manifest)
    messages = {m.topic: m.content for m in to_messages(events[number], WallClock(0, 0), named)}
    topic = data.draw(st.sampled_from(sorted(messages)))
    fields = json.loads(messages[topic])
    *way, last = data.draw(st.sampled_from(places(fields)[1:]))
    inner = fields
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    try:
        event = from_messages(number, {**messages, topic: json.dumps(fields).encode()})
    except DamagedError:
        return
    changed = [*events[:number], event, *events[number + 1 :]]
    Replay(drive.policy, drive.metadata()).run(changed)
    segments(changed, CONTRACT)
