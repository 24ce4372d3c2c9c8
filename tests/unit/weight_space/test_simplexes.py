"""Volumes against closed forms and exact arithmetic, gradients against autograd."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch import Tensor

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.simplexes import (
    Complex,
    DrawnPoints,
    VolumeRegulariser,
    draw_points,
    edge_products,
    log_measure,
    log_volumes,
    restricted,
    volume_shares,
    volumes,
)

TWO_MODES = [(0, 2, 3), (1, 2, 3)]
MEASURES = list(itertools.product(["squared", "plain"], ["all", "first"]))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exact_determinant(matrix: list[list[Fraction]]) -> Fraction:
    """By elimination in rational numbers."""
    rows = [list(row) for row in matrix]
    determinant = Fraction(1)
    for column in range(len(rows)):
        pivot = next((r for r in range(column, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != column:
            rows[column], rows[pivot] = rows[pivot], rows[column]
            determinant = -determinant
        determinant *= rows[column][column]
        for row in rows[column + 1 :]:
            factor = row[column] / rows[column][column]
            row[column:] = [
                own - factor * above
                for own, above in zip(row[column:], rows[column][column:], strict=True)
            ]
    return determinant


def cayley_menger(points: list[list[int]]) -> float:
    """The volume by Benton et al. 2021, A.1, in rational numbers."""
    n = len(points) - 1
    distances = [
        [Fraction(sum((a - b) ** 2 for a, b in zip(p, q, strict=True))) for q in points]
        for p in points
    ]
    bordered = [[Fraction(0)] + [Fraction(1)] * (n + 1)]
    bordered += [[Fraction(1), *row] for row in distances]
    sign = (-1) ** (n + 1)
    squared = sign * exact_determinant(bordered) / (math.factorial(n) ** 2 * 2**n)
    return math.sqrt(squared)


@pytest.mark.parametrize("order", [1, 2, 5, 11])
def test_a_regular_simplex_has_the_volume_of_the_closed_form(order) -> None:
    edge = 3.0
    # The unit vectors are sqrt(2) apart.
    vertices = torch.eye(order + 1, 40, dtype=torch.float64) * edge / math.sqrt(2.0) + 7.0
    expected = math.sqrt(order + 1) / (math.factorial(order) * 2 ** (order / 2)) * edge**order
    assert volumes(vertices, [tuple(range(order + 1))]).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_volumes_are_those_of_exact_arithmetic(count) -> None:
    draws = torch.randint(-9, 10, (count, 12), generator=generator(count))
    found = volumes(draws.float(), [tuple(range(count))]).item()
    assert found == pytest.approx(cayley_menger(draws.tolist()), rel=1e-10)


def test_volumes_do_not_depend_on_the_origin_the_order_or_the_chunks() -> None:
    vertices = torch.randn(5, 1000, dtype=torch.float64, generator=generator())
    simplex = (1, 2, 4)
    expected = log_volumes(edge_products(vertices), [simplex])
    for origin, order, chunk in [(3, (4, 1, 2), 7), (1, (2, 4, 0), 1000), (0, simplex, 1 << 16)]:
        moved = vertices.clone()
        moved[[0, origin]] = vertices[[origin, 0]]
        products = edge_products(moved, chunk=chunk)
        torch.testing.assert_close(log_volumes(products, [order]), expected, rtol=1e-12, atol=0)
        row = edge_products(moved, slice(-1, None), chunk=chunk)
        torch.testing.assert_close(row, products[-1:], rtol=1e-12, atol=1e-12)
    edges = vertices - vertices[0]
    torch.testing.assert_close(edge_products(vertices), edges @ edges.T, rtol=1e-12, atol=1e-10)
    triangle = vertices[list(simplex)].numpy()
    a, b = triangle[1] - triangle[0], triangle[2] - triangle[0]
    area = 0.5 * math.sqrt((a @ a) * (b @ b) - (a @ b) ** 2)
    assert expected.exp().item() == pytest.approx(area)


def test_extreme_volumes_keep_their_logarithms() -> None:
    for scale in (1e-30, 1e30):
        vertices = torch.eye(13, 13, dtype=torch.float64) * scale
        (log,) = log_volumes(edge_products(vertices), [tuple(range(13))])
        expected = 12 * math.log(scale) + 0.5 * math.log(13) - math.lgamma(13)
        assert log.item() == pytest.approx(expected, rel=1e-9)


def test_a_flat_simplex_has_no_volume() -> None:
    vertices = torch.tensor([[1.0, 2.0], [1.0, 2.0], [3.0, 4.0]])
    assert volumes(vertices, [(0, 1), (0, 1, 2)]).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("simplex", "message"),
    [((1,), "at least 2"), ((0, 2, 0), "a vertex twice"), ((0, 3), "vertex 3; there are 3")],
)
def test_degenerate_simplexes_are_refused(simplex, message) -> None:
    with pytest.raises(UserError, match=message):
        volumes(torch.randn(3, 5), [(0, 1), simplex])
    with pytest.raises(UserError, match=message):
        Complex(torch.randn(3, 5), [(0, 1), simplex])


def test_a_complex_in_the_making() -> None:
    whole = [(0, 2, 3, 4), (1, 2, 3), (2, 3), (3, 4)]
    assert restricted(whole, 5) == [(0, 2, 3, 4), (1, 2, 3)]
    assert restricted(whole, 3) == [(0, 2), (1, 2)]
    # Modes that nothing joins yet are points, which count only while there is nothing else.
    assert restricted([(0, 2), (1, 3)], 3) == [(0, 2)]
    assert restricted(whole, 2) == [(0,), (1,)]


def test_points_are_uniform_in_a_simplex() -> None:
    k, count = 4, 200_000
    draws = draw_points([(0, 1, 2, 4)], 5, count, generator())[:, [0, 1, 2, 4]]
    assert torch.allclose(draws.sum(dim=1), torch.ones(count, dtype=torch.float64))
    assert (draws >= 0).all()
    # Of a flat Dirichlet: mean 1 / k, covariance (delta - 1 / k) / (k (k + 1)).
    np.testing.assert_allclose(draws.mean(dim=0), np.full(k, 1 / k), atol=2e-3)
    expected = (np.eye(k) - 1 / k) / (k * (k + 1))
    np.testing.assert_allclose(np.cov(draws.numpy().T), expected, atol=5e-4)
    # Uniform, which two moments do not tell: P(smallest > s) = (1 - k s)^(k - 1).
    for s in (0.05, 0.15):
        share = (draws.min(dim=1).values > s).double().mean().item()
        assert share == pytest.approx((1 - k * s) ** (k - 1), abs=5e-3)


def test_simplexes_are_chosen_alike_or_by_their_volume() -> None:
    vertices = torch.tensor([[0.0, 0.0], [0.0, 4.0], [1.0, 0.0], [3.0, 1.0]])
    simplexes = [(0, 2, 3), (1, 2, 3)]
    areas = torch.tensor([0.5, 4.5], dtype=torch.float64)
    torch.testing.assert_close(volumes(vertices, simplexes), areas)
    for choice, expected in [("uniform", [0.5, 0.5]), ("by_volume", [0.1, 0.9])]:
        family = Complex(vertices, simplexes, samples=100_000, choose_simplex=choice)
        draws = family.sample(generator())
        found = [(draws[:, k] > 0).double().mean().item() for k in (0, 1)]
        assert found == pytest.approx(expected, abs=6e-3)
        assert ((draws[:, 0] == 0) != (draws[:, 1] == 0)).all()


def test_without_volume_the_choice_is_even() -> None:
    vertices = torch.ones(4, 3)
    products = edge_products(vertices)
    assert volume_shares(products, TWO_MODES).tolist() == [0.5, 0.5]


def test_only_simplexes_of_the_trained_vertex_are_drawn_from() -> None:
    family = Complex(torch.randn(4, 6), [(0, 1), (1, 3), (2, 3)], samples=500)
    draws = family.sample(generator())
    assert draws.shape == (500, 4)
    assert family.trainable == (3,)
    assert (draws[:, 3] > 0).all()


def test_points_are_written_as_the_sum_of_their_vertices() -> None:
    vertices = torch.randn(4, 100, generator=generator())
    family = Complex(vertices, TWO_MODES)
    out = torch.empty(100)
    for row in [*family.sample(generator()).tolist(), [0.0, 0.0, 1.0, 0.0]]:
        family.write(row, out)
        torch.testing.assert_close(out.double(), torch.tensor(row).double() @ vertices.double())
    assert torch.equal(out, vertices[2])
    points = DrawnPoints(vertices, family.sample(generator()))
    rows = points.coefficients(torch.tensor([[2.0], [1.0]]))
    assert torch.equal(rows, family.sample(generator())[[1, 0]])


def objective(vertices: Tensor, simplexes, volume: str, complex_volume: str) -> Tensor:
    """-log(V + 1e-4) by determinants, for autograd."""
    total = vertices.new_zeros(())
    for simplex in simplexes[:1] if complex_volume == "first" else simplexes:
        base, *others = simplex
        edges = vertices[others] - vertices[base]
        squared = torch.linalg.det(edges @ edges.T) / math.factorial(len(others)) ** 2
        total = total + (squared if volume == "squared" else squared.sqrt())
    return -torch.log(total + 1e-4)


def regulariser(vertices: Tensor, simplexes, volume, complex_volume, strength=0.3):
    family = Complex(vertices, simplexes)
    return VolumeRegulariser(family, strength, volume=volume, complex_volume=complex_volume)


@pytest.mark.parametrize(("volume", "complex_volume"), MEASURES)
@pytest.mark.parametrize("scale", [0.05, 1.0, 20.0])
@pytest.mark.parametrize(
    "simplexes", [[(0, 1, 2, 3)], TWO_MODES, [(0, 1, 3), (0, 1, 2), (2, 3)], [(0, 3)]]
)
def test_the_gradient_is_that_of_autograd(simplexes, scale, volume, complex_volume) -> None:
    vertices = torch.randn(4, 30, dtype=torch.float64, generator=generator()) * scale
    found = regulariser(vertices, simplexes, volume, complex_volume)
    gradient = torch.full((30,), 0.7, dtype=torch.float64)
    value = found.add_gradient([gradient])
    leaf = vertices.clone().requires_grad_()
    expected = 0.3 * objective(leaf, simplexes, volume, complex_volume)
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-9)
    torch.testing.assert_close(gradient - 0.7, leaf.grad[3], rtol=1e-8, atol=1e-10)
    products = edge_products(vertices)
    measure = log_measure(products, simplexes, volume, complex_volume)
    assert -0.3 * measure == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("volume", "complex_volume"), MEASURES)
def test_the_gradient_is_that_of_finite_differences(volume, complex_volume) -> None:
    vertices = torch.randn(4, 20, dtype=torch.float64, generator=generator()) * 0.3
    found = regulariser(vertices, TWO_MODES, volume, complex_volume)
    _, coefficients = found.value_and_coefficients()
    gradient = coefficients @ vertices
    step = 1e-5
    for index in range(0, 20, 5):
        values = []
        for sign in (1, -1):
            vertices[3, index] += sign * step
            values.append(found.value_and_coefficients()[0])
            vertices[3, index] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert gradient[index].item() == pytest.approx(slope, rel=1e-5, abs=1e-9)


def test_the_volume_follows_the_trained_vertex() -> None:
    vertices = torch.randn(4, 50, generator=generator())
    found = regulariser(vertices, TWO_MODES, "plain", "all")
    before, _ = found.value_and_coefficients()
    vertices[3] *= 3.0
    after, coefficients = found.value_and_coefficients()
    fresh = regulariser(vertices.clone(), TWO_MODES, "plain", "all").value_and_coefficients()
    assert after == pytest.approx(fresh[0], rel=1e-12)
    torch.testing.assert_close(coefficients, fresh[1], rtol=1e-9, atol=1e-12)
    assert after < before - 0.1


@pytest.mark.parametrize("volume", ["squared", "plain"])
@pytest.mark.parametrize("case", ["copy of the mode", "mean of the others", "flat face"])
def test_a_degenerate_simplex_has_no_gradient(case, volume) -> None:
    vertices = 5.0 + torch.randn(4, 1000, generator=generator())
    simplex: tuple[int, ...] = (0, 1, 2, 3)
    if case == "copy of the mode":
        vertices[3], simplex = vertices[0], (0, 3)
    elif case == "mean of the others":
        torch.mean(vertices[:3], dim=0, out=vertices[3])
    else:
        vertices[1] = vertices[0]
    gradient = torch.ones(1000)
    value = regulariser(vertices, [simplex], volume, "first").add_gradient([gradient])
    assert value == pytest.approx(-0.3 * math.log(1e-4), rel=1e-6)
    assert torch.equal(gradient, torch.ones(1000))


def test_a_first_simplex_without_the_trained_vertex_gives_no_gradient() -> None:
    vertices = torch.randn(4, 30, generator=generator())
    gradient = torch.zeros(30)
    regulariser(vertices, [(0, 1, 2), (2, 3)], "squared", "first").add_gradient([gradient])
    assert not gradient.any()
    regulariser(vertices, [(0, 1, 2), (2, 3)], "squared", "all").add_gradient([gradient])
    assert gradient.any()


def test_no_more_memory_than_the_vertices_and_a_vector() -> None:
    vertices = torch.randn(6, 300_000, generator=generator())
    family = Complex(vertices, [tuple(range(6))])
    found = VolumeRegulariser(family, 1e-3)
    out, gradient = torch.empty(300_000), torch.zeros(300_000)
    with torch.profiler.profile(profile_memory=True) as profile:
        for row in family.sample(generator()).tolist():
            family.write(row, out)
        found.add_gradient([gradient])
    most = max(event.cpu_memory_usage for event in profile.events())
    # A chunk of the vertices in double precision.
    assert most <= 8 * 6 * (1 << 16) + 4096
