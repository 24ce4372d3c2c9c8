"""Ensembles at a budget, against hand calculations."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file, save_file

from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.evaluation.calibration import (
    cross_fitted_log_probabilities,
    expected_calibration_error,
)
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors

# Probability of class 0 that each network gives to four examples; the labels are 0, 0, 1, 1.
LABELS = np.array([0, 0, 1, 1])
OF_CLASS_0 = {
    (1, 10): [0.9, 0.4, 0.2, 0.4],
    (1, 20): [0.7, 0.2, 0.4, 0.2],
    (2, 10): [0.6, 0.9, 0.3, 0.7],
    (2, 20): [0.8, 0.7, 0.1, 0.9],
    (3, 10): [0.1, 0.6, 0.6, 0.3],
    (3, 20): [0.3, 0.6, 0.8, 0.1],
}


def write(folder, networks=OF_CLASS_0, labels=LABELS):
    of_class_0 = np.array(list(networks.values()))
    probabilities = np.stack([of_class_0, 1 - of_class_0], axis=-1)
    nll = -np.log(probabilities[:, np.arange(4), labels]).mean(axis=1)
    save_file(
        {"log_probabilities": np.log(probabilities).astype(np.float32), "labels": labels},
        folder / "predictions.safetensors",
    )
    table = pd.DataFrame(
        {
            "member": [f"digits/{seed}@{epoch}" for seed, epoch in networks],
            "recipe": "digits",
            "seed": [seed for seed, _ in networks],
            "epoch": [epoch for _, epoch in networks],
            "test_nll": nll,
        }
    )
    table.to_csv(folder / "members.csv", index=False)
    return table


def evaluate(folder, seeds=(1, 2, 3), budgets=(1, 2, 3)):
    evaluate_ensemble(
        folder / "members.csv",
        folder / "predictions.safetensors",
        seeds=seeds,
        budgets=budgets,
        metrics=folder / "metrics.csv",
        ensembles=folder / "ensembles.safetensors",
    )
    return (
        pd.read_csv(folder / "metrics.csv", dtype={"seeds": str}),
        load_file(folder / "ensembles.safetensors"),
    )


def test_budgets_are_groups_of_consecutive_seeds(tmp_path):
    write(tmp_path, {**OF_CLASS_0, (4, 10): [0.5] * 4, (4, 20): [0.5] * 4})
    metrics, _ = evaluate(tmp_path, seeds=[3, 1, 2, 4])
    assert metrics[["budget", "run", "seeds", "members"]].to_numpy().tolist() == [
        [1, 1, "3", 2],
        [1, 2, "1", 2],
        [1, 3, "2", 2],
        [1, 4, "4", 2],
        [2, 1, "3 1", 4],
        [2, 2, "2 4", 4],
        [3, 1, "3 1 2", 6],
    ]


def test_metrics_by_hand(tmp_path):
    write(tmp_path)
    metrics, ensembles = evaluate(tmp_path)
    columns = ["test_nll", "test_brier", "test_ece_equal_width", "test_ece_equal_count"]
    assert list(metrics) == [
        "budget",
        "run",
        "seeds",
        "members",
        "test_error",
        *columns,
        *(f"{column}_scaled" for column in columns),
        "temperature",
        "disagreement",
        "member_test_error",
        "member_test_nll",
    ]
    # The mean of the first seed's networks: 0.8, 0.3, 0.3, 0.3; one example of four is wrong.
    mean = np.array([0.8, 0.3, 0.3, 0.3])
    true_class = np.array([0.8, 0.3, 0.7, 0.7])
    first = metrics.iloc[0]
    assert first["test_error"] == 25
    assert first["test_nll"] == pytest.approx(-np.log(true_class).mean())
    assert first["test_brier"] == pytest.approx(np.mean(2 * (1 - true_class) ** 2))
    assert first["test_ece_equal_width"] == pytest.approx(
        # The three of confidence 0.7 share a bin.
        100 * (abs(0.8 - 1) + abs(3 * 0.7 - 2)) / 4,
        rel=1e-5,
    )
    probabilities = np.stack([mean, 1 - mean], axis=1)
    assert first["test_ece_equal_count"] == pytest.approx(
        expected_calibration_error(probabilities, LABELS, bins=20, binning="equal_count"), rel=1e-5
    )
    # The two networks agree on everything, and are both wrong on the second example.
    assert (first["disagreement"], first["member_test_error"]) == (0, 25)
    assert metrics.loc[3, "disagreement"] == pytest.approx(
        100 * np.mean([0, 0.5, 0.5, 0.5, 0.5, 0])
    )
    singles = [
        -np.log([row[0], row[1], 1 - row[2], 1 - row[3]]).mean() for row in OF_CLASS_0.values()
    ]
    assert first["member_test_nll"] == pytest.approx(np.mean(singles[:2]), rel=1e-6)
    assert metrics.loc[4, "member_test_nll"] == pytest.approx(np.mean(singles), rel=1e-6)

    assert ensembles["examples"].tolist() == [4]
    correct = np.unpackbits(ensembles["correct"], axis=1, count=4)
    assert correct[0].tolist() == [1, 0, 1, 1]
    np.testing.assert_allclose(100 * (1 - correct.mean(axis=1)), metrics["test_error"])
    np.testing.assert_allclose(ensembles["log_likelihood"][0], np.log(true_class), rtol=1e-6)


def test_scaled_metrics_are_means_over_random_halves(tmp_path):
    write(tmp_path)
    metrics, ensembles = evaluate(tmp_path)
    mean = np.array(list(OF_CLASS_0.values()))[:4].mean(axis=0)
    logits = np.log(np.stack([mean, 1 - mean], axis=1))
    fits = list(cross_fitted_log_probabilities(logits, LABELS))
    own = np.array([fit.log_probabilities[np.arange(4), LABELS] for fit in fits])
    row = metrics[metrics["budget"] == 2].iloc[0]
    assert row["temperature"] == pytest.approx(np.mean([fit.temperature for fit in fits]), rel=1e-3)
    assert row["test_nll_scaled"] == pytest.approx(-own.mean(), rel=1e-3)
    assert row["test_brier_scaled"] == pytest.approx(np.mean(2 * (1 - np.exp(own)) ** 2), rel=1e-3)
    scaled = ensembles["log_likelihood_scaled"]
    np.testing.assert_allclose(scaled[3], own.mean(axis=0), rtol=1e-3)
    np.testing.assert_allclose(-scaled.mean(axis=1), metrics["test_nll_scaled"], rtol=1e-5)


def test_one_network_has_nothing_to_disagree_with(tmp_path):
    write(tmp_path, {key: row for key, row in OF_CLASS_0.items() if key[1] == 10})
    metrics, _ = evaluate(tmp_path, budgets=[1])
    assert metrics["disagreement"].isna().all()
    assert (metrics["member_test_error"] == metrics["test_error"]).all()


def test_probabilities_that_underflow_stay_finite(tmp_path):
    write(tmp_path)
    log_probabilities = np.zeros((6, 4, 2), dtype=np.float32)
    log_probabilities[..., 1] = -2000
    path = tmp_path / "predictions.safetensors"
    save_file({"log_probabilities": log_probabilities, "labels": LABELS}, path)
    table = pd.read_csv(tmp_path / "members.csv").assign(test_nll=1000.0)
    table.to_csv(tmp_path / "members.csv", index=False)
    metrics, ensembles = evaluate(tmp_path)
    assert np.isfinite(metrics["test_nll_scaled"]).all()
    assert np.isfinite(ensembles["log_likelihood"]).all()


def test_files_are_checked_and_the_same_each_time(tmp_path):
    write(tmp_path)
    evaluate(tmp_path)
    path = tmp_path / "ensembles.safetensors"
    before = path.read_bytes(), (tmp_path / "metrics.csv").read_bytes()
    tensors, _ = load_tensors(path, foreign=False)
    assert tensors["log_likelihood"].dtype == torch.float32
    assert tensors["correct"].dtype == torch.uint8
    evaluate(tmp_path)
    assert before == (path.read_bytes(), (tmp_path / "metrics.csv").read_bytes())


def test_missing_members_are_named(tmp_path):
    with pytest.raises(UserError, match="no such file; collect the members"):
        evaluate(tmp_path)
    table = write(tmp_path, dict(list(OF_CLASS_0.items())[:5]))
    with pytest.raises(UserError, match="seed 1: 2, seed 2: 2, seed 3: 1"):
        evaluate(tmp_path)
    with pytest.raises(UserError, match="seed 1: 2, seed 4: 0"):
        evaluate(tmp_path, seeds=[1, 4], budgets=[1])
    with pytest.raises(UserError, match="budget 3 needs 3 seeds; from 1 to 2"):
        evaluate(tmp_path, seeds=[1, 2])
    table.iloc[:4].to_csv(tmp_path / "members.csv", index=False)
    with pytest.raises(UserError, match=r"predictions of 5 members, but .* lists 4"):
        evaluate(tmp_path, seeds=[1, 2], budgets=[1])
    table.drop(columns="seed").to_csv(tmp_path / "members.csv", index=False)
    with pytest.raises(UserError, match="no column seed"):
        evaluate(tmp_path)


def test_members_in_another_order_than_the_predictions_are_noticed(tmp_path):
    table = write(tmp_path)
    table.iloc[::-1].to_csv(tmp_path / "members.csv", index=False)
    with pytest.raises(UserError, match="predictions of digits/3@20 have a test NLL of"):
        evaluate(tmp_path)


def test_a_diverged_member_is_named(tmp_path):
    write(tmp_path, {**OF_CLASS_0, (2, 20): [np.nan] * 4})
    with pytest.raises(UserError, match="predictions of digits/2@20 are not numbers"):
        evaluate(tmp_path)


def test_evaluation_does_not_load_pytorch(tmp_path):
    write(tmp_path)
    code = f"""
import sys
from pathlib import Path
from mode_connectivity.ensembling.evaluation import evaluate_ensemble
folder = Path({str(tmp_path)!r})
evaluate_ensemble(folder / "members.csv", folder / "predictions.safetensors", seeds=[1, 2, 3],
    budgets=[1], metrics=folder / "metrics.csv", ensembles=folder / "ensembles.safetensors")
sys.exit("torch" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_log_says_how_many_ensembles_are_evaluated(tmp_path, told):
    write(tmp_path)
    evaluate(tmp_path)
    # Three of one budget, one of two, one of three.
    assert told() == [f"ensemble {k}/5" for k in range(1, 6)]
