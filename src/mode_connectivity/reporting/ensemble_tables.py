"""The tables of ensembles, from evaluations that are already loaded.

A cell is the mean over the runs of its row. ``interval`` names what its interval is over: with
several runs ``runs`` (Student's t), which says how far the value depends on the training; with one
run ``examples`` (bootstrap), which says how far it depends on the test set. Both are 95 %.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mode_connectivity.ensembling.predictions import (
    StoredPredictions,
    mixture_probabilities,
    negative_log_likelihood,
    open_tensors,
)
from mode_connectivity.evaluation.calibration import deep_ensemble_equivalent
from mode_connectivity.reporting.published import Pair, join_published, name_published
from mode_connectivity.reporting.rendering import Column, Layout, Pivot
from mode_connectivity.reporting.summaries import (
    LEVEL,
    Floats,
    Interval,
    error_percent,
    percentile_interval,
    read_correct,
    resampled_errors,
    student_quantile,
    t_interval,
)
from mode_connectivity.settings import UserError

METHOD_TITLES: Mapping[str, str] = {
    "independent": "Ind",
    "snapshot": "SSE",
    "fast_geometric": "FGE",
    "weight_average": "SWA",
}
_METHODS = tuple(METHOD_TITLES.values())
_INDEPENDENT = METHOD_TITLES["independent"]
_BASES = {
    METHOD_TITLES["independent"]: "test_error_difference",
    METHOD_TITLES["snapshot"]: "test_error_difference_snapshot",
}
"""What methods are compared with, and the column of the difference."""

MEANS = (
    "test_nll",
    "test_nll_scaled",
    "test_brier",
    "test_ece_equal_width",
    "test_ece_equal_count",
    "test_brier_scaled",
    "test_ece_equal_width_scaled",
    "test_ece_equal_count_scaled",
    "temperature",
    "disagreement",
    "member_test_error",
    "member_test_nll",
)
"""Of metrics.csv; means over runs."""
_TABLE1_COLUMNS = (
    "dataset",
    "network",
    "method",
    "budget",
    "members",
    "runs",
    "test_error",
    "test_error_low",
    "test_error_high",
    "test_error_published",
    "interval",
    "test_error_std",
    *(f"{name}{end}" for name in _BASES.values() for end in ("", "_low", "_high", "_interval")),
    *MEANS,
    "member_distance",
    *(f"{name}_{end}" for name in ("test_nll", "test_nll_scaled") for end in ("low", "high")),
    "deep_ensemble_equivalent",
    *(f"deep_ensemble_equivalent_{what}" for what in ("low", "high", "bound")),
)
_IMAGENET_COLUMNS = (
    "dataset",
    "network",
    "method",
    "epochs",
    "members",
    "runs",
    "test_error",
    "test_error_low",
    "test_error_high",
    "test_error_difference",
    "test_error_difference_low",
    "test_error_difference_high",
    "test_nll",
    "test_error_published",
    "interval",
    "test_error_std",
    "test_error_difference_interval",
)


@dataclass(frozen=True, eq=False)
class EvaluatedMethod:
    """The ensembles of one method on one network, at every budget and of every run.

    Attributes:
        dataset: title of the data set, as it stands in the table.
        network: title of the network.
        method: title of the method, one of ``METHOD_TITLES``.
        metrics: R rows, as ``ensembling.evaluation.evaluate_ensemble`` writes them.
        correct: [R, N] which test examples each ensemble classifies correctly.
        log_likelihood: [R, N] log-probability of the true class.
        log_likelihood_scaled: [R, N] the same after cross-fitted temperature scaling.
        member_distance: mean distance of a member to the one before, of the same training; NaN
            where a training has one member.
    """

    dataset: str
    network: str
    method: str
    metrics: pd.DataFrame
    correct: NDArray[np.bool_]
    log_likelihood: Floats
    log_likelihood_scaled: Floats
    member_distance: float = np.nan


@dataclass(frozen=True, eq=False)
class FinetunedNetwork:
    """A pre-trained network and the members that fast geometric ensembling collected from it.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        members: ``members.csv``. Of every seed the first in order of epochs is the pre-trained
            network.
        predictions: of the members.
        weight_averages: of the averages of their weights, one a seed.
    """

    dataset: str
    network: str
    members: pd.DataFrame
    predictions: StoredPredictions
    weight_averages: StoredPredictions | None = None


@dataclass(frozen=True, eq=False)
class RunValues:
    """A value of each run of a cell, and the same on bootstrap samples of the test set.

    Attributes:
        of_runs: [R]; test errors in percent, or another mean over test examples.
        resampled: [S, R]; all cells of a network share the samples.
        names: [R], the seeds of each run: runs of the same seeds are compared with each other.
    """

    of_runs: Floats
    resampled: Floats
    names: NDArray[np.object_]

    @property
    def mean(self) -> float:
        """Of the runs."""
        return float(self.of_runs.mean())

    def __getitem__(self, runs: NDArray[np.bool_]) -> "RunValues":
        return RunValues(self.of_runs[runs], self.resampled[:, runs], self.names[runs])


def read_method(dataset: str, network: str, method: str, folder: Path) -> EvaluatedMethod:
    """Read what ``ensembling.evaluation.evaluate_ensemble`` has written.

    Args:
        dataset: title of the data set.
        network: title of the network.
        method: title of the method, one of ``METHOD_TITLES``.
        folder: with ``metrics.csv``, ``ensembles.safetensors`` and ``members.csv``.

    Raises:
        UserError: the ensembles are missing, damaged, or not those of the metrics.
    """
    metrics = pd.read_csv(folder / "metrics.csv")
    path = folder / "ensembles.safetensors"
    correct = read_correct(path)
    file = open_tensors(path, ("log_likelihood", "log_likelihood_scaled"))
    errors = error_percent(correct)
    if len(errors) != len(metrics) or not np.allclose(errors, metrics["test_error"]):
        raise UserError(
            f"{path}: not the ensembles of {folder / 'metrics.csv'}: other test errors; "
            "evaluate the ensemble again"
        )
    members = pd.read_csv(folder / "members.csv")
    return EvaluatedMethod(
        dataset=dataset,
        network=network,
        method=method,
        metrics=metrics,
        correct=correct,
        log_likelihood=file.get_tensor("log_likelihood"),
        log_likelihood_scaled=file.get_tensor("log_likelihood_scaled"),
        member_distance=float(members["distance"].mean()) if "distance" in members else np.nan,
    )


def welch_interval(values: Floats, base: Floats, level: float = LEVEL) -> Interval:
    """Welch's t interval of the difference in mean of two independent sets of runs.

    Args:
        values: [R] at least two runs.
        base: [Q] at least two runs, which are subtracted.
        level: coverage.
    """
    difference = float(np.mean(values) - np.mean(base))
    shares = np.array([np.var(runs, ddof=1) / len(runs) for runs in (values, base)])
    if not shares.any():
        return difference, difference
    freedoms = np.array([len(values) - 1, len(base) - 1])
    freedom = shares.sum() ** 2 / (shares**2 / freedoms).sum()
    half_width = float(student_quantile(0.5 + level / 2, freedom) * np.sqrt(shares.sum()))
    return difference - half_width, difference + half_width


def garipov2018_table1(
    ensembles: Sequence[EvaluatedMethod],
    *,
    published: pd.DataFrame,
    counterparts: Mapping[Pair, Pair] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Garipov et al. 2018, Table 1: test error of ensembles at equal training budgets.

    The paper prints one run a cell. Differences at the same budget are what its claims rest on:
    with several runs on both sides they carry Student's t interval of the differences between runs
    of the same seeds (FGE branches off the very networks that it is compared with), or Welch's
    where the seeds differ; with one run on either side a paired bootstrap interval over test
    examples, of the networks at hand, which removes the luck of the test set that both share.

    Args:
        ensembles: one a method, network and data set.
        published: ``garipov2018_table1``, loaded.
        counterparts: our (data set, network) -> the paper's, for rows that imitate one of the
            paper; ``published_dataset`` and ``published_network`` name it.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap; all ensembles on one data set share its samples.

    Returns:
        One row a data set, network, method and budget: ``members`` of an ensemble, ``runs``;
        ``test_error`` (percent) with ``_low, _high, _published``; ``interval``;
        ``test_error_std`` over runs; ``test_error_difference`` to independent networks and
        ``test_error_difference_snapshot`` to snapshot ensembles at the same budget (points), each
        with ``_low, _high`` and ``_interval``: ``paired runs``, ``runs`` or ``examples``;
        ``test_nll`` and ``test_nll_scaled`` (nats) with ``_low, _high`` (Student's t over runs, or
        over test examples for one run); ``test_brier``, ``test_ece_equal_width``,
        ``test_ece_equal_count`` (percent) and the same with ``_scaled``; ``temperature``,
        ``disagreement`` (percent), ``member_test_error``, ``member_test_nll``;
        ``member_distance``, of a member to the one before it in the same training;
        ``deep_ensemble_equivalent`` with ``_low, _high, _bound``, from the independent networks of
        this table; ``published_dataset, published_network, note_published``.

    Raises:
        UserError: a method that comes twice, test sets of different sizes, or a counterpart that
            is not published.
        ValueError: a method without a title.
    """
    rows: list[dict[str, object]] = []
    for together in by_network(ensembles):
        where = f"{together[0].dataset}, {together[0].network}"
        methods = {ensemble.method: ensemble for ensemble in together}
        if len(methods) < len(together):
            raise UserError(
                f"{where}: two ensembles of one method ({', '.join(e.method for e in together)}); "
                "a table shows one each: leave one out or give its network another title"
            )
        titles = sorted(methods, key=_METHODS.index)
        correct = [methods[title].correct for title in titles]
        names = [methods[title].metrics["seeds"].to_numpy(object) for title in titles]
        resampled = resampled_runs(correct, names, where, resamples, seed)
        errors = dict(zip(titles, resampled, strict=True))
        independent = methods.get(_INDEPENDENT)
        for title in titles:
            ensemble = methods[title]
            for budget in sorted(ensemble.metrics["budget"].unique()):
                own = errors[title][at_budget(ensemble, budget)]
                row: dict[str, object] = {"dataset": ensemble.dataset}
                row |= {"network": ensemble.network, "method": title, "budget": int(budget)}
                row |= uncertainty_columns(ensemble, budget)
                row |= error_columns(own) | {"member_distance": ensemble.member_distance}
                for base, name in _BASES.items():
                    if base in methods and base != title:
                        other = errors[base][at_budget(methods[base], budget)]
                        row |= difference_columns(name, own, other)
                if independent is not None and ensemble is not independent:
                    row |= equivalent_columns(ensemble, budget, independent)
                rows.append(row)
    keys = ["dataset", "network", "method", "budget"]
    return beside_published(rows, _TABLE1_COLUMNS, keys, published, counterparts)


def garipov2018_imagenet(
    networks: Sequence[FinetunedNetwork],
    *,
    published: pd.DataFrame,
    counterparts: Mapping[Pair, Pair] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Garipov et al. 2018, section 6.1: fast geometric ensembling of a pre-trained network.

    Args:
        networks: one a data set and network.
        published: ``garipov2018_imagenet``, loaded.
        counterparts: our (data set, network) -> the paper's, as in ``garipov2018_table1``.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap.

    Returns:
        One row a data set, network and method (pre-trained network, last member, ensemble of
        all including the pre-trained network, average of their weights): ``epochs`` after
        pre-training (empty where the runs differ), ``members``, ``runs``; ``test_error`` (percent)
        with ``_low, _high``; ``test_error_difference`` to the pre-trained network with
        ``_low, _high``, paired by test example where that is one network; ``test_nll`` (nats);
        ``test_error_published``; ``interval``, ``test_error_difference_interval`` as in
        ``garipov2018_table1``; ``published_dataset, published_network, note_published``.

    Raises:
        UserError: members and predictions that do not belong together, a seed without a
            pre-trained network, or a counterpart that is not published.
    """
    rows: list[dict[str, object]] = []
    for network in networks:
        where = f"{network.dataset}, {network.network}"
        methods = _finetuned(network, where)
        correct = [method.correct for method in methods]
        names = [np.arange(len(runs)).astype(object) for runs in correct]
        errors = resampled_runs(correct, names, where, resamples, seed)
        for method, own in zip(methods, errors, strict=True):
            row: dict[str, object] = {"dataset": network.dataset, "network": network.network}
            row |= {"method": method.title, "members": method.members}
            row |= {"epochs": method.epochs[0] if len(set(method.epochs)) == 1 else None}
            row |= error_columns(own)
            if method is not methods[0]:
                row |= difference_columns("test_error_difference", own, errors[0])
            rows.append(row | {"test_nll": float(np.mean(method.nll))})
    keys = ["dataset", "network", "method"]
    table = beside_published(rows, _IMAGENET_COLUMNS, keys, published, counterparts)
    table["epochs"] = table["epochs"].astype("Int64")
    return table


def beside_published(
    rows: Sequence[Mapping[str, object]],
    columns: Sequence[str],
    keys: Sequence[str],
    published: pd.DataFrame,
    counterparts: Mapping[Pair, Pair] | None,
    values: Sequence[str] = ("test_error",),
) -> pd.DataFrame:
    """Return rows as a table, with the published values and their notes.

    Args:
        rows: ours.
        columns: of the table; those of published values among them, in their places.
        keys: columns in which a row of ours and a published one agree.
        published: loaded.
        counterparts: our (data set, network) -> the paper's.
        values: columns of the published numbers that are put beside ours.

    Raises:
        UserError: a counterpart that is not published.
    """
    beside = {f"{value}_published" for value in values}
    ours = pd.DataFrame(rows, columns=[name for name in columns if name not in beside])
    names = name_published(ours, [published], counterparts)
    joined = join_published(
        ours, published, keys=keys, values=[*values, "note"], counterparts=counterparts
    )
    return joined.join(names)[
        [*columns, "published_dataset", "published_network", "note_published"]
    ]


def by_network(ensembles: Sequence[EvaluatedMethod]) -> Iterator[list[EvaluatedMethod]]:
    """Group by data set, then by network, in the order of first appearance."""
    for dataset in dict.fromkeys(ensemble.dataset for ensemble in ensembles):
        of_dataset = [ensemble for ensemble in ensembles if ensemble.dataset == dataset]
        for network in dict.fromkeys(ensemble.network for ensemble in of_dataset):
            yield [ensemble for ensemble in of_dataset if ensemble.network == network]


def resampled_runs(
    correct: Sequence[NDArray[np.bool_]],
    names: Sequence[NDArray[np.object_]],
    where: str,
    resamples: int,
    seed: int,
) -> list[RunValues]:
    """Measure ensembles on the same bootstrap samples, so that they can be compared.

    Args:
        correct: [R, N] of each method.
        names: [R], the seeds of each of its runs.
        where: for messages.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap.

    Returns:
        The test errors of each method.

    Raises:
        UserError: test sets of different sizes.
    """
    sizes = sorted({runs.shape[1] for runs in correct})
    if len(sizes) > 1:
        raise UserError(
            f"{where}: ensembles tested on {sizes} examples; evaluate all of them on one test set"
        )
    stacked = np.concatenate(correct)
    together = RunValues(
        error_percent(stacked),
        resampled_errors(stacked, resamples=resamples, seed=seed),
        np.concatenate(names),
    )
    owner = np.repeat(np.arange(len(correct)), [len(runs) for runs in correct])
    return [together[owner == index] for index in range(len(correct))]


def error_columns(own: RunValues) -> dict[str, object]:
    """Return the mean test error of the runs of a cell, its interval, and what that is over."""
    runs = len(own.of_runs)
    low, high = (
        t_interval(own.of_runs.tolist()) if runs > 1 else percentile_interval(own.resampled[:, 0])
    )
    return {
        "runs": runs,
        "test_error": own.mean,
        "test_error_low": max(low, 0.0),
        "test_error_high": min(high, 100.0),
        "interval": "runs" if runs > 1 else "examples",
        "test_error_std": _std(own.of_runs),
    }


def difference_columns(name: str, own: RunValues, base: RunValues) -> dict[str, object]:
    """Return the difference of two cells, its interval, and what that is over.

    Args:
        name: of the column; ``_low``, ``_high`` and ``_interval`` are added to it.
        own: what it is the difference of.
        base: what is subtracted.
    """
    if not len(base.of_runs):
        return {}
    if min(len(own.of_runs), len(base.of_runs)) < 2:
        paired = own.resampled.mean(axis=1) - base.resampled.mean(axis=1)
        over, interval = "examples", percentile_interval(paired)
    elif np.array_equal(own.names, base.names):
        over, interval = "paired runs", t_interval((own.of_runs - base.of_runs).tolist())
    else:
        over, interval = "runs", welch_interval(own.of_runs, base.of_runs)
    return {
        name: own.mean - base.mean,
        f"{name}_low": interval[0],
        f"{name}_high": interval[1],
        f"{name}_interval": over,
    }


def _std(values: Floats) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else np.nan


def at_budget(ensemble: EvaluatedMethod, budget: int) -> NDArray[np.bool_]:
    """Return which rows [R] of a method's metrics are of a budget."""
    rows: NDArray[np.bool_] = (ensemble.metrics["budget"] == budget).to_numpy()
    return rows


def uncertainty_columns(ensemble: EvaluatedMethod, budget: int) -> dict[str, object]:
    """Return the members of a method at a budget, its ``MEANS``, and the intervals of its NLL."""
    rows = at_budget(ensemble, budget)
    metrics = ensemble.metrics[rows]
    columns: dict[str, object] = {"members": int(metrics["members"].iloc[0])}
    for name in MEANS:
        columns[name] = float(metrics[name].mean())
    for name, log_likelihood in (
        ("test_nll", ensemble.log_likelihood),
        ("test_nll_scaled", ensemble.log_likelihood_scaled),
    ):
        values = metrics[name] if len(metrics) > 1 else -log_likelihood[rows][0]
        low, high = t_interval(values.tolist())
        columns |= {f"{name}_low": max(low, 0.0), f"{name}_high": high}
    return columns


def equivalent_columns(
    ensemble: EvaluatedMethod, budget: int, independent: EvaluatedMethod
) -> dict[str, object]:
    """Return how many independent networks a method is worth at a budget, and the interval."""
    of_budget = independent.metrics.groupby("budget")
    nll = of_budget["test_nll_scaled"]
    own = ensemble.metrics.loc[at_budget(ensemble, budget), "test_nll_scaled"].mean()
    equivalent = deep_ensemble_equivalent(
        -own, of_budget["members"].first().tolist(), (-nll.mean()).tolist(), nll.std().tolist()
    )
    return {
        "deep_ensemble_equivalent": equivalent.size,
        "deep_ensemble_equivalent_low": equivalent.low,
        "deep_ensemble_equivalent_high": equivalent.high,
        "deep_ensemble_equivalent_bound": equivalent.bound,
    }


@dataclass(frozen=True, eq=False)
class _Finetuned:
    """One row of section 6.1: R runs, of ``members`` networks each."""

    title: str
    epochs: Sequence[int]
    members: int
    correct: NDArray[np.bool_]
    nll: Sequence[float]


def _finetuned(network: FinetunedNetwork, where: str) -> list[_Finetuned]:
    """Measure the pre-trained network (first), the last member, and ensembles."""
    members, predictions = network.members, network.predictions
    if len(members) != len(predictions):
        raise UserError(
            f"{where}: predictions of {len(predictions)} members in {predictions.path}, but "
            f"{len(members)} are listed beside them; collect the members again"
        )
    correct = np.stack([member.argmax(axis=-1) == predictions.labels for member in predictions])
    nll = members["test_nll"].to_numpy(float)
    epochs = members["epoch"].to_numpy()
    runs = []
    for seed, of_seed in members.reset_index(drop=True).groupby("seed", sort=False):
        run = of_seed.sort_values("epoch", kind="stable").index.tolist()
        if len(run) < 2:
            raise UserError(
                f"{where}, seed {seed}: one member; the first must be the pre-trained network: let "
                "the recipe keep its snapshots from epoch 0 on"
            )
        runs.append(run)
    start = np.array([run[0] for run in runs])
    last = np.array([run[-1] for run in runs])
    if (correct[start] == correct[start[0]]).all() and (nll[start] == nll[start[0]]).all():
        pretrained = start[:1]  # One network in all runs, which must not pass for several.
    else:
        pretrained = start

    def single(title: str, chosen: NDArray[np.int64], since: NDArray[np.int64]) -> _Finetuned:
        epochs_since = (epochs[chosen] - epochs[since]).tolist()
        return _Finetuned(title, epochs_since, 1, correct[chosen], nll[chosen].tolist())

    rows = [
        single("Pre-trained", pretrained, pretrained),
        single("FGE, last member", last, start),
    ]
    spent = (epochs[last] - epochs[start]).tolist()
    rows.append(_ensembles("FGE", spent, predictions, runs))
    averages = network.weight_averages
    if averages is not None:
        rows.append(_ensembles("SWA", spent, averages, [[run] for run in range(len(averages))]))
    return rows


def _ensembles(
    title: str, epochs: Sequence[int], stored: StoredPredictions, runs: Sequence[Sequence[int]]
) -> _Finetuned:
    correct, nll = [], []
    for members in runs:
        probabilities = mixture_probabilities([(stored, members)])
        correct.append(probabilities.argmax(axis=-1) == stored.labels)
        nll.append(negative_log_likelihood(probabilities, stored.labels))
    return _Finetuned(title, epochs, len(runs[0]), np.stack(correct), nll)


_LABELS = (Column("dataset", "Data set"), Column("network", "Network"), Column("method", "Method"))
_DIFFERENCES = (
    "over runs of the same seeds (Student's t) where both sides have several, else paired by test "
    "example (bootstrap)"
)
_INTERVALS = (
    "In brackets: nominal 95 % intervals, of single runs over test examples, of several over runs "
    "(Student's t)."
)
_PUBLISHED_SETTING = ("published_dataset", "published_network")

ENSEMBLE_LAYOUTS: Mapping[str, Layout] = {
    "garipov2018_table1": Layout(
        title="Garipov et al. 2018, Table 1: test error (%) of ensembles at equal budgets",
        labels=_LABELS[1:],
        columns=(Column("test_error", "Test error (%)", decimals=2),),
        legend=f"{_INTERVALS} A run at kB ensembles all members of k seeds. Bold: the smallest of "
        "a network, data set and budget; how sure that is, the differences below say.",
        published_setting=_PUBLISHED_SETTING,
        notes=("note_published",),
        pivot=Pivot(group="dataset", label="budget", label_format="{}B"),
        details=Layout(
            title="Differences, calibration and diversity",
            labels=(*_LABELS, Column("budget", "Budget (B)")),
            columns=(
                Column("members", "Members"),
                Column("runs", "Runs"),
                Column("test_error_difference", "Difference to Ind (points)", decimals=2),
                Column("test_error_difference_snapshot", "to SSE", decimals=2),
                Column("test_nll", "NLL", decimals=4),
                Column("test_nll_scaled", "NLL, scaled", decimals=4),
                Column("deep_ensemble_equivalent", "Deep ensemble equivalent", decimals=2),
                Column("test_brier", "Brier", decimals=4),
                Column("test_brier_scaled", "Brier, scaled", decimals=4),
                Column("test_ece_equal_width", "ECE (%)", decimals=2),
                Column("test_ece_equal_width_scaled", "ECE (%), scaled", decimals=2),
                Column("test_ece_equal_count", "ECE (%), equal counts", decimals=2),
                Column("test_ece_equal_count_scaled", "ECE (%), equal counts, scaled", decimals=2),
                Column("temperature", "Temperature", decimals=2),
                Column("disagreement", "Disagreement (%)", decimals=2),
                Column("member_distance", "Distance of members", decimals=2),
                Column("member_test_error", "Test error of a member (%)", decimals=2),
                Column("member_test_nll", "NLL of a member", decimals=4),
            ),
            legend=f"Differences in test error at the same budget, {_DIFFERENCES}. "
            "Scaled: with temperatures fitted on the other half of the test set. Distance of "
            "members: in weight space, to the one before of the same training. Deep ensemble "
            "equivalent: how many independent networks have the same scaled NLL; its interval is "
            "from their mean plus and minus one standard deviation (Ashukha et al. 2020).",
        ),
    ),
    "garipov2018_imagenet": Layout(
        title="Garipov et al. 2018, section 6.1: ensembling from a pre-trained network",
        labels=_LABELS,
        columns=(
            Column("epochs", "Epochs"),
            Column("members", "Members"),
            Column("test_error", "Test error (%)", decimals=2),
            Column("test_error_difference", "Difference to pre-trained (points)", decimals=2),
            Column("test_nll", "Test NLL", decimals=4),
            Column("runs", "Runs"),
        ),
        legend=f"{_INTERVALS} Differences: {_DIFFERENCES}. The pre-trained network is a member of "
        "FGE.",
        published_setting=_PUBLISHED_SETTING,
        notes=("note_published",),
    ),
}
