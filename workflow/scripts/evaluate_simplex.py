"""Measure points that are drawn from a complex, or its modes."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.evaluation.simplexes import SimplexSource, evaluate_simplex
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
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
        settings = SimplexSettings(**snakemake.params.simplex)
        seed, connectors = int(snakemake.wildcards.seed), int(snakemake.wildcards.connectors)
        dataset = Path(snakemake.input.dataset)
        if connectors:
            source = SimplexSource(vertices=Path(snakemake.input.vertices))
        else:
            texts = settings.references(seed)
            pairs = zip(snakemake.input.modes, texts, strict=True)
            source = SimplexSource(modes=[weights_in(path, text) for path, text in pairs])
        evaluate_simplex(
            settings,
            source,
            connectors,
            open_workspace(recipe, dataset, device),
            EvaluationSettings(**snakemake.params.evaluation),
            seed=seed,
            grid=Path(snakemake.output.grid),
            fingerprint=[
                dict(snakemake.params),
                seed,
                connectors,
                job.identify(dataset, *source.files),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "simplex", "evaluation")},
            seed=seed,
            connectors=connectors,
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
