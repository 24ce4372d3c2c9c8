"""Measure the ensembles of points of several complexes, from their stored predictions."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.ensembling.settings import SimplexEnsembleSettings
from mode_connectivity.ensembling.simplexes import evaluate_simplex_ensemble
from mode_connectivity.job import running_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        settings = SimplexEnsembleSettings(**snakemake.params.ensemble)
        evaluate_simplex_ensemble(
            settings.simplex,
            settings.connectors,
            [Path(path) for path in snakemake.input.grids],
            [Path(path) for path in snakemake.input.predictions],
            points=settings.points,
            seeds=settings.seeds,
            budgets=settings.budgets,
            members=Path(snakemake.output.members),
            metrics=Path(snakemake.output.metrics),
            ensembles=Path(snakemake.output.ensembles),
        )
