"""Simplexes and complexes: their vertices on disk, and the training of their connectors."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.files import write_frame
from mode_connectivity.job_log import working_on
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.loop import derive_seed, train
from mode_connectivity.training.networks import Workspace, build_network, load_weights
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.training.simplex_settings import SimplexSettings, VertexReference
from mode_connectivity.training.vertices import read_vertex, save_vertices, stacked_vertices
from mode_connectivity.weight_space.simplexes import (
    Complex,
    VolumeRegulariser,
    edge_products,
    log_measure,
    log_volumes,
    restricted,
)

FORMAT = "mode_connectivity.simplex.1"


def train_simplex(
    settings: SimplexSettings,
    recipe: RecipeSettings,
    workspace: Workspace,
    modes: Sequence[Path],
    *,
    seed: int,
    vertices: Path,
    history: Path,
    volumes: Path,
    distances: Path,
    fingerprint: object,
) -> pd.DataFrame:
    """Train the connectors of a simplex or a complex between networks, and write its vertices.

    One after the other, each from the mean of all vertices before it, which stay fixed; each step
    draws ``settings.samples`` points of the complex as it is by then (Benton et al. 2021, sections
    3.1 and 5.1, A.2). What a connector becomes does not depend on how many follow.

    Args:
        settings: the complex and how it is trained.
        recipe: the network.
        workspace: the network and the data set.
        modes: the weights of each mode.
        seed: of the training of the connectors, and of the random complex.
        vertices: takes the modes, then the connectors.
        history: takes the rows of the loop as CSV, with their ``connector``, 1 to k.
        volumes: takes a row a number of connectors: ``connectors``; ``simplexes``, how many;
            ``volume``, their sum; ``log10_volume``; ``first_volume``, of the first simplex;
            ``regularisation``, the lambda with which the last connector was trained.
        distances: takes a row a vertex: ``label``, then its Euclidean distance from each vertex, a
            column each, in the order of the vertices.
        fingerprint: identifies the job's settings, inputs and code for its checkpoints.

    Returns:
        The history.

    Raises:
        UserError: two modes are the same network.
    """
    flat = workspace.flat
    first = len(modes)
    points = flat.vector.new_empty(first + settings.connectors, len(flat))
    stages = range(first + 1, len(points) + 1)
    strengths = dict(
        zip(stages, _strengths(settings, recipe, workspace, points, stages, seed), strict=True)
    )
    # The buffers that stay in the network are those of the first mode.
    for path, vertex in reversed(list(zip(modes, points, strict=False))):
        load_weights(path, workspace.network, flat, vertex)
    _refuse_equal(settings.references(seed), points[:first])
    parts, frames = [], []
    for count in stages:
        connector = count - first
        torch.mean(points[: count - 1], dim=0, out=points[count - 1])
        family = Complex(
            points[:count],
            restricted(settings.simplexes, count),
            samples=settings.samples,
            choose_simplex=settings.choose_simplex,
            reduction=settings.reduction,
        )
        if strengths[count]:
            family.regulariser = VolumeRegulariser(
                family,
                strengths[count],
                volume=settings.volume,
                complex_volume=settings.complex_volume,
            )
        parts.append(Progress(vertices.parent, [fingerprint, connector], f"connector{connector}"))
        with working_on("connector", connector, settings.connectors):
            frame = train(
                workspace.network,
                flat,
                family,
                workspace.dataset.train,
                settings.training,
                seed=derive_seed(seed, "connector", connector),
                # It also keeps a finished connector for a job that is killed later on.
                checkpoint=parts[-1].checkpoint,
            )
        if "regularisation" not in frame:
            frame.insert(5, "regularisation", 0.0)
        frame.insert(0, "connector", connector)
        frames.append(frame)
    record = pd.concat(frames, ignore_index=True)
    save_vertices(
        vertices,
        points,
        workspace,
        {
            "format": FORMAT,
            "labels": json.dumps(settings.labels),
            "simplexes": json.dumps(settings.simplexes),
        },
    )
    products = edge_products(points)
    write_frame(
        volumes,
        pd.DataFrame(
            {"connectors": count - first, **_measured(products, settings, count), **of_strength}
            for count in stages
            for of_strength in [{"regularisation": strengths[count]}]
        ),
    )
    write_frame(distances, _distances(products, settings.labels))
    write_frame(history, record)
    for progress in parts:
        progress.finish()
    return record


def _measured(products: Tensor, settings: SimplexSettings, count: int) -> dict[str, float]:
    """Return the volumes of the complex of the first vertices, by column."""
    simplexes = restricted(settings.simplexes, count)
    logs = log_volumes(products[:count, :count], simplexes)
    total = logs.logsumexp(dim=0).item()
    return {
        "simplexes": len(simplexes),
        "volume": logs.exp().sum().item(),
        "log10_volume": total / math.log(10.0),
        "first_volume": logs[0].exp().item(),
    }


def _distances(products: Tensor, labels: Sequence[str]) -> pd.DataFrame:
    """Return the distances of the vertices from each other, from their scalar products."""
    squares = products.diagonal()
    matrix = (squares.unsqueeze(1) + squares - 2.0 * products).clamp_min(0.0).sqrt()
    matrix.fill_diagonal_(0.0)
    # The products of a pair differ by rounding in the two orders.
    frame = pd.DataFrame(((matrix + matrix.T) / 2.0).numpy(), columns=list(labels))
    frame.insert(0, "label", list(labels))
    return frame


def _strengths(
    settings: SimplexSettings,
    recipe: RecipeSettings,
    workspace: Workspace,
    points: Tensor,
    stages: Sequence[int],
    seed: int,
) -> list[float]:
    """Return lambda for the training of each connector (Benton et al. 2021, equation A.3).

    The random complex has the structure that the complex has by then. Its vertices are networks as
    PyTorch draws them, as in the released code, whatever the recipe begins with: published weights
    would be one point.

    Args:
        settings: the complex and how it is trained.
        recipe: the network.
        workspace: the network and the data set.
        points: room for the vertices, [K, P]; what is in it is lost.
        stages: numbers of vertices, one a connector.
        seed: of the random complex.
    """
    alone = len(settings.modes) > 1 and settings.first_connector_without_volume
    strengths = [settings.regularisation] * len(stages)
    if settings.regularisation and settings.regularisation_scale == "random_complex":
        for index, point in enumerate(points):
            network = build_network(
                recipe, workspace.dataset, derive_seed(seed, "random complex", index)
            )
            drawn = {name: value.detach() for name, value in network.named_parameters()}
            workspace.flat.from_named(drawn, point, source="the random complex")
        products = edge_products(points)
        for index, count in enumerate(stages):
            measure = log_measure(
                products[:count, :count],
                restricted(settings.simplexes, count),
                settings.volume,
                settings.complex_volume,
            )
            # Of a small network the logarithm may be zero or less, which is no weight.
            scaled = settings.regularisation / measure if measure > 0.0 else 0.0
            strengths[index] = max(scaled, settings.regularisation_floor)
    return [0.0, *strengths[1:]] if alone else strengths


def _refuse_equal(names: Sequence[str], modes: Tensor) -> None:
    for index, mode in enumerate(modes):
        for other in range(index):
            if torch.equal(mode, modes[other]):
                raise UserError(
                    f"modes {names[other]} and {names[index]} are the same network: a simplex "
                    "with a vertex twice has no volume; name different ones"
                )


def load_simplex(
    path: Path, settings: SimplexSettings, connectors: int, workspace: Workspace
) -> Tensor:
    """Read the modes and the first connectors of a complex, [K, P].

    Raises:
        UserError: the file is missing, damaged, of another complex or another network.
    """
    tensors, labels = _read(path)
    if labels != settings.labels:
        raise UserError(f"{path}: holds {', '.join(labels)}, not {', '.join(settings.labels)}")
    count = len(settings.modes) + connectors
    return stacked_vertices(tensors, range(count), workspace, source=path)


def load_point(path: Path, text: str, workspace: Workspace, out: Tensor) -> None:
    """Read the weights of a network, or those of a vertex of a complex, into ``out`` [P].

    The network's buffers become those of the former; vertices have none.

    Args:
        path: a state dict, or the vertices of a complex.
        text: what of it: a network, or ``simplex/seed:vertex``.
        workspace: the network.
        out: takes the weights.

    Raises:
        UserError: the file is missing, damaged, without this vertex or of another network.
    """
    reference = VertexReference.parse(text)
    if reference is None:
        load_weights(path, workspace.network, workspace.flat, out)
        return
    tensors, labels = _read(path)
    if reference.label not in labels:
        raise UserError(f"{path}: holds {', '.join(labels)}, but no {reference.label}")
    read_vertex(tensors, labels.index(reference.label), workspace, out, source=path)


def _read(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    tensors, metadata = load_tensors(path)
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path}: holds no simplex, but {metadata.get('format')}")
    return tensors, json.loads(metadata["labels"])
