"""Figures 3 to 6, A.2 and A.4(a) of Benton et al. 2021: simplexes, complexes and their volumes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, MultipleLocator, NullLocator
from numpy.typing import NDArray

from mode_connectivity.reporting.embedding import principal_coordinates
from mode_connectivity.reporting.figures.axes import set_ticks
from mode_connectivity.reporting.figures.frames import require_columns
from mode_connectivity.reporting.figures.planes import Plane, Surface, draw_faces, vertex_symbol
from mode_connectivity.reporting.sampling import SampledTriangle
from mode_connectivity.reporting.style import (
    BLACK,
    BLUE,
    COLUMN_WIDTH,
    CONNECTOR_COLOUR,
    GREY,
    MODE_COLOUR,
    ORANGE,
    SMALL,
    TEXT_WIDTH,
    VERMILLION,
    new_figure,
    ordered_styles,
    styled,
)
from mode_connectivity.settings import UserError

Array = NDArray[Any]

ANGLES = ((22.0, -75.0), (22.0, 15.0))
"""Elevation and azimuth, degrees, from which each complex is seen."""
_FACE = "#8C8C8C"
# Connectors, at most, that have names beside modes; more are shown alone, too.
_NAMED = 3


@dataclass(frozen=True)
class TrainedComplex:
    """A complex as its training leaves it.

    Attributes:
        distances: ``distances.csv``: ``label``, then a column a vertex.
        simplexes: the labels of the vertices of each simplex.
        title: above its panels.
    """

    distances: pd.DataFrame
    simplexes: Sequence[Sequence[str]]
    title: str = ""


@styled
def benton2021_figure3(
    planes: Sequence[Plane], *, train_nll_clip: float | None = None, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 3: the train loss on planes through the vertices of a complex.

    Args:
        planes: with ``train_nll``, of the whole training set.
        train_nll_clip: nats; values above share one colour.
        title: a line above the figure.

    Returns:
        The figure, and its numbers as `draw_faces` describes them.

    Raises:
        UserError: as `draw_faces`.
    """
    return _draw_train_loss("benton2021_figure3", planes, train_nll_clip, title)


@styled
def benton2021_figure6(
    planes: Sequence[Plane], *, train_nll_clip: float | None = None, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 6: the train loss on the faces of a simplex that was grown from one network.

    Args:
        planes: as of `benton2021_figure3`.
        train_nll_clip: nats; values above share one colour.
        title: a line above the figure.

    Returns:
        The figure, and its numbers as `draw_faces` describes them.

    Raises:
        UserError: as `draw_faces`.
    """
    return _draw_train_loss("benton2021_figure6", planes, train_nll_clip, title)


def _draw_train_loss(
    where: str, planes: Sequence[Plane], clip: float | None, title: str | None
) -> tuple[Figure, pd.DataFrame]:
    label = "Train cross-entropy, log scale"
    surface = Surface("train_nll", label, clip=math.inf if clip is None else clip)
    return draw_faces(planes, surface, where=where, bands=8, title=title)


@styled
def benton2021_figure4(
    complexes: Sequence[TrainedComplex], *, angles: Sequence[tuple[float, float]] = ANGLES
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 4: complexes in the three principal axes of their vertices.

    The paper does not say which projection it shows. Connectors lie close to each other where modes
    lie far apart, so more than three of them are also shown alone, in principal axes of their own.
    The axes of a panel have one scale.

    Args:
        complexes: a row of panels each.
        angles: elevation and azimuth in degrees, a panel each.

    Returns:
        The figure and its numbers, a row a vertex: ``complex`` (a, b, ...), ``kind`` (mode or
        connector), ``label``, ``simplexes`` (numbers of those that it belongs to), ``x``, ``y``,
        ``z``, ``variance_share`` (of the three axes together), and of connectors ``alone_x``,
        ``alone_y``, ``alone_z``, ``alone_variance_share``.

    Raises:
        UserError: distances are none, or a simplex has a vertex without any.
    """
    where = "benton2021_figure4"
    figure = new_figure(TEXT_WIDTH, 0.3 + 2.45 * len(complexes))
    rows = figure.subfigures(len(complexes), 1, squeeze=False)[:, 0]
    frames = []
    for number, (row, of_row) in enumerate(zip(rows, complexes, strict=True)):
        letter = chr(ord("a") + number)
        frame = _projected(of_row, letter, f"{where}, ({letter})")
        frames.append(frame)
        alone = frame[frame["kind"] == "connector"].drop(columns=["x", "y", "z"])
        alone = alone.rename(columns={f"alone_{name}": name for name in "xyz"})
        panels = [(frame, angle) for angle in angles]
        if alone["x"].notna().any():
            panels.append((alone, angles[0]))
        axes = row.subplots(1, len(panels), subplot_kw={"projection": "3d"}, squeeze=False)[0]
        for axis, (part, angle) in zip(axes, panels, strict=True):
            labels = set(part["label"])
            _draw_complex(axis, part, [[k for k in one if k in labels] for one in of_row.simplexes])
            axis.view_init(elev=angle[0], azim=angle[1])
        remarks = [f"{100 * frame['variance_share'].iloc[0]:.0f} % of the variance"] * len(angles)
        if len(panels) > len(angles):
            share = 100 * alone["alone_variance_share"].iloc[0]
            remarks.append(f"Connectors alone: {share:.0f} % of theirs")
        for axis, remark in zip(axes, remarks, strict=True):
            axis.text2D(0.5, 0.97, remark, transform=axis.transAxes, ha="center", fontsize=SMALL)
        modes = int((frame["kind"] == "mode").sum())
        heading = f"{of_row.title}: " if of_row.title else ""
        row.suptitle(
            f"({letter}) {heading}{modes} modes, {len(frame) - modes} connectors, "
            f"{len(of_row.simplexes)} simplexes",
            fontsize=8,
        )
    rows[-1].legend(
        handles=[
            Line2D([], [], color=MODE_COLOUR, marker="o", linestyle="none", label="Mode"),
            Line2D([], [], color=CONNECTOR_COLOUR, marker="D", linestyle="none", label="Connector"),
        ],
        loc="outside lower center",
        ncols=2,
    )
    return figure, pd.concat(frames, ignore_index=True)


def _projected(trained: TrainedComplex, letter: str, where: str) -> pd.DataFrame:
    """Return the vertices of a complex in their first three principal axes."""
    require_columns(trained.distances, ["label"], where)
    labels = trained.distances["label"].astype(str).tolist()
    require_columns(trained.distances, labels, where)
    for simplex in trained.simplexes:
        for label in simplex:
            if label not in labels:
                raise UserError(
                    f"{where}: a simplex has the vertex {label}, but the distances are of "
                    f"{', '.join(labels)}; train the complex again"
                )
    distances = trained.distances[labels].to_numpy()
    places, share = _principal_axes(distances)
    frame = pd.DataFrame(
        {
            "complex": letter,
            "kind": ["mode" if label.startswith("w") else "connector" for label in labels],
            "label": labels,
            "simplexes": [
                " ".join(
                    str(number)
                    for number, simplex in enumerate(trained.simplexes, start=1)
                    if label in simplex
                )
                for label in labels
            ],
            **dict(zip("xyz", places.T, strict=True)),
            "variance_share": share,
        }
    )
    connectors = np.flatnonzero(frame["kind"] == "connector")
    alone = [*(f"alone_{name}" for name in "xyz"), "alone_variance_share"]
    frame[alone] = np.nan
    if len(connectors) > _NAMED:
        places, share = _principal_axes(distances[np.ix_(connectors, connectors)])
        frame.loc[connectors, alone] = np.column_stack([places, np.full(len(places), share)])
    return frame


def _principal_axes(distances: Array) -> tuple[Array, float]:
    """Return points in their first three principal axes, and the share of the variance there."""
    coordinates, shares = principal_coordinates(distances)
    places = np.zeros((len(coordinates), 3))
    places[:, : min(3, coordinates.shape[1])] = coordinates[:, :3]
    return places, float(shares[:3].sum())


def _draw_complex(axis: Any, frame: pd.DataFrame, simplexes: Sequence[Sequence[str]]) -> None:
    """Draw the vertices, edges and translucent faces of a complex."""
    # Registers the projection; matplotlib imports it only when asked.
    from mpl_toolkits.mplot3d.art3d import Line3DCollection, Poly3DCollection

    places = frame[["x", "y", "z"]].to_numpy()
    corners = dict(zip(frame["label"], places, strict=True))
    for size, draw in ((3, Poly3DCollection), (2, Line3DCollection)):
        parts = sorted({part for one in simplexes for part in combinations(sorted(one), size)})
        polygons = [[corners[label] for label in part] for part in parts]
        if not polygons:
            continue
        if size == 3:
            alpha = max(0.15, 0.5 / len(simplexes) ** 0.75)
            axis.add_collection3d(draw(polygons, facecolor=_FACE, alpha=alpha, edgecolor="none"))
        else:
            axis.add_collection3d(draw(polygons, colors=GREY, linewidths=0.45, alpha=0.8))
    crowded = frame["kind"].nunique() > 1 and (frame["kind"] == "connector").sum() > _NAMED
    # Its own order hides vertices behind faces that lie behind them.
    axis.computed_zorder = False
    for kind, colour, marker, area in (
        ("connector", CONNECTOR_COLOUR, "D", 9 if crowded else 18),
        ("mode", MODE_COLOUR, "o", 26),
    ):
        part = frame[frame["kind"] == kind]
        axis.scatter(
            part["x"], part["y"], part["z"], s=area, c=colour, marker=marker, depthshade=False,
            edgecolors="white", linewidths=0.4, zorder=5,
        )  # fmt: skip
        if kind == "connector" and crowded:
            continue
        for label, x, y, z in part[["label", "x", "y", "z"]].itertuples(index=False):
            axis.text(
                x, y, z, f" {vertex_symbol(label)}", fontsize=SMALL, color=BLACK, zorder=10,
                path_effects=[withStroke(linewidth=1.6, foreground="white")],
            )  # fmt: skip
    low, high = places.min(axis=0), places.max(axis=0)
    room = 0.05 * (high - low).max()
    low, high = low - room, high + room
    axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    axis.set_box_aspect(high - low, zoom=1.15)
    for index, name in enumerate("xyz", start=1):
        of_axis = getattr(axis, f"{name}axis")
        of_axis.set_major_locator(MaxNLocator(4))
        of_axis.set_ticklabels([])
        _plain_pane(of_axis)
        getattr(axis, f"set_{name}label")(f"PC {index}", labelpad=-14, fontsize=SMALL)


def _plain_pane(of_axis: Any) -> None:
    """Leave a wall of a three-dimensional panel white, with a light grid."""
    of_axis.set_pane_color((1.0, 1.0, 1.0, 0.0))
    # There is no public way to set the colour of its grid.
    of_axis._axinfo["grid"].update(color="#E5E5E5", linewidth=0.4)


@styled
def benton2021_figure5(
    volumes: pd.DataFrame,
    samples: Mapping[int, pd.DataFrame],
    *,
    accuracy: float = 98.0,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 5: the volume of a complex against the number of its connectors.

    The volume is that itself, not its square, and without the 1e-4 that the loss adds to it. Its
    unit is a length to the power of the number of connectors.

    Args:
        volumes: ``volumes.csv`` of the complex: ``connectors``, ``simplexes``, ``volume``,
            ``log10_volume``.
        samples: by number of connectors, the ``grid.csv`` of points drawn from the complex:
            ``train_error`` in percent.
        accuracy: percent; whether all points are above it is told.
        title: a line above the figure.

    Returns:
        The figure and its numbers, a row a number of connectors: ``connectors``, ``simplexes``,
        ``volume``, ``log10_volume``, ``points``, ``train_accuracy_min``, ``train_accuracy_mean``,
        ``train_accuracy_max`` (percent), ``all_above``.

    Raises:
        UserError: a column or a number of connectors is missing, or no volume can be drawn.
    """
    where = "benton2021_figure5"
    numbers = _volumes(volumes, f"{where}, volumes")
    numbers = numbers[numbers["connectors"].isin(samples)].reset_index(drop=True)
    missing = sorted(set(samples) - set(numbers["connectors"]))
    if missing or not samples:
        raise UserError(
            f"{where}: no volume with {missing[0] if missing else 'any'} connectors; the volumes "
            f"are of {len(volumes)}: train the complex again"
        )
    measured = []
    for count in numbers["connectors"]:
        require_columns(samples[count], ["train_error"], f"{where}, {count} connectors")
        of_points = 100.0 - samples[count]["train_error"]
        measured.append(
            {
                "points": len(of_points),
                "train_accuracy_min": of_points.min(),
                "train_accuracy_mean": of_points.mean(),
                "train_accuracy_max": of_points.max(),
                # A training that diverged has no accuracy, which is above nothing.
                "all_above": bool((of_points > accuracy).all()),
            }
        )
    numbers = pd.concat([numbers, pd.DataFrame(measured)], axis=1)
    figure = new_figure(COLUMN_WIDTH, 3.5, title)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.6, 1])
    x = numbers["connectors"].to_numpy()
    upper.plot(x, _drawable(numbers, where), color=BLUE, marker="o")
    _log_scale(upper, numbers["volume"])
    upper.set_ylabel("Volume of the complex")
    upper.grid(True, axis="y")
    least, mean, most = (
        numbers[f"train_accuracy_{name}"].to_numpy() for name in ("min", "mean", "max")
    )
    lower.errorbar(
        x, mean, yerr=[mean - least, most - mean], color=BLUE, marker="o", linewidth=1.0,
        capsize=2, label=f"Mean and range of {numbers['points'].max()} points",
    )  # fmt: skip
    lower.axhline(
        accuracy, color=VERMILLION, linestyle=(0, (4, 1.5)), linewidth=1.0, label=f"{accuracy:g} %"
    )
    lower.set_ylim(top=min(100.0, most.max()) + 0.15 * (100.0 - min(least.min(), accuracy)))
    set_ticks(lower)
    lower.grid(True, axis="y")
    lower.set_ylabel("Train accuracy (%)")
    lower.set_xlabel("Connectors")
    lower.xaxis.set_major_locator(MultipleLocator(1 if x.max() <= 12 else 2))
    figure.legend(handles=lower.get_legend_handles_labels()[0], loc="outside lower center", ncols=2)
    below = numbers.loc[~numbers["all_above"], "connectors"].astype(int)
    told = (
        f"All points above {accuracy:g} %"
        if below.empty
        else f"Some points not above {accuracy:g} % at k = {', '.join(map(str, below))}"
    )
    lower.set_title(told)
    return figure, numbers


def _volumes(frame: pd.DataFrame, where: str) -> pd.DataFrame:
    columns = ["connectors", "simplexes", "volume", "log10_volume"]
    require_columns(frame, columns, where)
    return frame[columns].sort_values("connectors").reset_index(drop=True)


def _drawable(numbers: pd.DataFrame, where: str) -> Array:
    """Return volumes for a logarithmic axis; nothing in the place of a degenerate complex's."""
    volumes = numbers["volume"].to_numpy(dtype=np.float64)
    if not (volumes > 0).any():
        raise UserError(f"{where}: no complex has a volume; its vertices coincide; train it again")
    return np.where(volumes > 0, volumes, np.nan)


def _log_scale(axis: Axes, volumes: pd.Series) -> None:
    """Give an axis a logarithmic scale whose numbers are plain where it spans few decades."""
    axis.set_yscale("log")
    drawn = volumes[volumes > 0]
    if drawn.max() < 100 * drawn.min():
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())


@styled
def benton2021_figure_a4a(
    volumes: Mapping[float, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure A.4(a): volume against the number of connectors for networks of several widths.

    Args:
        volumes: by width factor, ``volumes.csv`` of a complex as in `benton2021_figure5`.
        title: a line above the figure.

    Returns:
        The figure and its numbers, a row a width and a number of connectors: ``width``,
        ``connectors``, ``simplexes``, ``volume``, ``log10_volume``.

    Raises:
        UserError: there is no width, a column is missing, or no volume can be drawn.
    """
    where = "benton2021_figure_a4a"
    if not volumes:
        raise UserError(f"{where}: no complex; at least one is needed; name it in the config")
    frames = []
    figure = new_figure(COLUMN_WIDTH, 2.7, title)
    axis: Axes = figure.subplots()
    widths = sorted(volumes)
    for width, style in zip(widths, ordered_styles(len(widths)), strict=True):
        of_width = _volumes(volumes[width], f"{where}, width {width:g}")
        of_width.insert(0, "width", float(width))
        frames.append(of_width)
        axis.plot(
            of_width["connectors"], _drawable(of_width, where), **style.keywords(len(of_width)),
            label=f"{width:g}",
        )  # fmt: skip
    _log_scale(axis, pd.concat(frames)["volume"])
    axis.set_xlabel("Connectors")
    axis.set_ylabel("Volume of the complex")
    most = max(frame["connectors"].max() for frame in frames)
    axis.xaxis.set_major_locator(MultipleLocator(1 if most <= 12 else 2))
    axis.grid(True, axis="y")
    handles, labels = axis.get_legend_handles_labels()
    axis.legend(handles[::-1], labels[::-1], title="Width factor", title_fontsize=SMALL)
    return figure, pd.concat(frames, ignore_index=True)


@styled
def benton2021_figure_a2(
    unit: SampledTriangle, scaled: SampledTriangle, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure A.2: points drawn from a triangle of unit vectors, and from a stretched one.

    The paper doubts that they are uniform on the latter. The third panel tells: of uniform points,
    a share p lies in the part of the area p that a line parallel to an edge cuts off.

    Args:
        unit: the triangle of the unit vectors.
        scaled: one with a longer last vertex.
        title: a line above the figure.

    Returns:
        The figure and its numbers, a row a point: ``triangle`` (unit or scaled), ``x``, ``y``,
        ``z``, ``coefficient_k`` of each vertex, ``area_share`` (what `shares_above` is).
    """
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    figure = new_figure(TEXT_WIDTH, 2.5, title)
    shapes = (("unit", unit, BLUE, "-"), ("scaled", scaled, ORANGE, (0, (4, 1.5))))
    frames = []
    shares: Axes = figure.add_subplot(1, 3, 3)
    for place, (name, triangle, colour, dashes) in enumerate(shapes, start=1):
        axis: Any = figure.add_subplot(1, 3, place, projection="3d")
        points = triangle.points
        frames.append(
            pd.DataFrame(
                {
                    "triangle": name,
                    **dict(zip("xyz", points.T, strict=True)),
                    **{f"coefficient_{k}": triangle.coefficients[:, k] for k in range(3)},
                    "area_share": triangle.shares_above,
                }
            )
        )
        axis.add_collection3d(
            Poly3DCollection([triangle.vertices], facecolor=_FACE, alpha=0.15, edgecolor=GREY)
        )
        axis.scatter(*points.T, s=5, c=colour, depthshade=False, edgecolors="none")
        axis.view_init(elev=25, azim=40)
        length = triangle.vertices[2, 2]
        axis.set(xlim=(0, 1), ylim=(0, 1), zlim=(0, length))
        # The ends of the two lower axes meet, where their labels would, too.
        axis.set(xticks=(0.0, 0.5), yticks=(0.0, 0.5), zticks=(0.0, length / 2, length))
        for of_axis in (axis.xaxis, axis.yaxis, axis.zaxis):
            of_axis.set_tick_params(pad=-3)
            _plain_pane(of_axis)
        axis.set_title(f"{len(points)} points, last vertex of length {length:g}")
        ordered = np.sort(triangle.shares_above)
        steps = np.arange(1, len(ordered) + 1) / len(ordered)
        shares.step(
            ordered, steps, where="post", color=colour, linestyle=dashes, label=f"Length {length:g}"
        )
    shares.plot([0, 1], [0, 1], color=BLACK, linewidth=0.7, label="Uniform")
    shares.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    shares.set_xlabel("Share of the area")
    shares.set_ylabel("Share of the points")
    shares.yaxis.set_minor_locator(NullLocator())
    shares.legend(loc="lower right")
    return figure, pd.concat(frames, ignore_index=True)
