"""Pickles of the public code: what is read, and that nothing in them runs."""

import collections
import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from robodreamer.reference.pickles import STAND_INS, flatten, read_pickle


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "flags": np.array([True, False]),
    "picture": np.zeros((2, 2, 3), np.uint8),
    "number": np.array(1.5),
    "nothing": np.zeros((0, 4), np.float16),
}


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_and_containers_are_read_as_they_were(protocol: int, tmp_path: Path) -> None:
    tree = {
        "params": ARRAYS,
        "counters": collections.OrderedDict(updates=7, rate=np.float32(0.5), text="é"),
        "list": [1, (2.5, None), b"\xff"],
    }
    found = read_pickle(write(tmp_path / "a.pkl", pickle.dumps(tree, protocol)))
    assert found["params"].keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found["params"][name], array, err_msg=name)
        assert found["params"][name].dtype == array.dtype.newbyteorder("="), name
    assert (found["counters"]["updates"], found["counters"]["text"]) == (7, "é")
    assert float(found["counters"]["rate"]) == 0.5
    assert found["list"] == [1, [2.5, None], b"\xff"]


def test_names_of_numpy_1_are_known(tmp_path: Path) -> None:
    content = pickle.dumps(ARRAYS["float"], 2)
    assert b"numpy._core.multiarray" in content
    old = write(tmp_path / "a.pkl", content.replace(b"numpy._core", b"numpy.core"))
    np.testing.assert_array_equal(read_pickle(old), ARRAYS["float"])


def test_keys_of_nested_dicts_are_joined() -> None:
    tree = {"dyn": {"prior0": {"bias": ARRAYS["float"]}}, "step": 3, "name": "left out"}
    assert sorted(name for name, _ in flatten(tree)) == ["dyn/prior0/bias", "step"]


class Hostile:
    """Object whose pickle runs a command where it is loaded by the standard library."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.trace}",)


def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "it_ran"
    content = pickle.dumps({"params": {"dyn/prior0/bias": Hostile(trace)}})
    file = write(tmp_path / "agent.pkl", content)
    with pytest.raises(ValueError, match=r"agent\.pkl is refused: it names posix\.system, and"):
        read_pickle(file)
    assert not trace.exists()
    pickle.loads(content)  # noqa: S301  the same bytes do run where they are allowed to
    assert trace.exists()


class Attack(NamedTuple):
    """Pickle that tries to get at something else than data, and what it is answered."""

    content: bytes
    message: str


def array_of(kind: bytes, content: bytes) -> bytes:
    """Return the opcodes of an array of shape (2,), of a type and with the content given."""
    return (
        b"cnumpy._core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntc_codecs\nencode\n"
        b"(Vb\ntRtR(I1\n(I2\ntcnumpy\ndtype\n(V" + kind + b"\nI00\nI01\ntRI00\n" + content + b"tb."
    )


ATTACKS = {
    "getattr": Attack(b"cbuiltins\ngetattr\n.", "it names builtins.getattr"),
    "eval": Attack(b"c__builtin__\neval\n(V1+1\ntR.", "it names __builtin__.eval"),
    "attribute of a known name": Attack(
        b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "it names numpy.ndarray.tofile"
    ),
    "import of a known module": Attack(b"cnumpy\nload\n.", "it names numpy.load"),
    "instance": Attack(b"(inumpy\nload\n.", "it names numpy.load"),
    "copyreg": Attack(b"ccopyreg\n_reconstructor\n.", "it names copyreg._reconstructor"),
    "persistent object": Attack(b"Pfile\n.", "no pickle, or a damaged one"),
    "extension": Attack(b"\x82\x01.", "no pickle, or a damaged one"),
    "new attribute of a function": Attack(
        b"cnumpy\ndtype\nN}V_build\ncnumpy._core.multiarray\n_reconstruct\ns\x86b.",
        "a function cannot get '_build'",
    ),
    "function in place of data": Attack(b"cnumpy\ndtype\n.", "a function or a type in place of"),
    "array without content": Attack(
        b"cnumpy._core.multiarray\n_reconstruct\n)R.", "an array has no content"
    ),
    "call of the class": Attack(b"cnumpy\nndarray\n)R.", "an array's class is named, not called"),
    "objects": Attack(array_of(b"O8", b"(lp0\n"), "an array of 'O8', not of numbers"),
    "too few bytes": Attack(array_of(b"f4", b"c_codecs\nencode\n(Vabc\ntR"), "3 bytes are no"),
    "no bytes": Attack(array_of(b"f4", b"I5\n"), "an array has no bytes"),
    "depth": Attack(b"(" * 20 + b"t" * 20 + b".", "more than 8 containers within each other"),
    "cut": Attack(pickle.dumps(ARRAYS)[:-20], "no pickle, or a damaged one"),
    "text": Attack(b"hello", "no pickle, or a damaged one"),
    "empty": Attack(b"", "no pickle, or a damaged one"),
    "huge": Attack(b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "no pickle, or a damaged one"),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_everything_but_data_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    attack = ATTACKS[name]
    before = {key: stand_in._build for key, stand_in in STAND_INS.items()}
    with pytest.raises(ValueError, match=r"agent\.pkl") as refusal:
        read_pickle(write(tmp_path / "agent.pkl", attack.content))
    assert attack.message in str(refusal.value)
    assert {key: stand_in._build for key, stand_in in STAND_INS.items()} == before


def test_a_known_array_written_by_hand_is_read(tmp_path: Path) -> None:
    """Show that the attacks above fail for what they hold, not for how they are written."""
    content = array_of(b"u1", b"c_codecs\nencode\n(Vab\ntR")
    found = read_pickle(write(tmp_path / "agent.pkl", content))
    np.testing.assert_array_equal(found, [97, 98])
