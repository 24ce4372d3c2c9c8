"""Networks as functions of their inputs, as jobs have stored them, and how well they are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from mode_connectivity.ensembling.predictions import open_tensors
from mode_connectivity.reporting.rendering import Column, Layout
from mode_connectivity.reporting.summaries import percentile_interval

Array = NDArray[Any]

RESAMPLES = 1000


@dataclass(frozen=True)
class FunctionSamples:
    """The members of an ensemble as functions, in the form of ``function_values.safetensors``.

    Attributes:
        values: of each member at each input, [M, G]: function values, or logits of the second of
            two classes.
        inputs: [G, D].
        train_inputs: the training data, [N, D].
        train_targets: [N], classes or values.
        targets: the true function at the inputs, [G], of a regression.
    """

    values: Array
    inputs: Array
    train_inputs: Array
    train_targets: Array
    targets: Array | None = None

    @classmethod
    def read(cls, path: Path, *, regression: bool) -> "FunctionSamples":
        """Read a file of functions.

        Args:
            path: ``function_values.safetensors`` of an ensemble.
            regression: whether it must hold the true function, too.

        Raises:
            UserError: it is missing, damaged or not such a file.
        """
        names = ["values", "inputs", "train_inputs", "train_targets"]
        names += ["targets"] if regression else []
        file = open_tensors(path, names)
        return cls(**{name: file.get_tensor(name) for name in names})

    def spread(self, count: int) -> list[int]:
        """Return the places of that many members, spread over all; fewer if there are fewer."""
        count = min(count, len(self.values))
        return [round(place) for place in np.linspace(0, len(self.values) - 1, count)]


@dataclass(frozen=True)
class EvaluatedFunctions:
    """An ensemble of functions of one variable.

    Attributes:
        dataset: title of the data set.
        network: title of the network.
        method: title of the ensemble.
        functions: where figures show them.
        values: at the test inputs, [M, N].
        targets: the test targets, noise included, [N].
        noise: standard deviation of that noise.
        noise_variance: of the likelihood under which the networks were inferred.
        intervals: where the training inputs lie, pairs of ends.
    """

    dataset: str
    network: str
    method: str
    functions: FunctionSamples
    values: Array
    targets: Array
    noise: float
    noise_variance: float
    intervals: Sequence[Sequence[float]]


def benton2021_figure10_table(ensembles: Sequence[EvaluatedFunctions]) -> pd.DataFrame:
    """The table beside figure 10 of Benton et al. 2021, whose measure is lost with its digits.

    The predictive distribution is the mixture of the members' Gaussians, as predictions of an
    ensemble are averaged elsewhere; a target is covered if it lies in the central 95 % of the
    mixture. The true function is covered at a plotted input if it lies within 1.96 standard
    deviations of the members around their mean, without noise.

    Args:
        ensembles: one a row.

    Returns:
        ``dataset, network, method, members, runs``; ``test_nll`` (nats, under the noise that the
        targets have), ``test_nll_likelihood`` (under the likelihood's variance),
        ``test_coverage`` (percent, under the targets' noise), each with a bootstrap interval over
        test examples, ``_low`` and ``_high``; ``test_rmse`` of the mean; ``function_coverage_seen``
        and ``function_coverage_gaps`` (percent of the plotted inputs within the intervals of the
        training data, and between them), ``function_sd_seen`` and ``function_sd_gaps`` (mean over
        them of the members' standard deviation).
    """
    return pd.DataFrame([_row(each) for each in ensembles])


def _row(ensemble: EvaluatedFunctions) -> dict[str, Any]:
    values = ensemble.values.astype(np.float64)
    targets = ensemble.targets.astype(np.float64)
    row: dict[str, Any] = {
        "dataset": ensemble.dataset,
        "network": ensemble.network,
        "method": ensemble.method,
        "members": len(values),
        "runs": 1,
    }
    below = scipy.special.ndtr((targets - values) / ensemble.noise).mean(axis=0)
    per_example = {
        "test_nll": mixture_nll(values, targets, ensemble.noise**2),
        "test_nll_likelihood": mixture_nll(values, targets, ensemble.noise_variance),
        "test_coverage": 100.0 * ((below >= 0.025) & (below <= 0.975)),
    }
    for name, measured in per_example.items():
        row[name] = float(measured.mean())
        row[f"{name}_low"], row[f"{name}_high"] = _bootstrap(measured)
    row["test_rmse"] = float(np.sqrt(np.mean((values.mean(axis=0) - targets) ** 2)))
    return row | _of_true_function(ensemble.functions, ensemble.intervals)


def mixture_nll(values: Array, targets: Array, variance: float) -> Array:
    """Return the negative log-density of targets [N] under mixtures of Gaussians.

    Args:
        values: the means, [M, N], all of one weight.
        targets: [N].
        variance: of every component.
    """
    exponents = -((targets - values) ** 2) / (2 * variance)
    normalisation = np.log(len(values)) + 0.5 * np.log(2 * np.pi * variance)
    nll: Array = normalisation - scipy.special.logsumexp(exponents, axis=0)
    return nll


def _of_true_function(
    functions: FunctionSamples, intervals: Sequence[Sequence[float]]
) -> dict[str, float]:
    assert functions.targets is not None
    x = functions.inputs[:, 0]
    values = functions.values.astype(np.float64)
    deviation = values.std(axis=0)
    covered = (
        np.abs(functions.targets - values.mean(axis=0)) <= scipy.special.ndtri(0.975) * deviation
    )
    seen = np.zeros(len(x), dtype=bool)
    for low, high in intervals:
        seen |= (x >= low) & (x <= high)
    within = (x >= min(low for low, _ in intervals)) & (x <= max(high for _, high in intervals))
    row = {}
    for name, where in (("seen", seen), ("gaps", within & ~seen)):
        any_there = bool(where.any())
        row[f"function_coverage_{name}"] = (
            100.0 * float(covered[where].mean()) if any_there else np.nan
        )
        row[f"function_sd_{name}"] = float(deviation[where].mean()) if any_there else np.nan
    return row


def _bootstrap(values: Array) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    draws = generator.integers(len(values), size=(RESAMPLES, len(values)))
    interval = percentile_interval(values[draws].mean(axis=1))
    return float(interval[0]), float(interval[1])


FUNCTION_LAYOUTS: Mapping[str, Layout] = {
    "benton2021_figure10": Layout(
        title="Benton et al. 2021, figure 10: regression in one dimension",
        labels=(Column("dataset", "Data set"), Column("network", "Network"),
                Column("method", "Method")),
        columns=(
            Column("members", "Members"),
            Column("test_nll", "Test NLL", decimals=3),
            Column("test_nll_likelihood", "Test NLL, variance of the likelihood", decimals=3),
            Column("test_coverage", "Coverage (%)", decimals=1),
            Column("function_coverage_seen", "on data", "True function covered (%)", 0),
            Column("function_coverage_gaps", "in gaps", "True function covered (%)", 0),
            Column("function_sd_seen", "on data", "Standard deviation", 3),
            Column("function_sd_gaps", "in gaps", "Standard deviation", 3),
        ),
        legend="Fresh test points with the noise of the training data. Coverage is that of the "
        "central 95 % of the predictive distribution; the true function is covered within 1.96 "
        "standard deviations of the members. The paper's own measure is not known.",
    ),
}  # fmt: skip
