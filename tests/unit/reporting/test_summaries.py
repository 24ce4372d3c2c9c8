import math
import time
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy import stats

from mode_connectivity.reporting import summaries
from mode_connectivity.reporting.summaries import (
    METRICS,
    bootstrap_test_error,
    check_grid,
    error_percent,
    percentile_interval,
    read_correct,
    reflected_interval,
    resampled_errors,
    summarise_curve,
    summarise_endpoints,
    t_interval,
    trapezoid_weights,
)
from mode_connectivity.settings import UserError


def grid_of(points, values, t=None):
    """The grid of a curve through points [T, P] of weight space, all metrics equal to values."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    columns = dict.fromkeys(METRICS, np.asarray(values, float))
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return pd.DataFrame(
        {"t": np.linspace(0, 1, len(points)) if t is None else t, "length": length} | columns
    )


def line(length):
    return np.stack([length, np.zeros_like(length)], axis=1)


def test_summary_by_hand():
    # Steps 1 and 3: Int = (1 * (1 + 5) / 2 + 3 * (5 + 2) / 2) / 4 = 13.5 / 4.
    summary = summarise_curve(grid_of(line(np.array([0.0, 1.0, 4.0])), [1, 5, 2]), 2.0)
    assert summary["length_ratio"] == 2.0
    for metric in METRICS:
        assert summary[f"{metric}_min"] == 1
        assert summary[f"{metric}_int"] == pytest.approx(13.5 / 4)
        assert summary[f"{metric}_mean"] == pytest.approx(8 / 3)
        assert summary[f"{metric}_max"] == 5
        assert summary[f"{metric}_height_above_ends"] == 5 - 2


def test_integral_of_a_linear_function_on_an_uneven_grid_is_its_value_in_the_middle():
    length = np.array([0.0, 0.1, 0.15, 2.0, 7.0, 10.0])
    summary = summarise_curve(grid_of(line(length), 3 * length + 2), 10.0)
    assert summary["test_error_int"] == pytest.approx(3 * 5 + 2)
    assert summary["test_error_mean"] != pytest.approx(3 * 5 + 2)


@given(
    steps=st.lists(st.floats(0.01, 10), min_size=1, max_size=20),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=50, deadline=None)
def test_integral_is_the_trapezoidal_rule_and_lies_between_the_extremes(steps, seed):
    length = np.concatenate([[0.0], np.cumsum(steps)])
    values = np.random.default_rng(seed).random(len(length))
    summary = summarise_curve(grid_of(line(length), values), 1.0, ["test_nll"])
    expected = np.trapezoid(values, length) / length[-1]
    assert summary["test_nll_int"] == pytest.approx(expected, rel=1e-9)
    assert summary["test_nll_min"] <= summary["test_nll_int"] + 1e-12
    assert summary["test_nll_int"] <= summary["test_nll_max"] + 1e-12


def test_weights_do_not_depend_on_the_unit_of_length_and_sum_to_one():
    length = np.array([0.0, 1.0, 1.0, 4.0])
    np.testing.assert_allclose(trapezoid_weights(length), [0.125, 0.125, 0.375, 0.375])
    np.testing.assert_allclose(trapezoid_weights(1e-6 * length), trapezoid_weights(length))


def quadratic_bezier(start, bend, end, t):
    t = t[:, None]
    return (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end


def test_bezier_curve_with_its_bend_in_the_middle_is_the_segment():
    start, end = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.5, 7.0])
    points = quadratic_bezier(start, (start + end) / 2, end, np.linspace(0, 1, 121))
    summary = summarise_curve(grid_of(points, np.zeros(121)), float(np.linalg.norm(end - start)))
    assert summary["length_ratio"] == pytest.approx(1, abs=1e-12)


def test_length_ratio_of_a_chain_and_of_a_parabola():
    chain = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]])
    assert summarise_curve(grid_of(chain, np.zeros(3)), 2.0)["length_ratio"] == pytest.approx(
        2**0.5
    )
    # Bend above the middle: the parabola y = 2 x (2 - x) / 2 over [0, 2], of known length.
    points = quadratic_bezier(
        *np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 0.0]]), np.linspace(0, 1, 2001)
    )
    exact = math.sqrt(5) + math.asinh(2) / 2
    ratio = summarise_curve(grid_of(points, np.zeros(2001)), 2.0)["length_ratio"]
    assert ratio == pytest.approx(exact / 2, rel=1e-6)


@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_no_curve_is_shorter_than_the_segment(seed):
    points = np.random.default_rng(seed).normal(size=(7, 4))
    distance = float(np.linalg.norm(points[-1] - points[0]))
    assert summarise_curve(grid_of(points, np.zeros(7)), distance)["length_ratio"] >= 1 - 1e-12


def test_single_networks_are_the_ends():
    summary = summarise_endpoints(grid_of(line(np.arange(4.0)), [3, 9, 0, 2]))
    for metric in METRICS:
        assert (summary[f"{metric}_min"], summary[f"{metric}_max"]) == (2, 3)
        assert math.isnan(summary[f"{metric}_int"])
        assert math.isnan(summary[f"{metric}_mean"])
        assert math.isnan(summary[f"{metric}_height_above_ends"])
    assert math.isnan(summary["length_ratio"])
    assert set(summary) == set(summarise_curve(grid_of(line(np.arange(4.0)), np.zeros(4)), 1.0))


def test_infinite_loss_stays_infinite():
    summary = summarise_curve(grid_of(line(np.arange(3.0)), [1, np.inf, 1]), 2.0)
    assert summary["train_loss_max"] == summary["train_loss_int"] == np.inf
    assert summary["train_loss_min"] == 1


def test_a_value_that_is_not_a_number_is_not_skipped():
    with pytest.raises(UserError, match=r"train_loss is not a number at t = 0\.5"):
        summarise_curve(grid_of(line(np.arange(3.0)), [1, np.nan, 1]), 2.0)


def test_missing_columns_are_named():
    grid = grid_of(line(np.arange(3.0)), [1, 1, 1]).drop(columns=["length", "test_nll"])
    with pytest.raises(UserError, match="my grid: no column length, test_nll; found t, train_loss"):
        check_grid(grid, METRICS, "my grid")


def test_rows_out_of_order_are_refused():
    grid = grid_of(line(np.arange(3.0)), [1, 1, 1], t=[0.0, 1.0, 0.5])
    with pytest.raises(UserError, match="does not ascend"):
        summarise_curve(grid, 2.0)


@pytest.mark.parametrize("distance", [0.0, -1.0, math.nan])
def test_distance_must_be_positive(distance):
    with pytest.raises(ValueError, match="must be positive"):
        summarise_curve(grid_of(line(np.arange(3.0)), [1, 1, 1]), distance)


@pytest.mark.parametrize("length", [[0.0], [0.0, 0.0], [0.0, 2.0, 1.0], [[0.0, 1.0]]])
def test_lengths_must_be_those_of_a_curve(length):
    with pytest.raises(ValueError, match="length"):
        trapezoid_weights(np.array(length))


def write_correct(path, correct, **replaced):
    tensors = {
        "correct": np.packbits(correct, axis=1),
        "examples": np.array([correct.shape[1]], np.int64),
    } | replaced
    checksums = {name: zlib.crc32(tensor.tobytes()) for name, tensor in tensors.items()}
    save_file(tensors, path, metadata={"crc32": str(checksums).replace("'", '"')})


@pytest.mark.parametrize("examples", [1, 8, 13])
def test_packed_correctness_is_read(tmp_path, examples):
    correct = np.random.default_rng(0).random((4, examples)) < 0.5
    write_correct(tmp_path / "correct.safetensors", correct)
    np.testing.assert_array_equal(read_correct(tmp_path / "correct.safetensors"), correct)


def test_files_that_are_not_correctness_are_refused(tmp_path):
    correct = np.ones((2, 13), bool)
    path = tmp_path / "correct.safetensors"
    with pytest.raises(UserError, match="no such file"):
        read_correct(path)
    path.write_bytes(b"not tensors")
    with pytest.raises(UserError, match="not a whole file"):
        read_correct(path)
    save_file({"labels": np.zeros(3)}, path)
    with pytest.raises(UserError, match="not a whole file"):
        read_correct(path)
    write_correct(path, correct, examples=np.array([40], np.int64))
    with pytest.raises(UserError, match="for 40 examples"):
        read_correct(path)
    write_correct(path, correct)
    path.write_bytes(path.read_bytes().replace(np.packbits(correct, axis=1).tobytes(), b"\0" * 4))
    with pytest.raises(UserError, match="altered since it was written"):
        read_correct(path)


def test_error_in_percent():
    correct = np.array([[True, True, True, False], [False, False, False, False]])
    np.testing.assert_array_equal(error_percent(correct), [25.0, 100.0])


def test_resampled_errors_are_weighted_means(monkeypatch):
    correct = np.random.default_rng(1).random((3, 50)) < 0.7
    counts = np.random.default_rng(5).multinomial(50, np.full(50, 1 / 50), size=20)
    expected = [[100 * np.average(~row, weights=count) for row in correct] for count in counts]
    whole = resampled_errors(correct, resamples=20, seed=5)
    np.testing.assert_allclose(whole, expected, rtol=1e-12)
    monkeypatch.setattr(summaries, "RESAMPLED_EXAMPLES_AT_ONCE", 150)
    np.testing.assert_array_equal(resampled_errors(correct, resamples=20, seed=5), whole)
    assert not np.array_equal(resampled_errors(correct, resamples=20, seed=6), whole)


def test_resampled_errors_are_exact_in_either_precision(monkeypatch):
    correct = np.random.default_rng(1).random((3, 9001)) < 0.6
    counts = np.random.default_rng(0).multinomial(9001, np.full(9001, 1 / 9001), size=10)
    single = resampled_errors(correct, resamples=10)
    np.testing.assert_array_equal(single, 100 * (counts @ ~correct.T) / 9001)
    monkeypatch.setattr(summaries, "LARGEST_EXACT_FLOAT32", 0)
    np.testing.assert_array_equal(resampled_errors(correct, resamples=10), single)


def test_curves_on_one_test_set_are_resampled_together():
    correct = np.random.default_rng(2).random((2, 200)) < 0.8
    both = resampled_errors(correct, resamples=30, seed=3)
    np.testing.assert_array_equal(resampled_errors(correct[1:], resamples=30, seed=3), both[:, 1:])


def with_errors(wrong, examples):
    return (np.arange(examples) >= wrong)[np.newaxis]


def test_intervals_of_one_network_are_those_of_the_binomial_distribution():
    # An error on a bootstrap sample of N examples, k of them wrong, is Binomial(N, k / N) / N.
    examples = 400
    for wrong in (8, 40, 100, 200):
        low, high = percentile_interval(
            resampled_errors(with_errors(wrong, examples), resamples=4000)[:, 0]
        )
        exact = stats.binom.ppf([0.025, 0.975], examples, wrong / examples) / examples * 100
        assert [low, high] == pytest.approx(exact, abs=0.5)


def test_coverage_of_one_network_is_the_closed_form():
    examples, probability = 150, 0.1
    wrong = np.arange(1, 40)
    chances = stats.binom.pmf(wrong, examples, probability)
    closed = stats.binom.ppf([[0.025], [0.975]], examples, wrong / examples) / examples * 100
    ours = np.array(
        [
            percentile_interval(resampled_errors(with_errors(k, examples), resamples=1000)[:, 0])
            for k in wrong
        ]
    ).T
    coverage, expected = (
        float(chances @ ((low <= 100 * probability) & (100 * probability <= high)))
        for low, high in (ours, closed)
    )
    assert coverage == pytest.approx(expected, abs=0.02)
    assert 0.91 < coverage < 0.97


def test_interval_of_the_integral_is_that_of_a_mean():
    # All examples flip together along the curve: Int is the error of one network.
    correct = np.repeat(with_errors(50, 500), 7, axis=0)
    intervals = bootstrap_test_error(correct, np.arange(7.0), seed=4)
    assert intervals["test_error_int"] == pytest.approx(intervals["test_error_min"])
    assert intervals["test_error_min"] == intervals["test_error_max"]
    assert intervals["test_error_min"] == pytest.approx((7.4, 12.8), abs=0.5)


def test_interval_of_the_integral_uses_arc_length():
    correct = np.concatenate([with_errors(0, 100), with_errors(50, 100), with_errors(50, 100)])
    intervals = bootstrap_test_error(correct, np.array([0.0, 8.0, 10.0]))
    # Int = 0.4 * 0 + 0.5 * 50 + 0.1 * 50 = 30 percent of the spread around half of the examples.
    assert np.mean(intervals["test_error_int"]) == pytest.approx(30, abs=1)


def test_height_above_the_ends_is_paired():
    # The path errs on one example more than its worse end, in every sample that holds it.
    correct = np.concatenate([with_errors(20, 100), with_errors(31, 100), with_errors(30, 100)])
    intervals = bootstrap_test_error(correct, np.arange(3.0), seed=2)
    counts = np.random.default_rng(2).multinomial(100, np.full(100, 0.01), size=1000)
    assert intervals["test_error_height_above_ends"] == pytest.approx(
        percentile_interval(counts[:, 30].astype(float))
    )
    means = (counts[:, :20].sum(1) + counts[:, :31].sum(1) + counts[:, :30].sum(1)) / 3
    assert intervals["test_error_mean"] == pytest.approx(percentile_interval(means))


def test_points_without_a_length_have_no_integral():
    intervals = bootstrap_test_error(np.ones((2, 10), bool), None)
    assert intervals == {"test_error_min": (0, 0), "test_error_max": (0, 0)}


def test_reflected_interval_mirrors_the_percentile_interval():
    samples = np.arange(101.0)
    assert percentile_interval(samples, 0.9) == pytest.approx((5, 95))
    assert reflected_interval(samples, 20.0, 0.9) == pytest.approx((-55, 35))


def test_only_the_reflected_interval_holds_the_maximum_of_a_flat_curve():
    correct = np.random.default_rng(0).random((61, 500)) >= 0.1
    length = np.linspace(0, 1, 61)
    percentile = bootstrap_test_error(correct, length)["test_error_max"]
    reflected = bootstrap_test_error(correct, length, method="reflected")["test_error_max"]
    assert percentile[0] > 10
    assert reflected[0] < 10 < reflected[1]


def test_reflected_intervals_stay_within_the_range_of_an_error():
    correct = np.concatenate([with_errors(1, 40), with_errors(39, 40)])
    intervals = bootstrap_test_error(correct, None, method="reflected")
    assert intervals["test_error_min"][0] == 0
    assert intervals["test_error_max"][1] == 100


def test_a_whole_curve_on_ten_thousand_examples_takes_seconds():
    correct = np.random.default_rng(0).random((121, 10_000)) < 0.93
    start = time.process_time()
    bootstrap_test_error(correct, np.linspace(0, 1, 121), resamples=1000)
    assert time.process_time() - start < 3


def test_interval_over_runs_by_hand():
    # Three runs: t(0.975; 2) = 4.302653, standard error 1 / sqrt(3).
    half_width = 4.302653 / math.sqrt(3)
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half_width, 2 + half_width))
    assert all(map(math.isnan, t_interval([1.0])))
