"""Measure the members of an ensemble on corrupted test images."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.corrupted_members import (
    collect_members_under_corruption,
    stored_members,
    swag_members,
)
from mode_connectivity.ensembling.members import Member, averaged_weights, members_in
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.training.networks import open_workspace
from mode_connectivity.training.recipes import NetworkReference, RecipeSettings

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
        dataset, images = Path(snakemake.input.dataset), Path(snakemake.input.images)
        table = Path(snakemake.input.members)
        workspace = open_workspace(recipe, dataset, device)
        if (averages := snakemake.input.get("averages")) is not None:
            folder = Path(averages)
            references = map(NetworkReference.parse, pd.read_csv(table)["member"])
            members = [
                Member(each, 0, averaged_weights(folder, each.recipe, each.seed))
                for each in references
            ]
        else:
            members = members_in(snakemake.params.members, snakemake.input.weights)
        if (swag := snakemake.params.get("swag")) is not None:
            members_of_seed = swag_members(members, SwagSettings(**swag), workspace)
        else:
            members_of_seed = stored_members(members, workspace)
        files = [dataset, images, *(member.weights for member in members)]
        collect_members_under_corruption(
            members_of_seed,
            table,
            images,
            workspace,
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            predictions=Path(snakemake.output.predictions),
            fingerprint=[dict(snakemake.params), job.identify(*files)],
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
