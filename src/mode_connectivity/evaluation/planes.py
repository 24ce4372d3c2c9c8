"""Planes, measured, and what lies on them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.evaluation.curves import evaluate_family
from mode_connectivity.evaluation.settings import EvaluationSettings, PlaneSettings
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.curves import load_curve
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.training.simplex_settings import VertexReference
from mode_connectivity.training.simplexes import load_point
from mode_connectivity.weight_space.curves import Curve, unit_grid
from mode_connectivity.weight_space.family import scalar_products
from mode_connectivity.weight_space.planes import Plane

CURVE_POINTS = 61
"""Points of a curve drawn on a plane, as in the reference code (plane.py)."""


@dataclass(frozen=True)
class PlaneSource:
    """The files that a plane is made from.

    Attributes:
        start: weights at the origin.
        end: weights of the second network.
        third: weights of the third network, or the vertices of ``curve``.
        curve: the curve whose first bend is the third point, if one is.
        iterates: networks that are projected onto the plane: label, epoch, and weights.
    """

    start: Path
    end: Path
    third: Path
    curve: CurveSettings | None
    iterates: Sequence[tuple[str, float, Path]] = ()

    @property
    def files(self) -> list[Path]:
        """The files."""
        return [self.start, self.end, self.third, *(path for _, _, path in self.iterates)]


def evaluate_plane(
    plane_settings: PlaneSettings,
    source: PlaneSource,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    grid: Path,
    points: Path,
    samples: Iterable[tuple[str, Tensor]] = (),
    fingerprint: object,
) -> None:
    """Measure a lattice of a plane and write it with the points that lie on the plane.

    Args:
        plane_settings: the plane, points a side and margin.
        source: the weights that span it.
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        grid: takes one row a lattice point: coordinates (x, y) in weight space, the same as
            shares of the plane's width and height (alpha, beta), and the measurements.
        points: takes the coordinates of the plane's corners, of the curve, of the iterates and of
            the samples.
        samples: further points that are projected onto the plane: label, and weights [P], which
            are used before the next one is asked for.
        fingerprint: identifies the job.
    """
    flat = workspace.flat
    vertices = flat.vector.new_empty(3, len(flat))
    load_point(source.end, plane_settings.end, workspace, vertices[1])
    curve = None
    if source.curve is not None:
        curve = load_curve(source.third, source.curve, workspace)
        vertices[2] = curve.vertices[1]
    else:
        load_point(source.third, plane_settings.third, workspace, vertices[2])
    load_point(source.start, plane_settings.start, workspace, vertices[0])
    plane = Plane(vertices)
    labels = (plane_settings.start, plane_settings.end, plane_settings.third)
    iterates = _read_iterates(source.iterates, workspace)
    located = points_on_plane(plane, labels, curve, iterates, samples)
    if source.iterates:
        # Each iterate has left its buffers in the network; those of the start hold.
        load_point(source.start, plane_settings.start, workspace, vertices[0])
    progress = Progress(grid.parent, fingerprint)
    evaluation = evaluate_family(
        plane,
        plane.lattice(plane_settings.points, plane_settings.margin),
        workspace,
        training,
        settings,
        predictions=False,
        progress=progress,
    )
    frame = evaluation.grid
    frame.insert(2, "alpha", frame["x"] / plane.width)
    frame.insert(3, "beta", frame["y"] / plane.height)
    write_frame(points, located)
    write_frame(grid, frame)
    progress.finish()


def points_on_plane(
    plane: Plane,
    labels: Sequence[str],
    curve: Curve | None,
    iterates: Iterable[tuple[str, float, Tensor]] = (),
    samples: Iterable[tuple[str, Tensor]] = (),
) -> pd.DataFrame:
    """Return the coordinates of a plane's corners and of what is projected onto it.

    Args:
        plane: the plane.
        labels: names of its three corners.
        curve: the curve whose first bend is the third corner, or nothing.
        iterates: further networks: label, epoch, and weights [P], which are used before the next
            one is asked for.
        samples: the same of networks that belong to no epoch.

    Returns:
        ``label, kind`` (endpoint, bend, connector, curve, iterate or sample)``, t`` (of a
        curve)``, x, y, epoch`` (of an iterate)``, distance`` (of the point itself from the plane).
    """
    kinds = [_kind(label, curve if label == labels[2] else None) for label in labels]
    corners = plane.coordinates(plane.gram_matrix).tolist()
    rows: list[tuple[str, str, float | None, float, float, float | None, float]] = [
        (label, kind, None, x, y, None, 0.0)
        for label, kind, (x, y) in zip(labels, kinds, corners, strict=True)
    ]
    if curve is not None:
        t = unit_grid(CURVE_POINTS)
        coordinates, distances = _project_curve(plane, curve, t)
        rows += [
            ("", "curve", value, x, y, None, distance)
            for value, (x, y), distance in zip(
                t[:, 0].tolist(), coordinates.tolist(), distances.tolist(), strict=True
            )
        ]
    for label, epoch, vector in iterates:
        x, y, distance = plane.project(vector)
        rows.append((label, "iterate", None, x, y, epoch, distance))
    for label, vector in samples:
        x, y, distance = plane.project(vector)
        rows.append((label, "sample", None, x, y, None, distance))
    return pd.DataFrame(rows, columns=["label", "kind", "t", "x", "y", "epoch", "distance"])


def _kind(label: str, curve: Curve | None) -> str:
    """Return what a corner of a plane is."""
    if curve is not None:
        return "bend"
    vertex = VertexReference.parse(label)
    return "connector" if vertex is not None and vertex.label.startswith("t") else "endpoint"


def _project_curve(plane: Plane, curve: Curve, t: Tensor) -> tuple[Tensor, Tensor]:
    """Return coordinates [T, 2] and distances [T] of the points of a curve through the corners."""
    coefficients = curve.coefficients(t)
    products = coefficients @ scalar_products(curve.vertices, plane.vertices)
    coordinates = plane.coordinates(products)
    if len(curve.vertices) == len(plane.vertices):
        return coordinates, torch.zeros(len(t), dtype=torch.float64)
    from_origin = (
        torch.einsum("tk,kl,tl->t", coefficients, curve.gram(), coefficients)
        - 2.0 * products[:, 0]
        + plane.gram_matrix[0, 0]
    )
    squares = from_origin - coordinates.square().sum(dim=1)
    return coordinates, squares.clamp_min(0.0).sqrt()


def _read_iterates(
    iterates: Sequence[tuple[str, float, Path]], workspace: Workspace
) -> Iterator[tuple[str, float, Tensor]]:
    """Read networks one at a time, each into the workspace's own vector."""
    network, flat = workspace.network, workspace.flat
    for label, epoch, path in Steps("iterate", len(iterates)).over(iterates):
        load_weights(path, network, flat, flat.vector)
        yield label, epoch, flat.vector
