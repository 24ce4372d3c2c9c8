"""Calibration against hand calculations, SciPy, scikit-learn, and temperatures that are known."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from mode_connectivity.evaluation.calibration import (
    brier,
    cross_fitted_log_probabilities,
    deep_ensemble_equivalent,
    disagreement,
    expected_calibration_error,
    fit_temperature,
    rescale,
)
from mode_connectivity.settings import UserError


@pytest.fixture
def logits():
    return np.random.default_rng(3).normal(scale=4, size=(5, 40, 7)).astype(np.float32)


@pytest.fixture
def predictions():
    """Probabilities of 1,000 examples, overconfident, and labels that half of them get right."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(1000, 5))
    labels = (logits + random.normal(size=logits.shape)).argmax(axis=1)
    return softmax(3 * logits, axis=1), labels


def test_rescaling_by_hand():
    # Probabilities 0.8, 0.2 with scale 1/2: sqrt(0.8) : sqrt(0.2) = 2 : 1.
    rescaled = rescale(np.log([[0.8, 0.2]]), 0.5)
    np.testing.assert_allclose(np.exp(rescaled), [[2 / 3, 1 / 3]])


def test_rescaling_log_probabilities_equals_rescaling_logits(logits):
    scales = np.array([1.0, 0.5, 0.1, 0.9, 1e-3])
    expected = log_softmax(logits.astype(np.float64) * scales[:, None, None], axis=-1)
    rescaled = rescale(log_softmax(logits.astype(np.float64), axis=-1), scales)
    np.testing.assert_allclose(rescaled, expected, rtol=1e-12, atol=1e-12)
    one = rescale(log_softmax(logits[1].astype(np.float64), axis=-1), 0.5)
    np.testing.assert_allclose(one, expected[1], rtol=1e-12, atol=1e-12)


def test_rescaling_survives_log_probabilities_that_underflow():
    rescaled = rescale(np.array([[0.0, -5000.0]]), 0.5)
    np.testing.assert_array_equal(rescaled, [[0.0, -2500.0]])


def test_brier_score(predictions):
    # 0.3^2 + 0.2^2 + 0.1^2 and, sure and wrong, 1 + 1.
    by_hand = brier(np.array([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0]]), np.array([0, 2]))
    assert by_hand == pytest.approx((0.14 + 2) / 2)
    probabilities, labels = predictions
    expected = brier_score_loss(labels, probabilities, labels=range(5), scale_by_half=False)
    assert brier(probabilities, labels) == pytest.approx(expected)


def test_calibration_error_by_hand():
    # Confidences 0.55 (wrong), 0.6 (right) and 0.9 (right); with five bins the edge 0.6 is below.
    probabilities = np.array([[0.55, 0.45], [0.6, 0.4], [0.1, 0.9]])
    labels = np.array([1, 0, 1])
    of_first_bin, of_last_bin = abs(0.55 + 0.6 - 1), abs(0.9 - 1)
    error = expected_calibration_error(probabilities, labels, bins=5)
    assert error == pytest.approx(100 * (of_first_bin + of_last_bin) / 3)
    by_count = expected_calibration_error(probabilities, labels, bins=3, binning="equal_count")
    assert by_count == pytest.approx(100 * (0.55 + 0.4 + 0.1) / 3)


def test_calibration_error_of_equal_widths_matches_scikit_learn(predictions):
    probabilities, labels = predictions
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    accuracy, mean_confidence = calibration_curve(correct, confidence, n_bins=15)
    counts, _ = np.histogram(confidence, bins=15, range=(0, 1))
    expected = 100 * np.sum(counts[counts > 0] * np.abs(accuracy - mean_confidence)) / 1000
    assert expected > 10
    assert expected_calibration_error(probabilities, labels) == pytest.approx(expected)


def test_calibration_error_of_equal_counts_matches_a_loop(predictions):
    probabilities, labels = predictions
    examples = sorted(
        (max(row), float(row.argmax() == label))
        for row, label in zip(probabilities, labels, strict=True)
    )
    expected = 0.0
    for start in range(0, 1000, 50):
        confidence, correct = zip(*examples[start : start + 50], strict=True)
        expected += abs(sum(confidence) / 50 - sum(correct) / 50) * 50 / 1000
    error = expected_calibration_error(probabilities, labels, bins=20, binning="equal_count")
    assert error == pytest.approx(100 * expected)


def test_calibrated_predictions_have_next_to_no_calibration_error():
    random = np.random.default_rng(1)
    probabilities = softmax(2 * random.normal(size=(50_000, 3)), axis=1)
    labels = (random.random((50_000, 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    for binning in ("equal_width", "equal_count"):
        assert expected_calibration_error(probabilities, labels, binning=binning) < 1.0
    with pytest.raises(ValueError, match="0 bins"):
        expected_calibration_error(probabilities, labels, bins=0)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_a_known_temperature_is_recovered(temperature):
    random = np.random.default_rng(2)
    logits = random.normal(scale=2, size=(40_000, 4))
    probabilities = softmax(logits, axis=1)
    labels = (random.random((len(logits), 1)) > probabilities.cumsum(axis=1)).sum(axis=1)
    found = fit_temperature(log_softmax(temperature * logits, axis=1), labels)
    assert found == pytest.approx(temperature, rel=0.03)


def test_the_fitted_temperature_has_no_slope(predictions):
    probabilities, labels = predictions
    logits = np.log(probabilities)

    def slope(scale):
        scaled = softmax(scale * logits, axis=1)
        return np.mean((scaled * logits).sum(axis=1) - logits[np.arange(1000), labels])

    expected = 1 / brentq(slope, 0.05, 5, xtol=1e-12)
    assert fit_temperature(logits, labels) == pytest.approx(expected, rel=1e-3)


def test_fits_without_an_optimum_stay_in_range():
    logits = np.log([[0.9, 0.1], [0.2, 0.8]])
    assert fit_temperature(logits, np.array([0, 1])) == pytest.approx(0.1, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 0])) == pytest.approx(10, rel=1e-3)
    with pytest.raises(UserError, match="true class is -inf"):
        fit_temperature(np.array([[0.0, -np.inf]]), np.array([1]))


def test_no_example_is_scaled_with_a_temperature_that_knows_its_label(predictions):
    probabilities, labels = predictions
    logits, labels = np.log(probabilities[:60]), labels[:60]
    changed = labels.copy()
    changed[7] = (changed[7] + 1) % 5
    before = list(cross_fitted_log_probabilities(logits, labels))
    after = list(cross_fitted_log_probabilities(logits, changed))
    assert len(before) == 5
    for one, other in zip(before, after, strict=True):
        same = (one.log_probabilities == other.log_probabilities).all(axis=1)
        assert same[7]
        # Those in the half of the changed label are scaled alike, those in the other half are not.
        assert same.sum() == 30


def test_cross_fitting_uses_the_halves_of_random_splits(predictions):
    probabilities, labels = predictions
    logits = np.log(probabilities[:41])
    labels = labels[:41]
    order = np.random.default_rng(9).permutation(41)
    halves = order[:21], order[21:]
    (fit,) = cross_fitted_log_probabilities(logits, labels, repeats=1, seed=9)
    temperatures = [fit_temperature(logits[half], labels[half]) for half in halves]
    assert fit.temperature == pytest.approx(np.mean(temperatures))
    for half, temperature in zip(halves, reversed(temperatures), strict=True):
        expected = log_softmax(logits[half] / temperature, axis=1)
        np.testing.assert_allclose(fit.log_probabilities[half], expected, rtol=1e-10)
    with pytest.raises(UserError, match="1 examples; it needs two halves"):
        next(cross_fitted_log_probabilities(logits[:1], labels[:1]))


def test_cross_fitting_mends_overconfidence(predictions):
    probabilities, labels = predictions
    before = expected_calibration_error(probabilities, labels)
    for fit in cross_fitted_log_probabilities(np.log(probabilities), labels):
        assert fit.temperature > 1
        after = expected_calibration_error(np.exp(fit.log_probabilities), labels)
        assert after < before / 3


def test_disagreement_is_the_mean_over_pairs():
    top_classes = np.array([[0, 1, 2, 3], [0, 1, 2, 0], [0, 0, 1, 0]])
    # Pairs differ on 1, 3 and 2 of 4 examples.
    assert disagreement(top_classes) == pytest.approx(100 * (1 + 3 + 2) / 3 / 4)
    assert disagreement(top_classes[[0, 0]]) == 0
    assert np.isnan(disagreement(top_classes[:1]))


def test_deep_ensemble_equivalent_on_a_line():
    sizes, means, stds = [1, 2, 4], [-1.0, -0.8, -0.6], [0.1, 0.1, 0.1]
    found = deep_ensemble_equivalent(-0.75, sizes, means, stds)
    assert found.size == pytest.approx(2.5)
    # Means plus 0.1 reach -0.75 between 1 and 2 networks; less 0.1 (-1.1, -0.9, -0.7) after 2.
    assert found.low == pytest.approx(1.75)
    assert found.high == pytest.approx(3.5)
    assert found.bound is None
    assert deep_ensemble_equivalent(-0.8, sizes, means, stds).size == pytest.approx(2)


def test_deep_ensemble_equivalents_beyond_the_sizes_are_bounds():
    sizes, means, stds = [1, 2, 4], [-1.0, -0.8, -0.6], [0.1, 0.1, np.nan]
    better = deep_ensemble_equivalent(-0.5, sizes, means, stds)
    assert (better.size, better.bound) == (4, "lower")
    assert np.isnan([better.low, better.high]).all()
    worse = deep_ensemble_equivalent(-1.1, sizes, means, stds)
    assert (worse.size, worse.bound) == (1, "upper")
    equal = deep_ensemble_equivalent(-1.0, sizes, means, stds)
    assert (equal.size, equal.bound) == (1, None)


def test_deep_ensemble_equivalent_is_the_smallest_size_that_suffices():
    found = deep_ensemble_equivalent(-0.5, [1, 2, 3, 4], [-1.0, 0.0, -1.0, 0.0], [0, 0, 0, 0])
    assert found.size == pytest.approx(1.5)
    with pytest.raises(ValueError, match="do not ascend"):
        deep_ensemble_equivalent(-0.5, [2, 1], [-1, -1], [0, 0])
    with pytest.raises(ValueError, match="2 sizes, 1 means"):
        deep_ensemble_equivalent(-0.5, [1, 2], [-1], [0, 0])
