"""Train the network of a recipe from one seed."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.job import running_job
from mode_connectivity.training.networks import train_network
from mode_connectivity.training.recipes import RecipeSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), threads=snakemake.config["threads"]) as job:
        device = select_device(snakemake.config["device"])
        train_network(
            RecipeSettings(**snakemake.params.recipe),
            seed=int(snakemake.wildcards.seed),
            dataset=Path(snakemake.input.dataset),
            weights=Path(snakemake.output.weights),
            history=Path(snakemake.output.history),
            snapshots=Path(snakemake.output.snapshots),
            device=device,
            code=snakemake.params.code,
        )
        job.record(
            Path(snakemake.output.run),
            settings=snakemake.params.recipe,
            seed=int(snakemake.wildcards.seed),
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
