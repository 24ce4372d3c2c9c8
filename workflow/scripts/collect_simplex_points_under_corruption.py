"""Measure points of the complexes of several seeds on corrupted test images."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.corrupted_members import (
    collect_members_under_corruption,
    simplex_members,
)
from mode_connectivity.ensembling.settings import SimplexEnsembleSettings
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.evaluation.simplexes import sources_of_seeds
from mode_connectivity.job import running_job
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.training.simplex_settings import SimplexSettings

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
        simplex = SimplexSettings(**snakemake.params.simplex)
        ensemble = SimplexEnsembleSettings(**snakemake.params.ensemble)
        dataset, images = Path(snakemake.input.dataset), Path(snakemake.input.images)
        sources = sources_of_seeds(
            simplex, ensemble.connectors, ensemble.seeds, snakemake.input.sources
        )
        workspace = open_workspace(recipe, dataset, device)
        collect_members_under_corruption(
            simplex_members(ensemble, simplex, sources, workspace),
            Path(snakemake.input.members),
            images,
            workspace,
            simplex.training,
            EvaluationSettings(**snakemake.params.evaluation),
            predictions=Path(snakemake.output.predictions),
            fingerprint=[
                dict(snakemake.params),
                job.identify(
                    dataset, images, *(path for each in sources.values() for path in each.files)
                ),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={
                key: snakemake.params[key]
                for key in ("recipe", "simplex", "ensemble", "evaluation")
            },
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
