"""Axes on which a barrier and what lies far below it are both legible."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator, NullLocator

LOWER_SHARE = 0.72
"""Of the height of a split axis, what lies below the split."""


def zoom_range(values: Iterable[float], pad: float = 0.12) -> tuple[float, float]:
    """Return limits that hold all finite values with some room, and nothing below zero.

    Equal values get a tenth of themselves, zeros one unit: a percentage point or a nat.

    Args:
        values: What must be legible; NaN is ignored.
        pad: Room above and below, as a share of the range.
    """
    finite = [value for value in values if np.isfinite(value)]
    low, high = min(finite), max(finite)
    room = pad * (high - low) or 0.1 * abs(high) or 1.0
    return (max(0.0, low - room) if low >= 0 else low - room), high + room


def set_ticks(axis: Axes) -> None:
    """Put a handful of round numbers on a linear y axis."""
    axis.yaxis.set_major_locator(_ticks(6))


def split_scale(axis: Axes, low: float, split: float, high: float) -> None:
    """Give the y axis two linear scales, a fine one up to ``split`` and a coarse one above.

    Nothing is hidden, as it would be by a gap in the axis; the coarse part is shaded. Where the
    highest value is not far above the split, the axis stays plain. Given in falling order, as for
    accuracies, the fine scale is above and the coarse one below.

    Args:
        axis: Its x limits must be set.
        low: Lower limit.
        split: Where the scale changes.
        high: The highest value; the upper limit lies a little above.
    """
    sign = 1.0 if low < split else -1.0
    low, split, high = sign * low, sign * split, sign * high
    if high <= split + 0.6 * (split - low):
        _set_limits(axis, sign, low, max(split, high + 0.05 * (high - low)))
        set_ticks(axis)
        return
    top = split + 1.08 * (high - split)
    values, places = [low, split, top], [0.0, LOWER_SHARE, 1.0]
    slopes = [LOWER_SHARE / (split - low), (1 - LOWER_SHARE) / (top - split)]

    def forward(value: npt.ArrayLike) -> npt.NDArray[np.float64]:
        numbers = sign * np.asarray(value, dtype=np.float64)
        below = (numbers - low) * slopes[0]
        place = np.where(numbers <= split, below, LOWER_SHARE + (numbers - split) * slopes[1])
        return _turned(place, sign)

    def inverse(place: npt.ArrayLike) -> npt.NDArray[np.float64]:
        return sign * np.interp(_turned(place, sign), places, values)

    axis.set_yscale("function", functions=(forward, inverse))
    _set_limits(axis, sign, low, top)
    fine = [tick for tick in _ticks(5).tick_values(low, split) if low <= tick <= split]
    coarse = [
        tick
        for tick in _ticks(3).tick_values(split, top)
        if split + 0.2 * (top - split) <= tick <= top
    ]
    # Adding zero turns a negative zero into a plain one.
    fine, coarse = ([sign * tick + 0.0 for tick in ticks] for ticks in (fine, coarse))
    axis.yaxis.set_major_locator(FixedLocator(fine + coarse))
    axis.yaxis.set_minor_locator(NullLocator())
    decimals = max((len(f"{tick:.10g}".partition(".")[2]) for tick in fine), default=0)
    texts = [f"{tick:.{decimals}f}" for tick in fine] + [f"{tick:g}" for tick in coarse]
    axis.yaxis.set_major_formatter(FixedFormatter(texts))
    axis.axhspan(sign * split, sign * top, color="#EFEFEF", linewidth=0, zorder=0)
    axis.plot(
        [0, 1], [float(_turned(LOWER_SHARE, sign))] * 2, transform=axis.transAxes,
        linestyle="none", clip_on=False,
        marker=[(-1, -0.5), (1, 0.5)], markersize=6, color="black", markeredgewidth=0.8,
    )  # fmt: skip


def _turned(place: npt.ArrayLike, sign: float) -> npt.NDArray[np.float64]:
    """Return places of an axis counted from its top where the sign is negative."""
    return np.asarray(0.5 + sign * (np.asarray(place, dtype=np.float64) - 0.5))


def _set_limits(axis: Axes, sign: float, low: float, high: float) -> None:
    axis.set_ylim(min(sign * low, sign * high), max(sign * low, sign * high))


def _ticks(intervals: int) -> MaxNLocator:
    return MaxNLocator(intervals, steps=[1, 2, 2.5, 5, 10])
