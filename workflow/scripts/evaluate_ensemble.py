"""Measure the ensembles of stored members."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.ensembling.evaluation import evaluate_ensemble
from mode_connectivity.job import running_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        evaluate_ensemble(
            Path(snakemake.input.members),
            Path(snakemake.input.predictions),
            seeds=snakemake.params.seeds,
            budgets=snakemake.params.budgets,
            metrics=Path(snakemake.output.metrics),
            ensembles=Path(snakemake.output.ensembles),
        )
