"""Exact numbers in JSON: every float is read back bit for bit.

Finite floats are written by `repr`. JSON has no others: a field that is not finite, or has an
element that is not, stands as text under `not_finite` instead.

    {"values": [0.5, 1.0]}                      all is finite
    {"not_finite": {"values": ["0.5", "NaN"]}}  one element is not
"""

import json
import math
import reprlib
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.utils.strict_json import parse_json, read_object

NOT_FINITE = "not_finite"
KINDS = "buif"  # of numpy types that have numbers as elements
TYPES = {np.dtype(code).name for code in "?bBhHiIlLqQefd"}
NAMES = {math.inf: "Infinity", -math.inf: "-Infinity"}
_SHORT = reprlib.Repr()  # a value that is no array may be of any size, and its repr may raise
_SHORT.maxother = _SHORT.maxstring = 200


def to_json(fields: Mapping[str, Any]) -> bytes:
    """Return a JSON object with these fields, without those that are None."""
    return json.dumps(pack(fields), allow_nan=False, separators=(",", ":")).encode()


def from_json(content: bytes) -> dict[str, Any]:
    """Return the fields of a JSON object; arrays are lists, and may hold NaN and infinity.

    Raises:
        ValueError: The content is no JSON object.
    """
    return unpack(read_object(parse_json(content.decode()), "message"))


def pack(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields as strict JSON values; arrays become lists."""
    packed: dict[str, Any] = {}
    texts: dict[str, Any] = {}
    for name, value in fields.items():
        plain = _plain(value)
        if _is_finite(plain):
            packed[name] = plain
        else:
            texts[name] = _texts(plain)
    packed = {name: value for name, value in packed.items() if value is not None}
    return packed | {NOT_FINITE: texts} if texts else packed


def unpack(message: Mapping[str, Any]) -> dict[str, Any]:
    """Invert `pack`, but for arrays, which stay lists."""
    fields = dict(message)
    texts = read_object(fields.pop(NOT_FINITE, {}), NOT_FINITE)
    return fields | {name: _floats(text) for name, text in texts.items()}


def array_fields(value: Any) -> dict[str, Any]:
    """Return an array of numbers as fields; of anything else, a description."""
    array: Array = np.asarray(value) if is_numpy(value) else np.array(None)
    if array.dtype.kind in KINDS and array.dtype.itemsize <= 8:
        return {"dtype": array.dtype.name, "shape": list(array.shape), "values": array.ravel()}
    described = f"{type(value).__name__}: {_SHORT.repr(value)}"
    return {"dtype": "", "shape": [], "text": encodable(described)[:200]}


def read_array(fields: Mapping[str, Any]) -> Array | str:
    """Invert `array_fields`; a value that was no array of numbers returns as its description.

    Raises:
        ValueError, KeyError, TypeError: The fields are not what `array_fields` returned.
    """
    if not fields["dtype"]:
        return str(fields["text"])
    if fields["dtype"] not in TYPES:
        raise ValueError("an array of a type that is not recorded")
    return np.array(fields["values"], fields["dtype"]).reshape(fields["shape"])


def number(value: Any) -> float:
    """Return any value as a float; NaN where it is no number."""
    try:
        return float(value)
    except Exception:  # noqa: BLE001  a driver's own class raises what it likes
        return math.nan


def encodable(text: object) -> str:
    """Return text that UTF-8 can encode: half a surrogate pair, as in file names, is escaped."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def is_numpy(value: Any) -> bool:
    """Return whether a value is an array, or an element of one."""
    return isinstance(value, (np.ndarray, np.generic))


def _plain(value: Any) -> Any:
    return value.tolist() if is_numpy(value) else value


def _is_finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(_is_finite(element) for element in cast("list[Any]", value))
    return not isinstance(value, float) or math.isfinite(value)


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(element) for element in cast("list[Any]", value)]
    return "NaN" if math.isnan(value) else NAMES.get(value, repr(value))


def _floats(text: Any) -> Any:
    if isinstance(text, list):
        return [_floats(element) for element in cast("list[Any]", text)]
    return float(text)
