"""Regressions and two spirals through the evaluator, and networks as functions."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from mode_connectivity.data.settings import RegressionSettings, TwoSpiralsSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.evaluation.curves import evaluate_network, write_predictions
from mode_connectivity.evaluation.evaluator import evaluate
from mode_connectivity.evaluation.functions import function_values, write_function_values
from mode_connectivity.evaluation.metrics import measure, measure_test
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.networks import Workspace, open_workspace
from mode_connectivity.training.objectives import objective_of
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Polychain, unit_grid

TRAINING = {"epochs": 1, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
PROBLEMS = {
    "regression": (
        RegressionSettings(title="T", source="regression", counts=[9, 7, 5]),
        {"name": "regression_mlp", "hidden": [8, 6]},
    ),
    "two_spirals": (
        TwoSpiralsSettings(title="T", source="two_spirals", train_per_class=8, lattice_step=4.0),
        {"name": "fully_connected", "hidden": [8, 6]},
    ),
}


@pytest.fixture
def open_problem(tmp_path: Path):
    def open_(name: str, seed: int = 1) -> Workspace:
        settings, network = PROBLEMS[name]
        path = tmp_path / f"{name}.safetensors"
        if not path.exists():
            prepare(settings, data_root=tmp_path, download=False, output=path)
        recipe = RecipeSettings(dataset=name, network=network, training=TRAINING)
        return open_workspace(recipe, path, torch.device("cpu"), seed=seed)

    return open_


@pytest.fixture
def segment(open_problem):
    def between(name: str) -> tuple[Workspace, Polychain]:
        workspace = open_problem(name)
        ends = [open_problem(name, seed).flat.vector.clone() for seed in (1, 2)]
        return workspace, Polychain(torch.stack(ends))

    return between


def run(workspace: Workspace, curve: Polychain, points: int = 3):
    return evaluate(
        workspace.network,
        workspace.flat,
        curve,
        unit_grid(points),
        workspace.dataset,
        EvaluationSettings(batch_size=6),
        weight_decay=0.02,
        augmentation=TrainingSettings(**TRAINING).augmentation,
        seed=0,
        predictions=True,
    )


def test_a_grid_of_a_regression_by_hand(segment, tmp_path) -> None:
    workspace, curve = segment("regression")
    found = run(workspace, curve)
    names = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "rmse")]
    assert list(found.grid.columns) == ["t", "coefficient_0", "coefficient_1", "norm", *names]
    for index, row in found.grid.iterrows():
        curve.write(found.coefficients[index].tolist(), workspace.flat.vector)
        for part, examples in workspace.dataset.parts.items():
            with torch.inference_mode():
                values = workspace.network(examples.inputs)[:, 0].double().numpy()
            targets = examples.targets.double().numpy()
            assert row[f"{part}_rmse"] == pytest.approx(math.sqrt(np.mean((values - targets) ** 2)))
            nll = -norm.logpdf(targets, values, math.sqrt(0.05))
            assert row[f"{part}_nll"] == pytest.approx(nll.mean(), rel=1e-5)
            penalty = 0.01 * row["norm"] ** 2
            assert row[f"{part}_loss"] == pytest.approx(nll.mean() + penalty, rel=1e-5)
        np.testing.assert_allclose(found.log_probabilities[index, :, 0], values, rtol=1e-5)
        within = np.abs(values - targets) <= norm.ppf(0.975) * math.sqrt(0.05)
        correct = np.unpackbits(found.correct[index].numpy())[: len(targets)]
        np.testing.assert_array_equal(correct, within)
    write_predictions(found, workspace.dataset.test.targets, tmp_path, True)
    stored, _ = load_tensors(tmp_path / "predictions.safetensors")
    assert torch.equal(stored["values"], found.log_probabilities[..., 0])
    assert torch.equal(stored["targets"], workspace.dataset.test.targets)


def test_a_grid_of_one_logit_has_the_probabilities_of_two_classes(segment) -> None:
    workspace, curve = segment("two_spirals")
    found = run(workspace, curve)
    assert found.log_probabilities.shape == (3, 200, 2)
    total = found.log_probabilities.exp().sum(dim=2)
    torch.testing.assert_close(total, torch.ones_like(total))
    curve.write(found.coefficients[1].tolist(), workspace.flat.vector)
    test = workspace.dataset.test
    with torch.inference_mode():
        logits = workspace.network(test.inputs)[:, 0]
    torch.testing.assert_close(found.log_probabilities[1, :, 1].exp(), logits.sigmoid())
    errors = 100 * ((logits > 0).long() != test.targets).double().mean().item()
    assert found.grid["test_error"].iloc[1] == pytest.approx(errors)
    nll = torch.nn.functional.binary_cross_entropy_with_logits(logits, test.targets.float())
    assert found.grid["test_nll"].iloc[1] == pytest.approx(nll.item(), rel=1e-5)


def test_measured_in_the_midst_of_a_training(open_problem) -> None:
    for name, error in (("regression", "rmse"), ("two_spirals", "error")):
        workspace = open_problem(name)
        test = workspace.dataset.test
        found = measure_test(workspace.network, test, batch_size=7)
        whole = measure(
            workspace.network, test.prepared_batches(1000), objective=objective_of(test)
        )
        assert list(found) == ["test_nll", f"test_{error}"]
        assert found[f"test_{error}"] == pytest.approx(whole.error)
        assert found["test_nll"] == pytest.approx(whole.nll)


def test_a_network_of_a_regression_in_files(open_problem, tmp_path) -> None:
    workspace = open_problem("regression")
    evaluate_network(
        workspace,
        TrainingSettings(**TRAINING),
        EvaluationSettings(),
        metrics=tmp_path / "evaluation" / "metrics.csv",
        fingerprint=0,
    )
    names = sorted(path.name for path in (tmp_path / "evaluation").iterdir())
    assert names == ["correct.safetensors", "metrics.csv", "predictions.safetensors"]


@pytest.mark.parametrize("name", PROBLEMS)
def test_function_values_are_the_networks_outputs(segment, monkeypatch, name, tmp_path) -> None:
    monkeypatch.setattr("mode_connectivity.evaluation.functions.BATCH_SIZE", 17)
    workspace, curve = segment(name)
    plot = workspace.dataset.plot
    values = function_values(curve, unit_grid(3), workspace)
    assert values.shape == (3, len(plot.inputs))
    for t, found in zip(unit_grid(3), values, strict=True):
        vector = (1 - t.item()) * curve.vertices[0] + t.item() * curve.vertices[1]
        workspace.flat.vector.copy_(vector)
        with torch.inference_mode():
            expected = workspace.network(plot.inputs)[:, 0]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    path = tmp_path / "function_values.safetensors"
    write_function_values(path, curve, unit_grid(3), workspace)
    stored, _ = load_tensors(path)
    assert torch.equal(stored["values"], values) and torch.equal(stored["inputs"], plot.inputs)
    train = workspace.dataset.train
    assert torch.equal(stored["train_inputs"], train.inputs)
    assert torch.equal(stored["train_targets"], train.targets)
    assert ("targets" in stored) == (name == "regression")
    if name == "regression":
        assert torch.equal(stored["targets"], plot.targets)


def test_images_are_not_shown_as_functions(make_workspace) -> None:
    workspace = make_workspace("plain")
    curve = Polychain(workspace.flat.vector.repeat(2, 1))
    with pytest.raises(UserError, match="two_spirals and regression"):
        function_values(curve, unit_grid(2), workspace)
