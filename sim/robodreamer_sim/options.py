"""How a task is shown: what is observed, through which cameras, how often."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from robodreamer_sim.randomization import Randomization

CAMERA_WORD = re.compile(
    r"(?P<name>[^:@+=]+)"
    r"(?P<depth>\+depth(=(?P<range>[0-9.]+))?)?"
    r"(:(?P<height>[0-9]+)x(?P<width>[0-9]+))?"
    r"(@(?P<rate>[0-9.]+))?"
)

Observe = Literal["camera", "proprio", "both", "state"]
Look = Literal["lean", "shadows", "reference"]
Meshes = Literal["full", "thin"]
NUM_GROUPS = 6
"""Of geoms in MuJoCo; a larger number of a model counts as the last."""


class Appearance(NamedTuple):
    """How everything that a camera sees is drawn."""

    look: Look = "lean"
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn; None draws 0 to 2, as MuJoCo's own viewer."""
    meshes: Meshes = "full"


LEAN = Appearance()


@dataclass(frozen=True, kw_only=True)
class CameraRequest:
    """One camera as it is asked for: `NAME[+depth[=METRES]][:HEIGHTxWIDTH][@HZ]`."""

    name: str
    image_size: tuple[int, int] | None = None
    """Height and width in pixels; None takes `EnvOptions.image_size`."""
    rate_hz: float | None = None
    """Pictures per second; None means one for every control step. Between two the last is seen."""
    has_depth: bool = False
    """Whether `image/<name>_depth` is observed as well."""
    depth_range_m: float | None = None
    """Depth that is 255, and beyond; None takes twice the distance to the model's centre."""

    @classmethod
    def parse(cls, word: str) -> "CameraRequest":
        """Read a request from the command line.

        Raises:
            ValueError: It is not of that form, or a number in it is 0.
        """
        match = CAMERA_WORD.fullmatch(word)
        if match is None:
            raise ValueError(
                f"camera {word!r} is not of the form NAME[+depth[=METRES]][:HEIGHTxWIDTH][@HZ], "
                "such as wrist, wrist:48x64 or wrist+depth=1.5@15"
            )
        try:
            height, width, rate, depth = (
                None if text is None else float(text)
                for text in match.group("height", "width", "rate", "range")
            )
        except ValueError as error:
            raise ValueError(f"camera {word!r} has a number that is none: {error}") from error
        if 0.0 in (height, width, rate, depth):
            raise ValueError(f"camera {word!r}: sizes, rates and ranges are above 0")
        return cls(
            name=match["name"],
            image_size=(int(height), int(width)) if height and width else None,
            rate_hz=rate,
            has_depth=match["depth"] is not None,
            depth_range_m=depth,
        )


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Settings of one environment; the contract records them, so that it can be made again."""

    observe: Observe = "both"
    """`camera`: pictures and goals; `proprio` or `state`: no camera, and object poses are measured;
    `both`: pictures, goals and what a real robot measures of itself."""
    cameras: tuple[str, ...] | None = None
    """Cameras, each `NAME[+depth[=METRES]][:HEIGHTxWIDTH][@HZ]`, such as `wrist+depth:48x64@15`;
    see `CameraRequest`. None takes the task's default."""
    image_size: tuple[int, int] = (64, 64)
    """Height and width in pixels of every picture whose camera does not say otherwise."""
    action_repeat: int = 1
    """Simulator steps per action; their rewards are summed."""
    look: Look = "lean"
    """`lean` renders without shadows, reflections and multisampling, several times faster;
    `shadows` adds shadows of low resolution; `reference` renders as the model asks, as published
    scores did."""
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn, such as (1, 2) where a model keeps its collision geoms in
    group 0. None leaves it to the task: 0 to 2, unless its class says otherwise."""
    meshes: Meshes = "full"
    """`thin` draws at most `thinning.MAX_FACES` triangles of each mesh; physics is the same."""
    randomize: "str | Randomization" = "none"
    """What is randomised: `none`, `mild`, `strong`, or JSON such as
    `{"preset": "mild", "entries": [...]}`; see `robodreamer_sim.randomization`. A contract's
    options hold all entries, whatever they were called, and nothing where there is none."""

    control_dt_s: float | None = None
    """Seconds of one step of a Gymnasium environment that tells none, or a wrong one; None takes
    what it tells. All other tasks know their own."""

    def __post_init__(self) -> None:
        """Refuse values that no environment could be made with."""
        _require_one_of("observe", self.observe, get_args(Observe))
        _require_one_of("look", self.look, get_args(Look))
        _require_one_of("meshes", self.meshes, get_args(Meshes))
        self._require_drawable()
        if self.randomize != "none":
            from robodreamer_sim.randomization import resolve

            resolve(self.randomize, task="")
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size is (height, width) in pixels, got {self.image_size}")
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat is at least 1, got {self.action_repeat}")
        if self.control_dt_s is not None and not 0.0 < self.control_dt_s < math.inf:
            raise ValueError(f"control_dt_s is above 0 s, got {self.control_dt_s}")
        names = [request.name for request in self.camera_requests]
        if len(set(names)) != len(names):
            raise ValueError(f"a camera is named twice: {', '.join(names)}")
        if self.cameras == () and self.uses_cameras:
            raise ValueError(f"observe={self.observe!r} needs a camera; observe proprio has none")

    def _require_drawable(self) -> None:
        groups = self.geom_groups
        if groups is not None and not (groups and set(groups) <= set(range(NUM_GROUPS))):
            raise ValueError(f"geom_groups are some of 0 to {NUM_GROUPS - 1}, got {groups}")
        if self.meshes == "thin" and self.look == "reference":
            raise ValueError("look=reference draws as the model asks, so not with meshes=thin")

    @property
    def appearance(self) -> Appearance:
        """How everything is drawn."""
        return Appearance(self.look, self.geom_groups, self.meshes)

    @property
    def camera_requests(self) -> tuple["CameraRequest", ...]:
        """The cameras asked for; none where the task's default is."""
        return tuple(CameraRequest.parse(word) for word in self.cameras or ())

    @property
    def uses_cameras(self) -> bool:
        """Whether pictures are observed."""
        return self.observe in {"camera", "both"}

    @property
    def uses_vectors(self) -> bool:
        """Whether measurements (proprioception) are observed."""
        return self.observe != "camera"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values = dataclasses.asdict(self)
        if not isinstance(self.randomize, str):
            values["randomize"] = self.randomize.to_dict()
        elif self.randomize == "none":
            del values["randomize"]
        if self.geom_groups is None:
            del values["geom_groups"]
        if self.meshes == "full":
            del values["meshes"]
        if self.control_dt_s is None:
            del values["control_dt_s"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "EnvOptions":
        """Rebuild the options from `to_dict`'s values, such as a contract's `options`.

        Raises:
            ValueError: An unknown field, or a value that no environment could be made with.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        for key in data:
            if key not in known:
                raise ValueError(f"unknown option {key!r}; there are {', '.join(known)}")
        values: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
        }
        if isinstance(values.get("randomize"), Mapping):
            from robodreamer_sim.randomization import Randomization

            values["randomize"] = Randomization.from_dict(values["randomize"])
        return cls(**values)


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, got {value!r}")


DEFAULT_OPTIONS = EnvOptions()
