"""Figures 7 and 10 of Benton et al. 2021: networks as functions of one or two variables."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import scipy
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from mode_connectivity.reporting.functions import FunctionSamples
from mode_connectivity.reporting.style import (
    BLACK,
    BLUE,
    GREY,
    ORANGE,
    TEXT_WIDTH,
    VERMILLION,
    new_figure,
    styled,
)
from mode_connectivity.settings import UserError

Array = NDArray[Any]

BAND = 3.0
"""Standard deviations on either side of the mean, as Izmailov et al. 2019 draw them."""

_CLASSES = LinearSegmentedColormap.from_list("classes", ["#9DC3E0", "#FFFFFF", "#F6D28B"])
_PANELS_A_ROW = 3


@styled
def benton2021_figure7(
    functions: FunctionSamples, *, shown: int = 5, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 7: the decision regions of single networks, and the ensemble of all.

    The ensemble's probability is the sigmoid of the mean logit, as in the authors' notebook.

    Args:
        functions: logits on a lattice, its points row by row.
        shown: members with a panel of their own, spread over all of them.
        title: a line above the figure.

    Returns:
        The figure and its numbers, a row a lattice point: ``x1``, ``x2``, ``member_{k}`` (the class
        that the k-th member decides for, k from 0), ``ensemble_probability`` (of class 1).

    Raises:
        UserError: the inputs are not a lattice in the plane.
    """
    across, up = _lattice(functions.inputs)
    shape = (len(up), len(across))
    members = functions.spread(shown)
    probability = scipy.special.expit(functions.values.astype(np.float64).mean(axis=0))
    numbers = pd.DataFrame(
        {
            "x1": functions.inputs[:, 0],
            "x2": functions.inputs[:, 1],
            **{f"member_{k}": (functions.values[k] > 0).astype(int) for k in members},
            "ensemble_probability": probability.round(6),
        }
    )
    panels = [(f"Member {k + 1}", numbers[f"member_{k}"].to_numpy(float)) for k in members]
    panels.append((f"Ensemble of {len(functions.values)}", probability))
    rows = math.ceil(len(panels) / _PANELS_A_ROW)
    figure = new_figure(TEXT_WIDTH, 0.35 + 2.15 * rows, title)
    axes = figure.subplots(rows, _PANELS_A_ROW, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (name, values) in zip(axes, panels, strict=False):
        image = axis.pcolormesh(
            across, up, values.reshape(shape), cmap=_CLASSES, vmin=0, vmax=1, rasterized=True
        )
        axis.contour(across, up, values.reshape(shape), levels=[0.5], colors=GREY, linewidths=0.6)
        for label, marker, colour in ((0, "o", BLUE), (1, "^", VERMILLION)):
            points = functions.train_inputs[functions.train_targets == label]
            axis.plot(
                points[:, 0], points[:, 1], linestyle="none", marker=marker, markersize=2.4,
                color=colour, markeredgecolor="white", markeredgewidth=0.2,
                label=f"Class {label}, training",
            )  # fmt: skip
        axis.set_title(name)
        axis.set_aspect("equal")
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[::_PANELS_A_ROW]:
        axis.set_ylabel("$x_2$")
    for axis in axes[max(0, len(panels) - _PANELS_A_ROW) : len(panels)]:
        axis.set_xlabel("$x_1$")
    bar = figure.colorbar(image, ax=list(axes), fraction=0.03, pad=0.02)
    bar.set_label("Probability of class 1 (members: their decision)")
    figure.legend(
        handles=axes[0].get_legend_handles_labels()[0], loc="outside lower center", ncols=2
    )
    return figure, numbers


def _lattice(inputs: Array) -> tuple[Array, Array]:
    """Return the distinct coordinates of a lattice whose points are stored row by row."""
    if inputs.ndim == 2 and inputs.shape[1] == 2:
        across, up = np.unique(inputs[:, 0]), np.unique(inputs[:, 1])
        points = np.column_stack([part.ravel() for part in np.meshgrid(across, up)])
        if np.array_equal(points, inputs):
            return across, up
    raise UserError(
        f"benton2021_figure7: inputs of shape {list(inputs.shape)} are not a lattice in the plane, "
        "row by row; collect the members of an ensemble on two_spirals again"
    )


@styled
def benton2021_figure10(
    panels: Mapping[str, FunctionSamples], *, lines: int = 10, title: str | None = None
) -> tuple[Figure, pd.DataFrame]:
    """Draw figure 10: functions of one variable, their mean and a band around it.

    Args:
        panels: title of a method to its members as functions, in the order of the panels.
        lines: functions that are drawn in each, spread over the members.
        title: a line above the figure.

    Returns:
        The figure and its numbers. For each method a row an input: ``method``, ``x``, ``true``
        (the function that the data are of), ``mean``, ``sd``, ``low`` and ``high`` (mean -+ 3 sd),
        ``function_1`` to ``function_{lines}``; with method ``data`` a row a training point, ``x``
        and ``target``.

    Raises:
        UserError: there is no panel, or inputs are not of one dimension.
    """
    where = "benton2021_figure10"
    if not panels:
        raise UserError(f"{where}: no ensemble; at least one is needed; name it in the config")
    for name, functions in panels.items():
        if functions.inputs.shape[1:] != (1,) or functions.targets is None:
            raise UserError(
                f"{where}, {name}: inputs of shape {list(functions.inputs.shape)}; functions of "
                "one variable are drawn, with the true one: choose an ensemble on a regression"
            )
    frames = [_numbers(name, functions, lines) for name, functions in panels.items()]
    figure = new_figure(TEXT_WIDTH, 2.6, title)
    axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axis, (name, functions), frame in zip(axes, panels.items(), frames, strict=True):
        _draw_panel(axis, functions, frame)
        axis.set_title(f"{name} ({len(functions.values)} functions)")
        axis.set_xlabel("$x$")
    axes[0].set_ylabel("$y$")
    first = next(iter(panels.values()))
    axes[0].set_ylim(_limits(frames, first.train_targets))
    figure.legend(
        handles=[
            Line2D([], [], color=BLUE, label="Mean"),
            Patch(color=BLUE, alpha=0.22, linewidth=0, label=f"Mean ± {BAND:g} sd"),
            Line2D([], [], color=GREY, linewidth=0.5, label="Functions"),
            Line2D([], [], color=BLACK, linestyle=(0, (4, 1.5)), label="True function"),
            Line2D([], [], color=ORANGE, marker="o", linestyle="none", label="Training data"),
        ],
        loc="outside lower center",
        ncols=5,
    )
    data = pd.DataFrame(
        {"method": "data", "x": first.train_inputs[:, 0], "target": first.train_targets}
    )
    return figure, pd.concat([*frames, data], ignore_index=True)


def _numbers(name: str, functions: FunctionSamples, lines: int) -> pd.DataFrame:
    values = functions.values.astype(np.float64)
    mean, deviation = values.mean(axis=0), values.std(axis=0)
    return pd.DataFrame(
        {
            "method": name,
            "x": functions.inputs[:, 0],
            "true": functions.targets,
            "mean": mean,
            "sd": deviation,
            "low": mean - BAND * deviation,
            "high": mean + BAND * deviation,
            **{
                f"function_{number}": values[k]
                for number, k in enumerate(functions.spread(lines), start=1)
            },
        }
    )


def _draw_panel(axis: Axes, functions: FunctionSamples, frame: pd.DataFrame) -> None:
    x = frame["x"]
    axis.fill_between(x, frame["low"], frame["high"], color=BLUE, alpha=0.22, linewidth=0)
    for column in [name for name in frame.columns if name.startswith("function_")]:
        axis.plot(x, frame[column], color=GREY, linewidth=0.5)
    axis.plot(
        functions.train_inputs[:, 0], functions.train_targets, color=ORANGE, linestyle="none",
        marker="o", markersize=1.2, markeredgewidth=0, rasterized=True,
    )  # fmt: skip
    axis.plot(x, frame["true"], color=BLACK, linestyle=(0, (4, 1.5)), linewidth=1.0)
    axis.plot(x, frame["mean"], color=BLUE)
    axis.set_xlim(x.min(), x.max())
    axis.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    axis.grid(True, axis="y")


def _limits(frames: list[pd.DataFrame], targets: Array) -> tuple[float, float]:
    """Return limits that show all means and data; a band or a function may run out of the panel."""
    shown = np.concatenate(
        [targets, *(frame[["mean", "true"]].to_numpy().ravel() for frame in frames)]
    )
    low, high = float(shown.min()), float(shown.max())
    room = 0.35 * (high - low)
    return low - room, high + room
