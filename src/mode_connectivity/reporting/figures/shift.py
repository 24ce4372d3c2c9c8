"""Figure 11 and C.1 of Benton et al. 2021: ensembles on test images of growing corruption.

Each function takes the table that ``reporting.shift_tables`` makes and returns a figure and exactly
the numbers it shows. ``title``, where given, is a line above the figure such as the network and the
data set.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mode_connectivity.ensembling.shift import CLEAN
from mode_connectivity.reporting.figures.axes import set_ticks
from mode_connectivity.reporting.figures.frames import finite, require_columns
from mode_connectivity.reporting.style import (
    SMALL,
    TEXT_WIDTH,
    LineStyle,
    method_styles,
    new_figure,
    styled,
)

ERROR = {"test_error": "Test error (%)", "test_nll_scaled": "NLL, scaled"}
CALIBRATION = {"test_ece_equal_count_scaled": "ECE (%), scaled"}

_ROW_HEIGHT = 1.05
"""Inches."""
_APART = 0.08
"""Of a severity, between the points of two methods."""
_MANY = 4
"""Corruptions, above which two stand side by side."""


@styled
def benton2021_figure11(
    table: pd.DataFrame, *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 11: test error and scaled NLL against the severity of a corruption.

    Args:
        table: From ``shift_table``, of all severities.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a corruption, severity (0: clean) and method: both
        quantities with the ends of their intervals.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    return _draw(table, ERROR, "benton2021_figure11", title)


@styled
def benton2021_c1(table: pd.DataFrame, *, title: str | None = None) -> tuple[Figure, pd.DataFrame]:
    """Draw C.1: the panels of figure 11 and the calibration error, for each corruption.

    Args:
        table: From ``shift_table``, of all severities.
        title: A line above the figure.

    Returns:
        The figure and its numbers, as for `benton2021_figure11`.

    Raises:
        UserError: If a column is missing or has no finite value.
    """
    return _draw(table, {**ERROR, **CALIBRATION}, "benton2021_c1", title)


def _draw(
    table: pd.DataFrame, quantities: Mapping[str, str], where: str, title: str | None
) -> tuple[Figure, pd.DataFrame]:
    columns = [f"{name}{end}" for name in quantities for end in ("", "_low", "_high")]
    names = ["corruption", "condition", "exact", "source", "severity", "method"]
    require_columns(table, [*names, *columns], where)
    numbers = table[[*names, *columns]].copy()
    for name in quantities:
        numbers[name], _ = finite(numbers[name], f"{where}, column {name!r}")
    conditions = numbers.loc[numbers["corruption"] != CLEAN, ["corruption", "condition"]]
    conditions = conditions.drop_duplicates()
    styles = method_styles(numbers["method"].unique().tolist())
    blocks = 2 if len(conditions) > _MANY else 1
    rows = -(-len(conditions) // blocks)
    height = 2.3 if rows == 1 and len(quantities) < 3 else 0.75 + _ROW_HEIGHT * rows
    figure = new_figure(TEXT_WIDTH, height, title)
    axes = figure.subplots(rows, blocks * len(quantities), squeeze=False)
    for place, (corruption, condition) in enumerate(conditions.itertuples(index=False)):
        row, block = place % rows, place // rows
        shown = numbers[numbers["corruption"].isin([CLEAN, corruption])]
        for index, (name, label) in enumerate(quantities.items()):
            axis = axes[row, block * len(quantities) + index]
            _lines(axis, shown, name, styles)
            if row == 0:
                axis.set_title(label)
            if index == 0:
                axis.set_ylabel(condition.replace(" (", "\n("), fontsize=SMALL)
            if row == rows - 1 or place == len(conditions) - 1:
                axis.set_xlabel("Severity")
            else:
                axis.tick_params(labelbottom=False)
    if len(conditions) < blocks * rows:
        for axis in axes[-1, len(quantities) :]:
            axis.set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure, numbers.reset_index(drop=True)


def _lines(axis: Axes, shown: pd.DataFrame, name: str, styles: Mapping[str, LineStyle]) -> None:
    for place, (method, style) in enumerate(styles.items()):
        own = shown[shown["method"] == method].sort_values("severity")
        # Side by side, so that intervals do not hide each other.
        severity = own["severity"].to_numpy(float) + _APART * (place - (len(styles) - 1) / 2)
        axis.plot(severity, own[name], **style.keywords(len(own)), label=method)
        low, high = own[f"{name}_low"].to_numpy(float), own[f"{name}_high"].to_numpy(float)
        if np.isfinite(low).all() and np.isfinite(high).all():
            axis.vlines(severity, low, high, color=style.colour, linewidth=0.6)
    axis.set_xticks(range(6))
    axis.grid(True, axis="y")
    axis.margins(y=0.1)
    set_ticks(axis)
