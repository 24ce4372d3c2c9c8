"""Verdicts against simulations with known truths, closed forms and another library."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from mode_connectivity.reporting.inference import (
    SIDE,
    Quantity,
    Range,
    find,
    rank_correlation,
    rejected,
)
from mode_connectivity.reporting.summaries import (
    error_percent,
    percentile_interval,
    resampled_errors,
    t_interval,
)

Z = stats.norm.ppf(0.975)


def gaussian(estimate, error=1.0):
    return Quantity(estimate, estimate - Z * error, estimate + Z * error)


@pytest.mark.parametrize(
    ("quantity", "finding"),
    [
        (Quantity(1.0, 0.5, 1.5), "inside"),
        (Quantity(1.0, 0.5, 2.5), "undecided"),
        (Quantity(2.5, 1.9, 3.1), "undecided"),
        (Quantity(3.0, 2.1, 3.9), "outside"),
        (Quantity(1.0), "inside"),
        (Quantity(3.0), "outside"),
        (Quantity(2.0), "inside"),
    ],
)
def test_one_quantity_is_where_its_interval_is(quantity, finding):
    assert find([quantity], Range(high=2.0)) == [finding]


def test_an_excluded_end_is_outside():
    assert find([Quantity(0.0)], Range(high=0.0, strict=True)) == ["outside"]
    assert find([Quantity(0.0)], Range(high=0.0)) == ["inside"]


def test_what_no_resample_moves_is_undecided_at_an_excluded_end():
    # Two networks with the very same mistakes: no sign that one is better, nor that it is not.
    same = Quantity(0.0, 0.0, 0.0)
    assert find([same], Range(high=0.0, strict=True)) == ["undecided"]
    assert find([same], Range(low=-0.5, high=0.5)) == ["inside"]
    assert find([Quantity(-0.1, -0.1, -0.1)], Range(high=0.0, strict=True)) == ["inside"]
    assert find([Quantity(0.7, 0.7, 0.7)], Range(low=-0.5, high=0.5)) == ["outside"]


@pytest.mark.parametrize(
    ("estimate", "finding"), [(0.0, "inside"), (0.7, "undecided"), (3.2, "outside")]
)
def test_equivalence_needs_both_ends_refuted(estimate, finding):
    assert find([gaussian(estimate, 0.4)], Range(-1.0, 1.0)) == [finding]


def test_p_values_are_those_of_the_t_test():
    values = np.random.default_rng(0).normal(1.0, 2.0, 7)
    low, high = t_interval(values.tolist())
    quantity = Quantity(float(values.mean()), low, high, freedom=6)
    for bound in (-1.0, 0.5, 2.0):
        for alternative, found in (
            ("greater", quantity.probability_below(bound)),
            ("less", quantity.probability_above(bound)),
        ):
            expected = stats.ttest_1samp(values, bound, alternative=alternative).pvalue
            assert found == pytest.approx(expected, rel=1e-6)


def test_skew_intervals_count_on_the_side_of_the_bound():
    quantity = Quantity(1.0, 0.9, 3.0)
    assert quantity.probability_below(0.8) == pytest.approx(stats.norm.sf(2 * Z))
    assert quantity.probability_above(3.0) == pytest.approx(0.025)


def test_differences_of_independent_quantities_add_their_squares():
    difference = gaussian(5.0, 3.0).minus(gaussian(2.0, 4.0))
    assert difference.estimate == 3.0
    assert difference.low == pytest.approx(3 - 5 * Z)
    assert difference.high == pytest.approx(3 + 5 * Z)
    runs = Quantity(1.0, 0.0, 2.0, freedom=4)
    assert runs.minus(gaussian(0.0)).freedom == 4
    skew = Quantity(1.0, 0.0, 5.0).minus(Quantity(0.0, -1.0, 3.0))
    assert (skew.low, skew.high) == pytest.approx((1 - math.hypot(1, 3), 1 + math.hypot(4, 1)))


def holm_by_definition(probabilities, level):
    """Reject while the k-th smallest of m is at most level / (m - k + 1)."""
    ordered = sorted(probabilities)
    count = 0
    while count < len(ordered) and ordered[count] <= level / (len(ordered) - count):
        count += 1
    return [p in ordered[:count] for p in probabilities]


def test_holm_by_hand():
    # 0.01 <= 0.05 / 4; 0.013 <= 0.05 / 3; 0.03 > 0.05 / 2, and with it everything after.
    assert rejected([0.03, 0.01, 0.04, 0.013], 0.05) == [False, True, False, True]
    assert rejected([], 0.05) == []
    assert rejected([0.05], 0.05) == [True]
    random = np.random.default_rng(1)
    for _ in range(50):
        probabilities = random.uniform(0, 0.05, 6).tolist()
        assert rejected(probabilities, 0.05) == holm_by_definition(probabilities, 0.05)


def test_many_true_hypotheses_are_rarely_rejected_and_false_ones_are_found():
    random = np.random.default_rng(2)
    wrong = found = 0
    rounds = 1000
    for _ in range(rounds):
        # Nine of ten lie on the very bound, one far inside.
        estimates = random.normal([0.0] * 9 + [-5.0], 1.0)
        findings = find([gaussian(float(e)) for e in estimates], Range(high=0.0, strict=True))
        wrong += "inside" in findings[:9]
        found += findings[9] == "inside"
    # At most 2.5 %, less three standard errors of a thousand rounds.
    assert wrong / rounds <= SIDE + 3 * math.sqrt(SIDE / rounds)
    assert wrong > 0
    assert found / rounds > 0.95


def test_without_holm_ten_intervals_would_err_often():
    # What the method is there for: a single interval excludes zero in 5 %, one of ten in 40 %.
    random = np.random.default_rng(3)
    estimates = random.normal(0.0, 1.0, (1000, 10))
    alone = (np.abs(estimates) > Z).any(axis=1).mean()
    together = np.mean(
        [
            any(
                finding != "undecided"
                for finding in find([gaussian(float(e)) for e in row], Range(high=0.0, strict=True))
            )
            for row in estimates
        ]
    )
    assert alone > 0.3
    assert together <= 2 * SIDE + 3 * math.sqrt(2 * SIDE / 1000)


def test_verdicts_from_runs_err_as_often_as_they_say():
    # Five runs whose mean lies on the bound.
    random = np.random.default_rng(4)
    rounds = 2000
    findings = []
    for values in random.normal(1.0, 0.7, (rounds, 5)):
        low, high = t_interval(values.tolist())
        quantity = Quantity(float(values.mean()), low, high, freedom=4)
        findings += find([quantity], Range(high=1.0))
    for finding in ("inside", "outside"):
        share = findings.count(finding) / rounds
        assert share == pytest.approx(SIDE, abs=3 * math.sqrt(SIDE / rounds))


def test_paired_differences_over_examples_cover_the_truth():
    # Two networks that err on 6 and 5 % of examples, mostly the same ones: the difference is 1.
    random = np.random.default_rng(5)
    covered = decided = 0
    rounds = 300
    for index in range(rounds):
        both, first, second = random.multinomial(2000, [0.04, 0.02, 0.01, 0.93])[:3]
        correct = np.ones((2, 2000), dtype=bool)
        correct[:, :both] = False
        correct[0, both : both + first] = False
        correct[1, both + first : both + first + second] = False
        samples = resampled_errors(correct, resamples=400, seed=index)
        low, high = percentile_interval(samples[:, 0] - samples[:, 1])
        errors = error_percent(correct)
        covered += low <= 1.0 <= high
        (finding,) = find(
            [Quantity(float(errors[0] - errors[1]), low, high)], Range(low=0.0, strict=True)
        )
        decided += finding == "inside"
    assert covered / rounds == pytest.approx(0.95, abs=0.04)
    # The power of the paired test, whose variance is that of the examples on which the two differ;
    # taken as independent, the same errors would be told apart in 28 % of cases only.
    power = stats.norm.cdf(0.01 / math.sqrt(0.03 / 2000) - Z)
    assert decided / rounds == pytest.approx(power, abs=0.08)
    assert power > 0.7


def test_rank_correlation_is_that_of_scipy():
    random = np.random.default_rng(6)
    first = random.integers(0, 5, 30).astype(float)
    second = first + random.normal(0, 2, 30)
    expected = stats.spearmanr(first, second).statistic
    assert rank_correlation(first, second) == pytest.approx(expected)
    assert math.isnan(rank_correlation(first, np.ones(30)))
    assert rank_correlation(np.arange(4.0), np.array([1.0, 2.0, 30.0, 31.0])) == pytest.approx(1.0)


def test_wider_intervals_never_decide_more():
    widths = [0.1, 0.4, 0.9, 1.6]
    decided = [find([gaussian(1.0, width)], Range(high=2.0))[0] != "undecided" for width in widths]
    assert all(first >= second for first, second in pairwise(decided))
