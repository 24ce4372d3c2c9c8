import csv
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mode_connectivity.files import (
    atomic,
    canonical_json,
    date_back,
    digest,
    write_frame,
    write_json,
    write_text,
)
from mode_connectivity.settings import UserError


def test_atomic_replaces_the_file_when_the_block_ends(tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "file.txt"
    write_text(path, "old")
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert temporary.parent == path.parent
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError("bug"), KeyboardInterrupt(), SystemExit(1)])
def test_atomic_leaves_the_old_file_when_the_block_fails(tmp_path, error) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(type(error)), atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_killed_process_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    script = """
import os, pathlib, sys
from mode_connectivity.files import atomic
with atomic(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half of the n")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script, path]).returncode == 9
    assert path.read_text() == "old"
    # Its remains are hidden and do not get in the way of the next attempt.
    assert [name.name for name in tmp_path.iterdir() if not name.name.startswith(".")] == [
        "file.txt"
    ]
    write_text(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        # As safetensors says it.
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_the_users_to_mend(tmp_path, error) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(UserError) as caught, atomic(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert str(caught.value).startswith(f"{path}: no space left")
    assert "free some space" in str(caught.value)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_truly_full_device(tmp_path) -> None:
    with (
        pytest.raises(UserError, match="no space left"),
        atomic(tmp_path / "file"),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x" * 100)


def test_other_errors_are_not_disguised(tmp_path) -> None:
    with pytest.raises(PermissionError), atomic(tmp_path / "file"):
        raise PermissionError(errno.EACCES, "Permission denied")


def test_frames_keep_every_digit(tmp_path) -> None:
    values = np.random.default_rng(0).normal(size=50) * 10.0 ** np.arange(-25, 25)
    frame = pd.DataFrame({"t": values, "label": ["a, b"] * 50, "empty": [None] * 50})
    path = tmp_path / "grid.csv"
    write_frame(path, frame)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["t"]) for row in rows] == values.tolist()
    assert all(row["label"] == "a, b" and row["empty"] == "" for row in rows)
    assert path.read_bytes().count(b"\n") == 51
    assert b"\r" not in path.read_bytes()


def test_json_is_the_same_for_equal_values(tmp_path) -> None:
    one, other = {"b": [1, 2.5], "a": None}, {"a": None, "b": [1, 2.5]}
    assert canonical_json(one) == canonical_json(other) == '{"a":null,"b":[1,2.5]}'
    write_json(tmp_path / "one.json", one)
    write_json(tmp_path / "other.json", other)
    assert (tmp_path / "one.json").read_text() == (tmp_path / "other.json").read_text()


def test_digest_is_of_the_contents(tmp_path) -> None:
    first, same, other = (tmp_path / name for name in ("first", "same", "other"))
    first.write_bytes(b"weights")
    same.write_bytes(b"weights")
    other.write_bytes(b"weighty")
    assert digest(first) == digest(same) != digest(other)


def test_times_in_the_future_become_now_and_keep_their_order(tmp_path) -> None:
    now = time.time()
    ages = {"past": -5.0, "b": 90.0, "c": 90.0, "a": 50.0, "folder": 70.0, "folder/d": 1e6}
    (tmp_path / "folder").mkdir()
    for name in ages:
        if name != "folder":
            (tmp_path / name).write_text(name)
    for name, age in ages.items():
        os.utime(tmp_path / name, (now + age, now + age))
    (tmp_path / "dangling").symlink_to("nowhere")
    assert date_back(tmp_path) == 5
    found = {name: (tmp_path / name).stat().st_mtime for name in ages}
    assert found["past"] < now - 4
    assert now - 0.1 < found["a"] < found["folder"] < found["b"] == found["c"] < found["folder/d"]
    assert found["folder/d"] <= time.time()
    assert date_back(tmp_path) == 0
    assert date_back(tmp_path / "absent") == 0
