"""Ready-made randomisations, `none`, `mild` and `strong`, and how a user extends them.

`strong` has the ranges usual in published transfers from simulation to robots, `mild` a fifth of
them or so. A task that they do not suit differs from a preset, as a user's JSON may:

    {"preset": "strong", "without": ["gravity"], "entries": [{"field": "friction", ...}]}

An entry replaces all entries of its field in the preset.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from robodreamer_deploy.utils.strict_json import parse_json, read_object, read_record
from robodreamer_deploy.utils.suggest import closest
from robodreamer_sim.randomization.distributions import Choice, Distribution, Uniform
from robodreamer_sim.randomization.parameters import Operation
from robodreamer_sim.randomization.spec import EVERY, Entry, Randomization, read_entries


def _scale(field: str, low: float, high: float, *, is_shared: bool = False) -> Entry:
    return _entry(field, "scale", Uniform(low=low, high=high), is_shared=is_shared)


def _add(field: str, size: float, *select: str) -> Entry:
    return _entry(field, "add", Uniform(low=-size, high=size), *select)


def _set(field: str, distribution: Distribution, *, is_shared: bool = False) -> Entry:
    return _entry(field, "set", distribution, is_shared=is_shared)


def _push(size: float, body: str) -> Entry:
    return Entry(
        field="push",
        operation="add",
        distribution=Uniform(low=-size, high=size),
        when="interval",
        interval_s=5.0,
        select=(body,),
    )


def _entry(
    field: str,
    operation: Operation,
    distribution: Distribution,
    *select: str,
    is_shared: bool = False,
) -> Entry:
    return Entry(
        field=field,
        operation=operation,
        distribution=distribution,
        select=select or EVERY,
        is_shared=is_shared,
    )


MILD = (
    _scale("friction", 0.8, 1.2, is_shared=True),
    _scale("mass", 0.95, 1.05),
    _add("center_of_mass", 0.002),
    _scale("damping", 0.9, 1.1),
    _scale("armature", 0.95, 1.05),
    _scale("friction_loss", 0.9, 1.1),
    _scale("actuator_gain", 0.95, 1.05),
    Entry(
        field="control_jitter",
        operation="scale",
        distribution=Uniform(low=0.98, high=1.02),
        when="interval",
        interval_s=0.0,
    ),
    _add("camera_position", 0.01),
    _add("camera_rotation", 0.02),
    _scale("camera_fovy", 0.98, 1.02),
    _add("light_position", 0.2),
    _add("light_direction", 0.1),
    _scale("light_color", 0.85, 1.1),
    _scale("headlight", 0.85, 1.1),
    _scale("geom_color", 0.85, 1.15),
    _scale("material_color", 0.85, 1.15),
    _set("image_brightness", Uniform(low=0.9, high=1.1)),
    _set("image_contrast", Uniform(low=0.9, high=1.1)),
    _set("image_noise", Uniform(low=0.0, high=3.0)),
    _set("measurement_noise", Uniform(low=0.0, high=0.002)),
    _set("action_delay", Choice(values=(0.0, 1.0))),
    _set("camera_delay", Choice(values=(0.0, 1.0)), is_shared=True),
)
STRONG = (
    _scale("friction", 0.4, 1.2, is_shared=True),
    _scale("mass", 0.9, 1.1),
    _add("center_of_mass", 0.01),
    _scale("damping", 0.7, 1.3),
    _scale("armature", 0.9, 1.1),
    _scale("friction_loss", 0.8, 1.2),
    _scale("actuator_gain", 0.85, 1.15),
    _scale("force_limit", 0.9, 1.0),
    _scale("gravity", 0.97, 1.03),
    Entry(
        field="control_jitter",
        operation="scale",
        distribution=Uniform(low=0.9, high=1.1),
        when="interval",
        interval_s=0.0,
    ),
    _add("camera_position", 0.05),
    _add("camera_rotation", 0.17),
    _scale("camera_fovy", 0.9, 1.1),
    _add("light_position", 1.0),
    _add("light_direction", 0.5),
    _scale("light_color", 0.6, 1.2),
    _scale("headlight", 0.6, 1.3),
    _scale("geom_color", 0.5, 1.5),
    _scale("material_color", 0.5, 1.5),
    _scale("texture_repeat", 0.5, 2.0),
    _set("image_brightness", Uniform(low=0.75, high=1.3)),
    _set("image_contrast", Uniform(low=0.7, high=1.3)),
    _set("image_noise", Uniform(low=0.0, high=8.0)),
    _set("image_blur", Uniform(low=0.0, high=0.7)),
    _add("measurement_bias", 0.005),
    _set("measurement_noise", Uniform(low=0.0, high=0.01)),
    _set("measurement_delay", Choice(values=(0.0, 1.0, 2.0)), is_shared=True),
    _set("action_delay", Choice(values=(1.0, 2.0, 3.0))),
    _set("camera_delay", Choice(values=(0.0, 1.0, 2.0)), is_shared=True),
    _set("camera_drop", Uniform(low=0.0, high=0.1)),
)
PRESETS: Mapping[str, tuple[Entry, ...]] = {"none": (), "mild": MILD, "strong": STRONG}


class Difference(NamedTuple):
    """Difference of some tasks from a preset."""

    tasks: str
    """Their names, with `*`."""
    preset: str
    entries: tuple[Entry, ...]


CLOSE_UP = {
    "fetch_*": (0.03, 0.08),
    "adroit_*": (0.03, 0.08),
    "franka_kitchen*": (0.03, 0.08),
    "arm_*": (0.03, 0.08),
    "hand_*": (0.015, 0.05),
}
"""Tasks whose cameras stand close, so that less is enough to lose what matters from sight: by how
far, in metres, and how much, in rad, they are moved instead."""
WALKING = dict.fromkeys(
    (
        "dmc_cheetah_*", "dmc_dog_*", "dmc_hopper_*", "dmc_humanoid_*", "dmc_quadruped_*",
        "dmc_walker_*", "ant_maze_*", "gym:Ant-*", "gym:HalfCheetah-*", "gym:Hopper-*",
        "gym:Humanoid*", "gym:Walker2d-*",
    ),
    "torso",
) | {"dmc_humanoid_CMU_*": "root"}  # fmt: skip
"""Tasks of robots on legs, and the body that may be loaded and pushed."""
DIFFERENCES = (
    *(
        Difference(task, "strong", (_add("camera_position", far), _add("camera_rotation", much)))
        for task, (far, much) in CLOSE_UP.items()
    ),
    *(
        Difference(task, "strong", (_add("center_of_mass", 0.05, body), _push(0.5, body)))
        for task, body in WALKING.items()
    ),
)


@dataclass(frozen=True, kw_only=True)
class _Own:
    """Randomisation in a user's JSON."""

    preset: str = "none"
    entries: tuple[Entry, ...] = ()
    without: tuple[str, ...] = ()


def preset(name: str, task: str) -> Randomization:
    """Return a ready-made randomisation as it suits a task.

    Raises:
        ValueError: No such preset.
    """
    if name not in PRESETS:
        raise ValueError(
            f"there is no randomisation {name!r}; there are {closest(name, PRESETS)}, or give "
            "JSON with a preset and entries"
        )
    randomization = Randomization(entries=PRESETS[name])
    for difference in DIFFERENCES:
        if difference.preset == name and fnmatchcase(task, difference.tasks):
            randomization = randomization.with_entries(difference.entries)
    return randomization


def read_word(word: str) -> str:
    """Return a preset's name as it is, and of a JSON file what it holds, which can be kept.

    Raises:
        ValueError: The file cannot be read.
    """
    if not word.endswith(".json"):
        return word
    try:
        return Path(word).read_text()
    except OSError as error:
        raise ValueError(f"randomize {word}: {error.strerror}") from error


def describe(given: str) -> str:
    """Return a user's word as people read it: a preset's name, or that it was a file."""
    return "by a file" if given.lstrip().startswith("{") else given


def resolve(given: str | Randomization, task: str) -> Randomization:
    """Return what a user's word stands for: a preset's name, or JSON of a preset and entries.

    Raises:
        ValueError: Neither, or entries that cannot be; names what there is.
    """
    if isinstance(given, Randomization):
        return given
    if not given.lstrip().startswith("{"):
        return preset(given, task)
    data = read_object(parse_json(given), "randomize")
    own = read_record(
        _Own, {**data, "entries": read_entries(data.get("entries", ()), "randomize")}, "randomize"
    )
    return preset(own.preset, task).with_entries(own.entries, own.without)
