"""Vertices on disk: for each parameter of the network a tensor [K, *shape]."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.networks import Workspace


def save_vertices(
    path: Path, vertices: Tensor, workspace: Workspace, metadata: Mapping[str, str]
) -> None:
    """Write vertices [K, P], with strings for the header."""
    flat = workspace.flat
    stacked: dict[str, list[Tensor]] = {name: [] for name in flat.names}
    for vertex in vertices:
        for name, tensor in flat.to_named(vertex).items():
            stacked[name].append(tensor)
    save_tensors(path, {name: torch.stack(tensors) for name, tensors in stacked.items()}, metadata)


def read_vertex(
    tensors: Mapping[str, Tensor], index: int, workspace: Workspace, out: Tensor, *, source: Path
) -> None:
    """Copy one vertex of those that were loaded into ``out`` [P].

    Raises:
        UserError: they are of another network.
    """
    vertex = {name: tensor[index] for name, tensor in tensors.items()}
    workspace.flat.from_named(vertex, out, source=str(source))


def stacked_vertices(
    tensors: Mapping[str, Tensor], indices: Sequence[int], workspace: Workspace, *, source: Path
) -> Tensor:
    """Return some of the vertices that were loaded, in the layout of the workspace, [K, P].

    Raises:
        UserError: they are of another network.
    """
    vector = workspace.flat.vector
    vertices = vector.new_empty(len(indices), len(vector))
    for index, vertex in zip(indices, vertices, strict=True):
        read_vertex(tensors, index, workspace, vertex, source=source)
    return vertices
