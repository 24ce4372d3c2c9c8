"""The affine plane through three points of weight space."""

import torch
from torch import Tensor

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.family import Family, scalar_products


class Plane(Family):
    """The plane through three points, with the orthonormal basis of Garipov et al. 2018.

    The origin is the first vertex; u points to the second, v is the part of the direction to the
    third that is orthogonal to u (footnote 1 of the paper). Coordinates (x, y) are lengths in
    weight space along u and v.

    Attributes:
        width: distance of the second vertex from the first (dx).
        height: distance of the third vertex from the line through the first two (dy).
        shift: x of the third vertex.

    Raises:
        UserError: the three points lie on a line.
    """

    parameter_names = ("x", "y")

    def __init__(self, vertices: Tensor) -> None:
        super().__init__(vertices)
        self.gram_matrix = self.gram()
        edges = torch.tensor([[-1.0, 1.0, 0.0], [-1.0, 0.0, 1.0]], dtype=torch.float64)
        products = edges @ self.gram_matrix @ edges.T
        self.width = products[0, 0].clamp_min(0.0).sqrt().item()
        along = products[0, 1].item()
        self.shift = along / self.width if self.width else 0.0
        self.height = max(0.0, products[1, 1].item() - self.shift**2) ** 0.5
        if not self.width or self.height < 1e-6 * self.width:
            raise UserError(
                "the three points of the plane lie on a line "
                f"(width {self.width:.6g}, height {self.height:.6g}): name three different points"
            )

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the affine coefficients of the points (x, y), float64 [T, 3]."""
        third = parameters[:, 1] / self.height
        second = (parameters[:, 0] - third * self.shift) / self.width
        return torch.stack([1.0 - second - third, second, third], dim=1)

    def coordinates(self, products: Tensor) -> Tensor:
        """Project points orthogonally onto the plane.

        Args:
            products: scalar products of each point with the three vertices, float64 [T, 3].

        Returns:
            (x, y), float64 [T, 2].
        """
        relative = products - self.gram_matrix[0]
        x = (relative[:, 1] - relative[:, 0]) / self.width
        y = (relative[:, 2] - relative[:, 0] - self.shift * x) / self.height
        return torch.stack([x, y], dim=1)

    def project(self, vector: Tensor, *, chunk: int = 1 << 20) -> tuple[float, float, float]:
        """Project one point orthogonally onto the plane.

        Gotmare et al. 2018, A.2, print a least squares without a constraint on its three
        coefficients: its solution is the nearest point of the three-dimensional span of the three
        points, which in general does not lie in their plane. The text (section 5) speaks of the
        plane of affine combinations, which is what their figures show; so the coefficients sum to
        one here.

        Args:
            vector: the point, shape [P].
            chunk: parameters converted to double precision at a time.

        Returns:
            x and y of its projection, and its distance from the plane; lengths in weight space.
        """
        point = self.coordinates(scalar_products(vector.unsqueeze(0), self.vertices, chunk=chunk))
        coefficients = self.coefficients(point)[0].to(vector.device)
        square = torch.zeros((), dtype=torch.float64, device=vector.device)
        # Scalar products alone would give it too, but only as a small difference of large numbers.
        for start in range(0, len(vector), chunk):
            part = slice(start, start + chunk)
            foot = coefficients @ self.vertices[:, part].double()
            square += (vector[part].double() - foot).square().sum()
        x, y = point[0].tolist()
        return x, y, square.sqrt().item()

    def lattice(self, points: int, margin: float) -> Tensor:
        """Return a lattice over the triangle with a margin on each side, x varying fastest.

        The reference code's goes from the first to the second point; here also to a third that
        lies before or beyond them.

        Args:
            points: points a side.
            margin: the margin in units of the plane's width and height, 0.2 in the reference
                code of Garipov et al. 2018.

        Returns:
            (x, y), float64 [points^2, 2].
        """
        third = self.shift / self.width
        left, right = min(0.0, third) - margin, max(1.0, third) + margin
        along = torch.linspace(left, right, points, dtype=torch.float64)
        share = torch.linspace(-margin, 1.0 + margin, points, dtype=torch.float64)
        y, x = torch.meshgrid(share * self.height, along * self.width, indexing="ij")
        return torch.stack([x.reshape(-1), y.reshape(-1)], dim=1)
