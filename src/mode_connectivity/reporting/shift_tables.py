"""Tables of ensembles on corrupted test images: figure 11 and C.1 of Benton et al. 2021.

The paper shows figures and prints no numbers, so nothing published stands beside ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.ensembling.predictions import open_tensors
from mode_connectivity.ensembling.shift import CLEAN
from mode_connectivity.reporting.ensemble_tables import RunValues, difference_columns
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.reporting.summaries import (
    Floats,
    error_percent,
    percentile_interval,
    read_correct,
    resampled_errors,
    resampled_means,
    t_interval,
)
from mode_connectivity.settings import UserError

_TITLES = {"jpeg_compression": "JPEG compression"}
_CALIBRATION = ("test_ece_equal_count_scaled", "test_ece_equal_width_scaled")
# Of shift.csv; means over runs.
_MEANS = ("test_nll", "test_ece_equal_count", "test_ece_equal_width", "test_brier_scaled")
_COMPARED = ("test_error", "test_nll_scaled")
_COLUMNS = (
    "dataset",
    "network",
    "corruption",
    "condition",
    "exact",
    "source",
    "severity",
    "method",
    "budget",
    "members",
    "runs",
    "examples",
    *(f"{name}{end}" for name in (*_COMPARED, *_CALIBRATION) for end in ("", "_low", "_high")),
    *(
        f"{name}_difference{end}"
        for name in _COMPARED
        for end in ("", "_low", "_high", "_interval")
    ),
    "compared_with",
    *_MEANS,
    "temperature",
    "interval",
    "approximation",
)


@dataclass(frozen=True, eq=False)
class EvaluatedShift:
    """The ensembles of one method on clean and corrupted images.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        method: label of the method.
        metrics: R rows, as ``ensembling.shift.evaluate_ensemble_under_shift`` writes them.
        correct: [R, N] which of the reported examples each ensemble classifies correctly.
        log_likelihood_scaled: [R, N] log-probability of the true class after temperature scaling.
    """

    dataset: str
    network: str
    method: str
    metrics: pd.DataFrame
    correct: NDArray[np.bool_]
    log_likelihood_scaled: Floats


def read_shift(dataset: str, network: str, method: str, folder: Path) -> EvaluatedShift:
    """Read what ``ensembling.shift.evaluate_ensemble_under_shift`` has written.

    Args:
        dataset: title of the data set.
        network: title of the network.
        method: label of the method.
        folder: with ``shift.csv`` and ``shift.safetensors``.

    Raises:
        UserError: the ensembles are missing, damaged, or not those of the metrics.
    """
    metrics = pd.read_csv(folder / "shift.csv", keep_default_na=False)
    path = folder / "shift.safetensors"
    correct = read_correct(path)
    errors = error_percent(correct)
    if len(errors) != len(metrics) or not np.allclose(errors, metrics["test_error"]):
        raise UserError(
            f"{path}: not the ensembles of {folder / 'shift.csv'}: other test errors; evaluate the "
            "ensemble under shift again"
        )
    log_likelihood = open_tensors(path, ("log_likelihood_scaled",))
    return EvaluatedShift(
        dataset, network, method, metrics, correct,
        log_likelihood.get_tensor("log_likelihood_scaled"),
    )  # fmt: skip


def shift_table(
    methods: Sequence[EvaluatedShift],
    corruptions: Sequence[str],
    *,
    severities: Sequence[int] = SEVERITIES,
    budget: int | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Benton et al. 2021, figure 11 and C.1: ensembles at growing severity of corruptions.

    A value is the mean over the runs of its method. With several runs its interval is Student's t
    over them; with one run a bootstrap over test examples, which calibration errors have none of.
    Differences to the first method are what the paper's claims rest on; as in
    ``garipov2018_table1`` they are paired by seeds or by test examples where that can be.

    Args:
        methods: on one data set; the first is the one that the others are compared with.
        corruptions: in the order of their rows.
        severities: those that are shown, beside clean images.
        budget: of the ensembles; the largest that each method has if left out.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap; all rows share its samples.

    Returns:
        One row a corruption, severity and method, those of clean images (severity 0) first:
        ``dataset, network, corruption``; ``condition``, the corruption in words, with
        ``(approximated)`` where it is not that of CIFAR-10-C; ``exact, source, severity, method,
        budget, members, runs``; ``examples`` that are reported; ``test_error`` (percent),
        ``test_nll_scaled`` (nats), ``test_ece_equal_count_scaled`` and
        ``test_ece_equal_width_scaled`` (percent), each with ``_low, _high``;
        ``test_error_difference`` and ``test_nll_scaled_difference`` to the method
        ``compared_with``, with ``_low, _high, _interval``; ``test_nll, test_ece_equal_count,
        test_ece_equal_width`` before scaling, ``test_brier_scaled``; ``temperature``;
        ``interval``: what ``_low`` and ``_high`` are over, ``runs`` or ``examples``;
        ``approximation``, why a corruption is not exact.

    Raises:
        UserError: a corruption or a budget is missing, or the methods were tested on different
            numbers of examples.
    """
    sizes = sorted({method.correct.shape[1] for method in methods})
    if len(sizes) > 1:
        raise UserError(
            f"ensembles under shift: reported on {sizes} examples; evaluate all of them on one "
            "test set"
        )
    chosen = [_at_budget(method, budget) for method in methods]
    values = _values(methods, resamples, seed)
    places = [(CLEAN, 0), *((name, level) for name in corruptions for level in severities)]
    rows: list[dict[str, object]] = []
    for corruption, severity in places:
        first: dict[str, RunValues] | None = None
        for method, at_budget, of_method in zip(methods, chosen, values, strict=True):
            metrics = method.metrics
            here = (metrics["corruption"] == corruption) & (metrics["severity"] == severity)
            selected = (at_budget & here).to_numpy()
            if not selected.any():
                raise UserError(
                    f"{method.method}: not evaluated under {corruption} at severity {severity}; "
                    "evaluate the ensemble under shift again"
                )
            own = {name: of_all[selected] for name, of_all in of_method.items()}
            row = _row(method, metrics[selected], own, sizes[0])
            if first is None:
                first = own
            else:
                row["compared_with"] = methods[0].method
                for name in _COMPARED:
                    row |= difference_columns(f"{name}_difference", own[name], first[name])
            rows.append(row)
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def condition_title(corruption: str, exact: bool) -> str:
    """Return a corruption in words, marked where it is not that of CIFAR-10-C."""
    title = _TITLES.get(corruption, corruption.replace("_", " ").capitalize())
    return title if exact else f"{title} (approximated)"


def _at_budget(method: EvaluatedShift, budget: int | None) -> "pd.Series[bool]":
    budgets = method.metrics["budget"]
    wanted = budgets.max() if budget is None else budget
    if wanted not in set(budgets):
        raise UserError(
            f"{method.method}: no ensembles of budget {wanted}; budgets: "
            f"{', '.join(map(str, sorted(set(budgets))))}"
        )
    return budgets == wanted


def _values(
    methods: Sequence[EvaluatedShift], resamples: int, seed: int
) -> list[dict[str, RunValues]]:
    """Measure everything on the same bootstrap samples, so that it can be compared."""
    correct = np.concatenate([method.correct for method in methods])
    nll = -np.concatenate([method.log_likelihood_scaled for method in methods]).astype(float)
    seeds = np.concatenate([method.metrics["seeds"].to_numpy(object) for method in methods])
    together = {
        "test_error": RunValues(
            error_percent(correct), resampled_errors(correct, resamples=resamples, seed=seed), seeds
        ),
        "test_nll_scaled": RunValues(
            nll.mean(axis=1), resampled_means(nll, resamples=resamples, seed=seed), seeds
        ),
    }
    owner = np.repeat(np.arange(len(methods)), [len(method.metrics) for method in methods])
    return [
        {name: values[owner == index] for name, values in together.items()}
        for index in range(len(methods))
    ]


def _row(
    method: EvaluatedShift, metrics: pd.DataFrame, own: Mapping[str, RunValues], examples: int
) -> dict[str, object]:
    runs = len(metrics)
    one = metrics.iloc[0]
    row: dict[str, object] = {"dataset": method.dataset, "network": method.network}
    row |= {name: one[name] for name in ("corruption", "exact", "source", "severity", "budget")}
    row |= {"condition": condition_title(one["corruption"], one["exact"])}
    row |= {"method": method.method, "members": one["members"], "runs": runs}
    row |= {"examples": examples, "approximation": one["approximation"]}
    row |= {name: float(metrics[name].mean()) for name in (*_MEANS, "temperature")}
    for name, values in own.items():
        low, high = (
            t_interval(values.of_runs.tolist())
            if runs > 1
            else percentile_interval(values.resampled[:, 0])
        )
        row |= {name: values.mean, f"{name}_low": max(low, 0.0), f"{name}_high": high}
    row["test_error_high"] = min(float(str(row["test_error_high"])), 100.0)
    for name in _CALIBRATION:
        low, high = t_interval(metrics[name].tolist())
        row |= {name: float(metrics[name].mean()), f"{name}_low": max(low, 0.0)}
        row |= {f"{name}_high": high}
    return row | {"interval": "runs" if runs > 1 else "examples"}


_LABELS = (
    Column("condition", "Corruption"),
    Column("severity", "Severity"),
    Column("method", "Method"),
)
_ERRORS = (
    Column("members", "Members"),
    Column("runs", "Runs"),
    Column("test_error", "Test error (%)", decimals=2),
    Column("test_error_difference", "Difference (points)", decimals=2),
    Column("test_nll_scaled", "NLL, scaled", decimals=4),
    Column("test_nll_scaled_difference", "Difference", decimals=4),
)
_LEGEND = (
    "Severity 0: clean test images. In brackets: nominal 95 % intervals, of several runs over runs "
    "(Student's t), of single ones over test examples. Differences: to the first method. Scaled: "
    "with the temperature of each ensemble fitted on a fixed random half of the clean test images; "
    "all numbers are of the other half. Approximated corruptions are not those of CIFAR-10-C. The "
    "paper prints no numbers."
)
SHIFT_LAYOUTS: Mapping[str, Layout] = {
    "benton2021_figure11": Layout(
        title="Benton et al. 2021, figure 11: ensembles under corruption",
        labels=_LABELS,
        columns=(*_ERRORS, Column("temperature", "Temperature", decimals=3)),
        legend=_LEGEND,
        notes=("approximation",),
    ),
    "benton2021_c1": Layout(
        title="Benton et al. 2021, C.1: ensembles under further corruptions",
        labels=_LABELS,
        columns=(
            *_ERRORS,
            Column("test_ece_equal_count_scaled", "20 equal counts", "ECE (%), scaled", 2),
            Column("test_ece_equal_width_scaled", "15 equal widths", "ECE (%), scaled", 2),
            Column("test_ece_equal_count", "20 equal counts", "ECE (%)", 2),
            Column("test_ece_equal_width", "15 equal widths", "ECE (%)", 2),
            Column("temperature", "Temperature", decimals=3),
        ),
        legend=_LEGEND,
        notes=("approximation",),
    ),
}
