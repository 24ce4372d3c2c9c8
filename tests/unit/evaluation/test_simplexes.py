import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from mode_connectivity.evaluation.curves import evaluate_network
from mode_connectivity.evaluation.planes import PlaneSource, evaluate_plane
from mode_connectivity.evaluation.settings import EvaluationSettings, PlaneSettings
from mode_connectivity.evaluation.simplexes import SimplexSource, evaluate_simplex, simplex_points
from mode_connectivity.training.networks import load_weights
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.training.simplexes import FORMAT
from mode_connectivity.training.vertices import save_vertices
from mode_connectivity.weight_space.planes import Plane

TRAINING = {"epochs": 1, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
SETTINGS = EvaluationSettings(batch_size=32)
MODES = ["a/1", "a/2"]


def settings(**changes) -> SimplexSettings:
    return SimplexSettings.model_validate(
        {"modes": MODES, "connectors": 2, "training": TRAINING, "points": 6, **changes}
    )


@pytest.fixture
def stored(make_networks, tmp_path):
    """Networks, the first two of which are the modes of a complex of all four."""

    def make(network: str):
        networks = make_networks(network, 4)
        path = tmp_path / "vertices.safetensors"
        labels = '["w0", "w1", "t1", "t2"]'
        metadata = {"format": FORMAT, "labels": labels}
        save_vertices(path, networks.vertices, networks.workspace, metadata)
        return networks, SimplexSource(vertices=path, modes=networks.paths[:2])

    return make


def run(networks, source, folder, connectors, chosen=None) -> pd.DataFrame:
    evaluate_simplex(
        chosen or settings(),
        source,
        connectors,
        networks.workspace,
        SETTINGS,
        seed=3,
        grid=folder / "grid.csv",
        fingerprint="job",
    )
    return pd.read_csv(folder / "grid.csv")


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
@pytest.mark.parametrize("connectors", [1, 2])
def test_points_are_drawn_and_measured(stored, tmp_path, network, connectors) -> None:
    networks, source = stored(network)
    grid = run(networks, source, tmp_path / "out", connectors)
    names = [f"coefficient_{k}" for k in range(2 + connectors)]
    measured = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]
    assert list(grid) == ["sample", *names, "norm", *measured]
    assert grid["sample"].tolist() == [1, 2, 3, 4, 5, 6]
    rows = grid[names].to_numpy()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    # In one of the two simplexes each, which share all connectors.
    assert ((rows[:, 0] == 0) != (rows[:, 1] == 0)).all()
    assert {*(rows[:, 0] == 0)} == {True, False}
    assert (rows[:, 2:] > 0).all()
    points = rows @ networks.vertices[: 2 + connectors].double().numpy()
    np.testing.assert_allclose(grid["norm"], np.linalg.norm(points, axis=1), rtol=1e-5)
    penalty = 0.01 * grid["norm"] ** 2
    np.testing.assert_allclose(grid["test_loss"], grid["test_nll"] + penalty)
    stored_files = safetensors.torch.load_file(tmp_path / "out" / "predictions.safetensors")
    log_probabilities, labels = stored_files["log_probabilities"], stored_files["labels"]
    assert log_probabilities.shape == (6, 45, 4)
    nll = -log_probabilities[:, torch.arange(45), labels].double().mean(dim=1)
    np.testing.assert_allclose(grid["test_nll"], nll, rtol=1e-5)
    assert not (tmp_path / "out" / ".progress").exists()


def test_the_same_seed_draws_the_same_points(stored) -> None:
    networks, source = stored("plain")
    drawn = []
    for connectors, seed in ((2, 3), (2, 3), (2, 4), (1, 3)):
        family, numbers = simplex_points(
            settings(), source, connectors, networks.workspace, seed=seed
        )
        drawn.append(family.coefficients(numbers))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[3].shape == (6, 3)


def test_simplexes_are_chosen_by_volume_where_asked(stored, tmp_path) -> None:
    networks, source = stored("plain")
    # The second mode stands where the connector is: its simplex has next to no volume.
    networks.vertices[1] = networks.vertices[2] + 1e-6
    labels = '["w0", "w1", "t1", "t2"]'
    save_vertices(
        source.vertices,
        networks.vertices,
        networks.workspace,
        {"format": FORMAT, "labels": labels},
    )
    by_volume = settings(choose_simplex="by_volume", points=200)
    family, numbers = simplex_points(by_volume, source, 1, networks.workspace, seed=1)
    assert (family.coefficients(numbers)[:, 0] > 0).all()


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_without_connectors_the_points_are_the_modes(stored, tmp_path, network) -> None:
    networks, source = stored(network)
    grid = run(networks, SimplexSource(modes=source.modes), tmp_path / "out", 0)
    assert grid["sample"].tolist() == [1, 2]
    assert grid[["coefficient_0", "coefficient_1"]].to_numpy().tolist() == [[1, 0], [0, 1]]
    found = safetensors.torch.load_file(tmp_path / "out" / "predictions.safetensors")
    workspace = networks.workspace
    for index, path in enumerate(source.modes):
        load_weights(path, workspace.network, workspace.flat, workspace.flat.vector)
        evaluate_network(
            workspace,
            settings().training,
            SETTINGS,
            metrics=tmp_path / f"alone{index}" / "metrics.csv",
            fingerprint="job",
        )
        folder = tmp_path / f"alone{index}"
        alone = safetensors.torch.load_file(folder / "predictions.safetensors")
        own = found["log_probabilities"][index]
        assert torch.equal(own, alone["log_probabilities"][0])
        metrics = pd.read_csv(folder / "metrics.csv")
        assert metrics.iloc[0].to_dict() == grid.iloc[index][list(metrics)].to_dict()


def test_the_training_set_may_be_left_out(stored, tmp_path) -> None:
    networks, source = stored("batch_norm")
    whole = run(networks, source, tmp_path / "whole", 2)
    part = run(networks, source, tmp_path / "part", 2, settings(measure_train=False))
    assert not [name for name in part if name.startswith("train")]
    pd.testing.assert_frame_equal(part, whole[list(part)])


def test_vertices_are_needed(stored) -> None:
    networks, source = stored("plain")
    assert source.files == [source.vertices]
    without = SimplexSource(modes=source.modes)
    assert without.files == source.modes
    with pytest.raises(ValueError, match="comes from its vertices"):
        simplex_points(settings(), without, 1, networks.workspace, seed=1)


def test_a_plane_through_vertices(stored, tmp_path) -> None:
    networks, source = stored("plain")
    texts = ["complex/1:w0", "complex/1:t1", "a/4"]
    evaluate_plane(
        PlaneSettings(start=texts[0], end=texts[1], third=texts[2], points=3),
        PlaneSource(source.vertices, source.vertices, networks.paths[3], None),
        networks.workspace,
        settings().training,
        SETTINGS,
        grid=tmp_path / "grid.csv",
        points=tmp_path / "points.csv",
        fingerprint="job",
    )
    points = pd.read_csv(tmp_path / "points.csv")
    assert points["label"].tolist() == texts
    assert points["kind"].tolist() == ["endpoint", "connector", "endpoint"]
    plane = Plane(networks.vertices[[0, 2, 3]])
    expected = [[0, 0], [plane.width, 0], [plane.shift, plane.height]]
    np.testing.assert_allclose(points[["x", "y"]], expected, rtol=1e-6, atol=1e-6)
