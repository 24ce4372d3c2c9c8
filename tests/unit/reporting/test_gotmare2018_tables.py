import io

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.barriers import barriers
from mode_connectivity.reporting.gotmare2018_tables import (
    METRICS,
    MODES_LAYOUT,
    EvaluatedConnection,
    EvaluatedMode,
    gotmare2018_modes,
)
from mode_connectivity.reporting.rendering import to_csv, to_latex, to_markdown
from mode_connectivity.reporting.tables import EvaluatedCurve
from mode_connectivity.settings import UserError

N = 1000


def correct_of(wrong):
    """Points that get ``wrong`` examples wrong, the same first ones of a test set of 1,000."""
    return np.arange(N) >= np.asarray(wrong)[:, None]


def mode(label, setting, wrong, *, norm=30.0, distance=0.0, correct=None):
    metrics = pd.DataFrame(
        {
            "norm": [norm],
            "train_loss": [0.9],
            "train_nll": [0.01],
            "train_error": [0.5],
            "test_loss": [1.2],
            "test_nll": [0.25],
            "test_error": [100 * wrong / N],
        }
    )
    return EvaluatedMode("CIFAR-10", "VGG-16", label, setting, metrics, distance, correct)


def grid(train_nll, wrong, length):
    wrong = np.asarray(wrong, float)
    return pd.DataFrame(
        {
            "t": np.linspace(0, 1, len(wrong)),
            "length": np.asarray(length, float),
            "train_nll": np.asarray(train_nll, float),
            "train_error": wrong / 100,
            "test_nll": 10 * np.asarray(train_nll, float),
            "test_error": 100 * wrong / N,
        }
    )


def path(kind, frame, correct=None):
    return EvaluatedCurve("CIFAR-10", "VGG-16", kind, frame, 4.0, correct)


SEGMENT = path("Segment", grid([0.1, 0.9, 0.3], [70, 500, 90], [0, 2, 4]))
CURVE = path("Polychain", grid([0.1, 0.02, 0.3], [70, 96, 90], [0, 3, 5]))
SNAPSHOTS = pd.concat(
    [
        grid([0.1, 0.5, 0.3], [70, 140, 90], [0, 2, 4.4]).assign(epoch=20),
        grid([0.1, 0.2, 0.3], [70, 100, 90], [0, 2, 4.8]).assign(epoch=40),
    ]
)
GA = EvaluatedConnection("GA", SEGMENT, CURVE, 80, SNAPSHOTS)
G = mode("G", "reference", 70, norm=31.0)
A = mode("A", "batch size 4000", 90, norm=25.0, distance=4.0)


def table(modes=(G, A), connections=(GA,), **options):
    return gotmare2018_modes(modes, connections, resamples=200, **options)


def test_rows_and_columns():
    frame = table()
    assert frame["kind"].tolist() == ["mode", "mode", "segment", "curve", "curve", "curve"]
    assert frame["label"].tolist() == ["G", "A", "GA", "GA", "GA", "GA"]
    assert frame["epoch"].tolist()[3:] == [20, 40, 80]
    assert frame["epoch"][:3].isna().all()
    assert list(frame.columns)[:6] == ["dataset", "network", "kind", "label", "setting", "epoch"]
    values = {
        f"{part}_{name}_{statistic}"
        for part in ("train", "test")
        for name in ("accuracy", "nll")
        for statistic in ("worst", "mean")
    }
    heights = {
        f"{metric}_{name}"
        for metric in METRICS
        for name in ("height_above_ends", "height_above_ends_t", "barrier")
    }
    verdict = {"statement_holds", "statement_margin", "interval"}
    rest = set(frame.columns[6:]) - values - heights - verdict - {"norm", "distance"}
    assert values | heights | verdict <= set(frame.columns)
    assert rest == {"length_ratio"} | {
        f"{name}_{end}"
        for name in ("test_accuracy_worst", "test_error_height_above_ends", "test_error_barrier")
        for end in ("low", "high")
    }


def test_modes():
    frame = table().set_index("label")
    reference = frame.loc["G"]
    assert reference["setting"] == "reference"
    assert (reference["norm"], reference["distance"]) == (31, 0)
    for statistic in ("worst", "mean"):
        assert reference[f"train_accuracy_{statistic}"] == 99.5
        assert reference[f"test_accuracy_{statistic}"] == 93
        assert reference[f"train_nll_{statistic}"] == 0.01
        assert reference[f"test_nll_{statistic}"] == 0.25
    assert frame.loc["A", "setting"] == "batch size 4000"
    assert frame.loc["A", "distance"] == 4
    empty = ["length_ratio", "statement_holds", "epoch", "train_nll_barrier", "interval"]
    assert reference[empty].isna().all()


def test_the_segment_by_hand():
    row = table().query("kind == 'segment'").iloc[0]
    assert (row["distance"], row["length_ratio"]) == (4, 1)
    assert row["train_nll_worst"] == 0.9
    assert row["train_nll_mean"] == pytest.approx(1.3 / 3)
    assert row["train_accuracy_worst"] == 95
    assert row["train_accuracy_mean"] == pytest.approx(100 - (0.7 + 5 + 0.9) / 3)
    assert row["test_accuracy_worst"] == 50
    # Above the larger end 0.6, above the line (0.2 in the middle) 0.7; errors 7, 50 and 9.
    assert row["train_nll_height_above_ends"] == pytest.approx(0.6)
    assert row["train_nll_height_above_ends_t"] == 0.5
    assert row["train_nll_barrier"] == pytest.approx(0.7)
    assert row["test_nll_height_above_ends"] == pytest.approx(6)
    assert row["test_error_height_above_ends"] == pytest.approx(41)
    assert row["test_error_barrier"] == pytest.approx(42)
    assert row["train_error_barrier"] == pytest.approx(4.2)
    # The statement is about curves.
    assert row[["statement_holds", "statement_margin", "norm", "setting", "epoch"]].isna().all()


def test_the_curve_after_each_snapshot():
    first, second, end = (row for _, row in table().query("kind == 'curve'").iterrows())
    assert (first["length_ratio"], second["length_ratio"], end["length_ratio"]) == (1.1, 1.2, 1.25)
    assert [row["train_nll_worst"] for row in (first, second, end)] == [0.5, 0.3, 0.3]
    assert end["train_nll_mean"] == pytest.approx(0.14)
    assert [row["test_accuracy_worst"] for row in (first, second, end)] == [86, 90, 90.4]
    assert first["train_nll_height_above_ends"] == pytest.approx(0.2)
    assert second["train_nll_height_above_ends"] == 0
    assert np.isnan(second["train_nll_height_above_ends_t"])
    # Behind the worse end (91 %) by 5, exactly 1, and 0.6 points.
    assert [row["statement_holds"] for row in (first, second, end)] == ["no", "yes", "yes"]
    assert end["statement_margin"] == 1


def test_the_margin_is_the_users():
    verdicts = table(margin=0.5).query("kind == 'curve'")["statement_holds"]
    assert verdicts.tolist() == ["no", "no", "no"]
    assert table(margin=5.0).query("kind == 'curve'")["statement_holds"].tolist() == ["yes"] * 3


def test_a_gap_of_exactly_the_margin_is_not_decided_by_rounding():
    snapshots = pd.concat(
        grid([0, 0, 0], [50, wrong + 10, wrong], [0, 2, 4.4]).assign(epoch=wrong)
        for wrong in range(60, 110)
    )
    connection = EvaluatedConnection("GA", SEGMENT, CURVE, 200, snapshots)
    rows = table(connections=[connection]).query("kind == 'curve'")
    assert (rows["test_error_height_above_ends"] > 1).any()
    assert rows["statement_holds"].tolist() == ["yes"] * 51


@pytest.mark.parametrize(
    ("wrong", "verdict"),
    [([70, 72, 90], "yes"), ([70, 104, 90], "undecided"), ([70, 300, 90], "no")],
)
def test_verdicts_by_the_interval(wrong, verdict):
    correct = correct_of(wrong)
    curve = path("Polychain", grid([0.1, 0.2, 0.3], wrong, [0, 3, 5]), correct)
    frame = table(connections=[EvaluatedConnection("GA", SEGMENT, curve, 80)], seed=2)
    row = frame.iloc[-1]
    expected = barriers(curve.grid, ["test_error"], correct=correct, resamples=200, seed=2)
    for name in ("height_above_ends", "barrier"):
        for end in ("low", "high"):
            key = f"test_error_{name}_{end}"
            assert row[key] == expected[key]
    assert row["statement_holds"] == verdict
    assert row["interval"] == "examples"
    assert row["test_accuracy_worst_low"] < row["test_accuracy_worst"]
    assert row["test_accuracy_worst_high"] > row["test_accuracy_worst"]
    # What has no correctness has no interval.
    assert frame["interval"].iloc[:-1].isna().all()
    assert frame["test_error_barrier_low"].iloc[:-1].isna().all()


def test_a_mode_has_an_interval_near_the_binomial_one():
    row = table([mode("G", "", 70, correct=correct_of([70]))], []).iloc[0]
    half_width = 196 * (0.07 * 0.93 / N) ** 0.5
    assert row["test_accuracy_worst_low"] == pytest.approx(93 - half_width, abs=0.4)
    assert row["test_accuracy_worst_high"] == pytest.approx(93 + half_width, abs=0.4)
    assert row["interval"] == "examples"


def test_the_snapshot_of_the_last_epoch_stands_once():
    connection = EvaluatedConnection("GA", SEGMENT, CURVE, 40, SNAPSHOTS)
    rows = table(connections=[connection]).query("kind == 'curve'")
    assert rows["epoch"].tolist() == [20, 40]
    assert rows["test_accuracy_worst"].tolist() == [86, 90.4]


def test_broken_grids_are_named():
    broken = SNAPSHOTS.assign(test_nll=lambda frame: frame["test_nll"].where(frame["epoch"] == 20))
    connection = EvaluatedConnection("w30-w70", SEGMENT, CURVE, 80, broken)
    with pytest.raises(
        UserError, match="grid of w30-w70, curve after epoch 40: test_nll is not a number"
    ):
        table(connections=[connection])
    foreign = path("Segment", SEGMENT.grid, correct_of([70, 500, 91]))
    with pytest.raises(UserError, match="grid of w30-w70, segment: its test errors"):
        table(connections=[EvaluatedConnection("w30-w70", foreign, CURVE, 80)])


def test_the_files_can_be_read_by_others():
    frame = table()
    read = pd.read_csv(io.StringIO(to_csv(frame)), dtype={"epoch": "Int64"})
    assert read["epoch"].tolist()[3:] == [20, 40, 80]
    assert "GA,,20," in to_csv(frame)
    for name in frame.select_dtypes("number"):
        np.testing.assert_array_equal(
            frame[name].astype(float).to_numpy(), read[name].astype(float).to_numpy()
        )
    assert {column.name for column in MODES_LAYOUT.all_columns} <= set(frame.columns)
    markdown = to_markdown(frame, MODES_LAYOUT)
    lines = [line for line in markdown.splitlines() if line.startswith("| CIFAR-10")]
    assert len(lines) == 6
    cells = [cell.strip() for cell in lines[3].split("|")[1:-1]]
    assert cells[:7] == ["CIFAR-10", "curve", "GA", "–", "20", "98.60", "86.00"]
    assert cells[-1] == "no"
    latex = to_latex(frame, MODES_LAYOUT)
    assert r"\multicolumn{2}{c}{Barrier, train cross-entropy}" in latex
    assert latex.count(r"\addlinespace") == 2


def test_without_any_rows_the_columns_stand():
    assert list(table([], []).columns) == list(table().columns)
