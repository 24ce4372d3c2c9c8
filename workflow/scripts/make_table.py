"""Make a table of a paper."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.job import running_job
from mode_connectivity.reporting.artefacts import make_table

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        output = Path(snakemake.output.csv)
        make_table(output.stem, snakemake.params.content, output.parents[1], output.with_suffix(""))
