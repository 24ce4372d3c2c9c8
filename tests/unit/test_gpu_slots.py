import os
import select
import stat
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from mode_connectivity import gpu_slots
from mode_connectivity.gpu_slots import Gpu, list_gpus, take_gpu_slot, visible_devices
from mode_connectivity.job import STOPPED
from mode_connectivity.settings import UserError

A, B, C = (f"GPU-{letter * 8}-0000-0000-0000-000000000000" for letter in "abc")
M1, M2 = (f"MIG-{digit * 8}-0000-0000-0000-000000000000" for digit in "12")
OLD_MIG = f"MIG-{A}/1/0"

HOLD = """
import logging, os, sys
from mode_connectivity.gpu_slots import take_gpu_slot
logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
take_gpu_slot(int(sys.argv[1]))
print("on", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
sys.stdin.read()
"""
WORK = """
import os, sys, time
from mode_connectivity.gpu_slots import take_gpu_slot
take_gpu_slot(int(sys.argv[1]))
start = time.monotonic()
time.sleep(0.2)
print(os.environ["CUDA_VISIBLE_DEVICES"], start, time.monotonic())
"""
LOGGED = """
import os, sys
from pathlib import Path
from mode_connectivity.gpu_slots import take_gpu_slot
from mode_connectivity.job import running_job
sys.stderr = sys.stdout
with running_job(Path(os.environ["LOG"])):
    take_gpu_slot(int(sys.argv[1]))
"""


def plain(*uuids: str) -> list[Gpu]:
    return [Gpu(uuid, (uuid,)) for uuid in uuids]


class Machine:
    """A machine with GPUs of the test's choice, and processes that ask for them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key != "CUDA_VISIBLE_DEVICES" and not key.startswith("SLURM_")
        }
        self.environment |= {"TMPDIR": str(folder / "tmp"), "PATH": str(folder / "bin")}
        self.started: list[subprocess.Popen[str]] = []
        (folder / "tmp").mkdir()
        (folder / "bin").mkdir()

    def says(self, listing: str, status: int = 0) -> None:
        """Let nvidia-smi print something."""
        path = self.folder / "bin" / "nvidia-smi"
        path.write_text(f'#!/bin/sh\n[ "$*" = -L ] || exit 2\necho "{listing}"\nexit {status}\n')
        path.chmod(0o755)

    def has(self, *uuids: str) -> None:
        lines = (f"GPU {n}: NVIDIA H200 (UUID: {uuid})" for n, uuid in enumerate(uuids))
        self.says("\n".join(lines))

    def start(
        self, jobs_per_gpu: int = 1, code: str = HOLD, **variables: str
    ) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(jobs_per_gpu)],
            env=self.environment | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def device(self, *arguments: int, **variables: str) -> str:
        """Start a process that gets a slot at once and holds it; return the name it tells CUDA."""
        return said(self.start(*arguments, **variables)).removeprefix("on ")


def said(process: "subprocess.Popen[str]") -> str:
    """Return the next line of a process."""
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    for process in machine.started:
        process.kill()
        process.communicate()


@pytest.fixture
def here(machine, monkeypatch) -> Machine:
    """The machine as this process sees it, which never keeps a slot."""
    monkeypatch.setattr(os, "environ", dict(machine.environment))
    monkeypatch.setattr(gpu_slots.tempfile, "tempdir", machine.environment["TMPDIR"])
    monkeypatch.setattr(gpu_slots, "_held", [])
    return machine


def test_never_more_jobs_than_slots(machine) -> None:
    machine.has(A, B)
    jobs = [machine.start(2, WORK) for _ in range(8)]
    rows = [job.communicate(timeout=60)[0].split() for job in jobs]
    assert all(job.returncode == 0 for job in jobs)
    for gpu in (A, B):
        spans = [(float(start), float(end)) for name, start, end in rows if name == gpu]
        together = [sum(start <= moment < end for start, end in spans) for moment, _ in spans]
        assert max(together) == 2
    assert {name for name, *_ in rows} == {A, B}


def test_gpus_fill_up_evenly(machine) -> None:
    machine.has(A, B, C)
    jobs = [machine.start(3) for _ in range(3)]
    assert sorted(said(job) for job in jobs) == [f"on {gpu}" for gpu in (A, B, C)]
    assert Counter(machine.device(3) for _ in range(3)) == dict.fromkeys((A, B, C), 1)


def test_the_gpu_with_fewest_jobs_is_next(machine) -> None:
    machine.has(A, B)
    processes: dict[str, list[subprocess.Popen[str]]] = {A: [], B: []}
    for _ in range(5):
        process = machine.start(3)
        processes[said(process).removeprefix("on ")].append(process)
    assert [len(processes[gpu]) for gpu in (A, B)] == [3, 2]
    # The slot that is free has the lowest number of all, on the fuller GPU.
    for process in (processes[A][0], *processes[B]):
        process.kill()
        process.communicate()
    assert [machine.device(3) for _ in range(3)] == [B, B, A]


def test_a_slot_is_free_again_when_its_job_is_killed(machine) -> None:
    machine.has(A, B)
    holders = [machine.start(), machine.start()]
    names = [said(holder) for holder in holders]
    assert set(names) == {f"on {A}", f"on {B}"}
    waiting = machine.start()
    line = "waiting for a GPU: all slots are taken (GPUs: 2, jobs_per_gpu: 1)"
    assert said(waiting) == line
    holders[1].kill()
    assert said(waiting) == names[1]


def test_a_slot_is_free_again_when_its_job_ends(machine) -> None:
    machine.has(A)
    holder = machine.start()
    assert said(holder) == f"on {A}"
    waiting = machine.start()
    line = "waiting for a GPU: the only slot is taken (GPUs: 1, jobs_per_gpu: 1)"
    assert said(waiting) == line
    holder.communicate(timeout=60)
    assert said(waiting) == f"on {A}"


def test_one_job_looks_at_a_time(machine) -> None:
    """Or one that tries all slots for a moment would seem to another to have taken them."""
    machine.has(A)
    assert machine.device() == A
    (folder,) = (machine.folder / "tmp").iterdir()
    with FileLock(folder / "looking.lock"):
        second = machine.start(2)
        assert select.select([second.stdout], [], [], 1.5)[0] == []
    assert said(second) == f"on {A}"


def test_a_job_that_waits_can_be_stopped(machine) -> None:
    machine.has(A)
    assert machine.device() == A
    job = machine.start(code=LOGGED, LOG=str(machine.folder / "job.log"))
    assert "job, on " in said(job)
    assert "waiting for a GPU" in said(job)
    job.terminate()
    assert job.wait(timeout=30) == STOPPED


def test_a_process_takes_one_slot(machine) -> None:
    machine.has(A, B)
    twice = HOLD.replace("take_gpu_slot(int", "take_gpu_slot(1); take_gpu_slot(int")
    assert said(machine.start(code=twice)) == f"on {A}"
    assert machine.device() == B


def test_what_the_user_has_set_narrows_the_choice(machine) -> None:
    machine.has(A, B, C)
    assert machine.device(CUDA_VISIBLE_DEVICES="2,1") == "2"
    assert machine.device(CUDA_VISIBLE_DEVICES="2,1") == "1"
    assert said(machine.start(CUDA_VISIBLE_DEVICES="GPU-bbbb")).startswith("waiting")
    assert machine.device() == A


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "7"])
def test_where_none_is_shown_nothing_happens(machine, value) -> None:
    machine.has(A)
    for _ in range(2):
        assert machine.device(CUDA_VISIBLE_DEVICES=value) == value
    assert not list((machine.folder / "tmp").iterdir())


def test_the_one_that_slurm_gives_is_the_jobs_own(machine) -> None:
    machine.has(A, B)
    given = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "0"}
    assert [machine.device(**given) for _ in range(2)] == ["0", "0"]
    assert not list((machine.folder / "tmp").iterdir())


def test_several_that_slurm_gives_are_shared(machine) -> None:
    machine.has(A, B, C)
    given = {"SLURM_JOB_ID": "1", "CUDA_VISIBLE_DEVICES": "1,2"}
    assert [machine.device(**given) for _ in range(2)] == ["1", "2"]
    assert said(machine.start(**given)).startswith("waiting")


def test_parts_of_a_gpu_take_its_place(machine) -> None:
    machine.says(
        f"GPU 0: NVIDIA A100 (UUID: {A})\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {M1})\n"
        f"  MIG 1g.5gb      Device  1: (UUID: {OLD_MIG})\n"
        f"GPU 1: NVIDIA A100 (UUID: {B})"
    )
    assert sorted(machine.device() for _ in range(3)) == sorted([M1, OLD_MIG, B])
    assert said(machine.start()).startswith("waiting")
    (folder,) = (machine.folder / "tmp").iterdir()
    assert all(path.is_file() for path in folder.iterdir())


def test_without_gpus_nothing_happens(machine) -> None:
    assert machine.device() == "None"
    machine.says("No devices were found")
    assert machine.device() == "None"
    machine.says(f"GPU 0: NVIDIA H200 (UUID: {A})\nfailed to initialise", status=9)
    assert machine.device() == "None"


def test_list(here) -> None:
    assert list_gpus() == []
    here.says(
        f"GPU 0: NVIDIA A100-SXM4-40GB (UUID: {A})\n"
        f"GPU 1: NVIDIA A100 (MIG) (UUID: {B})\n"
        f"  MIG 3g.20gb     Device  0: (UUID: {M1})\n"
        f"  MIG 3g.20gb     Device  1: (UUID: {M2})\n"
    )
    assert list_gpus() == [Gpu(A, (A,)), Gpu(B, (M1, M2))]


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (None, {A: A, M1: M1, M2: M2}),
        ("0", {A: "0"}),
        # A GPU that is split stands for its parts, of which CUDA would see the first alone.
        ("1, 0", {M1: M1, M2: M2, A: "0"}),
        (B, {M1: M1, M2: M2}),
        ("GPU-a", {A: "GPU-a"}),
        (f"{M2},GPU-a", {M2: M2, A: "GPU-a"}),
        ("0,5,1", {A: "0"}),
        ("GPU-x,0", {}),
        ("a", {}),
        ("", {}),
    ],
)
def test_visible(named, expected) -> None:
    found = visible_devices([*plain(A), Gpu(B, (M1, M2))], named)
    assert list(found.items()) == list(expected.items())


def test_locks_are_this_users_alone(here) -> None:
    here.has(A)
    take_gpu_slot(1)
    (folder,) = (here.folder / "tmp").iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.name.endswith(str(os.getuid()))


@pytest.mark.parametrize("what", ["link", "file", "another user's"])
def test_a_folder_that_is_not_to_be_trusted(here, what, monkeypatch) -> None:
    here.has(A)
    path = here.folder / "tmp" / f"mode_connectivity_gpu_slots_{os.getuid()}"
    match what:
        case "link":
            path.symlink_to(here.folder)
        case "file":
            path.touch()
        case _:
            path.mkdir()
            user = os.getuid()
            ids = iter([user, user + 1])
            monkeypatch.setattr(os, "getuid", lambda: next(ids))
    with pytest.raises(UserError) as caught:
        take_gpu_slot(1)
    assert str(path) in str(caught.value) and "set TMPDIR" in str(caught.value)
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_a_folder_that_cannot_be_made(here, monkeypatch) -> None:
    here.has(A)
    monkeypatch.setattr(gpu_slots.tempfile, "tempdir", str(here.folder / "nowhere"))
    with pytest.raises(UserError, match=r"nowhere.*No such file.*set TMPDIR"):
        take_gpu_slot(1)


def test_torch_is_not_imported() -> None:
    code = "import sys, mode_connectivity.gpu_slots as _; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
