"""Layout of futures and interpolations: every picture stands where its title says."""

import numpy as np
import pytest
from test_dream import make_footage

from robodreamer.learning.agent import Agent
from robodreamer.visualization.dream_layout import (
    FILM_WIDTH,
    future_pictures,
    future_sheet,
    interpolation_frames,
    interpolation_sheet,
)
from robodreamer.visualization.futures import Futures, imagine_futures
from robodreamer.visualization.interpolation import interpolate
from robodreamer.visualization.video import Pictures
from robodreamer.visualization.video_layout import GAP, LINE, SHEET_SIDE
from robodreamer.visualization.views import make_sampler
from robodreamer_deploy.contract import Array
from toy_agent import SIGNALS, make_agent, make_contract

STEPS, CONTEXT, HORIZON = 6, 3, 5
CAMERA = "image/front"  # 16 pixels high, 32 wide


@pytest.fixture(scope="module")
def agent() -> Agent:
    return make_agent().eval()


def imagine(agent: Agent, count: int) -> Futures:
    footage = make_footage(agent.contract, STEPS)
    sampler = make_sampler(0, is_sampling=True)
    found = imagine_futures(agent, footage, CONTEXT, HORIZON, count, sampler)
    names = [CAMERA, "goal/position"]
    return found._replace(
        truth={name: found.truth[name] for name in names},
        model={name: found.model[name] for name in names},
    )


def cell(film: Pictures, row: int, column: int, scale: int) -> Pictures:
    """Return a picture of a film (T, H, W, 3) of cells, at its own size."""
    top, left = row * (16 * scale + LINE + GAP) + LINE, column * (32 * scale + GAP)
    return film[:, top : top + 16 * scale : scale, left : left + 32 * scale : scale]


def as_bytes(values: Array) -> Pictures:
    return (values * 255).round().astype(np.uint8)


def test_futures_stand_beside_what_happened(agent: Agent) -> None:
    futures = imagine(agent, 6)
    film = future_pictures(futures)
    assert film is not None
    assert film.shape[0] == HORIZON + 1
    scale = 4  # seven pictures have 128 pixels each
    for number in range(6):  # four and three in a row, rather than six and one
        row, column = divmod(number + 1, 4)
        expected = as_bytes(futures.model[CAMERA][number])
        np.testing.assert_array_equal(cell(film, row, column, scale), expected)
    happened = cell(film, 0, 0, scale)
    np.testing.assert_array_equal(happened[:4], as_bytes(futures.truth[CAMERA]))


def test_what_is_over_is_faded(agent: Agent) -> None:
    film = future_pictures(imagine(agent, 1))
    assert film is not None
    happened = cell(film, 0, 0, 8).astype(float)  # a picture of 256 pixels
    np.testing.assert_allclose(255 - happened[4], 0.35 * (255 - happened[3]), atol=0.51)
    np.testing.assert_array_equal(happened[4], happened[5])
    assert film.shape[2] == FILM_WIDTH


def test_a_run_without_cameras_has_no_pictures_of_futures() -> None:
    agent = make_agent(make_contract(tuple(s for s in SIGNALS if not s.is_image)))
    sampler = make_sampler(0, is_sampling=True)
    footage = make_footage(agent.contract, STEPS)
    assert future_pictures(imagine_futures(agent, footage, CONTEXT, 2, 2, sampler)) is None


def test_a_sheet_shows_a_row_for_what_happened_and_for_up_to_four_futures(agent: Agent) -> None:
    two, nine = (future_sheet(imagine(agent, count), 0.1) for count in (2, 9))
    row = SHEET_SIDE // 2 + 2 * 3 + GAP
    assert nine.shape[0] - two.shape[0] == 2 * row


def test_an_interpolation_shows_decoded_mixed_and_real_pictures(agent: Agent) -> None:
    found = interpolate(agent, make_footage(agent.contract, STEPS), CONTEXT, num_states=5)
    found = found._replace(truth={CAMERA: found.truth[CAMERA]})
    frames = list(interpolation_frames(found, None, 0.1))
    assert len(frames) == 5
    for number, frame in enumerate(frames):
        body = frame[LINE : LINE + 128 : 8]
        decoded, mixed, real = (
            body[:, i * (256 + GAP) : i * (256 + GAP) + 256 : 8] for i in range(3)
        )
        np.testing.assert_array_equal(decoded, as_bytes(found.model[CAMERA][number]))
        np.testing.assert_array_equal(mixed, as_bytes(found.mixed_pictures(CAMERA)[number]))
        np.testing.assert_array_equal(real, as_bytes(found.truth[CAMERA][int(number >= 2)]))
    assert interpolation_sheet(found, 0.1).shape[0] > 2 * SHEET_SIDE // 2
