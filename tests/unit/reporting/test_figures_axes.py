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


def test_in_falling_order_the_fine_scale_is_above(axis):
    split_scale(axis, 100.0, 90.0, 10.0)
    bottom, top = axis.get_ylim()
    assert bottom < 10 and top == 100
    assert height(axis, 100) == pytest.approx(1)
    assert height(axis, 95) == pytest.approx(1 - LOWER_SHARE / 2)
    assert height(axis, 90) == pytest.approx(1 - LOWER_SHARE)
    assert height(axis, (90 + bottom) / 2) == pytest.approx((1 - LOWER_SHARE) / 2)
    scale = axis.yaxis.get_transform()
    np.testing.assert_allclose(scale.inverted().transform(scale.transform([20, 93])), [20, 93])
    ticks = axis.get_yticks()
    assert sum(ticks >= 90) >= 3 and sum(ticks < 90) >= 1
    texts = [text.get_text() for text in axis.get_yticklabels()]
    assert [float(text) for text in texts] == ticks.tolist()


def test_a_falling_axis_stays_plain_where_nothing_falls_far(axis):
    split_scale(axis, 100.0, 90.0, 88.0)
    assert axis.get_yscale() == "linear"
    bottom, top = axis.get_ylim()
    assert bottom < 88 and top == 100
