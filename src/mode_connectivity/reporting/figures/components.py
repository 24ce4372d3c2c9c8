"""Figures 8, 9 and A.3 to A.8 of Benton et al. 2021: ensembles of components and of samples.

Each function takes a table that ``reporting.component_tables`` makes (A.5: a plane) and returns a
figure and exactly the numbers it shows. ``title``, where given, is a line above the figure such as
the network and the data set.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mode_connectivity.reporting.figures.axes import set_ticks, zoom_range
from mode_connectivity.reporting.figures.frames import finite, require_columns
from mode_connectivity.reporting.figures.planes import Plane, Surface, draw_planes
from mode_connectivity.reporting.style import (
    BLUE,
    COLOUR_MAP,
    COLUMN_WIDTH,
    GREY,
    TEXT_WIDTH,
    LineStyle,
    method_styles,
    new_figure,
    styled,
)
from mode_connectivity.settings import UserError

TEST_ERROR = "Test error (%)"
_PANEL = ["dataset", "network"]
_PUBLISHED = ["published_dataset", "published_network"]
_APART = 0.07
"""Of a component, between the points of two methods."""


@styled
def benton2021_figure8(
    table: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figures 8, 9 and A.8: test error against the number of components.

    Published values, where there are any, have a panel of their own, since they may be of another
    network; hollow marks are uncertain. Intervals of two runs may reach beyond their panel.

    Args:
        table: From ``component_table``.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a data set, network, method and number of components.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    return _components(table, "components", "Components", "benton2021_figure8", title)


@styled
def benton2021_figure_a7(
    table: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure A.7: test error against the time of all trainings.

    Args:
        table: From ``component_table``.
        title: A line above the figure.

    Returns:
        The figure and its numbers, as for `benton2021_figure8`.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    return _components(table, "seconds", "Training (s)", "benton2021_figure_a7", title)


@styled
def benton2021_figure_a3(
    table: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure A.3: test error and volume against the weight of the volume term.

    Args:
        table: From ``regularisation_table``.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a lambda*.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    where = "benton2021_figure_a3"
    shown = ["test_error", "member_test_error", "log10_volume"]
    ends = ["test_error_low", "test_error_high", "log10_volume_min", "log10_volume_max"]
    require_columns(table, ["regularisation", "members", "runs", "interval", *shown, *ends], where)
    numbers = table.copy()
    for name in shown:
        numbers[name], _ = finite(numbers[name], f"{where}, column {name!r}")
    figure = new_figure(TEXT_WIDTH, 2.5, title)
    errors, volumes = figure.subplots(1, 2)
    place = np.arange(len(numbers))
    members = LineStyle(GREY, (0, (4, 1.5)), "s")
    ensemble = LineStyle(BLUE, "-", "o")
    for style, name, label in (
        (members, "member_test_error", "One sample, mean"),
        (ensemble, "test_error", f"Ensemble of {numbers['members'].iloc[0]} samples"),
    ):
        errors.plot(place, numbers[name], **style.keywords(len(place)), label=label)
    errors.vlines(
        place, numbers["test_error_low"], numbers["test_error_high"],
        color=ensemble.colour, linewidth=0.6,
    )  # fmt: skip
    errors.set_ylabel(TEST_ERROR)
    figure.legend(loc="outside lower center", ncols=2, handlelength=4)
    set_ticks(errors)
    volume = 10.0 ** numbers["log10_volume"]
    volumes.plot(place, volume, **ensemble.keywords(len(place)))
    volumes.vlines(
        place, 10.0 ** numbers["log10_volume_min"], 10.0 ** numbers["log10_volume_max"],
        color=ensemble.colour, linewidth=0.6,
    )  # fmt: skip
    volumes.set_yscale("log")
    volumes.set_ylabel("Volume")
    for axis in (errors, volumes):
        axis.set_xticks(place, [_scientific(value) for value in numbers["regularisation"]])
        axis.set_xlabel(r"$\lambda^*$")
        axis.grid(True, axis="y")
        axis.margins(x=0.06, y=0.12)
    return figure, numbers


@styled
def benton2021_figure_a4b(
    table: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figures A.4(b) and A.6: test error against the number of samples.

    A method with fewer members than another one goes on as a thin line.

    Args:
        table: From ``sample_errors``.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a data set, network, method and number of samples.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    where = "benton2021_figure_a4b"
    columns = ["samples", "test_error", "test_error_low", "test_error_high"]
    require_columns(table, [*_PANEL, "method", *columns], where)
    numbers = table.copy()
    numbers["test_error"], _ = finite(numbers["test_error"], f"{where}, column 'test_error'")
    styles = method_styles(numbers["method"].unique().tolist())
    panels = list(numbers.groupby(_PANEL, sort=False))
    figure = new_figure(COLUMN_WIDTH if len(panels) == 1 else TEXT_WIDTH, 2.5, title)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, ((dataset, network), panel) in zip(axes, panels, strict=True):
        most = panel["samples"].max()
        for method, own in panel.groupby("method", sort=False):
            style = styles[str(method)]
            x, y = own["samples"].to_numpy(), own["test_error"].to_numpy()
            axis.plot(x, y, **style.keywords(len(x)), label=method)
            if x[-1] < most:
                axis.plot([x[-1], most], [y[-1]] * 2, color=style.colour, linewidth=0.6)
            if len(x) > 2:
                low, high = own["test_error_low"], own["test_error_high"]
                axis.fill_between(x, low, high, color=style.colour, alpha=0.18, linewidth=0)
        axis.set_title(f"{network}, {dataset}")
        axis.set_xlabel("Samples (band: 95 % of random orders)")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=3))
        axis.set_xlim(0, 1.02 * most)
        axis.set_ylim(zoom_range(panel[columns[1:]].to_numpy().ravel()))
        _finish(axis)
    axes[0].set_ylabel(TEST_ERROR)
    _legend(figure, styles, axes)
    return figure, numbers


@styled
def benton2021_figure_a5(
    plane: Plane, *, bands: int = 10, colour_map: str = COLOUR_MAP, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure A.5: the loss on the plane through three vertices of a simplex.

    The paper shows one surface; here the test error stands beside it.

    Args:
        plane: Through three vertices, whose points have ``label``, such as espro/1:t1, with
            ``train_nll`` and ``test_error``.
        bands: Number of colours; the paper does not state its own.
        colour_map: Name of a matplotlib colour map.
        title: A line above the figure.

    Returns:
        The figure and its numbers, as `draw_planes` describes them.

    Raises:
        UserError: As `draw_planes`, or if the plane is not through vertices of a simplex.
    """
    where = "benton2021_figure_a5"
    require_columns(plane.points, ["kind", "label"], f"{where}, points")
    corners = plane.points["label"].head(3).astype(str)
    names = tuple(corners.str.rpartition(":")[2].str.replace("t", "theta"))
    if len(names) < 3 or not corners.str.contains(":").all():
        raise UserError(
            f"{where}: the plane goes through {', '.join(corners)}; three vertices of a simplex, "
            "such as espro/1:t1, are needed: name them in the plane"
        )
    # All three are corners of the triangle that is drawn.
    points = plane.points.head(3).assign(kind="endpoint")
    return draw_planes(
        [replace(plane, points=points, names=names)],
        [
            Surface("train_nll", "Train cross-entropy, log scale"),
            Surface("test_error", "Test error (%), log scale"),
        ],
        where=where,
        bands=bands,
        colour_map=colour_map,
        title=title,
    )


def _components(
    table: pd.DataFrame, x: str, label: str, where: str, title: str | None
) -> tuple[Figure, pd.DataFrame]:
    values = ["test_error", "test_error_low", "test_error_high", x]
    published = ["test_error_published", *_PUBLISHED, "note_published"]
    if x != "components":
        published.append(f"{x}_published")
    require_columns(table, [*_PANEL, "method", *values, *published], where)
    names = [*_PANEL, "method", "components", "members", "runs", "interval", *values, *published]
    numbers = table[[name for name in dict.fromkeys(names) if name in table]].copy()
    numbers["test_error"], _ = finite(numbers["test_error"], f"{where}, column 'test_error'")
    styles = method_styles(numbers["method"].unique().tolist())
    panels = list(numbers.groupby(_PANEL, sort=False))
    beside = bool(numbers["test_error_published"].notna().any())
    shape = (len(panels), 2) if beside else (1, len(panels))
    wide = max(shape[1], len(panels)) > 1
    figure = new_figure(TEXT_WIDTH if wide else COLUMN_WIDTH, 0.35 + 2.1 * shape[0], title)
    axes = figure.subplots(*shape, squeeze=False)
    for index, ((dataset, network), panel) in enumerate(panels):
        axis = axes[index, 0] if beside else axes[0, index]
        _lines(axis, panel, x, styles)
        name = f"{network}, {dataset}"
        axis.set_title(f"Ours: {name}" if beside else name)
        # Of two runs Student's t intervals are so wide that nothing else would be legible.
        narrow = panel.loc[panel["runs"] != 2, ["test_error_low", "test_error_high"]]
        axis.set_ylim(zoom_range([*panel["test_error"], *narrow.to_numpy().ravel()]))
        if beside:
            _published(axes[index, 1], panel, x, styles)
    for axis in axes.flat:
        axis.set_xlabel(label)
        axis.set_ylabel(TEST_ERROR)
        if x == "components":
            axis.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        else:
            axis.set_xlim(left=0)
        _finish(axis)
    _legend(figure, styles, axes[:, 0] if beside else axes[0])
    return figure, numbers


def _lines(axis: Axes, panel: pd.DataFrame, x: str, styles: Mapping[str, LineStyle]) -> None:
    for place, own in _by_method(panel, styles):
        style = styles[own["method"].iloc[0]]
        # Side by side, so that intervals do not hide each other.
        apart = _APART * place if x == "components" else 0.0
        at = own[x].to_numpy(float) + apart
        axis.plot(at, own["test_error"], **style.keywords(len(own)), label=own["method"].iloc[0])
        axis.vlines(
            at, own["test_error_low"], own["test_error_high"], color=style.colour, linewidth=0.6
        )


def _published(axis: Axes, panel: pd.DataFrame, x: str, styles: Mapping[str, LineStyle]) -> None:
    """Draw the published values of a panel; what has a note is uncertain and hollow."""
    column = x if x == "components" else f"{x}_published"
    known = panel[panel["test_error_published"].notna() & panel[column].notna()]
    if known.empty:
        axis.set_visible(False)
        return
    for _, own in _by_method(known, styles):
        style = styles[own["method"].iloc[0]]
        keywords = style.keywords(len(own)) | {"marker": ""}
        axis.plot(own[column], own["test_error_published"], **keywords)
        uncertain = own["note_published"].fillna("").astype(bool)
        for rows, face in ((own[~uncertain], style.colour), (own[uncertain], "white")):
            axis.plot(
                rows[column], rows["test_error_published"], linestyle="none", marker=style.marker,
                color=style.colour, markerfacecolor=face,
            )  # fmt: skip
    axis.set_ylim(zoom_range(known["test_error_published"]))
    dataset, network = known[_PUBLISHED].iloc[0]
    hollow = " (hollow: uncertain)" if known["note_published"].fillna("").any() else ""
    axis.set_title(f"Published: {network}, {dataset}{hollow}")


def _by_method(
    panel: pd.DataFrame, styles: Mapping[str, LineStyle]
) -> Iterator[tuple[float, pd.DataFrame]]:
    """Yield the rows of each method, and its place from the middle of all of them."""
    for index, method in enumerate(styles):
        own = panel[panel["method"] == method]
        if not own.empty:
            yield index - (len(styles) - 1) / 2, own


def _finish(axis: Axes) -> None:
    axis.grid(True, axis="y")
    set_ticks(axis)


def _legend(figure: Figure, styles: Mapping[str, LineStyle], axes: Iterable[Axes]) -> None:
    """Put one legend below all panels, a method once."""
    found: dict[str, Artist] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.legend(
        handles=[found[label] for label in styles], loc="outside lower center",
        ncols=len(styles), handlelength=4,
    )  # fmt: skip


def _scientific(value: float) -> str:
    if value == 0.0:
        return "0"
    mantissa, exponent = f"{value:.0e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else rf"${mantissa} \cdot {power}$"
