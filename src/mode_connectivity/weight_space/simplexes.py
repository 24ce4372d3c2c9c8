"""Simplexes and complexes of simplexes: how points are drawn from them, and their volumes.

A complex is a list of simplexes over shared vertices (Benton et al. 2021, section 3); a simplex is
a tuple of indices of vertices.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.family import Family, Reduction, TrainableFamily

Simplexes = Sequence[tuple[int, ...]]
ChooseSimplex = Literal["uniform", "by_volume"]
VolumeMeasure = Literal["squared", "plain"]
ComplexVolume = Literal["all", "first"]

LOG_OFFSET = 1e-4
"""What the released code adds to a volume before it takes the logarithm."""
CHUNK = 1 << 16
"""Parameters converted to double precision at a time; this many stay in a processor's cache."""


def restricted(simplexes: Simplexes, count: int) -> list[tuple[int, ...]]:
    """Return a complex as it is while only its first ``count`` vertices are there.

    Each simplex keeps those of its vertices; faces of other simplexes and, beside larger ones,
    single vertices add nothing to the complex and are left out.
    """
    parts = dict.fromkeys(tuple(k for k in simplex if k < count) for simplex in simplexes)
    whole = [part for part in parts if part and not any(set(part) < set(other) for other in parts)]
    return [part for part in whole if len(part) > 1] or whole


def check_simplexes(simplexes: Simplexes, vertices: int) -> None:
    """Refuse a complex that has no volume or no such vertices.

    Raises:
        UserError: a simplex has fewer than two vertices, one of them twice, or an unknown one.
    """
    for simplex in simplexes:
        if len(simplex) < 2:
            raise UserError(
                f"simplex {list(simplex)} has {len(simplex)} vertices; a simplex needs at least 2"
            )
        if len(set(simplex)) < len(simplex):
            raise UserError(f"simplex {list(simplex)} names a vertex twice: its volume is zero")
        unknown = [k for k in simplex if not 0 <= k < vertices]
        if unknown:
            raise UserError(
                f"simplex {list(simplex)} names vertex {unknown[0]}; there are {vertices}, "
                "counted from 0"
            )


def draw_points(
    simplexes: Simplexes,
    vertices: int,
    count: int,
    generator: torch.Generator,
    shares: Tensor | None = None,
) -> Tensor:
    """Draw points of a complex: a simplex, then flat Dirichlet coefficients in it.

    Normalised draws from Exp(1) (Benton et al. 2021, A.1) are uniform on any simplex, whatever its
    shape; the paper doubts it, but an affine map has a constant Jacobian. On a complex they are
    uniform if each simplex is chosen in proportion to its volume.

    Args:
        simplexes: the complex.
        vertices: number of vertices, K.
        count: number of points.
        generator: draws.
        shares: probability of each simplex, up to a factor; all alike if omitted.

    Returns:
        Coefficients, float64 [count, K].
    """
    member = torch.zeros(len(simplexes), vertices, dtype=torch.float64)
    for row, simplex in zip(member, simplexes, strict=True):
        row[list(simplex)] = 1.0
    if len(simplexes) == 1:
        chosen = torch.zeros(count, dtype=torch.int64)
    else:
        even = torch.ones(len(simplexes), dtype=torch.float64)
        shares = even if shares is None else shares
        chosen = torch.multinomial(shares, count, replacement=True, generator=generator)
    weights = torch.empty(count, vertices, dtype=torch.float64).exponential_(generator=generator)
    weights *= member[chosen]
    return weights / weights.sum(dim=1, keepdim=True)


def edge_products(vertices: Tensor, rows: slice = slice(None), *, chunk: int = CHUNK) -> Tensor:
    """Return the scalar products of the vertices as seen from the first, in double precision.

    Args:
        vertices: [K, P].
        rows: which of them are multiplied with all; all if omitted.
        chunk: parameters converted to double precision at a time.

    Returns:
        float64 [J, K] on the CPU, for J rows.
    """
    # One buffer for all chunks: making a new one each time took five times as long.
    buffer = torch.empty(len(vertices), chunk, dtype=torch.float64, device=vertices.device)
    count = len(range(len(vertices))[rows])
    products = buffer.new_zeros(count, len(vertices))
    for start in range(0, vertices.shape[1], chunk):
        part = vertices[:, start : start + chunk]
        ends = buffer[:, : part.shape[1]].copy_(part)
        products.addmm_(ends[rows] - ends[0], ends.T)
    # <e, v> - <e, origin>: one pass less than moving all the ends.
    return (products - products[:, :1]).cpu()


def log_volumes(products: Tensor, simplexes: Simplexes) -> Tensor:
    """Return the natural logarithm of each simplex's volume, float64 [S]; of none, -inf.

    V^2 = det(G) / (n!)^2 with the Gram matrix G of the n edges from one vertex, which is what the
    Cayley-Menger determinant of Benton et al. 2021 (A.1) comes to, without its cancellation.

    Args:
        products: scalar products of the vertices seen from any one origin, float64 [K, K].
        simplexes: the complex.
    """
    logs = []
    for base, *others in simplexes:
        gram = _from_vertex(products, base)[others][:, others]
        sign, log = torch.linalg.slogdet(gram)
        # Rounding may leave the determinant of a degenerate simplex below zero.
        log = log if sign > 0 else torch.full_like(log, -math.inf)
        logs.append(0.5 * log - math.lgamma(len(others) + 1))
    return torch.stack(logs)


def volumes(vertices: Tensor, simplexes: Simplexes) -> Tensor:
    """Return the volumes of simplexes, float64 [S].

    Args:
        vertices: [K, P].
        simplexes: the complex.

    Raises:
        UserError: a simplex has fewer than two vertices, one of them twice, or an unknown one.
    """
    check_simplexes(simplexes, len(vertices))
    return log_volumes(edge_products(vertices), simplexes).exp()


def log_measure(
    products: Tensor, simplexes: Simplexes, volume: VolumeMeasure, complex_volume: ComplexVolume
) -> float:
    """Return the logarithm of a complex's volume plus 1e-4, as the regulariser takes it.

    Args:
        products: scalar products of the vertices seen from any one origin, float64 [K, K].
        simplexes: the complex.
        volume: squared, as the released code has it, or plain, as the paper.
        complex_volume: of all simplexes, or of the first alone, as the released code has it.
    """
    counted = simplexes[:1] if complex_volume == "first" else simplexes
    logs = _power(volume) * log_volumes(products, counted)
    return float(_log_sum(logs))


class Complex(TrainableFamily):
    """Simplexes over shared vertices, of which the last vertex is trained.

    Each step draws H points (Benton et al. 2021, section 3.1) from the simplexes that the trained
    vertex belongs to: a point of any other would not move it.

    Attributes:
        simplexes: the complex.
        products: scalar products of the vertices seen from the first, float64 [K, K].

    Args:
        vertices: [K, P].
        simplexes: indices of the vertices of each.
        samples: H, points a step.
        choose_simplex: uniform, as the released code does, or by_volume.
        reduction: whether the losses at the points are summed or averaged.

    Raises:
        UserError: a simplex has fewer than two vertices, one of them twice, or an unknown one.
    """

    def __init__(
        self,
        vertices: Tensor,
        simplexes: Simplexes,
        *,
        samples: int = 5,
        choose_simplex: ChooseSimplex = "uniform",
        reduction: Reduction = "sum",
    ) -> None:
        check_simplexes(simplexes, len(vertices))
        last = len(vertices) - 1
        super().__init__(vertices, trainable=(last,))
        self.parameter_names = tuple(f"weight_{k}" for k in range(len(vertices)))
        self.simplexes = tuple(simplexes)
        self.reduction = reduction
        self._samples = samples
        self._choose_simplex = choose_simplex
        self._drawn = [simplex for simplex in simplexes if last in simplex]

    @cached_property
    def products(self) -> Tensor:
        """Scalar products of the vertices seen from the first."""
        return edge_products(self.vertices)

    def refresh(self) -> Tensor:
        """Measure the trained vertex anew, the only one that moves, and return ``products``."""
        row = edge_products(self.vertices, slice(-1, None))[0]
        self.products[-1] = row
        self.products[:, -1] = row
        return self.products

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the parameters: the weights of the vertices themselves, float64 [T, K]."""
        return parameters

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw the points of one step, float64 [H, K]."""
        shares = None
        if self._choose_simplex == "by_volume" and len(self._drawn) > 1:
            shares = volume_shares(self.refresh(), self._drawn)
        return draw_points(self._drawn, len(self.vertices), self._samples, generator, shares)

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Write the point ``coefficients @ vertices`` into ``out`` [P], in one pass."""
        torch.mv(self.vertices.T, out.new_tensor(coefficients), out=out)


def volume_shares(products: Tensor, simplexes: Simplexes) -> Tensor:
    """Return each simplex's share of the volume, float64 [S]; all alike where there is none."""
    logs = log_volumes(products, simplexes)
    if bool(logs.isneginf().all()):
        return torch.full_like(logs, 1.0 / len(logs))
    return logs.softmax(dim=0)


class DrawnPoints(Family):
    """Given points of the span of some vertices, such as those drawn from a complex.

    Args:
        vertices: [K, P].
        rows: the coefficients of each point, float64 [T, K].
    """

    parameter_names = ("sample",)

    def __init__(self, vertices: Tensor, rows: Tensor) -> None:
        super().__init__(vertices)
        self._rows = rows

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the rows of the points, float64 [T, K].

        Args:
            parameters: [T, 1], numbers of the points, counted from 1.
        """
        return self._rows[parameters[:, 0].long() - 1]


@dataclass(frozen=True)
class _Corner:
    """A simplex seen from its trained vertex: all that stays while that vertex moves.

    Attributes:
        base: a fixed vertex.
        others: the further fixed vertices.
        factor: Cholesky factor of the Gram matrix of their edges from ``base``.
        log_face: logarithm of the volume of the face of all fixed vertices.
    """

    base: int
    others: list[int]
    factor: Tensor
    log_face: float


class VolumeRegulariser:
    """``-strength * log(V + 1e-4)`` of a complex, with its gradient (Benton et al. 2021, eq. 1).

    The volume of a simplex is that of the face of its fixed vertices, times the height h of the
    trained one over it, over n. So the gradient of log V is the height's vector over h^2: a linear
    combination of the vertices whose coefficients come from K x K algebra in double precision.
    It is zero where the simplex is degenerate: where the height is no longer than what rounding
    the vertices makes of nothing, as at the start of the first vertex grown from one network.

    The released code squares the volume (``simplex_helpers.py``) and takes the first simplex only
    (``simplex_models.py``); both are settings here.

    Args:
        simplexes: the complex, whose last vertex is trained.
        strength: lambda, at least 0.
        volume: whether V is the square of the volume, or the volume.
        complex_volume: whether V is the sum over all simplexes, or of the first alone.
    """

    def __init__(
        self,
        simplexes: Complex,
        strength: float,
        *,
        volume: VolumeMeasure = "squared",
        complex_volume: ComplexVolume = "first",
    ) -> None:
        self.strength = strength
        self._complex = simplexes
        self._power = _power(volume)
        self._trained = len(simplexes.vertices) - 1
        counted = simplexes.simplexes[:1] if complex_volume == "first" else simplexes.simplexes
        products = simplexes.products
        fixed = [simplex for simplex in counted if self._trained not in simplex]
        self._logs_of_fixed = self._power * log_volumes(products, fixed) if fixed else None
        self._corners = [
            corner
            for simplex in counted
            if self._trained in simplex
            and (corner := _corner(products, simplex, self._trained)) is not None
        ]
        self._rounding = (
            torch.finfo(simplexes.vertices.dtype).eps * simplexes.vertices.norm(dim=1).max().item()
        )

    def value_and_coefficients(self) -> tuple[float, Tensor]:
        """Return the value, and its gradient as coefficients of the vertices, float64 [K].

        At the place where the trained vertex is now.
        """
        products = self._complex.refresh()
        logs, slopes = [], []
        for corner in self._corners:
            log, slope = self._height(products, corner)
            logs.append(self._power * log)
            slopes.append(self._power * slope)
        every = torch.tensor(logs, dtype=torch.float64)
        total = _log_sum(
            every if self._logs_of_fixed is None else torch.cat([every, self._logs_of_fixed])
        )
        coefficients = torch.zeros(self._trained + 1, dtype=torch.float64)
        for log, slope in zip(every, slopes, strict=True):
            coefficients -= self.strength * (log - total).exp() * slope
        return -self.strength * total.item(), coefficients

    def add_gradient(self, gradients: Sequence[Tensor]) -> float:
        """Add the gradient to that of the trained vertex, and return the value.

        Args:
            gradients: of the trained vertices: the one, [P].
        """
        value, coefficients = self.value_and_coefficients()
        if coefficients.any():
            (gradient,) = gradients
            gradient.addmv_(self._complex.vertices.T, coefficients.to(gradient))
        return value

    def _height(self, products: Tensor, corner: _Corner) -> tuple[float, Tensor]:
        """Return log V of a simplex, and the coefficients of its gradient, float64 [K]."""
        seen = _from_vertex(products, corner.base)
        slope = torch.zeros(len(products), dtype=torch.float64)
        squared = seen[self._trained, self._trained].item()
        noise = 8 * (len(corner.others) + 1) * torch.finfo(torch.float64).eps * squared
        foot = torch.zeros(0, dtype=torch.float64)
        if corner.others:
            along = seen[corner.others, self._trained]
            foot = torch.cholesky_solve(along.unsqueeze(1), corner.factor)[:, 0]
            squared -= (foot @ along).item()
        if squared <= max(noise, self._rounding**2):
            return -math.inf, slope
        slope[self._trained] = 1.0
        slope[corner.others] = -foot
        slope[corner.base] = foot.sum() - 1.0
        log = corner.log_face + 0.5 * math.log(squared) - math.log(len(corner.others) + 1)
        return log, slope / squared


def _corner(products: Tensor, simplex: tuple[int, ...], trained: int) -> _Corner | None:
    """Return a simplex seen from its trained vertex; nothing where the others have no volume."""
    base, *others = (k for k in simplex if k != trained)
    gram = _from_vertex(products, base)[others][:, others]
    factor, failed = torch.linalg.cholesky_ex(gram)
    if failed:
        return None
    log_face = factor.diagonal().log().sum().item() - math.lgamma(len(others) + 1)
    return _Corner(base, others, factor, log_face)


def _from_vertex(products: Tensor, base: int) -> Tensor:
    """Return the scalar products of the vertices seen from one of them."""
    row = products[base]
    return products - row.unsqueeze(0) - row.unsqueeze(1) + row[base]


def _power(volume: VolumeMeasure) -> float:
    return 2.0 if volume == "squared" else 1.0


def _log_sum(logs: Tensor) -> Tensor:
    """Return log(sum of exp(logs) + 1e-4), a scalar."""
    offset = torch.full((1,), math.log(LOG_OFFSET), dtype=torch.float64)
    return torch.cat([logs, offset]).logsumexp(dim=0)
