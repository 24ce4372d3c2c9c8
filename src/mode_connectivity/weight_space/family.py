"""Affine families: a stack of vertices and a rule that turns a parameter into coefficients."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

Reduction = Literal["sum", "mean"]


class Family(ABC):
    """Networks whose weights are ``coefficients @ vertices``.

    Attributes:
        vertices: the points of weight space that span the family, shape [K, P].
        parameter_names: the names of the parameters that a point of the family has.
        own_statistics: whether its points come with the batch-norm statistics of a training; those
            of any other family are re-estimated.
    """

    parameter_names: tuple[str, ...] = ()
    own_statistics = False

    def __init__(self, vertices: Tensor) -> None:
        self.vertices = vertices

    @abstractmethod
    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the affine weights of the vertices.

        Args:
            parameters: float64 [T, D], a row a point; D is ``len(parameter_names)``.

        Returns:
            float64 [T, K].
        """

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Write the point ``coefficients @ vertices`` into ``out`` [P].

        Vertices with coefficient zero are skipped, so that a point that is a vertex is that
        vertex to the bit. Nothing is written where the family's only vertex is ``out`` itself.
        """
        if self.vertices.data_ptr() == out.data_ptr():
            return
        terms = [
            (vertex, coefficient)
            for vertex, coefficient in zip(self.vertices, coefficients, strict=True)
            if coefficient != 0.0
        ]
        if not terms:
            out.zero_()
            return
        torch.mul(terms[0][0], terms[0][1], out=out)
        for vertex, coefficient in terms[1:]:
            out.add_(vertex, alpha=coefficient)

    def gram(self) -> Tensor:
        """Return the scalar products of the vertices, float64 [K, K] on the CPU."""
        return scalar_products(self.vertices, self.vertices)


class Regulariser(Protocol):
    """What is added to the loss of a family, and depends on its vertices alone."""

    def add_gradient(self, gradients: Sequence[Tensor]) -> float:
        """Add to the gradients of the trainable vertices, each [P], and return the value."""
        ...


class TrainableFamily(Family):
    """A family with vertices that training moves.

    Attributes:
        trainable: the indices of those vertices.
        reduction: whether the losses at the points of one step are summed or averaged.
        regulariser: what is added to the loss, or nothing.
    """

    reduction: Reduction = "sum"
    regulariser: Regulariser | None = None

    def __init__(self, vertices: Tensor, trainable: Sequence[int]) -> None:
        super().__init__(vertices)
        self.trainable = tuple(trainable)

    @abstractmethod
    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw the points of one training step: coefficients, float64 [H, K]."""


class Point(TrainableFamily):
    """A single network: the family with one vertex.

    Args:
        vector: the network's own flat vector [P]; training moves the network in place.
    """

    own_statistics = True

    def __init__(self, vector: Tensor) -> None:
        super().__init__(vector.unsqueeze(0), trainable=(0,))

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return ones, float64 [T, 1]."""
        return torch.ones(len(parameters), 1, dtype=torch.float64)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Return the one point there is, without drawing."""
        return torch.ones(1, 1, dtype=torch.float64)


def scalar_products(first: Tensor, second: Tensor, *, chunk: int = 1 << 20) -> Tensor:
    """Return the scalar products of two stacks of vectors.

    Computed in double precision by chunks of the parameters, so that the lengths derived from
    them do not suffer from cancellation and no double copy of the vectors is held.

    Args:
        first: [K, P].
        second: [L, P].
        chunk: parameters converted at a time.

    Returns:
        float64 [K, L], on the CPU.
    """
    products = torch.zeros(len(first), len(second), dtype=torch.float64, device=first.device)
    for start in range(0, first.shape[1], chunk):
        part = slice(start, start + chunk)
        products.addmm_(first[:, part].double(), second[:, part].double().T)
    return products.cpu()


def norm(vector: Tensor) -> float:
    """Return the Euclidean norm of a vector [P], summed in double precision."""
    row = vector.unsqueeze(0)
    return float(scalar_products(row, row).sqrt())


def lengths(gram: Tensor, differences: Tensor) -> Tensor:
    """Return the Euclidean lengths of ``differences @ vertices``.

    Args:
        gram: the scalar products of the vertices, float64 [K, K].
        differences: float64 [T, K]; differences of coefficients give distances, coefficients
            themselves give norms.

    Returns:
        float64 [T].
    """
    squares = torch.einsum("tk,kl,tl->t", differences, gram, differences)
    return squares.clamp_min(0.0).sqrt()


def arc_lengths(gram: Tensor, coefficients: Tensor) -> Tensor:
    """Return the length of the polygon through the points up to each of them, float64 [T].

    The sum of the distances of consecutive grid points, as the paper measures the length of a
    curve (Garipov et al. 2018, A.3).
    """
    steps = lengths(gram, coefficients.diff(dim=0))
    return torch.cat([torch.zeros(1, dtype=torch.float64), steps.cumsum(0)])
