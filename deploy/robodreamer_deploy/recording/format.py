"""Events as messages of a log, and back: one topic per signal, and one for each kind of event.

    /image/<camera>                  foxglove.RawImage
    /proprio/<name>, /goal/<name>    values, with type, shape and labels; so too a camera's value
                                     that is no picture
    /tick                            the rest of a tick
    /state                           snapshot after a tick, once a second
    /episode                         start of an episode, or end of driving
    /about                           the drive's metadata, once; belongs to no event
    /joint_states, /calibration/...  for people, see `foxglove_messages`

All messages of an event have its number as sequence number. A tick is whole when its `/tick` and
all signals that it lists are there.
"""

import base64
import math
import reprlib
import types
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin, get_type_hints

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.control import states
from robodreamer_deploy.control.events import EpisodeEnd, EpisodeStart, Tick
from robodreamer_deploy.control.safety import SafetySnapshot
from robodreamer_deploy.policy.bundle import Carry
from robodreamer_deploy.policy.controller import Snapshot, Step
from robodreamer_deploy.recording.event_stream import DriveSnapshot, LogEvent
from robodreamer_deploy.recording.exact_json import (
    array_fields,
    from_json,
    number,
    pack,
    read_array,
    to_json,
    unpack,
)
from robodreamer_deploy.recording.foxglove_messages import (
    JOINTS,
    NANO,
    NamedSignals,
    image_message,
    is_picture,
    read_image,
)
from robodreamer_deploy.recording.schemas import (
    CAMERA,
    EPISODE,
    JOINT_STATES,
    PICTURE,
    SCHEMA_OF,
    SIGNAL,
    STATE,
    TICK,
)

MAX_WORDS, MAX_WORD = 100, 1000
"""Most limits or missing cameras of a tick, and most characters of each: no drive has as many."""
LATEST_NS = 2**63 - 1  # of a signed time, as most readers of MCAP keep it

_SHORT = reprlib.Repr()
Tuple = TypeVar("Tuple", bound=tuple[Any, ...])


class Message(NamedTuple):
    """Content of one topic for one event."""

    topic: str
    schema: str  # name of its schema
    time_s: float  # when it was measured, or else when the tick began
    content: bytes


class DamagedError(ValueError):
    """Error of a message that no recorder writes."""


def to_messages(event: LogEvent, wall_ns: "WallClock", named: NamedSignals) -> Iterator[Message]:
    """Yield the messages of an event, in order."""
    if isinstance(event.payload, Tick):
        tick = event.payload
        tick_ns = wall_ns(tick.time_s)
        for name, value in tick.observation.items():
            yield _signal(name, value, tick, wall_ns, named.labels(name, value))
        if (joints := named.joint_states(tick.observation, tick_ns)) is not None:
            yield Message(JOINTS, JOINT_STATES, tick.time_s, to_json(joints))
        if event.snapshot is not None:
            for topic, fields in named.calibrations(tick_ns):
                yield Message(topic, CAMERA, tick.time_s, to_json(fields))
            fields = _snapshot_fields(event.snapshot)
            yield Message(STATE, SCHEMA_OF[STATE], tick.time_s, to_json(fields))
        yield Message(TICK, SCHEMA_OF[TICK], tick.time_s, to_json(_tick_fields(tick)))
    else:
        kind = "start" if isinstance(event.payload, EpisodeStart) else "end"
        fields = {"event": kind, "time_s": event.time_s, **event.payload._asdict()}
        yield Message(EPISODE, SCHEMA_OF[EPISODE], event.time_s, to_json(fields))


@np.errstate(over="raise", invalid="raise")  # a number beyond its type was not recorded
def from_messages(number: int, messages: Mapping[str, bytes]) -> LogEvent:
    """Return the event of these messages, by topic; `/tick` or `/episode` is among them.

    Raises:
        DamagedError: A message is missing, or no recorder writes it.
    """
    try:
        if EPISODE in messages:
            return _episode(number, from_json(messages[EPISODE]))
        fields = from_json(messages[TICK])
        observation = {name: _value(name, messages[f"/{name}"]) for name in fields.pop("signals")}
        stamps = dict(_stamp(stamp) for stamp in fields.pop("stamps"))
        step = fields.pop("step", None)
        fields |= {
            "observation": observation,
            "stamps": stamps,
            "step": None if step is None else _read(Step, unpack(step)),
        }
        tick = _read(Tick, fields)
        snapshot = _snapshot(from_json(messages[STATE])) if STATE in messages else None
    except KeyError as error:
        raise DamagedError(f"{error.args[0]} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError, ArithmeticError) as error:
        raise DamagedError(" ".join(str(error).split())) from error
    return LogEvent(number, tick.time_s, tick, snapshot)


class WallClock:
    """Wall clock that is set once and follows the loop's clock, so that it never jumps."""

    def __init__(self, now_ns: int, now_s: float) -> None:
        self._offset_ns = now_ns - round(now_s * NANO)

    def __call__(self, time_s: float) -> int:
        """Return nanoseconds since 1970 of a finite moment, within the range of MCAP."""
        moved_ns = round(min(max(time_s * NANO, -LATEST_NS), LATEST_NS))  # infinity does not round
        return min(max(0, self._offset_ns + moved_ns), LATEST_NS)


def _signal(
    name: str, value: Array, tick: Tick, wall_ns: WallClock, labels: list[str] | None
) -> Message:
    """Return the message of a signal, at the time of its stamp if that is a time."""
    stamp_s = number(tick.stamps.get(name, tick.time_s))
    time_s = stamp_s if math.isfinite(stamp_s) else tick.time_s
    if is_picture(value):
        return Message(f"/{name}", PICTURE, time_s, image_message(name, value, wall_ns(time_s)))
    return Message(f"/{name}", SIGNAL, time_s, to_json({**array_fields(value), "labels": labels}))


def _value(name: str, content: bytes) -> Any:
    fields = from_json(content)
    return read_image(fields) if fields.get("frame_id") == name else read_array(fields)


def _tick_fields(tick: Tick) -> dict[str, Any]:
    fields = tick._asdict()
    observation, stamps, step = (fields.pop(name) for name in ("observation", "stamps", "step"))
    return {
        **fields,
        "signals": list(observation),
        "stamps": [pack({"signal": name, "time_s": stamp}) for name, stamp in stamps.items()],
        "step": None if step is None else pack(step._asdict()),
    }


def _stamp(fields: Mapping[str, Any]) -> tuple[str, float]:
    found = unpack(fields)
    return found["signal"], float(found["time_s"])


def _snapshot_fields(snapshot: DriveSnapshot) -> dict[str, Any]:
    controller = snapshot.controller
    arrays = {name: _bits(array) for name, array in controller.carry._asdict().items()}
    safety = {**snapshot.safety._asdict(), "state": snapshot.safety.state.value}
    start = snapshot.start._asdict()
    return {"start": start, "counter": controller.counter, **arrays, "safety": pack(safety)}


def _snapshot(fields: Mapping[str, Any]) -> DriveSnapshot:
    start = _read(EpisodeStart, fields["start"])
    carry = Carry(*(_from_bits(fields[name]) for name in Carry._fields))
    controller = Snapshot(carry, start.seed, int(fields["counter"]))
    return DriveSnapshot(start, controller, _safety(dict(fields["safety"])))


def _safety(fields: dict[str, Any]) -> SafetySnapshot:
    last = fields.get("last")
    return SafetySnapshot(
        states.State(fields["state"]),
        int(fields["warm_up_left"]),
        int(fields["ramp_left"]),
        None if last is None else np.array(last, np.float32),
        np.array(fields["change"], np.float32),
    )


def _bits(array: Array) -> dict[str, Any]:
    little = array.astype("<f4")
    return {"shape": list(array.shape), "data": base64.b64encode(little.tobytes()).decode()}


def _from_bits(fields: Mapping[str, Any]) -> Array:
    content = base64.b64decode(fields["data"], validate=True)
    return np.frombuffer(content, "<f4").reshape(fields["shape"]).astype(np.float32)


def _episode(number: int, fields: dict[str, Any]) -> LogEvent:
    kind: Any = {"start": EpisodeStart, "end": EpisodeEnd}[fields.pop("event")]
    time_s = float(fields.pop("time_s"))
    return LogEvent(number, time_s, _read(kind, fields))


def _read(kind: type[Tuple], fields: Mapping[str, Any]) -> Tuple:
    """Build a named tuple from JSON values, each of which has to be of the annotated type."""
    hints = get_type_hints(kind)
    if unknown := fields.keys() - hints.keys():
        raise DamagedError(f"unknown fields: {', '.join(sorted(unknown))}")
    return kind(**{name: _read_field(hint, name, fields) for name, hint in hints.items()})


def _read_field(hint: Any, name: str, fields: Mapping[str, Any]) -> Any:
    kinds = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
    if name not in fields and types.NoneType in kinds:
        return None
    return _typed(kinds[0], name, fields[name])


def _typed(kind: Any, name: str, value: Any) -> Any:
    if kind == Array:
        return np.array(value, np.float32)
    if not _fits(kind, value):
        raise DamagedError(f"{name} is {_SHORT.repr(value)}")
    if kind is float:
        return float(value)
    return tuple(cast("list[Any]", value)) if isinstance(value, list) else value


def _fits(kind: Any, value: Any) -> bool:
    """Return whether a value is of an annotated type: numbers from 0 on, texts few and short."""
    origin = get_origin(kind)
    if origin is Literal:
        return value in get_args(kind)
    if origin is tuple:
        words = cast("list[Any]", value) if isinstance(value, list) else [None]
        return len(words) <= MAX_WORDS and all(
            type(word) is str and len(word) <= MAX_WORD for word in words
        )
    if kind is float:
        return type(value) in (int, float)
    if kind is int:
        return type(value) is int and 0 <= value < LATEST_NS
    return kind not in (bool, str) or type(value) is kind
