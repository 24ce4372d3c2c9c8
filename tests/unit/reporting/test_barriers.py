import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.barriers import (
    barriers,
    height_above_ends,
    height_above_line,
    instability,
    mode_connectivity,
)
from mode_connectivity.reporting.summaries import (
    METRICS,
    error_percent,
    reflected_interval,
    resampled_errors,
)
from mode_connectivity.settings import UserError

NAMES = ("height_above_ends", "height_above_ends_t", "barrier", "instability", "mode_connectivity")


def grid_of(values, t=None):
    t = np.linspace(0, 1, len(values)) if t is None else np.asarray(t)
    return pd.DataFrame({"t": t, "length": t} | dict.fromkeys(METRICS, np.asarray(values, float)))


def measured(values, t=None, metric="train_nll"):
    found = barriers(grid_of(values, t), [metric])
    assert set(found) == {f"{metric}_{name}" for name in NAMES}
    return [found[f"{metric}_{name}"] for name in NAMES]


def test_a_convex_quadratic_has_no_barrier():
    w = np.linspace(-1.0, 2.0, 61)
    height, t, barrier, _, score = measured((w - 0.3) ** 2 + 5)
    assert (height, barrier) == (0, 0)
    assert np.isnan(t)
    # The bottom lies farther below the mean of the ends, 7.29, than the higher end above it.
    assert score == pytest.approx((1.69 + 2.89) / 2 - 0)


def test_a_double_well_has_its_height():
    w = np.linspace(-1.0, 1.0, 41)
    well = (w**2 - 1) ** 2
    assert measured(3 * well + 2) == pytest.approx([3, 0.5, 3, 3, -3])


@pytest.mark.parametrize(
    ("values", "t", "expected"),
    [
        # Above the larger end by 2, the line (2 there) by 3, the mean of the ends by 3.
        ([1, 5, 3], None, [2, 0.5, 3, 3, -3]),
        # Below the larger end, above the line (1 there) by 2; the mean of the ends is 2.
        ([0, 3, 4], [0, 0.25, 1], [0, np.nan, 2, 2, 2]),
        # A curve below both of its ends.
        ([2, 0, 1], None, [0, np.nan, 0, 0.5, 1.5]),
        # The maximum and the largest height above the line are different points: 9 of 10, and
        # 8 against 1 + 0.2 * 7 = 2.4.
        ([1, 8, 9, 8], [0, 0.2, 0.9, 1], [1, 0.9, 5.6, 4.5, -4.5]),
        ([4, 4, 4], None, [0, np.nan, 0, 0, 0]),
        # A line: its ends are the points farthest from their mean; the first counts.
        ([1, 2, 3], None, [0, np.nan, 0, 1, 1]),
    ],
)
def test_by_hand(values, t, expected):
    assert measured(values, t, "test_error") == pytest.approx(expected, nan_ok=True)


def test_definitions_work_row_by_row():
    values = np.random.default_rng(0).random((5, 3, 7))
    t = np.linspace(0, 1, 7)
    for measure in (
        height_above_ends,
        instability,
        mode_connectivity,
        lambda values: height_above_line(values, t),
    ):
        of_all = measure(values)
        assert of_all.shape == (5, 3)
        assert of_all[4, 1] == measure(values[4, 1])


def test_every_metric_is_measured_in_its_own_column():
    grid = grid_of([0, 0, 0])
    for place, metric in enumerate(METRICS, start=1):
        grid[metric] = [0.0, float(place), 0.0]
    found = barriers(grid)
    assert len(found) == len(METRICS) * len(NAMES)
    for place, metric in enumerate(METRICS, start=1):
        assert found[f"{metric}_height_above_ends"] == place


def correct_of(wrong, examples=1000):
    """Points that get ``wrong`` examples wrong, the same first ones."""
    return np.arange(examples) >= np.asarray(wrong)[:, None]


def test_intervals_of_the_test_error():
    correct = correct_of([70, 130, 60, 80])
    grid = grid_of(error_percent(correct))
    found = barriers(grid, ["test_error"], correct=correct, resamples=300, seed=4)
    plain = barriers(grid, ["test_error"])
    assert plain.items() <= found.items()
    samples = resampled_errors(correct, resamples=300, seed=4)
    ends = np.maximum(samples[:, 0], samples[:, 3])
    low, high = reflected_interval(samples.max(axis=1) - ends, 5.0)
    assert found["test_error_height_above_ends"] == pytest.approx(5.0)
    assert found["test_error_height_above_ends_low"] == low
    assert found["test_error_height_above_ends_high"] == high
    assert 3 < low < 5 < high < 7
    for name in ("barrier", "instability"):
        low, high = found[f"test_error_{name}_low"], found[f"test_error_{name}_high"]
        assert low < found[f"test_error_{name}"] < high
    assert "test_error_mode_connectivity_low" not in found


def test_intervals_hold_the_true_barrier():
    """Of a flat path there is none, though every test set shows some."""
    random = np.random.default_rng(1)
    held = {0.0: 0, 4.0: 0}
    t = np.linspace(0, 1, 11)
    for truth in held:
        error = 0.08 + truth / 100 * 4 * t * (1 - t)
        for _ in range(50):
            correct = random.random((11, 500)) >= error[:, None]
            found = barriers(
                grid_of(error_percent(correct)), ["test_error"], correct=correct, resamples=200
            )
            low, high = (found[f"test_error_barrier_{end}"] for end in ("low", "high"))
            held[truth] += low <= truth <= high
    assert held[0.0] >= 33
    assert held[4.0] >= 40


def test_correctness_of_another_evaluation_is_recognised():
    correct = correct_of([70, 130, 60, 80])
    grid = grid_of(error_percent(correct))
    for other in (correct[:3], correct[::-1]):
        with pytest.raises(UserError, match=r"^grid of GA: .* evaluate the path again"):
            barriers(grid, correct=other, where="grid of GA")


def test_broken_grids_are_named():
    with pytest.raises(UserError, match=r"grid of GA: no column test_nll"):
        barriers(grid_of([1, 2]).drop(columns="test_nll"), where="grid of GA")
    with pytest.raises(UserError, match=r"train_nll is not a number at t = 0\.5"):
        barriers(grid_of([1, np.nan, 2]), ["train_nll"])
    with pytest.raises(ValueError, match=r"grid of GA: t from 0 to 0\.5; a path runs from 0 to 1"):
        barriers(grid_of([1, 2], [0, 0.5]), where="grid of GA")
