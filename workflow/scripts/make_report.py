"""Make the page of all results."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.config import load_config
from mode_connectivity.job import running_job
from mode_connectivity.reporting.page.build import make_report

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        config = load_config(snakemake.config, Path(snakemake.scriptdir).parents[1])
        make_report(config, Path(snakemake.output[0]).parent, threads=snakemake.threads)
