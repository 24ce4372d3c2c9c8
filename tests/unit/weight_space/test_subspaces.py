import math

import pytest
import torch

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.curves import Bezier, Polychain
from mode_connectivity.weight_space.subspaces import curve_subspace


def point(family, z: list[float]) -> torch.Tensor:
    out = torch.empty(family.vertices.shape[1], dtype=family.vertices.dtype)
    (row,) = family.coefficients(torch.tensor([z], dtype=torch.float64)).tolist()
    family.write(row, out)
    return out


@pytest.fixture
def vertices() -> torch.Tensor:
    return torch.randn(3, 11, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", [Bezier, Polychain])
def test_the_plane_of_a_curve_by_hand(vertices, kind) -> None:
    start, bend, end = vertices
    middle = 0.25 * start + 0.5 * bend + 0.25 * end if kind is Bezier else bend
    along, across = end - start, middle - start
    across = across - along * (along @ across) / (along @ along)
    mean = (start + middle + end) / 3
    subspace = curve_subspace(kind(vertices))
    assert subspace.parameter_names == ("z1", "z2")
    torch.testing.assert_close(point(subspace, [0.0, 0.0]), mean)
    expected = mean + 0.7 * along / math.sqrt(3) - 1.1 * across / 1.5
    torch.testing.assert_close(point(subspace, [0.7, -1.1]), expected)
    grid = torch.randn(5, 2, dtype=torch.float64)
    torch.testing.assert_close(
        subspace.coefficients(grid).sum(dim=1), torch.ones(5, dtype=torch.float64)
    )


def test_of_a_symmetric_curve_all_three_points_have_distance_one() -> None:
    vertices = torch.zeros(3, 4, dtype=torch.float64)
    vertices[0, 0], vertices[2, 0], vertices[1, 1] = -8.65, 8.65, 7.67
    subspace = curve_subspace(Polychain(vertices))
    for z, vertex in (
        ([-math.sqrt(3) / 2, -0.5], vertices[0]),
        ([0.0, 1.0], vertices[1]),
        ([math.sqrt(3) / 2, -0.5], vertices[2]),
    ):
        torch.testing.assert_close(point(subspace, z), vertex)


def test_a_curve_of_several_bends() -> None:
    vertices = torch.randn(5, 9, dtype=torch.float64)
    curve = Bezier(vertices)
    subspace = curve_subspace(curve)
    middle = curve.coefficients(torch.tensor([[0.5]], dtype=torch.float64)) @ vertices
    mean = (vertices[0] + vertices[-1] + middle[0]) / 3
    torch.testing.assert_close(point(subspace, [0.0, 0.0]), mean)


def test_a_straight_curve_spans_no_plane(vertices) -> None:
    vertices[1] = 0.5 * (vertices[0] + vertices[2])
    with pytest.raises(UserError, match="not on a line"):
        curve_subspace(Bezier(vertices))
