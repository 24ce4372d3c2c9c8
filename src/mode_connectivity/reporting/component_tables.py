"""Ensembles of components and of samples: figures 8, 9, A.3, A.4(b) and A.6 to A.8 of Benton et al.

Benton et al. 2021 show figures only; of figures 8 and A.7 there are digitised numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mode_connectivity.ensembling.predictions import StoredPredictions
from mode_connectivity.reporting.ensemble_tables import (
    MEANS,
    EvaluatedMethod,
    at_budget,
    beside_published,
    by_network,
    difference_columns,
    equivalent_columns,
    error_columns,
    resampled_runs,
    uncertainty_columns,
)
from mode_connectivity.reporting.figures.ensembles import running_ensemble_errors
from mode_connectivity.reporting.published import Pair
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.settings import UserError

DEEP_ENSEMBLE = "Deep ensemble"
"""The label of ensembles of single networks, which others are counted in."""

_DIFFERENCE = "test_error_difference"
_COLUMNS = (
    "dataset",
    "network",
    "method",
    "components",
    "members",
    "runs",
    "test_error",
    "test_error_low",
    "test_error_high",
    "test_error_published",
    "interval",
    "test_error_std",
    *(f"{_DIFFERENCE}{end}" for end in ("", "_low", "_high", "_interval")),
    "compared_with",
    "seconds",
    "seconds_published",
    *MEANS,
    *(f"{name}_{end}" for name in ("test_nll", "test_nll_scaled") for end in ("low", "high")),
    "deep_ensemble_equivalent",
    *(f"deep_ensemble_equivalent_{what}" for what in ("low", "high", "bound")),
    "affordable_test_error",
    "affordable",
)


@dataclass(frozen=True, eq=False)
class EvaluatedComponents:
    """The ensembles of one method, and what their components cost.

    Attributes:
        ensembles: each seed is one component, so that a budget is a number of components.
        seconds: of all trainings that a seed's component needs; NaN where they are not known.
    """

    ensembles: EvaluatedMethod
    seconds: Mapping[int, float]

    def cost(self, components: int) -> float:
        """Return the seconds of all trainings of an ensemble, the mean over the runs."""
        seeds = self.ensembles.metrics.loc[at_budget(self.ensembles, components), "seeds"]
        runs = [sum(self.seconds[int(seed)] for seed in str(run).split()) for run in seeds]
        return float(np.mean(runs))


@dataclass(frozen=True, eq=False)
class RegularisedSimplexes:
    """Simplexes that were trained with one weight of the volume term.

    Attributes:
        regularisation: lambda*.
        ensembles: of their points, each seed's simplex one run.
        log10_volumes: of each seed's simplex.
    """

    regularisation: float
    ensembles: EvaluatedMethod
    log10_volumes: Sequence[float]


@dataclass(frozen=True, eq=False)
class SampledMembers:
    """Members of which the first few are an ensemble.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        method: label of the method.
        components: the members of each component in one file: their number, from the first on.
    """

    dataset: str
    network: str
    method: str
    components: Sequence[tuple[StoredPredictions, int]]


def component_table(
    methods: Sequence[EvaluatedComponents],
    *,
    published: pd.DataFrame | None = None,
    counterparts: Mapping[Pair, Pair] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Benton et al. 2021, figures 8, 9, A.7 and A.8: ensembles of more and more components.

    Values and intervals are those of ``garipov2018_table1``, with components for budgets.

    Args:
        methods: one a method, network and data set; the others of a network are compared with its
            first one.
        published: ``benton2021_figure8`` or ``benton2021_figure_a7``, loaded, if there is any.
        counterparts: our (data set, network) -> the paper's, as in ``garipov2018_table1``.
        resamples: bootstrap samples of the test set.
        seed: of the bootstrap; all ensembles on one data set share its samples.

    Returns:
        One row a data set, network, method and number of components: ``members`` of an ensemble,
        ``runs``; ``test_error`` (percent) with ``_low, _high, _published``; ``interval``: what it
        is over, ``runs`` or ``examples``; ``test_error_std``; ``test_error_difference`` (points) to
        the method ``compared_with`` at as many components, with ``_low, _high, _interval``;
        ``seconds`` of all its trainings, ``seconds_published``; the measures of
        ``garipov2018_table1``; ``deep_ensemble_equivalent`` where a method is called "Deep
        ensemble"; ``affordable_test_error``, the smallest of the other methods' whose trainings
        took no longer in all, and whose that is, ``affordable``; ``published_dataset,
        published_network, note_published``.

    Raises:
        UserError: a method that comes twice, test sets of different sizes, or a counterpart that
            is not published.
    """
    rows: list[dict[str, Any]] = []
    for together in by_network([method.ensembles for method in methods]):
        where = f"{together[0].dataset}, {together[0].network}"
        costs = {
            method.ensembles.method: method for method in methods if method.ensembles in together
        }
        if len(costs) < len(together):
            raise UserError(
                f"{where}: two ensembles of one label ({', '.join(e.method for e in together)}); "
                "give them different ones"
            )
        errors = resampled_runs(
            [method.correct for method in together],
            [method.metrics["seeds"].astype(str).to_numpy(object) for method in together],
            where,
            resamples,
            seed,
        )
        first = together[0]
        alone = next((method for method in together if method.method == DEEP_ENSEMBLE), None)
        for method, own in zip(together, errors, strict=True):
            for components in sorted(map(int, method.metrics["budget"].unique())):
                chosen = own[at_budget(method, components)]
                row: dict[str, Any] = {"dataset": method.dataset, "network": method.network}
                row |= {"method": method.method, "components": components}
                row |= uncertainty_columns(method, components) | error_columns(chosen)
                row |= {"seconds": costs[method.method].cost(components)}
                if method is not first:
                    base = errors[0][at_budget(first, components)]
                    row |= {"compared_with": first.method}
                    row |= difference_columns(_DIFFERENCE, chosen, base)
                if alone is not None and method is not alone:
                    row |= equivalent_columns(method, components, alone)
                rows.append(row)
    rows = [row | _affordable(row, rows) for row in rows]
    keys = ["dataset", "network", "method", "components"]
    if published is None:
        published = pd.DataFrame(columns=[*keys, "test_error", "seconds", "note"])
    values = [name for name in ("test_error", "seconds") if name in published]
    columns = [name for name in _COLUMNS if name != "seconds_published" or "seconds" in values]
    table = beside_published(rows, columns, keys, published, counterparts, values)
    return table.reindex(columns=[*_COLUMNS, *table.columns[len(columns) :]])


def _affordable(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the best of what other methods make of a network in as much time, if there is any."""
    others = [
        other
        for other in rows
        if all(other[key] == row[key] for key in ("dataset", "network"))
        and other["method"] != row["method"]
        and other["seconds"] <= row["seconds"]
    ]
    if not others:
        return {}
    best = min(others, key=lambda other: other["test_error"])
    return {
        "affordable_test_error": best["test_error"],
        "affordable": f"{best['method']}, {best['components']}",
    }


def regularisation_table(simplexes: Sequence[RegularisedSimplexes]) -> pd.DataFrame:
    """Benton et al. 2021, figure A.3: simplexes trained with other weights of the volume term.

    Args:
        simplexes: on one data set and network.

    Returns:
        One row a lambda*, ascending: ``dataset, network, regularisation, members, runs``;
        ``test_error`` (percent) of the ensemble of the points of one simplex with ``_low, _high``
        and ``interval`` as in ``garipov2018_table1``; ``member_test_error``, the mean of the
        points; ``log10_volume``, mean over the runs, with ``_min, _max``.

    Raises:
        UserError: test sets of different sizes.
    """
    ordered = sorted(simplexes, key=lambda one: one.regularisation)
    first = ordered[0].ensembles
    errors = resampled_runs(
        [one.ensembles.correct for one in ordered],
        [one.ensembles.metrics["seeds"].astype(str).to_numpy(object) for one in ordered],
        f"{first.dataset}, {first.network}",
        resamples=1000,
        seed=0,
    )
    rows = []
    for one, own in zip(ordered, errors, strict=True):
        alone = at_budget(one.ensembles, 1)
        metrics = one.ensembles.metrics[alone]
        volumes = np.array(one.log10_volumes, dtype=float)
        rows.append(
            {
                "dataset": first.dataset,
                "network": first.network,
                "regularisation": one.regularisation,
                "members": int(metrics["members"].iloc[0]),
                **error_columns(own[alone]),
                "member_test_error": float(metrics["member_test_error"].mean()),
                "log10_volume": float(volumes.mean()),
                "log10_volume_min": float(volumes.min()),
                "log10_volume_max": float(volumes.max()),
            }
        )
    return pd.DataFrame(rows)


def sample_errors(
    ensembles: Sequence[SampledMembers], *, orders: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Benton et al. 2021, figures A.4(b) and A.6: test error against the number of samples.

    The samples of a component have no order; so the error of an ensemble of the first k is the mean
    over random orders (and over components), and its range says how much the choice of the k
    matters: how far the errors of a component are from that of all its samples.

    Args:
        ensembles: one a method, network and data set.
        orders: of the samples of each component.
        seed: of the orders.

    Returns:
        One row a method and number of samples: ``dataset, network, method, samples, components,
        test_error`` (percent), and ``test_error_low``, ``test_error_high``, between which 95 % of
        the orders are. Where there are several components, each one's errors are shifted for it so
        that all end in the same one.

    Raises:
        UserError: predictions that are no numbers.
    """
    rows: list[dict[str, object]] = []
    for ensemble in ensembles:
        curves = np.concatenate(
            [
                _running_errors(predictions, count, orders, np.random.default_rng(seed))
                for predictions, count in ensemble.components
            ]
        )
        ends = curves[:, -1:]
        quantiles = np.quantile(curves - ends, [0.025, 0.975], axis=0) + ends.mean()
        low, high = np.clip(quantiles, 0.0, 100.0)
        for index, mean in enumerate(curves.mean(axis=0)):
            row: dict[str, object] = {"dataset": ensemble.dataset, "network": ensemble.network}
            row |= {"method": ensemble.method, "samples": index + 1}
            row |= {"components": len(ensemble.components), "test_error": float(mean)}
            row |= {"test_error_low": float(low[index]), "test_error_high": float(high[index])}
            rows.append(row)
    return pd.DataFrame(rows)


def _running_errors(
    predictions: StoredPredictions, count: int, orders: int, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the errors of the first 1, 2, ... samples in random orders, [orders, count]."""
    if count > len(predictions):
        raise UserError(
            f"{predictions.path}: {len(predictions)} samples, but {count} are to be shown; "
            "evaluate the simplex again"
        )
    return np.array(
        [
            running_ensemble_errors(
                (predictions[int(index)] for index in generator.permutation(count)),
                predictions.labels,
            )
            for _ in range(orders)
        ]
    )


_LAYOUT = Layout(
    title="",
    labels=(
        Column("dataset", "Data set"),
        Column("network", "Network"),
        Column("method", "Method"),
        Column("components", "Components"),
    ),
    columns=(
        Column("members", "Members"),
        Column("runs", "Runs"),
        Column("test_error", "Test error (%)", decimals=2),
        Column(_DIFFERENCE, "Difference (points)", decimals=2),
        Column("member_test_error", "Test error of a member (%)", decimals=2),
        Column("test_nll_scaled", "NLL, scaled", decimals=4),
        Column("deep_ensemble_equivalent", "Deep ensemble equivalent", decimals=2),
        Column("seconds", "Training (s)", decimals=1),
    ),
    legend="A component is a network (deep ensemble) or the samples of a simplex that was grown "
    "from it; the probabilities of all members are averaged. In brackets: nominal 95 % intervals, "
    "of several runs over runs (Student's t), of single ones over test examples. Differences: to "
    "the first method with as many components, over runs of the same seeds where both sides have "
    "several, else paired by test example (bootstrap). Scaled: with temperatures fitted on the "
    "other half of the test set. Deep ensemble equivalent: how many single networks have the same "
    "scaled NLL (Ashukha et al. 2020). Training: of all components, one after the other.",
    published_setting=("published_dataset", "published_network"),
    notes=("note_published",),
)
COMPONENT_LAYOUTS: Mapping[str, Layout] = {
    artefact: replace(_LAYOUT, title=f"Benton et al. 2021, {title}")
    for artefact, title in {
        "benton2021_figure8": "figure 8: test error against ensemble components",
        "benton2021_figure9": "figure 9: test error against components, with batch norm",
        "benton2021_figure_a7": "figure A.7: test error against training time",
    }.items()
}
