"""How honest predicted probabilities are, and temperature scaling that has not seen its test set.

Negative log-likelihood and calibration error of raw predictions do not rank ensembles fairly, as
each method's best temperature is another. Ashukha et al. 2020, *Pitfalls of in-domain uncertainty
estimation and ensembling in deep learning*, sections 3 to 5: scale every method with a temperature
fitted on held-out examples first, then compare.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mode_connectivity.settings import UserError

Array = npt.NDArray[Any]
Binning = Literal["equal_width", "equal_count"]
Bound = Literal["lower", "upper"]

# Where every fitted example is classified rightly, the likelihood grows without end as the
# temperature falls; the range keeps such a fit from ruining the other half.
TEMPERATURES = (0.1, 10.0)


def check_labels(predictions: Array, labels: Array) -> None:
    """Check that predictions are ``[N, C]`` and labels ``[N]``.

    Raises:
        UserError: they are not.
    """
    if predictions.ndim != 2 or predictions.shape[:1] != np.shape(labels):
        raise UserError(
            f"predictions of shape {predictions.shape} with labels of shape {np.shape(labels)}; "
            "predictions must be [examples, classes] and labels [examples]; evaluate again"
        )


def brier(probabilities: Array, labels: Array) -> float:
    """Return the Brier score: squared distance to the one-hot labels, mean over examples.

    Brier 1950: summed, not averaged, over classes, so that it lies in [0, 2].

    Args:
        probabilities: ``[N, C]``.
        labels: ``[N]``.
    """
    check_labels(probabilities, labels)
    squares = np.einsum("nc,nc->n", probabilities, probabilities)
    true_class = probabilities[np.arange(len(labels)), labels]
    return float(np.mean(squares - 2 * true_class + 1))


def expected_calibration_error(
    probabilities: Array, labels: Array, *, bins: int = 15, binning: Binning = "equal_width"
) -> float:
    """Return the expected calibration error in percent.

    Guo et al. 2017, section 2: the gap between accuracy and mean confidence (probability of the
    most probable class) of each bin of examples, weighted with its share of the examples.

    Args:
        probabilities: ``[N, C]``.
        labels: ``[N]``.
        bins: number of bins; empty ones count nothing.
        binning: ``equal_width``: bins ``(i / bins, (i + 1) / bins]`` of the confidence, as in the
            paper; ``equal_count``: equally many examples a bin, from the least to the most
            confident, of which sizes that do not divide differ by one.

    Raises:
        ValueError: no bins.
    """
    check_labels(probabilities, labels)
    if bins < 1:
        raise ValueError(f"{bins} bins; at least one is needed")
    confidence = probabilities.max(axis=-1)
    gap = confidence - (probabilities.argmax(axis=-1) == labels)
    if binning == "equal_width":
        inner_edges = np.linspace(0, 1, bins + 1)[1:-1]
        sums = np.bincount(np.searchsorted(inner_edges, confidence), weights=gap)
    else:
        order = np.argsort(confidence, kind="stable")
        sums = np.array([part.sum() for part in np.array_split(gap[order], bins)])
    return 100 * float(np.abs(sums).sum()) / len(labels)


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


def fit_temperature(log_probabilities: Array, labels: Array) -> float:
    """Return the temperature T under which ``softmax(log p / T)`` has the highest likelihood.

    Guo et al. 2017, section 4.2. The likelihood is concave in 1/T, so that the bounded search over
    log T finds the best temperature of ``TEMPERATURES``.

    Args:
        log_probabilities: ``[N, C]``, of a network or an ensemble.
        labels: ``[N]``.

    Raises:
        UserError: the log-probability of a true class is not a finite number.
    """
    from scipy.optimize import minimize_scalar

    check_labels(log_probabilities, labels)
    logits = np.array(log_probabilities, dtype=np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    true_class = float(logits[np.arange(len(labels)), labels].mean())
    if not np.isfinite(true_class):
        raise UserError(
            f"temperature scaling: the log-probability of a true class is {true_class}, which no "
            "temperature mends; leave the network out or train it again"
        )
    scaled = np.empty_like(logits)

    def nll(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        np.multiply(logits, scale, out=scaled)
        np.exp(scaled, out=scaled)
        return float(np.log(scaled.sum(axis=-1)).mean() - scale * true_class)

    found = minimize_scalar(
        nll, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


@dataclass(frozen=True, eq=False)
class ScaledPredictions:
    """Predictions after temperature scaling.

    Attributes:
        log_probabilities: float64 ``[N, C]``.
        temperature: Mean of the two fits.
    """

    log_probabilities: Array
    temperature: float


def cross_fitted_log_probabilities(
    log_probabilities: Array, labels: Array, *, repeats: int = 5, seed: int = 0
) -> Iterator[ScaledPredictions]:
    """Scale predictions with temperatures that were fitted on other examples.

    Ashukha et al. 2020, section 4: the examples are split at random into two halves, and each half
    is scaled with the temperature fitted on the other one. As the split is a matter of luck, it is
    repeated: average what is measured of the results.

    Args:
        log_probabilities: ``[N, C]``.
        labels: ``[N]``.
        repeats: Number of random splits.
        seed: Of the splits, which depend on nothing else but the number of examples: all ensembles
            on one test set share them.

    Yields:
        The scaled predictions of every repeat, one at a time, as they are large.

    Raises:
        UserError: fewer than two examples, or as in ``fit_temperature``.
    """
    check_labels(log_probabilities, labels)
    examples = len(labels)
    _check_two_halves(examples)
    generator = np.random.default_rng(seed)
    for _ in range(repeats):
        first, second = np.array_split(generator.permutation(examples), 2)
        scaled = np.empty(log_probabilities.shape)
        temperatures = []
        for held_out, rest in ((first, second), (second, first)):
            temperature = fit_temperature(log_probabilities[held_out], labels[held_out])
            scaled[rest] = rescale(log_probabilities[rest], 1 / temperature)
            temperatures.append(temperature)
        yield ScaledPredictions(scaled, float(np.mean(temperatures)))


def held_out_halves(examples: int, seed: int = 0) -> tuple[Array, Array]:
    """Split examples at random: one half to fit a temperature on, the other to report on.

    Args:
        examples: Number of examples.
        seed: Of the split, which depends on nothing else but the number of examples.

    Returns:
        The indices of both halves, ascending; of an odd number, the first has one more.

    Raises:
        UserError: fewer than two examples.
    """
    _check_two_halves(examples)
    order = np.random.default_rng(seed).permutation(examples)
    fitted, reported = np.array_split(order, 2)
    return np.sort(fitted), np.sort(reported)


def check_held_out(fitted: Array, reported: Array) -> None:
    """Check that no example serves both to fit a temperature and to report what it does.

    Args:
        fitted: Indices of the examples it is fitted on.
        reported: Indices of the examples whose scores are reported.

    Raises:
        UserError: the two share an example, or one is empty.
    """
    if not (len(fitted) and len(reported)):
        raise UserError(
            f"temperature scaling: {len(fitted)} examples to fit on and {len(reported)} to report "
            "on; both need at least one: evaluate on a larger test set"
        )
    shared = np.intersect1d(fitted, reported)
    if len(shared):
        raise UserError(
            f"temperature scaling: {len(shared)} of the {len(reported)} examples that are reported "
            f"on (the first is number {shared[0]}, counted from 0) are among those that the "
            "temperature is fitted on, which flatters what is reported: fit on other examples, "
            "such as those of held_out_halves"
        )


def _check_two_halves(examples: int) -> None:
    if examples < 2:
        raise UserError(
            f"temperature scaling: {examples} examples; it needs two halves, at least one example "
            "each: evaluate on a larger test set"
        )


def disagreement(top_classes: Array) -> float:
    """Return in how many percent of the examples two members predict different classes.

    Fort et al. 2019, *Deep ensembles: a loss landscape perspective*: mean over all pairs of
    members.

    Args:
        top_classes: ``[M, N]``, the most probable class of every member and example.

    Returns:
        Percent; NaN for fewer than two members.
    """
    members, examples = top_classes.shape
    if members < 2:
        return float("nan")
    differing = sum(
        np.count_nonzero(top_classes[member + 1 :] != top_classes[member])
        for member in range(members - 1)
    )
    pairs = members * (members - 1) / 2
    return float(100 * differing / (pairs * examples))


@dataclass(frozen=True)
class DeepEnsembleEquivalent:
    """How many independent networks an ensemble is worth.

    Attributes:
        size: Number of networks, interpolated.
        low: The same against independent ensembles that are one standard deviation better; NaN
            where the deviations are not known.
        high: Against those that are one standard deviation worse.
        bound: ``lower`` where even the largest independent ensemble is worse, ``upper`` where the
            smallest one is already better; ``size`` is then that one's.
    """

    size: float
    low: float
    high: float
    bound: Bound | None


def deep_ensemble_equivalent(
    calibrated_log_likelihood: float,
    sizes: Sequence[int],
    deep_ensemble_means: Sequence[float],
    deep_ensemble_stds: Sequence[float],
) -> DeepEnsembleEquivalent:
    """Return the size of the independent ("deep") ensemble that is as good as a method.

    Ashukha et al. 2020, section 5: the smallest size, linearly interpolated, at which the mean
    calibrated log-likelihood of independent ensembles reaches that of the method; its bounds
    replace the mean by mean plus and minus one standard deviation.

    Args:
        calibrated_log_likelihood: Of the method, nats an example, after temperature scaling.
        sizes: Of the independent ensembles, ascending.
        deep_ensemble_means: Their mean calibrated log-likelihood over runs, one a size.
        deep_ensemble_stds: Standard deviations of the same; NaN where there is one run only.

    Raises:
        ValueError: sizes that do not ascend, or as many means or deviations as there are not sizes.
    """
    means, deviations = np.asarray(deep_ensemble_means), np.asarray(deep_ensemble_stds)
    positions = np.asarray(sizes, dtype=np.float64)
    if not (len(positions) == len(means) == len(deviations) and len(positions)):
        raise ValueError(
            f"{len(positions)} sizes, {len(means)} means and {len(deviations)} standard deviations "
            "of independent ensembles; one each a size is needed"
        )
    if np.any(np.diff(positions) <= 0):
        raise ValueError(f"sizes {list(sizes)} of independent ensembles do not ascend")
    size, bound = _first_reaching(calibrated_log_likelihood, positions, means)
    low, high = np.nan, np.nan
    if np.isfinite(deviations).all():
        low, _ = _first_reaching(calibrated_log_likelihood, positions, means + deviations)
        high, _ = _first_reaching(calibrated_log_likelihood, positions, means - deviations)
    return DeepEnsembleEquivalent(size, low, high, bound)


def _first_reaching(value: float, positions: Array, curve: Array) -> tuple[float, Bound | None]:
    reached = np.flatnonzero(curve >= value)
    if not len(reached):
        return float(positions[-1]), "lower"
    after = reached[0]
    if after == 0:
        return float(positions[0]), "upper" if curve[0] > value else None
    before = after - 1
    share = (value - curve[before]) / (curve[after] - curve[before])
    return float(positions[before] + share * (positions[after] - positions[before])), None
