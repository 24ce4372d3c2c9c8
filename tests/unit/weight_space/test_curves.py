import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.curves import (
    CURVES,
    Bezier,
    Polychain,
    TrivialPath,
    bends_on_segment,
    check_trivial_path,
    parts_by_power,
    random_end,
    unit_grid,
)
from mode_connectivity.weight_space.family import arc_lengths, lengths
from mode_connectivity.weight_space.flat import FlatParameters

BENDS = pytest.mark.parametrize("bends", [0, 1, 2, 5, 9])
KINDS = pytest.mark.parametrize("kind", [Polychain, Bezier])


def curve_length(curve, points: int) -> float:
    return arc_lengths(curve.gram(), curve.coefficients(unit_grid(points)))[-1].item()


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize("points", [2, 11, 61, 121])
def test_unit_grid(points) -> None:
    grid = unit_grid(points)
    assert grid.shape == (points, 1)
    assert grid[0, 0].item() == 0.0
    assert grid[-1, 0].item() == 1.0
    np.testing.assert_allclose(grid[:, 0], np.arange(points) / (points - 1), rtol=1e-15)
    if points % 2:
        assert grid[points // 2, 0].item() == 0.5


@KINDS
@BENDS
def test_coefficients_are_convex(kind, bends) -> None:
    coefficients = kind(torch.zeros(bends + 2, 1)).coefficients(unit_grid(121))
    assert coefficients.shape == (121, bends + 2)
    assert coefficients.min() >= 0.0
    torch.testing.assert_close(coefficients.sum(dim=1), torch.ones(121).double())


@KINDS
@BENDS
def test_ends_are_the_endpoints_to_the_bit(kind, bends) -> None:
    vertices = torch.randn(bends + 2, 40)
    # A bend that diverged must not be felt at the ends.
    vertices[1:-1] = torch.tensor([torch.nan, torch.inf]).repeat(20)
    curve = kind(vertices)
    out = torch.empty(40)
    for t, vertex in ((0.0, 0), (1.0, -1)):
        curve.write(curve.coefficients(column(t))[0].tolist(), out)
        assert torch.equal(out, vertices[vertex])


@KINDS
@pytest.mark.parametrize("channels_last", [False, True])
def test_logits_at_the_ends_are_those_of_the_endpoints_to_the_bit(kind, channels_last) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    ).eval()
    flat = FlatParameters(network, channels_last=channels_last)
    inputs = torch.randn(5, 3, 6, 6)
    vertices = torch.randn(4, len(flat))
    curve = kind(vertices)
    for t, vertex in ((0.0, 0), (1.0, 3)):
        flat.vector.copy_(vertices[vertex])
        expected = network(inputs)
        flat.vector.fill_(torch.nan)
        curve.write(curve.coefficients(column(t))[0].tolist(), flat.vector)
        assert torch.equal(network(inputs), expected)


@BENDS
def test_chain_interpolates_its_vertices(bends) -> None:
    vertices = np.random.default_rng(0).normal(size=(bends + 2, 6))
    t = np.sort(np.random.default_rng(1).uniform(size=200))
    found = Polychain(torch.tensor(vertices)).coefficients(column(*t)).numpy() @ vertices
    knots = np.linspace(0, 1, bends + 2)
    expected = np.stack([np.interp(t, knots, vertices[:, d]) for d in range(6)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@BENDS
def test_bezier_is_what_de_casteljau_constructs(bends) -> None:
    vertices = np.random.default_rng(0).normal(size=(bends + 2, 6))
    curve = Bezier(torch.tensor(vertices))
    for t in (0.0, 0.1, 0.37, 0.5, 0.99, 1.0):
        points = vertices
        while len(points) > 1:
            points = (1 - t) * points[:-1] + t * points[1:]
        found = curve.coefficients(column(t)).numpy() @ vertices
        np.testing.assert_allclose(found, points, atol=1e-12)


def test_values_of_the_papers_formulas() -> None:
    # Garipov et al. 2018, section 3.2, with one bend; then a cubic and a chain with two bends.
    three, four = torch.zeros(3, 1), torch.zeros(4, 1)
    for curve, t, expected in [
        (Polychain(three), 0.25, [0.5, 0.5, 0.0]),
        (Polychain(three), 0.5, [0.0, 1.0, 0.0]),
        (Polychain(three), 0.75, [0.0, 0.5, 0.5]),
        (Bezier(three), 0.25, [0.5625, 0.375, 0.0625]),
        (Bezier(three), 0.5, [0.25, 0.5, 0.25]),
        (Bezier(four), 0.5, [0.125, 0.375, 0.375, 0.125]),
        (Polychain(four), 0.5, [0.0, 0.5, 0.5, 0.0]),
    ]:
        assert curve.coefficients(column(t))[0].tolist() == pytest.approx(expected, abs=1e-15)


@KINDS
@BENDS
def test_straight_bends_make_the_segment(kind, bends) -> None:
    vertices = torch.full((bends + 2, 300), torch.nan)
    vertices[0], vertices[-1] = torch.randn(300), torch.randn(300)
    bends_on_segment(vertices)
    array = vertices.numpy()
    np.testing.assert_allclose(array, np.linspace(array[0], array[-1], bends + 2), atol=1e-6)
    curve = kind(vertices)
    distance = (vertices[-1].double() - vertices[0].double()).norm().item()
    assert curve_length(curve, 121) / distance == pytest.approx(1.0, abs=1e-6)
    grid = unit_grid(31)
    points = curve.coefficients(grid) @ vertices.double()
    segment = torch.lerp(vertices[0].double(), vertices[-1].double(), grid)
    torch.testing.assert_close(points, segment, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bends", [1, 2, 4])
def test_length_of_a_chain_is_the_sum_of_its_edges(bends) -> None:
    vertices = torch.randn(bends + 2, 200)
    edges = [(b.double() - a.double()).norm().item() for a, b in pairwise(vertices)]
    # Grids that contain the bends measure it exactly.
    for points in (bends + 2, 20 * (bends + 1) + 1):
        assert curve_length(Polychain(vertices), points) == pytest.approx(sum(edges), rel=1e-9)


def test_length_of_a_bezier_curve() -> None:
    # Control points (1, 0), (1, 1), (0, 1) in a plane of a 30-dimensional space.
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(30, 2)))
    corners = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    curve = Bezier(torch.tensor(corners @ basis.T))

    def speed(t: float) -> float:
        edges = np.diff(corners, axis=0)
        return float(np.linalg.norm(2 * (1 - t) * edges[0] + 2 * t * edges[1]))

    exact, _ = integrate.quad(speed, 0, 1)
    assert math.sqrt(2) < exact < 2
    assert curve_length(curve, 4001) == pytest.approx(exact, rel=1e-7)
    # The paper's 121 points fall short of the true length, but not visibly.
    assert curve_length(curve, 121) == pytest.approx(exact, rel=1e-4)
    assert curve_length(curve, 121) < exact


@KINDS
def test_no_curve_is_shorter_than_the_segment(kind) -> None:
    for _ in range(20):
        vertices = torch.randn(4, 10)
        curve = kind(vertices)
        distance = (vertices[-1] - vertices[0]).norm().item()
        assert curve_length(curve, 61) >= distance * (1 - 1e-6)


@KINDS
def test_sample_is_uniform_and_reproducible(kind) -> None:
    curve = kind(torch.zeros(3, 1))

    def draw(seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.cat([curve.sample(generator) for _ in range(2000)])

    drawn = draw(3)
    assert drawn.shape == (2000, 3)
    assert torch.equal(drawn, draw(3))
    assert not torch.equal(drawn, draw(4))
    # Each of these sums inverts its family's coefficients to t.
    t = drawn @ torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    assert stats.kstest(t.numpy(), "uniform").pvalue > 1e-3


def test_only_bends_are_trainable() -> None:
    assert CURVES["bezier"](torch.zeros(5, 1)).trainable == (1, 2, 3)
    assert CURVES["polychain"](torch.zeros(3, 1)).trainable == (1,)
    assert CURVES["segment"](torch.zeros(2, 1)).trainable == ()
    assert CURVES["trivial_path"](torch.zeros(6, 1)).trainable == ()
    assert all(kind.parameter_names == ("t",) for kind in CURVES.values())


def test_random_end() -> None:
    start = torch.randn(2000)
    end = random_end(start, 12.5, seed=1)
    assert (end - start).double().norm().item() == pytest.approx(12.5, rel=1e-5)
    assert torch.equal(end, random_end(start, 12.5, seed=1))
    assert not torch.equal(end, random_end(start, 12.5, seed=2))


def test_random_end_prefers_no_direction() -> None:
    directions = torch.stack([random_end(torch.zeros(50), 1.0, seed) for seed in range(400)])
    # In 50 dimensions a coordinate of a uniform direction has mean 0 and variance 1/50.
    fixed = torch.nn.functional.normalize(torch.linspace(-1, 2, 50), dim=0)
    along = (directions @ fixed).numpy()
    assert abs(along.mean()) < 4 / math.sqrt(50 * 400)
    assert along.var() == pytest.approx(1 / 50, rel=0.25)
    # It is Gaussian, so coordinates are not bounded as those of a cube's draw would be.
    assert stats.kstest(directions[0].numpy() * math.sqrt(50), "norm").pvalue > 1e-3


def perceptron() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(48, 7), nn.ReLU(), nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 4)
    )


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(5, 6, 3, padding=1, bias=False),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(24, 8),
        nn.ReLU(),
        nn.Linear(8, 4),
    )


@pytest.mark.parametrize(("build", "layers"), [(perceptron, 3), (convolutional, 4)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_predictions_do_not_change_on_the_trivial_path(build, layers, channels_last) -> None:
    network = build().eval()
    flat = FlatParameters(network, channels_last=channels_last)
    ends = torch.randn(2, len(flat))
    inputs = torch.randn(20, 3, 4, 4)
    path = TrivialPath(parts_by_power(network, flat, list(ends)))
    check_trivial_path(network, flat, path, inputs)
    assert path.vertices.shape == (2 * layers, len(flat))

    expected = []
    for end in ends:
        flat.vector.copy_(end)
        expected.append(network(inputs))

    for t, end, s in [(0.0, 0, 1.0), (0.1, 0, 0.8), (0.45, 0, 0.1), (0.6, 1, 0.2), (1.0, 1, 1.0)]:
        path.write(path.coefficients(column(t))[0].tolist(), flat.vector)
        logits = network(inputs)
        torch.testing.assert_close(logits / s**layers, expected[end], rtol=1e-3, atol=1e-4)
        assert torch.equal(logits.argmax(dim=1), expected[end].argmax(dim=1))
        if s == 1.0:
            assert torch.equal(flat.vector, ends[end])
            assert torch.equal(logits, expected[end])
    path.write(path.coefficients(column(0.5))[0].tolist(), flat.vector)
    assert not flat.vector.any()


def test_trivial_path_scales_the_bias_of_layer_i_by_the_power_i() -> None:
    network = perceptron()
    flat = FlatParameters(network)
    end = torch.ones(len(flat))
    path = TrivialPath(parts_by_power(network, flat, [end, end]))
    out = torch.empty(len(flat))
    path.write(path.coefficients(column(0.25))[0].tolist(), out)
    for name, tensor in flat.to_named(out).items():
        layer = {"1": 1, "3": 2, "5": 3}[name[0]]
        expected = 0.5 if name.endswith("weight") else 0.5**layer
        assert torch.equal(tensor, torch.full_like(tensor, expected)), name


def test_trivial_path_has_the_length_of_its_polygon() -> None:
    network = nn.Sequential(nn.Linear(3, 2, bias=False))
    flat = FlatParameters(network)
    ends = torch.randn(2, len(flat))
    path = TrivialPath(parts_by_power(network, flat, list(ends)))
    # Without biases the path is two straight lines through the origin.
    assert curve_length(path, 121) == pytest.approx(ends.norm(dim=1).sum().item(), rel=1e-5)
    norms = lengths(path.gram(), path.coefficients(column(0.0, 0.25, 1.0)))
    expected = [ends[0].norm().item(), ends[0].norm().item() / 2, ends[1].norm().item()]
    assert norms.tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(7), nn.LayerNorm(7), nn.PReLU()])
def test_trivial_path_refuses_layers_that_do_not_scale(layer) -> None:
    network = nn.Sequential(nn.Linear(4, 7), layer, nn.ReLU(), nn.Linear(7, 2))
    flat = FlatParameters(network)
    with pytest.raises(UserError, match=rf"1 is {type(layer).__name__}; choose"):
        parts_by_power(network, flat, [flat.vector])


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.output = nn.Linear(4, 7), nn.Linear(4, 7), nn.Linear(7, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.output(self.first(inputs).relu() + self.second(inputs).relu())


@pytest.mark.parametrize(
    "network",
    [
        Branches(),
        nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 2)),
        nn.Sequential(nn.Linear(4, 7), nn.LayerNorm(7, elementwise_affine=False), nn.Linear(7, 2)),
    ],
)
def test_trivial_path_refuses_networks_whose_logits_do_not_scale(network) -> None:
    flat = FlatParameters(network)
    ends = torch.randn(2, len(flat))
    path = TrivialPath(parts_by_power(network, flat, list(ends)))
    with pytest.raises(UserError, match="predictions of this network change; choose"):
        check_trivial_path(network, flat, path, torch.randn(8, 4))
