"""What ensembles are worth on corrupted test images, at each budget."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.ensembling.evaluation import (
    members_of_seeds,
    open_members,
    save_arrays,
    uncertainty,
)
from mode_connectivity.ensembling.predictions import (
    SMALLEST_PROBABILITY,
    StoredPredictions,
    ensemble_probabilities,
    error,
    mixture_probabilities,
    open_tensors,
)
from mode_connectivity.evaluation.calibration import (
    check_held_out,
    fit_temperature,
    held_out_halves,
    rescale,
)
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError

Array = npt.NDArray[Any]

CLEAN = "clean"
"""What the rows of severity 0 have for a corruption."""


class PredictionsUnderCorruption:
    """Predictions of an ensemble's seeds on test images under one corruption, read one at a time.

    Attributes:
        labels: int64 [N].
        seeds: of its runs at one budget.
        source: ``published`` or ``generated``.
        approximation: why the corruption is not that of CIFAR-10-C; empty where it is.
    """

    def __init__(self, path: Path) -> None:
        """Open what ``collect_members_under_corruption`` has written, and check it.

        Raises:
            UserError: it is missing, damaged or not such a file.
        """
        self.path = path
        file = open_tensors(path, ("log_probabilities", "labels", "seeds"))
        self._slice = file.get_slice("log_probabilities")
        self.labels: Array = file.get_tensor("labels")
        self.seeds: list[int] = file.get_tensor("seeds").tolist()
        metadata = file.metadata() or {}
        self.source = str(metadata.get("source", ""))
        self.approximation = str(metadata.get("approximation", ""))
        shape = self._slice.get_shape()
        if shape[:-1] != [len(SEVERITIES), len(self.seeds), len(self.labels)]:
            raise UserError(
                f"{path}: log_probabilities {shape} with {len(self.seeds)} seeds and "
                f"{len(self.labels)} labels; [severities, seeds, examples, classes] are expected: "
                "collect the members under this corruption again"
            )

    def probabilities(self, severity: int, seeds: Sequence[int]) -> Array:
        """Return the probabilities that the members of some seeds give together, [N, C].

        Raises:
            UserError: one of the seeds is not there, or its predictions are not numbers.
        """
        missing = [seed for seed in seeds if seed not in self.seeds]
        if missing:
            raise UserError(
                f"{self.path}: no members of seed {missing[0]}; it has seeds {self.seeds}: collect "
                "the members under this corruption again"
            )
        return ensemble_probabilities(
            self._slice[SEVERITIES.index(severity), self.seeds.index(seed)] for seed in seeds
        )


@dataclass(frozen=True, eq=False)
class _Measured:
    """An ensemble on the examples that are reported.

    Attributes:
        metrics: by column.
        correct: [N].
        log_likelihood_scaled: [N].
    """

    metrics: Mapping[str, float]
    correct: Array
    log_likelihood_scaled: Array


def evaluate_ensemble_under_shift(
    members: Path,
    predictions: Path | StoredPredictions,
    corruptions: Mapping[str, Path],
    *,
    seeds: Sequence[int],
    budgets: Sequence[int],
    metrics: Path,
    ensembles: Path,
    halves: tuple[Array, Array] | None = None,
) -> None:
    """Evaluate ensembles on clean and on corrupted test images, after temperature scaling.

    Benton et al. 2021, figure 11 and C.1. The temperature of each ensemble is fitted on a fixed
    random half of the clean test set (the training set is used in full), and everything, clean or
    corrupted, scaled or not, is reported on the other half, so that no reported example has been
    fitted on and all numbers are of the same examples. The paper does not say what its temperatures
    were fitted on.

    Budgets and runs are those of ``ensembling.evaluation.evaluate_ensemble``.

    ``metrics`` gets one row a corruption, severity, budget and run, of clean images first
    (``corruption`` clean, ``severity`` 0): ``corruption, severity, budget, run, seeds, members``;
    ``test_error`` (percent), ``test_nll`` (nats), ``test_brier``, ``test_ece_equal_width`` and
    ``test_ece_equal_count`` (percent); the latter four again with ``_scaled``; ``temperature``;
    ``exact`` (whether the corruption is that of CIFAR-10-C), ``source`` of the images, and
    ``approximation``, why it is not exact.

    ``ensembles`` gets, a row of ``metrics`` each: ``correct`` uint8 ``[R, ceil(N / 8)]``, bits as
    by ``numpy.packbits`` (``examples`` int64 ``[1]`` is N), and ``log_likelihood_scaled`` float32
    ``[R, N]``; ``reported`` int64 ``[N]`` tells which test examples these are.

    Args:
        members: ``members.csv``.
        predictions: ``predictions.safetensors`` of the members on clean images, or what is open
            already.
        corruptions: by name, the predictions under corruption.
        seeds: the runs, in the order in which they are grouped.
        budgets: numbers of seeds in an ensemble.
        metrics: written, CSV.
        ensembles: written, safetensors.
        halves: indices of the examples to fit on and of those to report on, of those that were
            corrupted; ``held_out_halves`` where left out.

    Raises:
        UserError: members and predictions are not of one evaluation or of one test set, or a
            temperature would be reported on examples that it is fitted on.
    """
    table, clean = open_members(members, predictions)
    of_seed = members_of_seeds(table, seeds, members)
    shifted = {name: PredictionsUnderCorruption(path) for name, path in corruptions.items()}
    examples = _examples(clean, shifted)
    labels = clean.labels[:examples]
    fitted, reported = held_out_halves(examples) if halves is None else halves
    check_held_out(fitted, reported)

    rows, measured = [], []
    conditions = 1 + len(SEVERITIES) * len(shifted)
    steps = Steps("condition", conditions * sum(len(seeds) // budget for budget in budgets))
    for budget in budgets:
        for run in range(len(seeds) // budget):
            group = seeds[run * budget : (run + 1) * budget]
            chosen = [index for seed in group for index in of_seed[seed]]
            names = {
                "budget": budget,
                "run": run + 1,
                "seeds": " ".join(map(str, group)),
                "members": len(chosen),
            }
            on_clean = mixture_probabilities([(clean, chosen)])[:examples]
            temperature = fit_temperature(_logarithm(on_clean[fitted]), labels[fitted])
            for place, probabilities in _conditions(on_clean, shifted, group):
                found = _measure(probabilities[reported], labels[reported], temperature)
                rows.append({**place, **names, **found.metrics, "temperature": temperature})
                measured.append(found)
                steps.add()
    frame = _described(pd.DataFrame(rows), shifted)
    order = frame.sort_values(["place", "severity"], kind="stable").index
    save_arrays(
        ensembles,
        {
            "correct": np.packbits([measured[row].correct for row in order], axis=1),
            "examples": np.array([len(reported)], dtype=np.int64),
            "log_likelihood_scaled": np.array(
                [measured[row].log_likelihood_scaled for row in order], dtype=np.float32
            ),
            "reported": np.asarray(reported, dtype=np.int64),
        },
    )
    write_frame(metrics, frame.loc[order].drop(columns="place"))


def _examples(clean: StoredPredictions, shifted: Mapping[str, PredictionsUnderCorruption]) -> int:
    """Return how many test examples were corrupted: the same in all files, from the first on."""
    counts = sorted({len(stored.labels) for stored in shifted.values()} or {len(clean.labels)})
    for stored in shifted.values():
        own = len(stored.labels)
        if len(counts) > 1 or not np.array_equal(stored.labels, clean.labels[:own]):
            raise UserError(
                f"{stored.path}: {own} examples whose labels are not those of {clean.path}, or "
                f"not as many as under the other corruptions ({counts}): collect the members again"
            )
    return counts[0]


def _conditions(
    on_clean: Array, shifted: Mapping[str, PredictionsUnderCorruption], seeds: Sequence[int]
) -> Iterator[tuple[dict[str, Any], Array]]:
    """Yield corruption and severity, and the probabilities [N, C] of an ensemble there."""
    yield {"corruption": CLEAN, "severity": 0}, on_clean
    for name, stored in shifted.items():
        for severity in SEVERITIES:
            place = {"corruption": name, "severity": severity}
            yield place, stored.probabilities(severity, seeds)


def _measure(probabilities: Array, labels: Array, temperature: float) -> _Measured:
    examples = np.arange(len(labels))
    plain = _logarithm(probabilities)
    metrics = {"test_error": error(probabilities, labels)}
    metrics |= uncertainty(probabilities, plain[examples, labels], labels)
    scaled = rescale(plain, 1 / temperature)
    own = scaled[examples, labels]
    of_scaled = uncertainty(np.exp(scaled), own, labels)
    metrics |= {f"{name}_scaled": value for name, value in of_scaled.items()}
    return _Measured(metrics, probabilities.argmax(axis=-1) == labels, own)


def _logarithm(probabilities: Array) -> Array:
    return np.asarray(np.log(np.maximum(probabilities, SMALLEST_PROBABILITY)))


def _described(
    rows: pd.DataFrame, shifted: Mapping[str, PredictionsUnderCorruption]
) -> pd.DataFrame:
    """Add what is known of the corruptions, and their places in the order they were given in."""
    stored = [shifted.get(name) for name in rows["corruption"]]
    places = {name: place for place, name in enumerate((CLEAN, *shifted))}
    return rows.assign(
        exact=[each is None or not each.approximation for each in stored],
        source=[CLEAN if each is None else each.source for each in stored],
        approximation=["" if each is None else each.approximation for each in stored],
        place=rows["corruption"].map(places),
    )
