import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.published import TABLE2_VALUES, contradictions, load_published
from mode_connectivity.reporting.rendering import to_latex, to_markdown
from mode_connectivity.reporting.summaries import bootstrap_test_error, percentile_interval
from mode_connectivity.reporting.tables import (
    ENSEMBLES,
    LAYOUTS,
    EvaluatedCurve,
    EvaluatedEnsemble,
    garipov2018_curve_ensemble,
    garipov2018_table2,
    garipov2018_trivial_path,
)
from mode_connectivity.settings import UserError


def evaluated(
    curve, train_loss, wrong, *, dataset="Digits", network="VGG-16", length=(0, 1, 4), examples=20
):
    """A curve whose points get ``wrong`` examples wrong, of a test set of 20."""
    correct = np.arange(examples) >= np.asarray(wrong)[:, None]
    grid = pd.DataFrame(
        {
            "t": np.linspace(0, 1, len(wrong)),
            "length": np.asarray(length, float),
            "train_loss": train_loss,
            "train_nll": train_loss,
            "train_error": np.asarray(wrong) / 10,
            "test_nll": 0.5,
            "test_error": 100 * np.asarray(wrong) / examples,
        }
    )
    return EvaluatedCurve(dataset, network, curve, grid, endpoint_distance=4.0, correct=correct)


SEGMENT = evaluated("Segment", [0.1, 0.9, 0.3], [2, 10, 3])
BEZIER = evaluated("Bezier", [0.1, 0.2, 0.3], [2, 1, 3], length=(0, 2, 6))


def table2(curves, **options):
    return garipov2018_table2(
        curves,
        published=load_published("garipov2018_table2"),
        reference_code=load_published("garipov2018_table2_reference_code"),
        resamples=200,
        **options,
    )


def test_columns_of_table2_are_those_of_the_contract():
    ten = ["length_ratio"] + [
        f"{metric}_{statistic}"
        for metric in ("train_loss", "train_error", "test_error")
        for statistic in ("min", "int", "max")
    ]
    columns = list(table2([SEGMENT]))
    assert columns[:24] == [
        "dataset",
        "network",
        "curve",
        *ten,
        *(f"{c}_published" for c in ten),
        "runs",
    ]
    bounds = [f"{column}_{end}" for column in ten for end in ("low", "high")]
    assert columns[24:45] == ["interval", *bounds]
    further = [
        f"{metric}_{statistic}"
        for metric in ("train_loss", "train_error", "test_error")
        for statistic in ("mean", "height_above_ends")
    ]
    assert columns[45:63] == [f"{c}{end}" for c in further for end in ("", "_low", "_high")]
    assert columns[63:] == [
        "train_loss_min_reference_code",
        "train_loss_max_reference_code",
        "test_error_min_reference_code",
        "test_error_max_reference_code",
        "published_dataset",
        "published_network",
        "note_published",
        "note_reference_code",
    ]


def test_table2_by_hand():
    table = table2([BEZIER, SEGMENT])
    assert table["curve"].tolist() == ["Single", "Segment", "Bezier"]
    single, segment, bezier = (row for _, row in table.iterrows())
    assert (single["train_loss_min"], single["train_loss_max"]) == (0.1, 0.3)
    assert (single["test_error_min"], single["test_error_max"]) == (10, 15)
    assert single[["length_ratio", "train_loss_int", "test_error_int"]].isna().all()
    # Steps 1 and 3 of 4: (1 * 0.5 * (0.1 + 0.9) + 3 * 0.5 * (0.9 + 0.3)) / 4.
    assert segment["train_loss_int"] == pytest.approx((0.5 + 1.8) / 4)
    assert segment["train_loss_max"] == 0.9
    assert (segment["length_ratio"], bezier["length_ratio"]) == (1, 1.5)
    # Steps 2 and 4 of 6, errors 10, 5 and 15 percent.
    assert bezier["test_error_int"] == pytest.approx((15 + 40) / 6)
    assert bezier["train_error_max"] == 0.3
    # Unweighted means of the points, and how far the worst lies above the worse end.
    assert bezier["test_error_mean"] == pytest.approx((10 + 5 + 15) / 3)
    assert segment["train_loss_mean"] == pytest.approx((0.1 + 0.9 + 0.3) / 3)
    assert segment["test_error_height_above_ends"] == pytest.approx(50 - 15)
    assert segment["train_loss_height_above_ends"] == pytest.approx(0.9 - 0.3)
    assert bezier["test_error_height_above_ends"] == 0
    assert single[["test_error_mean", "test_error_height_above_ends"]].isna().all()
    assert (table["runs"] == 1).all()


def test_an_aligned_segment_comes_last_and_says_what_it_is():
    aligned = replace(evaluated("Aligned segment", [0.1, 0.2, 0.3], [2, 2, 3]), note="permuted")
    table = table2([aligned, evaluated("Polychain", [0.1, 0.1, 0.3], [2, 2, 3]), SEGMENT])
    assert table["curve"].tolist() == ["Single", "Segment", "Polychain", "Aligned segment"]
    assert table["note_published"].isna().tolist() == [True, True, True, False]
    last = table.iloc[-1]
    assert (last["note_published"], last["length_ratio"], last["runs"]) == ("permuted", 1.0, 1)
    assert last[[f"{value}_published" for value in TABLE2_VALUES]].isna().all()
    # Nothing else of the table changes for it.
    pd.testing.assert_frame_equal(
        table.iloc[:3].drop(columns="note_published"),
        table2([evaluated("Polychain", [0.1, 0.1, 0.3], [2, 2, 3]), SEGMENT]).drop(
            columns="note_published"
        ),
    )
    markdown = to_markdown(table, LAYOUTS["garipov2018_table2"])
    assert "| Aligned segment [^1] |" in markdown
    assert markdown.endswith("\n\n[^1]: permuted\n")
    latex = to_latex(table, LAYOUTS["garipov2018_table2"])
    assert r"Aligned segment\textsuperscript{1} & 1.00" in latex
    assert r"\textsuperscript{1} permuted." in latex


def test_remarks_on_what_is_printed_stay():
    counterparts = {("Digits", "VGG-16"): ("CIFAR-10", "3conv3fc")}
    aligned = replace(evaluated("Aligned segment", [0.1, 0.2, 0.3], [2, 2, 3]), note="permuted")
    notes = table2([SEGMENT, aligned], counterparts=counterparts).set_index("curve")
    printed = notes["note_published"]["Segment"]
    assert printed.startswith("train_loss_min 0.494 lies above both ends")
    assert notes["note_published"]["Aligned segment"] == "permuted"


def test_intervals_of_one_run_are_over_test_examples():
    segment = evaluated("Segment", [0.1, 0.9, 0.3], [101, 500, 153], examples=1000)
    curve = evaluated("Bezier", [0.1, 0.2, 0.3], [101, 97, 153], examples=1000)
    table = table2([segment, curve], seed=3).set_index("curve")
    assert (table["interval"] == "examples").all()
    bezier = bootstrap_test_error(
        curve.correct, curve.grid["length"].to_numpy(), resamples=200, seed=3
    )
    for name, (low, high) in bezier.items():
        assert table.loc["Bezier", f"{name}_low"] == low
        assert table.loc["Bezier", f"{name}_high"] == high
    ends = bootstrap_test_error(segment.correct[[0, 2]], None, resamples=200, seed=3)
    for name, (low, high) in ends.items():
        assert table.loc["Single", f"{name}_low"] == low
        assert table.loc["Single", f"{name}_high"] == high
    assert math.isnan(table.loc["Single", "test_error_int_low"])
    assert table["train_loss_max_low"].isna().all()


def test_several_runs_are_averaged_and_have_intervals_over_runs():
    # Test errors Max 15, 20 and 25; Student's t at 0.975 with 2 degrees of freedom is 4.302653.
    runs = [
        evaluated("Bezier", [0.1, 0.2, loss], [2, 1, wrong])
        for loss, wrong in ((0.3, 3), (0.4, 4), (0.5, 5))
    ]
    row = table2(runs).iloc[0]
    assert (row["runs"], row["interval"]) == (3, "runs")
    assert row["test_error_max"] == pytest.approx(20)
    half_width = 4.302653 * 5 / math.sqrt(3)
    assert row["test_error_max_low"] == pytest.approx(20 - half_width)
    assert row["test_error_max_high"] == pytest.approx(20 + half_width)
    assert row["train_loss_max"] == pytest.approx(0.4)
    assert row["train_loss_max_low"] == pytest.approx(0.4 - 0.4302653 / math.sqrt(3))
    # Means 10, 35 / 3 and 40 / 3 percent: five thirds apart.
    assert row["test_error_mean_high"] == pytest.approx(35 / 3 + 4.302653 * (5 / 3) / math.sqrt(3))
    assert row["test_error_height_above_ends_high"] == 0


def test_intervals_over_runs_stop_where_values_do():
    runs = [
        evaluated("Bezier", [0.1, 0.2, 0.3], [wrong, wrong, wrong], length=(0, 2, length))
        for wrong, length in ((1, 4), (19, 6))
    ]
    row = table2(runs).iloc[0]
    assert (row["test_error_int_low"], row["test_error_int_high"]) == (0, 100)
    assert row["length_ratio"] == 1.25
    assert row["length_ratio_low"] == 1
    assert row["length_ratio_high"] == pytest.approx(1.25 + 12.7062 * 0.25, rel=1e-4)


def test_without_correctness_there_are_no_intervals():
    curve = EvaluatedCurve("Digits", "VGG-16", "Bezier", BEZIER.grid, 4.0)
    row = table2([curve]).iloc[0]
    assert pd.isna(row["interval"])
    assert math.isnan(row["test_error_max_low"])


def test_published_values_stand_beside_the_rows_of_the_paper_only():
    ours = [
        evaluated("Segment", [1, 1, 1], [2, 2, 2], dataset="CIFAR-100"),
        evaluated("Polychain", [1, 1, 1], [2, 2, 2], dataset="CIFAR-100"),
        evaluated("Segment", [1, 1, 1], [2, 2, 2]),
    ]
    table = table2(ours)
    assert table["dataset"].tolist() == ["CIFAR-100"] * 3 + ["Digits"] * 2
    chain = table.iloc[2]
    assert (chain["length_ratio_published"], chain["train_loss_int_published"]) == (1.64, 0.1388)
    assert (chain["train_loss_max_reference_code"], chain["test_error_max_reference_code"]) == (
        1.05,
        30.8,
    )
    assert chain["published_dataset"] == "CIFAR-100"
    beside = [
        c
        for c in table
        if c.endswith(("_published", "_reference_code")) or c.startswith("published")
    ]
    assert table.iloc[3:][beside].isna().to_numpy().all()


def test_a_counterpart_is_shown_and_named():
    table = table2([SEGMENT], counterparts={("Digits", "VGG-16"): ("CIFAR-10", "VGG-16")})
    segment = table.iloc[1]
    assert (segment["dataset"], segment["network"]) == ("Digits", "VGG-16")
    assert (segment["published_dataset"], segment["published_network"]) == ("CIFAR-10", "VGG-16")
    assert segment["test_error_int_published"] == 63.75
    assert table.iloc[0]["test_error_max_reference_code"] == 6.94


def test_a_counterpart_may_be_known_to_the_reference_code_only():
    table = table2([SEGMENT], counterparts={("Digits", "VGG-16"): ("CIFAR-10", "ResNet-164")})
    assert table.iloc[0]["test_error_min_reference_code"] == 4.76
    assert table.iloc[0]["published_network"] == "ResNet-164"
    with pytest.raises(UserError, match="not published"):
        table2([SEGMENT], counterparts={("Digits", "VGG-16"): ("Digits", "VGG-16")})


def test_networks_of_a_data_set_stay_together():
    table = table2(
        [
            evaluated("Bezier", [1, 1, 1], [2, 2, 2], network="A"),
            evaluated("Bezier", [1, 1, 1], [2, 2, 2], dataset="Spirals", network="A"),
            evaluated("Bezier", [1, 1, 1], [2, 2, 2], network="B"),
        ]
    )
    assert table["dataset"].tolist() == ["Digits", "Digits", "Spirals"]


def test_our_own_tables_are_free_of_contradictions():
    generator = np.random.default_rng(0)
    curves = []
    for network in "ABCDEFGH":
        ends = generator.integers(0, 5, 2)
        for curve, factor in (("Segment", 1.0), ("Bezier", 1.3), ("Polychain", 2.0)):
            wrong = [ends[0], *generator.integers(0, 20, 9), ends[1]]
            train_loss = [0.1, *generator.random(9), 0.2]
            length = 4 * factor * np.sort([0, *generator.random(9), 1])
            curves.append(evaluated(curve, train_loss, wrong, network=network, length=length))
    table = table2(curves)
    assert len(table) == 32
    assert contradictions(table, tolerance=1e-9, outlier_margin=100).empty


def test_a_broken_grid_is_named():
    grid = BEZIER.grid.drop(columns="train_error")
    curve = EvaluatedCurve("Digits", "VGG-16", "Bezier", grid, 4.0, BEZIER.correct)
    with pytest.raises(UserError, match="Digits, VGG-16, Bezier: no column train_error"):
        table2([curve])


@pytest.mark.parametrize("correct", [BEZIER.correct[:2], ~BEZIER.correct])
def test_correctness_of_another_evaluation_is_recognised(correct):
    curve = EvaluatedCurve("Digits", "VGG-16", "Bezier", BEZIER.grid, 4.0, correct)
    with pytest.raises(UserError, match="they belong together"):
        table2([curve])


def ensembles(wrong, run=1, examples=40, **replaced):
    generator = np.random.default_rng(run)
    names = dict(zip(ENSEMBLES, (50, 50, 50, 2, 3), strict=True)) | replaced
    return [
        EvaluatedEnsemble(
            "Digits",
            "VGG-16",
            name,
            members,
            generator.permutation(examples) >= mistakes,
            mistakes / 10,
            run,
        )
        for (name, members), mistakes in zip(names.items(), wrong, strict=True)
    ]


def curve_ensemble(evaluated_ensembles, **options):
    published = load_published("garipov2018_curve_ensemble")
    return garipov2018_curve_ensemble(evaluated_ensembles, published=published, **options)


def test_curve_ensembles_of_one_run():
    given = ensembles([4, 2, 3, 8, 5])
    table = curve_ensemble(given[::-1])
    assert list(table)[:11] == [
        "dataset",
        "network",
        "ensemble",
        "members",
        "test_error",
        "test_error_low",
        "test_error_high",
        "test_nll",
        "runs",
        "test_error_published",
        "published_setting",
    ]
    assert table["ensemble"].tolist() == list(ENSEMBLES)
    assert table["members"].tolist() == [50, 50, 50, 2, 3]
    assert table["test_error"].tolist() == [10, 5, 7.5, 20, 12.5]
    assert table["test_nll"].tolist() == [0.4, 0.2, 0.3, 0.8, 0.5]
    assert table["test_error_published"].fillna(0).tolist() == [21.03, 20.7, 0, 22.0, 21.01]
    setting = "ResNet-164, CIFAR-100"
    assert table["published_setting"].fillna("").tolist() == [
        setting,
        setting,
        "",
        setting,
        setting,
    ]
    assert table["test_error_difference"].fillna(0).tolist() == [-10, -15, -12.5, 0, -7.5]
    independent = table["test_error_difference_independent"]
    assert independent.fillna(0).tolist() == [-2.5, -7.5, -5, 7.5, 0]
    unscaled = table["test_error_difference_unscaled"]
    assert unscaled.fillna(0).tolist() == [0, -5, -2.5, 10, 2.5]
    assert (table["test_error_low"] < table["test_error"]).all()
    assert (table["test_error"] < table["test_error_high"]).all()


def test_differences_are_paired_by_example():
    # The same mistakes and one more: unpaired, one example in forty would drown.
    base = np.arange(40) >= 10
    better = np.arange(40) >= 7
    given = [
        EvaluatedEnsemble("Digits", "VGG-16", "Endpoints", 2, base, 0.1),
        EvaluatedEnsemble("Digits", "VGG-16", "Curve points", 50, better, 0.1),
    ]
    row = curve_ensemble(given, seed=1).iloc[0]
    counts = np.random.default_rng(1).multinomial(40, np.full(40, 1 / 40), size=1000)
    low, high = percentile_interval(-100 * counts[:, 7:10].sum(axis=1) / 40)
    assert row["test_error_difference"] == pytest.approx(-7.5)
    assert row["test_error_difference_low"] == pytest.approx(low)
    assert row["test_error_difference_high"] == pytest.approx(high)
    assert row["test_error_difference_high"] <= 0 < row["test_error_high"] - 25


def test_curve_ensembles_of_several_runs():
    table = curve_ensemble([*ensembles([4, 2, 3, 8, 5]), *ensembles([6, 2, 3, 8, 5], run=2)])
    row = table.iloc[0]
    assert (row["runs"], row["interval"]) == (2, "runs")
    assert row["test_error"] == 12.5
    assert row["test_nll"] == pytest.approx(0.5)
    # Errors 10 and 15: standard error 2.5, Student's t at 0.975 with one degree is 12.706.
    assert row["test_error_high"] == pytest.approx(12.5 + 12.7062 * 2.5, rel=1e-4)
    assert row["test_error_low"] == 0
    assert row["test_error_difference"] == -7.5
    assert row["test_error_difference_low"] == pytest.approx(-7.5 - 12.7062 * 2.5, rel=1e-4)


def test_without_the_endpoints_there_are_no_differences():
    table = curve_ensemble(ensembles([4, 2, 3, 8, 5])[:3])
    assert table["test_error_difference"].isna().all()
    assert table["test_error_difference_low"].isna().all()


def test_ensembles_that_do_not_belong_together_are_refused():
    whole, part = ensembles([4, 2, 3, 8, 5]), ensembles([4, 2, 3, 8, 5], examples=30)
    with pytest.raises(UserError, match=r"tested on \[30, 40\] examples"):
        curve_ensemble([whole[0], part[1]])
    other = ensembles([4, 2, 3, 8, 5], run=2, **{"Curve points": 20})
    with pytest.raises(UserError, match=r"Curve points: runs with \[20, 50\] members"):
        curve_ensemble([*whole, *other])
    with pytest.raises(ValueError, match="two ensembles of one kind"):
        curve_ensemble([*whole, *whole])


def trivial_path(test_error, train_loss, t=(0, 0.25, 0.5, 0.75, 1)):
    grid = pd.DataFrame(
        {
            "t": t,
            "length": np.arange(float(len(t))),
            "train_loss": train_loss,
            "train_nll": np.asarray(train_loss) - 0.1,
            "test_error": test_error,
        }
    )
    return EvaluatedCurve("Digits", "VGG-16", "Trivial", grid, 4.0)


def test_trivial_path_leaves_the_origin_out():
    table = garipov2018_trivial_path([trivial_path([7, 7, 90, 6, 6], [0.2, 0.9, 2.3, 0.8, 0.1])])
    row = table.iloc[0]
    assert (row["test_error_start"], row["test_error_end"]) == (7, 6)
    assert (row["test_error_deviation"], row["test_error_deviation_published"]) == (0, 0)
    assert math.isnan(row["test_error_deviation_t"])
    assert (row["train_loss_start"], row["train_loss_end"]) == (0.2, 0.1)
    assert (row["train_loss_max"], row["train_loss_max_t"]) == (2.3, 0.5)
    assert row["train_nll_max"] == pytest.approx(2.2)


def test_trivial_path_finds_the_largest_deviation_from_its_own_end():
    paths = [
        trivial_path([7, 8, 90, 4, 6], [0.2, 0.9, 0.8, 0.8, 0.1]),
        trivial_path([7, 6, 90, 7, 6], [0.2, 0.9, 0.8, 0.8, 0.1]),
    ]
    table = garipov2018_trivial_path(paths)
    assert table["run"].tolist() == [1, 2]
    assert table["test_error_deviation"].tolist() == [2, 1]
    assert table["test_error_deviation_t"].tolist() == [0.75, 0.25]
    assert table["train_loss_max_t"].tolist() == [0.25, 0.25]


@pytest.mark.parametrize("t", [(0.1, 0.25, 0.5, 0.75, 1), (0, 0.1, 0.2, 0.3, 0.4)])
def test_a_path_that_is_not_trivial_is_refused(t):
    with pytest.raises(ValueError, match="origin at 1/2"):
        garipov2018_trivial_path([trivial_path([7] * 5, [1] * 5, t)])


def test_layouts_show_columns_of_their_tables():
    frames = {
        "garipov2018_table2": table2([SEGMENT]),
        "garipov2018_curve_ensemble": curve_ensemble(ensembles([4, 2, 3, 8, 5])),
        "garipov2018_trivial_path": garipov2018_trivial_path([trivial_path([7] * 5, [1] * 5)]),
    }
    assert set(frames) == set(LAYOUTS)
    for name, frame in frames.items():
        layout = LAYOUTS[name]
        shown = [column.name for column in layout.all_columns]
        assert set(shown) | set(layout.notes) | set(layout.published_setting) <= set(frame)
    assert set(TABLE2_VALUES) <= {c.name for c in LAYOUTS["garipov2018_table2"].columns}


def test_tables_are_made_without_torch():
    code = "import sys, mode_connectivity.reporting.tables; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
