"""Train the bends of a curve between two networks."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
from mode_connectivity.training.curves import CurveSource, train_curve
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import CurveSettings, RecipeSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(
        Path(snakemake.log[0]),
        snakemake.rule,
        snakemake.wildcards,
        threads=snakemake.config["threads"],
    ) as job:
        device = select_device(snakemake.config["device"], snakemake.config["jobs_per_gpu"])
        recipe = RecipeSettings(**snakemake.params.recipe)
        settings = CurveSettings(**snakemake.params.curve)
        workspace = open_workspace(recipe, Path(snakemake.input.dataset), device)
        source = CurveSource(
            start=weights_in(snakemake.input.start, settings.start),
            end=weights_in(snakemake.input.end, settings.end),
        )
        train_curve(
            settings,
            workspace,
            source,
            vertices=Path(snakemake.output.vertices),
            history=Path(snakemake.output.history),
            snapshots=Path(snakemake.output.snapshots),
            fingerprint=[
                dict(snakemake.params),
                job.identify(Path(snakemake.input.dataset), *source.files),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={"recipe": snakemake.params.recipe, "curve": snakemake.params.curve},
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
