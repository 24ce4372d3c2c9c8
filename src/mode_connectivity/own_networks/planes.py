"""The plane through networks of a user's own."""

from pathlib import Path

import pandas as pd
import torch

from mode_connectivity.evaluation.planes import PlaneSource, evaluate_plane
from mode_connectivity.evaluation.settings import PlaneSettings
from mode_connectivity.files import digest
from mode_connectivity.mistakes import validated
from mode_connectivity.own_networks.identity import measured_with, reserve
from mode_connectivity.own_networks.opening import OwnNetworks, check_format
from mode_connectivity.own_networks.settings import CURVE_TRAINING, OWN
from mode_connectivity.provenance import code_fingerprint
from mode_connectivity.reporting.curve_titles import curve_title
from mode_connectivity.reporting.figures.files import save
from mode_connectivity.reporting.figures.garipov2018 import (
    surface_of_test_error,
    surface_of_train_loss,
)
from mode_connectivity.reporting.figures.planes import Plane, draw_planes
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.curves import CURVE_FORMAT, load_curve
from mode_connectivity.training.networks import load_weights
from mode_connectivity.training.recipes import CurveSettings


def draw_plane(
    networks: OwnNetworks,
    start: Path,
    end: Path,
    third: Path,
    folder: Path,
    *,
    points: int = 21,
    margin: float = 0.2,
) -> pd.DataFrame:
    """Measure and draw the plane through three networks, or through two and the bend of a curve.

    Args:
        networks: the networks' architecture and data.
        start: weights at the origin.
        end: weights along the first axis.
        third: weights of a third network, or the ``vertices.safetensors`` of a curve between these
            two, which is drawn, too.
        folder: takes ``grid.csv``, ``points.csv`` and ``plane.png .pdf .csv .json``.
        points: lattice points a side.
        margin: around the triangle, as a share of its sides.

    Returns:
        The lattice: see `evaluate_plane`.

    Raises:
        UserError: the weights do not fit the network, a curve is not between these networks, or
            the folder holds another plane.
    """
    curve = _curve_in(third, start, end)
    networks.check(start, end, *([third] if curve is None else []))
    if curve is not None:
        _check_ends(networks, curve, third)
    lattice = {"points": points, "margin": margin}
    corners = {"start": str(start), "end": str(end), "third": str(third), "recipe": OWN}
    plane = validated(PlaneSettings, {**corners, **lattice}, "plane")
    source = PlaneSource(start, end, third, curve)
    identity = {
        **measured_with(networks),
        "plane": lattice,
        "weights": [digest(path) for path in source.files],
    }
    reserve(folder, identity)
    grid, located = folder / "grid.csv", folder / "points.csv"
    if not grid.exists():
        evaluate_plane(
            plane,
            source,
            networks.workspace,
            networks.recipe.training,
            networks.evaluation,
            grid=grid,
            points=located,
            fingerprint=[identity, code_fingerprint(Path(__file__))],
        )
    frame = pd.read_csv(grid)
    name = None if curve is None else curve_title(curve.kind)
    panel = Plane("", frame, pd.read_csv(located), curve=name)
    surfaces = [surface_of_train_loss(), surface_of_test_error()]
    drawing = draw_planes([panel], surfaces, where="the plane", title=networks.heading)
    save(*drawing, folder / "plane")
    return frame


def _curve_in(path: Path, start: Path, end: Path) -> CurveSettings | None:
    """Return the settings of a file's curve, or nothing where it is a network's weights."""
    check_format(path)
    _, metadata = load_tensors(path)
    if metadata.get("format") != CURVE_FORMAT:
        return None
    return CurveSettings.model_validate(
        {
            "kind": metadata.get("kind"),
            "start": str(start),
            "end": str(end),
            "recipe": OWN,
            "training": CURVE_TRAINING,
        }
    )


def _check_ends(networks: OwnNetworks, settings: CurveSettings, path: Path) -> None:
    """Refuse a curve between other networks than the two that it is drawn with."""
    workspace = networks.workspace
    vertices = load_curve(path, settings, workspace).vertices
    network = torch.empty_like(workspace.flat.vector)
    for end, vertex in ((settings.start, vertices[0]), (settings.end, vertices[-1])):
        load_weights(Path(end), workspace.network, workspace.flat, network)
        if not torch.equal(network, vertex):
            raise UserError(
                f"{path}: the curve does not lead from {settings.start} to {settings.end}: {end} "
                "is not its end; one that was aligned ends in the permuted network, which `align` "
                "writes"
            )
