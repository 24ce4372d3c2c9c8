"""Tables and figures of ensembles under shift, by hand."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import stats

from mode_connectivity.reporting.figures.shift import benton2021_c1, benton2021_figure11
from mode_connectivity.reporting.rendering import to_latex, to_markdown
from mode_connectivity.reporting.shift_tables import (
    SHIFT_LAYOUTS,
    EvaluatedShift,
    read_shift,
    shift_table,
)
from mode_connectivity.reporting.summaries import resampled_errors, resampled_means
from mode_connectivity.settings import UserError

EXAMPLES = 40
REASON = "snowflakes fall along Gaussian-weighted lines"


def method(label, wrong, *, runs=3, corruptions=("fog", "snow"), examples=EXAMPLES):
    """Runs of which the first gets ``wrong + severity`` examples wrong, the next one more."""
    places = [("clean", 0), *((name, s) for name in corruptions for s in range(1, 6))]
    rows, correct = [], []
    for corruption, severity in places:
        for budget, of_budget in ((1, runs), (2, 1)):
            for run in range(of_budget):
                false = wrong + severity + run + (10 if budget == 1 else 0)
                correct.append(np.arange(examples) >= false)
                rows.append(
                    {
                        "corruption": corruption,
                        "severity": severity,
                        "budget": budget,
                        "run": run + 1,
                        "seeds": str(run + 1),
                        "members": 5 * budget,
                        "test_error": 100 * false / examples,
                        "test_nll": 2.0 + run,
                        "test_brier": 0.5,
                        "test_ece_equal_width": 7.0,
                        "test_ece_equal_count": 8.0,
                        "test_nll_scaled": 1.0,
                        "test_brier_scaled": 0.4,
                        "test_ece_equal_width_scaled": 5.0 + run,
                        "test_ece_equal_count_scaled": 6.0 + severity + run,
                        "temperature": 1.5,
                        "exact": corruption != "snow",
                        "source": "generated" if severity else "clean",
                        "approximation": REASON if corruption == "snow" else "",
                    }
                )
    likelihood = np.where(np.array(correct), -0.1, -3.0).astype(np.float32)
    return EvaluatedShift(
        "Digits", "LeNet-5", label, pd.DataFrame(rows), np.array(correct), likelihood
    )


def pick(table, corruption, severity, label):
    rows = (table["corruption"] == corruption) & (table["severity"] == severity)
    (row,) = table[rows & (table["method"] == label)].to_dict("records")
    return row


def test_rows_stand_in_the_order_of_the_settings():
    table = shift_table([method("A", 1), method("B", 2)], ["snow", "fog"], severities=[2, 5])
    expected = [("clean", 0), ("snow", 2), ("snow", 5), ("fog", 2), ("fog", 5)]
    places = table[["corruption", "severity", "method"]].itertuples(index=False, name=None)
    assert list(places) == [(*place, label) for place in expected for label in ("A", "B")]
    assert set(table["budget"]) == {2}
    assert table["condition"].unique().tolist() == ["Clean", "Snow (approximated)", "Fog"]
    assert set(table.loc[table["corruption"] == "snow", "approximation"]) == {REASON}


def test_several_runs_by_hand():
    table = shift_table([method("A", 1), method("B", 4)], ["fog", "snow"], budget=1)
    row = pick(table, "fog", 3, "A")
    errors = 100 * np.array([14, 15, 16]) / EXAMPLES
    low, high = stats.t.interval(0.95, 2, errors.mean(), stats.sem(errors))
    assert (row["runs"], row["members"], row["interval"]) == (3, 5, "runs")
    assert row["test_error"] == pytest.approx(errors.mean())
    assert (row["test_error_low"], row["test_error_high"]) == pytest.approx((low, high))
    nll = [(3.0 * wrong + 0.1 * (EXAMPLES - wrong)) / EXAMPLES for wrong in (14, 15, 16)]
    assert row["test_nll_scaled"] == pytest.approx(np.mean(nll))
    assert row["test_nll"] == 3
    assert row["test_ece_equal_count_scaled"] == 10
    ends = stats.t.interval(0.95, 2, 10, stats.sem([9, 10, 11]))
    assert row["test_ece_equal_count_scaled_low"] == pytest.approx(ends[0])
    # Runs of the same seeds differ by exactly three examples.
    other = pick(table, "fog", 3, "B")
    assert other["compared_with"] == "A"
    assert other["test_error_difference"] == pytest.approx(7.5)
    assert other["test_error_difference_interval"] == "paired runs"
    assert other["test_error_difference_low"] == pytest.approx(7.5)
    assert other["test_nll_scaled_difference"] == pytest.approx(3 * 2.9 / EXAMPLES)
    assert pd.isna(row["test_error_difference"])


def test_one_run_by_hand():
    first, second = method("A", 1), method("B", 4)
    table = shift_table([first, second], ["fog"], resamples=300, seed=5)
    row = pick(table, "fog", 5, "B")
    wrong = np.arange(EXAMPLES) < 9
    errors = resampled_errors(~wrong[np.newaxis], resamples=300, seed=5)[:, 0]
    assert row["interval"] == "examples"
    assert row["test_error_low"] == pytest.approx(np.quantile(errors, 0.025))
    values = np.where(wrong, 3.0, 0.1)[np.newaxis]
    nll = resampled_means(values, resamples=300, seed=5)[:, 0]
    assert row["test_nll_scaled_high"] == pytest.approx(np.quantile(nll, 0.975), rel=1e-5)
    # The same samples for both: of the mean it is what the errors say.
    np.testing.assert_allclose(nll, 0.1 + 2.9 * errors / 100)
    difference = errors - resampled_errors(np.arange(EXAMPLES)[np.newaxis] >= 6, resamples=300,
                                           seed=5)[:, 0]  # fmt: skip
    assert row["test_error_difference_high"] == pytest.approx(np.quantile(difference, 0.975))
    assert row["test_error_difference_interval"] == "examples"
    assert pd.isna(row["test_ece_equal_count_scaled_low"])


def test_what_is_missing_is_told():
    with pytest.raises(UserError, match="A: not evaluated under frost at severity 1"):
        shift_table([method("A", 1)], ["frost"])
    with pytest.raises(UserError, match="A: no ensembles of budget 3; budgets: 1, 2"):
        shift_table([method("A", 1)], ["fog"], budget=3)
    with pytest.raises(UserError, match=r"reported on \[30, 40\] examples"):
        shift_table([method("A", 1), method("B", 1, examples=30)], ["fog"])


def test_stored_ensembles_are_read(tmp_path):
    written = method("A", 1)
    written.metrics.to_csv(tmp_path / "shift.csv", index=False)
    arrays = {"correct": np.packbits(written.correct, axis=1), "examples": np.array([EXAMPLES])}
    arrays["log_likelihood_scaled"] = written.log_likelihood_scaled
    save_file(arrays, tmp_path / "shift.safetensors")
    read = read_shift("Digits", "LeNet-5", "A", tmp_path)
    expected = shift_table([written], ["fog", "snow"])
    pd.testing.assert_frame_equal(shift_table([read], ["fog", "snow"]), expected)
    written.metrics.assign(test_error=1.0).to_csv(tmp_path / "shift.csv", index=False)
    with pytest.raises(UserError, match="not the ensembles of"):
        read_shift("Digits", "LeNet-5", "A", tmp_path)


@pytest.mark.parametrize("artefact", SHIFT_LAYOUTS)
def test_approximated_corruptions_are_marked_in_print(artefact):
    table = shift_table([method("A", 1), method("B", 2)], ["fog", "snow"], resamples=50)
    markdown = to_markdown(table, SHIFT_LAYOUTS[artefact])
    assert f"[^1]: {REASON}" in markdown
    lines = [line for line in markdown.splitlines() if line.startswith("| ")][2:]
    assert len(lines) == 2 * 11
    for line in lines:
        assert ("Snow (approximated)" in line) == ("[^1]" in line) == ("Snow" in line)
    assert r"Snow (approximated)" in to_latex(table, SHIFT_LAYOUTS[artefact])


def test_figures_show_the_table():
    table = shift_table([method("ESPRO", 1), method("Deep ensemble", 2)], ["snow"], resamples=50)
    figure, numbers = benton2021_figure11(table, title="LeNet-5, Digits")
    left, right = figure.axes
    assert (left.get_title(), right.get_title()) == ("Test error (%)", "NLL, scaled")
    assert "approximated" in left.get_ylabel()
    for label, line in zip(("ESPRO", "Deep ensemble"), left.get_lines(), strict=True):
        own = table[table["method"] == label]
        assert line.get_label() == label
        assert line.get_ydata().tolist() == own["test_error"].tolist()
        np.testing.assert_allclose(line.get_xdata(), range(6), atol=0.05)
    assert len(numbers) == 12
    assert numbers["test_error_low"].tolist() == table["test_error_low"].tolist()
    assert "test_ece_equal_count_scaled" not in numbers


def test_many_corruptions_stand_side_by_side():
    names = ["fog", "snow", "frost", "contrast", "pixelate", "brightness", "zoom_blur"]
    shifts = [method(label, 1, corruptions=names) for label in ("Mine", "Yours")]
    table = shift_table(shifts, names, resamples=20)
    figure, numbers = benton2021_c1(table)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    assert len(shown) == 3 * 7
    titles = [axis.get_ylabel() for axis in shown if axis.get_ylabel()]
    assert sorted(title.split("\n")[0] for title in titles) == sorted(
        name.replace("_", " ").capitalize() for name in names
    )
    assert len(numbers) == 2 * (1 + 5 * 7)
    with pytest.raises(UserError, match="no column 'test_nll_scaled'"):
        benton2021_c1(table.drop(columns="test_nll_scaled"))
