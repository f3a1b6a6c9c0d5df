"""Interface of renderers, which draw a camera's view of a MuJoCo simulation."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import mujoco

from robodreamer_sim.cameras.images import Image


class View(NamedTuple):
    """Scene and viewpoint of one image: a model, its state, and a camera."""

    model: mujoco.MjModel
    data: mujoco.MjData
    camera: mujoco.MjvCamera


class Renderer(Protocol):
    """Renderer of all models that share their meshes and textures, whatever its back end."""

    @property
    def name(self) -> str:
        """Name of the device that draws: a GPU, or software."""
        ...

    def stage(
        self, view: View, height: int, width: int, *, has_depth: bool = False
    ) -> Callable[[], Image]:
        """Capture a view as it is now; return a function that returns its image, top row first.

        Views that are staged before the first of their images is asked for may be drawn together.
        """
        ...

    def close(self) -> None:
        """Free the renderer's resources."""
        ...
