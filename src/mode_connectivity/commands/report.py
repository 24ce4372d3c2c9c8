"""Judge the papers' statements by what has been made, and show it on one page."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from mode_connectivity import plan
from mode_connectivity.commands.config_options import (
    add_artefacts_argument,
    add_config_arguments,
    find_project,
    read_config,
)
from mode_connectivity.config import USER_FILE, Config
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
    arguments.configfile = [path.absolute() for path in arguments.configfile or ()]
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
    mistake = _write_workflow(arguments, config, results) if arguments.workflow else ""
    make_report(config, results, threads=os.cpu_count() or 1)
    print(f"{results / 'report.html'}: {len(there)} of {len(files)} tables and figures")
    if mistake:
        raise UserError(f"Snakemake has written no report: {mistake}")
    return 0


def _write_workflow(arguments: argparse.Namespace, config: Config, results: Path) -> str:
    """Let Snakemake write its report of what is complete; return why it has not."""
    artefacts = plan.selected_artefacts(config)
    complete = [
        name
        for name in artefacts
        if all((results / path).is_file() for path in plan.artefact_files(name))
    ]
    if not complete:
        return "no table or figure is complete"
    project, own = find_project(), Path(USER_FILE)
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(project / "Snakefile")]
    # What is missing would end it, so that it is not asked for.
    command += [] if complete == artefacts else complete
    command += ["--report", str(results / "workflow.html")]
    if files := arguments.configfile or ([own] if own.is_file() else []):
        command += ["--configfile", *map(str, files)]
    if arguments.config:
        command += ["--config", *arguments.config]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return " ".join(done.stderr.splitlines()[-2:]) if done.returncode else ""
