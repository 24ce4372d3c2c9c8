"""Measure a curve at the snapshots of its training."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.curves import evaluate_curve_snapshots
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
        settings = CurveSettings(**snakemake.params.curve)
        assert settings.training is not None
        dataset = Path(snakemake.input.dataset)
        folder = Path(snakemake.input.snapshots)
        snapshots = {epoch: folder / snapshot(epoch) for epoch in settings.training.snapshot_epochs}
        evaluate_curve_snapshots(
            settings,
            snapshots,
            snakemake.params.points,
            open_workspace(recipe, dataset, device),
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            grid=Path(snakemake.output.grid),
            fingerprint=[dict(snakemake.params), job.identify(dataset, *snapshots.values())],
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "curve", "evaluation")},
            points=snakemake.params.points,
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
