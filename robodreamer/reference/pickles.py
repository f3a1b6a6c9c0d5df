"""Reader of pickles that hold numbers, texts, containers and numpy arrays, and execute nothing.

A pickle is a program: it names functions and calls them. Here every name is looked up in
`STAND_INS` and nowhere else, so that nothing is imported; what stands there is ours, builds arrays
of plain numbers from bytes of the right length, and cannot be altered by the pickle. Any other name
ends the reading.

Sources: numpy's `__reduce__` of arrays, types and scalars, in protocols 2 to 5, by numpy 1 and 2.
"""

import pickle
import struct
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

NUMBERS = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
"""Types of arrays, by numpy's names for them."""
DEEPEST = 8
"""Containers within containers; a checkpoint has four."""
DAMAGE = (
    pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError, ValueError,
    OverflowError, MemoryError, RecursionError, ImportError, struct.error,
)  # fmt: skip
"""Errors that a pickle can cause which is cut, altered, or no pickle."""


class RefusedPickleError(ValueError):
    """Raised for a pickle that names something else than data."""


class StandIn:
    """Function that a pickle may call; nothing of it can be set from a pickle."""

    __slots__ = ("_build",)
    _build: Callable[..., Any]

    def __init__(self, build: Callable[..., Any]) -> None:
        object.__setattr__(self, "_build", build)

    def __call__(self, *arguments: Any) -> Any:
        """Build what the function of this name would return."""
        return self._build(*arguments)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise pickle.UnpicklingError(f"a function cannot get {name!r}")


class PickledType:
    """Type of numbers, whose byte order comes after its name."""

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or name.lstrip("<>=|") not in NUMBERS:
            raise RefusedPickleError(f"it holds an array of {name!r}, not of numbers")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"there is no byte order {order!r}")
        self.dtype = self.dtype.newbyteorder(order)


class PickledArray:
    """Array whose content comes after it."""

    def __init__(self) -> None:
        self.value: NDArray[Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, is_fortran, content = state
        self.value = make_array(content, kind, shape, "F" if is_fortran else "C")


def make_array(content: Any, kind: Any, shape: Any, order: Any) -> NDArray[Any]:
    """Return a copy of an array's bytes as an array, after checking that they fit its shape."""
    if isinstance(content, str):  # of protocols before 3
        content = content.encode("latin1")
    if not isinstance(kind, PickledType) or not isinstance(content, bytes | bytearray):
        raise pickle.UnpicklingError("an array has no bytes, or no type")
    sizes = tuple(int(size) for size in shape)
    if min(sizes, default=0) < 0 or prod(sizes) * kind.dtype.itemsize != len(content):
        raise pickle.UnpicklingError(f"{len(content)} bytes are no {kind.dtype} array of {sizes}")
    flat = np.frombuffer(content, kind.dtype).astype(kind.dtype.newbyteorder("="))
    return flat.reshape(sizes, order="F" if order == "F" else "C")


def make_scalar(kind: Any, content: Any) -> Any:
    """Return a number of numpy as an array without axes."""
    return make_array(content, kind, (), "C")


def encode_latin1(text: Any, encoding: Any = "latin1") -> bytes:
    """Return the bytes that protocol 2 writes as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"bytes are not encoded as {encoding!r}")
    return text.encode("latin1")


def _no_call(*_: Any) -> NoReturn:
    raise pickle.UnpicklingError("an array's class is named, not called")


STAND_INS: Mapping[tuple[str, str], StandIn] = {
    ("numpy", "ndarray"): StandIn(_no_call),
    ("numpy", "dtype"): StandIn(PickledType),
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in {
            "_reconstruct": StandIn(lambda *_: PickledArray()),
            "scalar": StandIn(make_scalar),
        }.items()
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): StandIn(make_array) for core in ("core", "_core")},
    ("_codecs", "encode"): StandIn(encode_latin1),
    ("__builtin__", "bytes"): StandIn(lambda: b""),  # as protocol 2 writes no bytes at all
    ("collections", "OrderedDict"): StandIn(dict),
}
"""Everything that a pickle may name, by module and name."""


class DataUnpickler(pickle.Unpickler):
    """Unpickler that knows `STAND_INS` alone."""

    def find_class(self, module_name: str, global_name: str) -> StandIn:
        """Return the stand-in of a name; nothing is imported.

        Raises:
            RefusedPickleError: There is none.
        """
        found = STAND_INS.get((module_name, global_name))
        if found is None:
            raise RefusedPickleError(
                f"it names {module_name}.{global_name}, and only numbers, texts, containers and "
                "numpy arrays are read"
            )
        return found


def read_pickle(path: Path) -> Any:
    """Return what a pickle holds, without executing anything in it.

    Raises:
        ValueError: It names something else than data, is damaged, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            return _to_data(DataUnpickler(file).load(), DEEPEST)
    except RefusedPickleError as error:
        raise ValueError(f"{path} is refused: {error}") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except DAMAGE as error:
        raise ValueError(f"{path} is no pickle, or a damaged one: {error}") from error


def flatten(tree: Any, prefix: str = "") -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield the arrays and numbers of nested dicts, with their keys joined by slashes."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from flatten(value, f"{prefix}/{key}" if prefix else str(key))
    elif isinstance(tree, np.ndarray | int | float):
        yield prefix, np.asarray(tree)


def _to_data(value: Any, depth: int) -> Any:
    """Return containers with arrays in place of what they were built from."""
    if isinstance(value, dict | list | tuple) and not depth:
        raise RefusedPickleError(f"it has more than {DEEPEST} containers within each other")
    if isinstance(value, dict):
        return {key: _to_data(item, depth - 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_to_data(item, depth - 1) for item in value]
    if isinstance(value, PickledArray):
        if value.value is None:
            raise pickle.UnpicklingError("an array has no content")
        return value.value
    if isinstance(value, StandIn | PickledType):
        raise RefusedPickleError("it holds a function or a type in place of data")
    return value
