"""Whether a measured quantity lies where a statement says, and how sure that is.

A statement allows a range of values. With an interval, two one-sided tests ask whether the truth
can be told to lie inside the range, and whether it can be told to lie outside; if neither, the data
do not decide. A range with two ends is the equivalence test of Schuirmann 1987 (TOST): that a
difference is not significant is no evidence that there is none. Each test has the level at which a
two-sided interval of 95 % excludes a value, 2.5 %, which is stricter than the usual 5 % of an
equivalence test. Several quantities of one statement share the level by Holm's method (1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import scipy

from mode_connectivity.reporting.summaries import LEVEL, Floats, student_quantile

SIDE = (1.0 - LEVEL) / 2
"""Level of a one-sided test."""

Finding = Literal["inside", "outside", "undecided"]


@dataclass(frozen=True)
class Range:
    """The values that a statement allows.

    Attributes:
        low: the least value.
        high: the largest value.
        strict: whether the ends themselves are not allowed.
    """

    low: float = -np.inf
    high: float = np.inf
    strict: bool = False

    def __contains__(self, value: float) -> bool:
        if self.strict:
            return self.low < value < self.high
        return self.low <= value <= self.high

    def room(self, quantity: "Quantity") -> float:
        """Return how far a quantity is from the nearer end; negative if it lies beyond it."""
        return min(quantity.estimate - self.low, self.high - quantity.estimate)


@dataclass(frozen=True)
class Quantity:
    """A measured value and what is known of its uncertainty.

    Attributes:
        estimate: the value.
        low: lower end of its two-sided interval of ``LEVEL``; NaN if it has none.
        high: upper end.
        freedom: degrees of freedom of the interval: runs less one for Student's t, infinite for a
            bootstrap.
    """

    estimate: float
    low: float = np.nan
    high: float = np.nan
    freedom: float = np.inf

    @property
    def has_interval(self) -> bool:
        """Whether its uncertainty is known."""
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def minus(self, other: "Quantity") -> "Quantity":
        """Return the difference to another quantity, taken as independent of this one.

        Of quantities that share test examples or runs, such an interval is too wide as a rule,
        since what they share cancels in the difference: a table that has the paired difference is
        better. Half-widths add up as squares, each on its side; the freedom is the smaller one.
        """
        difference = self.estimate - other.estimate
        below = np.hypot(self.estimate - self.low, other.high - other.estimate)
        above = np.hypot(self.high - self.estimate, other.estimate - other.low)
        return Quantity(
            difference,
            float(difference - below),
            float(difference + above),
            min(self.freedom, other.freedom),
        )

    def probability_below(self, bound: float) -> float:
        """Return the p-value of the test that the truth is at most a bound.

        Small if the truth lies above: from the distance of the bound in units of the interval's
        half-width on its side.
        """
        return self._probability(self.estimate - bound, self.estimate - self.low)

    def probability_above(self, bound: float) -> float:
        """Return the p-value of the test that the truth is at least a bound; small if below."""
        return self._probability(bound - self.estimate, self.high - self.estimate)

    def _probability(self, distance: float, half_width: float) -> float:
        if half_width <= 0:
            # No resampling and no run has moved the value: only which side it is on is known.
            return 0.0 if distance > 0 else 1.0
        quantile = student_quantile(1.0 - SIDE, self.freedom)
        return float(scipy.special.stdtr(self.freedom, -distance / half_width * quantile))


def find(quantities: Sequence[Quantity], allowed: Range) -> list[Finding]:
    """Tell of each quantity whether it lies inside a range.

    Args:
        quantities: of one statement; those with an interval share the level of the tests (Holm).
            One without an interval is what it is: its value alone tells.
        allowed: the range.

    Returns:
        ``inside``, ``outside``, or ``undecided`` where the interval, widened for the number of
        quantities, contains both.
    """
    tested = [quantity for quantity in quantities if quantity.has_interval]
    inside = iter(rejected([_outside_probability(each, allowed) for each in tested], SIDE))
    outside = iter(rejected([_inside_probability(each, allowed) for each in tested], SIDE))
    findings: list[Finding] = []
    for quantity in quantities:
        if not quantity.has_interval:
            findings.append("inside" if quantity.estimate in allowed else "outside")
        else:
            is_inside, is_outside = next(inside), next(outside)
            findings.append("inside" if is_inside else "outside" if is_outside else "undecided")
    return findings


def _outside_probability(quantity: Quantity, allowed: Range) -> float:
    """Return the p-value of the test that the truth lies outside: both ends have to be refuted."""
    if _is_exactly_on_an_end(quantity, allowed):
        return 1.0 if allowed.strict else 0.0
    probabilities = [0.0]
    if np.isfinite(allowed.low):
        probabilities.append(quantity.probability_below(allowed.low))
    if np.isfinite(allowed.high):
        probabilities.append(quantity.probability_above(allowed.high))
    return max(probabilities)


def _inside_probability(quantity: Quantity, allowed: Range) -> float:
    """Return the p-value of the test that the truth lies inside: one end has to be passed."""
    if _is_exactly_on_an_end(quantity, allowed):
        return 1.0
    probabilities = [1.0]
    if np.isfinite(allowed.low):
        probabilities.append(quantity.probability_above(allowed.low))
    if np.isfinite(allowed.high):
        probabilities.append(quantity.probability_below(allowed.high))
    return min(probabilities)


def _is_exactly_on_an_end(quantity: Quantity, allowed: Range) -> bool:
    return quantity.low == quantity.high == quantity.estimate and quantity.estimate in (
        allowed.low,
        allowed.high,
    )


def rejected(probabilities: Sequence[float], level: float) -> list[bool]:
    """Tell which of several hypotheses are rejected so that all are rightly so.

    Holm's step-down method: the probability that any true hypothesis among them is rejected is at
    most the level, whatever their dependence (Holm 1979, "A simple sequentially rejective multiple
    test procedure").

    Args:
        probabilities: a p-value each.
        level: of all tests together.
    """
    order = np.argsort(probabilities, kind="stable")
    found = [False] * len(probabilities)
    for rank, index in enumerate(order):
        if probabilities[index] > level / (len(probabilities) - rank):
            break
        found[index] = True
    return found


def rank_correlation(first: Floats, second: Floats) -> float:
    """Return Spearman's rank correlation of two columns; NaN where one of them is constant."""
    # Not scipy.stats, which takes longer to import than all statements to judge.
    ranks = np.array([pd.Series(values).rank() for values in (first, second)])
    if (np.ptp(ranks, axis=1) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks)[0, 1])
