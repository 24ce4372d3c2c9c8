"""Measure equally spaced points of a curve."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.curves import evaluate_curve
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
from mode_connectivity.training.curves import CurveSource, open_curve
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
        inputs = snakemake.input
        source = CurveSource(
            vertices=Path(inputs.vertices) if settings.trained else None,
            start=None if settings.trained else weights_in(inputs.start, settings.start),
            end=None if settings.trained else weights_in(inputs.end, settings.end),
        )
        evaluate_curve(
            open_curve(settings, source, workspace),
            snakemake.params.points,
            workspace,
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            predictions=snakemake.params.predictions,
            renormalise=settings.renormalise,
            grid=Path(snakemake.output.grid),
            fingerprint=[
                dict(snakemake.params),
                job.identify(Path(snakemake.input.dataset), *source.files),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "curve", "evaluation")},
            points=snakemake.params.points,
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
