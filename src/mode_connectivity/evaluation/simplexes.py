"""Simplexes and complexes, measured at points that are drawn from them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mode_connectivity.evaluation.curves import measure_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.layout import weights_in
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.loop import derive_seed
from mode_connectivity.training.networks import StoredNetworks, Workspace
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.training.simplexes import load_simplex
from mode_connectivity.weight_space.family import Family
from mode_connectivity.weight_space.simplexes import (
    DrawnPoints,
    draw_points,
    edge_products,
    restricted,
    volume_shares,
)


@dataclass(frozen=True)
class SimplexSource:
    """The files that the points of a complex come from.

    Attributes:
        vertices: its vertices, where it has connectors.
        modes: the weights of its modes, where it has none.
    """

    vertices: Path | None = None
    modes: Sequence[Path] = ()

    @property
    def files(self) -> list[Path]:
        """The files that there are."""
        return [*self.modes] if self.vertices is None else [self.vertices]


def sources_of_seeds(
    settings: SimplexSettings, connectors: int, seeds: Sequence[int], paths: Iterable[str]
) -> dict[int, SimplexSource]:
    """Return by seed where a complex comes from, in what a job was given for it.

    Args:
        settings: the complex.
        connectors: how many of them belong to it.
        seeds: its seeds.
        paths: the vertices of each seed or, without connectors, the modes of each.
    """
    given = iter(paths)
    return {
        seed: (
            SimplexSource(vertices=Path(next(given)))
            if connectors
            else SimplexSource(
                modes=[weights_in(next(given), text) for text in settings.references(seed)]
            )
        )
        for seed in seeds
    }


def simplex_points(
    settings: SimplexSettings,
    source: SimplexSource,
    connectors: int,
    workspace: Workspace,
    *,
    seed: int,
) -> tuple[Family, Tensor]:
    """Return the complex of the modes and the first connectors, and points that are drawn from it.

    Without connectors the points are the modes, with the batch-norm statistics of their training.

    Args:
        settings: the complex, and how many points.
        source: where its vertices come from.
        connectors: how many of them belong to it.
        workspace: the network.
        seed: of the points.

    Returns:
        The family, and its parameters [T, 1], numbers from 1.
    """
    if not connectors:
        family: Family = StoredNetworks(source.modes, workspace)
        return family, torch.arange(len(source.modes), dtype=torch.float64).unsqueeze(1)
    if source.vertices is None:
        raise ValueError("a complex with connectors comes from its vertices")
    vertices = load_simplex(source.vertices, settings, connectors, workspace)
    simplexes = restricted(settings.simplexes, len(vertices))
    shares = None
    if settings.choose_simplex == "by_volume":
        shares = volume_shares(edge_products(vertices), simplexes)
    generator = torch.Generator().manual_seed(derive_seed(seed, "samples", connectors))
    rows = draw_points(simplexes, len(vertices), settings.points, generator, shares)
    numbers = torch.arange(1, settings.points + 1, dtype=torch.float64).unsqueeze(1)
    return DrawnPoints(vertices, rows), numbers


def evaluate_simplex(
    settings: SimplexSettings,
    source: SimplexSource,
    connectors: int,
    workspace: Workspace,
    evaluation_settings: EvaluationSettings,
    *,
    seed: int,
    grid: Path,
    fingerprint: object,
) -> None:
    """Measure points drawn from a complex and write the grid, with what they predict beside it.

    Args:
        settings: the complex, and how many points.
        source: where its vertices come from.
        connectors: how many of them belong to it; with none, the points are the modes.
        workspace: the network and the data set.
        evaluation_settings: how to measure.
        seed: of the points.
        grid: takes one row a point: its number (``sample``), coefficients and measurements.
        fingerprint: identifies the job.
    """
    progress = Progress(grid.parent, fingerprint)
    family, parameters = simplex_points(settings, source, connectors, workspace, seed=seed)
    frame = measure_members(
        family,
        parameters,
        workspace,
        settings.training,
        evaluation_settings,
        parts=() if settings.measure_train else ("test",),
        table=grid,
        progress=progress,
    )
    del frame[family.parameter_names[0]]
    frame.insert(0, "sample", range(1, len(frame) + 1))
    write_frame(grid, frame)
    progress.finish()
