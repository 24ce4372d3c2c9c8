"""Curves between trained networks: their vertices on disk, and the training of their bends."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.files import write_frame
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.alignment import align
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.loop import Recorder, train
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.vertices import read_vertex, save_vertices, stacked_vertices
from mode_connectivity.weight_space.curves import (
    CURVES,
    Curve,
    TrivialPath,
    bends_on_segment,
    check_trivial_path,
    parts_by_power,
    random_end,
)

CURVE_FORMAT = "mode_connectivity.curve.1"
"""Of a file of vertices."""


@dataclass(frozen=True)
class CurveSource:
    """The files that a curve is made from: the weights at its ends, or its trained vertices."""

    start: Path | None = None
    end: Path | None = None
    vertices: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files that there are."""
        return [path for path in (self.start, self.end, self.vertices) if path is not None]


def open_curve(settings: CurveSettings, source: CurveSource, workspace: Workspace) -> Curve:
    """Return a curve: as it was trained where there are vertices, else between its ends."""
    if source.vertices is not None:
        return load_curve(source.vertices, settings, workspace)
    return straight_curve(settings, source, workspace)


def straight_curve(settings: CurveSettings, source: CurveSource, workspace: Workspace) -> Curve:
    """Build a curve as it is before training: with its bends on the segment.

    The network's buffers become those of the network at the start; its batch-norm statistics do
    not matter, as every point gets its own. Where the settings ask for alignment, the last vertex
    is the end's network with its units permuted to match the start's.
    """
    if source.start is None or source.end is None:
        raise ValueError("the weights at both ends are needed")
    flat, network = workspace.flat, workspace.network
    bends = settings.bends if settings.trained else 0
    vertices = torch.empty(bends + 2, len(flat), dtype=flat.vector.dtype, device=flat.vector.device)
    load_weights(source.end, network, flat, vertices[-1])
    buffers_of_end = {name: buffer.clone() for name, buffer in network.named_buffers()}
    load_weights(source.start, network, flat, vertices[0])
    if settings.alignment is not None:
        first, second = (
            dict(zip(flat.names, flat.views(vertex), strict=True))
            for vertex in (vertices[0], vertices[-1])
        )
        permuted = align(
            settings.alignment,
            workspace,
            first | dict(network.named_buffers()),
            second | buffers_of_end,
        )
        for name, view in second.items():
            view.copy_(permuted[name])
    if settings.kind == "trivial_path":
        path = TrivialPath(parts_by_power(network, flat, list(vertices)))
        inputs, _ = next(workspace.dataset.train.batches(8, window=1))
        check_trivial_path(network, flat, path, inputs)
        return path
    if settings.kind == "random_segment":
        distance = (vertices[-1] - vertices[0]).norm(dtype=torch.float64).item()
        start = flat.to_canonical(vertices[0])
        flat.from_canonical(random_end(start, distance, settings.seed), vertices[-1])
    bends_on_segment(vertices)
    return CURVES[settings.kind](vertices)


def save_curve(path: Path, settings: CurveSettings, curve: Curve, workspace: Workspace) -> None:
    """Write a curve's vertices: for each parameter of the network a tensor [K, *shape]."""
    save_vertices(
        path,
        curve.vertices,
        workspace,
        {
            "format": CURVE_FORMAT,
            "kind": settings.kind,
            "trainable": json.dumps(curve.trainable),
        },
    )


def load_curve(path: Path, settings: CurveSettings, workspace: Workspace) -> Curve:
    """Read a curve's vertices.

    Raises:
        UserError: the file is missing, damaged, of another kind of curve or another network.
    """
    tensors = _read_vertices(path, settings)
    count = len(next(iter(tensors.values())))
    vertices = stacked_vertices(tensors, range(count), workspace, source=path)
    return CURVES[settings.kind](vertices)


def load_bend(path: Path, settings: CurveSettings, workspace: Workspace, out: Tensor) -> None:
    """Read the first bend of a curve into ``out`` [P], and none of its other vertices.

    Raises:
        UserError: as by ``load_curve``.
    """
    read_vertex(_read_vertices(path, settings), 1, workspace, out, source=path)


def _read_vertices(path: Path, settings: CurveSettings) -> dict[str, Tensor]:
    """Return the tensors [K, *shape] of a file of vertices, mapped into memory."""
    tensors, metadata = load_tensors(path)
    if metadata.get("kind") != settings.kind:
        raise UserError(f"{path}: holds a {metadata.get('kind')}, not a {settings.kind}")
    return tensors


def train_curve(
    settings: CurveSettings,
    workspace: Workspace,
    source: CurveSource,
    *,
    vertices: Path,
    history: Path,
    snapshots: Path,
    fingerprint: object,
) -> pd.DataFrame:
    """Train the bends of a curve between two fixed networks and write its vertices.

    Minimises the expected loss at t ~ U(0, 1) (Garipov et al. 2018, equation 3), from the bends'
    places on the segment.

    Args:
        settings: the curve and its training.
        workspace: the network and the data set.
        source: the weights at the two ends.
        vertices: takes the curve.
        history: takes one row an epoch as CSV.
        snapshots: folder that takes the curve at each snapshot epoch.
        fingerprint: identifies the job's settings, inputs and code for its checkpoint.

    Returns:
        The history.
    """
    if settings.training is None:
        raise ValueError(f"a {settings.kind} has nothing to train")
    curve = straight_curve(settings, source, workspace)
    progress = Progress(vertices.parent, fingerprint)
    record = train(
        workspace.network,
        workspace.flat,
        curve,
        workspace.dataset.train,
        settings.training,
        seed=settings.seed,
        checkpoint=progress.checkpoint,
        recorder=Recorder(
            snapshot=lambda epoch: save_curve(progress.snapshot(epoch), settings, curve, workspace)
        ),
    )
    save_curve(vertices, settings, curve, workspace)
    write_frame(history, record)
    progress.finish(snapshots, settings.training.snapshot_epochs)
    return record
