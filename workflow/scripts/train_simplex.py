"""Train the connectors of a simplex or a complex between networks."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.training.simplexes import train_simplex

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
        seed = int(snakemake.wildcards.seed)
        dataset = Path(snakemake.input.dataset)
        modes = [
            weights_in(path, text)
            for path, text in zip(snakemake.input.modes, settings.references(seed), strict=True)
        ]
        train_simplex(
            settings,
            recipe,
            open_workspace(recipe, dataset, device),
            modes,
            seed=seed,
            vertices=Path(snakemake.output.vertices),
            history=Path(snakemake.output.history),
            volumes=Path(snakemake.output.volumes),
            distances=Path(snakemake.output.distances),
            fingerprint=[dict(snakemake.params), seed, job.identify(dataset, *modes)],
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "simplex")},
            seed=seed,
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
