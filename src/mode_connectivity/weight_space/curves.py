"""Curves between two endpoints: segment, polygonal chain, Bezier curve, and the trivial path."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.family import TrainableFamily
from mode_connectivity.weight_space.flat import FlatParameters


class Curve(TrainableFamily):
    """A curve phi(t), t in [0, 1], from the first vertex to the last.

    The endpoints stay fixed and the bends are trained: every step draws one t ~ U(0, 1)
    (Garipov et al. 2018, section 3.1, equation 3).
    """

    parameter_names = ("t",)

    def __init__(self, vertices: Tensor) -> None:
        super().__init__(vertices, trainable=range(1, len(vertices) - 1))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw one t ~ U(0, 1) and return its coefficients, float64 [1, K]."""
        return self.coefficients(torch.rand(1, 1, generator=generator, dtype=torch.float64))


class Polychain(Curve):
    """The polygonal chain through its vertices in equal shares of t; with two, the segment.

    Garipov et al. 2018, section 3.2, for any number of bends (A.1).
    """

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return max(0, 1 - |t (K - 1) - k|), float64 [T, K]."""
        vertices = torch.arange(len(self.vertices), dtype=torch.float64)
        position = parameters * (len(self.vertices) - 1)
        return (1.0 - (position - vertices).abs()).clamp_min(0.0)


class Bezier(Curve):
    """The Bezier curve with its vertices as control points.

    Garipov et al. 2018, section 3.2, for any number of bends (A.1).
    """

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the Bernstein polynomials C(n, k) t^k (1 - t)^(n - k), float64 [T, K]."""
        degree = len(self.vertices) - 1
        powers = torch.arange(degree + 1, dtype=torch.float64)
        binomials = torch.tensor(
            [math.comb(degree, k) for k in range(degree + 1)], dtype=torch.float64
        )
        return binomials * parameters**powers * (1.0 - parameters) ** (degree - powers)


class TrivialPath(Curve):
    """The path through the origin on which a ReLU network's predictions do not change.

    Garipov et al. 2018, A.6: along W_i(s) = s W_i, b_i(s) = s^i b_i (layer i of n, counted from
    the input) the logits are s^n times the network's. The path goes from the first network
    (t = 0, s = 1) to the origin (t = 1/2, s = 0) and on to the second. It is affine in the parts
    of the two networks that share a power of s, so the vertices are those 2 n parts.

    Args:
        vertices: the parts of the first network by power 1..n, then of the second, [2 n, P].
    """

    def __init__(self, vertices: Tensor) -> None:
        super().__init__(vertices)
        self.trainable = ()

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the powers of s on the side of the origin where t lies, float64 [T, 2 n]."""
        powers = torch.arange(1, len(self.vertices) // 2 + 1, dtype=torch.float64)
        first = (1.0 - 2.0 * parameters).clamp_min(0.0) ** powers
        second = (2.0 * parameters - 1.0).clamp_min(0.0) ** powers
        return torch.cat([first, second], dim=1)


CURVES: dict[str, type[Curve]] = {
    "segment": Polychain,
    "random_segment": Polychain,
    "polychain": Polychain,
    "bezier": Bezier,
    "trivial_path": TrivialPath,
}


def bends_on_segment(vertices: Tensor) -> None:
    """Place the bends of ``vertices`` [K, P] equally spaced on the segment between the ends.

    The start of curve training in all three papers (for one bend, the midpoint).
    """
    last = len(vertices) - 1
    for k in range(1, last):
        torch.lerp(vertices[0], vertices[last], k / last, out=vertices[k])


def random_end(start: Tensor, distance: float, seed: int) -> Tensor:
    """Return the end of a segment of given length from ``start`` [P] in a random direction.

    The direction is an isotropic Gaussian one. Figure 4 of Garipov et al. 2018 does not say how
    long its random segment is; with the distance of the two endpoints t means the same length on
    every curve of the figure.
    """
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(start.shape, generator=generator, dtype=start.dtype)
    direction *= distance / direction.norm(dtype=torch.float64).item()
    return start + direction.to(start.device)


def parts_by_power(network: nn.Module, flat: FlatParameters, vectors: Sequence[Tensor]) -> Tensor:
    """Split weight vectors into the parts that scale alike on the trivial path.

    Args:
        network: a feed-forward ReLU network whose modules register their parameters from input
            to output, without normalisation and without parallel branches.
        flat: the network's parameters as a vector.
        vectors: the endpoints, each [P].

    Returns:
        [len(vectors) * n, P] for n layers: part i holds the weights of power i and is zero
        elsewhere. Weights have power 1, the bias of layer i has power i.

    Raises:
        UserError: the network has a layer for which the path does not keep the predictions.
    """
    linear = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    powers: dict[str, int] = {}
    layer = 0
    for module_name, module in network.named_modules():
        own = dict(module.named_parameters(prefix=module_name, recurse=False))
        if not own:
            continue
        if not isinstance(module, linear):
            raise UserError(
                f"the trivial path needs a network of linear and convolutional layers with ReLU, "
                f"but {module_name or 'the network'} is {type(module).__name__}; choose a network "
                f"without normalisation"
            )
        layer += 1
        for name in own:
            powers[name] = layer if name.endswith("bias") else 1
    parts = torch.zeros(
        len(vectors) * layer, len(flat), dtype=flat.vector.dtype, device=flat.vector.device
    )
    for index, vector in enumerate(vectors):
        sources = flat.views(vector)
        for power in range(1, layer + 1):
            targets = flat.views(parts[index * layer + power - 1])
            for name, source, target in zip(flat.names, sources, targets, strict=True):
                if powers[name] == power:
                    target.copy_(source)
    return parts


@torch.inference_mode()
def check_trivial_path(
    network: nn.Module, flat: FlatParameters, path: TrivialPath, inputs: Tensor
) -> None:
    """Refuse a network whose predictions change on its trivial path.

    At s = 1/2 the logits must be 2^-n times those at s = 1. What a network's ``forward`` does
    between its layers (another activation, a sum of branches) shows only there.

    Args:
        network: the network whose parameters are views of ``flat.vector``; its weights are lost.
        flat: its parameters.
        path: the path through the origin.
        inputs: a few examples.

    Raises:
        UserError: the logits are others.
    """
    network.eval()
    logits = []
    for row in path.coefficients(torch.tensor([[0.0], [0.25]], dtype=torch.float64)).tolist():
        path.write(row, flat.vector)
        logits.append(network(inputs))
    layers = len(path.vertices) // 2
    if not torch.allclose(logits[0], logits[1] * 2.0**layers, rtol=1e-3, atol=1e-5):
        raise UserError(
            "the trivial path needs a chain of linear and convolutional layers with ReLU, but "
            "along it the predictions of this network change; choose a network without other "
            "activations and without parallel branches"
        )


def unit_grid(points: int) -> Tensor:
    """Return ``points`` equally spaced t in [0, 1], float64 [T, 1]; both ends are exact."""
    return torch.linspace(0.0, 1.0, points, dtype=torch.float64).unsqueeze(1)
