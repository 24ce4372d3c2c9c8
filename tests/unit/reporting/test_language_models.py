"""Table 3 of Garipov et al. 2018, against hand calculations and the printed numbers."""

import math

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.language_models import TABLE3_LAYOUT, garipov2018_table3
from mode_connectivity.reporting.published import contradictions, load_published
from mode_connectivity.reporting.rendering import to_latex, to_markdown
from mode_connectivity.reporting.tables import EvaluatedCurve
from mode_connectivity.settings import UserError

SIX = [
    f"{part}_perplexity_{statistic}"
    for part in ("train", "validation", "test")
    for statistic in ("min", "max")
]


def evaluated(curve, train, *, dataset="PTB", network="RNN", length=(0, 1, 4)):
    """A curve with given train perplexities; twice that for validation and 1.5 times for test."""
    train = np.asarray(train, float)
    grid = pd.DataFrame(
        {
            "t": np.linspace(0, 1, len(train)),
            "length": np.asarray(length, float),
            "train_loss": 9.0,
            "train_nll": np.log(train),
            "validation_nll": np.log(2 * train),
            "test_nll": np.log(1.5 * train),
            "test_error": 70.0,
        }
    )
    return EvaluatedCurve(dataset, network, curve, grid, endpoint_distance=4.0)


def table3(curves, **options):
    return garipov2018_table3(curves, published=load_published("garipov2018_table3"), **options)


SEGMENT = evaluated("Segment", [40, 600, 38])
BEZIER = evaluated("Bezier", [40, 30, 38], length=(0, 2, 6))
CHAIN = evaluated("Polychain", [40, 31, 38], length=(0, 3, 7))


def test_columns_of_table3():
    ints = ["train_perplexity_int", "validation_perplexity_int", "test_perplexity_int"]
    assert list(table3([SEGMENT])) == [
        "dataset",
        "network",
        "curve",
        "length_ratio",
        *SIX,
        *(f"{column}_published" for column in SIX),
        "runs",
        *ints,
        *(f"{column}_{end}" for column in ["length_ratio", *SIX, *ints] for end in ("low", "high")),
        "published_dataset",
        "published_network",
        "note_published",
    ]


def test_table3_by_hand():
    table = table3([CHAIN, BEZIER, SEGMENT])
    assert table["curve"].tolist() == ["Single", "Segment", "Bezier", "Polychain"]
    single, segment, bezier, _ = (row for _, row in table.iterrows())
    assert single[SIX].tolist() == pytest.approx([38, 40, 76, 80, 57, 60])
    assert segment[SIX].tolist() == pytest.approx([38, 600, 76, 1200, 57, 900])
    assert bezier[SIX].tolist() == pytest.approx([30, 40, 60, 80, 45, 60])
    assert math.isnan(single["length_ratio"]) and math.isnan(single["train_perplexity_int"])
    assert table["length_ratio"].tolist()[1:] == [1, 1.5, 1.75]
    # Steps 1 and 3 of 4; the mean of perplexities, not the perplexity of the mean.
    assert segment["train_perplexity_int"] == pytest.approx((0.5 * 640 + 1.5 * 638) / 4)
    # Steps 2 and 4 of 6.
    assert bezier["test_perplexity_int"] == pytest.approx(1.5 * (70 + 2 * 68) / 6)
    assert (table["runs"] == 1).all()
    intervals = [column for column in table if column.endswith(("_low", "_high"))]
    assert table[intervals].isna().to_numpy().all()


def test_printed_numbers_stand_beside_ours():
    table = table3([SEGMENT, BEZIER, CHAIN]).set_index("curve")
    printed = [f"{column}_published" for column in SIX]
    assert table.loc["Single", printed].tolist() == [37.5, 39.2, 82.7, 83.1, 78.7, 78.9]
    assert table.loc["Segment", printed].tolist() == [37.5, 596.3, 82.7, 682.1, 78.7, 615.7]
    assert table.loc["Bezier", printed].tolist() == [29.8, 39.2, 82.7, 88.7, 78.7, 84.0]
    # The paper reports no chain.
    assert table.loc["Polychain", printed].isna().all()
    assert (table["published_network"] == "RNN").all()


def test_a_counterpart_is_shown_and_named():
    own = evaluated("Segment", [40, 600, 38], dataset="Documentation", network="LSTM")
    assert table3([own])["train_perplexity_max_published"].isna().all()
    table = table3([own], counterparts={("Documentation", "LSTM"): ("PTB", "RNN")})
    assert table["train_perplexity_max_published"].tolist() == [39.2, 596.3]
    assert table["dataset"].tolist() == ["Documentation"] * 2
    assert table["published_dataset"].tolist() == ["PTB"] * 2
    with pytest.raises(UserError, match="'PTB / LSTM' is not published"):
        table3([own], counterparts={("Documentation", "LSTM"): ("PTB", "LSTM")})


def test_several_runs_are_averaged_and_have_intervals():
    runs = [evaluated("Segment", [40, worst, 38]) for worst in (500, 600, 700)]
    table = table3([*runs, BEZIER]).set_index("curve")
    assert table["runs"].tolist() == [3, 3, 1]
    row = table.loc["Segment"]
    assert row["train_perplexity_max"] == pytest.approx(600)
    # Student's t at 0.975 with two degrees of freedom is 4.302653.
    half_width = 4.302653 * 100 / math.sqrt(3)
    assert row["train_perplexity_max_low"] == pytest.approx(600 - half_width)
    assert row["train_perplexity_max_high"] == pytest.approx(600 + half_width)
    assert row["test_perplexity_max_high"] == pytest.approx(1.5 * (600 + half_width))
    # The ends were the same in all runs.
    assert table.loc["Single", "train_perplexity_max_low"] == pytest.approx(40)
    assert math.isnan(table.loc["Bezier", "train_perplexity_max_low"])


def test_intervals_stop_at_a_perplexity_of_one():
    table = table3([evaluated("Bezier", [2, 2, worst]) for worst in (3, 90)])
    assert table["train_perplexity_max_low"].tolist() == [1]
    assert table["train_perplexity_max"].tolist() == pytest.approx([46.5])


def test_rows_keep_the_order_of_data_sets_and_networks():
    curves = [
        evaluated("Bezier", [3, 2, 3], dataset="PTB", network="RNN"),
        evaluated("Bezier", [3, 2, 3], dataset="Documentation", network="LSTM"),
        evaluated("Bezier", [3, 2, 3], dataset="PTB", network="GRU"),
        evaluated("Arc", [3, 2, 3], dataset="PTB", network="RNN"),
    ]
    table = table3(curves)
    assert table["dataset"].tolist() == ["PTB", "PTB", "PTB", "Documentation"]
    assert table["network"].tolist() == ["RNN", "RNN", "GRU", "LSTM"]
    assert table["curve"].tolist() == ["Bezier", "Arc", "Bezier", "Bezier"]


def test_our_own_table_is_free_of_contradictions():
    assert contradictions(table3([SEGMENT, BEZIER, CHAIN]), tolerance=1e-9).empty


def test_a_perplexity_beyond_all_numbers_is_infinite_without_a_warning(recwarn):
    segment = evaluated("Segment", [40, 600, 38])
    segment.grid.loc[1, "train_nll"] = 800.0
    assert table3([segment])["train_perplexity_max"].tolist() == [pytest.approx(40), np.inf]
    assert not recwarn


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        (BEZIER.grid.drop(columns="validation_nll"), "no column validation_nll"),
        (BEZIER.grid.assign(test_nll=[1, np.nan, 1]), r"test_nll is not a number at t = 0\.5"),
    ],
)
def test_a_broken_grid_is_named(grid, text):
    with pytest.raises(UserError, match=f"PTB, RNN, Bezier: {text}"):
        table3([EvaluatedCurve("PTB", "RNN", "Bezier", grid, 4.0)])


def test_the_layout_shows_all_but_the_integrals():
    frame = table3([SEGMENT, evaluated("Segment", [41, 500, 39]), BEZIER])
    shown = [column.name for column in TABLE3_LAYOUT.all_columns]
    assert shown == ["dataset", "network", "curve", "length_ratio", *SIX, "runs"]
    assert {*TABLE3_LAYOUT.notes, *TABLE3_LAYOUT.published_setting} <= set(frame)
    markdown = to_markdown(frame, TABLE3_LAYOUT)
    assert "Validation perplexity, Max" in markdown
    bezier = next(line for line in markdown.splitlines() if "Bezier" in line)
    assert "30.0 (29.8)" in bezier
    assert r"\multicolumn{2}{c}{Test perplexity}" in to_latex(frame, TABLE3_LAYOUT)
