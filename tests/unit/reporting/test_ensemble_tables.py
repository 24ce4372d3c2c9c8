"""The tables of ensembles by hand, and their shape in print."""

import re

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import stats

from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.ensembling.predictions import StoredPredictions
from mode_connectivity.reporting.ensemble_tables import (
    ENSEMBLE_LAYOUTS,
    METHOD_TITLES,
    EvaluatedMethod,
    FinetunedNetwork,
    garipov2018_imagenet,
    garipov2018_table1,
    read_method,
    welch_interval,
)
from mode_connectivity.reporting.published import load_published
from mode_connectivity.reporting.rendering import to_latex, to_markdown
from mode_connectivity.reporting.summaries import percentile_interval, resampled_errors
from mode_connectivity.settings import UserError

EXAMPLES = 100


def method(
    title, wrong, nll_scaled, *, dataset="Digits", network="VGG-16", members=1, first_seed=1
):
    """Ensembles that get the first ``wrong`` of 100 examples wrong: a list of runs a budget."""
    rows = [
        {
            "budget": budget,
            "run": run + 1,
            "seeds": " ".join(str(first_seed + run * budget + k) for k in range(budget)),
            "members": budget * members,
            "test_error": float(count),
            "test_nll": 2 * nll,
            "test_nll_scaled": nll,
            **dict.fromkeys(
                (
                    "test_brier",
                    "test_ece_equal_width",
                    "test_ece_equal_count",
                    "test_brier_scaled",
                    "test_ece_equal_width_scaled",
                    "test_ece_equal_count_scaled",
                    "temperature",
                    "disagreement",
                    "member_test_error",
                    "member_test_nll",
                ),
                run + 1.0,
            ),
        }
        for budget, counts in wrong.items()
        for run, (count, nll) in enumerate(zip(counts, nll_scaled[budget], strict=True))
    ]
    metrics = pd.DataFrame(rows)
    correct = np.arange(EXAMPLES) >= metrics["test_error"].to_numpy()[:, None]
    spread = np.linspace(-0.1, 0.1, EXAMPLES)
    scaled = -metrics["test_nll_scaled"].to_numpy()[:, None] + spread
    return EvaluatedMethod(dataset, network, title, metrics, correct, 2 * scaled, scaled)


IND = method("Ind", {1: [20, 22, 27], 2: [18]}, {1: [0.9, 1.0, 1.1], 2: [0.8]})
FGE = method("FGE", {1: [16, 17, 21], 2: [15]}, {1: [0.8, 0.9, 1.0], 2: [0.6]}, members=6)


def table1(ensembles, **options):
    published = load_published("garipov2018_table1")
    return garipov2018_table1(ensembles, published=published, resamples=300, **options)


def test_columns_of_table1_are_those_of_the_contract():
    columns = list(table1([FGE, IND]))
    assert columns[:10] == [
        "dataset",
        "network",
        "method",
        "budget",
        "members",
        "runs",
        "test_error",
        "test_error_low",
        "test_error_high",
        "test_error_published",
    ]
    assert columns[-3:] == ["published_dataset", "published_network", "note_published"]


def test_rows_of_table1_are_in_the_papers_order():
    other = method("SSE", {1: [19]}, {1: [0.5]}, dataset="Other")
    table = table1([FGE, other, IND])
    assert table[["dataset", "method", "budget"]].to_numpy().tolist() == [
        ["Digits", "Ind", 1],
        ["Digits", "Ind", 2],
        ["Digits", "FGE", 1],
        ["Digits", "FGE", 2],
        ["Other", "SSE", 1],
    ]
    assert table["members"].tolist() == [1, 2, 6, 12, 1]
    assert table["runs"].tolist() == [3, 1, 3, 1, 1]
    # Nothing to compare with.
    assert pd.isna(table.loc[4, ["test_error_difference", "deep_ensemble_equivalent"]]).all()


def test_several_runs_have_intervals_over_runs():
    ind, _, fge, _ = (row for _, row in table1([IND, FGE]).iterrows())
    assert (ind["interval"], fge["test_error_difference_interval"]) == (
        "runs",
        "paired runs",
    )
    assert ind["test_error"] == 23
    # Deviations -3, -1, 4: variance 13; Student's t at 0.975 with 2 degrees of freedom 4.302653.
    assert ind["test_error_std"] == pytest.approx(13**0.5)
    assert ind["test_error_low"] == pytest.approx(23 - 4.302653 * (13 / 3) ** 0.5)
    assert ind["test_error_high"] == pytest.approx(23 + 4.302653 * (13 / 3) ** 0.5)
    assert fge["test_error_difference"] == -5
    # Differences of the same seeds: -4, -5, -6.
    assert fge["test_error_difference_low"] == pytest.approx(-5 - 4.302653 / 3**0.5)
    assert fge["test_error_difference_high"] == pytest.approx(-5 + 4.302653 / 3**0.5)
    assert ind["test_nll_scaled"] == pytest.approx(1.0)
    assert ind["test_nll_scaled_low"] == pytest.approx(1.0 - 4.302653 * 0.1 / 3**0.5)
    assert ind["temperature"] == 2
    assert pd.isna(ind["test_error_difference"])


def test_runs_of_other_seeds_are_not_paired():
    fge = method("FGE", {1: [16, 17, 21]}, {1: [0.8, 0.9, 1.0]}, first_seed=2)
    row = table1([IND, fge]).iloc[2]
    assert row["test_error_difference_interval"] == "runs"
    assert row["test_error_difference"] == -5
    expected = stats.ttest_ind([16, 17, 21], [20, 22, 27], equal_var=False).confidence_interval()
    assert row["test_error_difference_low"] == pytest.approx(expected.low)
    assert row["test_error_difference_high"] == pytest.approx(expected.high)


def test_differences_to_snapshot_ensembles():
    sse = method("SSE", {1: [18, 20, 22]}, {1: [0.9, 0.9, 0.9]})
    table = table1([IND, sse, FGE]).set_index(["method", "budget"])
    name = "test_error_difference_snapshot"
    assert table.loc[("FGE", 1), name] == -2
    # -2, -3, -1 of the same seeds.
    assert table.loc[("FGE", 1), f"{name}_low"] == pytest.approx(-2 - 4.302653 / 3**0.5)
    assert table.loc[("FGE", 1), f"{name}_interval"] == "paired runs"
    assert table.loc[("Ind", 1), name] == 3
    # Of themselves there is none, nor at a budget that only one of the two has.
    assert pd.isna(table.loc[[("SSE", 1), ("FGE", 2), ("Ind", 2)], name]).all()
    assert table.loc[("SSE", 1), "test_error_difference"] == -3


def test_one_run_has_intervals_over_examples_that_are_paired():
    _, ind, _, fge = (row for _, row in table1([IND, FGE], seed=5).iterrows())
    assert (ind["interval"], fge["test_error_difference_interval"]) == ("examples", "examples")
    correct = np.stack([IND.correct[3], FGE.correct[3]])
    samples = resampled_errors(correct, resamples=300, seed=5)
    low, high = percentile_interval(samples[:, 0])
    assert (ind["test_error_low"], ind["test_error_high"]) == (low, high)
    low, high = percentile_interval(samples[:, 1] - samples[:, 0])
    assert fge["test_error_difference"] == -3
    assert fge["test_error_difference_low"] == pytest.approx(low)
    assert fge["test_error_difference_high"] == pytest.approx(high)
    # FGE is right wherever the networks are: never worse on any sample.
    assert high <= 0
    assert pd.isna(fge["test_error_std"])
    sem = np.linspace(-0.1, 0.1, EXAMPLES).std(ddof=1) / 10
    assert fge["test_nll_scaled_low"] == pytest.approx(0.6 - 1.984217 * sem)
    assert fge["test_nll_high"] == pytest.approx(1.2 + 1.984217 * 2 * sem)


def test_one_run_against_several_is_paired_by_example():
    single = method("FGE", {1: [16]}, {1: [0.8]})
    row = table1([IND, single]).iloc[2]
    assert row["test_error_difference_interval"] == "examples"
    assert row["test_error_difference"] == 16 - 23
    samples = resampled_errors(np.concatenate([IND.correct, single.correct]), resamples=300)
    low, _ = percentile_interval(samples[:, 4] - samples[:, :3].mean(axis=1))
    assert row["test_error_difference_low"] == pytest.approx(low)


def test_intervals_over_runs_stop_where_errors_do():
    row = table1([method("Ind", {1: [1, 9]}, {1: [0.1, 0.2]})]).iloc[0]
    assert row["test_error_low"] == 0
    assert row["test_nll_low"] == 0


def test_deep_ensemble_equivalents_come_from_the_independent_networks():
    ind = method("Ind", {1: [20, 20], 2: [18, 18]}, {1: [0.9, 1.1], 2: [0.7, 0.9]})
    fge = method("FGE", {1: [16], 2: [15]}, {1: [0.85], 2: [0.5]}, members=6)
    rows = table1([ind, fge]).set_index(["method", "budget"])
    # The mean falls from 1.0 to 0.8; deviations are 0.1 sqrt 2 at both sizes.
    name = "deep_ensemble_equivalent"
    assert rows.loc[("FGE", 1), name] == pytest.approx(1.75)
    assert rows.loc[("FGE", 1), f"{name}_low"] == pytest.approx(1 + (0.15 - 0.1 * 2**0.5) / 0.2)
    assert rows.loc[("FGE", 1), f"{name}_high"] == 2
    assert pd.isna(rows.loc[("FGE", 1), f"{name}_bound"])
    assert rows.loc[("FGE", 2), name] == 2
    assert rows.loc[("FGE", 2), f"{name}_bound"] == "lower"
    assert pd.isna(rows.loc[("Ind", 1), name])


def test_published_errors_stand_beside_their_rows():
    ours = [
        method("Ind", {1: [20]}, {1: [1.0]}, dataset="CIFAR-100"),
        method("FGE", {1: [20]}, {1: [1.0]}),
        method("SWA", {1: [20]}, {1: [1.0]}),
    ]
    table = table1(ours, counterparts={("Digits", "VGG-16"): ("CIFAR-10", "VGG-16")})
    assert table["test_error_published"].tolist()[:2] == [27.4, 6.48]
    assert pd.isna(table.loc[2, "test_error_published"])
    assert table.loc[1, "published_dataset"] == "CIFAR-10"
    with pytest.raises(UserError, match="not published"):
        table1(ours, counterparts={("Digits", "VGG-16"): ("Digits", "VGG-16")})


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match=r"Digits, VGG-16: two ensembles of one method \(Ind, Ind"):
        table1([IND, IND])
    fewer = EvaluatedMethod(
        "Digits", "VGG-16", "FGE", FGE.metrics, FGE.correct[:, 1:], FGE.correct, FGE.correct
    )
    with pytest.raises(UserError, match=r"tested on \[99, 100\] examples"):
        table1([IND, fewer])


def test_welch_interval():
    random = np.random.default_rng(0)
    values, base = random.normal(size=4), random.normal(1, 3, size=7)
    expected = stats.ttest_ind(values, base, equal_var=False).confidence_interval(0.9)
    assert welch_interval(values, base, 0.9) == pytest.approx((expected.low, expected.high))
    assert welch_interval(np.array([2.0, 2.0]), np.array([1.0, 1.0])) == (1, 1)


def predictions(path, of_class_0, labels):
    probabilities = np.stack([of_class_0, 1 - np.asarray(of_class_0)], axis=-1)
    log_probabilities = np.log(probabilities).astype(np.float32)
    save_file({"log_probabilities": log_probabilities, "labels": labels}, path)
    nll = -log_probabilities[:, np.arange(len(labels)), labels].mean(axis=1)
    return StoredPredictions(path), nll


def test_a_method_is_read_as_it_was_written(tmp_path):
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 30)
    _, nll = predictions(tmp_path / "p.safetensors", random.uniform(0.01, 0.99, (4, 30)), labels)
    table = pd.DataFrame({"member": list("abcd"), "seed": [1, 1, 2, 2], "test_nll": nll})
    # The first member of a training has none before it.
    table["distance"] = [np.nan, 5.0, np.nan, 8.0]
    table.to_csv(tmp_path / "members.csv", index=False)
    evaluate_ensemble(
        tmp_path / "members.csv",
        tmp_path / "p.safetensors",
        seeds=[1, 2],
        budgets=[1, 2],
        metrics=tmp_path / "metrics.csv",
        ensembles=tmp_path / "ensembles.safetensors",
    )
    read = read_method("Digits", "VGG-16", METHOD_TITLES["fast_geometric"], tmp_path)
    assert read.method == "FGE"
    assert read.correct.shape == read.log_likelihood.shape == (3, 30)
    scaled = read.metrics["test_nll_scaled"]
    np.testing.assert_allclose(-read.log_likelihood_scaled.mean(axis=1), scaled, rtol=1e-5)
    assert table1([read])["runs"].tolist() == [2, 1]
    assert table1([read])["member_distance"].tolist() == [6.5, 6.5]

    read.metrics.iloc[::-1].assign(test_error=[1, 2, 3]).to_csv(
        tmp_path / "metrics.csv", index=False
    )
    with pytest.raises(UserError, match=r"not the ensembles of .*metrics.csv: other test errors"):
        read_method("Digits", "VGG-16", "FGE", tmp_path)


# Probability of class 0, the label of all four examples.
PRETRAINED = [0.6, 0.2, 0.4, 0.6]
FINETUNED = [[0.7, 0.7, 0.3, 0.7], [0.4, 0.2, 0.9, 0.1], [0.9, 0.7, 0.1, 0.4]]
LABELS = np.zeros(4, dtype=np.int64)


def finetuned(tmp_path, seeds=(1,), pretrained=PRETRAINED, **options):
    of_class_0 = [row for _ in seeds for row in (pretrained, *FINETUNED)]
    stored, nll = predictions(tmp_path / "members.safetensors", of_class_0, LABELS)
    members = pd.DataFrame(
        {
            "recipe": ["base", "fge", "fge", "fge"] * len(seeds),
            "seed": np.repeat(seeds, 4),
            "epoch": [90, 91, 93, 95] * len(seeds),
            "test_nll": nll,
        }
    )
    return FinetunedNetwork("ImageNet", "ResNet-50", members, stored, **options)


def imagenet(networks, **options):
    published = load_published("garipov2018_imagenet")
    return garipov2018_imagenet(networks, published=published, resamples=300, **options)


def test_imagenet_by_hand(tmp_path):
    averages, _ = predictions(tmp_path / "swa.safetensors", [[0.9, 0.9, 0.9, 0.2]], LABELS)
    table = imagenet([finetuned(tmp_path, weight_averages=averages)])
    assert list(table)[:14] == [
        "dataset",
        "network",
        "method",
        "epochs",
        "members",
        "runs",
        "test_error",
        "test_error_low",
        "test_error_high",
        "test_error_difference",
        "test_error_difference_low",
        "test_error_difference_high",
        "test_nll",
        "test_error_published",
    ]
    rows = table[["method", "epochs", "members", "runs", "test_error"]]
    # All four averaged: 0.65, 0.45, 0.425, 0.45.
    assert rows.to_numpy().tolist() == [
        ["Pre-trained", 0, 1, 1, 50],
        ["FGE, last member", 5, 1, 1, 50],
        ["FGE", 5, 4, 1, 75],
        ["SWA", 5, 1, 1, 25],
    ]
    of_fge = table.loc[2]
    assert of_fge["test_nll"] == pytest.approx(-np.log([0.65, 0.45, 0.425, 0.45]).mean(), rel=1e-5)
    assert of_fge["test_error_difference"] == 25
    samples = resampled_errors(
        np.array([[True, False, False, True], [True, False, False, False]]), resamples=300
    )
    low, high = percentile_interval(samples[:, 1] - samples[:, 0])
    assert (of_fge["test_error_difference_low"], of_fge["test_error_difference_high"]) == (
        pytest.approx(low),
        pytest.approx(high),
    )
    assert pd.isna(table.loc[0, "test_error_difference"])
    published = table["test_error_published"]
    assert (published[0], published[2]) == (23.87, 23.31)
    assert published[[1, 3]].isna().all()
    text = to_markdown(table, ENSEMBLE_LAYOUTS["garipov2018_imagenet"])
    assert re.search(r"\| FGE \[\^1\] +\| 5 +\| 4 +\| +75\.00 \[.*\] \(23\.31\) \|", text)
    assert "[^1]: the pre-trained network is one of the members" in text


def test_a_pretrained_network_shared_by_runs_counts_once(tmp_path):
    table = imagenet([finetuned(tmp_path, seeds=(1, 2, 3))]).set_index("method")
    assert table["runs"].to_dict() == {
        "Pre-trained": 1,
        "FGE, last member": 3,
        "FGE": 3,
    }
    assert table.loc["FGE", "interval"] == "runs"
    assert table.loc["FGE", "test_error_difference_interval"] == "examples"


def test_the_pretrained_network_may_be_the_first_snapshot_of_its_recipe(tmp_path):
    """Or the end of another one: what counts is that it comes first, whatever the order."""
    network = finetuned(tmp_path)
    expected = imagenet([network])
    members = network.members.assign(recipe="fge", epoch=[0, 1, 3, 5])
    same = FinetunedNetwork("ImageNet", "ResNet-50", members, network.predictions)
    pd.testing.assert_frame_equal(imagenet([same]), expected)
    order = [3, 0, 2, 1]
    of_class_0 = [[PRETRAINED, *FINETUNED][index] for index in order]
    stored, _ = predictions(tmp_path / "shuffled.safetensors", of_class_0, LABELS)
    shuffled = FinetunedNetwork("ImageNet", "ResNet-50", members.iloc[order], stored)
    pd.testing.assert_frame_equal(imagenet([shuffled]), expected)


def test_runs_from_networks_of_their_own_count_as_runs(tmp_path):
    of_class_0 = [PRETRAINED, *FINETUNED, [0.9, 0.9, 0.9, 0.4], *FINETUNED]
    stored, nll = predictions(tmp_path / "members.safetensors", of_class_0, LABELS)
    members = finetuned(tmp_path, seeds=(1, 2)).members.assign(test_nll=nll)
    table = imagenet([FinetunedNetwork("Digits", "VGG-16", members, stored)]).set_index("method")
    assert table["runs"].tolist() == [2, 2, 2]
    assert table.loc["Pre-trained", "test_error"] == (50 + 25) / 2
    assert table.loc["FGE", "test_error_difference_interval"] == "paired runs"


def test_an_ensemble_without_its_pretrained_network_is_refused(tmp_path):
    network = finetuned(tmp_path)
    stored, _ = predictions(tmp_path / "one.safetensors", [PRETRAINED], LABELS)
    single = FinetunedNetwork("ImageNet", "ResNet-50", network.members.iloc[:1], stored)
    with pytest.raises(UserError, match="seed 1: one member; the first must be the pre-trained"):
        imagenet([single])
    fewer = FinetunedNetwork("ImageNet", "ResNet-50", network.members.iloc[:3], network.predictions)
    with pytest.raises(UserError, match=r"predictions of 4 members .* 3 are listed"):
        imagenet([fewer])


def cells(line):
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_table1_in_print_has_the_papers_shape():
    ensembles = [
        method(title, {1: [wrong, wrong], 2: [wrong - 1]}, {1: [0.5, 0.5], 2: [0.4]}, **where)
        for title, wrong in (("Ind", 20), ("SSE", 18), ("FGE", 18))
        for where in ({"dataset": "CIFAR-100"}, {"dataset": "Digits"})
    ]
    counterparts = {("Digits", "VGG-16"): ("CIFAR-10", "VGG-16")}
    table = table1(ensembles, counterparts=counterparts)
    layout = ENSEMBLE_LAYOUTS["garipov2018_table1"]
    text = to_markdown(table, layout)
    first, second = text.split("\n## ")
    header, _, *rows = (cells(line) for line in first.splitlines() if line.startswith("|"))
    groups = [f"{data}, {budget}B" for data in ("CIFAR-100", "Digits") for budget in (1, 2)]
    assert header == ["Network", "Method", *groups, "Published for"]
    assert [row[:2] for row in rows] == [["VGG-16", name] for name in ("Ind", "SSE", "FGE")]
    assert rows[0][2] == "20.00 [20.00, 20.00], n = 2 (27.4)"
    assert rows[1][2] == "**18.00** [18.00, 18.00], n = 2 (26.4)"
    assert rows[2][2] == "**18.00** [18.00, 18.00], n = 2 (**25.74**)"
    assert re.fullmatch(r"\*\*17\.00\*\* \[[\d.]+, [\d.]+\], n = 1 \(\*\*5\.82\*\*\)", rows[2][5])
    assert rows[0][-1] == "Digits: CIFAR-10, VGG-16"
    header, _, *rows = (cells(line) for line in second.splitlines() if line.startswith("|"))
    assert header[:4] == ["Data set", "Network", "Method", "Budget (B)"]
    assert len(rows) == len(table)

    latex = to_latex(table, layout)
    assert r"\multicolumn{2}{c}{CIFAR-100} & \multicolumn{2}{c}{Digits} \\" in latex
    assert r"Method & 1B & 2B & 1B & 2B \\" in latex
    assert r"FGE & \textbf{18.00} {\scriptsize [18.00, 18.00], n = 2} &" in latex
    assert (
        r"\quad\textit{published: Digits: CIFAR-10, VGG-16} & \textbf{25.74} & \textbf{24.11} & "
        r"\textbf{6.48} & \textbf{5.82} \\" in latex
    )
    assert "Differences, calibration" not in latex
