import errno
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mode_connectivity import job_log
from mode_connectivity.job_log import (
    LINE,
    LINE_FORMAT,
    STAMP,
    Begin,
    Count,
    Progress,
    Steps,
    hold,
    how_it_ended,
    is_held,
    tell,
    tell_resumed,
    working_on,
)
from mode_connectivity.settings import UserError

SOURCE = str(Path(__file__).parents[2] / "src")

words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=12)
counts = st.builds(
    Count,
    words,
    st.integers(0, 10**9).map(lambda thousandths: thousandths / 1000),
    st.integers(1, 10**9),
)


# What is written is what is read.


@given(
    st.lists(counts, min_size=1, max_size=3),
    st.sampled_from(["", "learning rate 0.05", "train nll nan  train error 6.685 %"]),
    st.integers(0, 10**7).map(lambda hundredths: hundredths / 100),
    st.none() | st.integers(0, 10**9).map(float),
)
def test_progress_is_read_as_it_was_written(of, facts, seconds, speed) -> None:
    progress = Progress(tuple(of), facts, seconds, speed)
    assert Progress.parse(str(progress)) == progress


@pytest.mark.parametrize(
    ("line", "counts", "measured", "speed"),
    [
        (
            "epoch 3/40  learning rate 0.09121  train nll 0.1895  train error 6.685 %  0.14 s  "
            "2517 images/s",
            (Count("epoch", 3, 40),),
            {"train_nll": 0.1895, "train_error": 6.685},
            2517.0,
        ),
        (
            "connector 2/4  epoch 0.5/10  learning rate 1e-05  train nll -0.5544  train rmse 0.049"
            "  test rmse 1.2e-05  12.00 s  3 images/s",
            (Count("connector", 2, 4), Count("epoch", 0.5, 10)),
            {"train_nll": -0.5544, "train_rmse": 0.049, "test_rmse": 1.2e-05},
            3.0,
        ),
        (
            "point 7/121  test nll inf  test error 90 %  31.00 s  12 images/s",
            (Count("point", 7, 121),),
            {"test_nll": float("inf"), "test_error": 90.0},
            12.0,
        ),
        ("image 1000000/1331167  60.10 s", (Count("image", 1_000_000, 1_331_167),), {}, None),
    ],
)
def test_lines_by_hand(line, counts, measured, speed) -> None:
    progress = Progress.parse(line)
    assert progress is not None
    assert progress.counts == counts
    assert progress.measured == measured
    assert progress.images_per_second == speed
    assert str(progress) == line


@pytest.mark.parametrize(
    "line",
    [
        "",
        "epoch 3/40",
        "epoch 3 of 40  1.00 s",
        "epoch 3/40  learning rate 0.1  1.00 s  fast",
        "resumed after epoch 3 of 40",
        "epoch 1.2.3/40  1.00 s",
        "error: epoch 3/40  1.00 s",
        "done after 3.0 s",
    ],
)
def test_other_lines_say_nothing_of_progress(line) -> None:
    assert Progress.parse(line) is None


@pytest.mark.parametrize(
    ("line", "share"),
    [
        ("epoch 50/200  1.00 s", 0.25),
        ("epoch 0/200  1.00 s", 0.0),
        # Of four connectors one is trained, the second to a half.
        ("connector 2/4  epoch 5/10  1.00 s", 1.5 / 4),
        ("connector 4/4  epoch 10/10  1.00 s", 1.0),
        # Two seeds and three points of the third, and half of the fourth point.
        ("seed 3/5  point 4/10  example 50/100  1.00 s", (2 + 3.5 / 10) / 5),
        ("epoch 7/0  1.00 s", 1.0),
    ],
)
def test_the_share_that_is_done(line, share) -> None:
    progress = Progress.parse(line)
    assert progress is not None
    assert progress.share == pytest.approx(share)


@pytest.mark.parametrize("slurm_job", [None, "1234"])
@pytest.mark.parametrize("locked", [True, False])
@pytest.mark.parametrize("name", ["", "vgg16/1"])
def test_the_first_line_is_read_as_it_was_written(monkeypatch, slurm_job, locked, name) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if slurm_job is not None:
        monkeypatch.setenv("SLURM_JOB_ID", slurm_job)
    begin = Begin.here("train_network", name, locked=locked)
    assert Begin.parse(str(begin)) == begin
    assert (begin.host, begin.process) == (os.uname().nodename, os.getpid())
    assert (begin.slurm_job, begin.locked, begin.name) == (slurm_job, locked, name)


@pytest.mark.parametrize(
    "line", ["", "device cpu", "train_network vgg16/1", "a b, on c, process d"]
)
def test_other_lines_begin_nothing(line) -> None:
    assert Begin.parse(line) is None


@pytest.mark.parametrize(
    ("line", "how"),
    [
        (job_log.done_line(12.34), "done"),
        (job_log.stopped_line("SIGTERM", "epoch 12"), "stopped"),
        (job_log.stopped_line("SIGINT", None), "stopped"),
        (job_log.error_line(UserError("no\nsuch file")), "failed"),
        (job_log.ended_line(KeyboardInterrupt()), "failed"),
        ("epoch 3/40  1.00 s", None),
        ("failed", None),
        ("", None),
    ],
)
def test_how_a_log_ended(line, how) -> None:
    assert how_it_ended(line) == how


def test_last_lines_by_hand() -> None:
    assert job_log.done_line(12.34) == "done after 12.3 s"
    stopped = "stopped by SIGTERM after epoch 12; run again to resume"
    assert job_log.stopped_line("SIGTERM", "epoch 12") == stopped
    assert job_log.stopped_line("SIGTERM", None) == "stopped by SIGTERM; run again"


def test_the_time_stands_before_each_line() -> None:
    record = logging.LogRecord("any", logging.INFO, "", 0, "epoch 3/40  1.00 s", (), None)
    line = logging.Formatter(LINE_FORMAT, STAMP).format(record)
    match = LINE.fullmatch(line)
    assert match is not None
    assert match["text"] == "epoch 3/40  1.00 s"
    assert match["stamp"] == time.strftime(STAMP, time.localtime(record.created))


# When long work says something.


@pytest.fixture
def clock(monkeypatch):
    """A clock that is set by hand."""
    now = [1000.0]
    monkeypatch.setattr(job_log.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(job_log, "_told", job_log._Told([], now[0]))

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_long_work_says_so_twice_a_minute(clock, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    for _ in Steps("image", 20).over(range(20)):
        clock(8.0)
    # After 32, 64, 96, 128 and 160 seconds.
    assert caplog.messages == [f"image {4 * k}/20  {32 * k}.00 s" for k in range(1, 6)]


def test_short_work_says_nothing(clock, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    for _ in Steps("image", 20).over(range(20)):
        clock(1.0)
    assert caplog.messages == []


def test_any_line_puts_the_next_one_off(clock, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    inner = Steps("image", 10)
    with working_on("severity", 2, 5):
        clock(29.0)
        tell("epoch", 1, 3, seconds=29.0)
        clock(29.0)
        inner.add(4)
        clock(1.0)
        inner.add(4)
    clock(30.0)
    inner.add(4)
    assert caplog.messages == [
        "severity 2/5  epoch 1/3  29.00 s",
        "severity 2/5  image 8/10  59.00 s",
        # Never more than there are.
        "image 10/10  89.00 s",
    ]


def test_parts_within_parts_also_where_one_fails(clock, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    with pytest.raises(ValueError), working_on("a", 1, 2), working_on("b", 2, 3):
        tell("c", 0.5, 4, facts="d", seconds=1, images_per_second=2.4)
        raise ValueError
    tell("c", 1, 4, seconds=1)
    tell_resumed("epoch", 3, 4)
    assert caplog.messages == [
        "a 1/2  b 2/3  c 0.5/4  d  1.00 s  2 images/s",
        "c 1/4  1.00 s",
        "resumed after epoch 3 of 4",
    ]


def test_sizes_count(clock, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    for _ in Steps("example", 70).over([32, 32, 6], size=lambda batch: batch):
        clock(30.0)
    assert [message.partition("  ")[0] for message in caplog.messages] == [
        *("example 32/70", "example 64/70", "example 70/70")
    ]


# The lock.

HOLDER = """
import sys, time
from pathlib import Path
from mode_connectivity.job_log import hold
log = Path(sys.argv[1]).open("w")
print(hold(log), flush=True)
time.sleep(60)
"""


def test_the_lock_of_a_process_ends_with_it_however_it_ends(tmp_path) -> None:
    log = tmp_path / "job.log"
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(log)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": SOURCE},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        with log.open("rb") as file:
            assert is_held(file) is True
            process.send_signal(signal.SIGKILL)
            process.wait(timeout=10)
            assert is_held(file) is False
    finally:
        process.kill()


def test_who_asks_does_not_keep_the_lock(tmp_path) -> None:
    log = tmp_path / "job.log"
    with log.open("w") as file, log.open("rb") as reader, log.open("rb") as other:
        assert is_held(reader) is is_held(other) is False
        fcntl.flock(other, fcntl.LOCK_SH)
        # Somebody else asks at this very moment.
        assert is_held(reader) is False
        fcntl.flock(other, fcntl.LOCK_UN)
        assert hold(file)
        assert is_held(reader) is is_held(other) is True


def test_a_job_waits_for_somebody_who_only_asks(tmp_path, monkeypatch) -> None:
    log = tmp_path / "job.log"
    with log.open("w") as file, log.open("rb") as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monkeypatch.setattr(
            job_log.time, "sleep", lambda seconds: fcntl.flock(reader, fcntl.LOCK_UN)
        )
        assert hold(file)


def test_a_job_does_not_wait_for_ever(tmp_path, monkeypatch) -> None:
    log = tmp_path / "job.log"
    waited: list[float] = []
    monkeypatch.setattr(job_log.time, "sleep", waited.append)
    with log.open("w") as file, log.open("w") as other:
        assert hold(other)
        assert not hold(file)
    assert sum(waited) == pytest.approx(1.0)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_without_locks(tmp_path, monkeypatch, code) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (tmp_path / "job.log").open("w") as file:
        assert hold(file) is False
        assert is_held(file) is None


def test_torch_is_not_loaded() -> None:
    program = "import sys, mode_connectivity.job_log; print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": SOURCE},
    )
    assert found.stdout == "False\n"
