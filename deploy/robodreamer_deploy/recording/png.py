"""PNG, lossless, with nothing but numpy and zlib.

Compression, which is most of the work, lets go of Python's interpreter lock, so that a recorder's
thread does not hold up a control loop. Rows are stored as differences to the row above (filter
"up"). Source: the PNG specification (W3C, third edition). Letters: H height, W width, C channels.
"""

import struct
import zlib

import numpy as np

from robodreamer_deploy.contract import Array

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey and alpha, RGB, RGB and alpha
CHANNELS = {color: channels for channels, color in COLOR_TYPES.items()}
FILTER_UP = 2
LEVEL = 1  # of compression: a third of the time of the usual 6 for a tenth more bytes
MAX_PIXELS = 1 << 26
HEADER = struct.Struct(">IIBBBBB")


def encode_png(image: Array) -> bytes:
    """Return a picture, uint8 (H, W, C) with 1 to 4 channels, as the content of a PNG file."""
    height, width, channels = image.shape
    rows = image.reshape(height, width * channels)
    filtered = np.empty((height, 1 + width * channels), np.uint8)
    filtered[:, 0] = FILTER_UP
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256, as PNG wants it
    header = HEADER.pack(width, height, 8, COLOR_TYPES[channels], 0, 0, 0)
    body = zlib.compress(filtered.tobytes(), LEVEL)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def decode_png(content: bytes) -> Array:
    """Return the picture, uint8 (H, W, C), of what `encode_png` wrote.

    Raises:
        ValueError: It is something else, or damaged.
    """
    if not content.startswith(SIGNATURE):
        raise ValueError("no PNG")
    chunks = dict(_chunks(content))
    try:
        width, height, depth, color, *coding = HEADER.unpack(chunks[b"IHDR"])
        channels = CHANNELS[color]
        if (depth, *coding) != (8, 0, 0, 0) or not 0 < width * height <= MAX_PIXELS:
            raise ValueError(f"a PNG of {width} x {height} that no log holds")
        size = height * (1 + width * channels)
        unpacker = zlib.decompressobj()
        flat = np.frombuffer(unpacker.decompress(chunks[b"IDAT"], size), np.uint8)
    except (KeyError, struct.error, zlib.error) as error:
        raise ValueError(f"a damaged PNG: {error!r}") from error
    if flat.size != size or not unpacker.eof:
        raise ValueError(f"a PNG of {flat.size} bytes, expected {size}")
    filtered = flat.reshape(height, -1)
    if (filtered[:, 0] != FILTER_UP).any():
        raise ValueError("a PNG with filters that no log has")
    rows = np.cumsum(filtered[:, 1:], 0, dtype=np.uint8)
    return rows.reshape(height, width, channels)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _chunks(content: bytes) -> "list[tuple[bytes, bytes]]":
    found: list[tuple[bytes, bytes]] = []
    place = len(SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, place)
        kind, data = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        checksum = content[place + 8 + length : place + 12 + length]
        if checksum != struct.pack(">I", zlib.crc32(kind + data)):
            raise ValueError(f"a damaged PNG: {kind!r} has another checksum")
        found.append((kind, data))
        place += 12 + length
    return found
