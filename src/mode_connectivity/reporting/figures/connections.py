"""Losses and errors along curves between two networks."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mode_connectivity.reporting.figures.axes import split_scale, zoom_range
from mode_connectivity.reporting.figures.frames import finite, require_curve
from mode_connectivity.reporting.style import SMALL, TEXT_WIDTH, line_style, new_figure, styled
from mode_connectivity.settings import UserError

TRAIN_LOSS = "Train loss"
TEST_ERROR = "Test error (%)"
PANELS = {"train_error": "Train error (%)", "train_loss": TRAIN_LOSS, "test_error": TEST_ERROR}
"""Columns of a grid that tell whether its ends are connected, and their names."""


@styled
def draw_connections(
    grids: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw train loss, train error and test error along curves between the same two networks.

    Args:
        grids: Name of the curve, such as Segment or Bezier, to its grid.
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``curve``, ``t``, and the three columns that it shows.

    Raises:
        UserError: If a grid lacks a column, is not in the order of t, or has no finite value.
    """
    where = "the figure of the curves"
    tables = {
        name: grid[["t"]].assign(curve=name)
        for name, grid in checked_curves(grids, list(PANELS), where).items()
    }
    figure = new_figure(TEXT_WIDTH, 2.5, title)
    panels = figure.subplots(1, 3)
    for axis, (column, label) in zip(panels, PANELS.items(), strict=True):
        draw_along(axis, grids, tables, column, f"{where}, {label}")
        split_above_curves(axis, tables, column)
        axis.set_ylabel(label)
        axis.set_xlabel("$t$")
    lines, names = panels[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside lower center", ncols=4)
    numbers = pd.concat(tables.values(), ignore_index=True)
    return figure, numbers[["curve", "t", *PANELS]]


def checked_curves(
    grids: Mapping[str, pd.DataFrame], columns: Sequence[str], where: str
) -> dict[str, pd.DataFrame]:
    """Return grids, each numbered from its first row.

    Raises:
        UserError: If there is none, a curve is unknown, or a grid has not these columns along t.
    """
    if not grids:
        raise UserError(f"{where}: no curves; at least one is needed; name them in the config")
    for name, grid in grids.items():
        line_style(name)
        require_curve(grid, columns, f"{where}, {name}")
    return {name: grid.reset_index(drop=True) for name, grid in grids.items()}


def draw_along(
    axis: Axes,
    grids: Mapping[str, pd.DataFrame],
    tables: Mapping[str, pd.DataFrame],
    column: str,
    where: str,
) -> None:
    """Draw a column of each grid against t and keep what was drawn in ``tables``."""
    remarks = []
    for index, (name, grid) in enumerate(grids.items()):
        values, remark = finite(grid[column], f"{where}, {name}")
        tables[name][column] = values
        remarks += [f"{name}: {remark}"] if remark else []
        style = line_style(name).keywords(len(grid), first_marker=2 + 4 * index)
        axis.plot(grid["t"], values, label=name, **style)
    axis.set_title(", ".join(remarks), fontsize=SMALL)
    axis.set_xlim(0, 1)
    axis.grid(True, axis="y")


def split_above_curves(
    axis: Axes, tables: Mapping[str, pd.DataFrame], column: str, others: Iterable[float] = ()
) -> None:
    """Change the scale of an axis above the trained curves, so that segments stay in sight.

    Args:
        axis: The axis.
        tables: Name of the curve to what is drawn of it.
        column: What is drawn.
        others: Further values that must be legible.
    """
    every = [table[column] for table in tables.values()]
    trained = [table[column] for name, table in tables.items() if "segment" not in name.lower()]
    low, split = zoom_range([*np.concatenate(trained or every), *others])
    split_scale(axis, low, split, float(np.nanmax(np.concatenate(every))))
