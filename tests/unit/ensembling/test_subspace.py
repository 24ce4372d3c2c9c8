from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm

from mode_connectivity.data.settings import RegressionSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.ensembling.settings import SubspaceEnsembleSettings
from mode_connectivity.ensembling.subspace import LogLikelihood, collect_subspace_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.networks import Workspace, open_workspace
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Bezier
from mode_connectivity.weight_space.subspaces import curve_subspace

TRAINING = TrainingSettings(epochs=1, learning_rate=0.1)
SETTINGS = EvaluationSettings(batch_size=8)


@pytest.fixture
def regression(tmp_path: Path) -> Workspace:
    data = RegressionSettings(title="T", source="regression", counts=[9, 7, 5])
    path = tmp_path / "regression.safetensors"
    prepare(data, data_root=tmp_path, download=False, output=path)
    network = {"name": "regression_mlp", "hidden": [4]}
    recipe = RecipeSettings(dataset="regression", network=network, training=TRAINING)
    return open_workspace(recipe, path, torch.device("cpu"), seed=1)


def bezier(workspace: Workspace) -> Bezier:
    generator = torch.Generator().manual_seed(1)
    return Bezier(0.3 * torch.randn(3, len(workspace.flat), generator=generator))


def collect(workspace: Workspace, folder: Path, functions: Path | None = None, **options):
    ensemble = SubspaceEnsembleSettings(
        method="subspace", curve="bezier", **({"samples": 6, "seed": 4} | options)
    )
    collect_subspace_members(
        bezier(workspace),
        ensemble,
        workspace,
        TRAINING,
        SETTINGS,
        table=folder / "members.csv",
        functions=functions,
        fingerprint=0,
    )
    return pd.read_csv(folder / "members.csv")


def test_the_likelihood_is_that_of_the_whole_training_set_tempered(regression) -> None:
    subspace = curve_subspace(bezier(regression))
    z = torch.tensor([0.4, -0.7], dtype=torch.float64)
    likelihood = LogLikelihood(subspace, regression, TRAINING, SETTINGS, temperature=0.75)
    found = likelihood(z)
    (row,) = subspace.coefficients(z.unsqueeze(0)).tolist()
    vector = sum(c * v for c, v in zip(row, subspace.vertices, strict=True))
    regression.flat.vector.copy_(vector)
    train = regression.dataset.train
    with torch.inference_mode():
        values = regression.network(train.inputs)[:, 0].double().numpy()
    expected = norm.logpdf(train.targets.double().numpy(), values, 0.05**0.5).sum() / 0.75
    assert found == pytest.approx(expected, rel=1e-4)


def test_members_of_a_regression(regression, tmp_path) -> None:
    functions = tmp_path / "ensemble" / "function_values.safetensors"
    table = collect(regression, tmp_path / "ensemble", functions)
    assert list(table.columns) == [
        *("member", "seed", "z1", "z2", "log_likelihood"),
        *("coefficient_0", "coefficient_1", "coefficient_2", "norm"),
        *("test_loss", "test_nll", "test_rmse"),
    ]
    assert table["member"].tolist() == [f"bezier#{k}" for k in range(6)]
    subspace = curve_subspace(bezier(regression))
    z = torch.from_numpy(table[["z1", "z2"]].to_numpy())
    coefficients = table[[f"coefficient_{k}" for k in range(3)]].to_numpy()
    np.testing.assert_allclose(coefficients, subspace.coefficients(z))
    likelihood = LogLikelihood(subspace, regression, TRAINING, SETTINGS, temperature=1.0)
    assert likelihood(z[3]) == pytest.approx(table["log_likelihood"][3])
    stored, _ = load_tensors(tmp_path / "ensemble" / "predictions.safetensors")
    residuals = stored["values"] - stored["targets"]
    rmse = residuals.double().square().mean(dim=1).sqrt()
    np.testing.assert_allclose(table["test_rmse"], rmse, rtol=1e-5)
    assert load_tensors(functions)[0]["values"].shape == (6, 100)


def test_the_seed_decides(regression, tmp_path) -> None:
    tables = [
        collect(regression, tmp_path / str(number), seed=seed)
        for number, seed in enumerate((4, 4, 5))
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0]["z1"].equals(tables[2]["z1"])


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_members_on_images_can_be_evaluated(make_workspace, tmp_path, network) -> None:
    workspace = make_workspace(network)
    table = collect(workspace, tmp_path, samples=4)
    assert "test_error" in table and not (tmp_path / "function_values.safetensors").exists()
    evaluate_ensemble(
        tmp_path / "members.csv",
        tmp_path / "predictions.safetensors",
        seeds=[4],
        budgets=[1],
        metrics=tmp_path / "metrics.csv",
        ensembles=tmp_path / "ensembles.safetensors",
    )
    assert pd.read_csv(tmp_path / "metrics.csv")["members"].tolist() == [4]


def test_a_log_says_which_sample_is_drawn(regression, tmp_path, told) -> None:
    collect(regression, tmp_path, samples=2)
    places = told()
    # The start, the two samples of the chain, then their measurement.
    assert places[:3] == ["example 8/21", "example 16/21", "example 21/21"]
    assert places[3] == "sample 1/2  example 8/21"
    short = [place for place in places if "example" not in place]
    assert short == ["sample 1/2", "sample 2/2", "point 1/2", "point 2/2"]
