"""Measure the ensembles of stored members on clean and corrupted test images."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.ensembling.evaluation import read_members
from mode_connectivity.ensembling.predictions import JoinedPredictions
from mode_connectivity.ensembling.shift import evaluate_ensemble_under_shift
from mode_connectivity.job import running_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        members = Path(snakemake.input.members)
        table = read_members(members)
        # In one file, or in one a seed.
        clean = [Path(path) for path in snakemake.input.predictions]
        counts = [len(table)] if len(clean) == 1 else table.groupby("seed", sort=False).size()
        corrupted = map(Path, snakemake.input.corrupted)
        evaluate_ensemble_under_shift(
            members,
            JoinedPredictions(clean, list(counts)),
            dict(zip(snakemake.params.corruptions, corrupted, strict=True)),
            seeds=snakemake.params.seeds,
            budgets=snakemake.params.budgets,
            metrics=Path(snakemake.output.metrics),
            ensembles=Path(snakemake.output.ensembles),
        )
