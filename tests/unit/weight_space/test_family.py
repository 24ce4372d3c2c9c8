import numpy as np
import pytest
import torch

from mode_connectivity.weight_space.curves import Bezier, Polychain
from mode_connectivity.weight_space.family import Point, arc_lengths, lengths, scalar_products


def test_write_is_the_affine_combination() -> None:
    vertices = torch.randn(4, 50)
    out = torch.full((50,), torch.nan)
    coefficients = [0.3, -1.7, 0.0, 2.4]
    Polychain(vertices).write(coefficients, out)
    expected = np.array(coefficients) @ vertices.double().numpy()
    np.testing.assert_allclose(out.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_vertex_is_written_to_the_bit_and_unused_ones_do_not_leak() -> None:
    vertices = torch.randn(3, 50)
    vertices[0] = torch.nan
    vertices[1] = torch.inf
    out = torch.full((50,), torch.nan)
    Bezier(vertices).write([0.0, 0.0, 1.0], out)
    assert torch.equal(out, vertices[2])
    Bezier(vertices).write([0.0, 0.0, 0.0], out)
    assert torch.equal(out, torch.zeros(50))


def test_point_is_the_network_itself() -> None:
    vector = torch.randn(6)
    point = Point(vector)
    before = vector.clone()
    for row in point.sample(torch.Generator()).tolist():
        point.write(row, vector)
    assert torch.equal(vector, before)
    assert point.vertices.data_ptr() == vector.data_ptr()
    assert point.trainable == (0,)
    assert torch.equal(point.coefficients(torch.empty(3, 0)), torch.ones(3, 1).double())
    other = torch.empty(6)
    point.write([1.0], other)
    assert torch.equal(other, before)


@pytest.mark.parametrize("chunk", [1, 7, 33, 1 << 20])
def test_scalar_products(chunk) -> None:
    first, second = torch.randn(3, 33) * 1e3, torch.randn(2, 33)
    expected = first.double().numpy() @ second.double().numpy().T
    found = scalar_products(first, second, chunk=chunk)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


def test_lengths_do_not_suffer_from_cancellation() -> None:
    # Two networks a ten-thousandth of their norm apart: single precision would lose the distance.
    start = torch.randn(10_000)
    end = start + 1e-4 * torch.randn(10_000)
    family = Polychain(torch.stack([start, end]))
    found = lengths(family.gram(), torch.tensor([[-1.0, 1.0], [1.0, 0.0]]).double())
    expected = [
        np.linalg.norm((end.double() - start.double()).numpy()),
        np.linalg.norm(start.double().numpy()),
    ]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-7)


def test_arc_lengths_add_up_the_steps() -> None:
    vertices = torch.randn(3, 20)
    family = Bezier(vertices)
    coefficients = family.coefficients(torch.linspace(0, 1, 9).double().unsqueeze(1))
    points = coefficients.numpy() @ vertices.double().numpy()
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    found = arc_lengths(family.gram(), coefficients).numpy()
    np.testing.assert_allclose(found, np.concatenate([[0.0], np.cumsum(steps)]), rtol=1e-10)


def test_whose_statistics_are_those_of_a_training() -> None:
    assert Point(torch.zeros(2)).own_statistics
    for kind in (Polychain, Bezier):
        # Also at its ends: every point of a curve is treated alike.
        assert not kind(torch.zeros(3, 2)).own_statistics
