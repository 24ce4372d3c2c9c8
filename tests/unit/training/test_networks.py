import json
import logging
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from mode_connectivity.data import prepared_file
from mode_connectivity.networks import registry
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training.checkpoints import Checkpoint, Progress
from mode_connectivity.training.networks import load_weights, train_network

CPU = torch.device("cpu")


class Killed(BaseException):
    """What a signal does: nobody catches it."""


def kill_after(monkeypatch, epoch: int) -> None:
    save = Checkpoint.save

    def killing(self, tensors, state) -> None:
        save(self, tensors, state)
        if len(state["history"]) == epoch:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", killing)


@pytest.fixture
def run(dataset_path, make_recipe):
    """Train a network of a recipe into a folder."""

    def run(folder: Path, network: str = "batch_norm", *, dataset=dataset_path, **training):
        return train_network(
            make_recipe(network, **training),
            seed=1,
            dataset=dataset,
            weights=folder / "weights.safetensors",
            history=folder / "history.csv",
            snapshots=folder / "snapshots",
            device=CPU,
            code="abc",
        )

    return run


def outputs(folder: Path) -> dict:
    """The numbers in all outputs; seconds are nobody's promise."""
    history = pd.read_csv(folder / "history.csv").drop(columns=["seconds", "images_per_second"])
    files = [folder / "weights.safetensors", *sorted((folder / "snapshots").iterdir())]
    weights = {
        f"{path.name} {name}": tensor.tolist()
        for path in files
        for name, tensor in load_tensors(path)[0].items()
    }
    return {"history": history.to_dict("list"), **weights}


def test_the_weights_load_into_a_plain_network(tmp_path, run, make_recipe, dataset) -> None:
    record = run(tmp_path, "batch_norm")
    plain = registry.build(make_recipe("batch_norm").network.name, input_shape=(3, 6, 8), classes=4)
    tensors = safetensors.torch.load_file(tmp_path / "weights.safetensors")
    assert all(tensor.is_contiguous() for tensor in tensors.values())
    plain.load_state_dict(tensors, strict=True)
    assert plain.state_dict()["1.num_batches_tracked"] == 3 * 5
    written = pd.read_csv(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(written, record)
    assert len(record) == 3
    # The plain network has learnt what the history says it has.
    inputs, targets = next(dataset.train.batches(70))
    loss = torch.nn.functional.cross_entropy(plain.eval()(inputs), targets)
    assert loss < record["train_nll"][0]
    assert list((tmp_path / "snapshots").iterdir()) == []
    assert not (tmp_path / ".progress").exists()


def test_snapshots(tmp_path, run) -> None:
    run(tmp_path, snapshots=[1, 3], schedule={"name": "constant"})
    folder = tmp_path / "snapshots"
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch1.safetensors",
        "epoch3.safetensors",
    ]
    last, whole = (
        load_tensors(folder / "epoch3.safetensors")[0],
        load_tensors(tmp_path / "weights.safetensors")[0],
    )
    assert all(torch.equal(last[name], whole[name]) for name in whole)
    first = load_tensors(folder / "epoch1.safetensors")[0]
    assert first["1.num_batches_tracked"] == 5
    assert not torch.equal(first["0.weight"], whole["0.weight"])


def test_initialisation_depends_on_the_seed_alone(make_workspace) -> None:
    one = make_workspace(seed=1)
    torch.manual_seed(99)
    again, other = make_workspace(seed=1), make_workspace(seed=2)
    assert torch.equal(one.flat.vector, again.flat.vector)
    assert not torch.equal(one.flat.vector, other.flat.vector)
    assert one.network[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_a_killed_job_resumes_to_the_same_outputs(tmp_path, run, monkeypatch, epoch, name) -> None:
    training = {
        "optimiser": {"name": name, "weight_decay": 0.01},
        "learning_rate": 0.01,
        "augmentation": {"transforms": ["crop", "flip"], "crop_padding": 1},
        "snapshots": [1, 2],
    }
    run(tmp_path / "whole", **training)
    with monkeypatch.context() as patch:
        kill_after(patch, epoch)
        with pytest.raises(Killed):
            run(tmp_path / "killed", **training)
    assert not (tmp_path / "killed" / "weights.safetensors").exists()
    run(tmp_path / "killed", **training)
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not (tmp_path / "killed" / ".progress").exists()


def test_a_job_with_other_settings_starts_anew(tmp_path, run, monkeypatch, caplog) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            run(tmp_path / "folder", snapshots=[1, 2, 3])
    run(tmp_path / "whole", learning_rate=0.01, snapshots=[2])
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "folder", learning_rate=0.01, snapshots=[2])
    assert "of other settings, inputs or code; set aside" in caplog.text
    # Snapshots of the first job's other epochs are not mistaken for this one's.
    assert outputs(tmp_path / "folder") == outputs(tmp_path / "whole")
    kept = [path.name for path in (tmp_path / "folder" / ".progress").iterdir()]
    assert kept == ["checkpoint.foreign-1.safetensors"]


def test_a_job_with_other_data_starts_anew(
    tmp_path, run, monkeypatch, caplog, dataset_path
) -> None:
    with monkeypatch.context() as patch:
        kill_after(patch, 2)
        with pytest.raises(Killed):
            run(tmp_path / "folder")
    tensors, metadata = prepared_file.read(dataset_path)
    other = tmp_path / "other.safetensors"
    metadata = {**metadata, "mean": json.dumps([0.0, 0.0, 0.0])}
    del metadata["sha256"], metadata["format"]
    prepared_file.write(other, {name: t.numpy() for name, t in tensors.items()}, metadata)
    run(tmp_path / "folder", dataset=other)
    assert "set aside" in caplog.text
    run(tmp_path / "whole", dataset=other)
    assert outputs(tmp_path / "folder") == outputs(tmp_path / "whole")


def test_finishing_forgets_the_checkpoint_before_it_moves_the_snapshots(
    tmp_path, monkeypatch
) -> None:
    # Whoever deletes the outputs of a job that was killed here must get all of them again.
    progress = Progress(tmp_path, "job")
    progress.checkpoint.save({}, {"history": []})
    for epoch in (1, 2):
        save_tensors(progress.snapshot(epoch), {"w": torch.zeros(1)}, {})

    def kill(self, target) -> None:
        raise Killed

    monkeypatch.setattr(Path, "replace", kill)
    with pytest.raises(Killed):
        progress.finish(tmp_path / "snapshots", [1, 2])
    assert progress.checkpoint.load() is None


def test_load_weights(tmp_path, make_workspace) -> None:
    source, target = make_workspace("batch_norm", seed=1), make_workspace("batch_norm", seed=2)
    for _, buffer in source.network.named_buffers():
        buffer.add_(3)
    path = tmp_path / "weights.safetensors"
    save_tensors(path, source.network.state_dict(), {})
    elsewhere = torch.empty_like(target.flat.vector)
    before = target.flat.vector.clone()
    load_weights(path, target.network, target.flat, elsewhere)
    assert torch.equal(elsewhere, source.flat.vector)
    assert torch.equal(target.flat.vector, before)
    for name, buffer in target.network.named_buffers():
        assert torch.equal(buffer, source.network.get_buffer(name)), name


def test_networks_with_shared_parts_and_buffers_of_all_kinds(
    tmp_path, run, make_workspace, dataset
) -> None:
    run(tmp_path, "buffered", epochs=1)
    path = tmp_path / "weights.safetensors"
    workspace = make_workspace("buffered", seed=9)
    load_weights(path, workspace.network, workspace.flat, workspace.flat.vector)
    plain = make_workspace("buffered", seed=10).network
    plain.load_state_dict(safetensors.torch.load_file(path), strict=True)
    inputs, _ = next(dataset.test.batches(45))
    expected = plain.eval()(inputs)
    assert torch.equal(workspace.network.eval()(inputs), expected)
    assert workspace.network.third.weight is workspace.network.second.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("9.bias"), r"9\.bias is missing"),
        (lambda t: t.update({"9.bias": torch.zeros(5)}), r"9\.bias has shape \[5\], .* \[4\]"),
        (lambda t: t.pop("1.running_var"), r"1\.running_var is missing"),
        (lambda t: t.update({"1.running_var": torch.ones(9)}), r"1\.running_var has "),
        (lambda t: t.update({"extra": torch.ones(1)}), "extra is not part of the network"),
    ],
)
def test_weights_of_another_network_are_refused(tmp_path, make_workspace, change, message) -> None:
    workspace = make_workspace("batch_norm")
    tensors = dict(workspace.network.state_dict())
    change(tensors)
    path = tmp_path / "weights.safetensors"
    save_tensors(path, tensors, {})
    with pytest.raises(UserError, match=rf"weights\.safetensors: .*{message}"):
        load_weights(path, workspace.network, workspace.flat, workspace.flat.vector)
