"""Points drawn from triangles by the sampler that draws those of simplexes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class SampledTriangle:
    """A triangle in three dimensions, and points drawn from it.

    Attributes:
        vertices: [3, 3], one a row.
        coefficients: of the points, which of each vertex, [N, 3].
    """

    vertices: Array
    coefficients: Array

    @property
    def points(self) -> Array:
        """The points, [N, 3]."""
        points: Array = self.coefficients @ self.vertices
        return points

    @property
    def shares_above(self) -> Array:
        """The share of the area on the far side, seen from the last vertex, of each point, [N].

        Of the line through the point that is parallel to the opposite edge. Uniform points have
        shares that are uniform in [0, 1], whatever the shape of the triangle.
        """
        shares: Array = 1.0 - (1.0 - self.coefficients[:, -1]) ** 2
        return shares


def triangles(samples: int, scale: float, seed: int) -> tuple[SampledTriangle, SampledTriangle]:
    """Draw from the triangle of the unit vectors, and from one whose last vertex is longer.

    Benton et al. 2021 (figure A.2) compare the two to see how far normalised draws from Exp(1) are
    uniform; the draws for one triangle are other ones than for the other.

    Args:
        samples: from each.
        scale: length of the last vertex of the second triangle.
        seed: of the draws.
    """
    import torch

    from mode_connectivity.weight_space.simplexes import draw_points

    generator = torch.Generator().manual_seed(seed)
    drawn = [draw_points([(0, 1, 2)], 3, samples, generator).numpy() for _ in range(2)]
    return (
        SampledTriangle(np.eye(3), drawn[0]),
        SampledTriangle(np.diag([1.0, 1.0, scale]), drawn[1]),
    )
