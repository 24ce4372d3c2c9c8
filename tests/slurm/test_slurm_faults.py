"""What goes wrong on a cluster; after each fault a run ends in the bits of an undisturbed one."""

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cluster import Cluster, Record
from pipeline import CHECKOUT, Project, comparable
from rehearsal import TARGETS, TRAINING, ClusterProject

pytestmark = pytest.mark.slurm

CLUSTER = CHECKOUT / "docs" / "cluster.md"
FOLDER = "networks/patient/seed1"
CHECKPOINT = f"{FOLDER}/.progress/checkpoint.safetensors"
PAUSE = 1.0
"""Seconds a batch; an epoch has four."""
STRIKES = 3


@pytest.fixture
def project(local: Project, tmp_path: Path, on_cluster: Callable[..., ClusterProject]):
    """The finished project without one training, which takes minutes if nobody lets it go on."""
    project = on_cluster(local.copy(tmp_path / "project"))
    shutil.rmtree(project.results / FOLDER)
    project.pause(PAUSE)
    return project


class Run:
    """A run of Snakemake whose only job is the training.

    Attributes:
        process: Snakemake's.
    """

    def __init__(self, project: ClusterProject, cluster: Cluster) -> None:
        self._project = project
        self._cluster = cluster
        self._before = {record.number for record in cluster.records()}
        self.process = project.start(TRAINING, cores=2)

    def records(self) -> list[Record]:
        """Return the jobs that were submitted since the run was started."""
        records = self._cluster.records()
        return [record for record in records if record.number not in self._before]

    def wait(self, condition: Callable[[], Any], seconds: float = 150) -> Any:
        """Return the first true answer."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(subprocess.SubprocessError, OSError):
                if answer := condition():
                    return answer
            time.sleep(0.1)
        raise TimeoutError(f"{self.records()}\n{self._cluster.logs()}")

    def running(self) -> Record | None:
        """Return the training's job while it runs."""
        records = [record for record in self.records() if record.state == "RUNNING"]
        return records[-1] if records else None

    def job_in_epoch(self, epoch: int) -> Record:
        """Wait until a job trains and has finished an epoch."""

        def reached() -> Record | None:
            record = self.running()
            return record if record and self.epoch(since=record.started) >= epoch else None

        return self.wait(reached)

    def epoch(self, since: float = 0.0) -> int:
        """Return the last epoch that the log tells of, if it was written after some moment."""
        path = self._project.results / "logs" / FOLDER / "train.log"
        if path.stat().st_mtime < since:
            return 0
        return max(map(int, re.findall(r"epoch (\d+)/", path.read_text())), default=0)

    def checkpointed(self) -> Record:
        """Wait until a job runs whose checkpoint is on the disk."""
        path = self._project.results / CHECKPOINT
        return self.wait(lambda: path.exists() and self.running())

    def go_on(self) -> str:
        """Let the training take no time, wait for Snakemake to succeed, and return its output."""
        self._project.pause(0)
        output, _ = self.process.communicate(timeout=600)
        assert self.process.returncode == 0, output
        return output

    def states(self) -> list[str]:
        """Return what became of the jobs, first to last."""
        return [record.state for record in self.records()]


@pytest.fixture
def start(project: ClusterProject, cluster: Cluster) -> Iterator[Callable[[], Run]]:
    """Start Snakemake; whatever is left of it and of its jobs ends with the test."""
    runs = []

    def start() -> Run:
        runs.append(Run(project, cluster))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
    cluster.cancel_everything()


@pytest.fixture
def as_if_nothing_had_happened(project: ClusterProject, local: Project) -> Callable[..., None]:
    """Check that runs were disturbed in nothing but time."""

    def check(*runs: Run) -> None:
        assert comparable(project.results) == comparable(local.results)
        hidden = {path.name for path in project.results.rglob(".*")}
        assert hidden <= {".snakemake_timestamp"}
        assert "resumed after epoch" in project.log(f"{FOLDER}/train.log")
        # Nothing that was finished was submitted again.
        assert {record.rule for run in runs for record in run.records()} == {"train_network"}
        plain = Project(project.folder)
        assert "Nothing to be done" in plain.make(*TARGETS, TRAINING, options=["--dry-run"])

    return check


def test_a_cancelled_training_goes_on(start, cluster, as_if_nothing_had_happened) -> None:
    run = start()
    record = run.job_in_epoch(1)
    cluster.command("scancel", str(record.number))
    run.wait(lambda: len(run.records()) == 2)
    run.go_on()
    assert run.states() == ["CANCELLED", "COMPLETED"]
    as_if_nothing_had_happened(run)


def test_a_time_limit_that_strikes_several_times(
    start, cluster, project, as_if_nothing_had_happened
) -> None:
    run = start()
    minutes, epoch = [], 0
    for strike in range(1, STRIKES + 1):
        # Within an epoch, and after one more than the attempt before had finished.
        record = run.job_in_epoch(epoch + 1)
        minutes.append(record.minutes)
        now = time.strftime("%Y-%m-%dT%H:%M:%S")
        cluster.command("scontrol", "update", f"JobId={record.number}", f"EndTime={now}")
        run.wait(lambda strike=strike: run.states()[strike - 1] == "TIMEOUT")
        epoch = run.epoch()
        assert f"stopped by SIGTERM after epoch {epoch}" in project.log(f"{FOLDER}/train.log")
        run.wait(lambda strike=strike: len(run.records()) == strike + 1)
    run.go_on()
    assert run.states() == [*["TIMEOUT"] * STRIKES, "COMPLETED"]
    minutes.append(run.records()[-1].minutes)
    assert all(after > before for before, after in pairwise(minutes))
    as_if_nothing_had_happened(run)


def test_a_node_that_dies_with_its_job(start, cluster, as_if_nothing_had_happened) -> None:
    run = start()
    record = run.checkpointed()
    node = record.nodes
    cluster.switch_off(node)
    try:
        run.wait(lambda: run.records()[0].restarts == 1)
        # SLURM waits two minutes before it starts the job again.
        cluster.command("scontrol", "update", f"JobId={record.number}", "StartTime=now")
        run.go_on()
    finally:
        cluster.switch_on(node)
        run.wait(lambda: cluster.node_states()[node] == "IDLE")
    (record,) = run.records()
    assert record.state == "COMPLETED" and record.nodes != node
    as_if_nothing_had_happened(run)


def test_a_killed_job_goes_on(start, cluster, as_if_nothing_had_happened) -> None:
    run = start()
    run.checkpointed()
    cluster.script().kill()
    run.wait(lambda: len(run.records()) == 2)
    run.go_on()
    assert run.states() == ["FAILED", "COMPLETED"]
    as_if_nothing_had_happened(run)


def test_a_killed_snakemake_leaves_a_job_to_cancel(
    start, cluster, project, as_if_nothing_had_happened
) -> None:
    killed = start()
    (left_overs,) = re.findall(r"^scancel .*$", CLUSTER.read_text(), re.MULTILINE)
    record = killed.checkpointed()
    killed.process.kill()
    killed.process.communicate()
    assert cluster.state(record.number) == "RUNNING"
    # Snakemake cannot know that nobody else is at work, and says what to do.
    assert "--unlock" in project.run(TRAINING).stdout
    project.make(TRAINING, options=["--unlock"])
    cluster.command("sh", "-c", left_overs)
    killed.wait(lambda: not cluster.active())
    run = start()
    run.go_on()
    assert killed.states()[0] == "CANCELLED" and run.states() == ["COMPLETED"]
    as_if_nothing_had_happened(killed)


def test_an_interrupted_snakemake_cancels_its_jobs(
    start, cluster, as_if_nothing_had_happened
) -> None:
    interrupted = start()
    interrupted.job_in_epoch(1)
    interrupted.process.send_signal(signal.SIGINT)
    interrupted.process.communicate(timeout=60)
    interrupted.wait(lambda: not cluster.active())
    run = start()
    run.go_on()
    assert interrupted.states() == ["CANCELLED", "COMPLETED"]
    as_if_nothing_had_happened(interrupted)


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("nowhere", "this cluster has no partition 'nowhere'; it has cpu, gpu"),
        # Of an expression nothing is known before sbatch is asked.
        ("'no' + 'where'", "invalid partition specified: nowhere"),
    ],
)
def test_a_partition_that_does_not_exist(project, cluster, partition, said) -> None:
    before = len(cluster.records())
    options = ["--set-resources", f"train_network:slurm_partition={partition}", "--retries", "0"]
    finished = project.run(TRAINING, options=options)
    assert finished.returncode == 1
    assert said in finished.stdout
    assert len(cluster.records()) == before
