"""Where the points of a figure lie in its picture, for pages on which they can be explored.

Places are shares of the picture's width and height, from its upper left corner, so that they hold
at any size.
"""

import re
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

Array = npt.NDArray[Any]

FEWEST = 3
"""Points of a line that has no name; shorter ones are frames and arrows."""

_surfaces: WeakKeyDictionary[Axes, tuple[str, Array, Array, Array]] = WeakKeyDictionary()


def mark_surface(axis: Axes, label: str, x: Array, y: Array, values: Array) -> None:
    """Note the lattice of which a panel shows a surface: its drawing does not tell the values.

    Args:
        axis: the panel.
        label: what the values are.
        x: [W] places of the columns.
        y: [H] places of the rows.
        values: [H, W].
    """
    _surfaces[axis] = (label, x, y, values)


def drawn_points(figure: Figure) -> dict[str, Any]:
    """Return the points that a figure shows, panel by panel.

    Args:
        figure: drawn at least once, so that its layout is settled.

    Returns:
        ``panels``: of each ``title``, labels of the axes ``x`` and ``y``, and ``series``, each with
        a ``label`` and ``points``: place across, place down, x, y and, of a surface, its value.
        Panels in three dimensions and colour bars are left out.
    """
    panels = []
    for axis in figure.axes:
        if axis.name == "3d" or axis.get_label() == "<colorbar>" or not axis.get_visible():
            continue
        series = [part for part in _series(axis) if part["points"]]
        if series:
            panels.append(
                {
                    "title": plain(axis.get_title()),
                    "x": plain(_label(axis, "x") or figure.get_supxlabel()),
                    "y": plain(_label(axis, "y") or figure.get_supylabel()),
                    "series": series,
                }
            )
    return {"panels": panels}


def _series(axis: Axes) -> Iterator[dict[str, Any]]:
    if axis in _surfaces:
        label, x, y, values = _surfaces[axis]
        across, up = np.meshgrid(x, y)
        points = _points(axis, across.ravel(), up.ravel(), values.ravel())
        yield {"label": plain(label), "points": points}
    for line in axis.get_lines():
        label = str(line.get_label())
        is_named = not label.startswith("_")
        x, y = (np.asarray(values, dtype=np.float64) for values in line.get_data())
        is_curve = axis not in _surfaces and len(x) >= FEWEST
        if _is_data(axis, line) and (is_named or is_curve):
            yield {"label": plain(label) if is_named else "", "points": _points(axis, x, y)}


def _is_data(axis: Axes, line: Line2D) -> bool:
    """Whether a line is drawn in the units of its panel, and not a rule across it."""
    return line.get_visible() and line.get_transform() == axis.transData


def _points(axis: Axes, x: Array, y: Array, *further: Array) -> list[list[float]]:
    keep = np.isfinite(x) & np.isfinite(y)
    for values in further:
        keep &= np.isfinite(values)
    left, right = sorted(axis.get_xlim())
    bottom, top = sorted(axis.get_ylim())
    keep &= (x >= left) & (x <= right) & (y >= bottom) & (y <= top)
    columns = [values[keep] for values in (x, y, *further)]
    pixels = axis.transData.transform(np.stack(columns[:2], axis=1))
    width, height = axis.figure.bbox.size
    across, down = pixels[:, 0] / width, 1.0 - pixels[:, 1] / height
    return [
        [round(float(place), 4) for place in places] + [_rounded(value) for value in values]
        for places, *values in zip(zip(across, down, strict=True), *columns, strict=True)
    ]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _label(axis: Axes, which: str) -> str:
    """Return the label of an axis, or that of a panel with which it shares it."""
    siblings = {"x": axis.get_shared_x_axes, "y": axis.get_shared_y_axes}[which]()
    candidates = [axis, *siblings.get_siblings(axis)]
    texts = (getattr(candidate, f"get_{which}label")() for candidate in candidates)
    return next(filter(None, texts), "")


def plain(text: str) -> str:
    """Return a label without the marks of TeX, on one line."""
    text = re.sub(r"\\(?:hat|mathrm|text|mathbf)\s*", "", text)
    text = re.sub(r"\\to\b", "→", text)
    text = re.sub(r"\\%", "%", text)
    return " ".join(re.sub(r"[${}\\]", "", text).split())
