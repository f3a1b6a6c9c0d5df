"""From a camera's picture to the one the policy was trained with."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np

from robodreamer_deploy.contract import Array
from robodreamer_deploy.errors import RobotError


def import_cv2() -> Any:
    """Return OpenCV's module.

    Raises:
        RobotError: It is not installed.
    """
    try:
        import cv2
    except ImportError as error:
        raise RobotError("this camera needs OpenCV: pip install 'robodreamer[camera]'") from error
    return cv2


def make_fit(
    shape: tuple[int, ...], crop: tuple[int, int, int, int] | None = None
) -> Callable[[Array], Array]:
    """Return what turns a picture, uint8 (h, w) or (h, w, c), into one of `shape` (H, W, C).

    A picture of this shape is left alone. Any other is cropped, then resized by averaging areas.
    Several colours are reduced to one where C is 1; the order of colours is not touched.

    Args:
        shape: Of the policy's signal.
        crop: (top, left, height, width) in pixels of the camera; None for the largest centred part
            with the aspect ratio of `shape`, so that nothing is distorted.

    Raises:
        RobotError: From the returned function: the picture does not hold the crop, or has other
            channels.
    """
    height, width, channels = shape

    def fit(picture: Array) -> Array:
        part = picture if crop is None and picture.shape == shape else _crop(picture, shape, crop)
        if part.shape[:2] != (height, width):
            cv2 = import_cv2()
            part = cast("Array", cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA))
        if part.ndim == 2:
            part = part[:, :, None]
        if channels == 1 and part.shape[2] == 3:
            part = np.rint(part.mean(2, keepdims=True)).astype(np.uint8)
        if part.shape != shape:
            raise RobotError(f"a picture of shape {picture.shape} cannot become {shape}")
        return np.ascontiguousarray(part)

    return fit


def _crop(picture: Array, shape: tuple[int, ...], crop: tuple[int, int, int, int] | None) -> Array:
    rows, columns = picture.shape[:2]
    if crop is None:
        scale = min(rows / shape[0], columns / shape[1])
        height, width = round(shape[0] * scale), round(shape[1] * scale)
        top, left = (rows - height) // 2, (columns - width) // 2
    else:
        top, left, height, width = crop
    if top < 0 or left < 0 or top + height > rows or left + width > columns:
        raise RobotError(f"the crop {crop} lies outside of a picture of {rows} x {columns}")
    return picture[top : top + height, left : left + width]


def is_one_colour(picture: Any) -> bool:
    """Return whether every pixel of a picture of colours (H, W, 3 or more) is the same.

    That is a covered lens, a light that is off, a buffer that nobody fills. Depth (one channel)
    may show nothing for good reason.
    """
    if not isinstance(picture, np.ndarray):
        return False
    pixels = cast("Array", picture)
    if pixels.ndim != 3 or pixels.shape[2] < 3 or pixels.size == 0:
        return False
    return bool((pixels == pixels[:1, :1]).all())
