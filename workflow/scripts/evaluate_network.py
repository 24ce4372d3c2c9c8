"""Measure a trained network and keep its test predictions."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.curves import evaluate_network
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.training.networks import load_weights, open_workspace
from mode_connectivity.training.recipes import RecipeSettings

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
        settings = EvaluationSettings(**snakemake.params.evaluation)
        workspace = open_workspace(recipe, Path(snakemake.input.dataset), device)
        weights = Path(snakemake.input.weights)
        load_weights(weights, workspace.network, workspace.flat, workspace.flat.vector)
        evaluate_network(
            workspace,
            recipe.training,
            settings,
            metrics=Path(snakemake.output.metrics),
            fingerprint=[
                dict(snakemake.params),
                job.identify(Path(snakemake.input.dataset), weights),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={"recipe": snakemake.params.recipe, "evaluation": snakemake.params.evaluation},
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
