"""Each way of judging, on made-up artefacts of which the verdict is known."""

import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.reporting.claim_settings import ClaimSettings, load_claims
from mode_connectivity.reporting.claims import (
    COLUMNS,
    DETAIL_COLUMNS,
    Artefacts,
    allowed_text,
    judge,
    judge_all,
    write_claims,
)
from mode_connectivity.settings import UserError


def claim(**settings):
    base = {"section": "1", "statement": "It is so.", "judged_from": "tables/made_up"}
    return ClaimSettings(**base, **settings)


@pytest.fixture
def given(tmp_path):
    """Write a frame as an artefact and judge a claim by it."""

    def judged(frame, **settings):
        path = tmp_path / "made_up.csv"
        pd.DataFrame(frame).to_csv(path, index=False)
        return judge(claim(**settings), Artefacts({"tables/made_up": path}))

    return judged


TABLE = {
    "network": ["A", "A", "B", "B"],
    "curve": ["Segment", "Bezier", "Segment", "Bezier"],
    "rise": [40.0, 0.5, 60.0, 1.0],
    "rise_low": [35.0, 0.1, 55.0, 0.4],
    "rise_high": [45.0, 0.9, 65.0, 1.6],
    "interval": "examples",
    "runs": 1,
}


@pytest.mark.parametrize(
    ("bound", "verdict"), [(2.0, "holds"), (0.7, "undecided"), (0.05, "does not hold")]
)
def test_a_value_is_judged_by_its_interval(given, bound, verdict):
    found = given(TABLE, rows="curve == 'Bezier' and network == 'A'", value="rise", at_most=bound)
    assert found.verdict == verdict
    (judged,) = found.quantities
    assert (judged.quantity.low, judged.quantity.high) == (0.1, 0.9)
    assert judged.uncertainty == "examples"
    assert bool(found.reason) == (verdict == "undecided")


@pytest.mark.parametrize(
    ("bound", "verdict"), [(2.0, "holds"), (1.2, "undecided"), (0.2, "does not hold")]
)
def test_every_group_counts(given, bound, verdict):
    found = given(TABLE, rows="curve == 'Bezier'", by=["network"], value="rise", at_most=bound)
    assert found.verdict == verdict
    assert [judged.label for judged in found.quantities] == ["A", "B"]
    assert found.telling.label == "B"


def test_one_group_outside_is_enough(given):
    found = given(TABLE, by=["network", "curve"], value="rise", at_most=2.0)
    assert found.verdict == "does not hold"
    assert found.telling.label == "B, Segment"
    assert [judged.finding for judged in found.quantities] == [
        "outside", "inside", "outside", "inside",
    ]  # fmt: skip


def test_several_quantities_share_the_level(given):
    # Each interval alone excludes zero by a hair; ten of them together do not.
    frame = {"name": list("abcdefghij"), "gain": 1.0, "gain_low": 0.05, "gain_high": 1.95}
    frame |= {"interval": "examples", "runs": 1}
    one = given(frame, rows="name == 'a'", value="gain", above=0.0)
    assert one.verdict == "holds"
    assert given(frame, by=["name"], value="gain", above=0.0).verdict == "undecided"


def test_few_runs_decide_less_than_many(given):
    # Student's t with 2 degrees of freedom: the interval is as given, the tails are heavier.
    frame = {"name": ["a", "b"], "gain": 3.0, "gain_low": 0.6, "gain_high": 5.4}
    many = given(frame | {"interval": "examples", "runs": 1}, by=["name"], value="gain", above=0.0)
    few = given(frame | {"interval": "runs", "runs": 3}, by=["name"], value="gain", above=0.0)
    assert (many.verdict, few.verdict) == ("holds", "undecided")
    assert few.telling.uncertainty == "runs"


def test_the_interval_of_a_difference_has_a_kind_of_its_own(given):
    frame = {"gain": [1.0], "gain_low": [0.5], "gain_high": [1.5], "runs": [4]}
    frame |= {"interval": ["examples"], "gain_interval": ["paired runs"]}
    (judged,) = given(frame, value="gain", above=0.0).quantities
    assert (judged.uncertainty, judged.quantity.freedom) == ("runs", 3)


def test_rows_are_subtracted_group_by_group(given):
    found = given(
        TABLE,
        rows="curve == 'Segment'",
        minus={"rows": "curve == 'Bezier'", "value": "rise", "statistic": "only"},
        by=["network"],
        value="rise",
        above=0.0,
    )
    assert found.verdict == "holds"
    first = found.quantities[0].quantity
    assert first.estimate == 39.5
    # Independent intervals: half-widths 5 and 0.4.
    assert first.high - first.estimate == pytest.approx(np.hypot(5, 0.4))


def test_a_reference_is_a_constant(given):
    # Intervals of the difference to the reference, as figure 4 has them.
    found = given(
        TABLE | {"network": ["A", "alone", "B", "C"]},
        rows="network != 'alone'",
        reference={"rows": "network == 'alone'", "value": "rise"},
        by=["network"],
        value="rise",
        above=0.4,
    )
    quantities = [judged.quantity for judged in found.quantities]
    assert [quantity.estimate for quantity in quantities] == [39.5, 59.5, 0.5]
    assert [quantity.high - quantity.low for quantity in quantities] == pytest.approx([10, 10, 1.2])
    assert found.verdict == "undecided"
    missing = given(
        TABLE, by=["network", "curve"], value="rise", above=0,
        reference={"rows": "curve == 'Segment'", "value": "rise"},
    )  # fmt: skip
    assert missing.reason == "2 rows with curve == 'Segment' where the rule expects one"


def test_a_ratio_has_no_interval(given):
    found = given(
        TABLE,
        rows="curve == 'Segment'",
        divided_by={"rows": "curve == 'Bezier'", "value": "rise"},
        by=["network"],
        value="rise",
        at_least=60.0,
    )
    assert [judged.quantity.estimate for judged in found.quantities] == [80.0, 60.0]
    assert found.verdict == "holds"
    assert {judged.uncertainty for judged in found.quantities} == {"none"}


def test_equivalence_is_a_range_with_two_ends(given):
    frame = {"gain": [0.1], "gain_low": [-0.2], "gain_high": [0.4], "interval": "examples"}
    assert given(frame, value="gain", at_least=-0.5, at_most=0.5).verdict == "holds"
    # Not significantly different from zero, and yet no sign that it is near zero.
    wide = frame | {"gain_low": [-2.0], "gain_high": [2.2]}
    assert given(wide, value="gain", at_least=-0.5, at_most=0.5).verdict == "undecided"


PATH = {
    "curve": ["chain"] * 5 + ["segment"] * 5,
    # Out of order on purpose.
    "t": [0.0, 0.5, 0.25, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0],
    "loss": [1.0, 1.1, 0.8, 1.3, 1.2, 1.2, 3.0, 5.0, 2.0, 1.0],
}


@pytest.mark.parametrize(
    ("statistic", "chain", "segment"),
    [
        ("first", 1.0, 1.0),
        ("last", 1.2, 1.2),
        ("min", 0.8, 1.0),
        ("max", 1.3, 5.0),
        ("mean", 5.4 / 5, 12.2 / 5),
        ("place_of_max", 0.75, 0.5),
        ("height_above_ends", 0.1, 3.8),
        # The line from 1.0 to 1.2: 1.15 at t = 0.75, 1.1 in the middle.
        ("height_above_line", 1.3 - 1.15, 5.0 - 1.1),
        ("depth_below_ends", 0.2, 0.0),
    ],
)
def test_statistics_of_a_path(given, statistic, chain, segment):
    found = given(PATH, by=["curve"], value="loss", statistic=statistic, at_most=100)
    estimates = [judged.quantity.estimate for judged in found.quantities]
    assert estimates == pytest.approx([chain, segment])
    assert {judged.uncertainty for judged in found.quantities} == {"none"}


def test_part_of_a_path(given):
    found = given(
        PATH,
        rows="curve == 'segment' and t >= 0.5",
        value="loss",
        statistic="mean",
        at_least=3.0,
        at_most=3.1,
    )
    assert found.verdict == "holds"


def test_steps_are_told_one_by_one(given):
    frame = {"width": [1.0, 0.3, 0.5], "ratio": [1.2, 1.9, 1.5]}
    falling = given(frame, along="width", value="ratio", statistic="steps", below=0.0)
    assert falling.verdict == "holds"
    assert [judged.label for judged in falling.quantities] == [
        "width 0.3 to 0.5", "width 0.5 to 1",
    ]  # fmt: skip
    assert [judged.quantity.estimate for judged in falling.quantities] == pytest.approx(
        [-0.4, -0.3]
    )
    frame["ratio"][0] = 1.6
    rising = given(frame, along="width", value="ratio", statistic="steps", below=0.0)
    assert rising.verdict == "does not hold"
    assert rising.telling.label == "width 0.5 to 1"


def test_the_last_may_be_compared_with_the_first(given):
    frame = {"width": [1.0, 0.3, 0.5], "gap": [0.1, 0.4, 0.5]}
    found = given(
        frame,
        along="width",
        value="gap",
        statistic="last",
        minus={"value": "gap", "statistic": "first"},
        below=0.0,
    )
    assert found.quantities[0].quantity.estimate == pytest.approx(-0.3)


def test_rank_correlation(given):
    frame = {"rate": [0.1, 0.2, 0.3, 0.4], "error": [1.0, 4.0, 9.0, 16.0]}
    found = given(frame, along="rate", value="error", statistic="rank_correlation", at_least=0.99)
    assert found.verdict == "holds"


@pytest.mark.parametrize(("power", "verdict"), [(1.0, "holds"), (3.0, "does not hold")])
def test_uniformity(given, power, verdict):
    # A uniform sample, and one that crowds near zero.
    shares = np.random.default_rng(0).uniform(size=2000) ** power
    found = given(
        {"t": shares, "share": shares}, value="share", statistic="uniformity", at_most=0.1
    )
    assert found.verdict == verdict
    (judged,) = found.quantities
    # The largest distance between distribution functions, from its definition on a fine lattice.
    places = np.linspace(0, 1, 200_001)
    empirical = np.searchsorted(np.sort(shares), places, side="right") / len(shares)
    assert judged.quantity.estimate == pytest.approx(np.abs(empirical - places).max(), abs=1e-3)


def test_the_interval_of_uniformity_covers_the_distance_of_the_distribution(given):
    # Of x^3 for uniform x the distribution function is x^(1/3), at most 2/3^1.5 above the line.
    truth = 2 / 3**1.5
    covered = 0
    for seed in range(100):
        shares = np.random.default_rng(seed).uniform(size=200) ** 3
        found = given({"t": shares, "x": shares}, value="x", statistic="uniformity", at_most=1)
        quantity = found.quantities[0].quantity
        covered += quantity.low <= truth <= quantity.high
    assert covered >= 95


def test_expressions_have_no_interval(given):
    found = given(TABLE, rows="network == 'A'", by=["curve"], value="rise / 2 - 1", at_most=20.0)
    assert [judged.quantity.estimate for judged in found.quantities] == [19.0, -0.75]
    assert {judged.uncertainty for judged in found.quantities} == {"none"}


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"judged_from": "tables/other"}, "other is not made at this scale, or not yet"),
        ({"rows": "network == 'C'"}, "no row with network == 'C'"),
        ({"rows": "netwerk == 'A'"}, "there is no column 'netwerk'; did you mean 'network'?; if"),
        ({"value": "height"}, "there is no column 'height'"),
        ({"value": "rise + height"}, "there is no column 'height'"),
        ({"by": ["width"]}, "there is no column 'width'; if another version made it, make it"),
        ({"by": ["network"]}, "2 rows for A where the rule expects one"),
        ({}, "4 rows where the rule expects one"),
        ({"statistic": "max"}, "there is no column 't'"),
        (
            {"rows": "curve == 'Segment'", "by": ["network"],
             "minus": {"rows": "curve == 'Bezier' and network == 'A'", "value": "rise"}},
            "nothing to compare with for B",
        ),
        (
            {"rows": "network == 'A'", "by": ["network"], "statistic": "steps", "along": "rise",
             "value": "rise", "minus": None},
            "",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_judged_is_not_run_and_says_why(tmp_path, settings, reason):
    path = tmp_path / "made_up.csv"
    pd.DataFrame(TABLE).to_csv(path, index=False)
    base = {"section": "1", "statement": "So.", "judged_from": "tables/made_up", "value": "rise"}
    found = judge(
        ClaimSettings(**(base | {"at_most": 2} | settings)), Artefacts({"tables/made_up": path})
    )
    assert (found.verdict == "not run") == bool(reason)
    assert found.reason.startswith(reason)


def test_empty_cells_are_no_values(given):
    found = given({"rise": [np.nan]}, value="rise", at_most=2.0)
    assert (found.verdict, found.reason) == ("not run", "rise has no value")


def test_a_missing_or_damaged_file_stops_nothing(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "made_up.csv").write_bytes(b'\xff\xfe\x00garbage\x00,\n"')
    found = judge(claim(value="rise", at_most=2), Artefacts.below(tmp_path))
    assert found.verdict == "not run"
    assert "made_up.csv" in found.reason
    assert "make it again" in found.reason
    gone = Artefacts({"tables/made_up": tmp_path / "gone.csv"})
    assert judge(claim(value="rise", at_most=2), gone).reason.endswith("is missing; make it again")


def test_a_table_is_put_together_from_its_rows(tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    for row, value in (("mnist", 1.0), ("cifar", 3.0)):
        frame = pd.DataFrame({"network": [row], "rise": [value]})
        frame.to_csv(folder / f"garipov2018_table2_{row}.csv", index=False)
    # Another artefact whose name begins alike.
    pd.DataFrame({"network": ["no"]}).to_csv(folder / "garipov2018_table3.csv", index=False)
    settings = claim(value="rise", by=["network"], at_most=2.0).model_copy(
        update={"judged_from": "tables/garipov2018_table2"}
    )
    found = judge(settings, Artefacts.below(tmp_path))
    assert [judged.label for judged in found.quantities] == ["cifar", "mnist"]
    assert found.verdict == "does not hold"


def test_what_stands_in_for_the_papers_is_named(given):
    frame = {
        "dataset": ["Digits", "CIFAR-10"],
        "network": ["VGG-16", "VGG-16"],
        "published_dataset": ["CIFAR-10", "CIFAR-10"],
        "published_network": ["VGG-16", "VGG-16"],
        "rise": [1.0, 1.0],
    }
    found = given(frame, by=["dataset"], value="rise", at_most=2.0)
    assert found.stands_in == "Digits, VGG-16 for CIFAR-10, VGG-16"


def test_readers_are_told_that_others_stand_in(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(
        CLAIMS.replace("    by: [network]\n    value: rise\n    unit", "    value: rise\n    unit")
    )
    row = {"curve": ["Bezier"], "dataset": ["Digits"], "network": ["small"], "rise": [1.0]}
    named = {"published_dataset": ["CIFAR-10"], "published_network": ["VGG-16"]}
    table = tmp_path / "made_up.csv"
    pd.DataFrame(row | named).to_csv(table, index=False)
    for scale in ("demo", "paper"):
        write_claims(load_claims([path]), Artefacts({"tables/made_up": table}), scale, tmp_path)
        text = (tmp_path / "claims.md").read_text()
        assert "1 points (value alone); Digits, small for CIFAR-10, VGG-16" in text
        assert ("small networks on handwritten digits stand in" in text) == (scale == "demo")


CLAIMS = """
paper: made2020
title: Made up
citation: Nobody, Made up, 2020
claims:
  curves_are_low:
    section: "3"
    statement: Curves are low.
    judged_from: tables/made_up
    rows: curve == "Bezier"
    by: [network]
    value: rise
    unit: points
    published: "0.3"
    at_most: 2
    because: it is a made-up number
  segments_are_lower:
    section: "4"
    statement: Segments are lower.
    judged_from: tables/made_up
    rows: curve == "Segment"
    minus: {rows: curve == "Bezier"}
    by: [network]
    value: rise
    below: 0
  not_there:
    section: "5"
    statement: Nobody made this.
    judged_from: figures/made_up
    value: rise
    at_most: 2
"""


def test_all_claims_become_a_table_and_its_details(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    table = tmp_path / "made_up.csv"
    pd.DataFrame(TABLE).to_csv(table, index=False)
    claims, details = judge_all(load_claims([path]), Artefacts({"tables/made_up": table}))
    assert tuple(claims) == COLUMNS
    assert tuple(details) == DETAIL_COLUMNS
    assert claims["verdict"].tolist() == ["holds", "does not hold", "not run"]
    first = claims.iloc[0]
    assert first[["paper", "section", "allowed", "unit", "published"]].tolist() == [
        "made2020", "3", "at most 2", "points", "0.3",
    ]  # fmt: skip
    assert first[["label", "estimate", "low", "high", "uncertainty"]].tolist() == [
        "B", 1.0, 0.4, 1.6, "examples",
    ]  # fmt: skip
    assert claims["quantities"].tolist() == [2, 2, 0]
    assert claims["inside"].tolist() == [2, 0, 0]
    assert claims["outside"].tolist() == [0, 2, 0]
    assert details["claim"].tolist() == 2 * ["curves_are_low"] + 2 * ["segments_are_lower"]
    assert details["finding"].tolist() == ["inside", "inside", "outside", "outside"]


def test_claims_are_written_for_programs_and_for_people(tmp_path):
    path = tmp_path / "claims.yaml"
    path.write_text(CLAIMS)
    table = tmp_path / "made_up.csv"
    pd.DataFrame(TABLE).to_csv(table, index=False)
    write_claims(load_claims([path]), Artefacts({"tables/made_up": table}), "demo", tmp_path)
    read = pd.read_csv(tmp_path / "claims.csv")
    assert read["verdict"].tolist() == ["holds", "does not hold", "not run"]
    assert len(pd.read_csv(tmp_path / "claims_details.csv")) == 4
    text = (tmp_path / "claims.md").read_text()
    assert "# Do the papers' statements hold at the demo scale?" in text
    summary = "Of 3 statements 1 hold, 1 do not hold, 0 are undecided and 1 were not run."
    assert summary in text
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| 3") or line.startswith("| 5")
    ]
    assert rows == [
        ["3", "Curves are low.", "0.3", "1 [0.4, 1.6] points (B; 2 of 2 inside)",
         "at most 2 points", "**holds**"],
        ["5", "Nobody made this.", "", "", "at most 2",
         "**not run**: made_up is not made at this scale, or not yet"],
    ]  # fmt: skip
    # The misprints of Table 2 are told in every report.
    assert "garipov2018_table2" in text


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"at_least": 85, "at_most": 95}, "at least 85, at most 95"),
        ({"below": 0}, "below 0"),
        ({"above": -0.5, "below": 0.25}, "above -0.5, below 0.25"),
    ],
)
def test_what_is_allowed_is_said_in_words(settings, text):
    assert allowed_text(claim(value="rise", **settings)) == text


def mistakes(tmp_path, text):
    path = tmp_path / "claims.yaml"
    path.write_text(textwrap.dedent(text))
    with pytest.raises(UserError) as caught:
        load_claims([path])
    heading, *lines = str(caught.value).splitlines()
    assert heading == "the claims have mistakes:"
    return [line.removeprefix(f"  {path}: ") for line in lines]


def test_all_mistakes_of_a_file_are_told_at_once(tmp_path):
    found = mistakes(
        tmp_path,
        """
        paper: made2020
        title: Made up
        citation: Nobody
        claims:
          nothing: &so {section: "1", statement: So., judged_from: tables/x, value: rise}
          mixed: {<<: *so, at_most: 1, above: 0}
          empty: {<<: *so, at_most: 1, at_least: 2}
          place: {<<: *so, judged_from: x.csv, at_most: 1}
          key: {section: "1", statment: So., judged_from: tables/x, value: a, at_most: 1}
          kind: {<<: *so, at_most: 1, statistic: maximum}
        """,
    )
    assert found[0].startswith("claims.nothing: has no bounds; give at_least, at_most")
    assert found[1].startswith("claims.mixed: mixes bounds")
    assert found[2] == "claims.empty: allows nothing: from 2 to 1"
    assert any(line.startswith("claims.place.judged_from: ") for line in found)
    assert any("did you mean 'statement'?" in line for line in found)
    assert any(
        line.startswith("claims.kind.statistic: found 'maximum'; it must be") for line in found
    )


def test_a_name_in_two_files_and_a_missing_file(tmp_path):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    for path in (first, second):
        path.write_text(CLAIMS)
    with pytest.raises(UserError, match="claim 'curves_are_low' is in made2020 and in made2020"):
        load_claims([first, second])
    with pytest.raises(UserError, match="no such file"):
        load_claims([Path("gone.yaml")])
