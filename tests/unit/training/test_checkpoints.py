import errno
import logging
import random

import pytest
import torch

from mode_connectivity import tensors as tensors_module
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Checkpoint, Progress

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
