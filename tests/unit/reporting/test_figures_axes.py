"""Axes with a fine scale below a coarse one."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from mode_connectivity.reporting.figures.axes import LOWER_SHARE, split_scale, zoom_range


@pytest.fixture
def axis():
    return Figure().subplots()


def height(axis, value):
    """Return where a value stands, as a share of the axis."""
    return axis.transAxes.inverted().transform(axis.transData.transform((0, value)))[1]


def test_zoom_range_holds_the_values_with_room_and_stays_positive():
    assert zoom_range([1.0, 2.0, np.nan], pad=0.1) == pytest.approx((0.9, 2.1))
    assert zoom_range([0.0, 2.0], pad=0.1) == pytest.approx((0, 2.2))
    low, high = zoom_range([3.0, 3.0])
    assert low < 3 < high
    assert zoom_range([0.0, 0.0]) == (0, 1)


def test_split_axis_is_linear_on_both_sides_of_the_split(axis):
    split_scale(axis, 2.0, 4.0, 90.0)
    top = axis.get_ylim()[1]
    assert top > 90
    assert height(axis, 2) == pytest.approx(0)
    assert height(axis, 3) == pytest.approx(LOWER_SHARE / 2)
    assert height(axis, 4) == pytest.approx(LOWER_SHARE)
    assert height(axis, (4 + top) / 2) == pytest.approx((1 + LOWER_SHARE) / 2)
    assert height(axis, top) == pytest.approx(1)
    ticks = axis.get_yticks()
    assert sum(ticks <= 4) >= 3 and sum(ticks > 4) >= 1


def test_axis_stays_plain_where_nothing_towers(axis):
    split_scale(axis, 2.0, 4.0, 4.5)
    assert axis.get_yscale() == "linear"
    assert axis.get_ylim()[1] > 4.5
