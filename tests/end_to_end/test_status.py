"""The status of a pipeline that runs, is killed, and goes on; and how it looks on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from pipeline import CHECKOUT, Project

ARTEFACT = "garipov2018_trivial_path"
LONG: dict[str, Any] = {
    # Seconds, so that they can be watched and killed on their way.
    "recipes": {"perceptron": {"training": {"epochs": 4000, "snapshots": [2, 20]}}},
    "curves": {"perceptron_trivial": {"points": 2001}},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("status") / "project")
    project.configure(LONG)
    return project


class Run:
    """A run of Snakemake whose output is read, as it would wait for that."""

    def __init__(self, project: Project) -> None:
        self.process = project.start(ARTEFACT)
        self.output = ""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.output = self.process.stdout.read()

    @property
    def ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        """Wait for its end and return its status."""
        status = self.process.wait(timeout=120)
        self._reader.join()
        return status

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.end()


@pytest.fixture
def start(project: Project) -> Iterator[Callable[[], Run]]:
    """Start Snakemake; whatever is left of it ends with the test."""
    started = []

    def run() -> Run:
        started.append(Run(project))
        return started[-1]

    yield run
    for each in started:
        each.kill()


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "mode_connectivity", "status", *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(CHECKOUT / "src")}


def status(project: Project) -> dict[str, Any]:
    found = subprocess.run(
        command("--json", ARTEFACT),
        cwd=project.folder,
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stderr) == (0, "")
    data: dict[str, Any] = json.loads(found.stdout)
    return data


def wait(project: Project, condition: Callable[[dict[str, Any]], Any]) -> tuple[Any, Any]:
    """Return a status of which something is true, and that."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        data = status(project)
        if found := condition(data):
            return data, found
        time.sleep(0.2)
    raise TimeoutError(data)


def running(data: dict[str, Any], name: str, done: float = 0.0) -> Any:
    """Return the job of a name that runs and has come so far, if there is one."""
    for job in data["running"]:
        if job["name"] == name and job["at"] and job["at"][-1]["done"] > done:
            return job
    return None


def test_a_run_from_its_start_to_its_end(project, start) -> None:
    before = status(project)
    assert before["jobs"] == {"total": 6, "missing": 6, "done": 0}
    assert before["artefacts"][0]["needs"] == {
        "prepare_dataset": 1,
        "train_network": 2,
        "evaluate_curve": 1,
        "make_table": 1,
        "make_figure": 1,
    }
    run = start()

    # The first training runs, and says how far it is.
    data, job = wait(project, lambda data: next(iter(data["running"]), None))
    name = job["name"]
    while not job["at"]:
        data, job = wait(project, lambda data: running(data, name))
    assert (job["rule"], job["state"], job["planned"]) == ("train_network", "running", True)
    assert (job["host"], job["device"]) == (os.uname().nodename, "cpu")
    assert psutil.pid_exists(job["process"])
    assert job["at"][0]["unit"] == "epoch" and job["at"][0]["total"] == 4000
    assert set(job["measured"]) == {"train_nll", "train_error"}
    assert job["images_per_second"] > 0
    assert 1 <= data["jobs"]["done"] <= 2
    assert data["work"]["jobs"] == 6 - data["jobs"]["done"]
    assert not data["done"]
    here = data["jobs"]["done"]
    _, later = wait(project, lambda data: running(data, name, job["at"][0]["done"]))
    assert later["process"] == job["process"]

    # It is killed without a word.
    psutil.Process(later["process"]).kill()
    assert run.end() == 1
    killed = status(project)
    assert killed["running"] == []
    (told,) = killed["stopped"]
    assert (told["name"], told["state"], told["said"]) == (name, "killed", None)
    epoch = int(re.fullmatch(r"epoch (\d+)", told["resumes_after"])[1])
    assert epoch > 0
    assert killed["jobs"]["done"] == here

    # It goes on, and is asked to stop.
    run = start()
    _, again = wait(project, lambda data: running(data, name, epoch))
    psutil.Process(again["process"]).terminate()
    assert run.end() == 1
    (told,) = status(project)["stopped"]
    assert (told["name"], told["state"]) == (name, "stopped")
    assert told["said"].startswith("stopped by SIGTERM after epoch ")
    assert told["said"].split(";")[0].endswith(told["resumes_after"])

    # It comes to its end.
    run = start()
    seen = set()
    while not run.ended:
        seen |= {job["rule"] for job in status(project)["running"]}
    assert run.end() == 0, run.output
    assert "train_network" in seen
    after = status(project)
    assert after["done"]
    assert after["jobs"] == {"total": 6, "done": 6}
    assert (after["running"], after["failed"], after["stopped"]) == ([], [], [])
    assert after["artefacts"][0]["done"] and after["artefacts"][0]["needs"] == {}
    for path in (project.results / "logs").rglob("*.log"):
        assert re.search(r"  done after \d+\.\d s\n\Z", path.read_text()), path


def test_a_job_that_fails(project) -> None:
    """Of networks that cannot be trained so fast."""
    broken = project.copy(project.folder.parent / "broken")
    fast = {"recipes": {"perceptron": {"training": {"learning_rate": 1e30}}}}
    broken.configure(fast)
    assert broken.run(ARTEFACT).returncode == 1
    data = status(broken)
    (told,) = data["failed"]
    assert told["rule"] == "train_network"
    assert told["said"].startswith("error: the loss or the weights are not finite in epoch 1")
    assert data["jobs"]["failed"] == 1


# On a terminal.


class Terminal:
    """A program on a terminal of 80 columns and 24 lines."""

    def __init__(self, folder: Path, *options: str, **variables: str) -> None:
        self.screen, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.before = termios.tcgetattr(inner)
        kept = {key: value for key, value in environment().items() if key != "NO_COLOR"}
        self.process = subprocess.Popen(
            command(*options),
            cwd=folder,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={**kept, "TERM": "xterm-256color", **variables},
            start_new_session=True,
            # Ctrl-C reaches the program whose terminal it is.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.inner = inner
        self.text = ""

    def read(self, until: Callable[[str], Any], seconds: float = 30.0) -> None:
        """Read until something is true of all that was written."""
        deadline = time.monotonic() + seconds
        while not until(self.text):
            assert time.monotonic() < deadline, self.text
            if select.select([self.screen], [], [], 0.1)[0]:
                self.text += os.read(self.screen, 65536).decode()

    def end(self, key: str | None = None, number: int | None = None) -> int:
        """Press a key or send a signal, and read to the end."""
        if key is not None:
            os.write(self.screen, key.encode())
        if number is not None:
            self.process.send_signal(number)
        deadline = time.monotonic() + 30
        while self.process.poll() is None or select.select([self.screen], [], [], 0.2)[0]:
            assert time.monotonic() < deadline, self.text
            if select.select([self.screen], [], [], 0.2)[0]:
                self.text += os.read(self.screen, 65536).decode()
        assert termios.tcgetattr(self.inner) == self.before
        return self.process.returncode

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.screen)
        os.close(self.inner)


@pytest.fixture
def terminal(project: Project) -> Iterator[Callable[..., Terminal]]:
    opened = []

    def start(*options: str, **variables: str) -> Terminal:
        opened.append(Terminal(project.folder, *options, **variables))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


TABLE = "tables/garipov2018_table3_words"
WATCHED = ("--watch", "0.2", "garipov2018_table3_words", "garipov2018_figure4")


@pytest.mark.parametrize(
    ("key", "number", "code"), [("\x03", None, 0), (None, signal.SIGTERM, 143)]
)
def test_a_view_stays_in_its_place_and_leaves_the_terminal_clean(
    project, terminal, key, number, code
) -> None:
    for path in project.results.glob(f"{TABLE}.*"):
        path.unlink()
    view = terminal(*WATCHED)
    view.read(lambda text: "0 of 2 artefacts" in plain(text))
    assert "\x1b[?25l" in view.text  # the cursor is hidden
    (project.results / TABLE).parent.mkdir(parents=True, exist_ok=True)
    for kind in ("csv", "md", "tex"):
        (project.results / f"{TABLE}.{kind}").touch()
    view.read(lambda text: "1 of 2 artefacts" in plain(text))
    # Each view takes the place of the one before.
    first, _, later = view.text.partition("1 of 2 artefacts")
    assert re.search(r"\x1b\[1A", first)
    assert view.process.poll() is None
    assert view.end(key, number) == code
    assert "Traceback" not in view.text
    assert view.text.rindex("\x1b[?25h") > view.text.rindex("\x1b[?25l")
    # What was shown last stays to be read, and the prompt comes below it.
    last = plain(later)
    assert "garipov2018_figure4" in last and last.endswith("\n")
    assert all(len(line) <= 80 for line in plain(view.text).splitlines())


def test_a_view_ends_when_all_is_done(project, terminal) -> None:
    view = terminal("--watch", "0.2", ARTEFACT)
    assert view.end() == 0
    assert "1 of 1 artefacts" in plain(view.text)


def test_colours_where_they_are_wanted(project, terminal) -> None:
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        view = terminal("--once", ARTEFACT, **variables)
        assert view.end() == 0
        assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", view.text)) == coloured
        # Once is once.
        assert "\x1b[?25l" not in view.text


def test_a_dumb_terminal_is_written_to_once(project, terminal) -> None:
    view = terminal("garipov2018_figure4", TERM="dumb")
    assert view.end() == 0
    assert "\x1b" not in view.text
