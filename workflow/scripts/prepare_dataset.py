"""Prepare a data set."""

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from mode_connectivity.data.settings import AnyDataset
from mode_connectivity.data.sources import prepare
from mode_connectivity.job import running_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        prepare(
            TypeAdapter(AnyDataset).validate_python(snakemake.params.settings),
            data_root=Path(snakemake.config["data"]),
            download=snakemake.config["download"],
            output=Path(snakemake.output.dataset),
        )
