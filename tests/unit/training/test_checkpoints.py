import errno
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from mode_connectivity import tensors as tensors_module
from mode_connectivity.settings import UserError
from mode_connectivity.signals import Stopped, stopping_on_signals
from mode_connectivity.training.checkpoints import Checkpoint, CheckpointWriter, Progress

ROOT = Path(__file__).parents[3]

TENSORS = {"vertex.0": torch.linspace(0, 1, 9), "optimiser.0.step": torch.tensor(3.0)}
STATE = {"history": [{"epoch": 1, "train_nll": 0.1 + 0.2, "seconds": 1e-9}], "done": 1}


@pytest.fixture
def checkpoint(tmp_path) -> Checkpoint:
    checkpoint = Checkpoint(tmp_path / ".progress" / "checkpoint.safetensors", "this job")
    checkpoint.save(TENSORS, STATE)
    return checkpoint


def assert_whole(saved) -> None:
    tensors, state = saved
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert state == STATE


def test_round_trip(checkpoint) -> None:
    assert_whole(checkpoint.load())
    # Reading does not use it up.
    assert_whole(checkpoint.load())


def test_saving_replaces(checkpoint) -> None:
    checkpoint.save({"vertex.0": torch.zeros(2)}, {"done": 2})
    tensors, state = checkpoint.load()
    assert torch.equal(tensors["vertex.0"], torch.zeros(2))
    assert state == {"done": 2}
    assert len(list(checkpoint.path.parent.iterdir())) == 1


def test_nothing_to_load(tmp_path, caplog) -> None:
    assert Checkpoint(tmp_path / "absent" / "checkpoint.safetensors", "x").load() is None
    assert not caplog.records


def test_removing(checkpoint) -> None:
    checkpoint.remove()
    assert not checkpoint.path.exists()
    checkpoint.remove()


def test_a_foreign_checkpoint_is_set_aside(checkpoint, caplog) -> None:
    content = checkpoint.path.read_bytes()
    other = Checkpoint(checkpoint.path, "this job with another learning rate")
    with caplog.at_level(logging.WARNING):
        assert other.load() is None
    assert not checkpoint.path.exists()
    aside = checkpoint.path.with_name("checkpoint.foreign-1.safetensors")
    assert aside.read_bytes() == content
    assert "of other settings, inputs or code; set aside as checkpoint.foreign-1" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_nothing_that_was_set_aside_is_overwritten(checkpoint) -> None:
    for number in (1, 2, 3):
        checkpoint.save({"vertex.0": torch.full((2,), float(number))}, STATE)
        assert Checkpoint(checkpoint.path, "other").load() is None
    kept = sorted(path.name for path in checkpoint.path.parent.iterdir())
    assert kept == [f"checkpoint.foreign-{number}.safetensors" for number in (1, 2, 3)]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_truncated_checkpoint_is_set_aside(checkpoint, caplog, share) -> None:
    whole = checkpoint.path.read_bytes()
    checkpoint.path.write_bytes(whole[: int(share * len(whole))])
    assert checkpoint.load() is None
    assert checkpoint.path.with_name("checkpoint.damaged-1.safetensors").exists()
    assert "starting from the beginning" in caplog.text


def test_no_flipped_bit_is_trained_on(checkpoint) -> None:
    whole = checkpoint.path.read_bytes()
    choose = random.Random(0)
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << choose.randrange(8)
        checkpoint.path.write_bytes(altered)
        saved = checkpoint.load()
        if saved is not None:
            assert_whole(saved)


def test_a_full_disk_leaves_the_old_checkpoint(checkpoint, monkeypatch) -> None:
    def fail(tensors, path, metadata) -> None:
        path.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tensors_module, "save_file", fail)
        with pytest.raises(UserError, match=r"checkpoint\.safetensors: no space left .* free some"):
            checkpoint.save({"vertex.0": torch.zeros(2)}, {"done": 2})
    assert_whole(checkpoint.load())
    assert len(list(checkpoint.path.parent.iterdir())) == 1


def test_jobs_in_one_folder_keep_apart(tmp_path) -> None:
    whole = Progress(tmp_path, "job")
    parts = [Progress(tmp_path, ["job", part], part) for part in ("first", "second")]
    for number, progress in enumerate([whole, *parts]):
        progress.checkpoint.save({"w": torch.full((1,), float(number))}, {"done": number})
    for number, progress in enumerate([whole, *parts]):
        tensors, state = progress.checkpoint.load()
        assert (tensors["w"].item(), state) == (number, {"done": number})
    parts[0].finish()
    assert parts[0].checkpoint.load() is None
    # The others are still at work.
    assert whole.checkpoint.load() is not None and parts[1].checkpoint.load() is not None
    whole.finish()
    assert parts[1].checkpoint.load() is not None
    parts[1].finish()
    assert list(tmp_path.iterdir()) == []


def test_what_a_part_set_aside_stays(tmp_path) -> None:
    first, second = (Progress(tmp_path, ["job", part], part) for part in ("first", "second"))
    for progress in (first, second):
        progress.checkpoint.save(TENSORS, STATE)
    Progress(tmp_path, "another job", "first").checkpoint.load()
    for progress in (first, second):
        progress.finish()
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == [tmp_path / ".progress" / "first" / "checkpoint.foreign-1.safetensors"]


def test_what_is_handed_over(tmp_path) -> None:
    progress = Progress(tmp_path, "job")
    for epoch in (0, 1, 2, 3):
        for path in (progress.snapshot(epoch), progress.optimiser(epoch)):
            tensors_module.save_tensors(path, {"w": torch.full((1,), float(epoch))}, {})
    progress.finish(tmp_path / "snapshots", range(0, 3, 2), [2, 3])
    # Epoch 1 and the optimisers of 0 and 1 were of another job.
    kept = sorted((tmp_path / "snapshots").iterdir())
    assert [path.name for path in kept] == [
        "epoch0.safetensors",
        "epoch2.optimiser.safetensors",
        "epoch2.safetensors",
        "epoch3.optimiser.safetensors",
        "epoch3.safetensors",
    ]
    epochs = [tensors_module.load_tensors(path)[0]["w"].item() for path in kept]
    assert epochs == [0, 2, 2, 3, 3]
    assert not (tmp_path / ".progress").exists()


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), SafetensorError("I/O error: stale file handle")],
)
def test_a_broken_disk_is_told_with_the_path_and_what_to_do(checkpoint, monkeypatch, error) -> None:
    def fail(tensors, path, metadata) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(tensors_module, "save_file", fail)
        with pytest.raises(
            UserError, match=r"checkpoint\.safetensors: the checkpoint cannot be"
        ) as caught:
            checkpoint.save({"vertex.0": torch.zeros(2)}, {"done": 2})
    assert "/O error" in str(caught.value).replace("Input/output", "I/O")
    assert str(caught.value).endswith("mend this, then run the same command again")
    assert_whole(checkpoint.load())


class Disk(Checkpoint):
    """A checkpoint that notes what is written when, and waits for leave to write it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "this job")
        self.leave = threading.Event()
        self.leave.set()
        self.begun: list[int] = []
        self.times: list[float] = []
        self.at_once = 0

    def save(self, tensors, state) -> None:
        self.at_once += 1
        assert self.at_once == 1
        self.begun.append(state["done"])
        self.times.append(time.monotonic())
        assert self.leave.wait(20)
        super().save(tensors, state)
        self.times.append(time.monotonic())
        self.at_once -= 1

    @property
    def done(self) -> int:
        saved = self.load()
        return saved[1]["done"] if saved else 0


@pytest.fixture
def disk(tmp_path) -> Disk:
    return Disk(tmp_path / "checkpoint.safetensors")


def keep(writer: CheckpointWriter, done: int, *, settled: bool = False) -> None:
    tensors = {"w": torch.full((3,), float(done))}
    writer.save(tensors, {"done": done}, after=f"epoch {done}", settled=settled)


def until(condition) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_a_state_that_need_not_be_copied_is_written_beside_the_work(disk) -> None:
    disk.leave.clear()
    with disk.writing(seconds=1000) as writer:
        keep(writer, 1, settled=True)
        until(lambda: disk.begun)
        assert disk.done == 0
        disk.leave.set()
        until(lambda: disk.done == 1)


def test_on_a_cpu_a_state_whose_time_has_come_is_written_without_a_copy(disk, monkeypatch) -> None:
    written = []
    save = Checkpoint.save

    def noting(self, tensors, state) -> None:
        written.append(tensors["w"])
        save(self, tensors, state)

    monkeypatch.setattr(Checkpoint, "save", noting)
    tensors = {"w": torch.zeros(3)}
    with disk.writing(seconds=1000) as writer:
        writer.save(tensors, {"done": 1}, after="")
        assert disk.done == 1
        writer.save(tensors, {"done": 2}, after="")
    assert written[0] is tensors["w"]
    assert written[1] is not tensors["w"]


def test_a_waiting_state_gives_way_to_a_newer_one(disk) -> None:
    disk.leave.clear()
    with disk.writing(seconds=0) as writer:
        keep(writer, 1, settled=True)
        until(lambda: disk.begun)
        for done in (2, 3, 4):
            keep(writer, done, settled=True)
        disk.leave.set()
        until(lambda: disk.done == 4)
    assert disk.begun == [1, 4]


def test_writes_are_apart_and_the_last_state_waits_for_no_other(disk) -> None:
    with disk.writing(seconds=0.4) as writer:
        for done in range(1, 11):
            keep(writer, done)
            time.sleep(0.01)
        until(lambda: disk.done == 10)
        keep(writer, 11)
        until(lambda: disk.done == 11)
    assert len(disk.begun) == 3
    ends, starts = disk.times[1:-1:2], disk.times[2::2]
    assert all(start - end >= 0.4 for end, start in zip(ends, starts, strict=True))


def test_the_first_write_can_wait(disk) -> None:
    start = time.monotonic()
    with disk.writing(seconds=0, first=0.3) as writer:
        keep(writer, 1)
        until(lambda: disk.done == 1)
    assert disk.times[0] - start >= 0.3


def test_what_is_written_is_what_was_handed_over(disk) -> None:
    tensors = {"w": torch.zeros(1000), "n": torch.tensor(3), "e": torch.empty(0)}
    with disk.writing(seconds=0.1, first=0.1) as writer:
        writer.save(tensors, {"done": 1}, after="")
        tensors["w"].fill_(7.0)
        tensors["n"].fill_(8)
        until(lambda: disk.done == 1)
        found, _ = disk.load()
        assert torch.equal(found["w"], torch.zeros(1000)) and found["n"].item() == 3
        # A state may change its shape, and lose a tensor.
        writer.save({"w": torch.ones(2, 2)}, {"done": 2}, after="")
        until(lambda: disk.done == 2)
    found, _ = disk.load()
    assert found.keys() == {"w"} and torch.equal(found["w"], torch.ones(2, 2))


@pytest.fixture
def places(monkeypatch) -> list[int]:
    """Where in memory the states were that have been written."""
    noted = []
    save = Checkpoint.save

    def noting(self, tensors, state) -> None:
        noted.append(tensors["w"].data_ptr())
        save(self, tensors, state)

    monkeypatch.setattr(Checkpoint, "save", noting)
    return noted


def test_on_a_cpu_there_is_one_copy_and_it_is_never_written_into_while_it_is_read(
    disk, places
) -> None:
    disk.leave.clear()
    with disk.writing(seconds=0.5, first=0.1) as writer:
        keep(writer, 1)
        until(lambda: disk.begun)
        threading.Timer(0.2, disk.leave.set).start()
        keep(writer, 2)
        assert disk.done == 1
        keep(writer, 3)
        until(lambda: disk.done == 3)
    assert disk.begun == [1, 3]
    assert len(set(places)) == 1


class OnGpu(torch.Tensor):
    """What this module sees of a tensor on a GPU."""

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def is_cuda(self) -> bool:
        return True


@pytest.fixture
def gpu(monkeypatch) -> list[str]:
    """Pinned memory and events where there is no GPU; returns what becomes of the events."""
    told: list[str] = []

    class Event:
        def record(self) -> None:
            told.append("recorded")

        def synchronize(self) -> None:
            told.append("waited")

    empty_like = torch.empty_like

    def pinned(tensor, *, device: str, pin_memory: bool) -> torch.Tensor:
        assert (device, pin_memory) == ("cpu", True)
        return empty_like(tensor.as_subclass(torch.Tensor))

    monkeypatch.setattr(torch, "empty_like", pinned)
    monkeypatch.setattr(torch.cuda, "Event", Event)
    return told


def test_on_a_gpu_training_never_waits_for_the_disk(disk, gpu, places) -> None:
    disk.leave.clear()
    with disk.writing(seconds=0) as writer:
        weights = torch.zeros(3).as_subclass(OnGpu)
        for done in range(1, 10):
            writer.save({"w": weights}, {"done": done}, after="")
            until(lambda: disk.begun)
            weights.fill_(float(done))
        assert disk.begun == [1] and disk.done == 0
        disk.leave.set()
        until(lambda: disk.done == 9)
        assert disk.load()[0]["w"].tolist() == [8.0] * 3
        writer.save({"w": weights}, {"done": 10}, after="")
    assert disk.begun == [1, 9, 10]
    assert disk.load()[0]["w"].tolist() == [9.0] * 3
    # Two copies and no more, each of which has arrived before it is written.
    assert len(places) == 3 and len(set(places)) == 2
    assert gpu.count("waited") == 3 and gpu.count("recorded") == 10


def test_an_error_of_a_write_ends_the_work_with_one_line(disk, monkeypatch) -> None:
    def fail(tensors, path, metadata) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with disk.writing(seconds=0) as writer:
        keep(writer, 1)
        until(lambda: disk.done == 1)
    told = pytest.raises(UserError, match=r"checkpoint\.safetensors: no space .* free some")
    with told, disk.writing(seconds=0) as writer:
        monkeypatch.setattr(tensors_module, "save_file", fail)
        for done in range(2, 1000):
            keep(writer, done)
            time.sleep(0.01)
    assert done < 999
    assert disk.done == 1
    assert [path.name for path in disk.path.parent.iterdir()] == [disk.path.name]


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_the_error_of_the_work_is_told_before_that_of_a_write(disk, monkeypatch, raised) -> None:
    monkeypatch.setattr(tensors_module, "save_file", lambda *_, **__: 1 / 0)
    # An interrupt is no error: the user must know that nothing was kept.
    expected = ValueError if raised is ValueError else ZeroDivisionError
    with pytest.raises(expected), disk.writing(first=1000) as writer:
        keep(writer, 1)
        raise raised


@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, Stopped])
def test_the_newest_state_is_written_before_an_error_goes_on(disk, raised) -> None:
    error = raised(15)
    with pytest.raises(raised) as caught, disk.writing(seconds=1000) as writer:
        for done in (1, 2, 3):
            keep(writer, done)
        raise error
    assert caught.value is error
    assert disk.done == 3
    if raised is Stopped:
        assert error.after == "epoch 3"


def test_what_was_finished_before_counts_for_a_stop(disk) -> None:
    with pytest.raises(Stopped) as caught, disk.writing(after="epoch 9"):
        raise Stopped(15)
    assert caught.value.after == "epoch 9"


def test_the_end_is_written(disk) -> None:
    threads = threading.active_count()
    with disk.writing(seconds=1000) as writer:
        keep(writer, 1)
        until(lambda: disk.done == 1)
        keep(writer, 2)
    assert disk.done == 2
    assert threading.active_count() == threads


def test_an_error_of_the_last_write_is_told(disk, monkeypatch) -> None:
    monkeypatch.setattr(tensors_module, "save_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError), disk.writing() as writer:
        keep(writer, 1)


@pytest.mark.parametrize("when", ["copied", "written", "at the end"])
def test_signals_break_no_write(disk, monkeypatch, when) -> None:
    def ask() -> None:
        for number in (signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)

    save, write = CheckpointWriter.save, tensors_module.save_file

    def copied(self, tensors, state, **options) -> None:
        class Asking(torch.Tensor):
            @property
            def is_cuda(self) -> bool:
                ask()
                return False

        asking = {name: tensor.as_subclass(Asking) for name, tensor in tensors.items()}
        save(self, asking if state["done"] == 3 else tensors, state, **options)

    def written(tensors, path, metadata) -> None:
        if '"done": 3' in metadata["state"]:
            ask()
            time.sleep(0.3)
        write(tensors, path, metadata)

    if when == "copied":
        monkeypatch.setattr(CheckpointWriter, "save", copied)
    else:
        monkeypatch.setattr(tensors_module, "save_file", written)
    # At the end the third waits for its time.
    seconds = 1000.0 if when == "at the end" else 0.0
    with (
        pytest.raises(Stopped) as caught,
        stopping_on_signals(),
        disk.writing(seconds=seconds) as writer,
    ):
        for done in (1, 2, 3):
            keep(writer, done)
            until(lambda done=done: disk.done == done or seconds)
    assert caught.value.name == "SIGTERM"
    assert caught.value.after == "epoch 3"
    assert disk.done == 3
    assert torch.equal(disk.load()[0]["w"], torch.full((3,), 3.0))


def test_a_job_that_hands_over_is_not_stopped_any_more(tmp_path) -> None:
    progress = Progress(tmp_path, "job")
    tensors_module.save_tensors(progress.snapshot(1), TENSORS, {})
    with stopping_on_signals():
        progress.finish(tmp_path / "snapshots", [1])
        os.kill(os.getpid(), signal.SIGTERM)
    assert (tmp_path / "snapshots" / "epoch1.safetensors").exists()


COUNTING = """
import sys, time, torch
from pathlib import Path
from mode_connectivity.training.checkpoints import Checkpoint
print("ready", flush=True)
with Checkpoint(Path(sys.argv[1]), "job").writing(seconds=0.3) as writer:
    for epoch in range(1, 10_000):
        time.sleep(0.02)
        writer.save({"w": torch.full((9,), float(epoch))}, {"epoch": epoch}, after="")
        print(epoch, flush=True)
"""


def test_killed_without_warning_a_job_loses_no_more_than_the_pause_between_writes(tmp_path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(2)
    process.kill()
    reached = int(process.stdout.read().split()[-1])
    process.wait()
    tensors, state = Checkpoint(path, "job").load()
    assert tensors["w"][0].item() == state["epoch"]
    # 0.3 s and a write, on a machine that may be busy: 1.2 of the two seconds.
    assert reached > 20
    assert reached - 60 <= state["epoch"] <= reached
