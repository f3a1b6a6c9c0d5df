"""Moving and still pictures on disk: MP4, which any browser plays, animated WebP, and PNG.

Shapes: T frames, H height, W width, C channels; pictures are uint8 red-green-blue.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robodreamer_deploy.contract import Array
from robodreamer_deploy.utils.atomic_write import replacing

Pictures = NDArray[np.uint8]

BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
"""Colours that everybody tells apart (Okabe and Ito, 2008)."""
DPI = 100


def write_mp4(path: Path, frames: Iterable[Pictures], fps: float, scale: int = 1) -> None:
    """Write frames (H, W, 3) as H.264 in yuv420p, enlarged by a whole factor.

    Every pixel becomes a square of `scale` pixels; an odd side is made even by repeating its last
    line, because the format stores colours at half the resolution. Frames are taken one by one, so
    a long film need not lie in memory. The file appears complete or not at all.
    """
    import av

    options = {"movflags": "faststart"}
    with replacing(path) as draft, av.open(str(draft), "w", format="mp4", options=options) as file:
        rate = Fraction(fps).limit_denominator(1000)
        stream = file.add_stream("libx264", rate, options={"crf": "18", "preset": "fast"})
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for number, frame in enumerate(frames):
            large = _even(enlarge(frame, scale))
            if number == 0:
                stream.height, stream.width = large.shape[:2]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(large, format="rgb24")))
        file.mux(stream.encode())


def write_webp(path: Path, frames: Sequence[Pictures], fps: float, quality: int = 70) -> None:
    """Write frames (H, W, 3) as an animation that repeats, for pages that show no videos."""
    from PIL import Image

    first, *others = (Image.fromarray(frame) for frame in frames)
    with replacing(path) as draft:
        first.save(
            draft, format="webp", save_all=True, append_images=others, duration=round(1000 / fps),
            loop=0, quality=quality, method=4,
        )  # fmt: skip


def write_png(path: Path, picture: Pictures, num_colors: int | None = None) -> None:
    """Write a picture (H, W, 3), with that many colours; it appears complete or not at all."""
    from PIL import Image

    image = Image.fromarray(picture)
    if num_colors:
        image = image.quantize(num_colors)
    with replacing(path) as draft:
        image.save(draft, format="png", optimize=True)


def enlarge(pictures: Array, scale: int) -> Array:
    """Make every pixel of (..., H, W, C) a square of `scale` pixels."""
    return pictures.repeat(scale, -3).repeat(scale, -2)


def resize_smoothly(picture: Pictures, side: int) -> Pictures:
    """Return a picture (H, W, 3) enlarged to the height `side`, interpolated between pixels."""
    from PIL import Image

    height, width, _ = picture.shape
    size = round(width * side / height), side
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def to_rgb(pictures: Array) -> Array:
    """Return (..., H, W, 3) of any number of channels: the first three, or the first as grey."""
    channels = pictures.shape[-1]
    return pictures[..., :3] if channels >= 3 else pictures[..., :1].repeat(3, -1)


def rasterize(figure: Any) -> Pictures:
    """Draw a matplotlib figure, at its own size, without a screen; return (H, W, 3)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_text(
    text: str,
    width: int,
    height: int,
    *,
    color: str = "black",
    background: str = "white",
    align: Literal["left", "center"] = "center",
) -> Pictures:
    """Return one line of text as a picture (height, width, 3), shrunk to fit if need be."""
    from matplotlib.figure import Figure

    figure = Figure((width / DPI, height / DPI), dpi=DPI, facecolor=background)
    points = 0.55 * height * 72 / DPI
    widest = 0.95 * width * 72 / DPI / max(1, len(text)) / 0.7  # widths of letters, in heights
    x = 0.5 if align == "center" else 0.01
    figure.text(x, 0.5, text, size=min(points, widest), color=color, ha=align, va="center_baseline")
    return rasterize(figure)


def _even(frame: Pictures) -> Pictures:
    """Repeat the last row and column where their number is odd."""
    height, width, _ = frame.shape
    return np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
