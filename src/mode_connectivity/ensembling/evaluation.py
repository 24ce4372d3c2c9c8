"""What the ensembles of stored members are worth at each budget."""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors.numpy import save_file

from mode_connectivity.ensembling.predictions import (
    SMALLEST_PROBABILITY,
    StoredPredictions,
    error,
    mixture_probabilities,
)
from mode_connectivity.evaluation.calibration import (
    Binning,
    brier,
    cross_fitted_log_probabilities,
    disagreement,
    expected_calibration_error,
)
from mode_connectivity.files import atomic, write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError

Array = npt.NDArray[Any]

# 15 bins of equal width as Guo et al. 2017 have them, 20 of equal count as Maddox et al. 2019.
CALIBRATION_BINS: Mapping[Binning, int] = {"equal_width": 15, "equal_count": 20}


def evaluate_ensemble(
    members: Path,
    predictions: Path | StoredPredictions,
    *,
    seeds: Sequence[int],
    budgets: Sequence[int],
    metrics: Path,
    ensembles: Path,
) -> None:
    """Evaluate the ensembles of a method at every budget and write what tables need of them.

    One seed is one run of the method at budget 1. At budget k the members of k seeds are one
    ensemble: the sum of their predicted probabilities decides (Garipov et al. 2018, section 6, and
    their code). Its runs are the disjoint groups of k consecutive seeds, ``len(seeds) // k``.

    ``metrics`` gets one row a budget and run: ``budget, run, seeds, members``; of the ensemble
    ``test_error`` (percent), ``test_nll`` (nats), ``test_brier``, ``test_ece_equal_width`` and
    ``test_ece_equal_count`` (percent, ``CALIBRATION_BINS``); the latter four again with ``_scaled``
    after temperature scaling fitted on held-out halves of the test set, means over the splits, and
    ``temperature``, the mean of the fits; ``disagreement`` of its members (percent, empty for one);
    ``member_test_error`` and ``member_test_nll``, the means of its members.

    ``ensembles`` gets, a row of ``metrics`` each: ``correct`` uint8 ``[R, ceil(N / 8)]``, bits as
    by ``numpy.packbits`` (``examples`` int64 ``[1]`` is N), and ``log_likelihood`` and
    ``log_likelihood_scaled`` float32 ``[R, N]``, the log-probability of the true class.

    Args:
        members: ``members.csv``: a row a member in the order of the predictions, with ``member``,
            ``seed`` and ``test_nll``.
        predictions: ``predictions.safetensors`` of the members, or what is open already.
        seeds: the runs, in the order in which they are grouped.
        budgets: numbers of seeds in an ensemble.
        metrics: written, CSV.
        ensembles: written, safetensors.

    Raises:
        UserError: a member is missing or not a number, members and predictions are not of one
            evaluation, or a budget needs more seeds than there are.
    """
    table, stored = open_members(members, predictions)
    of_seed = members_of_seeds(table, seeds, members)
    for budget in budgets:
        if not 1 <= budget <= len(seeds):
            raise UserError(
                f"{members}: budget {budget} needs {budget} seeds; from 1 to {len(seeds)} are "
                "allowed with the seeds of this ensemble: add seeds or leave the budget out"
            )
    top_classes, member_nll = _single_members(stored, table, members)
    member_error = 100 * (top_classes != stored.labels).mean(axis=1)

    rows = []
    correct, log_likelihood, log_likelihood_scaled = [], [], []
    steps = Steps("ensemble", sum(len(seeds) // budget for budget in budgets))
    for budget in budgets:
        for run in range(len(seeds) // budget):
            group = seeds[run * budget : (run + 1) * budget]
            chosen = [index for seed in group for index in of_seed[seed]]
            probabilities = mixture_probabilities([(stored, chosen)])
            measured, plain, scaled = _measure(probabilities, stored.labels)
            rows.append(
                {
                    "budget": budget,
                    "run": run + 1,
                    "seeds": " ".join(map(str, group)),
                    "members": len(chosen),
                    **measured,
                    "disagreement": disagreement(top_classes[chosen]),
                    "member_test_error": float(member_error[chosen].mean()),
                    "member_test_nll": float(member_nll[chosen].mean()),
                }
            )
            correct.append(probabilities.argmax(axis=-1) == stored.labels)
            log_likelihood.append(plain)
            log_likelihood_scaled.append(scaled)
            steps.add()
    save_arrays(
        ensembles,
        {
            "correct": np.packbits(correct, axis=1),
            "examples": np.array([len(stored.labels)], dtype=np.int64),
            "log_likelihood": np.array(log_likelihood, dtype=np.float32),
            "log_likelihood_scaled": np.array(log_likelihood_scaled, dtype=np.float32),
        },
    )
    write_frame(metrics, pd.DataFrame(rows))


def _measure(probabilities: Array, labels: Array) -> tuple[dict[str, float], Array, Array]:
    """Measure one ensemble; and the log-likelihood [N] before and after scaling."""
    examples = np.arange(len(labels))
    log_probabilities = np.log(np.maximum(probabilities, SMALLEST_PROBABILITY))
    measured = {"test_error": error(probabilities, labels)}
    plain: Array = log_probabilities[examples, labels]
    measured |= uncertainty(probabilities, plain, labels)
    scaled = np.zeros(len(labels))
    repeats, temperatures = [], []
    for repeat in cross_fitted_log_probabilities(log_probabilities, labels):
        own = repeat.log_probabilities[examples, labels]
        repeats.append(uncertainty(np.exp(repeat.log_probabilities), own, labels))
        temperatures.append(repeat.temperature)
        scaled += own
    for name in repeats[0]:
        measured[f"{name}_scaled"] = float(np.mean([repeat[name] for repeat in repeats]))
    measured["temperature"] = float(np.mean(temperatures))
    return measured, plain, scaled / len(repeats)


def uncertainty(probabilities: Array, log_likelihood: Array, labels: Array) -> dict[str, float]:
    """Return ``test_nll``, ``test_brier`` and ``test_ece_*`` of an ensemble.

    Args:
        probabilities: ``[N, C]``.
        log_likelihood: ``[N]``, of the true classes.
        labels: ``[N]``.
    """
    return {
        "test_nll": -float(log_likelihood.mean()),
        "test_brier": brier(probabilities, labels),
        **{
            f"test_ece_{binning}": expected_calibration_error(
                probabilities, labels, bins=bins, binning=binning
            )
            for binning, bins in CALIBRATION_BINS.items()
        },
    }


def read_members(path: Path) -> pd.DataFrame:
    """Read ``members.csv`` of an ensemble.

    Raises:
        UserError: it is missing, or lacks a column.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; collect the members of the ensemble first")
    table = pd.read_csv(path)
    missing = [column for column in ("member", "seed", "test_nll") if column not in table]
    if missing:
        raise UserError(
            f"{path}: no column {', '.join(missing)}; found {', '.join(table.columns)}; "
            "collect the members again"
        )
    return table


def open_members(
    members: Path, predictions: Path | StoredPredictions
) -> tuple[pd.DataFrame, StoredPredictions]:
    """Read the members of an ensemble and open what they predict.

    Args:
        members: ``members.csv``.
        predictions: ``predictions.safetensors``, or what is open already.

    Raises:
        UserError: one is missing, damaged or of another evaluation than the other.
    """
    table = read_members(members)
    stored = StoredPredictions(predictions) if isinstance(predictions, Path) else predictions
    if len(stored) != len(table):
        raise UserError(
            f"{stored.path}: predictions of {len(stored)} members, but {members} lists "
            f"{len(table)}; both are of one evaluation: collect the members again"
        )
    return table, stored


def members_of_seeds(table: pd.DataFrame, seeds: Sequence[int], path: Path) -> dict[int, list[int]]:
    """Return the places of each seed's members in the table.

    Raises:
        UserError: a seed has no members, or another number of them than the others.
    """
    of_seed = {seed: np.flatnonzero(table["seed"] == seed).tolist() for seed in seeds}
    counts = {seed: len(indices) for seed, indices in of_seed.items()}
    if len(set(counts.values())) > 1 or 0 in counts.values():
        found = ", ".join(f"seed {seed}: {count}" for seed, count in counts.items())
        raise UserError(
            f"{path}: members missing ({found}); every seed of an ensemble has equally many, at "
            "least one: train the missing ones or leave the seed out"
        )
    return of_seed


def _single_members(
    stored: StoredPredictions, table: pd.DataFrame, path: Path
) -> tuple[Array, Array]:
    """Return the most probable classes [M, N] and the test NLL [M] of the members."""
    examples = np.arange(len(stored.labels))
    top_classes = np.empty((len(stored), len(examples)), dtype=np.int32)
    nll = np.empty(len(stored))
    for index, log_probabilities in enumerate(stored):
        nll[index] = -log_probabilities[examples, stored.labels].mean(dtype=np.float64)
        log_probabilities.argmax(axis=-1, out=top_classes[index])
        name, listed = table["member"].iloc[index], table["test_nll"].iloc[index]
        if np.isnan(nll[index]):
            raise UserError(
                f"{stored.path}: the predictions of {name} are not numbers; leave it out of the "
                "ensemble or train it again"
            )
        if not np.isclose(nll[index], listed, rtol=1e-3, atol=1e-6):
            raise UserError(
                f"{stored.path}: the predictions of {name} have a test NLL of {nll[index]:g}, "
                f"but {path} lists {listed:g}; both are of one evaluation: collect the members "
                "again"
            )
    return top_classes, nll


def save_arrays(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write arrays with a checksum each, as ``tensors.save_tensors`` does, without PyTorch.

    Loading PyTorch would take longer than the evaluation.
    """
    checksums = {name: zlib.crc32(array.tobytes()) for name, array in arrays.items()}
    with atomic(path) as temporary:
        save_file(dict(arrays), temporary, metadata={"crc32": json.dumps(checksums)})
