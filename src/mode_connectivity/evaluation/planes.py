"""Planes, measured, and what lies on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mode_connectivity.evaluation.curves import evaluate_family
from mode_connectivity.evaluation.settings import EvaluationSettings, PlaneSettings
from mode_connectivity.files import write_frame
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.curves import load_curve
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
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
    """

    start: Path
    end: Path
    third: Path
    curve: CurveSettings | None

    @property
    def files(self) -> list[Path]:
        """The files."""
        return [self.start, self.end, self.third]


def evaluate_plane(
    plane_settings: PlaneSettings,
    source: PlaneSource,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    grid: Path,
    points: Path,
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
        points: takes the coordinates of the plane's corners and of the curve.
        fingerprint: identifies the job.
    """
    network, flat = workspace.network, workspace.flat
    vertices = flat.vector.new_empty(3, len(flat))
    load_weights(source.end, network, flat, vertices[1])
    curve = None
    if source.curve is not None:
        curve = load_curve(source.third, source.curve, workspace)
        vertices[2] = curve.vertices[1]
    else:
        load_weights(source.third, network, flat, vertices[2])
    load_weights(source.start, network, flat, vertices[0])
    plane = Plane(vertices)
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
    labels = (plane_settings.start, plane_settings.end, plane_settings.third)
    write_frame(points, points_on_plane(plane, labels, curve))
    write_frame(grid, frame)
    progress.finish()


def points_on_plane(plane: Plane, labels: Sequence[str], curve: Curve | None) -> pd.DataFrame:
    """Return the coordinates of a plane's corners and of a curve projected onto it.

    Args:
        plane: the plane.
        labels: names of its three corners.
        curve: the curve whose first bend is the third corner, or nothing.
    """
    kinds = ("endpoint", "endpoint", "endpoint" if curve is None else "bend")
    corners = plane.coordinates(plane.gram_matrix).tolist()
    rows = [
        {"label": label, "kind": kind, "t": None, "x": x, "y": y}
        for label, kind, (x, y) in zip(labels, kinds, corners, strict=True)
    ]
    if curve is not None:
        t = unit_grid(CURVE_POINTS)
        products = curve.coefficients(t) @ scalar_products(curve.vertices, plane.vertices)
        rows += [
            {"label": "", "kind": "curve", "t": value, "x": x, "y": y}
            for value, (x, y) in zip(
                t[:, 0].tolist(), plane.coordinates(products).tolist(), strict=True
            )
        ]
    return pd.DataFrame(rows)
