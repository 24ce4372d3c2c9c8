import numpy as np
import pandas as pd
import pytest
import torch

from mode_connectivity.evaluation.curves import evaluate_curve
from mode_connectivity.evaluation.planes import CURVE_POINTS, PlaneSource, evaluate_plane
from mode_connectivity.evaluation.settings import EvaluationSettings, PlaneSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.curves import save_curve
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Bezier, Polychain
from mode_connectivity.weight_space.planes import Plane

TRAINING = TrainingSettings.model_validate(
    {"epochs": 1, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
)
SETTINGS = EvaluationSettings(batch_size=32)
METRICS = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]


def run(
    networks, folder, *, third, curve=None, points=8, iterates=()
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A lattice of eight points a side has the corners of the triangle on it."""
    evaluate_plane(
        PlaneSettings(start="a/1", end="a/2", third="a/3", points=points, margin=0.2),
        PlaneSource(networks.paths[0], networks.paths[1], third, curve, iterates),
        networks.workspace,
        TRAINING,
        SETTINGS,
        grid=folder / "grid.csv",
        points=folder / "points.csv",
        fingerprint="job",
    )
    return pd.read_csv(folder / "grid.csv"), pd.read_csv(folder / "points.csv")


def curve_settings(kind: str) -> CurveSettings:
    return CurveSettings.model_validate(
        {"kind": kind, "start": "a/1", "end": "a/2", "training": TRAINING}
    )


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_three_networks(make_networks, tmp_path, network) -> None:
    networks = make_networks(network)
    grid, points = run(networks, tmp_path / "plane", third=networks.paths[2])
    plane = Plane(networks.vertices)
    assert list(grid.columns) == [
        "x",
        "y",
        "alpha",
        "beta",
        "coefficient_0",
        "coefficient_1",
        "coefficient_2",
        "norm",
        *METRICS,
    ]
    shares = np.linspace(-0.2, 1.2, 8)
    np.testing.assert_allclose(grid["alpha"], np.tile(shares, 8), atol=1e-12)
    np.testing.assert_allclose(grid["beta"], np.repeat(shares, 8), atol=1e-12)
    np.testing.assert_allclose(grid["x"], grid["alpha"] * plane.width)
    np.testing.assert_allclose(grid["y"], grid["beta"] * plane.height)
    np.testing.assert_allclose(grid["train_loss"], grid["train_nll"] + 0.01 * grid["norm"] ** 2)

    assert points["label"].tolist() == ["a/1", "a/2", "a/3"]
    assert points["kind"].tolist() == ["endpoint"] * 3
    assert points["t"].isna().all()
    expected = [[0, 0], [plane.width, 0], [plane.shift, plane.height]]
    np.testing.assert_allclose(points[["x", "y"]], expected, atol=1e-6)
    assert list(points.columns) == ["label", "kind", "t", "x", "y", "epoch", "distance"]
    assert points["epoch"].isna().all()
    assert (points["distance"] == 0).all()

    # The first two corners are lattice points: what a segment between them measures there.
    evaluate_curve(
        Polychain(networks.vertices[:2]),
        2,
        networks.workspace,
        TRAINING,
        SETTINGS,
        predictions=False,
        grid=tmp_path / "segment" / "grid.csv",
        fingerprint="job",
    )
    segment = pd.read_csv(tmp_path / "segment" / "grid.csv")
    for alpha, t in ((0.0, 0.0), (1.0, 1.0)):
        near = ((grid["alpha"] - alpha).abs() < 1e-9) & (grid["beta"].abs() < 1e-9)
        [corner], [end] = (
            grid[near].to_dict("records"),
            segment[segment["t"] == t].to_dict("records"),
        )
        for name in METRICS:
            assert corner[name] == pytest.approx(end[name], rel=1e-4), name
    assert not (tmp_path / "plane" / ".progress").exists()


@pytest.mark.parametrize("kind", [Bezier, Polychain])
def test_a_curve_and_its_bend(make_networks, tmp_path, kind) -> None:
    networks = make_networks("batch_norm")
    settings = curve_settings(kind.__name__.lower())
    curve = kind(networks.vertices[[0, 2, 1]])
    path = tmp_path / "vertices.safetensors"
    save_curve(path, settings, curve, networks.workspace)
    grid, points = run(networks, tmp_path / "plane", third=path, curve=settings)
    expected, _ = run(networks, tmp_path / "three", third=networks.paths[2])
    pd.testing.assert_frame_equal(grid, expected)

    assert points["kind"].tolist() == ["endpoint", "endpoint", "bend"] + ["curve"] * CURVE_POINTS
    assert points["t"][:3].isna().all()
    np.testing.assert_allclose(points["t"][3:], np.linspace(0, 1, CURVE_POINTS))
    assert (points["distance"] == 0).all()
    corners = points[["x", "y"]][:3].to_numpy()
    t = np.linspace(0, 1, CURVE_POINTS)[:, None]
    start, end, bend = corners
    if kind is Bezier:
        drawn = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
    else:
        first, second = start + 2 * t * (bend - start), bend + (2 * t - 1) * (end - bend)
        drawn = np.where(t <= 0.5, first, second)
    np.testing.assert_allclose(points[["x", "y"]][3:], drawn, atol=1e-6)


def test_a_curve_with_several_bends_is_projected(make_networks, tmp_path) -> None:
    networks = make_networks("plain", 4)
    settings = curve_settings("bezier")
    curve = Bezier(networks.vertices[[0, 2, 3, 1]])
    path = tmp_path / "vertices.safetensors"
    save_curve(path, settings, curve, networks.workspace)
    _, points = run(networks, tmp_path, third=path, curve=settings, points=2)
    origin, end, bend = networks.vertices[:3].double().numpy()
    q, r = np.linalg.qr(np.stack([end - origin, bend - origin], axis=1))
    q = q * np.sign(np.diag(r))
    t = torch.linspace(0, 1, CURVE_POINTS).double().unsqueeze(1)
    weights = (curve.coefficients(t) @ curve.vertices.double()).numpy()
    relative = weights - origin
    np.testing.assert_allclose(points[["x", "y"]][3:], relative @ q, atol=1e-6)
    distance = np.linalg.norm(relative - relative @ q @ q.T, axis=1)
    assert distance.max() > 0.1
    np.testing.assert_allclose(points["distance"][3:], distance, atol=1e-5)


def test_iterates_are_projected(make_networks, tmp_path) -> None:
    networks = make_networks("batch_norm", 5)
    iterates = [
        ("10", 10.0, networks.paths[3]),
        ("30", 30.0, networks.paths[1]),
        ("70.5", 70.5, networks.paths[4]),
    ]
    grid, points = run(networks, tmp_path / "with", third=networks.paths[2], iterates=iterates)
    expected, corners = run(networks, tmp_path / "without", third=networks.paths[2])
    pd.testing.assert_frame_equal(grid, expected)
    pd.testing.assert_frame_equal(points[:3][["x", "y"]], corners[["x", "y"]])

    found = points[3:]
    assert found["kind"].tolist() == ["iterate"] * 3
    assert found["epoch"].tolist() == [10, 30, 70.5]
    assert found["label"].astype(float).tolist() == [10, 30, 70.5]
    assert found["t"].isna().all()
    origin, end, third = networks.vertices[:3].double().numpy()
    q, r = np.linalg.qr(np.stack([end - origin, third - origin], axis=1))
    q = q * np.sign(np.diag(r))
    relative = networks.vertices[[3, 1, 4]].double().numpy() - origin
    np.testing.assert_allclose(found[["x", "y"]], relative @ q, atol=1e-8)
    distance = np.linalg.norm(relative - relative @ q @ q.T, axis=1)
    np.testing.assert_allclose(found["distance"], distance, atol=1e-8)


def test_the_buffers_of_the_start_hold_whatever_is_projected(make_networks, tmp_path) -> None:
    """Not all buffers are statistics that every point gets anew."""
    networks = make_networks("buffered", 4)
    altered = dict(networks.states[3], mask=~networks.states[3]["mask"])
    path = tmp_path / "altered.safetensors"
    save_tensors(path, altered, {})
    grids = [
        run(networks, tmp_path / name, third=networks.paths[2], points=2, iterates=iterates)[0]
        for name, iterates in (("with", [("1", 1.0, path)]), ("without", ()))
    ]
    pd.testing.assert_frame_equal(*grids)


def test_an_iterate_of_another_network_stops_the_job_before_it_measures(
    make_networks, tmp_path
) -> None:
    networks = make_networks("plain")
    other = make_networks("perceptron", 1)
    with pytest.raises(UserError, match=r"perceptron1\.safetensors: these weights do not fit"):
        run(networks, tmp_path, third=networks.paths[2], iterates=[("1", 1.0, other.paths[0])])
    assert not (tmp_path / ".progress").exists()


def test_the_files_of_a_plane_are_all_that_it_reads(tmp_path) -> None:
    paths = [tmp_path / name for name in "abcde"]
    source = PlaneSource(*paths[:3], None, [("1", 1.0, paths[3]), ("2", 2.0, paths[4])])
    assert source.files == paths


def test_samples_are_projected(make_networks, tmp_path) -> None:
    networks = make_networks("plain", 5)
    shared = networks.workspace.flat.vector

    def samples():
        """All in one vector, which also takes the weights that are measured."""
        for label in ("1", "2"):
            shared.copy_(networks.vertices[2 + int(label)])
            yield label, shared

    plane = PlaneSettings(start="a/1", end="a/2", third="a/3", points=3, samples="draws")
    evaluate_plane(
        plane,
        PlaneSource(*networks.paths[:3], None),
        networks.workspace,
        TRAINING,
        SETTINGS,
        grid=tmp_path / "grid.csv",
        points=tmp_path / "points.csv",
        samples=samples(),
        fingerprint="job",
    )
    found = pd.read_csv(tmp_path / "points.csv")[3:]
    assert found["kind"].tolist() == ["sample"] * 2
    assert found["label"].astype(str).tolist() == ["1", "2"]
    assert found[["t", "epoch"]].isna().all(axis=None)
    origin, end, third = networks.vertices[:3].double().numpy()
    q, r = np.linalg.qr(np.stack([end - origin, third - origin], axis=1))
    q = q * np.sign(np.diag(r))
    relative = networks.vertices[3:5].double().numpy() - origin
    np.testing.assert_allclose(found[["x", "y"]], relative @ q, atol=1e-8)
    distance = np.linalg.norm(relative - relative @ q @ q.T, axis=1)
    np.testing.assert_allclose(found["distance"], distance, atol=1e-8)


def test_a_log_says_which_iterates_are_read(make_networks, tmp_path, told) -> None:
    networks = make_networks("plain", 5)
    iterates = [("10", 10.0, networks.paths[3]), ("30", 30.0, networks.paths[4])]
    run(networks, tmp_path, third=networks.paths[2], points=2, iterates=iterates)
    assert [place for place in told() if "example" not in place] == [
        *("iterate 1/2", "iterate 2/2"),
        *(f"point {k}/4" for k in range(1, 5)),
    ]
