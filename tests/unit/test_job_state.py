import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from mode_connectivity import job_state
from mode_connectivity.job_log import Begin, hold
from mode_connectivity.job_state import HEAD, TAIL, may_run, read_log

STAMP = "2026-03-01 12:{:02d}:{:02d}  "
HERE = os.uname().nodename
NOBODY = 99_999_999
"""No process has such a number."""


def begin(host: str = HERE, process: int = NOBODY, *, locked: bool = True) -> str:
    return str(Begin("train_network", "vgg16/1", host, process, None, locked))


def write(path: Path, *lines: str, seconds: float = 15.0, age: float = 0.0) -> Path:
    """Write lines with so many seconds from one to the next, the last of them some time ago."""
    text = ""
    for index, line in enumerate(lines):
        minutes, rest = divmod(int(index * seconds), 60)
        text += f"{STAMP.format(minutes, rest)}{line}\n"
    path.write_text(text)
    then = time.time_ns() - int(age * 1e9)
    os.utime(path, ns=(then, then))
    return path


def state(path: Path) -> str:
    said = read_log(path)
    assert said is not None
    return said.state


EPOCH = (
    "epoch {}/200  learning rate 0.05  train nll {:.4f}  train error 6.685 %  14.2 s  2517 images/s"
)


def epochs(first: int, last: int) -> list[str]:
    return [EPOCH.format(epoch, 1 / epoch) for epoch in range(first, last + 1)]


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        ("done after 3540.0 s", "done"),
        ("stopped by SIGTERM after epoch 12; run again to resume", "stopped"),
        ("error: data/mnist: no such folder", "failed"),
        ("error: two lines\n  data/mnist\n  mnist", "failed"),
        ("ended by KeyboardInterrupt", "failed"),
    ],
)
def test_a_log_says_how_its_job_ended(tmp_path, last, expected) -> None:
    log = write(tmp_path / "a.log", begin("elsewhere"), *epochs(1, 3), last)
    said = read_log(log)
    assert said is not None
    assert said.state == expected
    assert said.end == (expected, last)


def test_a_job_that_holds_its_log_runs_whatever_the_log_says(tmp_path) -> None:
    log = write(tmp_path / "a.log", begin("elsewhere"), "done after 1.0 s", age=1e6)
    with log.open("a") as file:
        assert hold(file)
        assert state(log) == "running"
    assert state(log) == "done"


def test_without_a_lock_and_a_last_word_it_was_killed(tmp_path) -> None:
    log = write(tmp_path / "a.log", begin(process=os.getpid()), *epochs(1, 3))
    # However young the log is, and whoever has the number of the process now.
    assert state(log) == "killed"


@pytest.mark.parametrize(
    ("process", "expected"),
    [
        pytest.param(os.getpid(), "probably running", id="of this process"),
        pytest.param(NOBODY, "probably killed", id="of no process"),
    ],
)
@pytest.mark.parametrize("unlocked", ["by the job", "by the file system"])
def test_where_there_are_no_locks_the_process_tells(
    tmp_path, monkeypatch, process, expected, unlocked
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    if unlocked == "by the file system":
        monkeypatch.setattr(fcntl, "flock", refuse)
    first = begin(process=process, locked=unlocked != "by the job")
    assert state(write(tmp_path / "a.log", first, *epochs(1, 3), age=1e6)) == expected


@pytest.mark.parametrize(
    ("seconds", "age", "expected"),
    [
        (15, 100, "probably running"),
        (15, 130, "probably killed"),
        # As long as it takes for an epoch.
        (300, 1100, "probably running"),
        (300, 1300, "probably killed"),
    ],
)
def test_on_another_machine_the_age_of_the_last_line_tells(
    tmp_path, seconds, age, expected
) -> None:
    lines = [begin("elsewhere"), *epochs(1, 3)]
    assert state(write(tmp_path / "a.log", *lines, seconds=seconds, age=age)) == expected


def test_lines_that_were_left_out_are_no_pause(tmp_path) -> None:
    lines = [begin("elsewhere"), *epochs(1, 199)]
    log = write(tmp_path / "a.log", *lines, seconds=15, age=110)
    said = read_log(log)
    assert said is not None
    assert 0 < said.cut < len(said.lines) < 100
    assert state(log) == "probably running"
    assert state(write(log, *lines, seconds=15, age=130)) == "probably killed"


def test_a_log_that_does_not_begin_as_ours_need_not_say_how_it_ended(tmp_path) -> None:
    log = tmp_path / "a.log"
    assert state(write(log, *epochs(1, 3), age=10)) == "probably running"
    assert state(write(log, *epochs(1, 3), age=1000)) == "unknown"
    assert state(write(log, *epochs(1, 3), "error: no", age=1000)) == "failed"


def test_who_a_job_is_and_how_far(tmp_path) -> None:
    lines = [begin(), "device NVIDIA H200", *epochs(1, 50), "epoch 50.5/200  30.00 s"]
    said = read_log(write(tmp_path / "a.log", *lines, age=7))
    assert said is not None
    assert said.begin == Begin("train_network", "vgg16/1", HERE, NOBODY)
    assert said.device == "NVIDIA H200"
    assert said.progress is not None
    assert said.progress.where == "epoch 50.5/200"
    # By the last line that has them.
    assert said.measured == {"train_nll": 0.02, "train_error": 6.685}
    assert said.images_per_second == 2517
    assert 7 <= said.age < 60


def test_a_job_that_has_only_begun(tmp_path) -> None:
    said = read_log(write(tmp_path / "a.log", begin()))
    assert said is not None
    assert (said.progress, said.device, said.images_per_second) == (None, None, None)
    assert (said.measured, said.seconds_left) == ({}, None)


@pytest.mark.parametrize(
    ("lines", "seconds", "left"),
    [
        # 49 epochs in 49 * 15 s; 150 are left.
        ([begin(), "device cpu", *epochs(1, 50)], 15, 150 * 15),
        # A single epoch, since the start: 2 * 15 s.
        ([begin(), "device cpu", *epochs(1, 1)], 15, 199 * 30),
        # After it was resumed.
        ([begin(), "device cpu", "resumed after epoch 99 of 200", *epochs(100, 100)], 15, 1500),
        # Work of another kind went before; the pace is its own.
        ([begin(), "sample 1/60  9.00 s", "sample 60/60  9.00 s", "point 10/40  9.00 s",
          "point 20/40  9.00 s"], 10, 20),
        # One connector of four in 2 * 10 s.
        ([begin(), "connector 1/4  epoch 0/5  9.00 s", "connector 1/4  epoch 5/5  9.00 s",
          "connector 2/4  epoch 5/5  9.00 s"], 10, 20),
        # All in one second: nothing can be told.
        ([begin(), *epochs(1, 3)], 0, None),
        ([begin(), "epoch 200/200  1.00 s"], 15, 0),
    ],
)  # fmt: skip
def test_seconds_left(tmp_path, lines, seconds, left) -> None:
    said = read_log(write(tmp_path / "a.log", *lines, seconds=seconds))
    assert said is not None
    assert said.seconds_left == (None if left is None else pytest.approx(left, abs=2))


def test_what_has_passed_since_the_last_line_is_taken_off(tmp_path) -> None:
    said = read_log(write(tmp_path / "a.log", begin(), *epochs(1, 50), age=1000))
    assert said is not None
    assert said.seconds_left == pytest.approx(150 * 15 - 1000, abs=5)
    said = read_log(write(tmp_path / "a.log", begin(), *epochs(1, 50), age=1e6))
    assert said is not None
    assert said.seconds_left == 0


def test_of_a_long_log_the_first_and_last_lines_are_read(tmp_path) -> None:
    lines = [begin(), "device cpu", *(epochs(1, 199)), "error: the loss is not finite"]
    log = write(tmp_path / "a.log", *lines, seconds=1)
    assert log.stat().st_size > 3 * (HEAD + TAIL)
    said = read_log(log)
    assert said is not None
    assert said.begin is not None
    assert said.device == "cpu"
    assert said.state == "failed"
    assert said.progress is not None
    assert said.progress.counts[0].done == 199
    texts = [text for _, text in said.lines]
    assert 20 < len(texts) < 100
    # No line is cut.
    assert set(texts) <= set(lines)


@pytest.mark.parametrize("size", [1, HEAD - 1, HEAD, HEAD + 1, HEAD + TAIL, HEAD + TAIL + 1])
def test_logs_of_any_length(tmp_path, size) -> None:
    first = f"{STAMP.format(0, 0)}{begin()}\n"
    filling = f"{STAMP.format(0, 1)}{'x' * 70}\n"
    last = f"{STAMP.format(0, 2)}done after 2.0 s\n"
    middle = filling * max((size - len(first) - len(last)) // len(filling) + 1, 0)
    log = tmp_path / "a.log"
    log.write_text(first + middle + last)
    said = read_log(log)
    assert said is not None
    assert said.begin is not None and said.state == "done"
    assert all(text in (begin(), "x" * 70, "done after 2.0 s") for _, text in said.lines)


@pytest.mark.parametrize("cut", [1, 10, 25])
def test_a_line_that_is_being_written_is_left_out(tmp_path, cut) -> None:
    log = write(tmp_path / "a.log", begin("elsewhere"), *epochs(1, 3), "done after 3.0 s")
    log.write_bytes(log.read_bytes()[:-cut])
    said = read_log(log)
    assert said is not None
    assert said.end is None
    assert said.progress is not None
    assert said.progress.counts[0].done == 3


def test_a_log_that_is_not_there_or_says_nothing(tmp_path) -> None:
    log = tmp_path / "a.log"
    assert read_log(log) is None
    for content in (b"", b"\xff\xfe\x00", b"Killed\n", STAMP.format(1, 1).encode()):
        log.write_bytes(content)
        assert read_log(log) is None
    assert read_log(tmp_path) is None
    assert not may_run(tmp_path / "none.log")


def test_bytes_that_are_no_text_and_times_that_are_none(tmp_path) -> None:
    log = write(tmp_path / "a.log", begin("elsewhere"), *epochs(1, 3), age=1000)
    log.write_bytes(log.read_bytes() + b"0001-99-99 99:99:99  \xff\xfe\nrest\n")
    said = read_log(log)
    assert said is not None
    assert said.state in ("probably running", "probably killed")
    assert said.lines[-1][1].endswith("\nrest")


def test_which_logs_may_be_of_running_jobs(tmp_path) -> None:
    log = write(tmp_path / "a.log", begin(), age=10)
    assert may_run(log)
    write(log, begin(), age=1e6)
    assert not may_run(log)
    with log.open("a") as file:
        assert hold(file)
        assert may_run(log)


def test_a_process_of_somebody_else_is_alive(monkeypatch) -> None:
    def refuse(process: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert job_state._lives(1)
