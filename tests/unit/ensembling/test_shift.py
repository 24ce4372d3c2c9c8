"""Ensembles under shift, against hand calculations with NumPy."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save_file
from scipy.optimize import minimize_scalar

from mode_connectivity.ensembling.shift import evaluate_ensemble_under_shift
from mode_connectivity.evaluation.calibration import held_out_halves
from mode_connectivity.settings import UserError

SEEDS, SAMPLES, EXAMPLES, CLASSES = (1, 2, 3), 2, 31, 3
CORRUPTIONS = {"fog": "", "snow": "a line in place of ImageMagick's"}


def log_softmax(logits):
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


@pytest.fixture
def written(tmp_path):
    """Clean predictions of two members a seed, and of their means under two corruptions."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, EXAMPLES)
    truth = 2.5 * np.eye(CLASSES)[labels]
    clean = log_softmax(truth + random.normal(0, 1.5, (6, EXAMPLES, CLASSES))).astype(np.float32)
    save_file({"log_probabilities": clean, "labels": labels}, tmp_path / "predictions.safetensors")
    pd.DataFrame(
        {
            "member": [f"digits/{seed}@{sample}" for seed in SEEDS for sample in (10, 20)],
            "seed": np.repeat(SEEDS, SAMPLES),
            "test_nll": -clean[:, np.arange(EXAMPLES), labels].mean(axis=1),
        }
    ).to_csv(tmp_path / "members.csv", index=False)
    shifted = {}
    for name, reason in CORRUPTIONS.items():
        weights = np.linspace(1, 0.2, 5)[:, None, None, None]
        noise = random.normal(0, 1.5, (5, len(SEEDS), EXAMPLES, CLASSES))
        shifted[name] = log_softmax(weights * truth + noise).astype(np.float32)
        save_file(
            {
                "log_probabilities": shifted[name],
                "labels": labels,
                "seeds": np.array(SEEDS, dtype=np.int64),
            },
            tmp_path / f"{name}.safetensors",
            metadata={"source": "generated", "approximation": reason},
        )
    return clean.astype(float), shifted, labels


def evaluate(folder, seeds=SEEDS, budgets=(1, 2, 3), names=tuple(CORRUPTIONS), **options):
    evaluate_ensemble_under_shift(
        folder / "members.csv",
        folder / "predictions.safetensors",
        {name: folder / f"{name}.safetensors" for name in names},
        seeds=seeds,
        budgets=budgets,
        metrics=folder / "shift.csv",
        ensembles=folder / "shift.safetensors",
        **options,
    )
    frame = pd.read_csv(folder / "shift.csv", dtype={"seeds": str}, keep_default_na=False)
    return frame, load_file(folder / "shift.safetensors")


def calibration_error(probabilities, labels, bins):
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    order = np.argsort(confidence)
    return 100 * sum(
        len(part) / len(labels) * abs(confidence[part].mean() - correct[part].mean())
        for part in np.array_split(order, bins)
        if len(part)
    )


def test_columns_and_rows(tmp_path, written):
    frame, _ = evaluate(tmp_path)
    scores = ["test_nll", "test_brier", "test_ece_equal_width", "test_ece_equal_count"]
    assert list(frame) == [
        *("corruption", "severity", "budget", "run", "seeds", "members", "test_error", *scores),
        *(f"{name}_scaled" for name in scores),
        *("temperature", "exact", "source", "approximation"),
    ]
    # Three runs of one budget and one of two and of three, clean and at five severities of two.
    assert len(frame) == 5 * 11
    places = frame[["corruption", "severity"]].drop_duplicates().to_numpy().tolist()
    assert places == [["clean", 0], *([name, s] for name in CORRUPTIONS for s in range(1, 6))]
    first = frame.head(5)
    assert first["budget"].tolist() == [1, 1, 1, 2, 3]
    assert first["seeds"].tolist() == ["1", "2", "3", "1 2", "1 2 3"]
    assert first["members"].tolist() == [2, 2, 2, 4, 6]
    marks = frame.groupby("corruption")[["exact", "source", "approximation"]].first()
    assert marks.loc["clean"].tolist() == [True, "clean", ""]
    assert marks.loc["fog"].tolist() == [True, "generated", ""]
    assert marks.loc["snow"].tolist() == [False, "generated", CORRUPTIONS["snow"]]


def test_by_hand(tmp_path, written):
    clean, shifted, labels = written
    frame, arrays = evaluate(tmp_path)
    fitted, reported = held_out_halves(EXAMPLES)
    assert arrays["reported"].tolist() == reported.tolist()
    assert arrays["examples"].tolist() == [len(reported)]
    correct = np.unpackbits(arrays["correct"], axis=1, count=len(reported)).astype(bool)
    for index, row in frame.iterrows():
        chosen = [int(seed) - 1 for seed in row["seeds"].split()]
        members = [2 * seed + sample for seed in chosen for sample in (0, 1)]
        on_clean = np.exp(clean[members]).mean(axis=0)

        def nll(temperature, of_clean=on_clean):
            scaled = log_softmax(np.log(of_clean[fitted]) / temperature)
            return -scaled[np.arange(len(fitted)), labels[fitted]].mean()

        temperature = minimize_scalar(nll, bounds=(0.1, 10), method="bounded").x
        assert row["temperature"] == pytest.approx(temperature, rel=1e-3)
        probabilities = on_clean
        if row["severity"]:
            of_seeds = shifted[row["corruption"]][row["severity"] - 1, chosen]
            probabilities = np.exp(of_seeds.astype(float)).mean(axis=0)
        probabilities, own = probabilities[reported], labels[reported]
        scaled = log_softmax(np.log(probabilities) / row["temperature"])
        right = probabilities.argmax(axis=1) == own
        examples = np.arange(len(own))
        assert row["test_error"] == pytest.approx(100 * (1 - right.mean()))
        assert row["test_nll"] == pytest.approx(-np.log(probabilities[examples, own]).mean())
        assert row["test_nll_scaled"] == pytest.approx(-scaled[examples, own].mean())
        for suffix, law in (("", probabilities), ("_scaled", np.exp(scaled))):
            found = row[f"test_ece_equal_count{suffix}"]
            assert found == pytest.approx(calibration_error(law, own, bins=20), rel=1e-5)
        assert correct[index].tolist() == right.tolist()
        np.testing.assert_allclose(
            arrays["log_likelihood_scaled"][index], scaled[examples, own], rtol=1e-5, atol=1e-9
        )


def test_fewer_examples_are_the_first_ones(tmp_path, written):
    clean, shifted, labels = written
    for name in CORRUPTIONS:
        tensors = {"log_probabilities": shifted[name][:, :, :20].copy(), "labels": labels[:20]}
        tensors["seeds"] = np.array(SEEDS, dtype=np.int64)
        save_file(tensors, tmp_path / f"{name}.safetensors")
    frame, arrays = evaluate(tmp_path, budgets=[3])
    assert arrays["reported"].max() < 20
    own = arrays["reported"]
    probabilities = np.exp(clean).mean(axis=0)[own]
    error = 100 * (probabilities.argmax(axis=1) != labels[own]).mean()
    assert frame.loc[0, "test_error"] == pytest.approx(error)


def test_temperatures_are_not_reported_on_what_they_are_fitted_on(tmp_path, written):
    some, others = np.arange(0, 12), np.arange(11, 31)
    with pytest.raises(UserError, match=r"1 of the 20 examples .* number 11, .*held_out_halves"):
        evaluate(tmp_path, halves=(some, others))
    with pytest.raises(UserError, match="31 of the 31 examples"):
        evaluate(tmp_path, halves=(np.arange(31), np.arange(31)))
    with pytest.raises(UserError, match="0 examples to fit on and 20 to report"):
        evaluate(tmp_path, halves=(some[:0], others))
    assert not (tmp_path / "shift.csv").exists()
    frame, _ = evaluate(tmp_path, halves=(some[:-1], others))
    assert len(frame)


def test_the_same_each_time_and_whatever_the_other_corruptions(tmp_path, written):
    evaluate(tmp_path)
    before = [(tmp_path / f"shift.{kind}").read_bytes() for kind in ("csv", "safetensors")]
    evaluate(tmp_path)
    assert before == [(tmp_path / f"shift.{kind}").read_bytes() for kind in ("csv", "safetensors")]
    both = pd.read_csv(tmp_path / "shift.csv")
    alone, _ = evaluate(tmp_path, names=["snow"])
    own = both[both["corruption"] == "snow"]["test_nll_scaled"]
    assert alone[alone["corruption"] == "snow"]["test_nll_scaled"].tolist() == own.tolist()


def test_what_does_not_belong_together_is_refused(tmp_path, written):
    _, shifted, labels = written
    tensors = {"log_probabilities": shifted["fog"], "labels": (labels + 1) % CLASSES}
    tensors["seeds"] = np.array(SEEDS, dtype=np.int64)
    save_file(tensors, tmp_path / "fog.safetensors")
    with pytest.raises(UserError, match=r"fog\.safetensors: 31 examples whose labels are not"):
        evaluate(tmp_path)
    (tmp_path / "fog.safetensors").unlink()
    with pytest.raises(UserError, match=r"fog\.safetensors: no such file"):
        evaluate(tmp_path)
    table = pd.read_csv(tmp_path / "members.csv")
    table.head(4).to_csv(tmp_path / "members.csv", index=False)
    with pytest.raises(UserError, match=r"predictions of 6 members, but .* lists 4"):
        evaluate(tmp_path, names=["snow"])


def test_pytorch_is_not_loaded():
    code = (
        "import sys, mode_connectivity.ensembling.shift, mode_connectivity.reporting.shift_tables; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_log_says_how_many_conditions_are_evaluated(tmp_path, written, told):
    frame, _ = evaluate(tmp_path)
    assert told() == [f"condition {k}/{len(frame)}" for k in range(1, len(frame) + 1)]
