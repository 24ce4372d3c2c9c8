import contextlib
import json
import logging
import os
import platform
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from mode_connectivity import job as job_module
from mode_connectivity.job import Job, running_job
from mode_connectivity.job_log import Begin, is_held
from mode_connectivity.settings import UserError
from mode_connectivity.signals import ASKING, Stopped

ROOT = Path(__file__).parents[2]
STAMP = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}  ")


def lines(log: Path) -> list[str]:
    """The lines of a log without their time stamps, after the first, which says who the job is."""
    first, *others = [STAMP.sub("", line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert Begin.parse(first) is not None, first
    return others


def done(told: list[str]) -> list[str]:
    """What a job has said before the last line, that it is done."""
    assert re.fullmatch(r"done after \d+\.\d s", told[-1]), told
    return told[:-1]


def fail(log: Path, error: BaseException) -> list[str]:
    with pytest.raises(SystemExit) as caught, running_job(log):
        raise error
    assert caught.value.code == 1
    return lines(log)


def test_lines_go_to_the_log_and_to_standard_error(tmp_path, capsys) -> None:
    log = tmp_path / "logs" / "networks" / "train.log"
    with running_job(log) as job:
        assert job.log == log
        logging.getLogger("mode_connectivity.training.loop").info("epoch %d", 3)
        logging.getLogger("mode_connectivity.training.loop").debug("never")
        logging.getLogger("another_library").warning("not ours")
    assert done(lines(log)) == ["epoch 3"]
    assert STAMP.match(log.read_text())
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors == log.read_text()


def test_the_first_line_says_who_the_job_is_and_where(tmp_path, monkeypatch) -> None:
    log = tmp_path / "job.log"
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    with running_job(log, "evaluate_simplex", ("espro", "1", "2")):
        pass
    first = STAMP.sub("", log.read_text().splitlines()[0])
    host = platform.node()
    assert first == f"evaluate_simplex espro/1/2, on {host}, process {os.getpid()}, SLURM job 77"
    monkeypatch.delenv("SLURM_JOB_ID")
    with running_job(log, "make_report"):
        pass
    first = STAMP.sub("", log.read_text().splitlines()[0])
    assert first == f"make_report, on {host}, process {os.getpid()}"


@pytest.mark.parametrize("error", [None, UserError("a"), ValueError("b"), KeyboardInterrupt()])
def test_a_log_is_locked_as_long_as_its_job_runs(tmp_path, error) -> None:
    log = tmp_path / "job.log"
    with contextlib.suppress(SystemExit, KeyboardInterrupt), running_job(log):
        with log.open("rb") as file:
            assert is_held(file) is True
        if error is not None:
            raise error
    with log.open("rb") as file:
        assert is_held(file) is False


def test_a_job_runs_where_there_are_no_locks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(job_module.job_log, "hold", lambda log: False)
    with running_job(tmp_path / "job.log"):
        pass
    first = STAMP.sub("", (tmp_path / "job.log").read_text().splitlines()[0])
    assert first.endswith(", without a lock")


def test_warnings_go_to_the_log(tmp_path) -> None:
    log = tmp_path / "job.log"
    with warnings.catch_warnings(), running_job(log):
        warnings.simplefilter("always")
        warnings.warn("the order is not that of the paper", stacklevel=1)
    assert "the order is not that of the paper" in log.read_text()


def test_log_begins_anew_and_holds_any_letter(tmp_path) -> None:
    log = tmp_path / "job.log"
    log.write_text("of an earlier attempt\n")
    with running_job(log):
        logging.getLogger("mode_connectivity").info("Zürich")
    assert done(lines(log)) == ["Zürich"]


def test_mistake_of_the_user_is_one_line(tmp_path, capsys) -> None:
    log = tmp_path / "job.log"
    assert fail(log, UserError("data/mnist: no such folder")) == [
        "error: data/mnist: no such folder"
    ]
    assert capsys.readouterr().err == log.read_text()


def test_subclasses_are_mistakes_of_the_user_too(tmp_path) -> None:
    class DivergedError(UserError):
        pass

    assert fail(tmp_path / "job.log", DivergedError("too fast")) == ["error: too fast"]


def test_other_errors_have_a_traceback_and_a_last_line(tmp_path, capsys) -> None:
    log = tmp_path / "job.log"
    told = fail(log, ValueError("two\n   lines"))
    assert told[0] == "failed"
    assert told[1] == "Traceback (most recent call last):"
    assert any("test_job.py" in line for line in told)
    assert told[-1] == "error: ValueError: two lines"
    assert capsys.readouterr().err == log.read_text()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    ],
)
def test_advice_where_memory_is_short(tmp_path, error) -> None:
    assert fail(tmp_path / "job.log", error)[-1].endswith(
        "; lower the batch_size in evaluation or in the training of the recipe or curve"
    )


def test_advice_for_torchs_own_error(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    last = fail(tmp_path / "job.log", error)[-1]
    assert last.startswith("error: OutOfMemoryError: CUDA out of memory. Tried")
    assert "; lower the batch_size" in last


def test_no_advice_otherwise(tmp_path) -> None:
    assert "batch_size" not in fail(tmp_path / "job.log", RuntimeError("memory"))[-1]


def test_interrupts_and_exits_pass(tmp_path) -> None:
    for error in (KeyboardInterrupt(), SystemExit(3)):
        with pytest.raises(type(error)), running_job(tmp_path / "job.log"):
            raise error
        assert lines(tmp_path / "job.log") == [f"ended by {type(error).__name__}"]


@pytest.mark.parametrize("error", [None, UserError("a"), ValueError("b"), KeyboardInterrupt()])
def test_logging_is_as_it_was_before(tmp_path, monkeypatch, error) -> None:
    loggers = [logging.getLogger(name) for name in ("mode_connectivity", "py.warnings", None)]
    for each in loggers[:2]:
        monkeypatch.setattr(each, "level", logging.ERROR)
        monkeypatch.setattr(each, "propagate", True)
    before = [(each.handlers[:], each.level, each.propagate) for each in loggers]
    show = warnings.showwarning
    for _ in range(3):
        try:
            with running_job(tmp_path / "job.log"):
                if error is not None:
                    raise error
        except (SystemExit, KeyboardInterrupt):
            pass
    assert [(each.handlers, each.level, each.propagate) for each in loggers] == before
    assert warnings.showwarning is show


def test_jobs_of_one_process_do_not_write_into_each_others_logs(tmp_path) -> None:
    for name in ("first", "second"):
        with running_job(tmp_path / f"{name}.log"):
            logging.getLogger("mode_connectivity").info(name)
    assert done(lines(tmp_path / "first.log")) == ["first"]
    assert done(lines(tmp_path / "second.log")) == ["second"]


def test_threads_are_set(tmp_path) -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    try:
        with running_job(tmp_path / "job.log", threads=2):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_record_of_a_run(tmp_path) -> None:
    path = tmp_path / "networks" / "run.json"
    with running_job(tmp_path / "job.log") as job:
        time.sleep(0.05)
        job.record(path, settings={"epochs": 3}, seed=1, device="cpu")
    record = json.loads(path.read_text())
    assert record["settings"] == {"epochs": 3}
    assert record["seed"] == 1
    assert record["device"] == "cpu"
    assert record["python"] == platform.python_version()
    assert set(record["versions"]) == set(job_module.PACKAGES)
    assert re.match(r"\d+\.\d+", record["versions"]["numpy"])
    assert record["machine"].startswith(platform.machine())
    assert record["commit"] is None or re.fullmatch("[0-9a-f]{40}", record["commit"])
    assert 0.05 <= record["work_seconds"] < 5
    # A Python with NumPy has some 10 MB at least, and no test has 100 GB.
    assert 10 < record["peak_memory_mb"]["cpu"] < 100_000


def test_record_without_git_or_an_installed_package(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(job_module, "PACKAGES", ("a-package-that-nobody-has",))
    Job(tmp_path / "job.log", started=time.monotonic()).record(tmp_path / "run.json")
    record = json.loads((tmp_path / "run.json").read_text())
    assert record["commit"] is None
    assert record["versions"] == {"a-package-that-nobody-has": None}


def test_start_seconds_count_from_the_start_of_the_process(tmp_path) -> None:
    program = f"""
import time
time.sleep(0.4)
from pathlib import Path
from mode_connectivity.job import running_job
with running_job(Path({str(tmp_path / "job.log")!r})) as job:
    job.record(Path({str(tmp_path / "run.json")!r}))
    print(job.started)
"""
    before = time.monotonic()
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    seconds = time.monotonic() - before
    record = json.loads((tmp_path / "run.json").read_text())
    if Path("/proc/self/stat").is_file():
        # The kernel counts in hundredths of a second.
        assert before - 0.05 <= float(finished.stdout) <= before + seconds - 0.4
        assert 0.4 <= record["start_seconds"] <= seconds
    assert record["start_seconds"] >= 0
    assert record["work_seconds"] <= seconds


def test_start_is_now_where_the_kernel_does_not_tell(monkeypatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert abs(job_module._process_start() - time.monotonic()) < 1


def test_a_clock_that_jumps_moves_no_duration(tmp_path, monkeypatch) -> None:
    path = tmp_path / "run.json"
    with running_job(tmp_path / "job.log") as job:
        monkeypatch.setattr(time, "time", lambda: -1e9)
        job.record(path)
    record = json.loads(path.read_text())
    assert 0 <= record["work_seconds"] < 5
    assert 0 <= record["start_seconds"] < 3600


def test_identify_tells_contents_apart(tmp_path) -> None:
    first, second, third = (tmp_path / name for name in "abc")
    first.write_bytes(b"one")
    second.write_bytes(b"two")
    third.write_bytes(b"one")
    digests = Job.identify(first, second, third)
    assert digests[0] == digests[2] != digests[1]
    assert Job.identify() == []


def test_exit_status_and_log_of_a_process_of_its_own(tmp_path) -> None:
    program = f"""
from pathlib import Path
from mode_connectivity.job import running_job
from mode_connectivity.settings import UserError
with running_job(Path({str(tmp_path / "job.log")!r})):
    raise UserError("no")
"""
    finished = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == (tmp_path / "job.log").read_text()
    assert lines(tmp_path / "job.log") == ["error: no"]


STOPPABLE = """
import os, signal, sys, time
from pathlib import Path
from mode_connectivity.job import running_job
from mode_connectivity.signals import Stopped
with running_job(Path(sys.argv[1])):
    try:
        print("working", flush=True)
        time.sleep(60)
    except Stopped as stopped:
        if len(sys.argv) > 2:
            stopped.after = sys.argv[2]
        # As often as a scheduler likes.
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            os.kill(os.getpid(), number)
        raise
"""


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
@pytest.mark.parametrize(
    ("after", "told"),
    [([], "; run again"), (["epoch 12"], " after epoch 12; run again to resume")],
)
def test_a_signal_stops_a_job_with_one_line(tmp_path, name, after, told) -> None:
    log = tmp_path / "job.log"
    process = subprocess.Popen(
        [sys.executable, "-c", STOPPABLE, str(log), *after],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.Signals[name])
    _, errors = process.communicate(timeout=20)
    assert process.returncode == job_module.STOPPED == os.EX_TEMPFAIL
    assert lines(log) == [f"stopped by {name}{told}"]
    assert errors == log.read_text()


@pytest.mark.parametrize("error", [None, UserError("a"), Stopped(signal.SIGTERM)])
def test_signal_handlers_are_as_they_were_before(tmp_path, error) -> None:
    before = [signal.getsignal(number) for number in ASKING]
    with contextlib.suppress(SystemExit), running_job(tmp_path / "job.log"):
        assert all(signal.getsignal(number) not in before for number in ASKING)
        if error is not None:
            raise error
    assert [signal.getsignal(number) for number in ASKING] == before
