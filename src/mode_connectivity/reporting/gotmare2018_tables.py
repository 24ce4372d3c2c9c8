"""The table of Gotmare et al. 2018: differently trained modes, and how they are connected.

The paper prints no numbers, only figures; so nothing published stands beside ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mode_connectivity.reporting.barriers import barriers
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.reporting.summaries import bootstrap_test_error, summarise_curve
from mode_connectivity.reporting.tables import EvaluatedCurve

METRICS = ("train_nll", "train_error", "test_nll", "test_error")

# Two test sets of 10,000 images give a network of 7 % test error values that lie up to 0.7 points
# apart (95 %): "almost as well" cannot mean less. One point is the next round number.
MARGIN = 1.0

_BARRIERS = ("height_above_ends", "height_above_ends_t", "barrier")
_COLUMNS = (
    "dataset",
    "network",
    "kind",
    "label",
    "setting",
    "epoch",
    "train_accuracy_worst",
    "train_accuracy_mean",
    "test_accuracy_worst",
    "test_accuracy_worst_low",
    "test_accuracy_worst_high",
    "test_accuracy_mean",
    "train_nll_worst",
    "train_nll_mean",
    "test_nll_worst",
    "test_nll_mean",
    "norm",
    "distance",
    "length_ratio",
    *(f"{metric}_{name}" for metric in METRICS for name in _BARRIERS),
    *(
        f"test_error_{name}_{end}"
        for name in ("height_above_ends", "barrier")
        for end in ("low", "high")
    ),
    "statement_holds",
    "statement_margin",
    "interval",
)


@dataclass(frozen=True, eq=False)
class EvaluatedMode:
    """A trained network, evaluated.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        label: its name in the paper, G or A to F, or any other.
        setting: the one setting in which its training differs, in words.
        metrics: ``metrics.csv``: one row.
        distance: from the first mode (G) in weight space; NaN where unknown.
        correct: [1, N] which test examples it classifies correctly, for an interval.
    """

    dataset: str
    network: str
    label: str
    setting: str
    metrics: pd.DataFrame
    distance: float
    correct: NDArray[np.bool_] | None = None


@dataclass(frozen=True, eq=False)
class EvaluatedConnection:
    """Two networks, the segment between them and the chain that was trained between them.

    Attributes:
        label: such as GA, or w30-w70.
        segment: the straight segment.
        curve: the chain at the end of its training.
        epochs: of the chain's training.
        snapshots: ``snapshots.csv`` of the chain: ``epoch``, and the columns of a grid.
    """

    label: str
    segment: EvaluatedCurve
    curve: EvaluatedCurve
    epochs: int
    snapshots: pd.DataFrame | None = None


def gotmare2018_modes(
    modes: Sequence[EvaluatedMode],
    connections: Sequence[EvaluatedConnection],
    *,
    margin: float = MARGIN,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Gotmare et al. 2018, section 3: seven modes, and each connection of G with another.

    A row is a mode, a segment, or a chain after an epoch of its training. A mode counts as a path
    of one point: its worst value and its mean are the value it has. Losses are cross-entropies,
    which the paper plots.

    The paper's statement is that "each point on [the curve] generalizes almost as well as models
    from the pair that is being connected", without a number for "almost". It is read as: no point
    of the curve falls behind the test accuracy of the worse of the two by more than the margin.
    That gap is ``test_error_height_above_ends``. Where it has an interval the verdict is ``yes``
    if all of that is within the margin, ``no`` if all of it is beyond, else ``undecided``; without
    one (snapshots) the gap itself decides.

    Args:
        modes: in the order of their rows.
        connections: in the order of their rows.
        margin: in points of accuracy. The default is a little more than the difference (0.7) that
            two test sets of 10,000 images can make to one network of 7 % test error.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap; all rows share its samples.

    Returns:
        ``dataset, network``; ``kind`` (mode, segment, curve); ``label``; ``setting`` of a mode;
        ``epoch`` of a curve's training; worst value and mean over the grid of
        ``train_accuracy, test_accuracy`` (percent)``, train_nll, test_nll``; ``norm`` of a mode;
        ``distance`` of a mode from the first, or of the ends of a path from each other;
        ``length_ratio``; for ``train_nll, train_error, test_nll, test_error`` of a path its
        ``_height_above_ends`` (the paper's barrier, footnote 1) with the ``_t`` of the maximum, and
        its ``_barrier`` (Entezari et al. 2022); ``statement_holds`` of a curve (yes, no,
        undecided) by ``statement_margin``; ``interval``, which names what ``_low`` and ``_high``
        (95 %) are over, ``examples`` of the test set. Cells without a value are empty.

    Raises:
        UserError: a grid that lacks a column or holds no number, or correctness of another
            evaluation.
        ValueError: metrics of a mode that are not one row.
    """
    rows = [_mode_row(mode, resamples, seed) for mode in modes]
    for connection in connections:
        segment = connection.segment
        rows.append(
            _path_row(connection, "segment", segment.grid, segment.correct, resamples, seed)
        )
    for connection in connections:
        curve = connection.curve
        for epoch, grid in _snapshots(connection):
            row = _path_row(connection, "curve", grid, None, resamples, seed, epoch)
            rows.append(row | _verdict(row, margin))
        row = _path_row(
            connection, "curve", curve.grid, curve.correct, resamples, seed, connection.epochs
        )
        rows.append(row | _verdict(row, margin))
    return pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"epoch": "Int64"})


def _mode_row(mode: EvaluatedMode, resamples: int, seed: int) -> dict[str, Any]:
    if len(mode.metrics) != 1:
        raise ValueError(f"mode {mode.label}: {len(mode.metrics)} rows of metrics; exactly one")
    measured = {name: float(mode.metrics[name].iloc[0]) for name in ("norm", *METRICS)}
    summary = {
        f"{metric}_{statistic}": measured[metric]
        for metric in METRICS
        for statistic in ("max", "mean")
    }
    return {
        "dataset": mode.dataset,
        "network": mode.network,
        "kind": "mode",
        "label": mode.label,
        "setting": mode.setting,
        "norm": measured["norm"],
        "distance": mode.distance,
        **_worst_and_mean(summary),
        **_accuracy_interval(mode.correct, resamples, seed),
    }


def _path_row(
    connection: EvaluatedConnection,
    kind: Literal["segment", "curve"],
    grid: pd.DataFrame,
    correct: NDArray[np.bool_] | None,
    resamples: int,
    seed: int,
    epoch: int | None = None,
) -> dict[str, Any]:
    path = connection.segment if kind == "segment" else connection.curve
    after = "" if epoch is None else f" after epoch {epoch}"
    where = f"grid of {connection.label}, {kind}{after}"
    found = barriers(grid, METRICS, correct=correct, resamples=resamples, seed=seed, where=where)
    summary = summarise_curve(grid, path.endpoint_distance, METRICS)
    return {
        "dataset": path.dataset,
        "network": path.network,
        "kind": kind,
        "label": connection.label,
        "epoch": epoch,
        "distance": path.endpoint_distance,
        "length_ratio": summary["length_ratio"],
        **_worst_and_mean(summary),
        **_accuracy_interval(correct, resamples, seed),
        **{name: value for name, value in found.items() if name in _COLUMNS},
    }


def _worst_and_mean(summary: Mapping[str, float]) -> dict[str, float]:
    row = {}
    for ours, statistic in (("worst", "max"), ("mean", "mean")):
        for part in ("train", "test"):
            row[f"{part}_accuracy_{ours}"] = 100.0 - summary[f"{part}_error_{statistic}"]
            row[f"{part}_nll_{ours}"] = summary[f"{part}_nll_{statistic}"]
    return row


def _accuracy_interval(
    correct: NDArray[np.bool_] | None, resamples: int, seed: int
) -> dict[str, Any]:
    if correct is None:
        return {}
    intervals = bootstrap_test_error(
        correct, None, resamples=resamples, seed=seed, method="reflected"
    )
    low, high = intervals["test_error_max"]
    return {
        "test_accuracy_worst_low": 100.0 - high,
        "test_accuracy_worst_high": 100.0 - low,
        "interval": "examples",
    }


def _snapshots(connection: EvaluatedConnection) -> list[tuple[int, pd.DataFrame]]:
    """Return the grids of a chain's snapshots by epoch; its end has a grid of its own."""
    if connection.snapshots is None:
        return []
    of_rows = connection.snapshots["epoch"]
    return [
        (epoch, connection.snapshots[of_rows == epoch])
        for epoch in sorted(of_rows.unique().tolist())
        if epoch != connection.epochs
    ]


def _verdict(row: Mapping[str, Any], margin: float) -> dict[str, Any]:
    """Say whether the curve keeps within a margin of the worse end's test accuracy."""
    gap = row["test_error_height_above_ends"]
    # Errors are whole examples: a gap of exactly the margin must not be decided by rounding.
    low, high = (
        round(row.get(f"test_error_height_above_ends_{end}", gap), 9) for end in ("low", "high")
    )
    verdict = "yes" if high <= margin else "no" if low > margin else "undecided"
    return {"statement_holds": verdict, "statement_margin": margin}


MODES_LAYOUT = Layout(
    title="Gotmare et al. 2018: differently trained modes and their connections",
    labels=(Column("dataset", "Data set"), Column("kind", "Kind"), Column("label", "Name")),
    columns=(
        Column("setting", "Differs in"),
        Column("epoch", "Epoch of the curve"),
        Column("train_accuracy_worst", "Worst", "Train accuracy (%)", 2),
        Column("test_accuracy_worst", "Worst", "Test accuracy (%)", 2),
        Column("test_accuracy_mean", "Mean", "Test accuracy (%)", 2),
        Column("train_nll_worst", "Worst", "Train cross-entropy", 4),
        Column("train_nll_mean", "Mean", "Train cross-entropy", 4),
        Column("test_nll_worst", "Worst", "Test cross-entropy", 4),
        Column("norm", "Norm", decimals=2),
        Column("distance", "Distance", decimals=2),
        Column("length_ratio", "Length ratio", decimals=2),
        Column("train_nll_height_above_ends", "Above ends", "Barrier, train cross-entropy", 4),
        Column("train_nll_barrier", "Above line", "Barrier, train cross-entropy", 4),
        Column("test_error_height_above_ends", "Above ends", "Barrier, test error (points)", 2),
        Column("test_error_barrier", "Above line", "Barrier, test error (points)", 2),
        Column("statement_holds", "Statement holds"),
    ),
    legend="In brackets: nominal 95 % intervals over test examples (bootstrap). Worst and mean are "
    "over the points of a path; a mode is one point. Distance: of a mode from the first; of a path "
    "between its ends. Barriers above ends are those of the paper (footnote 1), barriers above the "
    "line between the ends those of Entezari et al. 2022. Statement (section 3: each point of the "
    "curve generalizes almost as well as its ends): no point falls behind the test accuracy of the "
    "worse end by more than a margin (statement_margin in the CSV), by the interval where there is "
    "one. The paper prints no numbers.",
)
