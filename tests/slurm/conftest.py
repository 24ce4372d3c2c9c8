import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cluster import PACKAGES, Cluster, missing_programs
from pipeline import Project
from rehearsal import (
    EXECUTOR,
    TARGETS,
    TRAINING,
    ClusterProject,
    create_project,
    filled_in_profile,
)
from timing import TIMING


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if (timing := config.stash.get(TIMING, None)) is not None:
        terminalreporter.write_line(f"rehearsal: {timing}")


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster, for all tests of a run."""
    if missing := missing_programs():
        pytest.fail(f"no {', '.join(missing)} here: apt-get install {PACKAGES}", pytrace=False)
    if os.geteuid() != 0:
        pytest.fail("devices of pretended GPUs are made by root only", pytrace=False)
    if not EXECUTOR.is_dir():
        pytest.fail(f"{EXECUTOR} is not there: make test-slurm", pytrace=False)
    # As Ctrl-C does, so that nothing is left running when a machine ends the tests.
    before = signal.signal(signal.SIGTERM, _interrupt)
    with Cluster() as cluster:
        yield cluster
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The project with all its results, from this machine without a scheduler."""
    project = create_project(tmp_path_factory.mktemp("local") / "project")
    project.make(*TARGETS, TRAINING, cores=4)
    return project


@pytest.fixture(scope="session")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of profiles/slurm, filled in."""
    return filled_in_profile(tmp_path_factory.mktemp("profiles") / "slurm")


@pytest.fixture
def on_cluster(cluster: Cluster, profile: Path) -> Callable[..., ClusterProject]:
    """Let a project's jobs run on the cluster."""

    def place(project: Project) -> ClusterProject:
        return ClusterProject(project.folder, cluster=cluster, profile=profile)

    return place
