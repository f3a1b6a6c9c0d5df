"""Strict reading of frozen dataclasses from JSON that somebody else may have written.

The type annotations of a dataclass say what its JSON has to look like: `int`, `float`, `str`,
`bool`, `X | None`, `Literal`, `tuple[X, ...]`, `Mapping[str, X]`, nested dataclasses, and `Any` for
free JSON values. Everything else is refused with the path of the offending value, such as
`contract.observations[2].shape[0]`. Floats are read back exactly as `json.dumps` wrote them.
"""

import dataclasses
import functools
import itertools
import json
import sys
import types
from collections.abc import Mapping, Sequence
from typing import (
    Any,
    Literal,
    NoReturn,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

Record = TypeVar("Record")
NOTHING = object()
"""Mark of a JSON value that is not there."""


def parse_json(text: str) -> object:
    """Parse JSON text, without Python's leniency.

    Raises:
        ValueError: Not JSON, NaN or infinity, a repeated key, or nested too deeply.
    """
    try:
        return json.loads(
            text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_repeated_keys
        )
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None


def read_record(kind: type[Record], data: object, where: str) -> Record:
    """Build the dataclass `kind` from JSON values; `where` names them in errors.

    Fields with a default may be missing. A value that already is of the field's dataclass is kept.

    Raises:
        ValueError: A missing or unknown field, or a value of another type than annotated.
    """
    values = read_object(data, where)
    hints, required = _fields_of(kind)
    if unknown := sorted(values.keys() - hints.keys()):
        raise ValueError(f"{where} has unknown fields: {', '.join(unknown)}")
    if missing := sorted(required - values.keys()):
        raise ValueError(f"{where} lacks the fields: {', '.join(missing)}")
    read = {name: _read(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return kind(**read)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


@functools.cache  # evaluating annotations took half of the time of a message between processes
def _fields_of(kind: type) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the type of every field of a dataclass, and the names of those without a default."""
    fields = dataclasses.fields(cast("Any", kind))
    hints = get_type_hints(kind)
    required = frozenset(field.name for field in fields if not _has_default(field))
    return {field.name: hints[field.name] for field in fields}, required


def read_object(value: object, where: str) -> Mapping[str, Any]:
    """Return `value` if it is a JSON object.

    Raises:
        ValueError: It is anything else.
    """
    if not isinstance(value, Mapping):
        _refuse(value, where, "an object")
    return cast("Mapping[str, Any]", value)


def first_difference(ours: object, theirs: object, where: str = "") -> tuple[str, str, str] | None:
    """Return where two JSON values differ first, and what stands there in either; None if nowhere.

    The place is a path such as `contract.observations[2].shape[0]`, the values are shortened.
    """
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        mine, others = cast("Mapping[str, object]", ours), cast("Mapping[str, object]", theirs)
        pairs = [
            (f"{where}.{key}".lstrip("."), mine.get(key, NOTHING), others.get(key, NOTHING))
            for key in dict.fromkeys([*mine, *others])
        ]
    elif isinstance(ours, list) and isinstance(theirs, list):
        items = itertools.zip_longest(
            cast("list[object]", ours), cast("list[object]", theirs), fillvalue=NOTHING
        )
        pairs = [(f"{where}[{i}]", one, other) for i, (one, other) in enumerate(items)]
    else:
        one, other = cast("object", ours), theirs
        is_same = type(one) is type(other) and one == other
        return None if is_same else (where, _shown(one), _shown(other))
    differences = (first_difference(one, other, place) for place, one, other in pairs)
    return next((found for found in differences if found is not None), None)


def _shown(value: object) -> str:
    shown = "nothing" if value is NOTHING else repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."


def _read(hint: Any, value: object, where: str) -> Any:
    """Read one value of the annotated type `hint`."""
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        kind = cast("type[Any]", hint)
        return value if isinstance(value, kind) else read_record(kind, value, where)
    composite = {
        tuple: _read_tuple,
        Mapping: _read_mapping,
        Literal: _read_literal,
        Union: _read_optional,
        types.UnionType: _read_optional,
    }.get(get_origin(hint))
    if composite is not None:
        return composite(get_args(hint), value, where)
    return _read_scalar(hint, value, where)


def _read_scalar(hint: Any, value: object, where: str) -> str | int | float | bool:
    if hint is float and type(value) in (int, float):
        number = cast("int | float", value)
        if abs(number) <= sys.float_info.max:  # false for NaN
            return float(number)
        _refuse(value, where, "a finite number")
    if type(value) is not hint:
        names: dict[Any, str] = {
            str: "text", int: "a whole number", float: "a number", bool: "true or false"
        }  # fmt: skip
        _refuse(value, where, names[hint])
    return cast("str | int | bool", value)


def _read_tuple(arguments: tuple[Any, ...], value: object, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        _refuse(value, where, "a list")
    items = cast("Sequence[object]", value)
    if arguments[-1] is ...:
        arguments = arguments[:1] * len(items)
    elif len(items) != len(arguments):
        _refuse(items, where, f"{len(arguments)} values")
    pairs = zip(arguments, items, strict=True)
    return tuple(_read(hint, item, f"{where}[{i}]") for i, (hint, item) in enumerate(pairs))


def _read_mapping(arguments: tuple[Any, ...], value: object, where: str) -> dict[str, Any]:
    items = read_object(value, where).items()
    return {key: _read(arguments[1], item, f"{where}.{key}") for key, item in items}


def _read_literal(arguments: tuple[Any, ...], value: object, where: str) -> str:
    if not isinstance(value, str) or value not in arguments:
        _refuse(value, where, " or ".join(map(repr, arguments)))
    return value


def _read_optional(arguments: tuple[Any, ...], value: object, where: str) -> Any:
    (hint,) = (argument for argument in arguments if argument is not types.NoneType)
    return None if value is None else _read(hint, value, where)


def _has_default(field: "dataclasses.Field[Any]") -> bool:
    missing = dataclasses.MISSING
    return field.default is not missing or field.default_factory is not missing


def _refuse(value: object, where: str, expected: str) -> NoReturn:
    raise ValueError(f"{where} is {_shown(value)}, expected {expected}")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse_repeated_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"a key is given twice: {sorted(n for n in result if names.count(n) > 1)}")
    return result
