"""Draw networks from a Gaussian around the bend of a curve and measure them as members."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.swag import bend_component, collect_samples
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.layout import snapshot
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
        curve = CurveSettings(**snakemake.params.curve)
        assert curve.training is not None
        dataset = Path(snakemake.input.dataset)
        folder = Path(snakemake.input.snapshots)
        snapshots = [folder / snapshot(epoch) for epoch in curve.training.snapshot_epochs]
        workspace = open_workspace(recipe, dataset, device)
        collect_samples(
            [bend_component(curve, snapshots, workspace)],
            SwagSettings(**snakemake.params.swag),
            workspace,
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            parts=(),
            table=Path(snakemake.output.members),
            fingerprint=[dict(snakemake.params), job.identify(dataset, *snapshots)],
        )
        job.record(
            Path(snakemake.output.run),
            settings={
                key: snakemake.params[key] for key in ("recipe", "curve", "swag", "evaluation")
            },
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
