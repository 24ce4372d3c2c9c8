"""Measure a lattice of the plane through three points."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.swag import SwagSamples, bend_component, drawn_vectors
from mode_connectivity.evaluation.planes import PlaneSource, evaluate_plane
from mode_connectivity.evaluation.settings import EvaluationSettings, PlaneSettings
from mode_connectivity.job import running_job
from mode_connectivity.layout import snapshot, weights_in
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import CurveSettings, NetworkReference, RecipeSettings

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
        plane = PlaneSettings(**snakemake.params.plane)
        curve = None if (given := snakemake.params.curve) is None else CurveSettings(**given)
        workspace = open_workspace(recipe, Path(snakemake.input.dataset), device)
        third = snakemake.input.third
        source = PlaneSource(
            start=weights_in(snakemake.input.start, plane.start),
            end=weights_in(snakemake.input.end, plane.end),
            third=weights_in(third, plane.third) if curve is None else Path(third),
            curve=curve,
            iterates=[
                (str(epoch), float(epoch), weights_in(path, text))
                for text, path in zip(
                    snakemake.params.iterates, snakemake.input.get("iterates", []), strict=True
                )
                for epoch in [NetworkReference.parse(text).epoch]
                if epoch is not None
            ],
        )
        samples, snapshots = None, []
        if snakemake.params.swag is not None:
            assert curve is not None and curve.training is not None
            folder = Path(snakemake.input.samples)
            snapshots = [folder / snapshot(epoch) for epoch in curve.training.snapshot_epochs]
            samples = SwagSamples(
                [bend_component(curve, snapshots, workspace)],
                SwagSettings(**snakemake.params.swag),
                workspace,
            )
        evaluate_plane(
            plane,
            source,
            workspace,
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            grid=Path(snakemake.output.grid),
            points=Path(snakemake.output.points),
            samples=() if samples is None else drawn_vectors(samples, workspace.flat.vector),
            fingerprint=[
                dict(snakemake.params),
                job.identify(Path(snakemake.input.dataset), *source.files, *snapshots),
            ],
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "plane", "evaluation")},
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
