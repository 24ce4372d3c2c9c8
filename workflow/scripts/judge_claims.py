"""Judge the papers' statements."""

from pathlib import Path
from typing import TYPE_CHECKING

from mode_connectivity.job import running_job
from mode_connectivity.reporting.claim_settings import claim_files, load_claims
from mode_connectivity.reporting.claims import Artefacts, write_claims

if TYPE_CHECKING:
    from snakemake.iocontainers import snakemake

if __name__ == "__main__":
    with running_job(Path(snakemake.log[0]), snakemake.rule, snakemake.wildcards):
        files = map(Path, snakemake.input)
        write_claims(
            load_claims(claim_files(snakemake.params.own)),
            Artefacts({f"{path.parent.name}/{path.stem}": path for path in files}),
            snakemake.params.scale,
            Path(snakemake.output.claims).parent,
        )
