"""Records of an MCAP file that may be cut, damaged or made to harm: all that is whole, in order.

The package `mcap` reads files that are whole, and unpacks whatever a chunk claims to hold. Here
records are cut out one after the other within bounds of memory, and their checksums are compared.
Source: the MCAP specification, version 0.
"""

import io
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.format import DamagedError

MAGIC = b"\x89MCAP0\r\n"
HEAD = struct.Struct("<BQ")  # of a record: kind, bytes that follow
FOOTER = struct.Struct("<BQQQI")  # kind, length, begin of the summary, of its offsets, checksum
CHUNK_HEAD = struct.Struct("<QQQII")  # first and last time, size, checksum, length of compression
LENGTH = struct.Struct("<Q")
CHECKSUM = struct.Struct("<I")
FOOTER_KIND = 2
CHANNEL, MESSAGE, CHUNK, ATTACHMENT, METADATA, DATA_END = 4, 5, 6, 9, 12, 15
READ = (CHANNEL, MESSAGE, CHUNK, ATTACHMENT, METADATA, DATA_END)
IN_CHUNKS = (3, CHANNEL, MESSAGE)  # 3 is a schema
MAX_BYTES = 1 << 28
"""Of a record, and of what a chunk unpacks to. A chunk of this release takes a megabyte and one
picture at most, those of other programs 4 to 8."""
PIECE_BYTES = 1 << 16

Complain = Callable[[str], None]


class Record(NamedTuple):
    """A whole record of a file."""

    kind: int
    content: bytes


def read_records(path: Path, complain: Complain, *, has_chunks: bool = True) -> Iterator[Record]:
    """Yield the whole records of the data section, those in chunks in the place of their chunk.

    The record that ends the section is the last one; it is missing where the file was cut.

    Args:
        path: Of the file.
        complain: Takes a sentence about everything that could not be read.
        has_chunks: Whether to unpack chunks, or to pass them over.

    Raises:
        RobotError: It is no MCAP file, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise RobotError(f"{path} is no MCAP file")
            section = _DataSection(file, path.stat().st_size, complain)
            yield from section.records(has_chunks=has_chunks)
    except OSError as error:
        raise RobotError(f"{path} cannot be read: {error.strerror}") from error


def read_channels(path: Path) -> Iterator[Record]:
    """Yield the channels that a whole file repeats at its end.

    Those in the data section stand in the first chunk alone, which may be damaged.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - FOOTER.size - len(MAGIC)))
        end = file.read()
        kind, length, start = FOOTER.unpack_from(end)[:3] if len(end) > FOOTER.size else (0, 0, 0)
        if (kind, length) != (FOOTER_KIND, FOOTER.size - HEAD.size):
            return
        file.seek(min(start, size))
        body = file.read(MAX_BYTES)
    place = 0
    while place + HEAD.size <= len(body):
        kind, length = HEAD.unpack_from(body, place)
        place += HEAD.size + length
        if kind == CHANNEL:
            yield Record(kind, body[place - length : place])


class _DataSection:
    """Reads a file from behind its magic bytes on."""

    def __init__(self, file: BinaryIO, size: int, complain: Complain) -> None:
        self._file, self._size, self._complain = file, size, complain
        self._place = len(MAGIC)
        self._checksum = self._checksum_before = zlib.crc32(MAGIC)

    def records(self, *, has_chunks: bool) -> Iterator[Record]:
        while (head := self._head()) is not None:
            kind, length = head
            is_cut = length > self._size - self._place
            if not is_cut and (kind not in READ or length > MAX_BYTES):
                self._pass_over(kind, length)
                continue
            content = self._take(min(length, self._size - self._place, MAX_BYTES))
            if kind == CHUNK and has_chunks:
                yield from self._chunk(content, is_cut=is_cut)
            if is_cut:
                break
            if kind == DATA_END:
                self._compare(content)
            if kind != CHUNK:
                yield Record(kind, content)
            if kind == DATA_END:
                return
        self._complain(f"the log was cut at byte {self._size}")

    def _head(self) -> tuple[int, int] | None:
        """Return kind and length of the next record, if so much is there."""
        self._checksum_before = self._checksum
        head = self._take(HEAD.size)
        return HEAD.unpack(head) if len(head) == HEAD.size else None

    def _take(self, num_bytes: int) -> bytes:
        content = self._file.read(num_bytes)
        self._place += len(content)
        self._checksum = zlib.crc32(content, self._checksum)
        return content

    def _pass_over(self, kind: int, length: int) -> None:
        if kind in READ:
            self._complain(f"there is a record of {length} bytes, more than any log needs")
        left = length
        while left > 0 and (content := self._take(min(left, PIECE_BYTES))):
            left -= len(content)

    def _compare(self, end: bytes) -> None:
        """Compare all that was read with its checksum, of which 0 stands for none."""
        if len(end) < CHECKSUM.size:
            self._complain("the record that ends the log is damaged")
        elif CHECKSUM.unpack_from(end)[0] not in (0, self._checksum_before):
            self._complain("the log was changed: the checksum of all of it differs")

    def _chunk(self, content: bytes, *, is_cut: bool) -> Iterator[Record]:
        if len(content) < CHUNK_HEAD.size:
            self._complain("a chunk is damaged: it ends before it begins")
            return
        *_, size, checksum, name_length = CHUNK_HEAD.unpack_from(content)
        begin = CHUNK_HEAD.size + name_length
        packing = content[CHUNK_HEAD.size : begin].decode("ascii", "replace")
        try:
            body = unpacked(packing, content[begin + LENGTH.size :], size)
        except DamagedError as error:
            self._complain(f"a chunk is damaged: {error}")
            return
        if not is_cut and len(body) != size:
            self._complain(f"a chunk is damaged, and left out: it has {len(body)} bytes of {size}")
        elif not is_cut and checksum not in (0, zlib.crc32(body)):
            self._complain("a chunk was changed, and is left out: its checksum differs")
        else:
            yield from self._records_of(body, is_whole=len(body) == size)

    def _records_of(self, body: bytes, *, is_whole: bool) -> Iterator[Record]:
        place = 0
        while place + HEAD.size <= len(body):
            kind, length = HEAD.unpack_from(body, place)
            place += HEAD.size + length
            if kind not in IN_CHUNKS or (place > len(body) and is_whole):
                self._complain("a chunk is damaged: what it holds are no records")
                return
            if place > len(body):
                return
            yield Record(kind, body[place - length : place])


def unpacked(packing: str, content: bytes, size: int) -> bytes:
    """Return what a chunk holds, as far as it can be unpacked, and never more than it claims.

    Raises:
        DamagedError: It claims more than `MAX_BYTES`, or is packed in a way nobody knows.
    """
    if size > MAX_BYTES:
        raise DamagedError(f"it claims to hold {size} bytes")
    if not packing:
        return content
    read = {"lz4": _lz4, "zstd": _zstd}.get(packing)
    if read is None:
        raise DamagedError(f"it is packed as {packing[:20]!r}; lz4 and zstd can be read")
    pieces: list[bytes] = []
    num_bytes = 0
    with suppress(Exception):  # each library has its own; what was unpacked before it is good
        for piece in read(content):
            pieces.append(piece)
            num_bytes += len(piece)
            if num_bytes > size:
                break
    if num_bytes > size:
        raise DamagedError(f"it holds more than the {size} bytes that it claims")
    return b"".join(pieces)


def _lz4(content: bytes) -> Iterator[bytes]:
    import lz4.frame  # pyright: ignore[reportMissingTypeStubs]

    unpacker: Any = lz4.frame.LZ4FrameDecompressor()
    while not unpacker.eof and (piece := unpacker.decompress(content, max_length=PIECE_BYTES)):
        yield piece
        content = b""


def _zstd(content: bytes) -> Iterator[bytes]:
    import zstandard

    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(content)) as stream:
        while piece := stream.read(PIECE_BYTES):
            yield piece


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
