"""Points of several small complexes, measured as members and kept as functions."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.ensembling.members import measured_columns
from mode_connectivity.ensembling.settings import SimplexEnsembleSettings
from mode_connectivity.evaluation.curves import measure_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.evaluation.simplexes import SimplexSource, simplex_points
from mode_connectivity.files import write_frame
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.networks import StoredNetworks, Workspace
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.weight_space.family import Family
from mode_connectivity.weight_space.simplexes import DrawnPoints


def collect_simplex_functions(
    ensemble: SimplexEnsembleSettings,
    simplex: SimplexSettings,
    sources: Sequence[SimplexSource],
    workspace: Workspace,
    settings: EvaluationSettings,
    *,
    table: Path,
    functions: Path,
    fingerprint: object,
) -> None:
    """Measure points drawn from the complex of each seed, and keep what functions they are.

    The points are those that `evaluate_simplex` measures. The vertices of all complexes are in
    memory at once: this is for networks of data sets with few inputs.

    Args:
        ensemble: the simplex, the number of its connectors, and the seeds.
        simplex: the complex.
        sources: where the vertices of each seed come from.
        workspace: the network and the data set.
        settings: how to measure.
        table: takes one row a member; the predictions go beside it.
        functions: takes the functions that the members are, see `write_function_values`.
        fingerprint: identifies the job.
    """
    family, parameters, counts = _joined(ensemble, simplex, sources, workspace)
    progress = Progress(table.parent, fingerprint)
    grid = measure_members(
        family,
        parameters,
        workspace,
        simplex.training,
        settings,
        table=table,
        functions=functions,
        progress=progress,
    )
    places = [
        (seed, sample)
        for seed, count in zip(ensemble.seeds, counts, strict=True)
        for sample in range(1, count + 1)
    ]
    names = pd.DataFrame(places, columns=["seed", "sample"])
    names.insert(1, "connectors", ensemble.connectors)
    names.insert(0, "simplex", ensemble.simplex)
    start = f"{ensemble.simplex}/"
    members = [f"{start}{seed}:{ensemble.connectors}:{sample}" for seed, sample in places]
    names.insert(0, "member", members)
    write_frame(table, names.join(measured_columns(grid)))
    progress.finish()


def _joined(
    ensemble: SimplexEnsembleSettings,
    simplex: SimplexSettings,
    sources: Sequence[SimplexSource],
    workspace: Workspace,
) -> tuple[Family, Tensor, list[int]]:
    """Return the members of all seeds as points of one family, and how many each seed has."""
    if not ensemble.connectors:
        paths = [path for source in sources for path in source.modes]
        indices = torch.arange(len(paths), dtype=torch.float64).unsqueeze(1)
        return StoredNetworks(paths, workspace), indices, [len(each.modes) for each in sources]
    vertices, rows = [], []
    for seed, source in zip(ensemble.seeds, sources, strict=True):
        family, numbers = simplex_points(simplex, source, ensemble.connectors, workspace, seed=seed)
        vertices.append(family.vertices)
        rows.append(family.coefficients(numbers[: ensemble.points]))
    count, width = sum(map(len, rows)), sum(map(len, vertices))
    joined = torch.zeros(count, width, dtype=torch.float64)
    row = column = 0
    for part in rows:
        joined[row : row + len(part), column : column + part.shape[1]] = part
        row, column = row + len(part), column + part.shape[1]
    points = DrawnPoints(torch.cat(vertices), joined)
    numbers = torch.arange(1, count + 1, dtype=torch.float64).unsqueeze(1)
    return points, numbers, [len(each) for each in rows]
