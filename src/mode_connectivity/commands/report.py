"""Judge the papers' statements by what has been made, and show it on one page."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from mode_connectivity import plan
from mode_connectivity.commands.config_options import (
    add_artefacts_argument,
    add_config_arguments,
    config_files,
    read_config,
)
from mode_connectivity.config import Config
from mode_connectivity.settings import UserError

DESCRIPTION = """\
Judge the papers' statements by the tables and figures that there are, and write the scorecard and
the page of all results, claims.csv, claims.md and report.html, also of a run that is not finished:
what is missing is said. Nothing is trained or measured."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    add_artefacts_argument(parser)
    parser.add_argument(
        "--workflow",
        action="store_true",
        help="let Snakemake write its own report besides, workflow.html, to which the page leads",
    )
    add_config_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    if arguments.artefacts:
        selected = f"select=[{', '.join(arguments.artefacts)}]"
        arguments.config = [*(arguments.config or ()), selected]
    sources = config_files(arguments)
    config = read_config(arguments)
    results = Path(config.results) / config.scale
    files = [results / path for path in plan.judged_files(config, {})]
    there = [path for path in files if path.is_file()]
    if not there:
        raise UserError(
            f"{results}: none of its {len(files)} tables and figures has been made yet; "
            "`snakemake --cores N` makes them, for another scale --config scale=paper; where only "
            "some are wanted, name them here, too"
        )
    # Only here: the help needs none of it.
    from mode_connectivity.reporting.claim_settings import claim_files, load_claims
    from mode_connectivity.reporting.claims import Artefacts, write_claims
    from mode_connectivity.reporting.page.build import make_report

    artefacts = Artefacts({f"{path.parent.name}/{path.stem}": path for path in there})
    write_claims(load_claims(claim_files(config.claims)), artefacts, config.scale, results)
    mistake = ""
    if arguments.workflow:
        mistake = _write_workflow(config, results, sources, arguments.config or ())
    make_report(config, results, threads=os.cpu_count() or 1)
    print(f"{results / 'report.html'}: {len(there)} of {len(files)} tables and figures")
    if mistake:
        raise UserError(f"Snakemake has written no report: {mistake}")
    return 0


def _write_workflow(
    config: Config, results: Path, sources: Sequence[Path], values: Sequence[str]
) -> str:
    """Let Snakemake write its report of what is complete; return why it has not.

    Args:
        config: the config, as it was read from ``sources`` and ``values``.
        results: takes ``workflow.html``.
        sources: the files of the config, that beside the Snakefile first.
        values: those of the command line.
    """
    artefacts = plan.selected_artefacts(config)
    complete = [
        name
        for name in artefacts
        if all((results / path).is_file() for path in plan.artefact_files(name))
    ]
    if not complete:
        return "no table or figure is complete"
    project, *others = sources
    command = [sys.executable, "-m", "snakemake"]
    command += ["--snakefile", str(project.with_name("Snakefile"))]
    # What is missing would end it, so that it is not asked for.
    command += [] if complete == artefacts else complete
    command += ["--report", str(results / "workflow.html")]
    for option, given in (("--configfile", others), ("--config", values)):
        if given:
            command += [option, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(done.stderr.splitlines()[-2:]) if done.returncode else ""
