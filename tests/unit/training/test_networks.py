import json
import logging
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from mode_connectivity.data import prepared_file
from mode_connectivity.evaluation.evaluator import settle_statistics
from mode_connectivity.evaluation.metrics import measure_test
from mode_connectivity.networks import registry
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training import networks as networks_module
from mode_connectivity.training.checkpoints import CheckpointWriter, Progress
from mode_connectivity.training.networks import (
    Start,
    load_weights,
    open_workspace,
    train_network,
)

CPU = torch.device("cpu")


class Killed(BaseException):
    """What a signal does: nobody catches it."""


def kill_after(monkeypatch, epoch: int) -> None:
    save = CheckpointWriter.save

    def killing(self, tensors, state, **options) -> None:
        save(self, tensors, state, **options)
        if state["epoch"] == epoch:
            raise Killed

    monkeypatch.setattr(CheckpointWriter, "save", killing)


@pytest.fixture
def run(dataset_path, make_recipe):
    """Train a network of a recipe into a folder."""

    def run(
        folder: Path,
        network: str = "batch_norm",
        *,
        dataset=dataset_path,
        start: Start | None = None,
        continues: str | None = None,
        seed: int = 1,
        test=None,
        reestimate=None,
        **training,
    ):
        recipe = make_recipe(network, **training)
        return train_network(
            recipe.model_copy(update={"continues": continues}),
            seed=seed,
            dataset=dataset,
            weights=folder / "weights.safetensors",
            history=folder / "history.csv",
            snapshots=folder / "snapshots",
            device=CPU,
            start=start,
            test=test,
            reestimate=reestimate,
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


def test_the_mean_of_the_snapshots(tmp_path, run, make_workspace) -> None:
    seen = []
    average = {"snapshots": [1, 3], "schedule": {"name": "constant"}, "average_snapshots": True}

    def reestimate(network, examples) -> None:
        seen.append(len(examples))
        settle_statistics(network, examples, batch_size=7)

    run(tmp_path / "mean", reestimate=reestimate, **average)
    run(tmp_path / "last", **average | {"average_snapshots": False})
    found = outputs(tmp_path / "mean")
    assert outputs(tmp_path / "last").keys() == found.keys()
    workspace = make_workspace("batch_norm")
    assert seen == [len(workspace.dataset.train)]
    first, last = (
        load_tensors(tmp_path / "last" / "snapshots" / f"epoch{epoch}.safetensors")[0]
        for epoch in (1, 3)
    )
    mean = load_tensors(tmp_path / "mean" / "weights.safetensors")[0]
    for name, _ in workspace.network.named_parameters():
        expected = ((first[name].double() + last[name].double()) / 2).float()
        torch.testing.assert_close(mean[name], expected, rtol=1e-6, atol=0)
    images, _ = next(iter(workspace.dataset.train.prepared_batches(len(workspace.dataset.train))))
    outputs_of_first = torch.nn.functional.conv2d(images, mean["0.weight"], padding=1)
    statistics = outputs_of_first.mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean["1.running_mean"], statistics, rtol=1e-4, atol=1e-5)


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
        (
            lambda t: t.update({"9.bias": torch.zeros(5), "extra": t.pop("1.running_var")}),
            r"9\.bias has shape .*; 1\.running_var is missing; extra is not part of the network",
        ),
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


OPTIMISERS = pytest.mark.parametrize(
    "optimiser",
    [{"momentum": 0.9, "weight_decay": 0.01}, {"name": "adam", "weight_decay": 0.01}],
    ids=["momentum", "adam"],
)
# One step an epoch and nothing random, so that a branch can be told from its trunk by rounding.
STEADY = {"batch_size": 70, "schedule": {"name": "constant"}, "learning_rate": 0.01}


def weights_of(path: Path) -> torch.Tensor:
    tensors, _ = load_tensors(path)
    return torch.cat([tensor.flatten() for tensor in tensors.values()])


def checkpoint_of(folder: Path, epoch: int) -> Start:
    snapshot = folder / "snapshots" / f"epoch{epoch}.safetensors"
    return Start(snapshot, snapshot.with_suffix(".optimiser.safetensors"))


def test_files_that_a_training_begins_with() -> None:
    one, other = Path("weights"), Path("optimiser")
    assert Start(one).files == [one]
    assert Start(one, other).files == [one, other]


@OPTIMISERS
def test_checkpoints_on_disk(tmp_path, run, optimiser) -> None:
    run(tmp_path, "plain", checkpoints=[2, 3], snapshots=[0, 2], optimiser=optimiser, **STEADY)
    folder = tmp_path / "snapshots"
    assert sorted(path.name for path in folder.iterdir()) == [
        "epoch0.safetensors",
        "epoch2.optimiser.safetensors",
        "epoch2.safetensors",
        "epoch3.optimiser.safetensors",
        "epoch3.safetensors",
    ]
    last, whole = weights_of(folder / "epoch3.safetensors"), tmp_path / "weights.safetensors"
    assert torch.equal(last, weights_of(whole))
    state, metadata = load_tensors(folder / "epoch3.optimiser.safetensors")
    names = ["exp_avg", "exp_avg_sq", "step"] if "name" in optimiser else ["momentum_buffer"]
    assert sorted(state) == [f"optimiser.0.{name}" for name in names]
    assert metadata["format"] == "mode_connectivity.optimiser.1"
    # A vector as long as the weights are many.
    assert state[f"optimiser.0.{names[0]}"].shape == last.shape
    assert not (tmp_path / ".progress").exists()


def test_the_first_snapshot_has_the_initial_weights(tmp_path, run, make_workspace) -> None:
    run(tmp_path, "batch_norm", snapshots=[0])
    tensors, _ = load_tensors(tmp_path / "snapshots" / "epoch0.safetensors")
    initial = make_workspace("batch_norm", seed=1).network.state_dict()
    assert tensors.keys() == initial.keys()
    assert all(torch.equal(tensors[name], initial[name]) for name in initial)


@OPTIMISERS
def test_a_training_continues_another(tmp_path, run, optimiser) -> None:
    trunk, steady = tmp_path / "trunk", {"optimiser": optimiser, **STEADY}
    run(trunk, "plain", epochs=6, checkpoints=[4], **steady)
    checkpoint = checkpoint_of(trunk, 4)
    options = {"epochs": 2, "continues": "trunk@4", **steady}
    record = run(tmp_path / "branch", "plain", start=checkpoint, **options)
    # Its epochs are its own.
    assert record["epoch"].tolist() == [1, 2]
    whole, found = (
        weights_of(tmp_path / name / "weights.safetensors") for name in ("trunk", "branch")
    )
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-5)
    # With a fresh optimiser it ends elsewhere.
    run(tmp_path / "fresh", "plain", start=Start(checkpoint.weights), **options)
    fresh = weights_of(tmp_path / "fresh" / "weights.safetensors")
    assert (fresh - whole).norm() > 30 * (found - whole).norm()


def test_a_training_continues_the_end_of_another(tmp_path, run) -> None:
    run(tmp_path / "trunk", "batch_norm", seed=1)
    start = Start(tmp_path / "trunk" / "weights.safetensors")
    run(tmp_path / "branch", "batch_norm", seed=2, start=start, continues="trunk", snapshots=[0])
    kept, _ = load_tensors(tmp_path / "branch" / "snapshots" / "epoch0.safetensors")
    trunk, _ = load_tensors(start.weights)
    # The statistics of batch norm are taken over as well.
    assert kept.keys() == trunk.keys()
    assert all(torch.equal(kept[name], trunk[name]) for name in trunk)
    branch, _ = load_tensors(tmp_path / "branch" / "weights.safetensors")
    assert branch["1.num_batches_tracked"] == 2 * 3 * 5


def test_branches_have_an_order_of_their_own(tmp_path, run) -> None:
    run(tmp_path / "trunk", "plain", checkpoints=[1])
    start = checkpoint_of(tmp_path / "trunk", 1)
    ends = []
    for name in (None, "trunk@1", "other@1", "trunk@1"):
        run(tmp_path / "branch", "plain", start=start, continues=name, epochs=1)
        ends.append(weights_of(tmp_path / "branch" / "weights.safetensors"))
    assert torch.equal(ends[1], ends[3])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(ends[one], ends[other])


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_killed_branch_resumes_to_the_same_outputs(tmp_path, run, monkeypatch, epoch) -> None:
    run(tmp_path / "trunk", checkpoints=[2], optimiser={"name": "adam"}, learning_rate=0.01)
    start = checkpoint_of(tmp_path / "trunk", 2)
    options = {
        "start": start,
        "continues": "trunk@2",
        "test": partial(measure_test, batch_size=20),
        "optimiser": {"name": "adam"},
        "learning_rate": 0.01,
        "augmentation": {"transforms": ["crop", "flip"], "crop_padding": 1},
        "schedule": {"name": "cyclic", "period": 2, "minimum": 0.001},
        "snapshots": "minima",
        "checkpoints": [1, 2],
        "records_per_epoch": 3,
        "record_test": True,
    }
    run(tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        kill_after(patch, epoch)
        with pytest.raises(Killed):
            run(tmp_path / "killed", **options)
    run(tmp_path / "killed", **options)
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")
    assert not (tmp_path / "killed" / ".progress").exists()
    assert sorted(path.name for path in (tmp_path / "killed" / "snapshots").iterdir()) == [
        "epoch1.optimiser.safetensors",
        "epoch1.safetensors",
        "epoch2.optimiser.safetensors",
        "epoch2.safetensors",
        "epoch3.safetensors",
    ]


@pytest.mark.parametrize("changed", ["weights", "optimiser", "start"])
def test_a_branch_of_another_trunk_starts_anew(tmp_path, run, monkeypatch, caplog, changed) -> None:
    for name, rate in (("trunk", 0.05), ("other", 0.04)):
        run(tmp_path / name, "plain", checkpoints=[2], learning_rate=rate)
    one, other = (checkpoint_of(tmp_path / name, 2) for name in ("trunk", "other"))
    second = {
        "weights": Start(other.weights, one.optimiser),
        "optimiser": Start(one.weights, other.optimiser),
        "start": None,
    }[changed]
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_after(patch, 2)
        run(tmp_path / "branch", "plain", start=one)
    with caplog.at_level(logging.WARNING):
        run(tmp_path / "branch", "plain", start=second)
    assert "of other settings, inputs or code; set aside" in caplog.text
    run(tmp_path / "whole", "plain", start=second)
    assert outputs(tmp_path / "branch") == outputs(tmp_path / "whole")


def test_history_with_the_test_error(tmp_path, run) -> None:
    record = run(
        tmp_path,
        record_test=True,
        records_per_epoch=2,
        test=partial(measure_test, batch_size=20),
    )
    written = pd.read_csv(tmp_path / "history.csv")
    pd.testing.assert_frame_equal(written, record)
    assert list(written.columns) == [
        "epoch",
        "iteration",
        "learning_rate",
        "train_nll",
        "train_error",
        "test_nll",
        "test_error",
        "distance",
        "seconds",
        "images_per_second",
    ]
    assert written["epoch"].tolist() == [0.6, 1, 1.6, 2, 2.6, 3]


def test_the_last_row_is_that_of_the_written_network(tmp_path, run, make_workspace) -> None:
    record = run(tmp_path, record_test=True, test=partial(measure_test, batch_size=20))
    workspace = make_workspace("batch_norm", seed=1)
    first = workspace.flat.vector.clone()
    path = tmp_path / "weights.safetensors"
    load_weights(path, workspace.network, workspace.flat, workspace.flat.vector)
    found = measure_test(workspace.network, workspace.dataset.test, batch_size=45)
    last = record.iloc[-1]
    assert last["test_nll"] == pytest.approx(found["test_nll"], rel=1e-5)
    assert last["test_error"] == pytest.approx(found["test_error"])
    moved = (workspace.flat.vector - first).norm().item()
    assert last["distance"] == pytest.approx(moved, rel=1e-5)


def test_a_language_model_is_trained_as_any_network(tmp_path, run, text_path, monkeypatch) -> None:
    options = {
        "dataset": text_path,
        "batch_size": 5,
        "window": 7,
        "learning_rate": 0.1,
        "gradient_clipping": 1.0,
        "epochs": 4,
        "schedule": {"name": "exponential", "hold": 2, "factor": 0.5},
        "records_per_epoch": 2,
        "record_test": True,
        "snapshots": [2],
        "test": partial(measure_test, batch_size=20),
    }
    record = run(tmp_path / "whole", "recurrent", **options)
    assert record["train_nll"].iloc[-1] < 0.95 * record["train_nll"].iloc[0]
    assert record["learning_rate"].tolist() == pytest.approx([0.1] * 4 + [0.05] * 2 + [0.025] * 2)
    with monkeypatch.context() as patch:
        kill_after(patch, 3)
        with pytest.raises(Killed):
            run(tmp_path / "killed", "recurrent", **options)
    run(tmp_path / "killed", "recurrent", **options)
    assert outputs(tmp_path / "killed") == outputs(tmp_path / "whole")


def test_published_weights_are_asked_for(make_recipe, dataset_path, monkeypatch) -> None:
    recipe = make_recipe()
    chosen = recipe.initialisation.model_copy(
        update={"scheme": "torchvision", "weights": "ResNet50_Weights.IMAGENET1K_V1"}
    )
    asked = []
    monkeypatch.setattr(
        networks_module,
        "initialise",
        lambda network, *given, **options: asked.append((given, options)),
    )
    recipe = recipe.model_copy(update={"initialisation": chosen})
    for download in (False, True):
        open_workspace(recipe, dataset_path, CPU, seed=1, download=download)
    given = ("torchvision", 1.0, "ResNet50_Weights.IMAGENET1K_V1")
    assert asked == [
        (given, {"new_head": False, "download": False}),
        (given, {"new_head": False, "download": True}),
    ]
    # Whose weights are loaded afterwards begins with none.
    open_workspace(recipe, dataset_path, CPU)
    assert len(asked) == 2
