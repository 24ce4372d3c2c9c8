import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist

from mode_connectivity.evaluation import geometry
from mode_connectivity.evaluation.geometry import GeometryPoint, measure_distances
from mode_connectivity.settings import UserError
from mode_connectivity.training.curves import save_curve
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.weight_space.curves import Polychain

CHAIN = CurveSettings.model_validate(
    {
        "kind": "polychain",
        "start": "a/1",
        "end": "a/2",
        "training": {"epochs": 1, "learning_rate": 0.1},
    }
)


def measure(points, networks, folder, **options) -> tuple[pd.DataFrame, pd.DataFrame]:
    measure_distances(
        points,
        networks.workspace,
        points_table=folder / "points.csv",
        distances=folder / "distances.csv",
        **options,
    )
    return pd.read_csv(folder / "points.csv"), pd.read_csv(folder / "distances.csv")


@pytest.fixture
def networks(make_networks):
    return make_networks("batch_norm", 6)


@pytest.fixture
def points(networks, tmp_path) -> list[GeometryPoint]:
    """Three networks, two bends, and the first network again."""
    made = [
        GeometryPoint(label, path) for label, path in zip("GAB", networks.paths[:3], strict=True)
    ]
    for label, bend in (("GA", 3), ("GB", 4)):
        path = tmp_path / f"{label}.safetensors"
        save_curve(path, CHAIN, Polychain(networks.vertices[[0, bend, 1]]), networks.workspace)
        made.append(GeometryPoint(label, path, CHAIN))
    return [*made, GeometryPoint("again", networks.paths[0])]


def test_norms_and_distances(networks, points, tmp_path) -> None:
    table, distances = measure(points, networks, tmp_path)
    assert list(table.columns) == ["label", "kind", "norm"]
    assert table["label"].tolist() == ["G", "A", "B", "GA", "GB", "again"]
    assert table["kind"].tolist() == ["mode"] * 3 + ["bend"] * 2 + ["mode"]
    vectors = networks.vertices[[0, 1, 2, 3, 4, 0]].double().numpy()
    np.testing.assert_allclose(table["norm"], np.linalg.norm(vectors, axis=1), rtol=1e-7)
    assert list(distances.columns) == ["label", *table["label"]]
    assert distances["label"].tolist() == table["label"].tolist()
    matrix = distances.drop(columns="label").to_numpy()
    np.testing.assert_allclose(matrix, cdist(vectors, vectors), rtol=1e-6, atol=0)
    assert matrix[0, 5] == 0


@pytest.mark.parametrize("vectors", [0, 1, 2, 3, 5])
def test_little_memory_gives_the_same_files(
    networks, points, tmp_path, vectors, monkeypatch
) -> None:
    expected = measure(points, networks, tmp_path / "all")
    held = []
    monkeypatch.setattr(
        geometry.GeometryPoint,
        "read",
        lambda point, workspace, out, read=GeometryPoint.read: (
            held.append(out.data_ptr()),
            read(point, workspace, out),
        ),
    )
    memory = vectors * networks.vertices[0].nbytes
    found = measure(points, networks, tmp_path / "few", memory=memory)
    for one, other in zip(expected, found, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)
    # The vectors held, and the one that passes by.
    assert len(set(held)) == max(1, vectors) + 1


def test_points_that_cannot_be_compared(networks, points, tmp_path) -> None:
    with pytest.raises(UserError, match=r"points: G: given twice"):
        measure([*points, GeometryPoint("G", networks.paths[3])], networks, tmp_path)
    with pytest.raises(UserError, match=r"points: 1 given; distances need at least two"):
        measure(points[:1], networks, tmp_path)
    assert not list(tmp_path.glob("*.csv"))


def test_a_network_of_another_kind_is_named(networks, make_networks, points, tmp_path) -> None:
    other = GeometryPoint("other", make_networks("plain", 1).paths[0])
    with pytest.raises(UserError, match=r"plain1\.safetensors: these weights do not fit"):
        measure([*points, other], networks, tmp_path)


def test_a_log_says_how_much_is_read(networks, points, tmp_path, told) -> None:
    measure(points, networks, tmp_path)
    assert told() == [f"reading {k}/6" for k in range(1, 7)]


def test_points_that_are_read_again_are_counted_again(networks, points, tmp_path, told) -> None:
    measure(points, networks, tmp_path, memory=1)
    assert told()[-1] == "reading 21/21"
