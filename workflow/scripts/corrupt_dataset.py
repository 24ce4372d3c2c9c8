"""Corrupt the test images of a data set, or read the published ones."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.data.corrupted_images import prepare_corrupted
from mode_connectivity.data.corruption_settings import CorruptionSettings
from mode_connectivity.job import running_job

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        prepare_corrupted(
            snakemake.wildcards.corruption,
            CorruptionSettings(**snakemake.params.settings),
            dataset=Path(snakemake.input.dataset),
            dataset_source=snakemake.params.source,
            data_root=Path(snakemake.config["data"]),
            output=Path(snakemake.output.images),
        )
