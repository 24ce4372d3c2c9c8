"""Ensembles of the networks of a curve, with and without rescaled logits.

Garipov et al. 2018, sections 4.3 and 5. The log-probabilities of a curve take ``T * N * C`` floats
(half a gigabyte for 121 points on CIFAR-100), so everything here holds one point at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mode_connectivity.ensembling.predictions import (
    StoredPredictions,
    error,
    member_probabilities,
    negative_log_likelihood,
)
from mode_connectivity.evaluation.calibration import check_labels
from mode_connectivity.settings import UserError, nearest

Array = npt.NDArray[Any]


def logit_scales(train_loss: npt.ArrayLike) -> Array:
    """Return the factor by which the logits of each point of a curve are multiplied.

    ``s(t) = min(1, mean endpoint loss / train loss(t))``. Garipov et al. 2018 (section 4.3) only
    say that the temperature scaling "is inversely proportional to the loss" and that it corrects
    overconfidence between the vertices; their code has none of it. This is our reading: where the
    loss is high the logits shrink, and no network is made more confident than it was.

    Args:
        train_loss: ``[T]``, nats, along the curve from ``t = 0`` to ``t = 1``. The regularised
            train loss, as in the paper's figure 2; the train cross-entropy gives a variant.

    Returns:
        float64 ``[T]`` in (0, 1]; the endpoints may lie below 1 where their losses differ.

    Raises:
        UserError: If there are fewer than two points, or a loss is negative or not finite.
    """
    loss = np.asarray(train_loss, dtype=np.float64)
    if loss.ndim != 1 or len(loss) < 2:
        raise UserError(
            f"logit scales: train losses of shape {loss.shape}; they need one loss a point, and "
            "at least the two endpoints"
        )
    bad = np.flatnonzero(~(np.isfinite(loss) & (loss >= 0)))
    if len(bad):
        raise UserError(
            f"logit scales: the train loss of point {bad[0]} of {len(loss)} is {loss[bad[0]]} "
            f"({len(bad)} such points); losses must be finite and not negative; train the curve "
            "again, with a lower learning rate if it diverged"
        )
    mean_endpoint_loss = (loss[0] + loss[-1]) / 2
    scales = np.ones_like(loss)
    above = loss > mean_endpoint_loss
    scales[above] = mean_endpoint_loss / loss[above]
    return scales


def equally_spaced(points: int, members: int) -> Array:
    """Return the indices of the ``members`` grid points nearest to an equally spaced choice.

    Garipov et al. 2018 ensemble 50 equally spaced points of a chain; on a grid of 121 points the
    nearest ones are at most half a grid step away. Both endpoints are always among them.

    Args:
        points: Number of points of the grid.
        members: Number of indices to choose, at least 2.

    Raises:
        UserError: If the grid has fewer points than there are members, or members are below 2.
    """
    if not 2 <= members <= points:
        raise UserError(
            f"curve ensemble: {members} members from a grid of {points} points; "
            f"from 2 to {points} can be chosen; change the number of members or the grid"
        )
    return np.rint(np.linspace(0, points - 1, members)).astype(np.int64)


@dataclass(frozen=True)
class CurveEnsemble:
    """An ensemble of points of a curve, before and after their logits were rescaled.

    Attributes:
        points: One row a grid point: ``t``, ``logit_scale``, ``test_nll``, ``test_nll_rescaled``
            (nats).
        members: Number of points in the ensemble.
        error: Test error in percent of the ensemble before rescaling.
        error_rescaled: The same after rescaling.
        nll: Test cross-entropy in nats of the ensemble before rescaling.
        nll_rescaled: The same after rescaling.
    """

    points: pd.DataFrame
    members: int
    error: float
    error_rescaled: float
    nll: float
    nll_rescaled: float


def curve_ensemble(
    grid: pd.DataFrame,
    predictions: Sequence[Array] | StoredPredictions | Array,
    labels: Array,
    *,
    members: int = 50,
    loss: str = "train_loss",
) -> CurveEnsemble:
    """Ensemble equally spaced points of a curve with and without rescaled logits.

    Garipov et al. 2018, section 4.3 and figure 2. The scales follow `logit_scales`, an
    interpretation.

    Args:
        grid: The grid of the curve, ``T`` rows with columns ``t`` and ``loss``.
        predictions: Test log-probabilities of its points, ``[T, N, C]``.
        labels: ``[N]``.
        members: Number of points in the ensemble, 50 in the paper.
        loss: The column that sets the scales: ``train_loss`` (regularised) or ``train_nll``.

    Raises:
        UserError: If the grid lacks a column, or grid and predictions have different points, or
            a loss or a prediction is not a number.
    """
    found = [str(column) for column in grid.columns]
    for column in ("t", loss):
        if column not in found:
            raise UserError(
                f"curve ensemble: the grid has no column {column!r}; found {found}"
                f"{nearest(column, found)}; evaluate the curve again"
            )
    if len(predictions) != len(grid):
        raise UserError(
            f"curve ensemble: predictions of {len(predictions)} points for a grid of {len(grid)}; "
            "both must come from one evaluation; evaluate the curve again"
        )
    scales = logit_scales(grid[loss].to_numpy())
    chosen = set(equally_spaced(len(grid), members).tolist())
    nll, nll_rescaled = np.empty(len(grid)), np.empty(len(grid))
    total: Any = 0.0
    total_rescaled: Any = 0.0
    for index in range(len(grid)):
        probabilities = member_probabilities(predictions[index], 1.0, index)
        rescaled = member_probabilities(predictions[index], scales[index], index)
        nll[index] = negative_log_likelihood(probabilities, labels)
        nll_rescaled[index] = negative_log_likelihood(rescaled, labels)
        if index in chosen:
            total = total + probabilities / members
            total_rescaled = total_rescaled + rescaled / members
    points = pd.DataFrame(
        {
            "t": grid["t"].to_numpy(),
            "logit_scale": scales,
            "test_nll": nll,
            "test_nll_rescaled": nll_rescaled,
        }
    )
    return CurveEnsemble(
        points=points,
        members=members,
        error=error(total, labels),
        error_rescaled=error(total_rescaled, labels),
        nll=negative_log_likelihood(total, labels),
        nll_rescaled=negative_log_likelihood(total_rescaled, labels),
    )


def two_network_ensembles(log_probabilities: Iterable[Array], labels: Array) -> npt.NDArray[Any]:
    """Say which examples the ensembles of the first point with each point classify correctly.

    Garipov et al. 2018, figure 4: the two networks' probabilities are averaged. The first row is
    the first network alone.

    Args:
        log_probabilities: Test log-probabilities along the path, ``[T, N, C]`` or an iterator.
        labels: ``[N]``.

    Returns:
        bool ``[T, N]``.

    Raises:
        UserError: If a prediction is not a number, or the labels are not one an example.
    """
    first: Array | None = None
    rows = []
    for index, point in enumerate(log_probabilities):
        probabilities = member_probabilities(point, 1.0, index)
        if first is None:
            first = probabilities
            check_labels(first, labels)
        rows.append((first + probabilities).argmax(axis=-1) == labels)
    return np.array(rows)


def paired_error_interval(
    correct: Array,
    reference: Array,
    *,
    seed: int = 0,
    replicates: int = 2000,
    level: float = 0.95,
) -> tuple[Array, Array]:
    """Bootstrap the difference of each model's error to that of a reference over test examples.

    Resampling examples keeps model and reference paired, which removes the luck of the test set
    that both share: on 10,000 images that luck alone is worth 0.8 points at 25 % error. An example
    changes the difference by -1, 0 or 1, so a resample is one multinomial draw of their counts.

    Args:
        correct: bool ``[T, N]``, one row a model.
        reference: bool ``[N]``.
        seed: Of the resampling.
        replicates: Number of resamples.
        level: Coverage of the percentile interval.

    Returns:
        Lower and upper ends ``[T]`` in percentage points of error(model) - error(reference).
    """
    examples = correct.shape[1]
    worse = (~correct & reference).sum(axis=1)
    better = (correct & ~reference).sum(axis=1)
    shares = np.stack([worse, better, examples - worse - better], axis=1) / examples
    draws = np.random.default_rng(seed).multinomial(
        examples, shares, size=(replicates, len(correct))
    )
    difference = 100 * (draws[..., 0] - draws[..., 1]) / examples
    tail = (1 - level) / 2
    low, high = np.quantile(difference, [tail, 1 - tail], axis=0)
    return low, high


def two_network_errors(
    t: npt.ArrayLike, log_probabilities: Iterable[Array], labels: Array, *, seed: int = 0
) -> pd.DataFrame:
    """Return the test error of the ensembles of the first point with each point of a path.

    Args:
        t: ``[T]``.
        log_probabilities: Test log-probabilities along the path, ``[T, N, C]`` or an iterator.
        labels: ``[N]``.
        seed: Of the bootstrap.

    Returns:
        ``T`` rows: ``t``, ``test_error`` (percent), ``test_error_low`` and ``test_error_high``:
        the single network's error plus the 95 % interval of the paired difference to it;
        ``two_ends_difference`` to the ensemble of both ends of the path (points), with ``_low``
        and ``_high``, paired too.

    Raises:
        UserError: As `two_network_ensembles`, or if ``t`` has another number of points.
    """
    positions = np.asarray(t, dtype=np.float64)
    correct = two_network_ensembles(log_probabilities, labels)
    if len(correct) != len(positions):
        raise UserError(
            f"two-network ensembles: predictions of {len(correct)} points for a grid of "
            f"{len(positions)}; both must come from one evaluation; evaluate the path again"
        )
    low, high = paired_error_interval(correct, correct[0], seed=seed)
    ends_low, ends_high = paired_error_interval(correct, correct[-1], seed=seed)
    errors = 100 * (1 - correct.mean(axis=1))
    return pd.DataFrame(
        {
            "t": positions,
            "test_error": errors,
            "test_error_low": errors[0] + low,
            "test_error_high": errors[0] + high,
            "two_ends_difference": errors - errors[-1],
            "two_ends_difference_low": ends_low,
            "two_ends_difference_high": ends_high,
        }
    )
