"""Ensembles of the points of a curve, against hand calculations and SciPy."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax

from mode_connectivity.reporting import temperature
from mode_connectivity.settings import UserError


@pytest.fixture
def logits():
    return np.random.default_rng(3).normal(scale=4, size=(5, 40, 7)).astype(np.float32)


@pytest.fixture
def labels():
    return np.random.default_rng(4).integers(0, 7, 40)


def test_scales_are_the_mean_endpoint_loss_over_the_loss():
    # Mean endpoint loss (0.08 + 0.12) / 2 = 0.1.
    scales = temperature.logit_scales([0.08, 0.2, 0.1, 0.05, 0.12])
    np.testing.assert_allclose(scales, [1.0, 0.5, 1.0, 1.0, 0.1 / 0.12])


def test_scales_of_a_fitted_curve_with_zero_losses_are_one():
    np.testing.assert_array_equal(temperature.logit_scales([0.0, 0.0, 0.0]), [1, 1, 1])


@pytest.mark.parametrize(
    ("losses", "text"),
    [
        ([0.1, np.nan, 0.1], "point 1 of 3 is nan"),
        ([0.1, np.inf, 0.1], "point 1 of 3 is inf"),
        ([-0.1, 0.2, 0.1], "point 0 of 3 is -0.1"),
        ([0.1], "at least the two endpoints"),
    ],
)
def test_scales_refuse_losses_that_set_no_temperature(losses, text):
    with pytest.raises(UserError, match=text):
        temperature.logit_scales(losses)


def test_fifty_of_121_points_are_nearly_equally_spaced():
    chosen = temperature.equally_spaced(121, 50)
    assert len(set(chosen.tolist())) == 50
    assert (chosen[0], chosen[-1]) == (0, 120)
    assert np.abs(chosen / 120 - np.linspace(0, 1, 50)).max() <= 0.5 / 120
    np.testing.assert_array_equal(temperature.equally_spaced(5, 3), [0, 2, 4])
    with pytest.raises(UserError, match="50 members from a grid of 21 points"):
        temperature.equally_spaced(21, 50)


def test_curve_ensemble_against_its_parts(logits, labels):
    log_probabilities = log_softmax(logits, axis=-1)
    grid = pd.DataFrame(
        {
            "t": np.linspace(0, 1, 5),
            "train_loss": [0.1, 0.2, 0.1, 0.4, 0.1],
            "train_nll": [0.02, 0.02, 0.08, 0.02, 0.02],
        }
    )
    ensemble = temperature.curve_ensemble(grid, log_probabilities, labels, members=3)
    scales = np.array([1.0, 0.5, 1.0, 0.25, 1.0])
    np.testing.assert_allclose(ensemble.points["logit_scale"], scales)
    rows = np.arange(40)
    for index in range(5):
        row = ensemble.points.iloc[index]
        plain = log_softmax(logits[index].astype(np.float64), axis=-1)
        scaled = log_softmax(scales[index] * logits[index].astype(np.float64), axis=-1)
        assert row["test_nll"] == pytest.approx(-plain[rows, labels].mean(), rel=1e-6)
        assert row["test_nll_rescaled"] == pytest.approx(-scaled[rows, labels].mean(), rel=1e-6)
    chosen = logits[[0, 2, 4]].astype(np.float64)
    assert ensemble.members == 3
    plain = softmax(chosen, axis=-1).mean(axis=0)
    assert ensemble.error == pytest.approx(100 * np.mean(plain.argmax(-1) != labels))
    assert ensemble.nll == pytest.approx(-np.log(plain[rows, labels]).mean(), rel=1e-6)
    by_nll = temperature.curve_ensemble(
        grid, log_probabilities, labels, members=3, loss="train_nll"
    )
    np.testing.assert_allclose(by_nll.points["logit_scale"], [1, 1, 0.25, 1, 1])
    scaled = softmax(chosen * np.array([1, 0.25, 1])[:, None, None], axis=-1).mean(axis=0)
    assert by_nll.nll_rescaled == pytest.approx(-np.log(scaled[rows, labels]).mean(), rel=1e-6)
    assert by_nll.error_rescaled == pytest.approx(100 * np.mean(scaled.argmax(-1) != labels))


def test_curve_ensemble_refuses_what_does_not_belong_together(logits, labels):
    grid = pd.DataFrame({"t": [0.0, 1.0], "train_loss": [1.0, 1.0]})
    with pytest.raises(UserError, match="predictions of 5 points for a grid of 2"):
        temperature.curve_ensemble(grid, logits, labels)
    with pytest.raises(UserError, match=r"no column 'train_los'.*did you mean 'train_loss'"):
        temperature.curve_ensemble(grid, logits[:2], labels, members=2, loss="train_los")


def test_two_network_ensembles_by_hand():
    # Two classes; the first network is sure of class 0 on example 0 and undecided on example 1.
    first = np.log([[0.9, 0.1], [0.45, 0.55]])
    second = np.log([[0.2, 0.8], [0.8, 0.2]])
    correct = temperature.two_network_ensembles([first, second], np.array([0, 0]))
    np.testing.assert_array_equal(correct, [[True, False], [True, True]])
    table = temperature.two_network_errors([0, 1], [first, second], np.array([0, 0]))
    np.testing.assert_array_equal(table["test_error"], [50, 0])
    assert table["test_error_low"][0] == table["test_error_high"][0] == 50
    # A resample of the two examples holds the one that improved 0, 1 or 2 times.
    assert (table["test_error_low"][1], table["test_error_high"][1]) == (50 - 100, 50 - 0)
    # The same seen from the other end, at which the ensemble is that of both ends.
    ends = table[[f"two_ends_difference{end}" for end in ("", "_low", "_high")]]
    np.testing.assert_array_equal(ends, [[50, 0, 100], [0, 0, 0]])
    with pytest.raises(UserError, match="2 points for a grid of 3"):
        temperature.two_network_errors([0, 0.5, 1], [first, second], np.array([0, 0]))


def test_paired_interval_matches_resampling_the_examples():
    rng = np.random.default_rng(0)
    reference = rng.random(300) < 0.7
    correct = np.stack([reference, reference ^ (rng.random(300) < 0.1)])
    low, high = temperature.paired_error_interval(correct, reference, replicates=20000)
    picks = rng.integers(0, 300, (20000, 300))
    worse = reference.astype(float) - correct[1]
    resampled = 100 * worse[picks].mean(axis=1)
    expected = np.quantile(resampled, [0.025, 0.975])
    np.testing.assert_allclose([low[1], high[1]], expected, atol=0.34)
    assert low[0] == high[0] == 0
    again = temperature.paired_error_interval(correct, reference, replicates=20000)
    np.testing.assert_array_equal(again, (low, high))
    narrow = temperature.paired_error_interval(correct, reference, level=0.5)
    assert low[1] < narrow[0][1] < narrow[1][1] < high[1]
