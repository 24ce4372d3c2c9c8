"""Affine subspaces of weight space with coordinates of their own."""

import torch
from torch import Tensor

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.curves import Curve
from mode_connectivity.weight_space.family import Family


class Subspace(Family):
    """The points ``(mean + z @ basis) @ vertices`` with coordinates z.

    Args:
        vertices: that span it, [K, P].
        mean: coefficients of the point z = 0, float64 [K], of sum 1.
        basis: coefficients of the directions, float64 [D, K], each of sum 0.
    """

    def __init__(self, vertices: Tensor, mean: Tensor, basis: Tensor) -> None:
        super().__init__(vertices)
        self._mean = mean
        self._basis = basis
        self.parameter_names = tuple(f"z{index}" for index in range(1, len(basis) + 1))

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return ``mean + parameters @ basis``, float64 [T, K]."""
        return self._mean + parameters @ self._basis


def curve_subspace(curve: Curve) -> Subspace:
    """Return the plane of a curve as Izmailov et al. 2019 infer in it.

    In the code of their regression it goes through three points of the curve, its ends and its
    middle t = 1/2. Its origin is their mean; the first direction is that from end to end over the
    square root of 3, the second the rest of that from the start to the middle, orthogonal to the
    first, over 1.5. In these coordinates the ends are near (-0.87, -0.5) and (0.87, -0.5) and the
    middle is near (0, 1): all three are at distance 1 from the origin where the middle lies above
    the half of the way, so that a standard deviation of 1 reaches them. (The paper's text has
    directions of length 1 instead, among which a prior of standard deviation 1 would see a small
    part of the curve only.)

    Args:
        curve: a curve with bends.

    Raises:
        UserError: the three points lie on a line.
    """
    places = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    start, middle, end = curve.coefficients(places)
    along, across = end - start, middle - start
    gram = curve.gram()
    square = along @ gram @ along
    across = across - (along @ gram @ across) / square * along
    height = (across @ gram @ across).clamp_min(0.0).sqrt()
    if not height >= 1e-6 * square.sqrt():
        raise UserError(
            "the subspace of a curve needs three points that are not on a line; choose a curve "
            "with a trained bend"
        )
    return Subspace(
        curve.vertices,
        (start + middle + end) / 3,
        torch.stack([along / 3**0.5, across / 1.5]),
    )
