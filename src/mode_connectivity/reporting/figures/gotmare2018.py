"""The figures of Gotmare et al. 2018.

Each function takes the tables that the evaluator wrote and returns a figure and exactly the
numbers it shows. ``title``, where given, is a line above the figure such as the network and the
data set. The paper does not say which images its validation set has; here it is the test set.
Its losses are cross-entropies, without the regulariser.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.transforms import offset_copy

from mode_connectivity.reporting.embedding import principal_coordinates, tsne
from mode_connectivity.reporting.figures.axes import set_ticks, split_scale, zoom_range
from mode_connectivity.reporting.figures.frames import finite, require_columns, require_curve
from mode_connectivity.reporting.figures.planes import Plane, Surface, draw_planes, symbol
from mode_connectivity.reporting.style import (
    BLACK,
    BLUE,
    COLOUR_MAP,
    GREY,
    SEGMENT_DASHES,
    SMALL,
    TEXT_WIDTH,
    VERMILLION,
    new_figure,
    ordered_styles,
    pair_style,
    scheme_style,
    styled,
)
from mode_connectivity.settings import UserError

Array = npt.NDArray[np.float64]

REFERENCE_MODE = "G"
MODE_TITLES = {
    "A": "large batch",
    "B": "Adam",
    "C": "linear decay",
    "D": "little weight decay",
    "E": "large initialisation",
    "F": "no augmentation",
}
"""What sets a mode of the paper apart from the reference mode."""

_DRAWN = {
    "train_error": ("train_accuracy", "Train accuracy (%)"),
    "test_error": ("test_accuracy", "Validation accuracy (%)"),
    "train_nll": ("train_nll", "Train cross-entropy"),
    "test_nll": ("test_nll", "Validation cross-entropy"),
}
"""By the columns of grids: what is drawn in their place, and how its axis is labelled."""

# Above it, numbers in the cells of the matrix of distances would not be legible.
_MOST_NUMBERED = 14
# Points of type.
_MARK_SIZE = 6.0


@styled
def along_connections(
    snapshots: Mapping[str, pd.DataFrame], *, column: str, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw a quantity along the curves from the reference mode, as their training went on.

    Figures 1 and 8 to 10. All panels share their axes.

    Args:
        snapshots: Name of the connection, the reference mode's G and the other mode's name, such
            as GA, to ``snapshots.csv``: ``epoch`` (of the curve's training), ``t`` and ``column``.
        column: train_error, test_error (of which the accuracy is drawn), train_nll or test_nll.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``connection``, ``epoch``, ``t`` and the quantity
        (``train_accuracy``, ``test_accuracy`` in percent, ``train_nll`` or ``test_nll``).

    Raises:
        UserError: If there is no connection or one that does not start at G, a column is missing,
            t does not ascend at an epoch, or a line has no finite value.
    """
    quantity = _DRAWN[column][0]
    where = f"gotmare2018, {quantity} along connections"
    if not snapshots:
        raise UserError(f"{where}: no connections; at least one is needed; name them in the config")
    tables = []
    for name, table in snapshots.items():
        if not (name.startswith(REFERENCE_MODE) and name != REFERENCE_MODE):
            raise UserError(
                f"{where}: connection {name!r}; a name is {REFERENCE_MODE}, where t = 0, and the "
                f"other mode's, such as {REFERENCE_MODE}A; rename the connection in the config"
            )
        require_columns(table, ["epoch", "t", column], f"{where}, {name}")
        tables.append(table[["epoch", "t", column]].assign(connection=name))
    numbers = pd.concat(tables, ignore_index=True)
    epochs = sorted(numbers["epoch"].unique())
    styles = dict(zip(epochs, ordered_styles(len(epochs)), strict=True))

    columns = min(3, len(snapshots))
    rows = -(-len(snapshots) // columns)
    figure = new_figure(TEXT_WIDTH, 0.6 + 1.65 * rows, title)
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axis in axes[len(snapshots) :]:
        axis.remove()
    for axis, name in zip(axes, snapshots, strict=False):
        lines = numbers[numbers["connection"] == name]
        remarks = []
        for epoch in epochs:
            line = lines[lines["epoch"] == epoch]
            if line.empty:
                continue
            place = f"{where}, {name}, epoch {epoch:g}"
            require_curve(line, [column], place)
            values, remark = finite(_drawn(line[column], column), place)
            numbers.loc[line.index, quantity] = values
            remarks += [f"epoch {epoch:g}: {remark}"] if remark else []
            # Markers of lines of two epochs must not coincide.
            keywords = styles[epoch].keywords(len(line), 2 + 3 * epochs.index(epoch))
            axis.plot(line["t"], values, linewidth=1.1, **keywords | {"markersize": 2.8})
        mode = name.removeprefix(REFERENCE_MODE)
        heading = symbol(REFERENCE_MODE) + symbol(mode)
        heading += f": {MODE_TITLES[mode]}" if mode in MODE_TITLES else ""
        axis.set_title("\n".join([heading, *remarks]))
        axis.set_xlim(0, 1)
        axis.set_xticks([0, 0.5, 1], [f"0\n{symbol(REFERENCE_MODE)}", "0.5", f"1\n{symbol(mode)}"])
        axis.grid(True, axis="y")
    low, high = zoom_range(numbers[quantity], pad=0.06)
    axes[0].set_ylim(low, _below_all(low, high) if quantity.endswith("accuracy") else high)
    set_ticks(axes[0])
    # Between the names of the modes.
    for axis in axes[-columns:]:
        axis.set_xlabel("$t$", labelpad=-5)
    figure.supylabel(_label(column, ", "), fontsize=8)
    handles = [
        Line2D(
            [], [], color=style.colour, linestyle=style.dashes, marker=style.marker,
            label=f"{epoch:g}",
        )
        for epoch, style in styles.items()
    ]  # fmt: skip
    caption = Line2D([], [], linestyle="none", label="Epochs of the curve's training:")
    figure.legend(handles=[caption, *handles], loc="outside lower center", ncols=len(handles) + 1)
    return figure, numbers[["connection", "epoch", "t", quantity]]


def gotmare2018_figure1(
    snapshots: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 1, validation accuracy along GA to GF; see `along_connections`."""
    return along_connections(snapshots, column="test_error", title=title)


def gotmare2018_figure8(
    snapshots: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 8, validation loss along GA to GF; see `along_connections`."""
    return along_connections(snapshots, column="test_nll", title=title)


def gotmare2018_figure9(
    snapshots: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 9, train accuracy along GA to GF; see `along_connections`."""
    return along_connections(snapshots, column="train_error", title=title)


def gotmare2018_figure10(
    snapshots: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 10, train loss along GA to GF; see `along_connections`."""
    return along_connections(snapshots, column="train_nll", title=title)


@dataclass(frozen=True)
class Connection:
    """A curve between two networks and the straight line between them.

    Attributes:
        start_label: Name of the network at t = 0, such as w30.
        end_label: Name of the network at t = 1.
        curve: The grid of the curve.
        segment: The grid of the segment.
    """

    start_label: str
    end_label: str
    curve: pd.DataFrame
    segment: pd.DataFrame


@styled
def gotmare2018_figure2(
    histories: Mapping[str, pd.DataFrame],
    schedules: Mapping[str, pd.DataFrame],
    connections: Mapping[str, Sequence[Connection]],
    *,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 2: SGDR and SGD, their schedules, and curves and segments between iterates.

    Where a barrier on a segment towers above the curves, its axis changes its scale above them.

    Args:
        histories: SGDR and SGD to the history of the training: ``epoch``, ``test_error``
            (percent, empty where it was not recorded).
        schedules: SGDR and SGD to ``epoch`` and ``learning_rate``, which holds until the next row.
        connections: SGDR and SGD to the connections of its iterates, with ``t`` and ``train_nll``.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``panel`` (a to d), ``scheme``, ``start``, ``end``, ``path``
        (curve or segment), ``t``, ``epoch``, ``test_accuracy`` (percent), ``learning_rate``,
        ``train_nll``; empty where a panel has no such axis.

    Raises:
        UserError: If SGDR or SGD, a column or a connection is missing, a learning rate is not
            positive, t is not ascending, or a line has no finite value.
    """
    where = "gotmare2018_figure2"
    schemes = ("SGDR", "SGD")
    _require_schemes([histories, schedules, connections], where)
    figure = new_figure(TEXT_WIDTH, 5.0, title)
    axes = figure.subplots(2, 2)
    numbers = []
    lines = [
        (axes[0, 0], "a", "test_error", "", histories),
        (axes[0, 1], "b", "learning_rate", "steps-post", schedules),
    ]
    for axis, panel, column, drawstyle, tables in lines:
        remarks = []
        for scheme in schemes:
            place = f"{where}, {scheme}, {column}"
            require_columns(tables[scheme], ["epoch", column], place)
            recorded = tables[scheme][["epoch", column]].dropna(ignore_index=True)
            require_columns(recorded, [column], place)
            if column == "learning_rate" and not (recorded[column] > 0).all():
                raise UserError(
                    f"{place}: {recorded[column].min():g}; the axis is logarithmic and needs "
                    "positive learning rates; set a final learning rate above zero"
                )
            values, remark = finite(_drawn(recorded[column], column), place)
            remarks += [f"{scheme}: {remark}"] if remark else []
            style = scheme_style(scheme)
            axis.plot(
                recorded["epoch"], values, color=style.colour, linestyle=style.dashes,
                linewidth=1.0, drawstyle=drawstyle or "default",
            )  # fmt: skip
            quantity = _DRAWN.get(column, (column,))[0]
            drawn = recorded[["epoch"]].assign(panel=panel, scheme=scheme)
            numbers.append(drawn.assign(**{quantity: values}))
        axis.set_title(_heading(panel, "", remarks), loc="left")
        axis.set_xlim(0, max(tables[scheme]["epoch"].max() for scheme in schemes))
        axis.set_xlabel("Epoch")
        axis.grid(True, axis="y")
    axes[0, 0].set_ylabel(_label("test_error"))
    set_ticks(axes[0, 0])
    axes[0, 1].set_yscale("log")
    axes[0, 1].set_ylabel("Learning rate")
    for axis, panel, scheme in zip(axes[1], "cd", schemes, strict=True):
        drawn, remarks = _draw_connections(
            axis, connections[scheme], "train_nll", f"{where}, {scheme}"
        )
        numbers.append(drawn.assign(panel=panel, scheme=scheme))
        axis.set_title(_heading(panel, f"{scheme} iterates", remarks), loc="left")
        _name_pairs(axis, connections[scheme])
    axes[1, 0].set_ylabel(_label("train_nll"))
    figure.legend(
        handles=[*(_scheme_handle(scheme) for scheme in schemes), *_path_handles()],
        loc="outside lower center", ncols=4,
    )  # fmt: skip
    columns = ["panel", "scheme", "start", "end", "path", "t", "epoch"]
    columns += ["test_accuracy", "learning_rate", "train_nll"]
    return figure, pd.concat(numbers, ignore_index=True)[columns]


@styled
def gotmare2018_figure7(
    connections: Mapping[str, Sequence[Connection]], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 7: accuracies and validation loss on curves and segments between iterates.

    Rows are train accuracy, validation accuracy and validation loss; columns SGD and SGDR.

    Args:
        connections: SGDR and SGD to the connections of its iterates, with ``t``,
            ``train_error``, ``test_error`` and ``test_nll``.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``scheme``, ``start``, ``end``, ``path`` (curve or segment),
        ``t``, ``train_accuracy``, ``test_accuracy`` (percent), ``test_nll``.

    Raises:
        UserError: If SGDR or SGD, a column or a connection is missing, t is not ascending, or a
            line has no finite value.
    """
    where = "gotmare2018_figure7"
    schemes, quantities = ("SGD", "SGDR"), ("train_error", "test_error", "test_nll")
    _require_schemes([connections], where)
    figure = new_figure(TEXT_WIDTH, 6.4, title)
    axes = figure.subplots(3, 2)
    numbers = []
    for column, scheme in enumerate(schemes):
        tables = []
        for row, quantity in enumerate(quantities):
            axis = axes[row, column]
            drawn, remarks = _draw_connections(
                axis, connections[scheme], quantity, f"{where}, {scheme}"
            )
            tables.append(drawn)
            heading = f"{scheme} iterates" if row == 0 else ""
            axis.set_title("\n".join(text for text in (heading, *remarks) if text))
            if column == 0:
                axis.set_ylabel(_label(quantity))
            if row < len(quantities) - 1:
                axis.set_xlabel("")
        together = pd.concat(tables, axis=1)
        numbers.append(together.loc[:, ~together.columns.duplicated()].assign(scheme=scheme))
        _name_pairs(axes[-1, column], connections[scheme])
    figure.align_ylabels(axes)
    figure.legend(handles=_path_handles(), loc="outside lower center", ncols=2)
    columns = ["scheme", "start", "end", "path", "t", *(_DRAWN[name][0] for name in quantities)]
    return figure, pd.concat(numbers, ignore_index=True)[columns]


@styled
def gotmare2018_figure3(
    plane: Plane, *, bands: int = 10, colour_map: str = COLOUR_MAP, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 3: train and validation loss, logarithmic, over a plane with SGDR's iterates.

    The iterates do not lie in the plane: their colour is not their loss.

    Args:
        plane: Through two iterates and the bend of the chain between them, with ``train_nll``
            and ``test_nll``. Without names, its endpoints are named by the iterates that they
            coincide with.
        bands: Number of colours; the paper does not state its own.
        colour_map: Name of a matplotlib colour map.
        title: A line above the figure.

    Returns:
        The figure, and its numbers as `draw_planes` describes them.

    Raises:
        UserError: As `draw_planes`.
    """
    return _draw_plane(plane, ["train_nll", "test_nll"], "figure3", bands, colour_map, title)


@styled
def gotmare2018_figure5(
    plane: Plane, *, bands: int = 10, colour_map: str = COLOUR_MAP, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 5, the train loss over a plane; arguments as of `gotmare2018_figure3`."""
    return _draw_plane(plane, ["train_nll"], "figure5", bands, colour_map, title)


@styled
def gotmare2018_figure6(
    plane: Plane, *, bands: int = 10, colour_map: str = COLOUR_MAP, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 6, the validation loss over a plane; arguments as of `gotmare2018_figure3`."""
    return _draw_plane(plane, ["test_nll"], "figure6", bands, colour_map, title)


@styled
def gotmare2018_figure4(
    points: pd.DataFrame,
    distances: pd.DataFrame,
    *,
    perplexity: float,
    seed: int,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 4: the modes and the bends between them, by t-SNE.

    The paper warns that t-SNE keeps no large distances, so the principal coordinates, which do as
    far as two of them can, and the distances themselves stand beside it. A bend whose label is
    that of two modes, such as GA, is joined to both.

    Args:
        points: ``points.csv`` of a geometry: ``label``, ``kind`` (mode or bend).
        distances: ``distances.csv``: ``label``, then a column a label, in the same order.
        perplexity: Of t-SNE; below the number of points.
        seed: Of t-SNE.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a point: ``label``, ``kind``, ``tsne_1``, ``tsne_2``,
        ``principal_1``, ``principal_2`` (in the units of the distances), their shares of the
        variance ``share_1``, ``share_2``, the same in all rows, and ``distance_{label}``.

    Raises:
        UserError: If a column is missing, the labels of the tables differ, there are fewer than
            three points, the distances are none, or the perplexity is not below their number.
    """
    where = "gotmare2018_figure4"
    require_columns(points, ["label", "kind"], f"{where}, points")
    labels = points["label"].astype(str).tolist()
    require_columns(distances, ["label", *labels], f"{where}, distances")
    if distances["label"].astype(str).tolist() != labels or len(labels) < 3:
        raise UserError(
            f"{where}: {len(labels)} points {', '.join(labels)}, and distances of "
            f"{', '.join(distances['label'].astype(str))}; the same labels in the same order, at "
            "least three, are needed; measure the geometry again"
        )
    matrix = distances[labels].to_numpy(dtype=np.float64)
    principal, shares = principal_coordinates(matrix)
    embedded = tsne(matrix, perplexity, seed)
    numbers = points[["label", "kind"]].reset_index(drop=True)
    for index in range(2):
        numbers[f"tsne_{index + 1}"] = embedded[:, index]
    for index in range(2):
        numbers[f"principal_{index + 1}"] = principal[:, index]
        numbers[f"share_{index + 1}"] = shares[index]
    between = pd.DataFrame(matrix, columns=[f"distance_{label}" for label in labels])

    figure = new_figure(TEXT_WIDTH, 4.6, title)
    panels = figure.subplot_mosaic([["tsne", "matrix"], ["pca", "matrix"]], width_ratios=(2, 3.1))
    _draw_points(panels["tsne"], numbers, embedded)
    panels["tsne"].set_title(f"t-SNE (perplexity {perplexity:g}, seed {seed})")
    panels["tsne"].set_xticks([])
    panels["tsne"].set_yticks([])
    panels["tsne"].set_xlabel("Axes and large distances have no meaning", fontsize=SMALL)
    _draw_points(panels["pca"], numbers, principal[:, :2])
    panels["pca"].set_title("Principal coordinates")
    panels["pca"].set_xlabel(f"First, {100 * shares[0]:.0f} % of the variance")
    panels["pca"].set_ylabel(f"Second, {100 * shares[1]:.0f} %")
    _draw_matrix(panels["matrix"], matrix, labels)
    figure.draw_without_rendering()
    for name, coordinates in (("tsne", embedded), ("pca", principal[:, :2])):
        _name_points(panels[name], coordinates, labels)
    handles = [
        Line2D([], [], linestyle="none", label=label, **_POINT_STYLES[kind])
        for kind, label in (("mode", "Mode"), ("bend", "Bend of the curve between two"))
    ]
    figure.legend(handles=handles, loc="outside lower left", ncols=2)
    return figure, pd.concat([numbers, between], axis=1)


def _drawn(values: "pd.Series[float]", column: str) -> "pd.Series[float]":
    return 100 - values if column.endswith("error") else values


def _label(column: str, separator: str = "\n") -> str:
    label = _DRAWN[column][1]
    return f"{label}{separator}test set" if column.startswith("test") else label


def _heading(panel: str, text: str, remarks: Sequence[str]) -> str:
    return "\n".join([f"({panel}) {text}".strip(), *remarks])


def _require_schemes(mappings: Sequence[Mapping[str, object]], where: str) -> None:
    for mapping in mappings:
        for name in mapping:
            scheme_style(name)
        for name in ("SGDR", "SGD"):
            if not len(mapping.get(name, ())):  # type: ignore[arg-type]
                raise UserError(
                    f"{where}: nothing of {name}; found {', '.join(mapping) or 'nothing'}; SGDR "
                    "and SGD are compared: name both in the config"
                )


def _draw_connections(
    axis: Axes, connections: Sequence[Connection], column: str, where: str
) -> tuple[pd.DataFrame, list[str]]:
    """Draw a column along curves (solid) and segments (dashed); return what was drawn."""
    quantity = _DRAWN[column][0]
    tables, remarks = [], []
    for index, connection in enumerate(connections):
        name = f"{connection.start_label}-{connection.end_label}"
        style = pair_style(index)
        paths = {
            "segment": (connection.segment, replace(style, dashes=SEGMENT_DASHES)),
            "curve": (connection.curve, style),
        }
        for path, (grid, path_style) in paths.items():
            place = f"{where}, {name}, {path}"
            require_curve(grid, [column], place)
            values, remark = finite(_drawn(grid[column], column), place)
            remarks += [f"{name}, {path}: {remark}"] if remark else []
            first_marker = 1 + 3 * index + (path == "segment")
            axis.plot(
                grid["t"], values, linewidth=1.1,
                **path_style.keywords(len(grid), first_marker) | {"markersize": 2.8},
            )  # fmt: skip
            tables.append(
                grid[["t"]].assign(
                    start=connection.start_label, end=connection.end_label, path=path,
                    **{quantity: values},
                )
            )  # fmt: skip
    numbers = pd.concat(tables, ignore_index=True)
    axis.set_xlim(0, 1)
    _show_curves(axis, numbers[quantity], numbers.loc[numbers["path"] == "curve", quantity])
    axis.set_xlabel("$t$")
    axis.grid(True, axis="y")
    return numbers, remarks


def _show_curves(axis: Axes, every: "pd.Series[float]", curves: "pd.Series[float]") -> None:
    """Give most of the axis to the curves, and a coarse scale to what is far worse than they."""
    if str(every.name).endswith("accuracy"):
        low, high = zoom_range(every[every >= curves.min()])
        split_scale(axis, _below_all(low, high), low, float(every.min()))
    else:
        low, high = zoom_range(every[every <= curves.max()])
        split_scale(axis, low, high, float(every.max()))


def _below_all(low: float, high: float) -> float:
    """Return an upper limit of accuracies: with little room above 100 %, for a line there."""
    return min(high, 100 + 0.03 * (high - low))


def _name_pairs(axis: Axes, connections: Sequence[Connection]) -> None:
    """Put a legend of the pairs below a panel's label."""
    handles = []
    for index, connection in enumerate(connections):
        style = pair_style(index)
        label = f"{symbol(connection.start_label)}, {symbol(connection.end_label)}"
        handles.append(Line2D([], [], color=style.colour, marker=style.marker, label=label))
    figure = axis.get_figure(root=True)
    axis.legend(
        handles=handles, loc="upper center", ncols=3, bbox_to_anchor=(0.5, 0), borderaxespad=0,
        bbox_transform=offset_copy(axis.transAxes, figure, y=-0.36), columnspacing=1.2,
    )  # fmt: skip


def _scheme_handle(scheme: str) -> Line2D:
    style = scheme_style(scheme)
    return Line2D([], [], color=style.colour, linestyle=style.dashes, label=scheme)


def _path_handles() -> list[Line2D]:
    return [
        Line2D([], [], color=BLACK, label="Curve"),
        Line2D([], [], color=BLACK, linestyle=SEGMENT_DASHES, label="Segment"),
    ]


def _draw_plane(
    plane: Plane,
    columns: Sequence[str],
    figure: str,
    bands: int,
    colour_map: str,
    title: str | None,
) -> tuple[Figure, pd.DataFrame]:
    named = replace(plane, curve="Polychain", names=plane.names or _names(plane.points))
    surfaces = [Surface(column, f"{_label(column)}, log scale") for column in columns]
    where = f"gotmare2018_{figure}"
    return draw_planes(
        [named], surfaces, where=where, bands=bands, colour_map=colour_map, title=title
    )


def _names(points: pd.DataFrame) -> tuple[str, ...]:
    """Name the endpoints of a plane by the iterates at their places, if all have one."""
    if not {"kind", "x", "y", "epoch", "distance"} <= set(points.columns):
        return ()
    iterates = points[(points["kind"] == "iterate")]
    ends = points.loc[points["kind"] == "endpoint", ["x", "y"]].to_numpy(dtype=np.float64)
    tolerance = 1e-3 * float(np.ptp(ends, axis=0).max()) if len(ends) else 0.0
    names = []
    for x, y in ends:
        gap = np.hypot(np.hypot(iterates["x"] - x, iterates["y"] - y), iterates["distance"])
        if not (gap <= tolerance).any():
            return ()
        names.append(f"w{iterates['epoch'].iloc[int(gap.argmin())]:g}")
    return tuple(names)


_POINT_STYLES: dict[str, dict[str, Any]] = {
    "mode": {"color": BLUE, "marker": "o", "markersize": 5.0},
    "bend": {"color": VERMILLION, "marker": "D", "markersize": 3.6},
}


def _draw_points(axis: Axes, points: pd.DataFrame, places: Array) -> None:
    """Draw modes and bends, each bend joined to its two modes."""
    for kind, style in _POINT_STYLES.items():
        of_kind = places[(points["kind"] == kind).to_numpy()]
        axis.plot(of_kind[:, 0], of_kind[:, 1], linestyle="none", zorder=3, **style)
    by_label = dict(zip(points["label"].astype(str), places, strict=True))
    modes = points.loc[points["kind"] == "mode", "label"].astype(str)
    for start, end in product(modes, modes):
        if start != end and start + end in by_label:
            path = np.stack([by_label[name] for name in (start, start + end, end)])
            axis.plot(path[:, 0], path[:, 1], color=GREY, linewidth=0.6, zorder=1)
    # As data, since an equal aspect would be had at the margins' expense.
    room = 0.12 * np.ptp(places, axis=0)
    axis.update_datalim([places.min(axis=0) - room, places.max(axis=0) + room])
    axis.margins(0)
    axis.set_aspect("equal", adjustable="datalim")


def _name_points(axis: Axes, places: Array, labels: Sequence[str]) -> None:
    """Write labels beside points, each where it covers the least of the others and stays inside.

    Points that lie on each other share one label.
    """
    transform = axis.transData + axis.get_figure(root=True).dpi_scale_trans.inverted()  # type: ignore[union-attr]
    centres = 72 * transform.transform(places)
    taken = np.hstack([centres - 3, centres + 3])
    corners = axis.transAxes + axis.get_figure(root=True).dpi_scale_trans.inverted()  # type: ignore[union-attr]
    inside = 72 * corners.transform([[0, 0], [1, 1]]).reshape(1, 4)
    angles = np.arange(8) * np.pi / 4
    directions = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for members in _coincident(centres):
        text = fill(", ".join(labels[index] for index in members), 14)
        lines = text.split("\n")
        half = 0.5 * SMALL * np.array([0.65 * max(map(len, lines)), 1.2 * len(lines)])
        centre = centres[members].mean(axis=0)
        gap = 5 + np.ptp(centres[members], axis=0) / 2
        offsets = np.vstack([directions * (half + gap * radius) for radius in (1, 2, 4)])
        boxes = np.hstack([centre + offsets - half, centre + offsets + half])
        outside = 4 * half.prod() - _overlaps(boxes, inside)[:, 0]
        covered = _overlaps(boxes, taken).sum(axis=1) + 4 * outside
        # Rounded, so that of equally good places the nearest is taken.
        best = int(covered.round(6).argmin())
        taken = np.vstack([taken, boxes[best]])
        axis.annotate(
            text, places[members].mean(axis=0), xytext=tuple(offsets[best]),
            textcoords="offset points", ha="center", va="center", fontsize=SMALL, zorder=4,
            path_effects=[withStroke(linewidth=1.4, foreground="white")],
        )  # fmt: skip


def _coincident(centres: Array) -> list[list[int]]:
    """Group points ``[n, 2]`` whose marks lie on each other, in points of type."""
    groups: list[list[int]] = []
    for index, centre in enumerate(centres):
        for group in groups:
            if np.linalg.norm(centres[group] - centre, axis=1).max() < _MARK_SIZE:
                group.append(index)
                break
        else:
            groups.append([index])
    return groups


def _overlaps(boxes: Array, others: Array) -> Array:
    """Return the areas ``[n, m]`` that boxes ``[n, 4]`` share with others ``[m, 4]``."""
    upper = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    lower = np.maximum(boxes[:, None, :2], others[None, :, :2])
    areas: Array = np.clip(upper - lower, 0, None).prod(axis=2)
    return areas


def _draw_matrix(axis: Axes, matrix: Array, labels: Sequence[str]) -> None:
    count = len(labels)
    image = axis.imshow(matrix, cmap=COLOUR_MAP, vmin=0)
    axis.set_xticks(range(count), labels, rotation=90 if max(map(len, labels)) > 3 else 0)
    axis.set_yticks(range(count), labels)
    axis.tick_params(length=0)
    axis.set_title("Distance in weight space ($L_2$)")
    if count > _MOST_NUMBERED:
        axis.figure.colorbar(image, ax=axis, shrink=0.7)
        return
    middle = 0.5 * matrix.max()
    decimals = 0 if matrix.max() >= 100 else 1
    for row, column in product(range(count), range(count)):
        value = matrix[row, column]
        axis.text(
            column, row, f"{value:.{decimals}f}" if row != column else "0", ha="center",
            va="center", fontsize=SMALL, color=BLACK if value > middle else "white",
        )  # fmt: skip
