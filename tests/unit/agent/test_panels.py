"""Panels: a plot in a film shows the past and hides the future."""

import numpy as np
import pytest

from robodreamer.visualization.panels import CURSOR, GrowingPlot, Line, Panel, stack_pictures
from robodreamer.visualization.video import BLUE, ORANGE

WIDTH = 600


@pytest.fixture(scope="module")
def plot() -> GrowingPlot:
    x = np.arange(11.0)
    first = Panel("a", "m", x, [Line(x, BLUE, "x"), Line(10 - x, ORANGE, "y")])
    return GrowingPlot([first, Panel("b", "", x, [Line(x[:6], BLUE)])], WIDTH)


def test_it_has_the_width_of_the_film_at_every_moment(plot: GrowingPlot) -> None:
    shapes = {plot.at(x).shape for x in (0.0, 3.3, 10.0)}
    assert len(shapes) == 1
    assert next(iter(shapes))[1] == WIDTH


def test_lines_grow_to_the_right_and_only_there(plot: GrowingPlot) -> None:
    early, late = plot.at(2.0), plot.at(7.0)
    for half in (slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH)):
        changed = (early[:, half] != late[:, half]).any(-1)
        columns = np.flatnonzero(changed.any(0))
        cursors = [
            np.flatnonzero((picture[:, half] == CURSOR).all(-1).sum(0) > 50)
            for picture in (early, late)
        ]
        assert [len(cursor) for cursor in cursors] == [1, 1]
        assert columns.min() == cursors[0][0]  # what was drawn stays
        assert columns.max() == cursors[1][0]  # what comes is not shown


def test_at_the_end_all_is_drawn(plot: GrowingPlot) -> None:
    end = plot.at(10.0)
    different = (end != plot.full).any(-1)
    assert (end[different] == CURSOR).all()
    assert 0 < different.any(0).sum() <= 2  # a column per panel
    assert (plot.at(0.0) != plot.full).any(-1).sum() > 300


def test_narrow_pictures_are_padded_with_white() -> None:
    wide, narrow = np.zeros((2, 9, 3), np.uint8), np.ones((3, 4, 3), np.uint8)
    found = stack_pictures([wide, narrow])
    assert found.shape == (5, 9, 3)
    assert (found[2:, :4] == 1).all()
    assert (found[2:, 4:] == 255).all()
