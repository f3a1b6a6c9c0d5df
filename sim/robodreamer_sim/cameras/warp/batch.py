"""Batch of images of one size, drawn by one call.

R rows, one per image; their number doubles when it is not enough.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robodreamer_sim.cameras.images import Image
from robodreamer_sim.cameras.renderer import View
from robodreamer_sim.cameras.warp.scene import Scene

POSES = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir")
"""Fields that MuJoCo Warp reads from its `Data`; all others are in its `Model`."""


class Toolkit(NamedTuple):
    """Imported Warp modules and their device."""

    warp: Any
    mujoco_warp: Any
    bvh: Any
    """MuJoCo Warp's module that builds the search tree of a scene."""
    device: Any


class Batch:
    """Batch of images of one model and one size.

    Args:
        toolkit: Warp's modules and device.
        scene: Scene of the model.
        context: MuJoCo Warp's `RenderContext`, without the arrays that depend on R.
        constants: Values that all images share, by the field names of its `Model`.
        size: Height and width in pixels.
        far_m: Depth of the sky.
    """

    def __init__(
        self,
        toolkit: Toolkit,
        scene: Scene,
        context: Any,
        constants: Mapping[str, Any],
        size: tuple[int, int],
        far_m: float,
    ) -> None:
        self._toolkit, self._scene = toolkit, scene
        self._context, self._constants = context, constants
        self._size, self._far_m = size, far_m
        self._has_depth = bool(context.render_depth.numpy()[0])
        self._rows = scene.make_rows(0)
        self._is_built = False
        self._pending: list[Image | None] = []

    def stage(self, view: View) -> Callable[[], Image]:
        """Capture a view now; return a function that returns its image.

        The first such call draws all staged views together, in the order of staging.
        """
        pictures, row = self._pending, len(self._pending)
        if row == len(self._rows["cam_fovy"]):
            self._make_room(max(1, 2 * row))
        self._scene.write(view, {name: rows[row] for name, rows in self._rows.items()})
        pictures.append(None)

        def take() -> Image:
            if pictures[row] is None:
                self._draw()
            picture = pictures[row]
            assert picture is not None, "all that is pending was drawn"
            return picture

        return take

    def _make_room(self, number: int) -> None:
        """Grow to R rows; pending ones are kept."""
        rows = self._scene.make_rows(number)
        for name, kept in self._rows.items():
            rows[name][: len(kept)] = kept
        self._rows, self._is_built = rows, False

    def _draw(self) -> None:
        """Draw all pending images."""
        number = len(self._pending)
        with self._toolkit.warp.ScopedDevice(self._toolkit.device):
            if not self._is_built:
                self._build(number)
            self._upload()
            self._data.nworld = number
            self._toolkit.mujoco_warp.refit_bvh(self._model, self._data, self._context)
            self._toolkit.mujoco_warp.render(self._model, self._data, self._context)
            colors, depths = self._read(number)
        for row in range(number):
            self._pending[row] = Image(colors[row], depths[row] if self._has_depth else None)
        self._pending = []

    def _upload(self) -> None:
        """Copy the rows to the device; the processor reads them in place."""
        if self._toolkit.device.is_cuda:
            for name, here in self._here.items():
                self._toolkit.warp.copy(self._there[name], here)

    def _read(self, number: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return colours (R, H, W, 3) and depths (R, H, W) of the images just drawn."""
        packed = self._context.rgb_data[:number].numpy()  # blue, green, red from the lowest byte
        bytes_ = np.ascontiguousarray(packed).view(np.uint8).reshape(number, *self._size, 4)
        colors = np.ascontiguousarray(bytes_[..., 2::-1])
        if not self._has_depth:
            return colors, np.empty((number, 0, 0), np.float32)
        depths = self._context.depth_data[:number].numpy().reshape(number, *self._size)
        return colors, np.where(depths > 0.0, depths, np.float32(self._far_m))

    def _build(self, number: int) -> None:
        """Create arrays on the device, and the search tree over the shapes of every image."""
        warp, device = self._toolkit.warp, self._toolkit.device
        for rows in self._rows.values():
            rows[number:] = rows[0]  # the tree is built for plausible places, not for zeros
        self._here = {
            name: warp.array(rows, dtype=_type_of(warp, name), device="cpu", copy=False)
            for name, rows in self._rows.items()
        }
        self._there = self._here
        if device.is_cuda:
            self._there = {k: warp.empty_like(v, device=device) for k, v in self._here.items()}
        self._upload()
        room = len(self._rows["cam_fovy"])
        poses = {name: array for name, array in self._there.items() if name in POSES}
        others = {name: array for name, array in self._there.items() if name not in POSES}
        no_points = warp.zeros((room, 0), dtype=warp.vec3)
        self._data = SimpleNamespace(**poses, nworld=room, flexvert_xpos=no_points)
        self._model = SimpleNamespace(**self._constants, **others)
        self._context = self._with_room(room)
        self._grow_tree(room)
        self._is_built = True

    def _with_room(self, room: int) -> Any:
        """Return the context with arrays for R images."""
        warp, context = self._toolkit.warp, self._context
        shapes, pixels = room * context.bvh_ngeom, self._size[0] * self._size[1]
        return dataclasses.replace(
            context,
            lower=warp.zeros(shapes, dtype=warp.vec3),
            upper=warp.zeros(shapes, dtype=warp.vec3),
            group=warp.zeros(shapes, dtype=int),
            group_root=warp.zeros(room, dtype=int),
            flex_group_root=warp.zeros((room, 0), dtype=int),
            splat_group_root=warp.zeros(room, dtype=int),
            rgb_data=warp.zeros((room, pixels), dtype=warp.uint32),
            depth_data=warp.zeros((room, pixels if self._has_depth else 0), dtype=float),
            seg_data=warp.zeros((room, 1), dtype=warp.vec2i),
        )

    def _grow_tree(self, room: int) -> None:
        warp, context = self._toolkit.warp, self._context
        context.bvh = SimpleNamespace(refit=lambda: None)  # there is none yet: only the boxes
        self._toolkit.mujoco_warp.refit_bvh(self._model, self._data, context)
        context.bvh = warp.Bvh(context.lower, context.upper, groups=context.group)
        context.bvh_id = context.bvh.id
        warp.launch(
            self._toolkit.bvh.compute_bvh_group_roots,
            dim=room,
            inputs=[context.bvh_id],
            outputs=[context.group_root],
        )


def _type_of(warp: Any, name: str) -> Any:
    """Return Warp's type of a field that differs between images."""
    types = {
        "geom_xmat": warp.mat33,
        "cam_xmat": warp.mat33,
        "geom_rgba": warp.vec4,
        "mat_rgba": warp.vec4,
        "mat_texrepeat": warp.vec2,
        "cam_fovy": float,
        "light_active": bool,
    }
    return types.get(name, warp.vec3)
