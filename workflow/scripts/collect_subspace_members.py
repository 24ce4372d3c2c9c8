"""Sample weights in the plane of a curve, and measure them as the members of an ensemble."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.device import describe_device, select_device
from mode_connectivity.ensembling.settings import SubspaceEnsembleSettings
from mode_connectivity.ensembling.subspace import collect_subspace_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import running_job
from mode_connectivity.training.curves import load_curve
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
        dataset, vertices = Path(snakemake.input.dataset), Path(snakemake.input.vertices)
        workspace = open_workspace(recipe, dataset, device)
        functions = snakemake.output.get("functions")
        collect_subspace_members(
            load_curve(vertices, CurveSettings(**snakemake.params.curve), workspace),
            SubspaceEnsembleSettings(**snakemake.params.ensemble),
            workspace,
            recipe.training,
            EvaluationSettings(**snakemake.params.evaluation),
            table=Path(snakemake.output.members),
            functions=None if functions is None else Path(functions),
            fingerprint=[dict(snakemake.params), job.identify(dataset, vertices)],
        )
        job.record(
            Path(snakemake.output.run),
            settings={
                key: snakemake.params[key] for key in ("recipe", "curve", "ensemble", "evaluation")
            },
            code=snakemake.params.code,
            device=describe_device(device),
            threads=snakemake.config["threads"],
        )
