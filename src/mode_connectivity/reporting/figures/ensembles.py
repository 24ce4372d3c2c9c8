"""The figures of Garipov et al. 2018 on fast geometric ensembling (FGE).

Each function takes tables and returns a figure and exactly the numbers it shows. ``title``, where
given, is a line above the figure such as the network and the data set.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mode_connectivity.ensembling.predictions import error, member_probabilities
from mode_connectivity.reporting.figures.axes import set_ticks, split_scale, zoom_range
from mode_connectivity.reporting.figures.connections import TEST_ERROR
from mode_connectivity.reporting.figures.frames import finite, require_columns
from mode_connectivity.reporting.style import (
    BLACK,
    COLUMN_WIDTH,
    GREY,
    SMALL,
    TEXT_WIDTH,
    method_style,
    new_figure,
    styled,
)
from mode_connectivity.settings import UserError

# Of an epoch; the shortest part of an epoch that a history has a row of is far longer.
_SAME_EPOCH = 1e-6
# Of the errors of figure 6; the first snapshots of a short training may tower above all others.
_LEGIBLE_SHARE = 0.8


@styled
def garipov2018_figure5(
    history: pd.DataFrame,
    snapshots: Sequence[float],
    *,
    schedule: pd.DataFrame,
    iterations_per_epoch: int | None = None,
    title: str | None = None,
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 5: learning rate, test error and distance from the start of one FGE run.

    The paper does not say how often it tests; its test error has several values an epoch.

    Args:
        history: Of the run, a row after each part of an epoch: ``epoch`` (finished epochs of this
            run, may be fractional), ``learning_rate`` (of the last iteration of the part),
            ``test_error`` (percent), ``distance`` (L2, from the initial weights of the run).
        snapshots: Epochs of this run whose weights are members; circles. Epoch 0, the initial
            weights, has no row and is left out.
        schedule: The learning rate that is drawn: ``epoch`` (of this run) and ``learning_rate``,
            which holds until the next row; a row an iteration is exact.
        iterations_per_epoch: For a second scale in iterations, the paper's; omitted if None.
        title: A line above the figure.

    Returns:
        The figure and its numbers, a row a row of the history: ``epoch``, ``learning_rate``,
        ``test_error`` (percent), ``distance``, ``snapshot`` (true or false).

    Raises:
        UserError: If a column is missing or has no finite value, epochs do not ascend, or the
            history has no row at a snapshot.
    """
    where = "garipov2018_figure5"
    panels = {
        "learning_rate": "Learning rate",
        "test_error": TEST_ERROR,
        "distance": "$L_2$ distance\nfrom the start",
    }
    require_columns(history, ["epoch", *panels], f"{where}, history")
    _require_order(history["epoch"], f"{where}, history", strict=True)
    require_columns(schedule, ["epoch", "learning_rate"], f"{where}, schedule")
    _require_order(schedule["epoch"], f"{where}, schedule", strict=False)

    numbers = history[["epoch"]].reset_index(drop=True)
    at_snapshot = _rows_at(snapshots, numbers["epoch"].to_numpy(float), f"{where}, history")
    style = method_style("FGE")
    figure = new_figure(COLUMN_WIDTH, 3.9, title)
    axes = figure.subplots(3, 1, sharex=True)
    for axis, (column, label) in zip(axes, panels.items(), strict=True):
        numbers[column], remark = finite(history[column], f"{where}, column {column!r}")
        if column == "learning_rate":
            # Steps end at the history's rate, that of the last iteration, where a line would not.
            axis.plot(
                schedule["epoch"], schedule[column], color=style.colour, drawstyle="steps-post"
            )
        else:
            axis.plot(numbers["epoch"], numbers[column], color=style.colour)
        axis.plot(
            numbers["epoch"][at_snapshot], numbers[column][at_snapshot], color=BLACK,
            linestyle="none", marker="o", markersize=4, markerfacecolor="white",
            markeredgewidth=0.9, label="Member of the ensemble",
        )  # fmt: skip
        axis.set_title(remark, fontsize=SMALL)
        axis.set_ylabel(label)
        axis.margins(y=0.12)
        axis.grid(True, axis="y")
        set_ticks(axis)
    axes[-1].set_ylim(bottom=0)
    axes[-1].set_xlim(0, 1.02 * max(numbers["epoch"].max(), schedule["epoch"].max()))
    axes[-1].set_xlabel("Epochs of FGE")
    if iterations_per_epoch is not None:
        iterations = axes[0].secondary_xaxis(
            "top",
            functions=(lambda e: e * iterations_per_epoch, lambda i: i / iterations_per_epoch),
        )
        iterations.set_xlabel("Iterations")
    figure.align_ylabels(axes)
    figure.legend(handles=axes[0].get_legend_handles_labels()[0], loc="outside lower center")
    return figure, numbers.assign(snapshot=at_snapshot)


@styled
def garipov2018_figure6(
    methods: Mapping[str, pd.DataFrame], *, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 6: members and ensembles over training time.

    Crosses are single members, diamonds the ensembles of all members so far, which a line joins.

    Args:
        methods: Title of the method (FGE, SSE, Ind, SWA) to its members, a row a member in the
            order in which they became available: ``epoch`` (of all training so far, earlier
            budgets included), ``run`` (which budget, from 1), ``test_error`` (percent, the member
            alone), ``ensemble_test_error`` (percent, from `running_ensemble_errors`), and, where
            multiples of it are to be marked, ``budget_epochs`` (B, the same in all rows).
        title: A line above the figure.

    Returns:
        The figure and its numbers: ``method`` and the columns above.

    Raises:
        UserError: If there is no method or an unknown one, a column is missing or has no finite
            value, epochs descend, or budgets differ.
    """
    where = "garipov2018_figure6"
    errors = {"test_error": "single members", "ensemble_test_error": "all members so far"}
    if not methods:
        raise UserError(f"{where}: no methods; at least one is needed; name them in the config")
    tables = {}
    remarks = []
    for name, members in methods.items():
        method_style(name)
        require_columns(members, ["epoch", "run", *errors], f"{where}, {name}")
        _require_order(members["epoch"], f"{where}, {name}", strict=False)
        tables[name] = members.reset_index(drop=True).assign(method=name)
        for column, label in errors.items():
            values, remark = finite(members[column], f"{where}, {name}, column {column!r}")
            tables[name][column] = values
            remarks += [f"{name}, {label}: {remark}"] if remark else []
    numbers = pd.concat(tables.values(), ignore_index=True)
    columns = ["method", "run", "epoch", *errors]
    columns += ["budget_epochs"] if "budget_epochs" in numbers else []

    figure = new_figure(TEXT_WIDTH, 3.1, title)
    axis = figure.subplots()
    for name, members in tables.items():
        style = method_style(name)
        axis.plot(
            members["epoch"], members["ensemble_test_error"], color=style.colour,
            linestyle=style.dashes, marker="D", markersize=4.5, markerfacecolor="white",
            label=f"{name}, {errors['ensemble_test_error']}",
        )  # fmt: skip
        # Above the diamonds, so that both are seen where the ensemble is its first member.
        axis.plot(
            members["epoch"], members["test_error"], color=style.colour, linestyle="none",
            marker="x", markersize=4, markeredgewidth=1, zorder=3,
            label=f"{name}, {errors['test_error']}",
        )  # fmt: skip
    end = float(numbers["epoch"].max())
    if "budget_epochs" in columns:
        end = max(end, _mark_budgets(axis, numbers, where))
    axis.set_xlim(0, 1.02 * end)
    _set_error_limits(axis, numbers[[*errors]].to_numpy(float).ravel())
    axis.set_title(", ".join(remarks), fontsize=SMALL, loc="left")
    axis.grid(True, axis="y")
    axis.set_xlabel("Training time (epochs)")
    axis.set_ylabel(TEST_ERROR)
    figure.legend(
        handles=axis.get_legend_handles_labels()[0], loc="outside lower center",
        ncols=len(tables), handlelength=4.5,
    )  # fmt: skip
    return figure, numbers[columns]


def running_ensemble_errors(
    predictions: Iterable[npt.NDArray[Any]], labels: npt.NDArray[Any]
) -> list[float]:
    """Return the errors of the ensembles of the first 1, 2, 3, ... members.

    Garipov et al. 2018, figure 6: the ensemble of all models available by a given time. As in the
    authors' code (fge.py), the members' probabilities are averaged. One member is held at a time.

    Args:
        predictions: Log-probabilities ``[N, C]`` of each member, in the order of availability.
        labels: ``[N]``.

    Returns:
        Errors in percent, one a member.

    Raises:
        UserError: If a member's predictions are not numbers, or are not those of these examples.
    """
    total: npt.NDArray[Any] | None = None
    errors = []
    for index, member in enumerate(predictions):
        probabilities = member_probabilities(member, 1.0, index)
        total = probabilities if total is None else total + probabilities
        errors.append(error(total, labels))
    return errors


def _require_order(epochs: "pd.Series[Any]", where: str, *, strict: bool) -> None:
    steps = np.diff(epochs.to_numpy(float))
    in_order = steps > 0 if strict else steps >= 0
    if not in_order.all():
        row = int(in_order.argmin())
        raise UserError(
            f"{where}: epoch {epochs.iloc[row + 1]:g} follows epoch {epochs.iloc[row]:g}; "
            "rows in the order of time are expected; make the table again"
        )


def _rows_at(
    snapshots: Sequence[float], epochs: npt.NDArray[np.float64], where: str
) -> npt.NDArray[np.bool_]:
    """Return which of the rows [T] after ``epochs`` are those of the snapshots."""
    wanted = np.array([epoch for epoch in snapshots if epoch != 0], dtype=np.float64)
    same: npt.NDArray[np.bool_] = np.abs(epochs[:, None] - wanted) < _SAME_EPOCH
    missing = wanted[~same.any(axis=0)]
    if len(missing):
        raise UserError(
            f"{where}: no row at the snapshot of epoch {', '.join(f'{e:g}' for e in missing)}; "
            f"{len(epochs)} rows from epoch {epochs[0]:g} to {epochs[-1]:g}; epochs are counted "
            "from the start of this run: give snapshots of it"
        )
    return np.asarray(same.any(axis=1))


def _set_error_limits(axis: Axes, errors: npt.NDArray[Any]) -> None:
    limits = zoom_range(errors)
    legible = zoom_range(errors[errors <= np.nanquantile(errors, _LEGIBLE_SHARE)])
    towers = np.ptp(limits) > 2 * np.ptp(legible)
    split_scale(axis, *(legible if towers else limits), float(np.nanmax(errors)))


def _mark_budgets(axis: Axes, numbers: pd.DataFrame, where: str) -> float:
    """Draw a line where each budget ends and return where the last one does."""
    budgets = numbers["budget_epochs"].unique()
    if len(budgets) > 1 or not budgets[0] > 0:
        found = ", ".join(f"{budget:g}" for budget in budgets)
        raise UserError(
            f"{where}: budgets of {found} epochs; one positive number for all members of all "
            "methods is expected: compare methods at equal budgets"
        )
    ends = float(budgets[0]) * np.arange(1, int(numbers["run"].max()) + 1)
    for run, end in enumerate(ends, start=1):
        axis.axvline(end, color=GREY, linestyle=(0, (1, 1.5)), linewidth=0.9, zorder=1)
        axis.annotate(
            f"{run}B", (end, 1), xycoords=axis.get_xaxis_transform(), xytext=(0, 2),
            textcoords="offset points", ha="center", va="bottom", fontsize=SMALL,
        )  # fmt: skip
    return float(ends[-1])
