"""Topics of a log and their JSON schemas, in Foxglove's subset of JSON Schema: a type per value."""

import json
from typing import Any

from robodreamer_deploy.recording.exact_json import NOT_FINITE

Schema = dict[str, Any]

TICK, STATE, EPISODE, ABOUT = "/tick", "/state", "/episode", "/about"
PICTURE, SIGNAL = "foxglove.RawImage", "robodreamer.Signal"
JOINT_STATES, CAMERA = "foxglove.JointStates", "foxglove.CameraCalibration"
SCHEMA_OF = {
    ABOUT: "robodreamer.About",
    TICK: "robodreamer.Tick",
    STATE: "robodreamer.State",
    EPISODE: "robodreamer.Episode",
}

_NUMBER: Schema = {"type": "number"}
_INTEGER: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_CLAIM: Schema = {"type": "boolean"}
_BYTES: Schema = {"type": "string", "contentEncoding": "base64"}


_TIME: Schema = {"type": "object", "title": "time", "properties": {
    "sec": {"type": "integer", "minimum": 0},
    "nsec": {"type": "integer", "minimum": 0, "maximum": 999_999_999},
}}  # fmt: skip


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _object(name: str = "", /, **properties: Schema) -> Schema:
    named = {"title": name} if name else {}
    return {**named, "type": "object", "properties": properties}


def _floats(name: str, /, *arrays: str, **properties: Schema) -> Schema:
    """Return the schema of an object; arrays of these names are text where they are not finite."""
    texts: dict[str, Schema] = {array: _list(_TEXT) for array in arrays}
    properties[NOT_FINITE] = {"type": "object", "properties": texts}
    return _object(name, **properties)


_BITS = _object(shape=_list(_INTEGER), data=_BYTES)  # float32, little-endian
_STEP = _floats("", "action", action=_list(_NUMBER), surprise=_NUMBER, counter=_INTEGER, kind=_TEXT)
_STEP["properties"][NOT_FINITE]["properties"]["surprise"] = _TEXT
_STAMP = _floats("", signal=_TEXT, time_s=_NUMBER)
_STAMP["properties"][NOT_FINITE]["properties"]["time_s"] = _TEXT

SCHEMAS: dict[str, Schema] = {
    PICTURE: _object(
        PICTURE,
        timestamp=_TIME,
        frame_id=_TEXT,
        width=_INTEGER,
        height=_INTEGER,
        encoding=_TEXT,
        step=_INTEGER,
        data=_BYTES,
    ),
    JOINT_STATES: _object(
        JOINT_STATES,
        timestamp=_TIME,
        joints=_list(_object(
            "foxglove.JointState",
            name=_TEXT, position=_NUMBER, velocity=_NUMBER, acceleration=_NUMBER, effort=_NUMBER,
        )),
    ),
    CAMERA: _object(
        CAMERA,
        timestamp=_TIME,
        frame_id=_TEXT,
        width=_INTEGER,
        height=_INTEGER,
        distortion_model=_TEXT,
        D=_list(_NUMBER), K=_list(_NUMBER), R=_list(_NUMBER), P=_list(_NUMBER),
    ),
    SIGNAL: _floats(
        SIGNAL, "values",
        dtype=_TEXT, shape=_list(_INTEGER), values=_list(_NUMBER), text=_TEXT, labels=_list(_TEXT),
    ),
    SCHEMA_OF[ABOUT]: _object(
        SCHEMA_OF[ABOUT],
        log_version=_TEXT, manifest=_TEXT, manifest_sha256=_TEXT, robot=_TEXT, options=_TEXT,
        safety=_TEXT, versions=_TEXT,
    ),
    SCHEMA_OF[TICK]: _object(
        SCHEMA_OF[TICK],
        index=_INTEGER,
        skipped=_INTEGER,
        time_s=_NUMBER,
        lateness_s=_NUMBER,
        sense_to_act_s=_NUMBER,
        is_first=_CLAIM,
        signals=_list(_TEXT),
        stamps=_list(_STAMP),
        missing=_list(_TEXT),
        step=_STEP,
        sent=_list(_NUMBER),
        executed=_list(_NUMBER),
        limits=_list(_TEXT),
        fault=_TEXT,
    ),
    SCHEMA_OF[STATE]: _object(
        SCHEMA_OF[STATE],
        start=_object(number=_INTEGER, seed=_INTEGER, draw=_TEXT),
        counter=_INTEGER, deter=_BITS, stoch=_BITS, action=_BITS,
        safety=_object(
            state=_TEXT, warm_up_left=_INTEGER, ramp_left=_INTEGER,
            last=_list(_NUMBER), change=_list(_NUMBER),
        ),
    ),
    SCHEMA_OF[EPISODE]: _object(
        SCHEMA_OF[EPISODE],
        event=_TEXT, time_s=_NUMBER, number=_INTEGER, seed=_INTEGER, draw=_TEXT, reason=_TEXT,
    ),
}  # fmt: skip


def schema_bytes(name: str) -> bytes:
    """Return a schema in the form of MCAP."""
    return json.dumps(SCHEMAS[name], separators=(",", ":")).encode()
