"""Pictures as messages: `foxglove.RawImage`, lossless. The chunk they lie in is compressed.

Neighbouring frames resemble each other, so a chunk of raw ones takes less room than each frame as a
PNG of its own: a fourth where nothing but the robot moves, four fifths where every pixel is noisy.

Letters: H height, W width, C channels.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from robodreamer_deploy.contract import Array

ENCODINGS = {1: "mono8", 3: "rgb8", 4: "rgba8"}
PIECE_BYTES = 3 << 15
"""Bytes that become base64 at once. It takes 0.1 ms, in which Python's interpreter lock is held and
a control loop waits; a multiple of 3, so that the pieces fit together."""
NANO = 1_000_000_000


def is_picture(value: object) -> bool:
    """Tell whether a signal's value is kept as a picture: uint8 (H, W, C)."""
    if not isinstance(value, np.ndarray):
        return False
    image = cast("Array", value)
    return image.dtype == np.uint8 and image.ndim == 3 and image.size > 0


def timestamp(time_ns: int) -> dict[str, int]:
    """Return nanoseconds since 1970 as Foxglove's messages have them."""
    return {"sec": time_ns // NANO, "nsec": time_ns % NANO}


def image_message(frame_id: str, image: Array, time_ns: int) -> bytes:
    """Return a picture, uint8 (H, W, C), as the content of a JSON message."""
    height, width, channels = image.shape
    fields = {
        "timestamp": timestamp(time_ns),
        "frame_id": frame_id,
        "width": width,
        "height": height,
        "encoding": ENCODINGS.get(channels, f"8UC{channels}"),
        "step": width * channels,
    }
    head = json.dumps(fields, separators=(",", ":")).encode()
    pixels = np.ascontiguousarray(image).data.cast("B")
    places = range(0, len(pixels), PIECE_BYTES)
    pieces = (binascii.b2a_base64(pixels[i : i + PIECE_BYTES], newline=False) for i in places)
    return b"".join([head[:-1], b',"data":"', *pieces, b'"}'])


def read_image(fields: Mapping[str, Any]) -> Array:
    """Return the picture, uint8 (H, W, C), of a message's fields.

    Raises:
        ValueError, KeyError, TypeError: It is none that `image_message` wrote.
    """
    height, width, step = (fields[name] for name in ("height", "width", "step"))
    if not all(type(size) is int and size > 0 for size in (height, width, step)):
        raise ValueError(f"a picture of {width} x {height} with rows of {step} bytes")
    pixels = np.frombuffer(base64.b64decode(fields["data"], validate=True), np.uint8)
    if step % width or pixels.size != height * step:
        raise ValueError(f"a picture of {width} x {height} with {pixels.size} bytes")
    return pixels.reshape(height, width, step // width).copy()
