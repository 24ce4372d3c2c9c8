"""The figures of Garipov et al. 2018 on curves between optima.

Each function takes the tables that the evaluator wrote and returns a figure and exactly the
numbers it shows. ``title``, where given, is a line above the figure such as the network and the
data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator

from mode_connectivity.reporting.figures.axes import set_ticks, split_scale, zoom_range
from mode_connectivity.reporting.figures.connections import (
    PANELS,
    TEST_ERROR,
    TRAIN_LOSS,
    checked_curves,
    draw_along,
    split_above_curves,
)
from mode_connectivity.reporting.figures.frames import finite, require_curve
from mode_connectivity.reporting.figures.planes import Plane, Surface, draw_planes
from mode_connectivity.reporting.style import (
    BLACK,
    BLUE,
    COLOUR_MAP,
    COLUMN_WIDTH,
    GREY,
    PURPLE,
    SMALL,
    TEXT_WIDTH,
    VERMILLION,
    line_style,
    new_figure,
    styled,
)
from mode_connectivity.reporting.temperature import CurveEnsemble
from mode_connectivity.settings import UserError


@styled
def garipov2018_figure1(
    optima: Plane,
    bezier: Plane,
    chain: Plane,
    *,
    train_loss_clip: float = 5.0,
    bands: int = 7,
    colour_map: str = COLOUR_MAP,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 1: the regularised train loss over three planes through two optima.

    Args:
        optima: Through three independently trained networks.
        bezier: Through two of them and the bend of the Bezier curve.
        chain: Through the same two and the bend of the polygonal chain.
        train_loss_clip: Losses above share one colour; 5.0 in the authors' code.
        bands: Number of colours below it; 7 in the authors' code.
        colour_map: Name of a matplotlib colour map. The paper's (reversed jet) is neither ordered
            in lightness nor legible to the colour-blind.
        title: A line above the figure.

    Returns:
        The figure, and its numbers as `draw_planes` describes them.

    Raises:
        UserError: As `draw_planes`.
    """
    return draw_planes(
        _panels(optima, bezier, chain),
        [surface_of_train_loss(train_loss_clip)],
        where="garipov2018_figure1",
        bands=bands,
        colour_map=colour_map,
        title=title,
    )


@styled
def garipov2018_figure7(
    optima: Plane,
    bezier: Plane,
    chain: Plane,
    *,
    train_loss_clip: float = 5.0,
    test_error_clip: float = 40.0,
    bands: int = 7,
    colour_map: str = COLOUR_MAP,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 7: train loss (top) and test error (bottom) over the planes of figure 1.

    Args:
        optima: As for `garipov2018_figure1`.
        bezier: Likewise.
        chain: Likewise.
        train_loss_clip: Likewise.
        test_error_clip: Percent; errors above share one colour; 40 in the authors' code.
        bands: As for `garipov2018_figure1`.
        colour_map: Likewise.
        title: Likewise.

    Returns:
        The figure, and its numbers as `draw_planes` describes them.

    Raises:
        UserError: As `draw_planes`.
    """
    return draw_planes(
        _panels(optima, bezier, chain),
        [surface_of_train_loss(train_loss_clip), surface_of_test_error(test_error_clip)],
        where="garipov2018 planes of train loss and test error",
        bands=bands,
        colour_map=colour_map,
        title=title,
    )


garipov2018_figure8 = garipov2018_figure7
"""Figure 8 is figure 7 for VGG-16 on CIFAR-10."""


@styled
def garipov2018_figure2(
    grids: Mapping[str, pd.DataFrame],
    ensemble: CurveEnsemble,
    *,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 2: errors and losses along curves, and what rescaled logits change.

    The curves differ by a point or two and the segment by ninety, so the axes change their scale
    above the curves: all of the segment stays in sight.

    Args:
        grids: Name of the curve (Segment, Bezier, Polychain) to its grid, with ``t``,
            ``train_error``, ``train_loss`` (regularised), ``test_error``.
        ensemble: Of the polygonal chain, from `curve_ensemble`.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``curve``, ``t``, ``train_error``, ``train_loss``,
        ``test_error`` (percent), and for the chain ``test_nll``, ``test_nll_rescaled``; the
        ensembles are two rows without ``t``.

    Raises:
        UserError: If a grid lacks a column, is not in the order of t, or has no finite value.
    """
    where = "garipov2018_figure2"
    figure = new_figure(TEXT_WIDTH, 4.3, title)
    axes = figure.subplots(2, 2, sharex=True)
    places = {"train_error": axes[0, 0], "train_loss": axes[0, 1], "test_error": axes[1, 0]}
    tables = {
        name: grid[["t"]].assign(curve=name)
        for name, grid in checked_curves(grids, list(PANELS), where).items()
    }
    ensemble_errors = {
        f"Ensemble of {ensemble.members} points": (ensemble.error, VERMILLION, (0, (7, 3))),
        "Ensemble, rescaled logits": (ensemble.error_rescaled, PURPLE, (0, (2.5, 1.5))),
    }
    for column, label in PANELS.items():
        axis = places[column]
        references = ensemble_errors if column == "test_error" else {}
        draw_along(axis, grids, tables, column, f"{where}, panel {column}")
        for name, (value, colour, dashes) in references.items():
            axis.axhline(value, color=colour, linestyle=dashes, linewidth=0.9, label=name)
        legible = [value for value, _, _ in references.values()]
        split_above_curves(axis, tables, column, legible)
        axis.set_ylabel(label)
    rescaling = axes[1, 1]
    _draw_rescaling(rescaling, ensemble.points, where)
    for axis in axes[1]:
        axis.set_xlabel("$t$")
    handles: dict[str, Artist] = {}
    for axis in (axes[0, 0], rescaling, axes[1, 0]):
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=3)

    losses = ["test_nll", "test_nll_rescaled"]
    rescaled = ensemble.points[["t", *losses]].assign(curve="Polychain")
    lines = pd.concat(tables.values(), ignore_index=True)
    # Outer, so that nothing drawn is lost should the ensemble be of another grid.
    lines = lines.merge(rescaled, on=["curve", "t"], how="outer")
    lines["curve"] = pd.Categorical(lines["curve"], [*grids, *({"Polychain"} - grids.keys())])
    lines = lines.sort_values(["curve", "t"]).astype({"curve": str})
    levels = pd.DataFrame(
        [{"curve": name, "test_error": value} for name, (value, _, _) in ensemble_errors.items()]
    )
    numbers = pd.concat([lines, levels], ignore_index=True)
    return figure, numbers[["curve", "t", *PANELS, *losses]]


@dataclass(frozen=True)
class WidthCurve:
    """One curve between two networks of a given width.

    Attributes:
        width_factor: K, the layers' width as a multiple of the widest network's.
        grid: Of the curve, with ``t``, ``train_loss`` and ``length``.
        distance: Between the curve's endpoints, in the units of ``length``.
    """

    width_factor: float
    grid: pd.DataFrame
    distance: float


@styled
def garipov2018_figure3(
    curves: Sequence[WidthCurve], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 3: worst loss on the curve, endpoint loss and length ratio against the width.

    Args:
        curves: One or more a width; several are drawn as points, with a line through their means.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a curve: ``width_factor``, ``worst_train_loss``,
        ``endpoint_train_loss`` (the larger of the two), ``length_ratio``.

    Raises:
        UserError: If there is no curve, a grid lacks a column or has a value that is not finite,
            or a distance is not positive.
    """
    where = "garipov2018_figure3"
    if not curves:
        raise UserError(f"{where}: no curves; one a width is needed; name them in the config")
    numbers = pd.DataFrame([_width_row(curve, where) for curve in curves])
    numbers = numbers.sort_values("width_factor", kind="stable", ignore_index=True)
    figure = new_figure(COLUMN_WIDTH, 3.1, title)
    losses, ratios = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    series = [
        (losses, "worst_train_loss", "Worst on the curve", BLUE, "-", "o"),
        (losses, "endpoint_train_loss", "Worse endpoint", GREY, (0, (4, 1.5)), "s"),
        (ratios, "length_ratio", "Length ratio", BLUE, "-", "o"),
    ]
    for axis, column, label, colour, dashes, marker in series:
        means = numbers.groupby("width_factor")[column].mean()
        axis.plot(means.index, means, color=colour, linestyle=dashes, marker=marker, label=label)
        if len(means) < len(numbers):
            axis.plot(
                numbers["width_factor"], numbers[column], color=colour, linestyle="none",
                marker=marker, markersize=3, markerfacecolor="none", alpha=0.6,
            )  # fmt: skip
        axis.grid(True, axis="y")
        set_ticks(axis)
    losses.set_ylabel(TRAIN_LOSS)
    losses.legend()
    ratios.set_ylabel("Length ratio")
    ratios.set_xlabel("Width factor $K$")
    ratios.xaxis.set_major_locator(FixedLocator(sorted(set(numbers["width_factor"]))))
    return figure, numbers


@styled
def garipov2018_figure4(
    paths: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 4: the error of two-network ensembles along paths from one endpoint.

    The light bands are 95 % intervals of the difference to the single network, paired by test
    example: where a band lies below the single network's line, the second network helps.

    Args:
        paths: Segment, Polychain and Random segment to the table of `two_network_errors`.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``curve``, ``t``, ``test_error``, ``test_error_low``,
        ``test_error_high`` (percent), and beside what is drawn ``two_ends_difference`` with its
        interval; the two reference lines are rows without ``t``.

    Raises:
        UserError: If a table lacks a column, is not in the order of t, or has no finite value.
    """
    where = "garipov2018_figure4"
    columns = ["test_error", "test_error_low", "test_error_high"]
    beside = [f"two_ends_difference{end}" for end in ("", "_low", "_high")]
    tables = checked_curves(paths, [*columns, *beside], where)
    references = _references(tables)
    figure = new_figure(COLUMN_WIDTH, 2.9, title)
    axis = figure.subplots()
    drawn = {name: table[["t", *beside]].assign(curve=name) for name, table in tables.items()}
    for name, table in tables.items():
        for column in columns[1:]:
            drawn[name][column] = finite(table[column], f"{where}, {name}, {column}")[0]
        axis.fill_between(
            table["t"], drawn[name]["test_error_low"], drawn[name]["test_error_high"],
            color=line_style(name).colour, alpha=0.15, linewidth=0,
        )  # fmt: skip
    draw_along(axis, tables, drawn, "test_error", where)
    dashes = {"Single network": (0, (7, 3)), "Two endpoints": (0, (1, 1.5))}
    for name, value in references.items():
        axis.axhline(value, color=BLACK, linestyle=dashes[name], linewidth=0.9, label=name)
    single = references["Single network"]
    useful = [
        value
        for name, table in drawn.items()
        for column in ("test_error_low", "test_error")
        for value in table[column]
        if name == "Polychain" or value <= single
    ]
    low, split = zoom_range([*useful, *references.values()])
    # The interval of a difference may reach below an error of zero.
    low = max(low, 0.0)
    split += 0.35 * (split - low)
    split_scale(axis, low, split, max(table["test_error_high"].max() for table in drawn.values()))
    axis.set_xlabel("$t$")
    axis.set_ylabel("Test error of the ensemble (%)")
    band = Patch(color=GREY, alpha=0.3, linewidth=0, label="95 % interval, paired")
    handles = axis.get_legend_handles_labels()[0]
    figure.legend(handles=[*handles, band], loc="outside lower center", ncols=2)
    levels = pd.DataFrame(
        [{"curve": name, "test_error": value} for name, value in references.items()]
    )
    numbers = pd.concat([*drawn.values(), levels], ignore_index=True)
    return figure, numbers[["curve", "t", *columns, *beside]]


@styled
def garipov2018_trivial_path(
    grid: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw the trivial path of appendix A.6 from one network through the origin to the other.

    All networks of one half predict the same, but for the origin, which predicts one class.

    Args:
        grid: Along the path, with ``t``, ``norm``, ``test_error`` and ``train_loss``; the row
            with norm 0, if there is one, is the origin.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``t``, ``origin`` (true or false), ``test_error`` (percent),
        ``train_loss``.

    Raises:
        UserError: If a column is missing, t is not ascending, or a column has no finite value.
    """
    where = "garipov2018_trivial_path"
    require_curve(grid, ["norm", "test_error", "train_loss"], where)
    numbers = grid[["t"]].assign(origin=grid["norm"] == 0).reset_index(drop=True)
    figure = new_figure(TEXT_WIDTH, 2.3, title)
    errors, losses = figure.subplots(1, 2, sharex=True)
    at_origin = numbers["origin"]
    for axis, column in ((errors, "test_error"), (losses, "train_loss")):
        numbers[column], remark = finite(grid[column], f"{where}, column {column!r}")
        path = numbers[column].mask(at_origin) if column == "test_error" else numbers[column]
        style = line_style("Trivial path")
        axis.plot(numbers["t"], path, color=style.colour, linestyle=style.dashes)
        axis.plot(
            numbers["t"][at_origin], numbers[column][at_origin], color=style.colour,
            linestyle="none", marker="o", markerfacecolor="white",
        )  # fmt: skip
        for t, value in zip(numbers["t"][at_origin], numbers[column][at_origin], strict=True):
            axis.annotate(
                "origin", (t, value), xytext=(0, -4), textcoords="offset points", ha="center",
                va="top", fontsize=SMALL,
            )  # fmt: skip
        axis.set_title(remark)
        axis.set_xlim(0, 1)
        axis.set_xlabel(r"$t$ along $\hat w_1 \to 0 \to \hat w_2$")
        axis.grid(True, axis="y")
    low, split = zoom_range(numbers["test_error"][~at_origin], pad=0.5)
    split_scale(errors, low, split, float(numbers["test_error"].max()))
    losses.set_yscale("log")
    losses.yaxis.set_major_formatter("{x:g}")
    errors.set_ylabel(TEST_ERROR)
    losses.set_ylabel(TRAIN_LOSS)
    return figure, numbers


def surface_of_train_loss(clip: float = 5.0) -> Surface:
    """Return the train loss with the contours of the authors' code."""
    return Surface("train_loss", TRAIN_LOSS, clip, first_step=float(np.exp(-5)))


def surface_of_test_error(clip: float = 40.0) -> Surface:
    """Return the test error, likewise."""
    return Surface("test_error", TEST_ERROR, clip, first_step=float(np.exp(-1)))


def _panels(optima: Plane, bezier: Plane, chain: Plane) -> list[Plane]:
    return [
        replace(optima, curve=None),
        replace(bezier, curve="Bezier"),
        replace(chain, curve="Polychain"),
    ]


def _draw_rescaling(axis: Axes, points: pd.DataFrame, where: str) -> None:
    where = f"{where}, rescaled logits"
    require_curve(points, ["test_nll", "test_nll_rescaled"], where)
    before, after = line_style("Polychain"), replace(line_style("Polychain"), colour=PURPLE)
    after = replace(after, dashes="-", marker="v")
    for column, style, name in (
        ("test_nll", before, "Polychain"),
        ("test_nll_rescaled", after, "Polychain, rescaled logits"),
    ):
        values, remark = finite(points[column], f"{where}, column {column!r}")
        axis.plot(points["t"], values, label=name, **style.keywords(len(points), 6))
        axis.set_title(remark or axis.get_title(), fontsize=SMALL)
    axis.set_ylabel("Test cross-entropy")
    set_ticks(axis)
    axis.set_xlim(0, 1)
    axis.grid(True, axis="y")


def _width_row(curve: WidthCurve, where: str) -> dict[str, float]:
    where = f"{where}, K = {curve.width_factor:g}"
    require_curve(curve.grid, ["train_loss", "length"], where)
    loss = curve.grid["train_loss"].to_numpy(dtype=np.float64)
    length = float(curve.grid["length"].iloc[-1])
    if not (np.isfinite(loss).all() and np.isfinite(length)):
        raise UserError(
            f"{where}: {int((~np.isfinite(loss)).sum())} of {len(loss)} train losses are not "
            "finite, so the curve has no worst one; train the curve again"
        )
    if not curve.distance > 0:
        raise UserError(
            f"{where}: the endpoints are {curve.distance:g} apart; the distance must be positive; "
            "choose two different networks"
        )
    return {
        "width_factor": curve.width_factor,
        "worst_train_loss": float(loss.max()),
        "endpoint_train_loss": float(max(loss[0], loss[-1])),
        "length_ratio": length / curve.distance,
    }


def _references(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Return the error of the first network alone and that of the two endpoints together."""
    references = {"Single network": float(next(iter(tables.values()))["test_error"].iloc[0])}
    for name in ("Polychain", "Segment"):
        if name in tables:
            references["Two endpoints"] = float(tables[name]["test_error"].iloc[-1])
            break
    return references
