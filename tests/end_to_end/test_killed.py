"""Killed at any moment, a run goes on later and ends in the same bits."""

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pipeline import Project, comparable

TARGET = "results/demo/curves/perceptron_bezier/grid.csv"
MADE = ("networks/perceptron/seed1", "curves/perceptron_bezier")
CHECKPOINT = ".progress/checkpoint.safetensors"


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """The finished project without one network and a curve that begins there."""
    project = finished.copy(tmp_path / "project")
    for folder in MADE:
        shutil.rmtree(project.results / folder)
    return project


@pytest.fixture
def start(project: Project) -> Iterator[Callable[[], Any]]:
    """Start Snakemake; whatever is left of it ends with the test."""
    started = []

    def run(target: str = TARGET) -> "subprocess.Popen[str]":
        process = project.start(target)
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def wait(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    """Return the first true answer; what has ended by itself answers nothing."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        if process.poll() is not None:
            return None
        time.sleep(0.005)
    raise TimeoutError


def job_of(process: "subprocess.Popen[str]") -> psutil.Process | None:
    """Return the process of the script that Snakemake is running."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            if any("/.snakemake/scripts/" in word for word in child.cmdline()):
                return child
    return None


def kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()


def assert_as_if_nothing_had_happened(project: Project, finished: Project) -> None:
    assert comparable(project.results) == comparable(finished.results)
    hidden = {path.name for path in project.results.rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}
    assert "Nothing to be done" in project.make(TARGET, options=["--dry-run"])


def test_killed_jobs_go_on_where_they_were(project, finished, start) -> None:
    said = ""
    for folder in (*MADE, None):
        process = start()
        if folder is not None:
            wait((project.results / folder / CHECKPOINT).exists, process)
        job = wait(lambda process=process: job_of(process), process)
        time.sleep(random.uniform(0, 0.1 if folder is not None else 1.5))
        if job is not None:
            kill(job)
        said += process.communicate(timeout=60)[0]
        assert "Traceback" not in said
    said += project.make(TARGET)
    assert "resumed after epoch" in said
    assert_as_if_nothing_had_happened(project, finished)


def test_a_killed_snakemake_takes_its_job_along(project, finished, start) -> None:
    for folder, output in zip(MADE, ("weights", "vertices"), strict=True):
        process = start()
        wait((project.results / folder / CHECKPOINT).exists, process)
        job = job_of(process)
        assert job is not None
        time.sleep(random.uniform(0, 0.1))
        # Held, so that it cannot be done before Snakemake is gone.
        job.suspend()
        made = [path.name for path in (project.results / folder).glob(f"{output}.safetensors")]
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        job.resume()
        job.wait(timeout=10)
        assert [path.name for path in (project.results / folder).glob(f"{output}.*")] == made
        if folder == MADE[0]:
            # Snakemake cannot know that nobody else is at work, and says what to do.
            assert "--unlock" in project.run(TARGET).stdout
        project.make(TARGET, options=["--unlock"])
    project.make(TARGET)
    assert_as_if_nothing_had_happened(project, finished)


def test_a_killed_branch_goes_on_where_it_was(project, start, tmp_path) -> None:
    """Not from the checkpoint of the other training with which it began."""
    project.configure(
        {"recipes": {"branch": {"extends": "preresnet8_fge2", "training": {"epochs": 41}}}}
    )
    folder = "networks/branch/seed1"
    target = f"results/demo/{folder}/weights.safetensors"
    whole = project.copy(tmp_path / "whole")
    whole.make(target)
    process = start(target)
    wait((project.results / folder / CHECKPOINT).exists, process)
    job = job_of(process)
    assert job is not None
    kill(job)
    process.communicate(timeout=60)
    assert not (project.results / folder / "weights.safetensors").exists()
    assert "resumed after epoch" in project.make(target)
    assert comparable(project.results / folder) == comparable(whole.results / folder)
