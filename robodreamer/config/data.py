"""Settings of collection and replay."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from robodreamer.config.settings import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Settings,
)


@dataclass(frozen=True, kw_only=True)
class DataConfig(Settings):
    """Settings of collection and replay (`--protocol`)."""

    OPTION: ClassVar[str] = "--data."

    num_envs: PositiveInt = 16
    """Environments that are simulated side by side."""
    batch_size: PositiveInt = 16
    """Sequences B per update."""
    batch_length: PositiveInt = 64
    """Steps T per sequence, without the context step."""
    replay_context: NonNegativeInt = 1
    """Stored steps in front of every sequence whose latents start it."""
    train_ratio: NonNegativeFloat = 512.0
    """Replayed steps per environment step."""
    prefill: NonNegativeInt = 0
    """Environment steps before the first update; at least one batch is always collected."""
    action_repeat: PositiveInt = 1
    """Simulator steps for which each action is repeated."""
    image_size: PositiveInt = 64
    """Height and width of every camera."""
    render_quality: Literal["fast", "shadows", "reference"] = "fast"
    """Rendering: without shadows and reflections, with shadows, or as the published scores."""
    geom_groups: tuple[int, ...] | None = None
    """Groups of geoms that are drawn, such as 1 2 where a model keeps collision geoms in group 0;
    by default the task's own choice, mostly 0 to 2."""
    meshes: Literal["full", "thin"] = "full"
    """`thin` draws at most 2,000 triangles of each mesh, for models from CAD programs."""
    decode_fraction: PositiveFloat = 1.0
    """Share of the replayed frames that the image decoder reconstructs, drawn for each update."""
    replay_capacity: PositiveInt = 1_000_000
    """Steps kept; memory is allocated as it fills."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.batch_length == 1:
            raise ValueError(
                "--data.batch-length has to be more than 1: returns reach from a step to the next"
            )
