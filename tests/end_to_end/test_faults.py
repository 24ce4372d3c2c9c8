"""Whatever happens to a run, a plain one after it ends in the same bits and repeats nothing."""

import os
import re
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
from pipeline import Project, comparable, file_system

NETWORK = "networks/perceptron/seed1"
CURVE = "curves/line"
TARGETS = (f"results/demo/{NETWORK}/evaluation/metrics.csv", f"results/demo/{CURVE}/grid.csv")
LOGS = {NETWORK: f"{NETWORK}/train.log", CURVE: f"{CURVE}/evaluate.log"}
CHECKPOINT = ".progress/checkpoint.safetensors"
LONG: dict[str, Any] = {
    "select": ["garipov2018_trivial_path"],
    # Seconds, so that they can be stopped on their way.
    "recipes": {"perceptron": {"training": {"epochs": 1500, "snapshots": [2, 20]}}},
    "curves": {
        "line": {
            "kind": "segment",
            "recipe": "narrow",
            "start": "weights/mine.safetensors",
            "end": "weights/yours.safetensors",
            "points": 2501,
        },
    },
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A training, its evaluation and a grid, which nothing has disturbed."""
    project = Project.create(tmp_path_factory.mktemp("faults") / "undisturbed")
    project.configure(LONG)
    project.make(*TARGETS)
    return project


@pytest.fixture
def project(undisturbed: Project, tmp_path: Path) -> Project:
    """The same project without the network."""
    project = undisturbed.copy(tmp_path / "project")
    shutil.rmtree(project.results / "networks")
    return project


Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(project: Project) -> Iterator[Start]:
    """Start Snakemake; whatever is left of it ends with the test."""
    started = []

    def run(*targets: str, options: tuple[str, ...] = ()) -> "subprocess.Popen[str]":
        started.append(project.start(*targets, options=options))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait(condition: Callable[[], Any], process: "subprocess.Popen[str]") -> Any:
    """Return the first true answer of a condition, which must come before the process ends."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)
    raise TimeoutError


def job_of(
    process: "subprocess.Popen[str]", other_than: psutil.Process | None = None
) -> psutil.Process | None:
    """Return the process of the script that Snakemake is running."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            words = child.cmdline()
            is_script = any("/.snakemake/scripts/" in word for word in words)
            if is_script and "python" in child.name() and child != other_than:
                return child
    return None


def working(project: Project, folder: str, process: "subprocess.Popen[str]") -> psutil.Process:
    """Wait until a training or an evaluation is at work; return its process."""

    def at_work() -> psutil.Process | None:
        job = job_of(process)
        log = project.results / "logs" / LOGS[folder]
        if job is None or not log.exists() or log.stat().st_mtime < job.create_time():
            return None
        # An evaluation says nothing before it is done, but where it goes on.
        return job if folder == CURVE or log.read_text().count("learning rate") > 3 else None

    found = wait(at_work, process)
    assert isinstance(found, psutil.Process)
    if folder == CURVE:
        log = project.results / "logs" / LOGS[folder]
        again = (project.results / folder / CHECKPOINT).exists()
        wait(lambda: not again or "resumed after" in log.read_text(), process)
        time.sleep(0.2 if again else 1.0)
    return found


def assert_as_if_nothing_had_happened(
    project: Project, undisturbed: Project, *, left: tuple[str, ...] = ()
) -> None:
    assert comparable(project.results) == {
        **comparable(undisturbed.results),
        **{path: (project.results / path).read_bytes() for path in left},
    }
    assert "Nothing to be done" in project.make(*TARGETS, options=["--dry-run"])


def told(pattern: str, said: str) -> list[Any]:
    """Return what is found in the output of a run, which shows the logs of failed jobs again."""
    return list(dict.fromkeys(re.findall(pattern, said)))


@pytest.mark.parametrize(
    ("folder", "unit"), [(NETWORK, "epoch"), (CURVE, "point")], ids=["training", "evaluation"]
)
def test_signals_stop_a_job_which_goes_on_where_it_was(
    project, undisturbed, start, folder, unit
) -> None:
    """Several in a row, in one run that starts a failed job again, as after a time limit."""
    target = TARGETS[0] if folder == NETWORK else TARGETS[1]
    if folder == CURVE:
        shutil.rmtree(project.results / CURVE)
    process = start(target, options=("--retries", "3"))
    asked = ("SIGTERM", "SIGUSR1", "SIGINT")
    job = None
    for name in asked:
        job = wait(lambda job=job: job_of(process, other_than=job), process)
        assert working(project, folder, process) == job
        job.send_signal(signal.Signals[name])
        with suppress(psutil.NoSuchProcess):
            job.send_signal(signal.SIGTERM)
        with suppress(psutil.NoSuchProcess):
            job.wait(timeout=30)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    stopped = told(rf"stopped by (\w+) after {unit} (\d+); run again to resume", said)
    assert [name for name, _ in stopped] == list(asked), said
    places = [place for _, place in stopped]
    assert told(rf"resumed after {unit} (\d+) of", said) == places
    assert [int(place) for place in places] == sorted({int(place) for place in places})
    assert "Traceback" not in said
    project.make(*TARGETS)
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_a_signal_to_snakemake_itself_lets_its_job_end(project, undisturbed, start) -> None:
    process = start(TARGETS[0])
    working(project, NETWORK, process)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "stopped by" not in said
    assert (project.results / NETWORK / "weights.safetensors").exists()
    assert "train_network" not in project.counts(*TARGETS)
    project.make(*TARGETS)
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_an_interrupt_from_the_keyboard_stops_both(project, undisturbed, start) -> None:
    process = start(TARGETS[0])
    working(project, NETWORK, process)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    (place,) = told(r"stopped by SIGINT after epoch (\d+); run again to resume", said)
    assert f"resumed after epoch {place} of" in project.make(*TARGETS)
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_job_and_snakemake_are_killed_together(project, undisturbed, start) -> None:
    process = start(TARGETS[0])
    job = working(project, NETWORK, process)
    wait((project.results / NETWORK / CHECKPOINT).exists, process)
    processes = [job, *psutil.Process(process.pid).children(recursive=True)]
    for each in (psutil.Process(process.pid), *processes):
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.communicate(timeout=30)
    assert "--unlock" in project.run(*TARGETS).stdout
    project.make(*TARGETS, options=["--unlock"])
    assert "resumed after epoch" in project.make(*TARGETS)
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_a_second_snakemake_in_the_folder_is_refused(project, undisturbed, start) -> None:
    process = start(*TARGETS)
    working(project, NETWORK, process)
    second = project.run(*TARGETS)
    assert second.returncode != 0
    assert "Directory cannot be locked" in second.stdout
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert "resumed" not in said
    assert_as_if_nothing_had_happened(project, undisturbed)


def interrupted(project: Project, start: Start) -> Path:
    """Stop the training on its way and return its checkpoint."""
    process = start(TARGETS[0])
    working(project, NETWORK, process).terminate()
    process.communicate(timeout=60)
    path = project.results / NETWORK / CHECKPOINT
    assert path.exists()
    return path


@pytest.mark.parametrize("damage", ["truncated", "flipped", "of other settings"])
def test_a_checkpoint_that_is_not_to_be_trusted(project, undisturbed, start, damage) -> None:
    if damage == "of other settings":
        project.configure({"recipes": {"perceptron": {"training": {"learning_rate": 0.1}}}})
    path = interrupted(project, start)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        del content[len(content) // 2 :]
    elif damage == "flipped":
        content[-1000] ^= 16
    path.write_bytes(content)
    project.configure({"recipes": {"perceptron": {"training": {"learning_rate": 0.005}}}})
    said = project.make(*TARGETS)
    assert "resumed" not in said
    kind = "foreign" if damage == "of other settings" else "damaged"
    aside = path.with_suffix(f".{kind}-1.safetensors")
    assert f"set aside as {aside.name}, starting from the beginning" in said
    assert aside.read_bytes() == content
    left = (str(aside.relative_to(project.results)),)
    assert_as_if_nothing_had_happened(project, undisturbed, left=left)


@pytest.fixture
def small_disk(project: Project) -> Iterator[Path]:
    """The folder of the network on a file system of its own with room for 2 MiB."""
    disk = project.results / NETWORK
    disk.mkdir(parents=True)
    with file_system(disk, mebibytes=2):
        yield disk


def test_a_disk_that_fills_up_before_a_checkpoint(project, undisturbed, start, small_disk) -> None:
    process = start(TARGETS[0])
    job = working(project, NETWORK, process)
    checkpoint = small_disk / CHECKPOINT
    # By then nothing but the next checkpoint is written.
    wait((checkpoint.parent / "snapshots" / "epoch20.safetensors").exists, process)
    job.suspend()
    (small_disk / "filler").write_bytes(bytes(shutil.disk_usage(small_disk).free))
    before = checkpoint.read_bytes()
    job.resume()
    said, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    (error,) = told(r"  error: (.*)", said)
    assert error.startswith(f"results/demo/{NETWORK}/{CHECKPOINT}: no space left on the device")
    assert error.endswith("free some space, then run the same command again")
    assert "Traceback" not in said
    assert checkpoint.read_bytes() == before
    (small_disk / "filler").unlink()
    assert "resumed after epoch" in project.make(*TARGETS)
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_results_that_were_copied_are_continued(project, undisturbed, start, tmp_path) -> None:
    """With their times, to a machine where nothing is known of the run that made them."""
    interrupted(project, start)
    elsewhere = Project.create(tmp_path / "elsewhere" / "project")
    elsewhere.configure(LONG)
    # Files that the user has there from the beginning.
    shutil.rmtree(elsewhere.folder / "weights")
    shutil.copytree(project.folder / "weights", elsewhere.folder / "weights")
    shutil.copytree(project.folder / "results", elsewhere.folder / "results")
    said = elsewhere.make(*TARGETS)
    assert "resumed after epoch" in said
    assert "rule prepare_dataset" not in said and "rule evaluate_curve" not in said
    assert_as_if_nothing_had_happened(elsewhere, undisturbed)


def test_results_that_were_copied_without_their_times(project, undisturbed, tmp_path) -> None:
    """What was copied first looks older than what it was made of, until it is said not to be."""
    project.make(*TARGETS)
    files = [path for path in project.results.rglob("*") if path.is_file()]
    for age, path in enumerate(sorted(files, key=lambda path: path.stat().st_mtime)):
        os.utime(path, (time.time() - age, time.time() - age))
    shutil.rmtree(project.folder / ".snakemake")
    assert project.counts(*TARGETS)
    assert "rule train_network" not in project.make(*TARGETS, options=["--touch", "--quiet", "all"])
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_a_clock_that_has_gone_back(project, undisturbed, start) -> None:
    """What was made before is dated in the future."""
    interrupted(project, start)
    for path in project.results.rglob("*"):
        later = path.stat().st_mtime + 86_400
        os.utime(path, (later, later))
    said = project.make(*TARGETS)
    assert "resumed after epoch" in said
    assert "rule prepare_dataset" not in said and "rule evaluate_curve" not in said
    assert_as_if_nothing_had_happened(project, undisturbed)


def test_a_clock_that_has_gone_ahead(project, undisturbed, start) -> None:
    """What was made before is dated long ago."""
    interrupted(project, start)
    for path in project.results.rglob("*"):
        earlier = path.stat().st_mtime - 86_400
        os.utime(path, (earlier, earlier))
    # The user's own files are of that time, too.
    for path in (project.folder / "weights").iterdir():
        os.utime(path, (1e9, 1e9))
    said = project.make(*TARGETS)
    assert "resumed after epoch" in said
    assert "rule prepare_dataset" not in said and "rule evaluate_curve" not in said
    assert_as_if_nothing_had_happened(project, undisturbed)
