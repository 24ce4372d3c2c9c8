import numpy as np
import pytest
import torch

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.curves import Bezier, unit_grid
from mode_connectivity.weight_space.family import scalar_products
from mode_connectivity.weight_space.planes import Plane


@pytest.fixture
def vertices() -> torch.Tensor:
    return torch.randn(3, 500)


@pytest.fixture
def plane(vertices) -> Plane:
    return Plane(vertices)


def gram_schmidt(vertices: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Origin and orthonormal basis, by numpy's QR with the signs of the edges."""
    origin, second, third = vertices.double().numpy()
    q, r = np.linalg.qr(np.stack([second - origin, third - origin], axis=1))
    return origin, q[:, 0] * np.sign(r[0, 0]), q[:, 1] * np.sign(r[1, 1])


def test_corners(plane, vertices) -> None:
    origin, u, v = gram_schmidt(vertices)
    third = vertices[2].double().numpy() - origin
    corners = plane.coordinates(plane.gram_matrix)
    expected = [[0, 0], [plane.width, 0], [third @ u, third @ v]]
    np.testing.assert_allclose(corners, expected, atol=1e-9)
    width = np.linalg.norm(vertices[1].double().numpy() - origin)
    assert plane.width == pytest.approx(width, rel=1e-10)
    assert plane.height == pytest.approx(third @ v, rel=1e-10)
    assert plane.shift == pytest.approx(third @ u, rel=1e-9)
    # The coefficients at the corners are those of the vertices themselves.
    np.testing.assert_allclose(plane.coefficients(corners), np.eye(3), atol=1e-10)


def test_coordinates_are_lengths_along_an_orthonormal_basis(plane, vertices) -> None:
    origin, u, v = gram_schmidt(vertices)
    points = torch.randn(30, 2, dtype=torch.float64) * 10
    coefficients = plane.coefficients(points)
    np.testing.assert_allclose(coefficients.sum(dim=1), np.ones(30), atol=1e-12)
    x, y = points.numpy().T
    expected = origin + np.outer(x, u) + np.outer(y, v)
    np.testing.assert_allclose(coefficients @ vertices.double(), expected, atol=1e-9)


def test_a_point_of_the_plane_is_its_own_projection(plane, vertices) -> None:
    points = torch.randn(30, 2, dtype=torch.float64) * 10
    weights = plane.coefficients(points) @ vertices.double()
    found = plane.coordinates(scalar_products(weights, vertices.double()))
    torch.testing.assert_close(found, points, atol=1e-8, rtol=0)


def test_projection_is_orthogonal(plane, vertices) -> None:
    _, u, v = gram_schmidt(vertices)
    others = torch.randn(7, 500, dtype=torch.float64)
    projected = (
        plane.coefficients(plane.coordinates(scalar_products(others, vertices.double())))
        @ vertices.double()
    )
    rest = (others - projected).numpy()
    np.testing.assert_allclose(rest @ np.stack([u, v], axis=1), np.zeros((7, 2)), atol=1e-8)


def test_a_point_on_the_plane_projects_to_itself(vertices) -> None:
    plane = Plane(vertices.double())
    for x, y in [(0.0, 0.0), (3.0, -4.0), (plane.width, 0.0), (plane.shift, plane.height)]:
        coefficients = plane.coefficients(torch.tensor([[x, y]], dtype=torch.float64))
        weights = (coefficients @ plane.vertices)[0]
        assert plane.project(weights) == pytest.approx((x, y, 0.0), abs=1e-9)


def test_the_defining_points_have_their_own_coordinates(plane, vertices) -> None:
    expected = plane.coordinates(plane.gram_matrix).tolist()
    for vertex, (x, y) in zip(vertices, expected, strict=True):
        assert plane.project(vertex) == pytest.approx((x, y, 0.0), abs=1e-9)


def test_a_point_off_the_plane_by_a_known_normal_vector() -> None:
    plane = Plane(torch.tensor([[2.0, 0, 1, 1], [5, 0, 1, 1], [2, 4, 1, 1]]))
    # 3 along the normal (0, 0, 1, 0) and -4 along (0, 0, 0, 1).
    x, y, distance = plane.project(torch.tensor([3.0, -2.0, 4.0, -3.0]))
    assert (x, y, distance) == pytest.approx((1.0, -2.0, 5.0))
    # The least squares in the linear span of the three points, as printed, leaves the plane.
    spanned = plane.vertices.double().numpy().T
    printed, *_ = np.linalg.lstsq(spanned, np.array([3.0, -2.0, 4.0, -3.0]), rcond=None)
    assert printed.sum() != pytest.approx(1.0, abs=0.1)


def test_projection_does_not_depend_on_the_chunks(plane, vertices) -> None:
    origin, u, v = gram_schmidt(vertices)
    vector = torch.randn(500)
    relative = vector.double().numpy() - origin
    x, y = relative @ u, relative @ v
    expected = (x, y, np.linalg.norm(relative - x * u - y * v))
    for chunk in (1, 7, 500, 1 << 20):
        assert plane.project(vector, chunk=chunk) == pytest.approx(expected, rel=1e-9)


def test_a_point_close_to_the_plane_keeps_its_small_distance() -> None:
    vertices = torch.full((3, 4000), 100.0, dtype=torch.float64)
    vertices[1, 0] += 1.0
    vertices[2, 1] += 1.0
    vector = vertices[0].clone()
    vector[2] += 1e-6
    assert Plane(vertices).project(vector)[2] == pytest.approx(1e-6, rel=1e-3)


def test_a_curve_through_the_corners_lies_in_the_plane(plane, vertices) -> None:
    curve = Bezier(vertices[[0, 2, 1]])
    coefficients = curve.coefficients(unit_grid(5))
    products = coefficients @ scalar_products(curve.vertices, vertices)
    found = plane.coefficients(plane.coordinates(products))
    torch.testing.assert_close(found, coefficients[:, [0, 2, 1]], atol=1e-9, rtol=0)


def test_lattice(plane) -> None:
    lattice = plane.lattice(8, 0.2)
    assert lattice.shape == (64, 2)
    shares = np.linspace(-0.2, 1.2, 8)
    x, y = lattice.numpy().T
    np.testing.assert_allclose(x, np.tile(shares * plane.width, 8))
    np.testing.assert_allclose(y, np.repeat(shares * plane.height, 8))
    # Without a margin, the corners of the rectangle.
    corners = plane.lattice(2, 0.0)
    np.testing.assert_allclose(
        corners,
        [[0, 0], [plane.width, 0], [0, plane.height], [plane.width, plane.height]],
    )


@pytest.mark.parametrize(("third", "left", "right"), [(-2.0, -2.0, 4.0), (7.0, 0.0, 7.0)])
def test_lattice_covers_a_third_point_beside_the_others(third, left, right) -> None:
    beside = Plane(torch.tensor([[1.0, 1, 0], [5, 1, 0], [1 + third, 4, 0]]))
    x, y = beside.lattice(5, 0.5).numpy().T
    assert (x.min(), x.max()) == pytest.approx((left - 2, right + 2))
    assert (y.min(), y.max()) == pytest.approx((-1.5, 4.5))


@pytest.mark.parametrize(
    "choose",
    [
        lambda a, b: (a, a, b),
        lambda a, b: (a, b, a),
        lambda a, b: (a, b, b),
        lambda a, b: (a, b, (a + b) / 2),
        lambda a, b: (a, b, 3 * b - 2 * a),
        lambda a, b: (a, a, a),
    ],
)
def test_points_on_a_line_are_refused(choose) -> None:
    a, b = torch.randn(2, 3000, dtype=torch.float64)
    with pytest.raises(UserError, match=r"lie on a line .* name three different points"):
        Plane(torch.stack(choose(a, b)))
