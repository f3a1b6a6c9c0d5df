"""How a task is shown: what is observed, through which cameras, how often."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Observe = Literal["camera", "proprio", "both", "state"]
Look = Literal["lean", "reference"]


@dataclass(frozen=True, kw_only=True)
class EnvOptions:
    """Settings of one environment; the contract records them, so that it can be made again."""

    observe: Observe = "both"
    """`camera`: pictures and goals; `proprio` or `state`: no camera, and object poses are measured;
    `both`: pictures, goals and what a real robot measures of itself."""
    cameras: tuple[str, ...] | None = None
    """Names of the cameras; None takes the task's default."""
    image_size: tuple[int, int] = (64, 64)
    """Height and width of every picture in pixels."""
    action_repeat: int = 1
    """Simulator steps per action; their rewards are summed."""
    look: Look = "lean"
    """`lean` renders without shadows, reflections and multisampling, several times faster;
    `reference` renders as the model asks, as published scores did."""

    def __post_init__(self) -> None:
        """Refuse values that no environment could be made with."""
        _require_one_of("observe", self.observe, get_args(Observe))
        _require_one_of("look", self.look, get_args(Look))
        if len(self.image_size) != 2 or min(self.image_size) < 1:
            raise ValueError(f"image_size is (height, width) in pixels, got {self.image_size}")
        if self.action_repeat < 1:
            raise ValueError(f"action_repeat is at least 1, got {self.action_repeat}")
        if self.cameras is not None and len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"a camera is named twice: {', '.join(self.cameras)}")
        if self.cameras == () and self.uses_cameras:
            raise ValueError(f"observe={self.observe!r} needs a camera; observe proprio has none")

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
        return cls(**values)


def _require_one_of(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, got {value!r}")


DEFAULT_OPTIONS = EnvOptions()
