"""Messages of the wire: read as they were sent; frames that are no message are refused."""

import json
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robodreamer_deploy.robots.remote.wire import (
    DTYPES,
    MAX_ARRAYS,
    MAX_AXES,
    MAX_HEADER_BYTES,
    MAX_REPLY_BYTES,
    Message,
    WireError,
    decode,
    encode,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=8)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)  # fmt: skip
ARRAYS = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(
        dtype, arrays.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)
    )
)
FIELDS = st.dictionaries(st.text(max_size=8), JSON, max_size=4)
MESSAGES = st.builds(
    Message,
    kind=st.text(max_size=20),
    fields=FIELDS,
    arrays=st.dictionaries(st.text(max_size=8), ARRAYS, max_size=4),
)


def to_frames(message: Message) -> list[bytes]:
    return encode(message, max_bytes=MAX_REPLY_BYTES)


def read(frames: Sequence[bytes]) -> Message:
    return decode(frames, max_bytes=MAX_REPLY_BYTES)


def raw(*arrays: tuple[Any, str], **changes: Any) -> bytes:
    """Return a header of arrays of these shapes and types, some of it changed."""
    about = [{"name": f"a{i}", "dtype": dtype, "shape": s} for i, (s, dtype) in enumerate(arrays)]
    return json.dumps(
        {"version": 1, "kind": "k", "fields": {}, "arrays": about, **changes}
    ).encode()


@given(MESSAGES)
@example(Message(kind="nan", arrays={"a": np.array([np.nan, -np.inf, -0.0], np.float32)}))
@example(Message(kind="strided", arrays={"a": np.arange(12).reshape(3, 4)[::2, ::-1]}))
@example(Message(kind="swapped", arrays={"a": np.arange(3, dtype=">i4").astype(">i4")}))
def test_a_message_is_read_as_it_was_sent(message: Message) -> None:
    received = read(to_frames(message))
    assert (received.kind, received.fields) == (message.kind, message.fields)
    assert list(received.arrays) == list(message.arrays)
    for name, array in received.arrays.items():
        sent = message.arrays[name].astype(array.dtype)
        assert (array.dtype.name, array.shape) == (message.arrays[name].dtype.name, sent.shape)
        assert array.tobytes() == sent.tobytes()  # to the bit, NaN as well
        array[...] = 0  # of its own memory


@given(st.lists(st.binary(max_size=100), max_size=4))
def test_arbitrary_frames_are_refused(frames: list[bytes]) -> None:
    header = raw(([1], "float32"))
    for junk in (frames, [header, *frames], [header + b"".join(frames)]):
        try:
            read(junk)
        except WireError:
            continue
        assert junk == [header, frames[0]]
        assert len(frames[0]) == 4


@given(MESSAGES, st.data())
def test_a_message_that_was_changed_is_a_message_or_is_refused(
    message: Message, data: st.DataObject
) -> None:
    frames = to_frames(message)
    for _ in range(data.draw(st.integers(1, 4))):
        number = data.draw(st.integers(0, len(frames) - 1))
        frame = frames.pop(number)
        place = data.draw(st.integers(0, len(frame)))
        junk = data.draw(st.binary(max_size=9))
        changed = frame[:place] + junk + frame[place + data.draw(st.integers(0, 9)) :]
        replacements: list[list[bytes]] = [[changed], [frame[:place]], [frame, frame], [frame]]
        kept = data.draw(st.sampled_from(replacements))
        number = data.draw(st.integers(0, len(frames)))  # it may have moved
        frames[number:number] = kept
    try:
        received = read(frames)
    except WireError:
        return
    assert sum(array.nbytes for array in received.arrays.values()) == sum(map(len, frames[1:]))


@given(MESSAGES)
def test_a_message_that_is_cut_off_is_refused(message: Message) -> None:
    frames = to_frames(message)
    for number, frame in enumerate(frames):
        for changed in (frame[:-1], frame + b"\0"):
            with pytest.raises(WireError):
                read([*frames[:number], changed, *frames[number + 1 :]])
    for changed in (frames[:-1], [*frames, b""]):
        with pytest.raises(WireError):
            read(changed)


HUGE = 10**4000
"""A product of such numbers cannot be printed: Python converts at most 4300 digits."""


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "it has 0 frames, expected a header and 0 to 256"),
        ([raw(), *[b""] * (MAX_ARRAYS + 1)], "it has 258 frames"),
        ([b"GET / HTTP/1.1\r\n"], "its header is none: Expecting value"),
        ([b"RDR1\0\0\0\0"], "its header is none: Expecting value"),
        ([raw(version=2, more=1)], "of version 2, this release reads 1"),
        ([raw(version=HUGE)], r"of version 1000\d+, this release reads 1"),
        ([raw(version=True)], "version is True, expected a whole number"),
        ([b" " * (MAX_HEADER_BYTES + 1)], "its header is 1048577 bytes long, at most 1048576"),
        ([bytes(MAX_REPLY_BYTES + 1)], "it is 67108865 bytes long, at most 67108864 are sent"),
        ([raw(), bytes(MAX_REPLY_BYTES // 2), bytes(MAX_REPLY_BYTES // 2)], "bytes long, at most"),
        ([b"[" * 100_000], "nested too deeply"),
        ([raw(fields={"x": float("nan")})], "NaN is not JSON"),
        ([b'{"version":1,"version":1}'], "a key is given twice"),
        ([raw(more=1)], "unknown fields: more"),
        ([raw(kind=7)], "kind is 7, expected text"),
        ([b"\xff\xfe"], "utf-8"),
        ([raw(arrays=[{"name": "a"}]), b""], "lacks the fields: dtype, shape"),
        ([raw(([2**62, 4], "float32")), b""], "has another size than its frame of 0 bytes"),
        ([raw(([HUGE, HUGE], "float32")), b""], "has another size than its frame"),
        ([raw(([0, 2**62], "float32")), b""], "a shape that no array has"),
        ([raw(([-1], "float32")), b""], "a shape that no array has"),
        ([raw(([1] * (MAX_AXES + 1), "uint8")), b"1"], "a shape that no array has"),
        ([raw(([1.5], "float32")), b"1234"], "expected a whole number"),
        ([raw(([1], "object")), b"12345678"], "of type 'object'; read are uint8"),
        ([raw(([1], "U4")), b"1" * 16], "of type 'U4'"),
        ([raw(([1], "float32")), b"12345"], "has another size than its frame of 5 bytes"),
        ([raw(([1], "float32"))], "names 1 arrays, 0 frames follow"),
        ([raw(), b""], "names 0 arrays, 1 frames follow"),
        (
            [raw(arrays=[{"name": "a", "dtype": "uint8", "shape": [1]}] * 2), b"1", b"2"],
            "two of its arrays have the same name",
        ),
    ],
)
def test_a_malformed_message_raises_a_clear_error(frames: list[bytes], words: str) -> None:
    with pytest.raises(WireError, match=words):
        read(frames)


def test_nothing_is_allocated_for_elements_that_are_not_there() -> None:
    lie = [raw(([1 << 40], "float32")), b"1234"]
    tracemalloc.start()
    with pytest.raises(WireError):
        read(lie)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


LOOP: list[Any] = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(kind="k", fields={"x": float("nan")}), "Out of range float"),
        (Message(kind="k", fields={"x": {1, 2}}), "not JSON serializable"),
        (Message(kind="k", fields={"x": LOOP}), "Circular reference"),
        (Message(kind="k", arrays={"a": np.array([object()])}), "a is of type object"),
        (Message(kind="k", arrays={"a": np.array(["x"])}), "a is of type <U1"),
        (Message(kind="k", arrays={"a": np.zeros((2, 0))}), "a has 0 elements on 2 axes"),
        (Message(kind="k", arrays={"a": np.zeros([1] * 9)}), "a has 1 elements on 9 axes"),
        (Message(kind="k", arrays={str(i): np.zeros(1) for i in range(257)}), "has 258 frames"),
        (Message(kind="k", arrays={"a": np.zeros(2000, np.uint8)}), "at most 1000 are sent"),
    ],
)
def test_a_message_that_cannot_be_sent_raises_a_clear_error(message: Message, words: str) -> None:
    with pytest.raises(WireError, match=words):
        encode(message, max_bytes=1000)
