"""Filled contours of a loss over planes of weight space, with what lies in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, MaxNLocator

from mode_connectivity.reporting.figures.frames import finite, require_columns
from mode_connectivity.reporting.style import (
    BLACK,
    COLOUR_MAP,
    SMALL,
    TEXT_WIDTH,
    line_style,
    new_figure,
)
from mode_connectivity.settings import UserError, nearest

Array = npt.NDArray[Any]

POINT_KINDS = ("endpoint", "bend", "curve")


@dataclass(frozen=True)
class Plane:
    """One plane of weight space as the evaluator writes it, and how its panel is named.

    Attributes:
        title: Above the panel.
        grid: ``grid.csv``: a full lattice, ``x`` varying fastest.
        points: ``points.csv``: ``kind`` (endpoint, bend or curve), ``t``, ``x``, ``y``.
        curve: The name of the curve in the plane, such as Bezier; None where the plane is spanned
            by independent optima: its bend, if it has one, is then drawn as an optimum.
    """

    title: str
    grid: pd.DataFrame
    points: pd.DataFrame
    curve: str | None = None


@dataclass(frozen=True)
class Surface:
    """One quantity drawn over planes.

    Attributes:
        column: Of the planes' grids.
        label: On the colour bar, with its unit.
        clip: Values above share one colour; ignored where all values are above.
        first_step: From the lowest value to the first contour above it; further steps grow
            geometrically up to ``clip``.
    """

    column: str
    label: str
    clip: float
    first_step: float


def contour_levels(low: float, high: float, first_step: float, bands: int) -> list[float]:
    """Return contour levels whose height above the lowest value grows geometrically.

    As in the figures of Garipov et al. 2018 (whose code takes 7 bands from exp(-5) for a loss and
    from exp(-1) for an error), but rounded to as few digits as keep them apart, so that
    a contour lies exactly where its label says.

    Args:
        low: The lowest value drawn.
        high: The highest, or the value at which colours are clipped.
        first_step: Height of the first contour above ``low``.
        bands: Number of bands, one less than there are levels.

    Returns:
        ``bands + 1`` ascending levels, the first at or just below ``low``, the last at or just
        above ``high``.
    """
    span = high - low if high > low else first_step
    steps = np.geomspace(min(first_step, span / bands), span, bands)
    exact = [low, *(low + steps).tolist()]
    for digits in range(2, 16):
        levels = [float(f"{level:.{digits}g}") for level in exact]
        levels[0] = _outward(exact[0], levels[0], digits, -1)
        levels[-1] = _outward(exact[-1], levels[-1], digits, 1)
        if all(lower < upper for lower, upper in pairwise(levels)):
            return levels
    return exact


def _outward(value: float, rounded: float, digits: int, sign: int) -> float:
    if sign * (rounded - value) >= 0:
        return rounded
    unit = 10.0 ** (np.floor(np.log10(abs(value))) - digits + 1)
    return float(f"{rounded + sign * unit:.{digits}g}")


def draw_planes(
    planes: Sequence[Plane],
    surfaces: Sequence[Surface],
    *,
    where: str,
    bands: int = 7,
    colour_map: str = COLOUR_MAP,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw planes side by side, one row of panels a quantity, one colour scale a row.

    All planes have their origin in the first endpoint and their x axis through the second, which
    the panels share. Contours are placed between the points of the lattice by interpolating on
    the (logarithmic) scale of the levels: a loss grows tenfold from one point to the next, and
    linear interpolation would crowd all contours at the lower one.

    Args:
        planes: The panels of a row.
        surfaces: The rows.
        where: Name of the figure, for messages.
        bands: Number of colours below the clipping value.
        colour_map: Name of a matplotlib colour map, dark at the low end.
        title: A line above all panels.

    Returns:
        The figure and its numbers: ``panel``, ``kind`` (grid, endpoint, bend, curve), ``label``,
        ``t``, ``x``, ``y`` and a column a quantity, unclipped; values that are not finite are
        empty and drawn grey.

    Raises:
        UserError: If a column or an endpoint is missing, a grid is no full lattice, the planes
            have different second endpoints, a quantity has no finite value, or the colour map
            is unknown.
    """
    if colour_map not in matplotlib.colormaps:
        raise UserError(
            f"{where}: unknown colour map {colour_map!r}{nearest(colour_map, matplotlib.colormaps)}"
            "; take a name of matplotlib's, such as viridis, cividis, magma"
        )
    lattices = [_lattice(plane, f"{where}, panel {plane.title!r}") for plane in planes]
    marks = [_marks(plane, f"{where}, panel {plane.title!r}") for plane in planes]
    _check_shared_axis(planes, marks, where)

    rows = len(surfaces)
    figure = new_figure(TEXT_WIDTH, 0.35 + 1.95 * rows, title)
    axes = figure.subplots(rows, len(planes), sharex=True, sharey="col", squeeze=False)
    numbers = [
        _numbers(plane, lattice, mark)
        for plane, lattice, mark in zip(planes, lattices, marks, strict=True)
    ]
    for row, surface in enumerate(surfaces):
        values, remarks = [], []
        for plane, lattice, table in zip(planes, lattices, numbers, strict=True):
            place = f"{where}, panel {plane.title!r}, column {surface.column!r}"
            require_columns(plane.grid, [surface.column], place)
            masked, remark = finite(plane.grid[surface.column].to_numpy(), place)
            values.append(masked.reshape(len(lattice[1]), len(lattice[0])))
            remarks.append(remark)
            table[surface.column] = np.nan
            table.loc[table["kind"] == "grid", surface.column] = masked
        scale = _ColourScale(values, surface, bands, colour_map)
        for column, plane in enumerate(planes):
            axis = axes[row, column]
            scale.fill(axis, *lattices[column], values[column], _obstacles(marks[column]))
            _draw_marks(axis, plane, marks[column])
            heading = plane.title if row == 0 else ""
            axis.set_title("\n".join(text for text in (heading, remarks[column]) if text))
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        scale.add_bar(figure, list(axes[row]))
    figure.supxlabel(
        r"Distance from $\hat w_1$ towards $\hat w_2$ ($L_2$, in weight space)", fontsize=8
    )
    figure.supylabel("Distance orthogonal to it", fontsize=8)
    return figure, pd.concat(numbers, ignore_index=True)


class _ColourScale:
    """The colours of one row of panels."""

    def __init__(
        self, values: Sequence[Array], surface: Surface, bands: int, colour_map: str
    ) -> None:
        lowest = min(float(np.nanmin(panel)) for panel in values)
        highest = max(float(np.nanmax(panel)) for panel in values)
        # Where even the lowest value is above the clip, clipping would leave a single colour.
        self._clipped = lowest < surface.clip < highest
        self._levels = contour_levels(
            lowest, surface.clip if self._clipped else highest, surface.first_step, bands
        )
        if self._clipped:
            self._levels[-1] = surface.clip
        self._surface = surface
        colours = matplotlib.colormaps[colour_map](np.linspace(0, 1, bands))
        # Paler than the palest band, so that clipped regions recede and need no ink.
        self._map = ListedColormap(colours).with_extremes(over=0.25 * colours[-1] + 0.75)
        self._lowest = self._levels[0]

    def _stretch(self, values: npt.ArrayLike) -> Array:
        # One first step above the lowest level, so that the logarithm exists there.
        heights = np.asarray(values, dtype=np.float64) - self._lowest
        stretched: Array = np.log(heights + self._levels[1] - self._lowest)
        return stretched

    def fill(self, axis: Axes, x: Array, y: Array, values: Array, obstacles: Array) -> None:
        """Draw contours and their labels, these away from the obstacles ``[n, 2]``."""
        levels = self._stretch(self._levels)
        surface = np.ma.masked_invalid(self._stretch(values))
        # The lowest level may equal the lowest value, whose region would then be left out.
        fill_levels = [levels[0] - 1e-9, *levels[1:]]
        axis.set_facecolor("#BBBBBB")
        axis.contourf(
            x, y, surface, levels=fill_levels, cmap=self._map, extend="max",
            norm=BoundaryNorm(fill_levels, self._map.N),
        )  # fmt: skip
        inner = levels[1:] if self._clipped else levels[1:-1]
        lines = axis.contour(
            x, y, surface, levels=inner, colors="white", linewidths=0.5, linestyles="solid"
        )
        text = {level: f"{value:g}" for level, value in zip(levels, self._levels, strict=True)}
        places = _label_places(lines, x, y, obstacles)
        # Without a place, clabel would look for some itself.
        if places:
            labels = axis.clabel(
                lines, fmt=text, fontsize=SMALL, colors=BLACK, inline_spacing=2, manual=places
            )
            for label in labels:
                label.set_path_effects([withStroke(linewidth=1.6, foreground="white")])

    def add_bar(self, figure: Figure, axes: list[Axes]) -> None:
        """Add the colour bar of the row."""
        clip = f"{self._surface.clip:g}"
        bar = figure.colorbar(
            ScalarMappable(BoundaryNorm(self._levels, self._map.N), self._map),
            ax=axes,
            extend="max" if self._clipped else "neither",
            spacing="uniform",
            ticks=self._levels,
            pad=0.01,
            aspect=18,
        )
        bar.ax.yaxis.set_major_formatter(FixedFormatter([f"{level:g}" for level in self._levels]))
        bar.ax.minorticks_off()
        note = f"\nclipped at {clip}" if self._clipped else ""
        bar.set_label(self._surface.label + note)


def _lattice(plane: Plane, where: str) -> tuple[Array, Array]:
    require_columns(plane.grid, ["x", "y"], f"{where}, grid")
    x = plane.grid["x"].to_numpy(dtype=np.float64)
    y = plane.grid["y"].to_numpy(dtype=np.float64)
    changes = np.flatnonzero(y != y[0])
    width = int(changes[0]) if len(changes) else len(y)
    tolerance = 1e-9 * max(float(np.ptp(x)), float(np.ptp(y)), 1e-300)
    height = len(x) // width
    columns, rows = x[:width], y[::width]
    if not (
        width * height == len(x)
        and width >= 2
        and height >= 2
        and np.allclose(x, np.tile(columns, height), rtol=0, atol=tolerance)
        and np.allclose(y, np.repeat(rows, width), rtol=0, atol=tolerance)
        and np.all(np.diff(columns) > 0)
        and np.all(np.diff(rows) > 0)
    ):
        raise UserError(
            f"{where}, grid: its {len(x)} rows are no full lattice of x and y with x varying "
            "fastest, both ascending; evaluate the plane again"
        )
    return columns, rows


def _marks(plane: Plane, where: str) -> pd.DataFrame:
    """Return the points of a plane: endpoints, bends, then the curve, with their labels."""
    where = f"{where}, points"
    require_columns(plane.points, ["kind", "t", "x", "y"], where)
    unknown = sorted(set(plane.points["kind"].astype(str)) - set(POINT_KINDS))
    if unknown:
        raise UserError(
            f"{where}: kind {unknown[0]!r}; allowed are {', '.join(POINT_KINDS)}"
            f"{nearest(unknown[0], POINT_KINDS)}; evaluate the plane again"
        )
    points = plane.points[["kind", "t", "x", "y"]].astype({"t": float, "x": float, "y": float})
    if not np.isfinite(points[["x", "y"]].to_numpy()).all():
        raise UserError(f"{where}: a coordinate is not a finite number; evaluate the plane again")
    if plane.curve is None:
        optima = points[points["kind"] != "curve"].assign(kind="endpoint")
        curve, bends = points.iloc[:0], points.iloc[:0]
    else:
        optima = points[points["kind"] == "endpoint"]
        bends = points[points["kind"] == "bend"]
        curve = points[points["kind"] == "curve"].sort_values("t")
    if len(optima) < 2:
        raise UserError(
            f"{where}: {len(optima)} endpoints; two are needed to share an axis; "
            "evaluate the plane again"
        )
    names = [f"w{index + 1}" for index in range(len(optima))]
    names += ["theta"] if len(bends) == 1 else [f"theta{index + 1}" for index in range(len(bends))]
    marks = pd.concat([optima, bends, curve], ignore_index=True)
    marks.insert(1, "label", [*names, *[""] * len(curve)])
    return marks


def _check_shared_axis(planes: Sequence[Plane], marks: Sequence[pd.DataFrame], where: str) -> None:
    ends = [mark[["x", "y"]].to_numpy()[:2] for mark in marks]
    for plane, end in zip(planes, ends, strict=True):
        if not np.allclose(end, ends[0], rtol=0, atol=1e-3 * abs(ends[0][1, 0])):
            raise UserError(
                f"{where}, panel {plane.title!r}: the second endpoint lies at x = {end[1, 0]:g}, "
                f"in panel {planes[0].title!r} at {ends[0][1, 0]:g}; panels share the axis "
                "through the same two endpoints; choose planes of the same pair"
            )


def _numbers(plane: Plane, lattice: tuple[Array, Array], marks: pd.DataFrame) -> pd.DataFrame:
    columns, rows = lattice
    grid = pd.DataFrame(
        {
            "kind": "grid",
            "label": "",
            "t": np.nan,
            "x": np.tile(columns, len(rows)),
            "y": np.repeat(rows, len(columns)),
        }
    )
    table = pd.concat([grid, marks], ignore_index=True)
    table.insert(0, "panel", plane.title)
    return table


def _draw_marks(axis: Axes, plane: Plane, marks: pd.DataFrame) -> None:
    corners = _corners(marks)
    casing = withStroke(linewidth=2.6, foreground="white")
    axis.plot(
        corners[:, 0], corners[:, 1], color=BLACK, linestyle=(0, (4, 2)), linewidth=0.9,
        path_effects=[withStroke(linewidth=1.9, foreground="white")],
    )  # fmt: skip
    curve = marks[marks["kind"] == "curve"]
    if plane.curve is not None and len(curve):
        axis.plot(
            curve["x"], curve["y"], color=line_style(plane.curve).colour, linewidth=1.5,
            path_effects=[casing],
        )  # fmt: skip
    for kind, label, _, x, y in marks[marks["kind"] != "curve"].to_numpy():
        is_bend = kind == "bend"
        axis.plot(
            [x], [y], marker="D" if is_bend else "o", markersize=3.6 if is_bend else 4.4,
            markerfacecolor="white", markeredgecolor=BLACK, markeredgewidth=0.8, zorder=5,
        )  # fmt: skip
        below = _label_below(y, corners)
        axis.annotate(
            _symbol(label), (x, y), xytext=(0, -4 if below else 4),
            textcoords="offset points", ha="center", va="top" if below else "bottom",
            fontsize=9, zorder=6, path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _corners(marks: pd.DataFrame) -> Array:
    """Return the ends of the straight lines between the endpoints, ``[n, 2]``."""
    corners = marks.loc[marks["kind"] == "endpoint", ["x", "y"]].to_numpy()
    return corners if len(corners) == 2 else np.vstack([corners, corners[:1]])


def _obstacles(marks: pd.DataFrame) -> Array:
    """Return points ``[n, 2]`` that the labels of contours keep away from."""
    steps = np.linspace(0, 1, 20)[:, None]
    corners = _corners(marks)
    points = marks[["x", "y"]].to_numpy()
    sides = [start + steps * (end - start) for start, end in pairwise(corners)]
    # The marks' own labels stand a tenth of the panel above or below them.
    texts = points[marks["kind"] != "curve"]
    shift = np.where(_label_below(texts[:, 1], corners), -0.12, 0.12) * np.ptp(points[:, 1])
    texts = texts + np.stack([np.zeros_like(shift), shift], axis=1)
    return np.vstack([*sides, points, texts])


def _label_below(y: Array, corners: Array) -> Array:
    # The endpoints' y is zero only up to the rounding of a projection.
    below: Array = y <= corners[:, 1].min() + 1e-3 * abs(corners[1, 0])
    return below


def _label_places(
    lines: ContourSet, x: Array, y: Array, obstacles: Array
) -> list[tuple[float, float]]:
    """Choose for every second contour the place farthest from obstacles, edges, other labels.

    Returns:
        Points on the contours; none for a contour that is too short for a label.
    """
    corner, size = np.array([x[0], y[0]]), np.array([np.ptp(x), np.ptp(y)])
    taken = (obstacles - corner) / size
    places = []
    for segments in lines.allsegs[::-2]:
        vertices = [
            segment
            for segment in segments
            if len(segment) and np.ptp(segment / size, axis=0).max() > 0.25
        ]
        if not vertices:
            continue
        candidates = (np.vstack(vertices) - corner) / size
        gaps = np.linalg.norm(candidates[:, None] - taken[None], axis=2).min(axis=1)
        edges = np.minimum(candidates, 1 - candidates).min(axis=1)
        room = np.minimum(gaps, edges)
        best = candidates[room.argmax()]
        if room.max() > 0.08:
            taken = np.vstack([taken, best])
            place = corner + best * size
            places.append((float(place[0]), float(place[1])))
    return places


def _symbol(label: str) -> str:
    """Return a label as the paper sets it: w1 with a hat and an index, theta as a letter."""
    name, index = label.rstrip("0123456789"), label.lstrip("abcdefghijklmnopqrstuvwxyz")
    letter = r"\hat{w}" if name == "w" else rf"\{name}"
    return f"${letter}_{{{index}}}$" if index else f"${letter}$"
