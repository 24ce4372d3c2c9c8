"""What is different on a GPU; everything else is tested on the CPU."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn

from mode_connectivity.data.arrays import load_dataset
from mode_connectivity.device import describe_device, select_device
from mode_connectivity.evaluation.curves import evaluate_curve
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.training.loop import train, uses_bfloat16
from mode_connectivity.training.networks import Workspace, open_workspace, train_network
from mode_connectivity.training.recipes import CurveSettings, RecipeSettings
from mode_connectivity.weight_space.curves import CURVES, bends_on_segment
from mode_connectivity.weight_space.family import Point

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def recipe() -> Callable[..., RecipeSettings]:
    def make(**training: Any) -> RecipeSettings:
        return RecipeSettings.model_validate(
            {
                "dataset": "patterns",
                "network": {"name": "preresnet", "depth": 8, "width": 8},
                "training": {
                    "epochs": 6,
                    "batch_size": 16,
                    "learning_rate": 0.05,
                    "augmentation": {"transforms": ["flip", "crop"], "crop_padding": 1},
                    **training,
                },
            }
        )

    return make


def run(recipe: RecipeSettings, dataset: Path, folder: Path, device: torch.device) -> pd.DataFrame:
    return train_network(
        recipe,
        seed=1,
        dataset=dataset,
        weights=folder / "weights.safetensors",
        history=folder / "history.csv",
        snapshots=folder / "snapshots",
        device=device,
    )


def test_a_gpu_is_chosen_where_there_is_one() -> None:
    assert select_device("auto").type == select_device("cuda").type == "cuda"
    assert select_device("cpu").type == "cpu"
    assert describe_device(select_device("auto")) == torch.cuda.get_device_name()


def test_data_and_network_live_on_the_device(recipe, dataset_path) -> None:
    workspace = open_workspace(recipe(), dataset_path, CUDA, seed=1)
    assert workspace.flat.vector.is_cuda
    assert all(tensor.is_cuda for tensor in workspace.network.state_dict().values())
    for part in (workspace.dataset.train, workspace.dataset.test):
        for batch in (
            *part.batches(16, memory_format=torch.channels_last),
            *part.prepared_batches(16, memory_format=torch.channels_last),
        ):
            inputs, targets = batch
            assert inputs.is_cuda and targets.is_cuda
            assert inputs.is_contiguous(memory_format=torch.channels_last)


def test_training_runs_in_bfloat16_and_lowers_the_loss(recipe, dataset_path) -> None:
    settings = recipe(epochs=12)
    workspace = open_workspace(settings, dataset_path, CUDA, seed=1)
    seen = set()
    convolutions = [m for m in workspace.network.modules() if isinstance(m, nn.Conv2d)]
    for layer in convolutions:
        layer.register_forward_hook(
            lambda layer, inputs, output: seen.add(
                (output.dtype, output.is_contiguous(memory_format=torch.channels_last))
            )
        )
        if layer.kernel_size != (1, 1) and layer.in_channels > 1:
            assert layer.weight.is_contiguous(memory_format=torch.channels_last)
    assert uses_bfloat16(settings.training, CUDA)
    flat = workspace.flat
    history = train(
        workspace.network,
        flat,
        Point(flat.vector),
        workspace.dataset.train,
        settings.training,
        seed=1,
    )
    assert seen == {(torch.bfloat16, True)}
    assert flat.vector.dtype == torch.float32
    assert history["train_nll"].iloc[-1] < 0.7 * history["train_nll"].iloc[0]


def on(device: torch.device, source: Workspace, settings: RecipeSettings, path: Path) -> Workspace:
    """Return the same network on another device."""
    other = open_workspace(settings, path, device, seed=0)
    other.network.load_state_dict(copy.deepcopy(source.network.state_dict()))
    return other


def test_evaluation_equals_that_of_a_cpu(recipe, dataset_path, tmp_path, monkeypatch) -> None:
    """In float32, batch-norm statistics included; TF32 is off by about a thousandth."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    settings = recipe()
    trained = open_workspace(settings, dataset_path, CUDA, seed=1)
    flat = trained.flat
    train(
        trained.network,
        flat,
        Point(flat.vector),
        trained.dataset.train,
        settings.training,
        seed=1,
    )
    grids = {}
    for device in (CUDA, CPU):
        workspace = on(device, trained, settings, dataset_path)
        start = workspace.flat.vector.clone()
        vertices = torch.stack([start, torch.zeros_like(start), -0.5 * start])
        bends_on_segment(vertices)
        evaluate_curve(
            CURVES["bezier"](vertices),
            5,
            workspace,
            settings.training,
            EvaluationSettings(batch_size=20, augment_statistics=False),
            predictions=True,
            grid=tmp_path / device.type / "grid.csv",
            fingerprint="",
        )
        grids[device.type] = pd.read_csv(tmp_path / device.type / "grid.csv")
    pd.testing.assert_frame_equal(grids["cuda"], grids["cpu"], rtol=1e-4, atol=1e-5)


def test_a_resumed_training_ends_where_an_undisturbed_one_does(
    recipe, dataset_path, tmp_path, monkeypatch
) -> None:
    settings = recipe(snapshots=[2, 4])
    undisturbed = run(settings, dataset_path, tmp_path / "undisturbed", CUDA)

    from mode_connectivity.training.checkpoints import Checkpoint

    class Killed(BaseException):
        pass

    save = Checkpoint.save

    def save_and_die(self: Checkpoint, tensors: Any, state: Any) -> None:
        save(self, tensors, state)
        if len(state["history"]) == 3:
            raise Killed

    with monkeypatch.context() as context, pytest.raises(Killed):
        context.setattr(Checkpoint, "save", save_and_die)
        run(settings, dataset_path, tmp_path / "killed", CUDA)
    resumed = run(settings, dataset_path, tmp_path / "killed", CUDA)
    columns = ["epoch", "learning_rate", "train_nll", "train_error"]
    # Not every kernel of cuDNN adds in the same order each time.
    pd.testing.assert_frame_equal(resumed[columns], undisturbed[columns], rtol=0.05, atol=0.1)
    assert len(list((tmp_path / "killed" / "snapshots").iterdir())) == 2
    assert not (tmp_path / "killed" / ".progress").exists()


def test_a_curve_is_trained(recipe, dataset_path) -> None:
    settings = recipe()
    workspace = open_workspace(settings, dataset_path, CUDA, seed=1)
    flat = workspace.flat
    ends = []
    for seed in (1, 2):
        vector = open_workspace(settings, dataset_path, CUDA, seed=seed).flat.vector
        ends.append(vector.clone())
    vertices = torch.stack([ends[0], torch.zeros_like(ends[0]), ends[1]])
    bends_on_segment(vertices)
    before = vertices.clone()
    curve_settings = CurveSettings.model_validate(
        {
            "kind": "bezier",
            "start": "any/1",
            "end": "any/2",
            "training": settings.training.model_dump(),
        }
    )
    assert curve_settings.training is not None
    curve = CURVES[curve_settings.kind](vertices)
    history = train(
        workspace.network, flat, curve, workspace.dataset.train, curve_settings.training, seed=1
    )
    assert torch.equal(curve.vertices[0], before[0]) and torch.equal(curve.vertices[2], before[2])
    assert not torch.equal(curve.vertices[1], before[1])
    assert history["train_nll"].iloc[-1] < history["train_nll"].iloc[0]


def test_the_same_numbers_as_a_cpu_without_bfloat16(recipe, dataset_path, monkeypatch) -> None:
    """One step from the same weights, on the same batch."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    settings = recipe(epochs=1, batch_size=70, precision="float32", augmentation={"transforms": []})
    losses = []
    source = open_workspace(settings, dataset_path, CPU, seed=1)
    for device in (CPU, CUDA):
        workspace = on(device, source, settings, dataset_path)
        flat = workspace.flat
        history = train(
            workspace.network,
            flat,
            Point(flat.vector),
            load_dataset(dataset_path, device).train,
            settings.training,
            seed=1,
        )
        losses.append(history["train_nll"].iloc[0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
