"""Train the network of a recipe from one seed."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.evaluator import settle_statistics
from mode_connectivity.evaluation.metrics import measure_test
from mode_connectivity.job import running_job
from mode_connectivity.layout import optimiser_in, weights_in
from mode_connectivity.training.networks import Start, train_network
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
        seed = int(snakemake.wildcards.seed)
        start = None
        if (continued := recipe.start(seed)) is not None:
            given = snakemake.input.start
            start = Start(weights_in(given, str(continued)), optimiser_in(given, str(continued)))
        train_network(
            recipe,
            seed=seed,
            dataset=Path(snakemake.input.dataset),
            weights=Path(snakemake.output.weights),
            history=Path(snakemake.output.history),
            snapshots=Path(snakemake.output.snapshots),
            device=device,
            start=start,
            test=partial(measure_test, batch_size=snakemake.params.test_batch_size),
            reestimate=partial(settle_statistics, batch_size=recipe.training.batch_size),
            download=snakemake.config["download"],
            code=snakemake.params.code,
        )
        job.record(
            Path(snakemake.output.run),
            settings=snakemake.params.recipe,
            seed=seed,
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
