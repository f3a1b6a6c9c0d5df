"""Options of an environment: observed signals, cameras, rendering, and randomisation."""

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
RenderQuality = Literal["fast", "shadows", "reference"]
Meshes = Literal["full", "thin"]
NUM_GROUPS = 6
"""Number of MuJoCo's geom groups; a larger group number of a model counts as the last."""
DEFAULT_IMAGE_SIZE = (64, 64)


class Appearance(NamedTuple):
    """Drawing options that hold for all cameras."""

    render_quality: RenderQuality = "fast"
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn; None draws 0 to 2, as MuJoCo's own viewer."""
    meshes: Meshes = "full"


FAST = Appearance()


@dataclass(frozen=True, kw_only=True)
class CameraConfig:
    """Config of one observed camera: `NAME[+depth[=METRES]][:HEIGHTxWIDTH][@HZ]`."""

    name: str
    image_size: tuple[int, int] = DEFAULT_IMAGE_SIZE
    """Height and width in pixels."""
    rate_hz: float | None = None
    """Images per second; None takes one at every control step. Between two the last is repeated."""
    has_depth: bool = False
    """True if `image/<name>_depth` is observed as well."""
    depth_range_m: float | None = None
    """Depth that is encoded as 255; None takes twice the distance to the model's centre."""

    @classmethod
    def parse(cls, word: str, default_size: tuple[int, int] = DEFAULT_IMAGE_SIZE) -> "CameraConfig":
        """Parse a camera of the command line.

        Args:
            word: The camera, in the form above.
            default_size: Height and width where the word has none.

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
            image_size=(int(height), int(width)) if height and width else default_size,
            rate_hz=rate,
            has_depth=match["depth"] is not None,
            depth_range_m=depth,
        )


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Options of one environment; the contract records them, so that it can be made again."""

    observe: Observe = "both"
    """`camera`: images and goals; `proprio` or `state`: no camera, and object poses are measured;
    `both`: images, goals and what a real robot measures of itself."""
    cameras: tuple[str, ...] | None = None
    """Cameras, each `NAME[+depth[=METRES]][:HEIGHTxWIDTH][@HZ]`, such as `wrist+depth:48x64@15`;
    see `CameraConfig`. None takes the task's default."""
    image_size: tuple[int, int] = DEFAULT_IMAGE_SIZE
    """Height and width in pixels of every image whose camera has no size of its own."""
    action_repeat: int = 1
    """Simulator steps per action; their rewards are summed."""
    render_quality: RenderQuality = "fast"
    """`fast` renders without shadows, reflections and multisampling, several times faster;
    `shadows` adds shadows of low resolution; `reference` renders as the model asks, as published
    scores did."""
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn, such as (1, 2) where a model keeps its collision geoms in
    group 0. None takes the task's: 0 to 2, unless its class has others."""
    meshes: Meshes = "full"
    """`thin` draws at most `mesh_thinning.MAX_FACES` triangles per mesh; physics is the same."""
    randomize: "str | Randomization" = "none"
    """Domain randomisation: `none`, `mild`, `strong`, or JSON such as
    `{"preset": "mild", "entries": [...]}`; see `robodreamer_sim.randomization`. The options of a
    contract hold the entries, without the preset's name, and nothing where there is none."""

    control_dt_s: float | None = None
    """Seconds of one step of a Gymnasium environment that states none, or a wrong one; None takes
    the stated one. All other tasks know their own."""

    def __post_init__(self) -> None:
        """Check all values."""
        _require_one_of("observe", self.observe, get_args(Observe))
        _require_one_of("render_quality", self.render_quality, get_args(RenderQuality))
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
        names = [request.name for request in self.camera_configs]
        if len(set(names)) != len(names):
            raise ValueError(f"a camera is named twice: {', '.join(names)}")
        if self.cameras == () and self.uses_cameras:
            raise ValueError(f"observe={self.observe!r} needs a camera; observe proprio has none")

    def _require_drawable(self) -> None:
        groups = self.geom_groups
        if groups is not None and not (groups and set(groups) <= set(range(NUM_GROUPS))):
            raise ValueError(f"geom_groups are some of 0 to {NUM_GROUPS - 1}, got {groups}")
        if self.meshes == "thin" and self.render_quality == "reference":
            raise ValueError(
                "render_quality=reference draws as the model asks, so not with meshes=thin"
            )

    @property
    def appearance(self) -> Appearance:
        """Drawing options."""
        return Appearance(self.render_quality, self.geom_groups, self.meshes)

    @property
    def camera_configs(self) -> tuple["CameraConfig", ...]:
        """Configs of the named cameras; empty where the task's default is observed."""
        return tuple(CameraConfig.parse(word, self.image_size) for word in self.cameras or ())

    @property
    def uses_cameras(self) -> bool:
        """True if images are observed."""
        return self.observe in {"camera", "both"}

    @property
    def uses_vectors(self) -> bool:
        """True if measurements (proprioception) are observed."""
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
