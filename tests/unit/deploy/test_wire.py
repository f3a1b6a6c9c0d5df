"""Messages of the wire: what was sent is what is read, and what is no message is refused."""

import struct
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from robodreamer_deploy.robots.remote.wire import (
    DTYPES,
    MAX_AXES,
    MAX_REPLY_BYTES,
    PREFIX,
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
MESSAGES = st.builds(
    Message,
    kind=st.text(max_size=20),
    fields=st.dictionaries(st.text(max_size=8), JSON, max_size=4),
    arrays=st.dictionaries(st.text(max_size=8), ARRAYS, max_size=4),
)


def to_bytes(message: Message) -> bytes:
    return encode(message, max_bytes=MAX_REPLY_BYTES)


def raw(header: bytes, payload: bytes = b"", magic: bytes = b"RDR1") -> bytes:
    return PREFIX.pack(magic, len(header)) + header + payload


def about(shape: Any, dtype: str = "float32", name: str = "a") -> bytes:
    return (
        f'{{"kind":"k","fields":{{}},"arrays":'
        f'[{{"name":"{name}","dtype":"{dtype}","shape":{shape}}}]}}'
    ).encode()


@given(MESSAGES)
@example(Message(kind="nan", arrays={"a": np.array([np.nan, -np.inf, -0.0], np.float32)}))
def test_what_was_sent_is_what_is_read(message: Message) -> None:
    read = decode(to_bytes(message))
    assert (read.kind, read.fields) == (message.kind, message.fields)
    assert list(read.arrays) == list(message.arrays)
    for name, array in read.arrays.items():
        sent = message.arrays[name]
        assert (array.dtype, array.shape) == (sent.dtype, sent.shape)
        assert array.tobytes() == sent.tobytes()  # to the bit, NaN as well
        array[...] = 0  # of its own memory


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data: bytes) -> None:
    for junk in (data, b"RDR1" + data, raw(data), raw(about([1]), data)):
        try:
            decode(junk)
        except WireError:
            continue
        assert junk == raw(about([1]), data)
        assert len(data) == 4


@given(MESSAGES, st.data())
def test_a_message_that_was_changed_is_a_message_or_is_refused(
    message: Message, data: st.DataObject
) -> None:
    mutated = bytearray(to_bytes(message))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mutated)))
        kind = data.draw(st.sampled_from(("change", "cut", "insert", "remove")))
        if kind == "cut":
            del mutated[place:]
        elif kind == "insert":
            mutated[place:place] = data.draw(st.binary(max_size=9))
        elif place < len(mutated) and kind == "change":
            mutated[place] = data.draw(st.integers(0, 255))
        else:
            del mutated[place : place + 1]
    try:
        read = decode(bytes(mutated))
    except WireError:
        return
    assert sum(array.nbytes for array in read.arrays.values()) <= len(mutated)


@given(MESSAGES)
def test_a_message_that_is_cut_off_is_refused(message: Message) -> None:
    whole = to_bytes(message)
    for end in {0, 3, 7, len(whole) // 2, len(whole) - 1}:
        with pytest.raises(WireError):
            decode(whole[: min(end, len(whole) - 1)])
    with pytest.raises(WireError):
        decode(whole + b"\0")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n", "does not begin as a message"),
        (raw(b"{}", magic=b"RDR2"), "of version '2', this release speaks '1'"),
        (struct.pack("<4sI", b"RDR1", 0xFFFFFFFF), "header of 4294967295 bytes"),
        (raw(b"[" * 100_000), "nested too deeply|header is"),
        (raw(b'{"kind":"k","fields":{"x":NaN},"arrays":[]}'), "NaN is not JSON"),
        (raw(b'{"kind":"k","fields":{},"arrays":[],"more":1}'), "unknown fields: more"),
        (raw(b'{"kind":7,"fields":{},"arrays":[]}'), "kind is 7, expected text"),
        (raw(b"\xff\xfe"), "utf-8"),
        (raw(about([2**62, 4])), "cut off"),
        (raw(about([0, 2**62])), "a shape that no array has"),
        (raw(about([-1])), "a shape that no array has"),
        (raw(about([1] * (MAX_AXES + 1)), b"1234"), "a shape that no array has"),
        (raw(about([1.5])), "expected a whole number"),
        (raw(about([1], "object"), b"12345678"), "of type 'object'; read are uint8"),
        (raw(about([1], "U4"), b"1" * 16), "of type 'U4'"),
        (raw(about([1]), b"12345"), "1 bytes are left over"),
    ],
)
def test_a_message_that_lies_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(WireError, match=words):
        decode(data)


def test_nothing_is_allocated_for_what_is_not_there() -> None:
    lie = raw(about([1 << 40]), b"1234")
    tracemalloc.start()
    with pytest.raises(WireError):
        decode(lie)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (Message(kind="k", fields={"x": float("nan")}), "Out of range float"),
        (Message(kind="k", fields={"x": {1, 2}}), "not JSON serializable"),
        (Message(kind="k", arrays={"a": np.array([object()])}), "a is of type object"),
        (Message(kind="k", arrays={"a": np.array(["x"])}), "a is of type <U1"),
        (Message(kind="k", arrays={"a": np.zeros(2000, np.uint8)}), "at most 1000 are sent"),
    ],
)
def test_what_cannot_be_sent_is_said(message: Message, words: str) -> None:
    with pytest.raises(WireError, match=words):
        encode(message, max_bytes=1000)
