"""Reading a log, also one that was cut in the middle or damaged: all that is whole, in order.

The package `mcap` reads whole files; here records are cut out of what there is, one after the
other, and only whole ones are handed to it.
"""

import io
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from robodreamer_deploy.recording.about import About
from robodreamer_deploy.recording.mcap_writer import ABOUT, MANIFEST_NAME, SUMMARY, require_mcap
from robodreamer_deploy.recording.messages import EPISODE, TICK, DamagedError, entry_of
from robodreamer_deploy.recording.tape import Entry
from robodreamer_deploy.robots import RobotError

MAGIC = b"\x89MCAP0\r\n"
HEAD = struct.Struct("<BQ")  # of a record: kind, bytes that follow
CHUNK_HEAD = struct.Struct("<QQQII")  # first and last time, size, checksum, length of compression
LENGTH = struct.Struct("<Q")
CHANNEL, MESSAGE, CHUNK, ATTACHMENT, METADATA, DATA_END = 4, 5, 6, 9, 12, 15


class Record(NamedTuple):
    """A whole record of a file."""

    kind: int
    content: bytes


class LogReader:
    """One log. What is wrong with it is known when `entries` has come to its end.

    Args:
        path: Of the file.

    Raises:
        RobotError: It is no log, or one that ends before it tells what drove; `mcap` is missing.
    """

    def __init__(self, path: Path) -> None:
        require_mcap()
        self.path = path
        self.damage: list[str] = []
        """What could not be read, as sentences."""
        self.num_dropped = 0
        """Entries that the recorder lost; known at the end of a whole log."""
        self.fault = ""
        """Why a flight recorder wrote this."""
        self.is_whole = False
        """Whether the log was ended by its recorder, and not cut."""
        self._channels: dict[int, str] = {}
        self.about = self._read_about()

    def entries(self) -> Iterator[Entry]:
        """Yield all whole entries, in the order of the file; start anew at every call."""
        self.damage, self.is_whole, self._channels = [], False, {}
        messages: dict[str, bytes] = {}
        number = -1
        for message in self._messages():
            if message.sequence != number:
                self._complain_of_rest(number, messages)
                number, messages = message.sequence, {}
            topic = self._channels.get(message.channel_id, f"channel {message.channel_id}")
            messages[topic] = message.data
            if topic in (TICK, EPISODE):
                yield from self._entry(number, messages)
                messages = {}
        self._complain_of_rest(number, messages)

    def _messages(self) -> Iterator[Any]:
        """Yield the message records, and take in what the others tell on the way."""
        for record in self._records():
            if (message := self._take(record)) is not None:
                yield message

    def _take(self, record: Record) -> Any | None:
        """Take in what a record tells; return it if it is a message."""
        try:
            if record.kind == CHANNEL:
                channel = parse("Channel", record)
                self._channels[channel.id] = channel.topic
            elif record.kind == METADATA:
                self._read_summary(record)
            elif record.kind == MESSAGE:
                return parse("Message", record)
        except (KeyError, ValueError) as error:  # a DamagedError is one
            self.damage.append(f"a record is damaged: {error}")
        return None

    def _entry(self, number: int, messages: dict[str, bytes]) -> Iterator[Entry]:
        try:
            yield entry_of(number, messages)
        except DamagedError as error:
            self.damage.append(f"entry {number} is damaged: {error}")

    def _complain_of_rest(self, number: int, messages: dict[str, bytes]) -> None:
        if messages:
            self.damage.append(f"entry {number} is not whole: it has only {', '.join(messages)}")

    def _read_about(self) -> About:
        metadata: Mapping[str, str] | None = None
        manifest: str | None = None
        try:
            for record in self._records():
                if record.kind == METADATA and (found := parse("Metadata", record)).name == ABOUT:
                    metadata = found.metadata
                elif record.kind == ATTACHMENT:
                    found = parse("Attachment", record)
                    manifest = found.data.decode() if found.name == MANIFEST_NAME else None
                if metadata is not None and manifest is not None:
                    return About.from_metadata(metadata, manifest)
        except ValueError as error:
            raise RobotError(f"{self.path} does not tell what drove: {error}") from error
        raise RobotError(f"{self.path} ends before it tells what drove")

    def _read_summary(self, record: Record) -> None:
        found = parse("Metadata", record)
        if found.name == SUMMARY:
            self.num_dropped = int(found.metadata["dropped"])
            self.fault = found.metadata["fault"]

    def _records(self) -> Iterator[Record]:
        """Yield the whole records of the data section, those in chunks included."""
        try:
            with self.path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC:
                    raise RobotError(f"{self.path} is no MCAP file")
                yield from self._data_section(file)
        except OSError as error:
            raise RobotError(f"{self.path} cannot be read: {error.strerror}") from error

    def _data_section(self, file: BinaryIO) -> Iterator[Record]:
        size = self.path.stat().st_size
        while len(head := file.read(HEAD.size)) == HEAD.size:
            kind, length = HEAD.unpack(head)
            begin = file.tell()
            content = file.read(min(length, size - begin))
            if kind == CHUNK:
                yield from self._chunk(content, is_whole=len(content) == length)
            if len(content) < length:
                break
            if kind == DATA_END:
                self.is_whole = True
                return
            if kind != CHUNK:
                yield Record(kind, content)
        self.damage.append(f"the log was cut at byte {size}")

    def _chunk(self, content: bytes, *, is_whole: bool) -> Iterator[Record]:
        if len(content) < CHUNK_HEAD.size:
            return
        *_, checksum, compression = CHUNK_HEAD.unpack_from(content)
        body = content[CHUNK_HEAD.size + compression + LENGTH.size :]
        if compression:
            self.damage.append("a chunk is compressed, as no recorder of this release does it")
            return
        if is_whole and zlib.crc32(body) != checksum:
            self.damage.append("a chunk was changed: its checksum differs")
        place = 0
        while place + HEAD.size <= len(body):
            kind, length = HEAD.unpack_from(body, place)
            place += HEAD.size + length
            if place > len(body):
                return
            yield Record(kind, body[place - length : place])


def parse(kind: str, record: Record) -> Any:
    """Return a record as the package `mcap` reads it.

    Raises:
        DamagedError: It is not one of this kind.
    """
    from mcap import records
    from mcap.data_stream import ReadDataStream

    stream = ReadDataStream(io.BytesIO(record.content))
    try:
        if kind == "Message":
            return records.Message.read(stream, len(record.content))
        return getattr(records, kind).read(stream)
    except Exception as error:  # mcap documents no set of errors for damaged records
        raise DamagedError(f"{kind} ({error!r})") from error
