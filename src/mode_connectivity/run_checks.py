"""What can be said of a run before its first job: where it writes, and what its profile asks for.

Nothing here imports torch: Snakemake asks while it parses.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from mode_connectivity.settings import UserError, nearest

BLANK = "FILL_IN"
"""What profiles/slurm has where a cluster's own names belong."""
PARTITIONS = re.compile(r"[\w.-]+(?:,[\w.-]+)*")
PATIENCE = 20
"""Seconds for a cluster's answer."""


def check_results(folder: Path) -> None:
    """Check that files can be made in the folder of the results, which need not exist yet.

    Raises:
        UserError: they cannot.
    """
    place = folder.absolute()
    while not os.path.lexists(place):
        place = place.parent
    found = ""
    if not place.is_dir():
        found = f"{place} is no folder" if place.exists() else f"{place} is a link to nothing"
    elif not os.access(place, os.W_OK | os.X_OK):
        found = f"you may not write in {place}"
    if found:
        raise UserError(
            f"results: {folder} cannot be written: {found}; give a folder of your own, "
            f"as in --config results=/path/to/results"
        )


def check_profile(asked: Mapping[str, Mapping[str, object]], rules: Collection[str]) -> None:
    """Check that what a profile or the command line sets for single rules meets a rule.

    Args:
        asked: what is set, by option (``set-resources``, ``set-threads``) and rule.
        rules: the names of all rules.

    Raises:
        UserError: there is no such rule; Snakemake itself would say nothing.
    """
    for option, settings in asked.items():
        for name in settings:
            if name not in rules:
                raise UserError(
                    f"{option}: there is no rule {name!r}{nearest(name, rules)}; correct the name "
                    f"in the profile or behind --{option}; snakemake --list-rules has all rules"
                )


def check_slurm(settings: Iterable[tuple[str, object]]) -> None:
    """Check that jobs can be submitted to SLURM from here.

    Args:
        settings: names and values of the resources that the profile sets.

    Raises:
        UserError: SLURM's commands are missing, the profile is not filled in, or there is no such
            partition. Where sinfo does not answer, sbatch will tell.
    """
    if shutil.which("sbatch") is None:
        raise UserError(
            "executor slurm: there is no sbatch on the path; run Snakemake on a login node of the "
            "cluster (some want `module load slurm` first), or use profiles/local"
        )
    given = sorted({(name, str(value)) for name, value in settings})
    blank = list(dict.fromkeys(name for name, value in given if BLANK in value))
    if blank:
        raise UserError(
            f"profiles/slurm: {' and '.join(blank)} still {'is' if len(blank) == 1 else 'are'} "
            f"{BLANK}; write your cluster's names in their place (sinfo lists partitions, "
            f"sacctmgr show associations user=$USER your accounts), or delete the line"
        )
    # Of an expression, the value is known job by job.
    asked = [
        name
        for key, value in given
        if key == "slurm_partition" and PARTITIONS.fullmatch(value)
        for name in value.split(",")
    ]
    there = _partitions() if asked else []
    for name in asked:
        if there and name not in there:
            raise UserError(
                f"slurm_partition: this cluster has no partition {name!r}{nearest(name, there)}; "
                f"it has {', '.join(there)}"
            )


def _partitions() -> list[str]:
    """Return the names of the cluster's partitions; none where it does not tell them."""
    try:
        found = subprocess.run(
            ["sinfo", "--all", "--noheader", "--format", "%R"],
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return sorted(set(found.stdout.split()))
