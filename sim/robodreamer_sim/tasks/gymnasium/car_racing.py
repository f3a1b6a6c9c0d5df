"""Gymnasium's CarRacing, drawn only when it is looked at.

The original transforms 800 polygons in Python at every step, 98 % of its time, also at those that a
repeated action skips. Here an observation is drawn when it is read, and polygons outside of the
window are left out before Python touches them. The pixels stay the same.
"""

from typing import Any

import numpy as np
from gymnasium.envs.box2d import car_racing
from numpy.typing import DTypeLike, NDArray

from robodreamer_deploy.contract import Array

MARGIN = 2.0  # pixels that smooth edges reach beyond their polygon, generously


class Picture:
    """Observation that is drawn when it becomes an array, which has to be before the next step."""

    def __init__(self, env: "CarRacing") -> None:
        self._env, self._time = env, env.t
        self._score = env.reward  # the number at the bottom, before this step's own costs

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        """Return the pixels, uint8 (96, 96, 3)."""
        del copy  # every call draws a new array
        if self._env.t != self._time:
            raise RuntimeError("the car has moved on since this observation: read it before")
        return np.asarray(self._env.draw_state(self._score), dtype)


class CarRacing(car_racing.CarRacing):
    """The same environment, several times faster."""

    def _render(self, mode: str) -> Any:
        return Picture(self) if mode == "state_pixels" else super()._render(mode)

    def draw_state(self, score: float) -> NDArray[np.uint8]:
        """Return what the original observes now, with that score, uint8 (96, 96, 3)."""
        now, self.reward = self.reward, score
        try:
            return np.asarray(super()._render("state_pixels"))
        finally:
            self.reward = now

    def _render_road(self, zoom: float, translation: tuple[float, float], angle: float) -> None:
        """Draw the grass and the road in the original's order."""
        view = (zoom, translation, angle)
        edge = car_racing.PLAYFIELD
        field = [(edge, edge), (edge, -edge), (-edge, -edge), (-edge, edge)]
        self._draw_colored_polygon(self.surf, field, self.bg_color, *view, clip=False)
        for index in np.flatnonzero(_is_seen(GRASS, *view)):
            self._draw_colored_polygon(self.surf, GRASS[index], self.grass_color, *view)
        road = np.array([polygon for polygon, _ in self.road_poly])
        for index in np.flatnonzero(_is_seen(road, *view)):
            polygon, color = self.road_poly[index]
            self._draw_colored_polygon(self.surf, polygon, [int(c) for c in color], *view)


def _make_grass() -> Array:
    """Return the lighter squares of the lawn, a chessboard's, in metres (N, corners, 2)."""
    side, count = car_racing.GRASS_DIM, 20
    low = side * np.array(
        [(x, y) for x in range(-count, count, 2) for y in range(-count, count, 2)]
    )
    corners = np.array([(1, 0), (0, 0), (0, 1), (1, 1)])
    return low[:, None] + side * corners  # rounds as the original, so that no pixel differs


def _is_seen(
    corners: Array, zoom: float, translation: tuple[float, float], angle: float
) -> NDArray[np.bool_]:
    """Return which polygons (N, corners, 2) of the world reach into the window."""
    cosine, sine = np.cos(angle), np.sin(angle)
    turned = corners @ np.array([[cosine, sine], [-sine, cosine]])
    pixels = turned * zoom + np.asarray(translation)
    window = np.array([car_racing.WINDOW_W, car_racing.WINDOW_H])
    low, high = pixels.min(1), pixels.max(1)
    return ((high >= -MARGIN) & (low <= window + MARGIN)).all(1)


GRASS = _make_grass()
