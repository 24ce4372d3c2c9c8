"""Ensembles of the networks of a curve, with and without rescaled logits.

Garipov et al. 2018, sections 4.3 and 5. The log-probabilities of a curve take ``T * N * C`` floats
(half a gigabyte for 121 points on CIFAR-100), so everything here holds one point at a time.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from safetensors import safe_open

from mode_connectivity.settings import UserError, nearest

Array = npt.NDArray[Any]


class StoredPredictions:
    """The log-probabilities of a grid in a file, read one point at a time.

    Indexing and iterating give arrays ``[N, C]``; ``labels`` is int64 ``[N]``.
    """

    def __init__(self, path: Path) -> None:
        """Open ``predictions.safetensors`` of a curve.

        Args:
            path: The file, with tensors ``log_probabilities`` ``[T, N, C]`` and ``labels`` ``[N]``.

        Raises:
            UserError: If one of the two tensors is not there.
        """
        file: Any = safe_open(path, framework="numpy")
        found = sorted(file.keys())
        for name in ("log_probabilities", "labels"):
            if name not in found:
                raise UserError(
                    f"{path}: no tensor {name!r}; found {found}{nearest(name, found)}; "
                    "evaluate the curve again with its predictions kept"
                )
        self._slice = file.get_slice("log_probabilities")
        self.labels: Array = file.get_tensor("labels")

    def __len__(self) -> int:
        return int(self._slice.get_shape()[0])

    def __getitem__(self, index: int) -> Array:
        points = len(self)
        if not -points <= index < points:
            raise IndexError(f"point {index} of {points}")
        point: Array = self._slice[index % points]
        return point

    def __iter__(self) -> Iterator[Array]:
        return (self[index] for index in range(len(self)))


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


def rescale(log_probabilities: npt.ArrayLike, scales: npt.ArrayLike) -> Array:
    """Multiply logits by a scale: ``log_softmax(scale * log_probabilities)``.

    Log-probabilities are logits up to a constant of each example, which the softmax removes again.

    Args:
        log_probabilities: ``[..., C]``.
        scales: A number, or an array whose shape is the leading part of that of
            ``log_probabilities``: ``[T]`` for ``[T, N, C]``.

    Returns:
        float64, shaped as ``log_probabilities``.
    """
    logits = np.asarray(log_probabilities, dtype=np.float64)
    factors = np.asarray(scales, dtype=np.float64)
    logits = logits * factors.reshape(factors.shape + (1,) * (logits.ndim - factors.ndim))
    logits -= logits.max(axis=-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return logits


def ensemble_probabilities(
    log_probabilities: Iterable[Array], scales: Iterable[float] | None = None
) -> Array:
    """Average the predicted probabilities of the members of an ensemble.

    Args:
        log_probabilities: The members, each ``[N, C]``: a list, an array ``[M, N, C]``, or an
            iterator that reads them one by one.
        scales: The logit scale of each member; all 1 if omitted.

    Returns:
        float64 ``[N, C]``, rows summing to 1.

    Raises:
        UserError: If there is no member, or a member's predictions are not numbers.
    """
    total: Array | None = None
    count = 0
    factors = iter(scales) if scales is not None else None
    for member in log_probabilities:
        scale = 1.0 if factors is None else next(factors)
        probabilities = _probabilities(member, scale, count)
        if total is None:
            total = probabilities
        else:
            total += probabilities
        count += 1
    if total is None:
        raise UserError("ensemble: it has no members; at least one network is needed")
    return total / count


def ensemble_error(
    log_probabilities: Iterable[Array],
    labels: Array,
    scales: Iterable[float] | None = None,
) -> float:
    """Return the error of an ensemble in percent; arguments as `ensemble_probabilities`."""
    return error(ensemble_probabilities(log_probabilities, scales), labels)


def ensemble_nll(
    log_probabilities: Iterable[Array],
    labels: Array,
    scales: Iterable[float] | None = None,
) -> float:
    """Return the cross-entropy of an ensemble in nats; arguments as `ensemble_probabilities`."""
    return negative_log_likelihood(ensemble_probabilities(log_probabilities, scales), labels)


def error(probabilities: Array, labels: Array) -> float:
    """Return the percentage of examples whose most probable class is not their label.

    Args:
        probabilities: ``[N, C]``; anything that grows with the probability will do.
        labels: ``[N]``.
    """
    _check_labels(probabilities, labels)
    return 100 * float(np.mean(probabilities.argmax(axis=-1) != labels))


def negative_log_likelihood(probabilities: Array, labels: Array) -> float:
    """Return the mean cross-entropy in nats of probabilities ``[N, C]`` for ``labels`` ``[N]``."""
    _check_labels(probabilities, labels)
    with np.errstate(divide="ignore"):
        return -float(np.mean(np.log(probabilities[np.arange(len(labels)), labels])))


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
        probabilities = _probabilities(predictions[index], 1.0, index)
        rescaled = _probabilities(predictions[index], scales[index], index)
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
        probabilities = _probabilities(point, 1.0, index)
        if first is None:
            first = probabilities
            _check_labels(first, labels)
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
        the single network's error plus the 95 % interval of the paired difference to it.

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
    errors = 100 * (1 - correct.mean(axis=1))
    return pd.DataFrame(
        {
            "t": positions,
            "test_error": errors,
            "test_error_low": errors[0] + low,
            "test_error_high": errors[0] + high,
        }
    )


def _probabilities(log_probabilities: Array, scale: float, index: int) -> Array:
    if np.isnan(log_probabilities).any():
        raise UserError(
            f"ensemble: the predictions of point {index} are not numbers; "
            "leave the point out or train the curve again"
        )
    if scale == 1.0:
        return np.exp(log_probabilities, dtype=np.float64)
    probabilities: Array = np.exp(rescale(log_probabilities, scale))
    return probabilities


def _check_labels(predictions: Array, labels: Array) -> None:
    if predictions.ndim != 2 or predictions.shape[:1] != np.shape(labels):
        raise UserError(
            f"predictions of shape {predictions.shape} with labels of shape {np.shape(labels)}; "
            "predictions must be [examples, classes] and labels [examples]; evaluate again"
        )
