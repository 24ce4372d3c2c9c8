"""The tables of the papers, from grids and predictions that are already loaded.

A cell is the mean over the runs of its row. With one run, test errors carry a bootstrap interval
over test examples, which says how far they depend on the test set; with several, every value
carries Student's t interval over runs, which says how far it depends on the training. ``interval``
names which (``examples`` or ``runs``); both are 95 %.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mode_connectivity.reporting.published import (
    CURVES,
    REFERENCE_CODE_VALUES,
    TABLE2_VALUES,
    Pair,
    join_published,
    name_published,
)
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.reporting.summaries import (
    BootstrapMethod,
    Interval,
    bootstrap_test_error,
    check_grid,
    error_percent,
    percentile_interval,
    resampled_errors,
    summarise_curve,
    summarise_endpoints,
    t_interval,
)
from mode_connectivity.settings import UserError

ENSEMBLES = (
    "Curve points",
    "Curve points, scaled by loss",
    "Curve points, scaled by NLL",
    "Endpoints",
    "Independent networks",
)

_TABLE2_METRICS = ("train_loss", "train_error", "test_error")
_TABLE2_SUMMARIES = (
    *TABLE2_VALUES,
    *(
        f"{metric}_{statistic}"
        for metric in _TABLE2_METRICS
        for statistic in ("mean", "height_above_ends")
    ),
)
"""What the paper prints, and what its text says of the curves."""
_ENDS = ("", "_low", "_high")
_TABLE2_KEYS = ["dataset", "network", "curve"]
_TABLE2_BOUNDS = [f"{value}{end}" for value in TABLE2_VALUES for end in _ENDS[1:]]
_TABLE2_FURTHER = [
    f"{value}{end}" for value in _TABLE2_SUMMARIES if value not in TABLE2_VALUES for end in _ENDS
]
_ENSEMBLE_DIFFERENCES = {
    "Endpoints": "test_error_difference",
    "Independent networks": "test_error_difference_independent",
    "Curve points": "test_error_difference_unscaled",
}
"""What ensembles are compared with, and the column of the difference."""
_NO_INTERVAL: Interval = (np.nan, np.nan)


@dataclass(frozen=True, eq=False)
class EvaluatedCurve:
    """One curve between two networks, evaluated.

    Attributes:
        dataset: title of the data set, as it stands in the table.
        network: title of the network.
        curve: one of ``CURVES``, less ``Single``.
        grid: one row a point, as the evaluator writes it.
        endpoint_distance: straight distance between the ends in weight space, which is the length
            of the segment.
        correct: [T, N] which test examples each point classifies correctly; without it there are
            no intervals over examples.
        note: what sets it apart from the paper's curves, if anything does.
    """

    dataset: str
    network: str
    curve: str
    grid: pd.DataFrame
    endpoint_distance: float
    correct: NDArray[np.bool_] | None = None
    note: str = ""

    @property
    def where(self) -> str:
        """Which grid this is, for messages."""
        return f"grid of {self.dataset}, {self.network}, {self.curve}"


@dataclass(frozen=True, eq=False)
class EvaluatedEnsemble:
    """One ensemble, evaluated.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        ensemble: one of ``ENSEMBLES``.
        members: number of networks.
        correct: [N] which test examples it classifies correctly.
        test_nll: cross-entropy on the test set.
        run: ensembles that share networks share a run and are compared with one another.
    """

    dataset: str
    network: str
    ensemble: str
    members: int
    correct: NDArray[np.bool_]
    test_nll: float
    run: int = 1


Item = TypeVar("Item", EvaluatedCurve, EvaluatedEnsemble)
Key = TypeVar("Key", bound=Hashable)


def garipov2018_table2(
    curves: Sequence[EvaluatedCurve],
    *,
    published: pd.DataFrame,
    reference_code: pd.DataFrame,
    counterparts: Mapping[Pair, Pair] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    method: BootstrapMethod = "percentile",
) -> pd.DataFrame:
    """Garipov et al. 2018, Table 2: loss and error along curves.

    The paper's numbers come from TensorFlow, those of the reference code from its PyTorch recipe
    with other losses; each is comparable with its own kind of run only, so both are shown. The
    reference code measures its train loss on augmented images.

    Args:
        curves: several with the same data set, network and curve are runs of one row. Runs should
            not share endpoints: the interval over runs takes them as independent. The row "Single"
            of a network is made from the ends of its segments.
        published: ``garipov2018_table2``, loaded.
        reference_code: ``garipov2018_table2_reference_code``, loaded.
        counterparts: our (data set, network) -> the paper's, for rows that imitate one of the
            paper; ``published_dataset`` and ``published_network`` name it.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap; rows on one data set share its samples.
        method: of the bootstrap's intervals, as in ``bootstrap_test_error``.

    Returns:
        ``dataset, network, curve``; ``length_ratio`` and Min, Int, Max of train loss, train error
        and test error (errors in percent); these ten with ``_published``; ``runs``; ``interval``
        and the ten with ``_low`` and ``_high``; of the three metrics ``_mean`` over the grid and
        ``_height_above_ends``, by how much the worst point lies above the worse end, likewise with
        ``_low`` and ``_high``; ``_reference_code`` columns; ``published_dataset,
        published_network``; ``note_published, note_reference_code``, remarks on what is printed, or
        on a curve that the paper does not have. Cells without a value are empty.

    Raises:
        UserError: a grid that lacks a column or holds no number, correctness that is not that of
            the grid, or a counterpart that is not published.
    """
    ours = curve_table(curves, resamples=resamples, seed=seed, method=method)
    names = name_published(ours, [published, reference_code], counterparts)
    joined = join_published(
        ours,
        published,
        keys=_TABLE2_KEYS,
        values=[*TABLE2_VALUES, "note"],
        counterparts=counterparts,
    )
    joined = join_published(
        joined,
        reference_code,
        keys=_TABLE2_KEYS,
        values=[*REFERENCE_CODE_VALUES, "note"],
        suffix="reference_code",
        counterparts=counterparts,
    )
    joined = joined.join(names)
    joined["note_published"] = joined["note"].combine_first(joined["note_published"])
    return joined[
        [
            *_TABLE2_KEYS,
            *TABLE2_VALUES,
            *(f"{value}_published" for value in TABLE2_VALUES),
            "runs",
            "interval",
            *_TABLE2_BOUNDS,
            *_TABLE2_FURTHER,
            *(f"{value}_reference_code" for value in REFERENCE_CODE_VALUES),
            "published_dataset",
            "published_network",
            "note_published",
            "note_reference_code",
        ]
    ]


def curve_table(
    curves: Sequence[EvaluatedCurve],
    *,
    resamples: int = 1000,
    seed: int = 0,
    method: BootstrapMethod = "percentile",
) -> pd.DataFrame:
    """Summarise curves between two networks, and the networks, as Table 2 of Garipov et al. does.

    Args:
        curves: as for `garipov2018_table2`.
        resamples: likewise.
        seed: likewise.
        method: likewise.

    Returns:
        Our own columns of `garipov2018_table2`, and ``note``, what sets a curve apart.

    Raises:
        UserError: a grid that lacks a column or holds no number, or correctness that is not that of
            the grid.
    """
    for evaluated in curves:
        check_grid(evaluated.grid, _TABLE2_METRICS, evaluated.where)
        _check_correct(evaluated)
    rows = []
    for (dataset, network), of_network in _networks(curves):
        of_curve = dict(_grouped(of_network, lambda c: c.curve))
        singles = of_curve.get("Segment", [])
        if singles:
            summaries = [summarise_endpoints(c.grid, _TABLE2_METRICS) for c in singles]
            intervals = _over_runs(summaries) or _over_examples(
                singles[0], resamples, seed, method, ends_only=True
            )
            rows.append(_table2_row(dataset, network, "Single", summaries, intervals))
        for curve in sorted(of_curve, key=lambda name: _order(name, CURVES)):
            runs = of_curve[curve]
            summaries = [
                summarise_curve(c.grid, c.endpoint_distance, _TABLE2_METRICS) for c in runs
            ]
            intervals = _over_runs(summaries) or _over_examples(
                runs[0], resamples, seed, method, ends_only=False
            )
            row = _table2_row(dataset, network, curve, summaries, intervals)
            rows.append(row | {"note": runs[0].note or None})

    return pd.DataFrame(
        rows,
        columns=[
            *_TABLE2_KEYS,
            *TABLE2_VALUES,
            "runs",
            "interval",
            *_TABLE2_BOUNDS,
            *_TABLE2_FURTHER,
            "note",
        ],
    )


def _table2_row(
    dataset: str,
    network: str,
    curve: str,
    summaries: Sequence[Mapping[str, float]],
    intervals: Mapping[str, Interval],
) -> dict[str, object]:
    row: dict[str, object] = {"dataset": dataset, "network": network, "curve": curve}
    row |= {"runs": len(summaries), "interval": _interval_kind(len(summaries), intervals)}
    for value in _TABLE2_SUMMARIES:
        row[value] = float(np.mean([summary[value] for summary in summaries]))
        row[f"{value}_low"], row[f"{value}_high"] = intervals.get(value, _NO_INTERVAL)
    return row


def _interval_kind(runs: int, intervals: Mapping[str, Interval]) -> str | None:
    if runs > 1:
        return "runs"
    return "examples" if intervals else None


def _over_runs(summaries: Sequence[Mapping[str, float]]) -> Mapping[str, Interval]:
    if len(summaries) < 2:
        return {}
    return {
        value: _within_range(value, t_interval([summary[value] for summary in summaries]))
        for value in _TABLE2_SUMMARIES
    }


def _over_examples(
    run: EvaluatedCurve, resamples: int, seed: int, method: BootstrapMethod, *, ends_only: bool
) -> Mapping[str, Interval]:
    if run.correct is None:
        return {}
    correct = run.correct[[0, -1]] if ends_only else run.correct
    length = None if ends_only else run.grid["length"].to_numpy(float)
    return bootstrap_test_error(correct, length, resamples=resamples, seed=seed, method=method)


def _within_range(value: str, interval: Interval) -> Interval:
    """Cut off the part of an interval over few runs in which no value can lie."""
    low, high = interval
    lowest = 1.0 if value == "length_ratio" else 0.0
    highest = 100.0 if "error" in value else np.inf
    return float(np.maximum(low, lowest)), float(np.minimum(high, highest))


def _check_correct(curve: EvaluatedCurve) -> None:
    """Recognise correctness and grid that come from different evaluations."""
    if curve.correct is None:
        return
    points, examples = curve.correct.shape
    where = curve.where
    if points != len(curve.grid):
        raise UserError(
            f"{where}: correct predictions at {points} points for a grid of {len(curve.grid)}; "
            "they belong together: evaluate the curve again"
        )
    differences = np.abs(error_percent(curve.correct) - curve.grid["test_error"].to_numpy(float))
    half_an_example = 50.0 / examples
    if np.any(differences > half_an_example):
        row = int(differences.argmax())
        raise UserError(
            f"{where}: at t = {curve.grid['t'].iloc[row]:g} the correct predictions and the grid "
            f"differ by {differences[row]:g} percentage points of test error; "
            "they belong together: evaluate the curve again"
        )


def garipov2018_curve_ensemble(
    ensembles: Sequence[EvaluatedEnsemble],
    *,
    published: pd.DataFrame,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Garipov et al. 2018, section 4.3: what the points of a chain are worth as an ensemble.

    The paper gives one network on one data set, and does not give its temperature; "scaled by
    loss" is our reading of it (logits times mean end loss / train loss at the point, at most one),
    "scaled by NLL" the same without the L2 term, for which nothing is published.

    Args:
        ensembles: those with the same data set, network and ensemble are runs of one row.
        published: ``garipov2018_curve_ensemble``, loaded.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap.

    Returns:
        ``dataset, network, ensemble, members, test_error, test_error_low, test_error_high,
        test_nll, runs, test_error_published``; ``published_setting``, the network and data set of
        the published values, whatever ours are; ``interval``; ``test_error_difference`` to the
        ensemble of the endpoints of the same run, ``test_error_difference_independent`` to that of
        independent networks and ``test_error_difference_unscaled`` to that of the points as they
        are, each with ``_low`` and ``_high``, paired by example.

    Raises:
        UserError: ensembles of one run that were tested on different numbers of examples, or runs
            of one row with different numbers of members.
        ValueError: two ensembles of one kind in one run.
    """
    rows = []
    for (dataset, network), of_network in _networks(ensembles):
        measured = pd.concat(
            _measure_ensembles(together, resamples, seed)
            for _, together in _grouped(of_network, lambda ensemble: ensemble.run)
        )
        if measured.duplicated(["ensemble", "run"]).any():
            raise ValueError(f"{dataset}, {network}: two ensembles of one kind in one run")
        for kind in sorted(measured["ensemble"].unique(), key=lambda name: _order(name, ENSEMBLES)):
            runs = measured[measured["ensemble"] == kind]
            row = runs.iloc[0].drop("run").to_dict()
            row |= {"runs": len(runs), "interval": "runs" if len(runs) > 1 else "examples"}
            if runs["members"].nunique() > 1:
                raise UserError(
                    f"{dataset}, {network}, {kind}: runs with {sorted(set(runs['members']))} "
                    "members; the runs of a row have equally many: select ensembles of one size"
                )
            if len(runs) > 1:
                error = runs["test_error"]
                row["test_nll"] = runs["test_nll"].mean()
                row["test_error"] = error.mean()
                row["test_error_low"], row["test_error_high"] = _within_range(
                    "test_error", t_interval(error.to_list())
                )
                for name in _ENSEMBLE_DIFFERENCES.values():
                    row[name] = runs[name].mean(skipna=False)
                    row[f"{name}_low"], row[f"{name}_high"] = t_interval(runs[name].to_list())
            rows.append(row)
    joined = join_published(
        pd.DataFrame(rows),
        published,
        keys=["ensemble"],
        values=["test_error", "network", "dataset"],
    )
    joined["published_setting"] = joined["network_published"] + ", " + joined["dataset_published"]
    return joined[
        [
            "dataset",
            "network",
            "ensemble",
            "members",
            "test_error",
            "test_error_low",
            "test_error_high",
            "test_nll",
            "runs",
            "test_error_published",
            "published_setting",
            "interval",
            *(f"{name}{end}" for name in _ENSEMBLE_DIFFERENCES.values() for end in _ENDS),
        ]
    ]


def _measure_ensembles(
    together: Sequence[EvaluatedEnsemble], resamples: int, seed: int
) -> pd.DataFrame:
    """Measure the ensembles of one run on the same bootstrap samples."""
    sizes = sorted({len(ensemble.correct) for ensemble in together})
    if len(sizes) > 1:
        raise UserError(
            f"{together[0].dataset}, {together[0].network}, run {together[0].run}: ensembles "
            f"tested on {sizes} examples; evaluate all of them on one test set"
        )
    correct = np.stack([ensemble.correct for ensemble in together])
    errors = error_percent(correct)
    resampled = resampled_errors(correct, resamples=resamples, seed=seed)
    places = {ensemble.ensemble: i for i, ensemble in enumerate(together)}
    rows = []
    for i, ensemble in enumerate(together):
        low, high = percentile_interval(resampled[:, i])
        differences: dict[str, float] = {}
        for kind, name in _ENSEMBLE_DIFFERENCES.items():
            difference, interval = np.nan, _NO_INTERVAL
            if kind in places and kind != ensemble.ensemble:
                base = places[kind]
                difference = float(errors[i] - errors[base])
                interval = percentile_interval(resampled[:, i] - resampled[:, base])
            differences |= {name: difference, f"{name}_low": interval[0]}
            differences[f"{name}_high"] = interval[1]
        rows.append(
            {
                "dataset": ensemble.dataset,
                "network": ensemble.network,
                "ensemble": ensemble.ensemble,
                "members": ensemble.members,
                "run": ensemble.run,
                "test_error": float(errors[i]),
                "test_error_low": low,
                "test_error_high": high,
                "test_nll": ensemble.test_nll,
                **differences,
            }
        )
    return pd.DataFrame(rows)


def garipov2018_trivial_path(paths: Sequence[EvaluatedCurve]) -> pd.DataFrame:
    """Garipov et al. 2018, A.6: the path through the origin predicts as its ends, at a higher loss.

    The path runs from one network to the origin of weight space (t = 1/2) and on to the other,
    weights scaled by s and the bias of layer i by s^i. Without batch normalisation the logits of a
    network of n layers are scaled by s^n, which leaves every prediction as it was; published is
    that the error does not deviate from the end's, and that the train loss "goes up substantially".

    Args:
        paths: one row each; their ``curve``, ``endpoint_distance`` and ``correct`` are not used.

    Returns:
        ``dataset, network, run`` (paths of one network, counted); ``test_error_start`` and
        ``test_error_end`` of the two networks; ``test_error_deviation``, the largest from the
        network at the end of the same half, origin left out, in percentage points, and the ``t``
        where it lies (empty without any); ``train_loss_start``, ``train_loss_end``; the largest
        ``train_loss`` and ``train_nll`` (which has no L2 term, as that vanishes towards the origin)
        and where; ``test_error_deviation_published``.

    Raises:
        UserError: a grid that lacks a column or holds no number.
        ValueError: a grid that does not pass the origin at t = 1/2 with points on either side.
    """
    metrics = ("train_loss", "train_nll", "test_error")
    rows = []
    runs: Counter[Pair] = Counter()
    for path in [path for _, of_network in _networks(paths) for path in of_network]:
        check_grid(path.grid, metrics, path.where)
        t, train_loss, train_nll, test_error = (
            path.grid[column].to_numpy(float) for column in ("t", *metrics)
        )
        halves = [t < 0.5, t > 0.5]
        if not (t[0] == 0 and t[-1] == 1 and all(half.any() for half in halves)):
            raise ValueError("a trivial path runs over t in [0, 1] with the origin at 1/2")
        deviation = np.select(
            halves, [np.abs(test_error - test_error[0]), np.abs(test_error - test_error[-1])], 0.0
        )
        runs[path.dataset, path.network] += 1
        rows.append(
            {
                "dataset": path.dataset,
                "network": path.network,
                "run": runs[path.dataset, path.network],
                "test_error_start": test_error[0],
                "test_error_end": test_error[-1],
                "test_error_deviation": deviation.max(),
                "test_error_deviation_t": t[deviation.argmax()] if deviation.any() else np.nan,
                "train_loss_start": train_loss[0],
                "train_loss_end": train_loss[-1],
                "train_loss_max": train_loss.max(),
                "train_loss_max_t": t[train_loss.argmax()],
                "train_nll_max": train_nll.max(),
                "train_nll_max_t": t[train_nll.argmax()],
                # A.6: "the accuracy of all networks corresponding to t > 0 is the same".
                "test_error_deviation_published": 0.0,
            }
        )
    return pd.DataFrame(rows)


def _networks(items: Iterable[Item]) -> list[tuple[Pair, list[Item]]]:
    """Group by data set and network; those of one data set stay together."""
    return [
        ((dataset, network), of_network)
        for dataset, of_dataset in _grouped(items, lambda item: item.dataset)
        for network, of_network in _grouped(of_dataset, lambda item: item.network)
    ]


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """Group by key, in the order of first appearance."""
    groups: dict[Key, list[Item]] = {}
    for item in items:
        groups.setdefault(key(item), []).append(item)
    return list(groups.items())


def _order(name: str, known: Sequence[str]) -> tuple[int, str]:
    return (known.index(name) if name in known else len(known), name)


_INTERVALS = (
    "In brackets: nominal 95 % intervals, of single runs over test examples (bootstrap), of "
    "several over runs (Student's t)."
)
_DATASET = Column("dataset", "Data set")
_NETWORK = Column("network", "Network")

LAYOUTS: Mapping[str, Layout] = {
    "garipov2018_table2": Layout(
        title="Garipov et al. 2018, Table 2: loss and error along curves",
        labels=(_DATASET, _NETWORK, Column("curve", "Curve")),
        columns=(
            Column("length_ratio", "Length ratio", decimals=2),
            *(
                Column(f"{metric}_{label.lower()}", label, group, decimals)
                for metric, group, decimals in (
                    ("train_loss", "Train loss", 4),
                    ("train_error", "Train error (%)", 2),
                    ("test_error", "Test error (%)", 2),
                )
                for label in ("Min", "Int", "Max")
            ),
            Column("test_error_height_above_ends", "Above ends", "Test error (%)", 2),
            Column("runs", "Runs"),
        ),
        legend=f"{_INTERVALS} Above ends: by how much the worst point of the curve lies above its "
        "worse end, paired by test example. Values of the reference code are those of its README, "
        "where recipe and loss are not the paper's.",
        published_setting=("published_dataset", "published_network"),
        notes=("note_published", "note_reference_code"),
    ),
    "garipov2018_curve_ensemble": Layout(
        title="Garipov et al. 2018, section 4.3: ensembles of points of a curve",
        labels=(_DATASET, _NETWORK, Column("ensemble", "Ensemble")),
        columns=(
            Column("members", "Members"),
            Column("test_error", "Test error (%)", decimals=2),
            Column("test_error_difference", "to endpoints", "Difference (points)", 2),
            Column(
                "test_error_difference_independent",
                "to independent networks",
                "Difference (points)",
                2,
            ),
            Column("test_nll", "Test NLL", decimals=4),
            Column("runs", "Runs"),
        ),
        legend=f"{_INTERVALS} Differences are paired by test example.",
        published_setting=("published_setting",),
    ),
    "garipov2018_trivial_path": Layout(
        title="Garipov et al. 2018, A.6: the trivial path through the origin",
        labels=(_DATASET, _NETWORK, Column("run", "Run")),
        columns=(
            Column("test_error_start", "Start", "Test error (%)", 2),
            Column("test_error_end", "End", "Test error (%)", 2),
            Column("test_error_deviation", "Largest deviation", "Test error (%)", 2),
            Column("train_loss_start", "Start", "Train loss", 4),
            Column("train_loss_end", "End", "Train loss", 4),
            Column("train_loss_max", "Max", "Train loss", 4),
            Column("train_loss_max_t", "at t", "Train loss", 3),
        ),
        legend="The origin itself is left out of the deviation.",
    ),
}
