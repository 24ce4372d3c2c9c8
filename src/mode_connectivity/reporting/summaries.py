"""Summaries of a grid along a curve, and how sure they are."""

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from mode_connectivity.settings import UserError

Floats = NDArray[np.float64]
Interval = tuple[float, float]
BootstrapMethod = Literal["percentile", "reflected"]

METRICS = ("train_loss", "train_nll", "train_error", "test_loss", "test_nll", "test_error")
LEVEL = 0.95

# Counts of resampled examples are held for so many examples at a time (16 MiB as float32).
RESAMPLED_EXAMPLES_AT_ONCE = 2**22
# float32 holds every whole number up to here, so that sums of counts are exact, in any order.
LARGEST_EXACT_FLOAT32 = 2**24


def trapezoid_weights(length: Floats) -> Floats:
    """Weights of the trapezoidal rule over arc length, divided by the length of the curve.

    ``weights @ values`` is "Int" of Garipov et al. 2018, A.3: the mean of a metric under the
    uniform distribution on the curve, ``sum 0.5 (v_i + v_{i+1}) dl_i / sum dl_i``.

    Args:
        length: [T] arc length from the start of the curve to each point, ascending.

    Returns:
        [T] weights that sum to one.

    Raises:
        ValueError: fewer than two points, descending lengths, or a curve without length.
    """
    if length.ndim != 1 or len(length) < 2:
        raise ValueError(f"length has shape {length.shape}; give at least two points of a curve")
    steps = np.diff(length)
    if not (np.all(steps >= 0) and steps.sum() > 0):
        raise ValueError("length must ascend along the curve and reach more than zero")
    weights: Floats = np.zeros(len(length))
    weights[:-1] += 0.5 * steps
    weights[1:] += 0.5 * steps
    weights /= steps.sum()
    return weights


def height_above_ends(values: Floats) -> Floats:
    """Height of a path above its larger end; a barrier exists if it is more than zero.

    Gotmare et al. 2018, footnote 1: a path crosses a barrier if a point of it has more train loss
    than both ends. How much more is the height, ``max_t L(t) - max(L(0), L(1))``.

    Args:
        values: [..., T] along the path, the ends included.

    Returns:
        [...], not negative.
    """
    return np.asarray(values.max(axis=-1) - np.maximum(values[..., 0], values[..., -1]))


def summarise_curve(
    grid: pd.DataFrame, endpoint_distance: float, metrics: Sequence[str] = METRICS
) -> dict[str, float]:
    """Summarise the grid of a curve as Garipov et al. 2018, Table 2, does.

    Args:
        grid: one row a point, ordered by ``t``: ``t``, ``length`` (arc length from the start in
            units of weight space), and the metrics.
        endpoint_distance: straight distance between the ends, which is the length of the segment
            that joins them, in the same units.
        metrics: columns to summarise.

    Returns:
        ``length_ratio`` (length of the curve / endpoint distance), and for each metric, in its
        units, ``{metric}_min``, ``{metric}_int`` (over arc length, loss (1) of the paper),
        ``{metric}_mean`` (over the grid, loss (3)), ``{metric}_max`` and
        ``{metric}_height_above_ends``.

    Raises:
        UserError: a grid that ``check_grid`` refuses.
        ValueError: a curve without length, or a distance that is not positive.
    """
    check_grid(grid, metrics)
    if not endpoint_distance > 0:
        raise ValueError(f"endpoint distance {endpoint_distance} must be positive")
    length = grid["length"].to_numpy(float)
    weights = trapezoid_weights(length)
    summary = {"length_ratio": float(length[-1] - length[0]) / endpoint_distance}
    for metric in metrics:
        values = grid[metric].to_numpy(float)
        summary[f"{metric}_min"] = float(values.min())
        summary[f"{metric}_int"] = float(weights @ values)
        summary[f"{metric}_mean"] = float(values.mean())
        summary[f"{metric}_max"] = float(values.max())
        summary[f"{metric}_height_above_ends"] = float(height_above_ends(values))
    return summary


def summarise_endpoints(grid: pd.DataFrame, metrics: Sequence[str] = METRICS) -> dict[str, float]:
    """Summarise the two networks at the ends of a curve: the row "Single" of Table 2.

    Args:
        grid: the grid of any curve between them, as in ``summarise_curve``.
        metrics: columns to summarise.

    Returns:
        The keys of ``summarise_curve``; length ratio, integral, mean and height are NaN.

    Raises:
        UserError: a grid that ``check_grid`` refuses.
    """
    check_grid(grid, metrics)
    summary = {"length_ratio": np.nan}
    for metric in metrics:
        ends = grid[metric].to_numpy(float)[[0, -1]]
        summary[f"{metric}_min"] = float(ends.min())
        summary[f"{metric}_max"] = float(ends.max())
        summary |= dict.fromkeys(
            [f"{metric}_{statistic}" for statistic in ("int", "mean", "height_above_ends")], np.nan
        )
    return summary


def check_grid(grid: pd.DataFrame, metrics: Sequence[str], where: str = "grid of a curve") -> None:
    """Check that a grid can be summarised.

    Args:
        grid: as in ``summarise_curve``.
        metrics: columns that will be summarised.
        where: which grid this is, for the message.

    Raises:
        UserError: a missing column, a value that is not a number, or rows that do not ascend in
            ``t``.
    """
    missing = [column for column in ("t", "length", *metrics) if column not in grid]
    if missing:
        raise UserError(
            f"{where}: no column {', '.join(missing)}; found {', '.join(grid.columns)}; "
            "evaluate the curve again"
        )
    for column in ("t", "length", *metrics):
        invalid = np.flatnonzero(grid[column].isna())
        if len(invalid):
            t = ", ".join(f"{grid['t'].iloc[row]:g}" for row in invalid[:5])
            raise UserError(
                f"{where}: {column} is not a number at t = {t}; a summary would hide it: "
                "look at the training of this curve"
            )
    if not np.all(np.diff(grid["t"]) > 0):
        raise UserError(
            f"{where}: t does not ascend from row to row; one row a point in the order of t "
            "is expected: evaluate the curve again"
        )


def read_correct(path: Path) -> NDArray[np.bool_]:
    """Read which test examples each point of a grid classifies correctly.

    Args:
        path: ``correct.safetensors``: ``correct`` uint8 [T, ceil(N / 8)], bits packed as by
            ``numpy.packbits``, and ``examples`` int64 [1], which is N; the checksum in its header
            is checked where it has one.

    Returns:
        [T, N] correctness.

    Raises:
        UserError: not such a file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; evaluate the curve first")
    try:
        with safe_open(path, framework="numpy") as file:
            checksums = json.loads((file.metadata() or {}).get("crc32", "{}"))
            packed = file.get_tensor("correct")
            examples = int(file.get_tensor("examples").item())
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a whole file of correct predictions ({error}); evaluate the curve again"
        ) from error
    if checksums.get("correct", zlib.crc32(packed.tobytes())) != zlib.crc32(packed.tobytes()):
        raise UserError(f"{path}: altered since it was written; evaluate the curve again")
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != -(-examples // 8):
        raise UserError(
            f"{path}: correct is {packed.dtype} {list(packed.shape)} for {examples} examples; "
            "bytes of eight examples each are expected; evaluate the curve again"
        )
    return np.unpackbits(packed, axis=1, count=examples).astype(bool)


def error_percent(correct: NDArray[np.bool_]) -> Floats:
    """Error in percent from correctness [..., N] of N examples."""
    return np.asarray(100.0 * (~correct).sum(axis=-1) / correct.shape[-1], dtype=float)


def resampled_errors(correct: NDArray[np.bool_], *, resamples: int = 1000, seed: int = 0) -> Floats:
    """Errors on bootstrap samples of the test set.

    One sample of examples serves all rows, so that rows can be compared within a sample (paired).
    The samples depend on the seed and the number of examples only: calls for two curves on one
    data set are paired too.

    Args:
        correct: [T, N] correctness of N examples at T points.
        resamples: number of bootstrap samples, R.
        seed: of the samples.

    Returns:
        [R, T] errors in percent. The same on every machine: sums of whole numbers are exact.
    """
    examples = correct.shape[1]
    dtype = np.float32 if examples < LARGEST_EXACT_FLOAT32 else np.float64
    errors = _resampled_sums((~correct).astype(dtype), resamples, seed)
    errors *= 100.0
    errors /= examples
    return errors


def resampled_means(values: Floats, *, resamples: int = 1000, seed: int = 0) -> Floats:
    """Means of values on the bootstrap samples of the test set that ``resampled_errors`` takes.

    Args:
        values: [T, N] of N examples at T points.
        resamples: number of bootstrap samples, R.
        seed: of the samples.

    Returns:
        [R, T].
    """
    sums = _resampled_sums(np.asarray(values, float), resamples, seed)
    sums /= values.shape[1]
    return sums


def _resampled_sums(values: NDArray[Any], resamples: int, seed: int) -> Floats:
    """Return the sums of values [T, N] over bootstrap samples of the examples, [R, T]."""
    points, examples = values.shape
    generator = np.random.default_rng(seed)
    sums: Floats = np.empty((resamples, points))
    chunk = max(1, RESAMPLED_EXAMPLES_AT_ONCE // examples)
    probabilities = np.full(examples, 1.0 / examples)
    for start in range(0, resamples, chunk):
        rows = slice(start, min(start + chunk, resamples))
        counts: NDArray[Any] = generator.multinomial(
            examples, probabilities, size=rows.stop - rows.start
        )
        sums[rows] = counts.astype(values.dtype) @ values.T
    return sums


def percentile_interval(samples: Floats, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap samples [R] of a statistic."""
    low, high = np.quantile(samples, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def reflected_interval(samples: Floats, estimate: float, level: float = LEVEL) -> Interval:
    """Reflected ("basic") interval: the percentile interval, mirrored at the estimate.

    Where resampling shifts a statistic to one side, as it does extremes, the estimate is itself
    shifted to that side of the truth; mirroring moves the interval back towards it.
    """
    low, high = percentile_interval(samples, level)
    return 2 * estimate - high, 2 * estimate - low


def bootstrap_test_error(
    correct: NDArray[np.bool_],
    length: Floats | None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
    method: BootstrapMethod = "percentile",
) -> Mapping[str, Interval]:
    """Bootstrap intervals, over test examples, of what summarises the test error on a curve.

    They say how far the numbers depend on the test set at hand, for these fixed networks; not how
    another training would turn out.

    Beware of Min and Max of a flat curve: they are extremes of many nearly equal errors, biased
    outwards, and resampling doubles the bias. In simulations of flat curves (61 points, 360 and
    2,000 test examples, errors of 5 to 25 %), ``percentile`` intervals of a nominal 95 % held the
    true Min or Max in 4 to 64 % of cases, ``reflected`` ones in 66 to 92 %; both held Int in 92 to
    96 %. The more a curve rises, the closer both come to their nominal coverage.

    Args:
        correct: [T, N] correctness of N test examples at T points of the curve.
        length: [T] arc length at the points; None for points that lie on no curve (the two
            endpoints), which have no integral.
        resamples: number of bootstrap samples.
        seed: of the samples.
        level: coverage of the intervals.
        method: ``percentile``, or ``reflected`` at the estimate.

    Returns:
        ``test_error_min``, ``test_error_max`` and, with a length, ``test_error_int``,
        ``test_error_mean`` and ``test_error_height_above_ends``: (low, high) in percent.
    """
    estimates = error_percent(correct)[np.newaxis]
    samples = resampled_errors(correct, resamples=resamples, seed=seed)
    statistics: dict[str, Callable[[Floats], Floats]] = {
        "test_error_min": lambda errors: errors.min(axis=1),
        "test_error_max": lambda errors: errors.max(axis=1),
    }
    if length is not None:
        weights = trapezoid_weights(length)
        statistics["test_error_int"] = lambda errors: errors @ weights
        statistics["test_error_mean"] = lambda errors: errors.mean(axis=1)
        statistics["test_error_height_above_ends"] = height_above_ends
    intervals = {}
    for name, statistic in statistics.items():
        if method == "percentile":
            intervals[name] = percentile_interval(statistic(samples), level)
        else:
            estimate = float(statistic(estimates)[0])
            low, high = reflected_interval(statistic(samples), estimate, level)
            intervals[name] = max(low, 0.0), min(high, 100.0)
    return intervals


def student_quantile(probability: float, freedom: float) -> float:
    """Return a quantile of Student's t distribution.

    As ``scipy.stats.t.ppf``, whose module takes as long to import as a figure to draw.

    Args:
        probability: below the quantile.
        freedom: degrees of freedom.
    """
    return float(scipy.special.stdtrit(freedom, probability))


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Student's t interval of the mean of independent runs; (NaN, NaN) for fewer than two."""
    if len(values) < 2:
        return np.nan, np.nan
    mean = float(np.mean(values))
    standard_error = np.std(values, ddof=1) / np.sqrt(len(values))
    half_width = float(student_quantile(0.5 + level / 2, len(values) - 1) * standard_error)
    return mean - half_width, mean + half_width
