"""Ensembles of points of simplexes (ESPRO): each seed's complex is one component."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.ensembling.members import measured_columns
from mode_connectivity.ensembling.predictions import JoinedPredictions
from mode_connectivity.files import write_frame
from mode_connectivity.settings import UserError


def evaluate_simplex_ensemble(
    simplex: str,
    connectors: int,
    grids: Sequence[Path],
    predictions: Sequence[Path],
    *,
    points: int | None,
    seeds: Sequence[int],
    budgets: Sequence[int],
    members: Path,
    metrics: Path,
    ensembles: Path,
) -> None:
    """Evaluate the ensembles of points of several complexes (Benton et al. 2021, section 5.2).

    Their predictions stay where they are: at the paper's scale they are many.

    Args:
        simplex: its name.
        connectors: of the complexes; without any, a deep ensemble.
        grids: of the complex of each seed, a row a point.
        predictions: beside each grid.
        points: how many of each are members, the first ones; all if nothing.
        seeds: of the complexes, in the order of the grids.
        budgets: numbers of complexes in an ensemble.
        members: written, CSV: ``member, simplex, seed, connectors, sample``, and what was measured.
        metrics: written, as by `evaluate_ensemble`.
        ensembles: written, as by `evaluate_ensemble`.

    Raises:
        UserError: a complex was evaluated at fewer points, and as by `evaluate_ensemble`.
    """
    frames = []
    for seed, path in zip(seeds, grids, strict=True):
        grid = pd.read_csv(path)
        if points is not None and len(grid) < points:
            raise UserError(
                f"{path}: {len(grid)} points, but {points} of them are to be members; raise the "
                f"points of simplex {simplex}"
            )
        grid = grid.iloc[:points]
        names = pd.DataFrame(
            {
                "member": [f"{simplex}/{seed}:{connectors}:{n}" for n in grid["sample"]],
                "simplex": simplex,
                "seed": seed,
                "connectors": connectors,
                "sample": grid["sample"],
            }
        )
        frames.append(names.join(measured_columns(grid)))
    write_frame(members, pd.concat(frames, ignore_index=True))
    evaluate_ensemble(
        members,
        JoinedPredictions(predictions, [len(frame) for frame in frames]),
        seeds=seeds,
        budgets=budgets,
        metrics=metrics,
        ensembles=ensembles,
    )
