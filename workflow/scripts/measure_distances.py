"""Measure the distances of points of weight space from each other."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.geometry import GeometryPoint, measure_distances
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
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
        points = [
            GeometryPoint(
                point["label"],
                weights_in(path, point["point"]) if point["curve"] is None else Path(path),
                None if point["curve"] is None else CurveSettings(**point["curve"]),
            )
            for point, path in zip(snakemake.params.points, snakemake.input.points, strict=True)
        ]
        measure_distances(
            points,
            open_workspace(recipe, Path(snakemake.input.dataset), device),
            points_table=Path(snakemake.output.points),
            distances=Path(snakemake.output.distances),
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "points")},
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
