"""Tables of ensembles of components and of samples, by hand."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file
from scipy import stats

from mode_connectivity.ensembling.predictions import StoredPredictions
from mode_connectivity.reporting.component_tables import (
    COMPONENT_LAYOUTS,
    EvaluatedComponents,
    RegularisedSimplexes,
    SampledMembers,
    component_table,
    regularisation_table,
    sample_errors,
)
from mode_connectivity.reporting.ensemble_tables import MEANS, EvaluatedMethod
from mode_connectivity.reporting.published import load_published
from mode_connectivity.reporting.rendering import to_latex, to_markdown
from mode_connectivity.settings import UserError

EXAMPLES = 100
SECONDS = {1: 10.0, 2: 14.0, 3: 12.0, 4: 16.0}
DEEP = {1: [20, 22, 27, 31], 2: [18, 20], 4: [15]}
SIMPLEX = {1: [16, 19, 22, 27], 2: [15, 17], 4: [16]}


def method(label, wrong, *, dataset="Digits", members=1, nll=1.0, examples=EXAMPLES):
    """Ensembles that get the first ``wrong`` of 100 examples wrong: a list of runs a budget."""
    rows = [
        {
            "budget": budget,
            "run": run + 1,
            "seeds": " ".join(str(run * budget + k + 1) for k in range(budget)),
            "members": budget * members,
            **dict.fromkeys(MEANS, 30.0 + run),
            "test_error": 100 * count / examples,
            "test_nll": 2.0,
            "test_nll_scaled": nll / budget,
        }
        for budget, counts in wrong.items()
        for run, count in enumerate(counts)
    ]
    metrics = pd.DataFrame(rows)
    correct = np.arange(examples) >= [[count] for counts in wrong.values() for count in counts]
    likelihood = np.tile(np.linspace(-2.0, -0.5, examples), (len(rows), 1))
    return EvaluatedMethod(dataset, "VGG-16", label, metrics, correct, likelihood, likelihood)


def components(label, wrong, seconds=SECONDS, **options):
    return EvaluatedComponents(method(label, wrong, **options), seconds)


METHODS = [
    components("Deep ensemble", DEEP),
    components("2-simplex", SIMPLEX, {s: 1.5 * t for s, t in SECONDS.items()}, members=25, nll=0.5),
]


def rows_of(table, method, count):
    return table[(table["method"] == method) & (table["components"] == count)].iloc[0]


def test_a_row_a_method_and_number_of_components():
    table = component_table(METHODS, resamples=200)
    assert table["components"].tolist() == [1, 2, 4, 1, 2, 4]
    assert table["members"].tolist() == [1, 2, 4, 25, 50, 100]
    assert table["runs"].tolist() == [4, 2, 1, 4, 2, 1]
    assert table["test_error"].tolist() == [25.0, 19.0, 15.0, 21.0, 16.0, 16.0]
    assert table["interval"].tolist() == ["runs", "runs", "examples"] * 2
    row = rows_of(table, "Deep ensemble", 2)
    half = stats.t.ppf(0.975, 1) * 1.0  # Of 18 and 20: a standard error of 1.
    assert row["test_error_low"] == pytest.approx(19 - half)
    assert row["test_error_high"] == pytest.approx(19 + half)


def test_seconds_are_those_of_all_components():
    table = component_table(METHODS, resamples=50)
    # Seeds 1 and 2, 3 and 4 make the two runs of two components: 24 and 28 seconds.
    assert rows_of(table, "Deep ensemble", 1)["seconds"] == pytest.approx(13.0)
    assert rows_of(table, "Deep ensemble", 2)["seconds"] == pytest.approx(26.0)
    assert rows_of(table, "2-simplex", 4)["seconds"] == pytest.approx(78.0)


def test_what_other_methods_make_in_as_much_time():
    # Seconds: deep ensembles 13, 26, 52; simplexes 19.5, 39, 78; errors 25, 19, 15; 21, 16, 16.
    table = component_table(METHODS, resamples=50)
    shown = table[["affordable_test_error", "affordable"]].astype(object).fillna("")
    found = [tuple(row) for row in shown.values]
    assert found == [
        ("", ""),
        (21.0, "2-simplex, 1"),
        (16.0, "2-simplex, 2"),
        (25.0, "Deep ensemble, 1"),
        (19.0, "Deep ensemble, 2"),
        (15.0, "Deep ensemble, 4"),
    ]
    unknown = components("2-simplex", SIMPLEX, dict.fromkeys(SECONDS, float("nan")), members=25)
    table = component_table([METHODS[0], unknown], resamples=50)
    assert table["affordable"].isna().all()


def test_differences_are_to_the_first_method_over_the_same_seeds():
    table = component_table(METHODS, resamples=200)
    row = rows_of(table, "2-simplex", 1)
    differences = np.subtract(SIMPLEX[1], DEEP[1])
    half = stats.t.ppf(0.975, 3) * stats.sem(differences)
    assert row["compared_with"] == "Deep ensemble"
    assert row["test_error_difference"] == pytest.approx(-4.0)
    assert row["test_error_difference_low"] == pytest.approx(-4 - half)
    assert row["test_error_difference_interval"] == "paired runs"
    assert rows_of(table, "2-simplex", 4)["test_error_difference_interval"] == "examples"
    assert table.loc[table["method"] == "Deep ensemble", "test_error_difference"].isna().all()


def test_a_simplex_is_counted_in_single_networks():
    # Its scaled NLL of 0.5 is that of two networks.
    row = rows_of(component_table(METHODS, resamples=50), "2-simplex", 1)
    assert row["deep_ensemble_equivalent"] == pytest.approx(2.0)


def test_published_values_stand_beside_ours():
    counterparts = {("Digits", "VGG-16"): ("CIFAR-10", "VGG-16")}
    options = {"counterparts": counterparts, "resamples": 50}
    table = component_table(METHODS, published=load_published("benton2021_figure8"), **options)
    assert table["test_error_published"].tolist() == [6.95, 6.38, 5.99, 6.6, 6.09, 5.72]
    assert table["published_dataset"].unique().tolist() == ["CIFAR-10"]
    timed = component_table(METHODS, published=load_published("benton2021_figure_a7"), **options)
    row = rows_of(timed, "Deep ensemble", 2)
    assert (row["seconds_published"], row["test_error_published"]) == (12500.0, 6.38)
    assert "uncertain" in row["note_published"]
    assert timed["seconds_published"].isna().tolist() == [False, False, True] * 2
    text = to_markdown(timed, COMPONENT_LAYOUTS["benton2021_figure_a7"])
    assert "12500" in text and "uncertain" in text
    assert r"\toprule" in to_latex(table, COMPONENT_LAYOUTS["benton2021_figure8"])


def test_a_label_comes_once_a_network():
    with pytest.raises(UserError, match="two ensembles of one label"):
        component_table([METHODS[0], METHODS[0]])


def test_test_sets_of_different_sizes_are_refused():
    small = components("2-simplex", SIMPLEX, examples=50)
    with pytest.raises(UserError, match="examples"):
        component_table([METHODS[0], small])


def test_regularisation_is_ascending_with_its_volumes():
    simplexes = [
        RegularisedSimplexes(1e-4, method("b", {1: [20, 24]}, members=25), [2.0, 4.0]),
        RegularisedSimplexes(0.0, method("a", {1: [21]}, members=25), [-1.0]),
    ]
    table = regularisation_table(simplexes)
    assert table["regularisation"].tolist() == [0.0, 1e-4]
    assert table["test_error"].tolist() == [21.0, 22.0]
    assert table["interval"].tolist() == ["examples", "runs"]
    assert table["log10_volume"].tolist() == [-1.0, 3.0]
    assert table["log10_volume_min"].tolist() == [-1.0, 2.0]
    assert table["log10_volume_max"].tolist() == [-1.0, 4.0]
    assert table["member_test_error"].tolist() == [30.0, 30.5]


def stored(path, probabilities, labels):
    """The predictions of networks, from the probability of the second class [M, N]."""
    both = np.stack([1 - np.array(probabilities), np.array(probabilities)], axis=-1)
    tensors = {"log_probabilities": np.log(both).astype(np.float32), "labels": np.array(labels)}
    save_file(tensors, path)
    return StoredPredictions(path)


def test_samples_are_averaged_over_all_orders(tmp_path):
    probabilities = [[0.9, 0.8], [0.4, 0.7], [0.2, 0.1]]
    predictions = stored(tmp_path / "p.safetensors", probabilities, [1, 1])
    ensemble = SampledMembers("Digits", "VGG-16", "2-simplex", [(predictions, 3)])
    table = sample_errors([ensemble], orders=600)
    assert table["samples"].tolist() == [1, 2, 3]
    # Alone: 0, 50 and 100 % wrong. Pairs: (0.65, 0.75) 0 %, (0.55, 0.45) 50 %, (0.3, 0.4) 100 %.
    assert table["test_error"].tolist()[:2] == pytest.approx([50.0, 50.0], abs=5.0)
    assert table["test_error_low"].tolist()[:2] == [0.0, 0.0]
    assert table["test_error_high"].tolist()[:2] == [100.0, 100.0]


def test_all_samples_are_one_ensemble_in_any_order(tmp_path):
    # Means of 0.6 and 0.4: the second example is wrong.
    probabilities = [[0.9, 0.7], [0.7, 0.3], [0.2, 0.2]]
    predictions = stored(tmp_path / "p.safetensors", probabilities, [1, 1])
    table = sample_errors([SampledMembers("Digits", "VGG-16", "x", [(predictions, 3)])])
    last = table.iloc[2]
    assert last[["test_error", "test_error_low", "test_error_high"]].tolist() == [50.0] * 3


def test_only_the_first_samples_of_each_component_count(tmp_path):
    right, wrong = [0.9, 0.9], [0.1, 0.1]
    first = stored(tmp_path / "a.safetensors", [right, right, wrong], [1, 1])
    second = stored(tmp_path / "b.safetensors", [wrong, wrong, wrong], [1, 1])
    ensemble = SampledMembers("Digits", "VGG-16", "x", [(first, 2), (second, 2)])
    table = sample_errors([ensemble], orders=3)
    assert table["test_error"].tolist() == [50.0, 50.0]
    assert table["components"].tolist() == [2, 2]
    # No order matters; how different the components are does not widen the range.
    assert table["test_error_low"].tolist() == table["test_error_high"].tolist() == [50.0, 50.0]


def test_more_samples_than_there_are(tmp_path):
    predictions = stored(tmp_path / "p.safetensors", [[0.9, 0.9]], [1, 1])
    with pytest.raises(UserError, match="1 samples, but 2"):
        sample_errors([SampledMembers("Digits", "VGG-16", "x", [(predictions, 2)])])
