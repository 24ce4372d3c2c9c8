"""Measure trained networks, or the averages of their weights, as the members of an ensemble."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.members import Member, average_weights, collect_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.layout import weights_in
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import NetworkReference, RecipeSettings

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), threads=snakemake.config["threads"]) as job:
        device = select_device(snakemake.config["device"])
        recipe = RecipeSettings(**snakemake.params.recipe)
        settings = EvaluationSettings(**snakemake.params.evaluation)
        dataset = Path(snakemake.input.dataset)
        workspace = open_workspace(recipe, dataset, device)
        members = [
            Member(
                NetworkReference.parse(member["member"]),
                member["epoch"],
                weights_in(path, member["member"]),
            )
            for member, path in zip(snakemake.params.members, snakemake.input.weights, strict=True)
        ]
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
        collect_members(
            members,
            workspace,
            recipe.training,
            settings,
            table=Path(snakemake.output.members),
            fingerprint=fingerprint,
        )
        job.record(
            Path(snakemake.output.run),
            settings={key: snakemake.params[key] for key in ("recipe", "members", "evaluation")},
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
