"""The loop on two spirals and a regression."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from mode_connectivity.data.settings import RegressionSettings, TwoSpiralsSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.evaluation.metrics import measure_test
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.networks import open_workspace, train_network
from mode_connectivity.training.recipes import RecipeSettings


def train(settings, network: dict, training: dict, folder: Path, seed: int = 1):
    dataset = folder / "dataset.safetensors"
    prepare(settings, data_root=folder, download=False, output=dataset)
    recipe = RecipeSettings(
        dataset="d", network=network, initialisation={"scheme": "torch"}, training=training
    )
    history = train_network(
        recipe,
        seed=seed,
        dataset=dataset,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
        snapshots=folder / "snapshots",
        device=torch.device("cpu"),
        test=lambda network, examples: measure_test(network, examples, batch_size=100),
    )
    return history, open_workspace(recipe, dataset, torch.device("cpu"))


def test_the_networks_of_figure_7_learn_the_spirals(tmp_path) -> None:
    """Benton et al. 2021, section 5.3: 200 iterations of Adam on all 100 points."""
    history, workspace = train(
        TwoSpiralsSettings(title="T", source="two_spirals", lattice_step=5.0),
        {"name": "fully_connected", "hidden": [25] * 7},
        {
            "epochs": 200,
            "batch_size": 100,
            "learning_rate": 0.01,
            "optimiser": {"name": "adam", "weight_decay": 1e-4},
            "schedule": {"name": "constant"},
            "record_test": True,
        },
        tmp_path,
    )
    assert len(workspace.flat) == 4_001
    assert history["iteration"].iloc[-1] == 200
    assert history["train_error"].iloc[0] > 30
    assert history["train_error"].iloc[-1] == 0
    assert history["train_nll"].iloc[-1] < 0.01
    assert history["test_error"].iloc[-1] < 20
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), history)


def test_a_regression_against_gradient_descent_by_hand(tmp_path) -> None:
    """A linear model on x, one full batch a step: half the mean squared error."""
    settings = RegressionSettings(
        title="T", source="regression", intervals=[[-1.0, 1.0]], counts=[50], noise_variance=0.2
    )
    history, workspace = train(
        settings,
        {"name": "fully_connected", "hidden": []},
        {
            "epochs": 40,
            "batch_size": 50,
            "learning_rate": 0.3,
            "optimiser": {"momentum": 0.0},
            "schedule": {"name": "constant"},
            "record_test": True,
            "snapshots": [0],
        },
        tmp_path,
    )
    assert [name for name in history if name.startswith(("train", "test"))] == [
        *("train_nll", "train_rmse", "test_nll", "test_rmse")
    ]
    train_set = workspace.dataset.train
    x, y = train_set.inputs[:, 0].double().numpy(), train_set.targets.double().numpy()
    design = np.column_stack([x, np.ones(50)])
    step = np.eye(2) - 0.3 * design.T @ design / 50
    drawn, _ = load_tensors(tmp_path / "snapshots" / "epoch0.safetensors")
    first = np.array([drawn["output.weight"].item(), drawn["output.bias"].item()])
    optimum = np.linalg.lstsq(design, y, rcond=None)[0]
    residual = np.mean((design @ optimum - y) ** 2)
    offsets = [np.linalg.matrix_power(step, steps) @ (first - optimum) for steps in range(40)]
    expected = [np.sqrt(residual + np.mean((design @ offset) ** 2)) for offset in offsets]
    np.testing.assert_allclose(history["train_rmse"], expected, rtol=1e-5)
    nll = 0.5 * (np.square(history["train_rmse"]) / 0.2 + np.log(2 * np.pi * 0.2))
    np.testing.assert_allclose(history["train_nll"], nll)
    assert history["test_rmse"].iloc[-1] == pytest.approx(history["train_rmse"].iloc[-1], rel=0.5)
