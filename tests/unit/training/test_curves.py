from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch

from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training.checkpoints import CheckpointWriter
from mode_connectivity.training.curves import (
    CurveSource,
    load_curve,
    open_curve,
    save_curve,
    straight_curve,
    train_curve,
)
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.weight_space.curves import Bezier, Polychain, TrivialPath

TRAINING = {
    "epochs": 3,
    "batch_size": 16,
    "learning_rate": 0.02,
    "optimiser": {"weight_decay": 0.01},
    "augmentation": {"transforms": ["flip"]},
    "snapshots": [2],
}


class Killed(BaseException):
    """What a signal does: nobody catches it."""


def curve_settings(kind: str, **changes) -> CurveSettings:
    if kind in ("polychain", "bezier"):
        changes = {"training": TRAINING, **changes}
    return CurveSettings.model_validate({"kind": kind, "start": "a/1", "end": "a/2", **changes})


@pytest.fixture
def make_source(tmp_path, make_workspace):
    """The weight files of two networks that were initialised from seeds 1 and 2."""

    def make(network: str) -> CurveSource:
        paths = []
        for seed in (1, 2):
            workspace = make_workspace(network, seed=seed)
            for _, buffer in workspace.network.named_buffers():
                buffer.add_(seed)
            paths.append(tmp_path / f"{network}{seed}.safetensors")
            save_tensors(paths[-1], workspace.network.state_dict(), {})
        return CurveSource(start=paths[0], end=paths[1])

    return make


def ends(make_workspace, network: str) -> list[torch.Tensor]:
    return [make_workspace(network, seed=seed).flat.vector for seed in (1, 2)]


@pytest.mark.parametrize(
    ("kind", "bends", "expected"),
    [("segment", None, Polychain), ("polychain", 1, Polychain), ("bezier", 3, Bezier)],
)
def test_straight_curves(make_workspace, make_source, kind, bends, expected) -> None:
    workspace = make_workspace("batch_norm", seed=3)
    settings = curve_settings(kind, **({} if bends is None else {"bends": bends}))
    curve = open_curve(settings, make_source("batch_norm"), workspace)
    start, end = ends(make_workspace, "batch_norm")
    assert type(curve) is expected
    assert len(curve.vertices) == (bends or 0) + 2
    assert torch.equal(curve.vertices[0], start)
    assert torch.equal(curve.vertices[-1], end)
    for k, vertex in enumerate(curve.vertices):
        share = k / (len(curve.vertices) - 1)
        torch.testing.assert_close(vertex, (1 - share) * start + share * end)
    # The network has the buffers of the start.
    assert torch.equal(workspace.network[1].running_mean, torch.ones(4))


def test_random_segment(make_workspace, make_source) -> None:
    source = make_source("plain")
    start, end = ends(make_workspace, "plain")
    curves = [
        open_curve(curve_settings("random_segment", seed=seed), source, make_workspace("plain"))
        for seed in (1, 1, 2)
    ]
    for curve in curves:
        assert len(curve.vertices) == 2
        assert torch.equal(curve.vertices[0], start)
        length = (curve.vertices[1] - start).norm()
        torch.testing.assert_close(length, (end - start).norm())
    assert torch.equal(curves[0].vertices[1], curves[1].vertices[1])
    assert not torch.equal(curves[0].vertices[1], curves[2].vertices[1])


def test_trivial_path(make_workspace, make_source) -> None:
    workspace = make_workspace("plain", seed=3)
    curve = open_curve(curve_settings("trivial_path"), make_source("plain"), workspace)
    assert isinstance(curve, TrivialPath)
    out = torch.empty_like(workspace.flat.vector)
    for t, end in zip((0.0, 1.0), ends(make_workspace, "plain"), strict=True):
        curve.write(curve.coefficients(torch.tensor([[t]]).double())[0].tolist(), out)
        assert torch.equal(out, end)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("batch_norm", r"but 1 is BatchNorm2d; choose a network without normalisation"),
        ("branches", "the predictions of this network change"),
    ],
)
def test_trivial_path_refuses(make_workspace, make_source, network, message) -> None:
    with pytest.raises(UserError, match=message):
        open_curve(curve_settings("trivial_path"), make_source(network), make_workspace(network))


def test_the_ends_are_needed(make_workspace, make_source) -> None:
    start = make_source("plain").start
    with pytest.raises(ValueError, match="both ends"):
        straight_curve(curve_settings("segment"), CurveSource(start=start), make_workspace())
    assert CurveSource(start=start).files == [start]


@pytest.mark.parametrize("kind", ["polychain", "bezier"])
def test_vertices_round_trip(tmp_path, make_workspace, kind) -> None:
    workspace = make_workspace("batch_norm")
    settings = curve_settings(kind, bends=2)
    vertices = torch.randn(4, len(workspace.flat))
    curve = {"polychain": Polychain, "bezier": Bezier}[kind](vertices.clone())
    path = tmp_path / "vertices.safetensors"
    save_curve(path, settings, curve, workspace)

    tensors = safetensors.torch.load_file(path)
    named = dict(workspace.network.named_parameters())
    assert tensors.keys() == named.keys()
    for name, tensor in tensors.items():
        assert tensor.shape == (4, *named[name].shape)
    workspace.flat.vector.copy_(vertices[2])
    assert all(torch.equal(tensors[name][2], named[name].detach()) for name in named)

    source = CurveSource(vertices=path)
    again = open_curve(settings, source, make_workspace("batch_norm", seed=5))
    assert type(again) is type(curve)
    assert torch.equal(again.vertices, vertices)
    assert again.trainable == (1, 2)
    assert source.files == [path]


def test_other_files_are_refused(tmp_path, make_workspace) -> None:
    workspace = make_workspace("plain")
    settings = curve_settings("bezier")
    path = tmp_path / "vertices.safetensors"
    save_curve(path, settings, Bezier(torch.randn(3, len(workspace.flat))), workspace)
    with pytest.raises(UserError, match="holds a bezier, not a polychain"):
        load_curve(path, curve_settings("polychain"), workspace)
    with pytest.raises(UserError, match=r"vertices\.safetensors: .* do not fit .* is missing"):
        load_curve(path, settings, make_workspace("batch_norm"))
    save_tensors(path, workspace.network.state_dict(), {"format": "mode_connectivity.network.1"})
    with pytest.raises(UserError, match="holds a None, not a bezier"):
        load_curve(path, settings, workspace)
    with pytest.raises(UserError, match="no such file"):
        load_curve(tmp_path / "absent", settings, workspace)


def run(folder: Path, kind: str, workspace, source) -> pd.DataFrame:
    return train_curve(
        curve_settings(kind, bends=2),
        workspace,
        source,
        vertices=folder / "vertices.safetensors",
        history=folder / "history.csv",
        snapshots=folder / "snapshots",
        fingerprint=["job", kind],
    )


@pytest.mark.parametrize("kind", ["polychain", "bezier"])
def test_training(tmp_path, make_workspace, make_source, kind) -> None:
    source = make_source("batch_norm")
    record = run(tmp_path, kind, make_workspace("batch_norm", seed=4), source)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "history.csv"), record)
    assert record["train_nll"].iloc[-1] < record["train_nll"].iloc[0]
    tensors, metadata = load_tensors(tmp_path / "vertices.safetensors")
    assert metadata["format"] == "mode_connectivity.curve.1"
    assert metadata["trainable"] == "[1, 2]"
    start, end = (safetensors.torch.load_file(path) for path in source.files)
    for name, tensor in tensors.items():
        assert torch.equal(tensor[0], start[name])
        assert torch.equal(tensor[3], end[name])
        if name == "0.weight":
            straight = torch.lerp(start[name], end[name], 1 / 3)
            assert not torch.allclose(tensor[1], straight, atol=1e-3)
    snapshot, _ = load_tensors(tmp_path / "snapshots" / "epoch2.safetensors")
    assert snapshot.keys() == tensors.keys()
    assert not torch.equal(snapshot["0.weight"][1], tensors["0.weight"][1])
    assert not (tmp_path / ".progress").exists()


def test_training_resumes_to_the_same_bits(
    tmp_path, make_workspace, make_source, monkeypatch
) -> None:
    source = make_source("batch_norm")
    run(tmp_path / "whole", "bezier", make_workspace("batch_norm", seed=4), source)
    save = CheckpointWriter.save

    def killing(self, tensors, state, **options) -> None:
        save(self, tensors, state, **options)
        raise Killed

    # Killed after every epoch.
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointWriter, "save", killing)
            with pytest.raises(Killed):
                run(tmp_path / "killed", "bezier", make_workspace("batch_norm", seed=4), source)
    run(tmp_path / "killed", "bezier", make_workspace("batch_norm", seed=4), source)
    for name in ("vertices.safetensors", "snapshots/epoch2.safetensors"):
        whole, killed = (load_tensors(tmp_path / run / name)[0] for run in ("whole", "killed"))
        assert all(torch.equal(whole[key], killed[key]) for key in whole)
    whole, killed = (pd.read_csv(tmp_path / run / "history.csv") for run in ("whole", "killed"))
    numbers = ["epoch", "learning_rate", "train_nll", "train_error"]
    assert whole[numbers].equals(killed[numbers])
    assert not (tmp_path / "killed" / ".progress").exists()


def test_a_segment_has_nothing_to_train(tmp_path, make_workspace, make_source) -> None:
    with pytest.raises(ValueError, match="nothing to train"):
        train_curve(
            curve_settings("segment"),
            make_workspace(),
            make_source("plain"),
            vertices=tmp_path / "v",
            history=tmp_path / "h",
            snapshots=tmp_path / "s",
            fingerprint=None,
        )


def test_snapshots_from_the_segment_to_the_end(tmp_path, make_workspace, make_source) -> None:
    source, workspace = make_source("plain"), make_workspace("plain", seed=4)
    training = {
        **TRAINING,
        "schedule": {"name": "cosine", "minimum": 1e-4},
        "snapshots": [0, 3],
    }
    settings = curve_settings("bezier", training=training)
    train_curve(
        settings,
        workspace,
        source,
        vertices=tmp_path / "vertices.safetensors",
        history=tmp_path / "history.csv",
        snapshots=tmp_path / "snapshots",
        fingerprint="job",
    )
    straight = straight_curve(settings, source, workspace)
    first = load_curve(tmp_path / "snapshots" / "epoch0.safetensors", settings, workspace)
    last = load_curve(tmp_path / "snapshots" / "epoch3.safetensors", settings, workspace)
    whole = load_curve(tmp_path / "vertices.safetensors", settings, workspace)
    assert torch.equal(first.vertices, straight.vertices)
    assert torch.equal(last.vertices, whole.vertices)
    assert not torch.equal(first.vertices, whole.vertices)


def test_a_curve_of_language_models(tmp_path, make_workspace, make_source) -> None:
    source, workspace = make_source("recurrent"), make_workspace("recurrent", seed=4)
    training = {"epochs": 4, "batch_size": 5, "window": 7, "learning_rate": 0.05}
    settings = curve_settings("bezier", training=training)
    record = train_curve(
        settings,
        workspace,
        source,
        vertices=tmp_path / "vertices.safetensors",
        history=tmp_path / "history.csv",
        snapshots=tmp_path / "snapshots",
        fingerprint="job",
    )
    assert record["train_nll"].iloc[-1] < record["train_nll"].iloc[0]
    curve = load_curve(tmp_path / "vertices.safetensors", settings, workspace)
    for index, end in ((0, 0), (2, 1)):
        assert torch.equal(curve.vertices[index], ends(make_workspace, "recurrent")[end])
    named = dict(workspace.network.named_parameters())
    assert load_tensors(tmp_path / "vertices.safetensors")[0].keys() == named.keys()
