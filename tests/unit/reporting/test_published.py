import math
import shutil

import pandas as pd
import pytest

from mode_connectivity.reporting.published import (
    FORMATS,
    PUBLISHED_DIRECTORY,
    contradictions,
    join_published,
    lint_published,
    load_published,
    name_published,
)
from mode_connectivity.settings import UserError

# Garipov et al. 2018 and the README of its code, as printed, known to break an invariant.
KNOWN_CONTRADICTIONS = {
    "garipov2018_table2": {
        ("CIFAR-10", "3conv3fc", "Segment", "train_loss_min"),
        ("CIFAR-10", "ResNet-158", "Segment", "test_error_min"),
        ("CIFAR-10", "WRN-28-10", "Polychain", "test_error_max"),
        ("CIFAR-100", "ResNet-164", "Single", "test_error_min"),
    },
    "garipov2018_table2_reference_code": {
        ("CIFAR-10", "ResNet-164", "Single", "test_error_min"),
    },
    "garipov2018_table3": set(),
}


def places(found):
    return set(found[["dataset", "network", "curve", "column"]].itertuples(index=False, name=None))


def cell(name, column, **keys):
    frame = load_published(name)
    for key, value in keys.items():
        frame = frame[frame[key] == value]
    assert len(frame) == 1
    return frame[column].iloc[0]


@pytest.fixture
def directory(tmp_path):
    return shutil.copytree(PUBLISHED_DIRECTORY, tmp_path / "published")


def test_every_file_is_known_and_every_known_file_loads():
    assert {path.stem for path in PUBLISHED_DIRECTORY.glob("*.csv")} == set(FORMATS)
    for name in FORMATS:
        frame = load_published(name)
        assert len(frame) > 0
        assert (frame["source"] != "").all()


@pytest.mark.parametrize(("name", "rows"), [("garipov2018_table1", 54), ("garipov2018_table2", 28)])
def test_tables_are_complete(name, rows):
    assert len(load_published(name)) == rows


def test_values_that_the_paper_repeats_in_its_text():
    # Section 4.1: worst test errors on the segment, "90%", "80%" and "66%".
    worst = {"VGG-16": 90, "ResNet-158": 80, "WRN-28-10": 66}
    for network, error in worst.items():
        value = cell(
            "garipov2018_table2",
            "test_error_max",
            dataset="CIFAR-10",
            network=network,
            curve="Segment",
        )
        assert math.floor(value) == error
    # Section 6: models of one run.
    for network, members in {"VGG-16": 22, "WRN-28-10": 12, "ResNet-110": 6}.items():
        keys = {"dataset": "CIFAR-100", "network": network, "method": "FGE", "budget": 1}
        assert cell("garipov2018_table1", "members", **keys) == members
    # Section 6.1: "we could improve the accuracy of the model by 0.56".
    single, ensemble = (
        cell("garipov2018_imagenet", "test_error", method=method)
        for method in ("Pre-trained", "FGE")
    )
    assert single - ensemble == pytest.approx(0.56)


def test_table1_supports_what_the_paper_says_of_it():
    cells = load_published("garipov2018_table1").pivot(
        index=["dataset", "network", "budget"], columns="method", values="test_error"
    )
    assert (cells["FGE"] < cells["SSE"]).sum() == 18
    assert (cells["FGE"] < cells["Ind"]).sum() == 15
    assert (cells.loc["CIFAR-100", "FGE"] < cells.loc["CIFAR-100", "Ind"]).all()


def test_repair_needs_the_permutation_and_the_permutation_repair():
    """What Jordan et al. 2022 say of their networks; and wide ones leave less to repair."""
    drops = load_published("jordan2022_repair").set_index(["network", "alignment", "renormalised"])
    drops = drops["accuracy_drop"].drop("ResNet-20").unstack(["alignment", "renormalised"])
    both = drops["permuted", "yes"]
    assert len(drops) == 4 and (both < 5).all()
    for other in drops.columns.drop(("permuted", "yes")):
        assert (both < 0.2 * drops[other]).all()
    widths = load_published("jordan2022_repair").query("network == 'ResNet-20'")
    assert widths["width"].tolist() == ["1", "2", "4", "8", "16", "32"]
    assert widths["accuracy_drop"].is_monotonic_decreasing
    assert widths["loss_barrier"].is_monotonic_decreasing


@pytest.mark.parametrize("name", KNOWN_CONTRADICTIONS)
def test_contradictions_are_the_known_ones(name):
    assert places(contradictions(load_published(name))) == KNOWN_CONTRADICTIONS[name]


def test_all_published_tables_are_searched():
    found = lint_published()
    assert {
        (row["table"], row["dataset"], row["network"], row["curve"], row["column"])
        for _, row in found.iterrows()
    } == {(name, *place) for name, known in KNOWN_CONTRADICTIONS.items() for place in known}


def test_every_contradiction_is_noted_in_its_row():
    for name, known in KNOWN_CONTRADICTIONS.items():
        for dataset, network, curve, column in known:
            note = cell(name, "note", dataset=dataset, network=network, curve=curve)
            assert column in note


def clean_table2():
    frame = (
        load_published("garipov2018_table2").set_index(["dataset", "network", "curve"]).sort_index()
    )
    frame.loc[("CIFAR-10", "3conv3fc", "Segment"), "train_loss_min"] = 0.0494
    frame.loc[("CIFAR-10", "ResNet-158", "Segment"), "test_error_min"] = 5.56
    frame.loc[("CIFAR-10", "WRN-28-10", "Polychain"), ["test_error_int", "test_error_max"]] = 4.8
    frame.loc[("CIFAR-100", "ResNet-164", "Single"), "test_error_min"] = 24.4
    return frame


def test_a_cleaned_table_has_no_contradictions():
    assert contradictions(clean_table2().reset_index()).empty


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        (("MNIST", "Fully connected", "Bezier"), "train_loss_min", 0.0181),
        (("CIFAR-10", "VGG-16", "Bezier"), "train_loss_max", 0.0404),
        (("MNIST", "Fully connected", "Bezier"), "train_loss_int", 0.0240),
        (("MNIST", "Fully connected", "Bezier"), "train_loss_int", 0.0156),
        (("MNIST", "Fully connected", "Bezier"), "length_ratio", 0.99),
        (("MNIST", "Fully connected", "Segment"), "length_ratio", 1.01),
        (("MNIST", "Fully connected", "Single"), "train_error_min", 0.0118),
    ],
)
def test_one_wrong_cell_is_found(row, column, value):
    frame = clean_table2()
    frame.loc[row, column] = value
    assert places(contradictions(frame.reset_index())) == {(*row, column)}


def test_tolerance_forgives_rounding():
    frame = clean_table2()
    frame.loc[("MNIST", "Fully connected", "Bezier"), "train_loss_min"] = 0.018 + 1e-9
    assert contradictions(frame.reset_index(), tolerance=1e-6).empty


def test_unknown_name_gets_the_nearest():
    with pytest.raises(UserError, match="did you mean 'garipov2018_table2'"):
        load_published("garipov2018_tabel2")


def test_missing_file_says_where(tmp_path):
    with pytest.raises(UserError, match=r"garipov2018_table3\.csv: no such file"):
        load_published("garipov2018_table3", tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("1,200,1,6.81", "1,200,1,about 7", "line 2, test_error: found 'about 7'; write a number"),
        ("1,200,1,6.81", "1,200,1,inf", "line 2, test_error: found 'inf'"),
        ("1,200,1,6.81", "1,200,1.5,6.81", "line 2, members: found '1.5'; write a whole number"),
        ("VGG-16,Ind,1", ",Ind,1", "line 2, network: empty"),
        ("SSE,1,200,5,6.5", "Ind,1,200,5,6.5", "line 5: a second row for CIFAR-10, VGG-16, Ind, 1"),
        ("dataset,network", "data,network", "columns data, network"),
        ("1,200,1,6.81", "1,200,1,6,81,7", "line 2: 11 cells; 9 are allowed"),
    ],
)
def test_a_broken_file_is_refused(directory, old, new, message):
    path = directory / "garipov2018_table1.csv"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as error:
        load_published("garipov2018_table1", directory)
    assert message in str(error.value)


def test_mistakes_are_reported_together(directory):
    path = directory / "garipov2018_table1.csv"
    path.write_text(path.read_text().replace("6.81", "a", 1).replace("5.89", "b", 1))
    with pytest.raises(UserError) as error:
        load_published("garipov2018_table1", directory)
    assert len(str(error.value).splitlines()) == 2


OURS = pd.DataFrame(
    {
        "dataset": ["CIFAR-10", "Digits", "Digits"],
        "network": ["VGG-16", "VGG-16", "Mine"],
        "curve": ["Bezier", "Bezier", "Bezier"],
        "length_ratio": [1.4, 1.3, 1.2],
    },
    index=[7, 8, 9],
)


def test_join_keeps_our_rows_and_leaves_unpublished_cells_empty():
    joined = join_published(
        OURS,
        load_published("garipov2018_table2"),
        keys=["dataset", "network", "curve"],
        values=["length_ratio", "test_error_max"],
    )
    pd.testing.assert_frame_equal(joined[list(OURS)], OURS.reset_index(drop=True))
    assert joined["length_ratio_published"].iloc[0] == 1.55
    assert joined["test_error_max_published"].iloc[0] == 7.01
    assert (
        joined[["length_ratio_published", "test_error_max_published"]]
        .iloc[1:]
        .isna()
        .to_numpy()
        .all()
    )


def test_counterparts_are_joined_and_named():
    published = load_published("garipov2018_table2")
    counterparts = {("Digits", "VGG-16"): ("CIFAR-100", "VGG-16")}
    joined = join_published(
        OURS,
        published,
        keys=["dataset", "network", "curve"],
        values=["length_ratio"],
        suffix="there",
        counterparts=counterparts,
    )
    assert joined["length_ratio_there"].tolist()[:2] == [1.55, 1.52]
    assert math.isnan(joined["length_ratio_there"].iloc[2])
    assert joined["dataset"].tolist() == ["CIFAR-10", "Digits", "Digits"]

    names = name_published(OURS, [published], counterparts)
    assert names["published_dataset"].fillna("").tolist() == ["CIFAR-10", "CIFAR-100", ""]
    assert names["published_network"].fillna("").tolist() == ["VGG-16", "VGG-16", ""]


def test_join_on_whole_numbers():
    ours = pd.DataFrame(
        {"dataset": "CIFAR-100", "network": "WRN-28-10", "method": "FGE", "budget": [1, 2, 4]}
    )
    joined = join_published(
        ours,
        load_published("garipov2018_table1"),
        keys=["dataset", "network", "method", "budget"],
        values=["test_error", "members"],
    )
    assert joined["test_error_published"].fillna(0).tolist() == [17.73, 16.95, 0]
    assert joined["members_published"].fillna(0).tolist() == [12, 24, 0]


def test_an_unpublished_counterpart_is_refused():
    with pytest.raises(UserError, match="did you mean 'CIFAR-10 / VGG-16'"):
        name_published(
            OURS,
            [load_published("garipov2018_table2")],
            {("Digits", "VGG-16"): ("CIFAR10", "VGG-16")},
        )


def test_simplexes_beat_deep_ensembles_in_the_published_figure8():
    table = load_published("benton2021_figure8")
    errors = table.pivot_table(
        index=["dataset", "components"], columns="method", values="test_error", aggfunc="sum"
    )
    assert len(errors) == 16 and len(table) == 48
    # The text: three components, about 6.2 % against 5.7 %.
    assert errors.loc[("CIFAR-10", 3)].round(1).to_dict() == {
        "1-simplex": 5.8,
        "2-simplex": 5.7,
        "Deep ensemble": 6.2,
    }
    assert (errors["1-simplex"] < errors["Deep ensemble"]).all()
    assert (errors["2-simplex"] < errors["Deep ensemble"]).all()
    uncertain = table[table["note"] != ""]
    assert uncertain["components"].tolist() == [4, 6]
    assert set(uncertain["dataset"] + uncertain["method"]) == {"CIFAR-1001-simplex"}


def test_published_times_are_those_of_figure8_and_grow_by_a_sixth_a_vertex():
    timed = load_published("benton2021_figure_a7")
    keys = ["dataset", "network", "method", "components"]
    both = timed.merge(load_published("benton2021_figure8"), on=keys, validate="one_to_one")
    assert (both["test_error_x"] == both["test_error_y"]).all()
    each = timed["seconds"] / timed["components"].astype(float)
    mean = each.groupby(timed["method"]).mean()
    # Ten epochs of five samples, beside the 300 of the network.
    ratios = [mean[f"{k}-simplex"] / mean["Deep ensemble"] for k in (1, 2)]
    assert ratios == pytest.approx([1 + 1 / 6, 1 + 2 / 6], abs=0.03)
