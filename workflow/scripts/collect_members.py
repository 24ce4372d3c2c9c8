"""Measure trained networks, the averages of their weights or draws around these, as members."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.members import average_weights, collect_members, members_in
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.swag import collect_samples, network_components
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.training.networks import open_workspace
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
        dataset = Path(snakemake.input.dataset)
        workspace = open_workspace(recipe, dataset, device)
        members = members_in(snakemake.params.members, snakemake.input.weights)
        files = [dataset, *(member.weights for member in members)]
        fingerprint = [dict(snakemake.params), job.identify(*files)]
        if (averages := snakemake.output.get("averages")) is not None:
            members = average_weights(
                members,
                workspace,
                recipe.training,
                settings,
                folder=Path(averages),
            )
        if (swag := snakemake.params.get("swag")) is not None:
            collect_samples(
                network_components(members, workspace),
                SwagSettings(**swag),
                workspace,
                recipe.training,
                settings,
                parts=("test",),
                table=Path(snakemake.output.members),
                fingerprint=fingerprint,
            )
        else:
            functions = snakemake.output.get("functions")
            collect_members(
                members,
                workspace,
                recipe.training,
                settings,
                table=Path(snakemake.output.members),
                functions=None if functions is None else Path(functions),
                fingerprint=fingerprint,
            )
        job.record(
            Path(snakemake.output.run),
            settings={
                key: snakemake.params.get(key)
                for key in ("recipe", "members", "swag", "evaluation")
            },
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
