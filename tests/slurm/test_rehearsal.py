"""Every kind of job on a real SLURM, and what SLURM's own records say of it."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
from cluster import CPU_NODES, GPU_NODES, Cluster, Record
from pipeline import RULES, Project, comparable
from rehearsal import TARGETS, TRAINING, ClusterProject, create_project
from timing import TIMING, Timing

pytestmark = pytest.mark.slurm

LOCAL_RULES = {"make_table", "make_figure", "judge_claims", "make_report"}


@dataclass(frozen=True)
class Asked:
    """What Snakemake says that a job asks for."""

    rule: str
    partition: str
    cpus: int
    memory_mb: int
    minutes: int
    gpus: int


@dataclass(frozen=True)
class Rehearsal:
    """A run on the cluster, to its end.

    Attributes:
        project: with its results.
        asked: what each job asked for, by SLURM's number.
        records: SLURM's.
    """

    project: ClusterProject
    asked: dict[int, Asked]
    records: dict[int, Record]


def read_asked(output: str) -> dict[int, Asked]:
    """Read what each job asked for from what Snakemake says while it runs."""
    jobs = {}
    for rule, block in re.findall(r"^rule (\w+):\n((?:    .*\n)+)", output, re.MULTILINE):
        lines = dict(re.findall(r"^    (\w+): (.*)$", block, re.MULTILINE))
        resources = dict(re.findall(r"(\w+)=([^,\s]+)", lines.get("resources", "")))
        if "runtime" in resources:
            jobs[lines["jobid"]] = Asked(
                rule=rule,
                partition=resources["slurm_partition"],
                cpus=int(lines.get("threads", 1)),
                memory_mb=int(resources["mem_mb"]),
                minutes=int(resources["runtime"]),
                gpus=int(resources.get("gpu", 0)),
            )
    submitted = re.findall(r"^Job (\d+) has been submitted with SLURM jobid (\d+)", output, re.M)
    return {int(number): jobs[job] for job, number in submitted}


@pytest.fixture(scope="module")
def rehearsal(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    profile: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Rehearsal:
    project = create_project(tmp_path_factory.mktemp("rehearsal") / "project")
    project = ClusterProject(project.folder, cluster=cluster, profile=profile)
    before = {record.number for record in cluster.records()}
    started, clock = time.time(), time.monotonic()
    output = project.make(*TARGETS, cores=6)
    wall = time.monotonic() - clock
    records = [record for record in cluster.records() if record.number not in before]
    request.config.stash[TIMING] = Timing.read(records, project.results, started, wall)
    return Rehearsal(project, read_asked(output), {record.number: record for record in records})


def test_every_kind_of_rule_takes_part(tmp_path: Path) -> None:
    assert set(create_project(tmp_path / "project").counts(*TARGETS)) == set(RULES)


def test_results_are_those_of_a_local_run_bit_for_bit(rehearsal: Rehearsal, local: Project) -> None:
    expected, found = comparable(local.results), comparable(rehearsal.project.results)
    alone = TRAINING.removeprefix("results/demo/").rpartition("/")[0]
    expected = {path: value for path, value in expected.items() if not path.startswith(alone)}
    assert {path: found.get(path) == expected[path] for path in expected} == dict.fromkeys(
        found, True
    )


def test_each_job_ran_where_and_with_what_it_asked_for(rehearsal: Rehearsal) -> None:
    assert rehearsal.asked.keys() == rehearsal.records.keys()
    for number, asked in rehearsal.asked.items():
        record = rehearsal.records[number]
        given = Asked(
            rule=record.rule,
            partition=record.partition,
            cpus=record.cpus,
            memory_mb=record.memory_mb,
            minutes=record.minutes,
            gpus=record.gpus,
        )
        assert given == asked
        assert record.nodes in (GPU_NODES if asked.gpus else CPU_NODES)
        assert record.state == "COMPLETED" and record.restarts == 0


def test_local_rules_and_no_others_ran_beside_snakemake(rehearsal: Rehearsal) -> None:
    assert {record.rule for record in rehearsal.records.values()} == set(RULES) - LOCAL_RULES


def test_jobs_on_networks_and_no_others_ask_for_a_gpu(rehearsal: Rehearsal) -> None:
    prefixes = ("train", "collect", "evaluate", "measure", "average")
    ensembles = {rule for rule in RULES if rule.startswith("evaluate_") and "ensemble" in rule}
    networks = {rule for rule in RULES if rule.startswith(prefixes)} - ensembles
    assert {asked.rule for asked in rehearsal.asked.values() if asked.gpus} == networks


def test_never_more_gpu_jobs_at_once_than_gpus(rehearsal: Rehearsal) -> None:
    for node in GPU_NODES:
        jobs = [record for record in rehearsal.records.values() if record.nodes == node]
        assert jobs
        jobs.sort(key=lambda record: record.started)
        for job, following in pairwise(jobs):
            assert job.ended <= following.started


def test_the_file_of_finished_jobs_tells_the_same(rehearsal: Rehearsal, cluster: Cluster) -> None:
    finished = cluster.finished()
    for number, record in rehearsal.records.items():
        assert finished[number]["JobState"] == "COMPLETED"
        assert finished[number]["Partition"] == record.partition
        assert finished[number]["NodeList"] == record.nodes


def test_a_run_from_the_login_node_finds_nothing_left_to_do(
    rehearsal: Rehearsal, cluster: Cluster, on_cluster: Callable[..., ClusterProject]
) -> None:
    before = len(cluster.records())
    assert "Nothing to be done" in on_cluster(rehearsal.project).make(*TARGETS)
    assert len(cluster.records()) == before
