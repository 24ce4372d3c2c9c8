"""Filled contours of a loss over planes of weight space, with what lies in them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, MaxNLocator

from mode_connectivity.reporting.figures.frames import finite, require_columns
from mode_connectivity.reporting.figures.places import mark_surface
from mode_connectivity.reporting.style import (
    BLACK,
    COLOUR_MAP,
    COLUMN_WIDTH,
    CONNECTOR_COLOUR,
    MODE_COLOUR,
    ORANGE,
    SMALL,
    TEXT_WIDTH,
    line_style,
    new_figure,
)
from mode_connectivity.settings import UserError, nearest
from mode_connectivity.training.simplex_settings import VertexReference

Array = npt.NDArray[Any]

POINT_KINDS = ("endpoint", "bend", "connector", "curve", "iterate", "sample")
PROJECTED = ("iterate", "sample")
"""Kinds of points that do not lie in the plane."""

# Of the lattice's extent on each side: how far a panel grows to show projections beyond it.
_REACH = 0.5
# Of the panel: how far the labels of iterates stay from each other and from other marks.
_LABEL_GAP = 0.14
_MOST_LABELS = 15


@dataclass(frozen=True)
class Plane:
    """One plane of weight space as the evaluator writes it, and how its panel is named.

    Attributes:
        title: Above the panel.
        grid: ``grid.csv``: a full lattice, ``x`` varying fastest.
        points: ``points.csv``: ``kind`` (endpoint, bend, curve, iterate or sample), ``t``, ``x``,
            ``y``; where iterates of a training run or samples of the bend are projected onto the
            plane, also ``distance`` (from the plane), and ``epoch`` or ``label``.
        curve: The name of the curve in the plane, such as Bezier; None where the plane is spanned
            by independent optima: its bend, if it has one, is then drawn as an optimum.
        names: Of the endpoints, such as w70; w1, w2, ... with a hat where there are none.
        samples: The measurements of the samples, in the order of the points: columns named as in
            the grid. Their marks have the colours of these.
    """

    title: str
    grid: pd.DataFrame
    points: pd.DataFrame
    curve: str | None = None
    names: tuple[str, ...] = ()
    samples: pd.DataFrame | None = None


@dataclass(frozen=True)
class Surface:
    """One quantity drawn over planes.

    Attributes:
        column: Of the planes' grids.
        label: On the colour bar, with its unit.
        clip: Values above share one colour; ignored where all values are above.
        first_step: From the lowest value to the first contour above it; further steps grow
            geometrically up to ``clip``. None for a logarithmic scale: the levels themselves
            grow geometrically, and values that are not positive share the lowest colour.
    """

    column: str
    label: str
    clip: float = float("inf")
    first_step: float | None = None


def contour_levels(low: float, high: float, first_step: float | None, bands: int) -> list[float]:
    """Return contour levels whose height above the lowest value grows geometrically.

    As in the figures of Garipov et al. 2018 (whose code takes 7 bands from exp(-5) for a loss and
    from exp(-1) for an error), but rounded to as few digits as keep them apart, so that
    a contour lies exactly where its label says.

    Args:
        low: The lowest value drawn.
        high: The highest, or the value at which colours are clipped.
        first_step: Height of the first contour above ``low``; None if the levels themselves are
            to grow geometrically, for which ``low`` must be positive.
        bands: Number of bands, one less than there are levels.

    Returns:
        ``bands + 1`` ascending levels, the first at or just below ``low``, the last at or just
        above ``high``.
    """
    if first_step is None:
        exact = list(np.geomspace(low, high if high > low else 2 * low, bands + 1))
    else:
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

    The quantities of a single plane stand side by side, one of them in a figure of one column.
    All planes have their origin in the first endpoint and their x axis through the second, which
    the panels share. Contours are placed between the points of the lattice by interpolating on
    the (logarithmic) scale of the levels: a loss grows tenfold from one point to the next, and
    linear interpolation would crowd all contours at the lower one.

    Args:
        planes: The panels of a row.
        surfaces: The rows, or the panels of a single plane.
        where: Name of the figure, for messages.
        bands: Number of colours below the clipping value.
        colour_map: Name of a matplotlib colour map, dark at the low end.
        title: A line above all panels.

    Returns:
        The figure and its numbers: ``panel``, ``kind`` (grid, endpoint, bend, curve, iterate,
        sample), ``label``, ``t``, ``x``, ``y``, where there are iterates or samples ``epoch`` and
        ``distance``, and a column a quantity, unclipped; values that are not finite are empty and
        drawn grey.

    Raises:
        UserError: If a column or an endpoint is missing, a grid is no full lattice, the planes
            have different second endpoints, a quantity has no finite value (or, on a logarithmic
            scale, no positive one), or the colour map is unknown.
    """
    _check_colour_map(colour_map, where)
    lattices = [_lattice(plane, f"{where}, panel {plane.title!r}") for plane in planes]
    marks = [_marks(plane, f"{where}, panel {plane.title!r}") for plane in planes]
    _check_shared_axis(planes, marks, where)

    figure, axes = _new_panels(len(surfaces), len(planes), title)
    limits = [_limits(lattice, mark) for lattice, mark in zip(lattices, marks, strict=True)]
    x_limits = np.array([min(x[0] for x, _ in limits), max(x[1] for x, _ in limits)])
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
            if plane.samples is not None:
                require_columns(plane.samples, [surface.column], f"{place}, samples")
                measured = plane.samples[surface.column].to_numpy()
                table.loc[table["kind"] == "sample", surface.column] = measured
        scale = _ColourScale(values, surface, bands, colour_map, f"{where}, {surface.column!r}")
        for column, plane in enumerate(planes):
            axis = axes[row, column]
            axis.set_xlim(x_limits)
            axis.set_ylim(limits[column][1])
            scale.fill(axis, *lattices[column], values[column], _obstacles(marks[column]))
            _draw_marks(axis, plane, marks[column])
            table = numbers[column]
            measured = table.loc[table["kind"] == "sample", surface.column].to_numpy()
            _draw_samples(axis, marks[column], scale.colours(measured))
            heading = plane.title if row == 0 or len(planes) == 1 else ""
            outside = _out_of_sight(marks[column], x_limits, limits[column][1])
            lines = [text for text in (heading, remarks[column], outside) if text]
            axis.set_title("\n".join(lines))
            axis.xaxis.set_major_locator(MaxNLocator(4))
            axis.yaxis.set_major_locator(MaxNLocator(4))
        scale.add_bar(figure, list(axes[row]))
    first, second = marks[0]["label"][:2]
    hat = not planes[0].names
    across = f"Distance from {symbol(first, hat=hat)} towards {symbol(second, hat=hat)}"
    place = " ($L_2$)" if axes.size == 1 else " ($L_2$, in weight space)"
    # One text, for a legend outside the panels would be drawn over it.
    about = [*_about_iterates(marks), *_about_samples(marks)]
    figure.supxlabel("\n".join([across + place, *about]), fontsize=8)
    figure.supylabel("Distance orthogonal to it", fontsize=8)
    return figure, pd.concat(numbers, ignore_index=True)


def draw_faces(
    planes: Sequence[Plane],
    surface: Surface,
    *,
    where: str,
    bands: int = 7,
    colour_map: str = COLOUR_MAP,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw one quantity over the planes through three vertices of a complex each.

    All panels have one colour scale; contours lie as in `draw_planes`.

    Args:
        planes: Two panels a row; those without a title have the names of their vertices.
        surface: The quantity.
        where: Name of the figure, for messages.
        bands: Number of colours below the clipping value.
        colour_map: Name of a matplotlib colour map, dark at the low end.
        title: A line above all panels.

    Returns:
        The figure and its numbers: ``panel``, ``kind`` (grid, mode, connector), ``label`` (w0, t1,
        ...), ``x``, ``y`` and the quantity, unclipped; values that are not finite are empty and
        drawn grey.

    Raises:
        UserError: As `draw_planes`, or if a corner is no vertex of a complex.
    """
    _check_colour_map(colour_map, where)
    lattices, marks, values, frames, remarks = [], [], [], [], []
    for number, plane in enumerate(planes, start=1):
        place = f"{where}, panel {number}"
        corners = _vertices(plane, f"{place}, points")
        panel = plane.title or ", ".join(corners["label"])
        across, up = lattice = _lattice(plane, place)
        require_columns(plane.grid, [surface.column], f"{place}, grid")
        masked, remark = finite(
            plane.grid[surface.column].to_numpy(), f"{place}, column {surface.column!r}"
        )
        frame = _numbers(replace(plane, title=panel), lattice, corners).drop(columns="t")
        frame[surface.column] = np.nan
        frame.loc[frame["kind"] == "grid", surface.column] = masked
        lattices.append(lattice)
        marks.append(corners)
        values.append(masked.reshape(len(up), len(across)))
        frames.append(frame)
        remarks.append(remark)
    scale = _ColourScale(values, surface, bands, colour_map, f"{where}, {surface.column!r}")
    columns = min(2, len(planes))
    rows = -(-len(planes) // columns)
    figure = new_figure(COLUMN_WIDTH if columns == 1 else TEXT_WIDTH, 0.5 + 2.3 * rows, title)
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis, plane, (across, up), corners, panel, remark in zip(
        axes.flat, planes, lattices, marks, values, remarks, strict=False
    ):
        scale.fill(axis, across, up, panel, _obstacles(corners.assign(kind="endpoint")))
        _draw_vertices(axis, corners)
        named = f"Plane through {', '.join(map(vertex_symbol, corners['label']))}"
        axis.set_title("\n".join(text for text in (plane.title or named, remark) if text))
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.yaxis.set_major_locator(MaxNLocator(4))
    for axis in axes.flat[len(planes) :]:
        axis.set_visible(False)
    scale.add_bar(figure, list(axes.flat))
    figure.supxlabel("Distance from the first vertex towards the second ($L_2$)", fontsize=8)
    figure.supylabel("Distance orthogonal to it", fontsize=8)
    return figure, pd.concat(frames, ignore_index=True)


def _vertices(plane: Plane, where: str) -> pd.DataFrame:
    """Return the three corners of a plane through vertices of a complex: kind, label, x, y."""
    require_columns(plane.points, ["label", "kind", "x", "y"], where)
    references = [VertexReference.parse(str(label)) for label in plane.points["label"]]
    labels = [reference.label for reference in references if reference is not None]
    if len(labels) != 3 or len(references) != 3:
        raise UserError(
            f"{where}: {len(labels)} vertices of a complex among {len(references)} points; a face "
            "has three and nothing else; name planes through vertices such as espro/1:w0"
        )
    kinds = ["mode" if label.startswith("w") else "connector" for label in labels]
    places = plane.points[["x", "y"]].astype(float).reset_index(drop=True)
    return places.assign(kind=kinds, label=labels)[["kind", "label", "x", "y"]]


def _draw_vertices(axis: Axes, corners: pd.DataFrame) -> None:
    """Draw a triangle, its modes in blue and its connectors in orange."""
    places = corners[["x", "y"]].to_numpy()
    outline = np.vstack([places, places[:1]])
    axis.plot(
        outline[:, 0], outline[:, 1], color=BLACK, linestyle=(0, (4, 2)), linewidth=0.9,
        path_effects=[withStroke(linewidth=1.9, foreground="white")],
    )  # fmt: skip
    for kind, label, x, y in corners.itertuples(index=False):
        is_mode = kind == "mode"
        axis.plot(
            [x], [y], marker="o" if is_mode else "D", markersize=5 if is_mode else 4.2,
            color=MODE_COLOUR if is_mode else CONNECTOR_COLOUR, markeredgecolor="white",
            markeredgewidth=0.8, zorder=5,
        )  # fmt: skip
        away = np.array([x, y]) - places.mean(axis=0)
        offset = 9 * away / max(float(np.linalg.norm(away)), 1e-300)
        axis.annotate(
            vertex_symbol(label), (x, y), xytext=tuple(offset), textcoords="offset points",
            ha="center", va="center", fontsize=9, zorder=6,
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def vertex_symbol(label: str) -> str:
    """Return the label of a vertex as the paper sets it: a mode is a w, a connector a theta."""
    return symbol(label.replace("t", "theta"))


def _check_colour_map(colour_map: str, where: str) -> None:
    if colour_map not in matplotlib.colormaps:
        raise UserError(
            f"{where}: unknown colour map {colour_map!r}{nearest(colour_map, matplotlib.colormaps)}"
            "; take a name of matplotlib's, such as viridis, cividis, magma"
        )


class _ColourScale:
    """The colours of one row of panels."""

    def __init__(
        self, values: Sequence[Array], surface: Surface, bands: int, colour_map: str, where: str
    ) -> None:
        self._logarithmic = surface.first_step is None
        lowest = min(
            float(np.nanmin(panel, where=panel > 0 if self._logarithmic else True, initial=np.inf))
            for panel in values
        )
        if lowest == np.inf:
            raise UserError(
                f"{where}: no value is positive, as a logarithmic scale needs; "
                "check the weights it was evaluated at"
            )
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
        if self._logarithmic:
            logarithms: Array = np.log(np.maximum(np.asarray(values, np.float64), self._lowest))
            return logarithms
        # One first step above the lowest level, so that the logarithm exists there.
        heights = np.asarray(values, dtype=np.float64) - self._lowest
        stretched: Array = np.log(heights + self._levels[1] - self._lowest)
        return stretched

    def fill(self, axis: Axes, x: Array, y: Array, values: Array, obstacles: Array) -> None:
        """Draw contours and their labels, these away from the obstacles ``[n, 2]``."""
        mark_surface(axis, self._surface.label, x, y, values)
        levels = self._stretch(self._levels)
        surface = np.ma.masked_invalid(self._stretch(values))
        # The lowest level may equal the lowest value, whose region would then be left out.
        fill_levels = [levels[0] - 1e-9, *levels[1:]]
        axis.add_patch(
            Rectangle(
                (x[0], y[0]), np.ptp(x), np.ptp(y), facecolor="#BBBBBB", linewidth=0, zorder=0
            )
        )
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

    def colours(self, values: Array) -> Array:
        """Return the colours ``[n, 4]`` of values; grey for those that are not finite."""
        norm = BoundaryNorm(self._levels, self._map.N)
        colours = np.array(self._map(norm(np.maximum(values, self._lowest))), dtype=np.float64)
        colours[~np.isfinite(values)] = (0.73, 0.73, 0.73, 1.0)
        return colours

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


def _new_panels(quantities: int, planes: int, title: str | None) -> tuple[Figure, Array]:
    """Return a figure and its panels ``[quantities, planes]``."""
    if planes > 1:
        figure = new_figure(TEXT_WIDTH, 0.35 + 1.95 * quantities, title)
        return figure, figure.subplots(quantities, planes, sharex=True, sharey="col", squeeze=False)
    figure = new_figure(COLUMN_WIDTH if quantities == 1 else TEXT_WIDTH, 2.9, title)
    return figure, figure.subplots(1, quantities, sharex=True, sharey=True, squeeze=False).T


def _limits(lattice: tuple[Array, Array], marks: pd.DataFrame) -> Array:
    """Return the x and y limits ``[2, 2]`` that hold all but projections far from the lattice."""
    is_projected = marks["kind"].isin(PROJECTED).to_numpy()
    points = marks[["x", "y"]].to_numpy()
    projected, fixed = points[is_projected], points[~is_projected]
    low = np.minimum([places[0] for places in lattice], fixed.min(axis=0))
    high = np.maximum([places[-1] for places in lattice], fixed.max(axis=0))
    margin, reach = 0.04 * (high - low), _REACH * (high - low)
    near = projected[((projected >= low - reach) & (projected <= high + reach)).all(axis=1)]
    return np.stack(
        [np.vstack([low, near - margin]).min(axis=0), np.vstack([high, near + margin]).max(axis=0)],
        axis=1,
    )


def _out_of_sight(marks: pd.DataFrame, x: Array, y: Array) -> str:
    """Return a remark about projections beyond the limits of a panel."""
    projected = marks[marks["kind"].isin(PROJECTED)]
    hidden = projected[~(projected["x"].between(*x) & projected["y"].between(*y))]
    if hidden.empty:
        return ""
    if (hidden["kind"] == "sample").all():
        return f"{len(hidden)} samples out of sight"
    epochs = f"{hidden['epoch'].min():g} to {hidden['epoch'].max():g}"
    return f"{len(hidden)} iterates (epochs {epochs}) out of sight"


def _about_iterates(marks: Sequence[pd.DataFrame]) -> list[str]:
    iterates = pd.concat([mark[mark["kind"] == "iterate"] for mark in marks])
    if iterates.empty:
        return []
    return [f"Dots: iterates by epoch, up to {iterates['distance'].max():.3g} off the plane"]


def _about_samples(marks: Sequence[pd.DataFrame]) -> list[str]:
    samples = pd.concat([mark[mark["kind"] == "sample"] for mark in marks])
    if samples.empty:
        return []
    distances = samples["distance"]
    return [
        f"Dots: {len(samples)} samples in the colours of their own values, {distances.min():.3g} "
        f"to {distances.max():.3g} off the plane; orange: their chains"
    ]


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
    iterates, samples = (plane.points["kind"] == kind for kind in PROJECTED)
    columns = ["t", "x", "y"]
    if iterates.any() or samples.any():
        columns += ["epoch", "distance"]
    require_columns(plane.points, [*columns, *(["label"] if samples.any() else [])], where)
    if plane.samples is not None and len(plane.samples) != samples.sum():
        raise UserError(
            f"{where}: {samples.sum()} samples, but {len(plane.samples)} were measured; both are "
            "of one ensemble: evaluate the plane again"
        )
    points = plane.points[["kind", *columns]].astype(dict.fromkeys(columns, float))
    if not np.isfinite(points[["x", "y"]].to_numpy()).all():
        raise UserError(f"{where}: a coordinate is not a finite number; evaluate the plane again")
    if plane.curve is None:
        optima = points[points["kind"].isin(["endpoint", "bend"])].assign(kind="endpoint")
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
    names = list(plane.names) or [f"w{index + 1}" for index in range(len(optima))]
    names += ["theta"] if len(bends) == 1 else [f"theta{index + 1}" for index in range(len(bends))]
    names += [""] * len(curve)
    marks = pd.concat([optima, bends, curve], ignore_index=True)
    if iterates.any():
        trajectory = points[iterates].sort_values("epoch")
        names += [f"{epoch:g}" for epoch in trajectory["epoch"]]
        marks = pd.concat([marks, trajectory], ignore_index=True)
    if samples.any():
        names += plane.points.loc[samples, "label"].astype(str).tolist()
        marks = pd.concat([marks, points[samples]], ignore_index=True)
    marks.insert(1, "label", names)
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
    _draw_iterates(axis, marks)
    named = marks.loc[marks["kind"].isin(["endpoint", "bend"]), ["kind", "label", "x", "y"]]
    for kind, label, x, y in named.itertuples(index=False):
        is_bend = kind == "bend"
        axis.plot(
            [x], [y], marker="D" if is_bend else "o", markersize=3.6 if is_bend else 4.4,
            markerfacecolor="white", markeredgecolor=BLACK, markeredgewidth=0.8, zorder=5,
        )  # fmt: skip
        below = _label_below(y, corners)
        axis.annotate(
            symbol(label, hat=not plane.names), (x, y), xytext=(0, -4 if below else 4),
            textcoords="offset points", ha="center", va="top" if below else "bottom",
            fontsize=9, zorder=6, path_effects=[withStroke(linewidth=2, foreground="white")],
        )  # fmt: skip


def _draw_iterates(axis: Axes, marks: pd.DataFrame) -> None:
    """Join the iterates in the order of epochs and label a few of them."""
    iterates = marks[marks["kind"] == "iterate"]
    if iterates.empty:
        return
    axis.plot(
        iterates["x"], iterates["y"], color=BLACK, linewidth=0.6, zorder=3,
        path_effects=[withStroke(linewidth=1.4, foreground="white")],
    )  # fmt: skip
    axis.plot(
        iterates["x"], iterates["y"], linestyle="none", marker="o", markersize=2.4, color=BLACK,
        markeredgecolor="white", markeredgewidth=0.3, zorder=4,
    )  # fmt: skip
    left, right = axis.get_xlim()
    bottom, top = axis.get_ylim()
    corner, size = np.array([left, bottom]), np.array([right - left, top - bottom])
    places = (iterates[["x", "y"]].to_numpy() - corner) / size
    texts = marks.loc[marks["label"].ne("") & ~marks.index.isin(iterates.index), ["x", "y"]]
    taken = (texts.to_numpy() - corner) / size
    for index in _labelled_epochs(iterates["epoch"].to_numpy()):
        place = places[index]
        gap = np.linalg.norm(taken - place, axis=1).min()
        if gap < _LABEL_GAP or place.min() < 0 or place.max() > 1:
            continue
        taken = np.vstack([taken, place])
        x, y = iterates["x"].iloc[index], iterates["y"].iloc[index]
        axis.plot(
            [x], [y], marker="o", markersize=3.2, color="white", markeredgecolor=BLACK,
            markeredgewidth=0.6, zorder=5,
        )  # fmt: skip
        below = place[1] > 0.85
        axis.annotate(
            iterates["label"].iloc[index], (x, y), xytext=(0, -3 if below else 3),
            textcoords="offset points", ha="center", va="top" if below else "bottom",
            fontsize=SMALL, zorder=6, path_effects=[withStroke(linewidth=1.6, foreground="white")],
        )  # fmt: skip


def _draw_samples(axis: Axes, marks: pd.DataFrame, colours: Array) -> None:
    """Draw the chains from end to end that samples of the bend induce, and the samples."""
    samples = marks.loc[marks["kind"] == "sample", ["x", "y"]].to_numpy()
    start, end = marks.loc[marks["kind"] == "endpoint", ["x", "y"]].to_numpy()[:2]
    for sample, colour in zip(samples, colours, strict=True):
        chain = np.stack([start, sample, end])
        axis.plot(
            chain[:, 0], chain[:, 1], color=ORANGE, linewidth=0.7, zorder=2.5,
            path_effects=[withStroke(linewidth=1.3, foreground="white")],
        )  # fmt: skip
        axis.plot(
            *sample, marker="o", markersize=3.6, color=tuple(colour), markeredgecolor="white",
            markeredgewidth=0.6, zorder=5.5,
        )  # fmt: skip


def _labelled_epochs(epochs: Array) -> list[int]:
    """Return positions of epochs to label, in the order of importance: ends, then round ones."""
    for step in (1, 2, 5, 10, 20, 50, 100, 200, 500):
        positions = np.flatnonzero(epochs % step == 0).tolist()
        if len(positions) <= _MOST_LABELS:
            break
    return [0, len(epochs) - 1, *positions]


def _corners(marks: pd.DataFrame) -> Array:
    """Return the ends of the straight lines between the endpoints, ``[n, 2]``."""
    corners = marks.loc[marks["kind"] == "endpoint", ["x", "y"]].to_numpy()
    return corners if len(corners) == 2 else np.vstack([corners, corners[:1]])


def _obstacles(marks: pd.DataFrame) -> Array:
    """Return points ``[n, 2]`` that the labels of contours keep away from."""
    steps = np.linspace(0, 1, 20)[:, None]
    corners = _corners(marks)
    points = marks[["x", "y"]].to_numpy()
    fixed = ~marks["kind"].isin(PROJECTED).to_numpy()
    sides = [start + steps * (end - start) for start, end in pairwise(corners)]
    # The marks' own labels stand a tenth of the panel above or below them.
    texts = points[marks["kind"].isin(["endpoint", "bend"])]
    shift = np.where(_label_below(texts[:, 1], corners), -0.12, 0.12) * np.ptp(points[fixed, 1])
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


def symbol(label: str, *, hat: bool = False) -> str:
    """Return a label as the papers set it: a letter with an index, theta as a Greek letter.

    Args:
        label: Such as w1, w70, theta or theta2; others are returned as plain text.
        hat: Whether a w gets a hat, as in Garipov et al. 2018.
    """
    match = re.fullmatch(r"(theta|[A-Za-z])(\d*)", label)
    if match is None:
        return label.replace("$", r"\$")
    name, index = match.groups()
    letter = rf"\{name}" if name == "theta" else name
    letter = r"\hat{w}" if hat and name == "w" else letter
    return f"${letter}_{{{index}}}$" if index else f"${letter}$"
