"""Pictures on disk and their layout: what was put in comes out, with marks where they belong."""

from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib import colormaps
from matplotlib.colors import to_rgb as rgb_of
from matplotlib.image import imread

from robodreamer.visualization.dream import Dream
from robodreamer.visualization.dream_layout import dream_frames, dream_sheet
from robodreamer.visualization.dream_plot import plot_signals
from robodreamer.visualization.episodes import Footage
from robodreamer.visualization.video import (
    BLUE,
    GREEN,
    ORANGE,
    Pictures,
    draw_text,
    enlarge,
    write_mp4,
    write_png,
)
from robodreamer.visualization.video_layout import (
    LINE,
    Row,
    episode_frames,
    episode_sheet,
    sheet,
)
from robodreamer_deploy.contract import Array, Signal
from toy_agent import SIGNALS, make_contract

STEPS, CONTEXT = 8, 3


def decode(path: Path) -> tuple[Pictures, float]:
    """Return the frames of a film and its rate."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate is not None
        frames = [frame.to_ndarray(format="rgb24") for frame in file.decode(stream)]
        return np.stack(frames).astype(np.uint8), float(stream.average_rate)


def color(name: str) -> Array:
    return np.round(np.array(rgb_of(name)) * 255)


def count_pixels(picture: Pictures, name: str) -> int:
    return int((picture == color(name)).all(-1).sum())


def make_dream(signals: tuple[Signal, ...] = SIGNALS) -> Dream:
    """Return a dream whose truth is 0 and whose model is off by a quarter of the range."""
    truth, model = {}, {}
    for signal in signals:
        shape = (STEPS, *signal.shape)
        truth[signal.name] = np.zeros(shape, np.int64 if signal.num_classes else np.float32)
        model[signal.name] = truth[signal.name] + (1 if signal.num_classes else np.float32(0.25))
    return Dream(CONTEXT, truth, model)


def test_a_film_is_read_back_frame_by_frame(tmp_path: Path) -> None:
    levels = np.linspace(0, 255, 7).round().astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (7, 10, 14, 3))
    write_mp4(tmp_path / "a.mp4", frames, fps=12.5, scale=3)
    found, fps = decode(tmp_path / "a.mp4")
    assert (found.shape, fps) == ((7, 30, 42, 3), 12.5)
    np.testing.assert_allclose(found.mean((1, 2, 3)), levels, atol=4)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_odd_sides_are_made_even(tmp_path: Path) -> None:
    write_mp4(tmp_path / "a.mp4", np.zeros((2, 9, 15, 3), np.uint8), fps=25.0)
    assert decode(tmp_path / "a.mp4")[0].shape == (2, 10, 16, 3)


def test_a_film_that_fails_leaves_no_film(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="array shape"):
        write_mp4(tmp_path / "a.mp4", np.zeros((2, 8, 8, 5), np.uint8), fps=25.0)
    assert not (tmp_path / "a.mp4").exists()


def test_a_picture_is_read_back(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.round(imread(tmp_path / "a.png") * 255)[..., :3], picture)


def test_enlarging_repeats_pixels() -> None:
    picture = np.arange(2 * 3).reshape(1, 2, 3, 1)
    large = enlarge(picture, 2)
    assert large.shape == (1, 4, 6, 1)
    np.testing.assert_array_equal(large[0, ::2, 1::2, 0], picture[0, ..., 0])


@pytest.mark.parametrize("text", ["observing", "x" * 60])
def test_text_stays_inside_its_strip(text: str) -> None:
    strip = draw_text(text, 300, LINE)
    assert strip.shape == (LINE, 300, 3)
    assert strip.min() < 160  # something is written
    assert (strip[:, [0, -1]] == 255).all()
    assert (strip[[0, -1]] == 255).all()


def test_dream_frames_tell_watching_from_imagining() -> None:
    frames = list(dream_frames(make_dream(), None, 0.1))
    assert len(frames) == STEPS
    for step, frame in enumerate(frames):
        mine, other = (BLUE, ORANGE) if step < CONTEXT else (ORANGE, BLUE)
        assert count_pixels(frame, mine) > 0.4 * LINE * frame.shape[1], step
        assert count_pixels(frame, other) == 0, step


def test_the_time_line_grows_to_the_full_width() -> None:
    bars = [frame[-1] for frame in dream_frames(make_dream(), None, 0.1)]
    lengths = [
        int((bar == color(c)).all(-1).sum())
        for bar, c in zip(bars, [BLUE] * 3 + [ORANGE] * 5, strict=True)
    ]
    assert lengths == sorted(set(lengths))
    assert lengths[-1] == bars[-1].shape[0]


def test_every_camera_is_shown_with_model_and_error() -> None:
    dream = make_dream()
    body = next(dream_frames(dream, None, 0.1))[LINE : -LINE - LINE // 3]
    third = body.shape[1] // 3
    truth, model, error = (body[:, i * third : (i + 1) * third] for i in range(3))
    assert count_pixels(truth, "black") == 256 * 128 + 256 * 256  # both cameras, one half as high
    assert (model == 64).all(-1).sum() == 256 * 128 + 256 * 256
    bright = np.unique(error[(error != 255).any(-1)], axis=0)
    np.testing.assert_array_equal(bright, [colormaps["inferno"](0.5, bytes=True)[:3]])


def test_the_sheet_marks_what_was_watched() -> None:
    picture = dream_sheet(make_dream(), control_dt_s=0.1)
    assert count_pixels(picture, BLUE) > 1000
    assert count_pixels(picture, ORANGE) > 1000
    blue = np.flatnonzero((picture == color(BLUE)).all(-1).any(0))
    orange = np.flatnonzero((picture == color(ORANGE)).all(-1).any(0))
    assert blue.max() < orange.min()


def test_a_sheet_holds_its_pictures_pixel_by_pixel() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    found = sheet("", [Row("row", pictures)], ["a", "b"], [BLUE, ORANGE])
    left = int(np.flatnonzero((found == color(BLUE)).all(-1).any(0))[0]) + 3
    top = int(np.flatnonzero((found == color(BLUE)).all(-1).any(1))[0]) + 3
    shown = found[top : top + 128, left : left + 128]
    np.testing.assert_array_equal(shown, enlarge(pictures[0], 2))


def make_footage(success: list[bool]) -> Footage:
    steps = len(success)
    return Footage(
        observations={},
        actions=np.zeros((steps, 2)),
        rewards=np.ones(steps),
        success=np.array(success),
        pictures=np.zeros((steps, 300, 400, 3), np.uint8),
    )


def test_episodes_follow_each_other_and_end_with_a_pause() -> None:
    footages = iter([make_footage([False, False, True]), make_footage([False] * 4)])
    frames = list(episode_frames(footages, 2, pause=2))
    assert len(frames) == 3 + 2 + 4 + 2
    is_green = [count_pixels(frame[-LINE:], GREEN) > 0 for frame in frames]
    assert is_green == [False, False, True, True, True] + [False] * 6


def test_the_episode_sheet_is_green_where_the_goal_is_met() -> None:
    without = episode_sheet(make_footage([False] * 9), 0.1)
    assert count_pixels(without, GREEN) == 0
    assert count_pixels(episode_sheet(make_footage([False] * 8 + [True]), 0.1), GREEN) > 500


def test_vectors_are_plotted_and_cameras_are_not() -> None:
    contract = make_contract()
    assert plot_signals(make_dream(), contract) is not None
    cameras = tuple(signal for signal in SIGNALS if signal.is_image)
    assert plot_signals(make_dream(cameras), make_contract(cameras)) is None
