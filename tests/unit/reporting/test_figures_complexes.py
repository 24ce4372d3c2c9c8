"""Figures of simplexes and complexes: their numbers, and what they refuse."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from scipy.stats import kstest

from mode_connectivity.reporting.figures.complexes import (
    TrainedComplex,
    benton2021_figure3,
    benton2021_figure4,
    benton2021_figure5,
    benton2021_figure6,
    benton2021_figure_a2,
    benton2021_figure_a4a,
)
from mode_connectivity.reporting.figures.planes import Plane
from mode_connectivity.reporting.sampling import triangles
from mode_connectivity.settings import UserError


def plane(*labels, seed=0):
    """Return a plane through three vertices, with a valley of the loss."""
    x, y = (part.ravel() for part in np.meshgrid(np.linspace(-1, 5, 7), np.linspace(-1, 4, 7)))
    grid = pd.DataFrame({"x": x, "y": y, "train_nll": 0.01 + seed + (x - 2) ** 2 + y**2})
    points = pd.DataFrame(
        {
            "label": [f"espro/1:{label}" for label in labels],
            "kind": ["endpoint" if label.startswith("w") else "connector" for label in labels],
            "x": [0.0, 4.0, 2.0],
            "y": [0.0, 0.0, 3.0],
        }
    )
    return Plane("", grid, points)


FACES = [("w0", "t1", "t2"), ("w0", "t1", "t3"), ("w0", "t2", "t3"), ("t1", "t2", "t3")]


def panels_of(figure):
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


@pytest.mark.parametrize("draw", [benton2021_figure3, benton2021_figure6])
def test_faces_have_their_vertices_and_one_scale(draw) -> None:
    planes = [plane(*face, seed=number) for number, face in enumerate(FACES)]
    figure, numbers = draw(planes, title="VGG-16, CIFAR-10")
    assert list(numbers) == ["panel", "kind", "label", "x", "y", "train_nll"]
    assert numbers["panel"].unique().tolist() == [", ".join(face) for face in FACES]
    for face, shown in zip(FACES, planes, strict=True):
        part = numbers[numbers["panel"] == ", ".join(face)]
        corners = part[part["kind"] != "grid"]
        assert corners["label"].tolist() == [*face]
        assert corners["kind"].tolist() == [
            "mode" if label == "w0" else "connector" for label in face
        ]
        assert corners[["x", "y"]].to_numpy().tolist() == [[0, 0], [4, 0], [2, 3]]
        lattice = part[part["kind"] == "grid"]
        assert lattice["train_nll"].tolist() == shown.grid["train_nll"].tolist()
    panels = panels_of(figure)
    assert len(panels) == 4
    assert len(figure.axes) == 5
    fills = [next(item for item in axis.collections if hasattr(item, "levels")) for axis in panels]
    for fill in fills[1:]:
        np.testing.assert_array_equal(fill.levels, fills[0].levels)
    assert panels[0].get_title() == r"Plane through $w_{0}$, $\theta_{1}$, $\theta_{2}$"
    assert [text.get_text() for text in panels[3].texts[-3:]] == [
        r"$\theta_{1}$",
        r"$\theta_{2}$",
        r"$\theta_{3}$",
    ]


def test_faces_are_of_vertices() -> None:
    wrong = plane("w0", "t1", "t2")
    wrong.points.loc[2, "label"] = "plain/3"
    with pytest.raises(UserError, match="panel 1, points: 2 vertices of a complex among 3 points"):
        benton2021_figure6([wrong])
    with pytest.raises(UserError, match="no column 'train_nll'"):
        benton2021_figure3([Plane("", wrong.grid[["x", "y"]], plane("w0", "t1", "t2").points)])


def trained(modes, connectors, dimensions=3, title="") -> tuple[TrainedComplex, np.ndarray]:
    """Return a complex with all connectors in each simplex, and the places of its vertices."""
    labels = [f"w{k}" for k in range(modes)] + [f"t{k + 1}" for k in range(connectors)]
    places = np.random.default_rng(0).normal(size=(len(labels), dimensions))
    distances = pd.DataFrame(cdist(places, places), columns=labels)
    distances.insert(0, "label", labels)
    simplexes = [[f"w{k}", *labels[modes:]] for k in range(modes)]
    return TrainedComplex(distances, simplexes, title), places


def test_projections_keep_the_distances_in_three_dimensions() -> None:
    first, places = trained(4, 3)
    second, others = trained(2, 5)
    figure, numbers = benton2021_figure4([first, second])
    for letter, expected in (("a", places), ("b", others)):
        part = numbers[numbers["complex"] == letter]
        found = part[["x", "y", "z"]].to_numpy()
        np.testing.assert_allclose(cdist(found, found), cdist(expected, expected), atol=1e-9)
        assert part["variance_share"].tolist() == pytest.approx([1.0] * len(expected))
        # Principal axes: uncorrelated, in the order of their variances.
        covariance = np.cov(found.T)
        np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-9)
        assert np.all(np.diff(np.diag(covariance)) <= 0)
    of_a = numbers[numbers["complex"] == "a"]
    assert of_a["kind"].tolist() == ["mode"] * 4 + ["connector"] * 3
    assert of_a["simplexes"].tolist() == ["1", "2", "3", "4", *["1 2 3 4"] * 3]
    assert of_a["alone_x"].isna().all()
    alone = numbers[(numbers["complex"] == "b") & (numbers["kind"] == "connector")]
    found = alone[["alone_x", "alone_y", "alone_z"]].to_numpy()
    np.testing.assert_allclose(cdist(found, found), cdist(others[2:], others[2:]), atol=1e-9)
    rows = [len(row.axes) for row in figure.subfigs]
    assert rows == [2, 3]


def test_of_more_dimensions_the_share_is_told() -> None:
    many, places = trained(7, 9, dimensions=15)
    _, numbers = benton2021_figure4([many])
    spectrum = np.linalg.svd(places - places.mean(axis=0), compute_uv=False) ** 2
    assert numbers["variance_share"].iloc[0] == pytest.approx(spectrum[:3].sum() / spectrum.sum())


def test_a_triangle_is_flat() -> None:
    triangle, _ = trained(1, 2)
    _, numbers = benton2021_figure4([triangle])
    np.testing.assert_allclose(numbers["z"], 0.0, atol=1e-9)


def test_a_simplex_of_unknown_vertices_is_refused() -> None:
    complex_, _ = trained(2, 2)
    wrong = TrainedComplex(complex_.distances, [["w0", "t3"]])
    with pytest.raises(UserError, match=r"\(a\): a simplex has the vertex t3, but the distances"):
        benton2021_figure4([wrong])


def volumes(factor=1.0, connectors=4):
    values = [factor * 10.0 ** (2 - k) for k in range(connectors)]
    return pd.DataFrame(
        {
            "connectors": range(1, connectors + 1),
            "simplexes": 2,
            "volume": values,
            "log10_volume": np.log10(values),
            "first_volume": 0.0,
        }
    )


def samples(*errors):
    return pd.DataFrame({"sample": range(1, len(errors) + 1), "train_error": errors})


def test_volumes_stand_with_the_accuracy_of_their_points() -> None:
    points = {1: samples(0.0, 1.0), 2: samples(0.5, 1.5), 3: samples(0.0, 2.0)}
    figure, numbers = benton2021_figure5(volumes(), points, accuracy=98.0)
    assert numbers["connectors"].tolist() == [1, 2, 3]
    assert numbers["volume"].tolist() == [100.0, 10.0, 1.0]
    assert numbers["log10_volume"].tolist() == pytest.approx([2, 1, 0])
    assert numbers["points"].tolist() == [2, 2, 2]
    assert numbers["train_accuracy_min"].tolist() == [99.0, 98.5, 98.0]
    assert numbers["train_accuracy_mean"].tolist() == [99.5, 99.0, 99.0]
    assert numbers["train_accuracy_max"].tolist() == [100.0, 99.5, 100.0]
    # Above is not at.
    assert numbers["all_above"].tolist() == [True, True, False]
    upper, lower = figure.axes
    assert upper.get_yscale() == "log"
    np.testing.assert_array_equal(upper.lines[0].get_xydata(), [[1, 100], [2, 10], [3, 1]])
    assert lower.get_title() == "Some points not above 98 % at k = 3"
    figure, _ = benton2021_figure5(volumes(), {1: points[1]}, accuracy=98.0)
    assert figure.axes[1].get_title() == "All points above 98 %"


def test_a_diverged_point_is_above_nothing() -> None:
    _, numbers = benton2021_figure5(volumes(), {1: samples(0.0, np.nan)})
    assert numbers["all_above"].tolist() == [False]


def test_a_degenerate_complex_is_left_out_of_the_picture() -> None:
    table = volumes()
    table.loc[2, "volume"] = 0.0
    points = dict.fromkeys((1, 2, 3, 4), samples(0.0))
    figure, numbers = benton2021_figure5(table, points)
    assert numbers["volume"].tolist()[2] == 0.0
    drawn = figure.axes[0].lines[0].get_ydata()
    assert np.isnan(drawn).tolist() == [False, False, True, False]
    table["volume"] = 0.0
    with pytest.raises(UserError, match="no complex has a volume"):
        benton2021_figure5(table, points)


def test_volumes_are_of_the_numbers_of_connectors_that_were_measured() -> None:
    with pytest.raises(UserError, match="no volume with 7 connectors"):
        benton2021_figure5(volumes(), {7: samples(0.0)})


def test_widths_are_lines_of_their_own() -> None:
    figure, numbers = benton2021_figure_a4a({1.0: volumes(8.0), 0.5: volumes(1.0)})
    assert list(numbers) == ["width", "connectors", "simplexes", "volume", "log10_volume"]
    assert numbers["width"].tolist() == [0.5] * 4 + [1.0] * 4
    assert numbers["volume"].tolist() == [100, 10, 1, 0.1, 800, 80, 8, 0.8]
    (axis,) = figure.axes
    assert axis.get_yscale() == "log"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["1", "0.5"]
    with pytest.raises(UserError, match="no complex; at least one is needed"):
        benton2021_figure_a4a({})


def test_points_of_triangles_are_uniform_whatever_the_shape() -> None:
    for triangle in triangles(2000, 100.0, seed=0):
        assert triangle.coefficients.min() >= 0
        np.testing.assert_allclose(triangle.coefficients.sum(axis=1), 1.0)
        assert kstest(triangle.shares_above, "uniform").pvalue > 1e-3


def test_sampled_triangles() -> None:
    unit, scaled = triangles(200, 100.0, seed=3)
    figure, numbers = benton2021_figure_a2(unit, scaled)
    assert numbers["triangle"].tolist() == ["unit"] * 200 + ["scaled"] * 200
    np.testing.assert_allclose(numbers.loc[:199, ["x", "y", "z"]].sum(axis=1), 1.0)
    stretched = numbers.loc[200:]
    np.testing.assert_allclose(stretched["x"] + stretched["y"] + stretched["z"] / 100.0, 1.0)
    assert len(figure.axes) == 3
    again = triangles(200, 100.0, seed=3)
    np.testing.assert_array_equal(again[1].points, scaled.points)
    # The two are drawn apart.
    assert not np.allclose(unit.coefficients, scaled.coefficients)
