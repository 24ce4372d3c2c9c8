"""Ensembles of points of complexes, from what was stored of each."""

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.ensembling.predictions import JoinedPredictions, StoredPredictions
from mode_connectivity.ensembling.simplexes import evaluate_simplex_ensemble
from mode_connectivity.settings import UserError

LABELS = np.array([0, 2, 1, 0, 1, 2, 2])
SEEDS = [3, 1, 2]


def write(folder, seed: int, points: int, labels=LABELS) -> np.ndarray:
    logits = np.random.default_rng(seed).normal(size=(points, len(labels), 3)).astype(np.float32)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    folder.mkdir(parents=True)
    save_file(
        {"log_probabilities": log_probabilities, "labels": labels},
        folder / "predictions.safetensors",
    )
    nll = -log_probabilities[:, np.arange(len(labels)), labels].mean(axis=1)
    grid = pd.DataFrame({"sample": range(1, points + 1), "coefficient_0": 0.5, "norm": 1.0})
    grid.assign(test_loss=nll + 1, test_nll=nll, test_error=0.0).to_csv(
        folder / "grid.csv", index=False
    )
    return log_probabilities


def evaluate(folder, points=None, budgets=(1, 2, 3)) -> tuple[pd.DataFrame, pd.DataFrame]:
    evaluate_simplex_ensemble(
        "espro",
        2,
        [folder / f"{seed}" / "grid.csv" for seed in SEEDS],
        [folder / f"{seed}" / "predictions.safetensors" for seed in SEEDS],
        points=points,
        seeds=SEEDS,
        budgets=list(budgets),
        members=folder / "members.csv",
        metrics=folder / "metrics.csv",
        ensembles=folder / "ensembles.safetensors",
    )
    return (
        pd.read_csv(folder / "members.csv"),
        pd.read_csv(folder / "metrics.csv", dtype={"seeds": str}),
    )


@pytest.mark.parametrize("points", [None, 2])
def test_a_seed_is_a_component_with_its_points_as_members(tmp_path, points) -> None:
    stored = {seed: write(tmp_path / f"{seed}", seed, 4) for seed in SEEDS}
    members, metrics = evaluate(tmp_path, points)
    count = points or 4
    assert members["member"].tolist()[: count + 1] == [
        *(f"espro/3:2:{n}" for n in range(1, count + 1)),
        "espro/1:2:1",
    ]
    assert members["seed"].tolist() == [seed for seed in SEEDS for _ in range(count)]
    assert list(members)[1:5] == ["simplex", "seed", "connectors", "sample"]
    assert metrics[["budget", "seeds", "members"]].to_numpy().tolist() == [
        [1, "3", count],
        [1, "1", count],
        [1, "2", count],
        [2, "3 1", 2 * count],
        [3, "3 1 2", 3 * count],
    ]
    for row in metrics.itertuples():
        chosen = [stored[int(seed)][:count] for seed in row.seeds.split()]
        mean = np.exp(np.concatenate(chosen).astype(np.float64)).mean(axis=0)
        expected = -np.log(mean[np.arange(len(LABELS)), LABELS]).mean()
        assert row.test_nll == pytest.approx(expected)
        assert row.test_error == pytest.approx(100 * np.mean(mean.argmax(axis=1) != LABELS))


def test_single_members_are_a_deep_ensemble_to_the_bit(tmp_path) -> None:
    stored = [write(tmp_path / f"{seed}", seed, 1) for seed in SEEDS]
    members, _ = evaluate(tmp_path)
    deep = tmp_path / "deep"
    deep.mkdir()
    save_file(
        {"log_probabilities": np.concatenate(stored), "labels": LABELS},
        deep / "predictions.safetensors",
    )
    members.to_csv(deep / "members.csv", index=False)
    evaluate_ensemble(
        deep / "members.csv",
        deep / "predictions.safetensors",
        seeds=SEEDS,
        budgets=[1, 2, 3],
        metrics=deep / "metrics.csv",
        ensembles=deep / "ensembles.safetensors",
    )
    for name in ("metrics.csv", "ensembles.safetensors"):
        assert (deep / name).read_bytes() == (tmp_path / name).read_bytes()


def test_more_points_than_there_are(tmp_path) -> None:
    for seed in SEEDS:
        write(tmp_path / f"{seed}", seed, 4)
    with pytest.raises(UserError, match=r"4 points, but 5 .* raise the points of simplex espro"):
        evaluate(tmp_path, 5)


def test_joined_predictions_are_of_one_test_set(tmp_path) -> None:
    first = write(tmp_path / "1", 1, 3)
    second = write(tmp_path / "2", 2, 3)
    write(tmp_path / "3", 3, 3, labels=LABELS[::-1].copy())
    paths = [tmp_path / f"{seed}" / "predictions.safetensors" for seed in (1, 2, 3)]
    joined = JoinedPredictions(paths[:2], [2, 3])
    assert isinstance(joined, StoredPredictions)
    assert len(joined) == 5
    np.testing.assert_array_equal(np.stack(list(joined)), np.concatenate([first[:2], second]))
    with pytest.raises(UserError, match="other labels"):
        JoinedPredictions(paths, [3, 3, 3])
    with pytest.raises(UserError, match="no network 3; it holds 3"):
        JoinedPredictions(paths[:2], [3, 4])
