"""Logs that somebody made to harm, or that a disk made so: nothing but a sentence comes of them."""

import json
import struct
import tracemalloc
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

import toy_policy
from recorded_drive import RecordedDrive
from robodreamer.data.datasets.robot_log import Cut
from robodreamer_deploy.policy.bundle import load_bundle
from robodreamer_deploy.policy.policy import Policy
from robodreamer_deploy.recording import writer
from robodreamer_deploy.recording.event_stream import Entry
from robodreamer_deploy.recording.format import DamagedError, WallClock, entry_of, messages_of
from robodreamer_deploy.recording.mcap_file import MAGIC, MAX_BYTES, read_records, unpacked
from robodreamer_deploy.recording.named_signals import NamedSignals
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
def entries(drive: RecordedDrive) -> list[Entry]:
    told: list[Entry] = []
    drive.record([told.append], range(1), ticks_per_state=4)
    return told


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
def test_of_a_chunk_that_was_cut_its_beginning_is_read(packing: str) -> None:
    content = bytes(range(256)) * 4000
    packed = PACKERS[packing](content + content[::-1])
    found = unpacked(packing, packed[: len(packed) - 3], 2 * len(content))
    assert content.startswith(found[: len(content)])
    assert unpacked(packing, b"nonsense", 100) == b""
    with pytest.raises(DamagedError, match=r"packed as 'br'; lz4 and zstd can be read"):
        unpacked("br", packed, 100)


def record_of(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", kind, len(content) if length is None else length) + content


@pytest.mark.parametrize(
    ("record", "sentence"),
    [
        (record_of(6, b"few"), "a chunk is damaged: it ends before it begins"),
        (record_of(6, struct.pack("<QQQII", 0, 0, 9, 0, 2**32 - 1)), "it has 0 bytes of 9"),
        (record_of(6, struct.pack("<QQQII", 0, 0, 9, 0, 0) + bytes(8)), "it has 0 bytes of 9"),
        (record_of(6, struct.pack("<QQQII", 0, 0, 18, 0, 0) + bytes(26)), "are no records"),
        (record_of(6, b"", 2**63), "the log was cut at byte"),
        (record_of(5, b"", 2**64 - 1), "the log was cut at byte"),
        (record_of(77, b"", 2**64 - 1), "the log was cut at byte"),
        (record_of(15, b""), "the record that ends the log is damaged"),
        (record_of(15, b"\1" * 20), "the checksum of all of it differs"),
    ],
)
def test_a_record_that_no_program_writes_is_a_sentence(
    tmp_path: Path, record: bytes, sentence: str
) -> None:
    path = tmp_path / "log.mcap"
    path.write_bytes(MAGIC + record)
    complaints: list[str] = []
    list(read_records(path, complaints.append))
    assert any(sentence in complaint for complaint in complaints), complaints


def test_a_chunk_that_was_changed_costs_its_own_entries_and_no_others(
    drive: RecordedDrive, entries: list[Entry], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first chunk is the one that names the channels."""
    monkeypatch.setattr(writer, "CHUNK_BYTES", 4000)
    path = tmp_path / "log.mcap"
    with path.open("wb") as file:
        log = LogWriter(file, drive.about(), WallClock(0, 0.0))
        for entry in entries:
            log.write(entry)
        log.finish(0)
    content = path.read_bytes()
    all_lost: set[int] = set()
    for place in [entry.chunk_start_offset for entry in chunk_indexes(path)]:
        changed = bytearray(content)
        changed[place + 9 + 8 + 8] ^= 1  # of how much it unpacks to
        path.write_bytes(changed)
        reader = LogReader(path)
        found = [entry.number for entry in reader.entries()]
        lost = [entry.number for entry in entries if entry.number not in found]
        assert len(lost) < len(entries) / 2
        assert lost == list(range(lost[0], lost[0] + len(lost))) if lost else True
        all_lost |= set(lost)
        assert "a chunk is damaged" in reader.damage[0]
    assert all_lost >= {entry.number for entry in entries[:-2]}


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
def test_whatever_stands_in_a_message_replay_and_import_say_what_is_wrong(
    drive: RecordedDrive, entries: list[Entry], data: st.DataObject
) -> None:
    number = data.draw(st.sampled_from([0, 1, 2, 5, 6, len(entries) - 1]))
    named = NamedSignals(drive.policy.bundle.manifest)
    messages = {m.topic: m.content for m in messages_of(entries[number], WallClock(0, 0), named)}
    topic = data.draw(st.sampled_from(sorted(messages)))
    fields = json.loads(messages[topic])
    *way, last = data.draw(st.sampled_from(places(fields)[1:]))
    inner = fields
    for key in way:
        inner = inner[key]
    inner[last] = data.draw(JSON)
    try:
        entry = entry_of(number, {**messages, topic: json.dumps(fields).encode()})
    except DamagedError:
        return
    changed = [*entries[:number], entry, *entries[number + 1 :]]
    Replay(drive.policy, drive.about()).run(changed)
    list(Cut(CONTRACT).stretches(changed))
