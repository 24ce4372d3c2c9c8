"""Where the time of a run on the cluster goes; run as a script, with short jobs in groups or not.

PYTHONPATH=src:tests:tests/slurm .venv/bin/python tests/slurm/timing.py [NETWORKS]
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from cluster import Cluster, Record
from rehearsal import ClusterProject, create_project, filled_in_profile

GROUPED = ["--groups", "evaluate_network=evaluations", "--set-resource-scopes", "gpu=local"]
WITHOUT_GPU = ["--config", "device=cpu"]
"""So that jobs wait for the scheduler and not for one of two GPUs."""


@dataclass(frozen=True)
class Timing:
    """Of a run.

    Attributes:
        jobs: how many were submitted to SLURM.
        wall: from the start of Snakemake to its end, in seconds.
        queued: from submission to running, median and most, in seconds; SLURM tells whole ones.
        held: for which jobs held their nodes, summed, in seconds.
        worked: of the jobs' own work, without the start of Python and PyTorch, summed, in seconds.
    """

    jobs: int
    wall: float
    queued: tuple[float, float]
    held: float
    worked: float

    @classmethod
    def read(
        cls, records: Sequence[Record], results: Path, started: float, wall: float
    ) -> "Timing":
        """Read the timing of a run from SLURM's records and from the records of our jobs.

        Args:
            records: of the jobs of the run, all finished.
            results: where the jobs have written since.
            started: the start of the run, in seconds since the epoch.
            wall: how long it took, in seconds.
        """
        queued = [record.started - record.submitted for record in records]
        worked = [
            json.loads(path.read_text()).get("work_seconds", 0.0)
            for path in results.rglob("*.json")
            if path.stat().st_mtime >= started
        ]
        return cls(
            jobs=len(records),
            wall=wall,
            queued=(statistics.median(queued), max(queued)),
            held=sum(record.ended - record.started for record in records),
            worked=sum(worked),
        )

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs | {self.wall:.0f} s in all | {self.queued[0]:.0f} s in the queue, "
            f"at most {self.queued[1]:.0f} s | {self.held:.0f} s on nodes | "
            f"{self.worked:.1f} s of work"
        )


TIMING = pytest.StashKey[Timing]()
"""Of the whole rehearsal, for the last lines of a test run."""


def timed_run(
    project: ClusterProject, targets: Sequence[str], *, jobs: int, options: Sequence[str] = ()
) -> Timing:
    """Run targets on the cluster to their end."""
    cluster = project.cluster
    assert cluster is not None
    before = {record.number for record in cluster.records()}
    started, clock = time.time(), time.monotonic()
    project.make(*targets, cores=jobs, options=options)
    wall = time.monotonic() - clock
    records = [record for record in cluster.records() if record.number not in before]
    return Timing.read(records, project.results, started, wall)


def main(networks: int) -> None:
    """Measure the evaluations of many networks one by one, in groups, and here."""
    folder = Path(tempfile.mkdtemp(prefix="timing-"))
    trained = create_project(folder / "trained")
    seeds = range(1, networks + 1)
    trained.make(
        *(f"results/demo/networks/perceptron/seed{seed}/weights.safetensors" for seed in seeds),
        cores=4,
    )
    targets = [
        f"results/demo/networks/perceptron/seed{seed}/evaluation/metrics.csv" for seed in seeds
    ]
    clock = time.monotonic()
    trained.copy(folder / "here").make(*targets, cores=4)
    print(f"no cluster | {networks} jobs | {time.monotonic() - clock:.0f} s in all", flush=True)
    profile = filled_in_profile(folder / "profile")
    with Cluster() as cluster:
        for size in (1, 4, networks):
            copy = trained.copy(folder / f"groups-of-{size}")
            project = ClusterProject(copy.folder, cluster=cluster, profile=profile)
            components = ["--group-components", f"evaluations={size}"]
            options = [*GROUPED, *components] if size > 1 else []
            timing = timed_run(project, targets, jobs=networks, options=[*WITHOUT_GPU, *options])
            print(f"groups of {size} | {timing}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]) if sys.argv[1:] else (8,))
