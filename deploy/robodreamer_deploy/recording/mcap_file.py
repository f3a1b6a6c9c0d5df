"""Records of an MCAP file that may be cut, damaged or made to harm, in order.

`mcap.stream_reader` parses them. It neither bounds the lengths inside a record and the size of an
unpacked chunk, nor insists on checksums: that is added here.
"""

import io
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robodreamer_deploy.errors import RobotError
from robodreamer_deploy.recording.format import DamagedError

if TYPE_CHECKING:
    from mcap.records import Chunk, McapRecord

MAX_BYTES = 1 << 26
"""Largest record, and largest chunk once it is unpacked. A chunk takes a megabyte in this release
and 4 to 8 in other programs, plus one picture at most: 33 MB at 3840 x 2160, as base64."""

Complain = Callable[[str], None]


def read_records(path: Path, complain: Complain) -> Iterator["McapRecord"]:
    """Yield the records of the data section, those in chunks in the place of their chunk.

    The last one is `DataEnd`; it is missing where the file was cut. A damaged chunk is left out, a
    damaged record outside of a chunk ends reading.

    Args:
        path: Path of the file.
        complain: Takes a sentence about each part that cannot be read.

    Raises:
        RobotError: The file is no MCAP file, or cannot be read.
    """
    from mcap.exceptions import EndOfFile, InvalidMagic
    from mcap.stream_reader import CRCValidationError

    try:
        with _BoundedFile(path) as file:
            yield from _data_section(file, complain)
    except OSError as error:
        raise RobotError(f"{path} cannot be read: {error.strerror}") from error
    except InvalidMagic as error:
        raise RobotError(f"{path} is no MCAP file") from error
    except EndOfFile:
        complain(f"the log was cut at byte {path.stat().st_size}")
    except CRCValidationError:
        complain("the log was changed: the checksum of all of it differs")
    except Exception as error:  # noqa: BLE001  mcap documents no set of errors for damaged records
        complain(f"a record is damaged: {error}")


def read_topics(path: Path) -> dict[int, str]:
    """Return the topics by channel that a whole file repeats at its end; none of a cut file.

    Those in the data section stand in the first chunk alone, which may be damaged.
    """
    from mcap.reader import SeekingReader

    with suppress(Exception), _BoundedFile(path) as file:  # reading the data section finds damage
        summary = SeekingReader(file, record_size_limit=None).get_summary()
        if summary is not None:
            return {channel.id: channel.topic for channel in summary.channels.values()}
    return {}


class _BoundedFile(io.BufferedReader):
    """File of which a record takes at most `MAX_BYTES`; every read is whole, or raises."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size
        self._left = MAX_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        """Return exactly `size` bytes.

        Raises:
            EndOfFile: There are fewer.
            DamagedError: The record claims an impossible length, or is larger than any log needs.
        """
        from mcap.exceptions import EndOfFile

        if size is None or size < 0:  # a message that is shorter than its own head
            raise DamagedError("it is shorter than its kind of record can be")
        if size > self._size - self.tell():
            raise EndOfFile
        if size > self._left:
            raise DamagedError(f"it takes more than {MAX_BYTES} bytes, and no log needs so many")
        self._left -= size
        return super().read(size)

    def begin_record(self) -> None:
        """Allow another record its `MAX_BYTES`."""
        self._left = MAX_BYTES


def _data_section(file: _BoundedFile, complain: Complain) -> Iterator["McapRecord"]:
    from mcap.records import Chunk, DataEnd, Message
    from mcap.stream_reader import StreamReader

    reader = StreamReader(file, emit_chunks=True, validate_crcs=True, record_size_limit=None)
    for record in reader.records:
        file.begin_record()
        if isinstance(record, Chunk):
            yield from _unpack(record, complain)
        elif isinstance(record, Message):
            complain("a message is left out: it stands outside of a chunk, without a checksum")
        else:
            yield record
        if isinstance(record, DataEnd):
            return


def _unpack(chunk: "Chunk", complain: Complain) -> list["McapRecord"]:
    """Return the records of a chunk; none of one that is damaged."""
    from mcap.stream_reader import CRCValidationError, breakup_chunk

    if not chunk.uncompressed_crc:
        complain("a chunk is left out: it has no checksum")
        return []
    try:
        body = unpacked(chunk.compression, chunk.data, chunk.uncompressed_size)
        return breakup_chunk(replace(chunk, compression="", data=body), validate_crc=True)
    except CRCValidationError:
        complain("a chunk was changed, and is left out: its checksum differs")
    except Exception as error:  # noqa: BLE001  each library has its own
        complain(f"a chunk is damaged, and is left out: {error}")
    return []


def unpacked(packing: str, content: bytes, size: int) -> bytes:
    """Return the `size` bytes that a chunk holds; memory is bounded by `size`, not by the content.

    Raises:
        DamagedError: It claims more than `MAX_BYTES`, holds more or less than it claims, or is
            packed in another way than lz4 and zstd.
        Exception: Of lz4 and zstandard, for content that they did not pack.
    """
    if size > MAX_BYTES:
        raise DamagedError(f"it claims to hold {size} bytes")
    body = _unpackers(packing)(content, size + 1)  # one more, which shows that there is more
    if len(body) > size:
        raise DamagedError(f"it holds more than the {size} bytes that it claims")
    if len(body) < size:
        raise DamagedError(f"it has {len(body)} bytes of {size}")
    return body


def _unpackers(packing: str) -> Callable[[bytes, int], bytes]:
    """Return a function of packed bytes that returns so many unpacked ones at most."""
    if not packing:
        return lambda content, _: content
    if packing == "lz4":
        import lz4.frame  # pyright: ignore[reportMissingTypeStubs]

        unpacker: Any = lz4.frame.LZ4FrameDecompressor()
        return lambda content, size: unpacker.decompress(content, max_length=size)
    if packing == "zstd":
        import zstandard

        return lambda content, size: zstandard.ZstdDecompressor().stream_reader(content).read(size)
    raise DamagedError(f"it is packed as {packing[:20]!r}; lz4 and zstd can be read")
