"""Members on corrupted images, against plain PyTorch."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from mode_connectivity.data.corrupted_images import prepare_corrupted
from mode_connectivity.data.corruption_settings import CorruptionSettings
from mode_connectivity.data.corruptions import corrupt
from mode_connectivity.ensembling.corrupted_members import (
    collect_members_under_corruption,
    stored_members,
    swag_members,
)
from mode_connectivity.ensembling.members import Member
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.shift import PredictionsUnderCorruption
from mode_connectivity.ensembling.swag import SwagSamples, network_components
from mode_connectivity.evaluation.batch_norm import reestimate_statistics
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.settings import TrainingSettings

TRAINING = TrainingSettings.model_validate({"epochs": 1, "learning_rate": 0.1})
SETTINGS = EvaluationSettings(batch_size=32, augment_statistics=False)
MEMBERS = ("first/1@2", "first/1@4", "first/2@2", "first/2@4")


@pytest.fixture
def stored(make_workspace, dataset_path, tmp_path):
    """Networks in files with statistics of their own, their table, and corrupted images."""

    def make(network, name="contrast"):
        members = []
        for index, text in enumerate(MEMBERS, start=1):
            module = make_workspace(network, seed=index).network
            for key, buffer in module.named_buffers():
                if key.endswith(("running_mean", "running_var")):
                    buffer.add_(0.3 * torch.rand(buffer.shape))
            path = tmp_path / f"{index}.safetensors"
            save_tensors(path, module.state_dict(), {})
            members.append(Member(NetworkReference.parse(text), 2 * index, path))
        seeds = [member.reference.seed for member in members]
        pd.DataFrame({"member": MEMBERS, "seed": seeds}).to_csv(tmp_path / "members.csv")
        images = tmp_path / f"{name}.safetensors"
        settings = CorruptionSettings(source="generated", examples=40)
        prepare_corrupted(
            name,
            settings,
            dataset=dataset_path,
            dataset_source="image_folder",
            data_root=tmp_path,
            output=images,
        )
        return members, make_workspace(network), images

    return make


def collect(tmp_path, members_of_seed, images, workspace):
    path = tmp_path / "ensemble" / "predictions.safetensors"
    collect_members_under_corruption(
        members_of_seed,
        tmp_path / "members.csv",
        images,
        workspace,
        TRAINING,
        SETTINGS,
        predictions=path,
        fingerprint="job",
    )
    return path


def log_probabilities(network, pixels):
    """Of the network in evaluation mode, with the constants of the data set of the tests."""
    mean, std = np.array([0.5, 0.4, 0.6]), np.array([0.2, 0.25, 0.3])
    inputs = torch.from_numpy(((pixels / 255 - mean) / std).astype(np.float32)).permute(0, 3, 1, 2)
    with torch.no_grad():
        return functional.log_softmax(network.eval()(inputs), dim=1)


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_members_are_measured_at_all_severities(stored, tmp_path, network) -> None:
    members, workspace, images = stored(network)
    path = collect(tmp_path, stored_members(members, workspace), images, workspace)
    predictions = PredictionsUnderCorruption(path)
    test = workspace.dataset.test
    labels = test.targets[:40]
    assert predictions.labels.tolist() == labels.tolist()
    assert predictions.seeds == [1, 2]
    assert (predictions.source, predictions.approximation) == ("generated", "")
    frame = pd.read_csv(path.with_name("members.csv"))
    assert list(frame) == ["member", "seed", "severity", "test_nll", "test_error"]
    assert len(frame) == 20
    network_module = workspace.network
    for severity in range(1, 6):
        pixels = corrupt(test.images.numpy()[:40], "contrast", severity)
        own = []
        for member in members:
            # With the statistics that came with it, of clean data.
            network_module.load_state_dict(load_file(member.weights))
            own.append(log_probabilities(network_module, pixels))
            row = frame[
                (frame["member"] == str(member.reference)) & (frame["severity"] == severity)
            ]
            nll = functional.nll_loss(own[-1], labels).item()
            assert row["test_nll"].item() == pytest.approx(nll, rel=1e-5)
            error = 100 * (own[-1].argmax(dim=1) != labels).double().mean().item()
            assert row["test_error"].item() == pytest.approx(error)
        for seed, first in ((1, 0), (2, 2)):
            expected = (own[first].double().exp() + own[first + 1].double().exp()) / 2
            found = predictions.probabilities(severity, [seed])
            np.testing.assert_allclose(found, expected, rtol=1e-5)
        both = predictions.probabilities(severity, [1, 2])
        np.testing.assert_allclose(both, sum(each.exp() for each in own) / 4, rtol=1e-5)
    assert {each.name for each in path.parent.iterdir()} == {
        "members.csv",
        "predictions.safetensors",
    }


def test_drawn_networks_have_statistics_of_clean_images(stored, tmp_path) -> None:
    members, workspace, images = stored("batch_norm")
    settings = SwagSettings(rank=2, samples=2)
    path = collect(tmp_path, swag_members(members, settings, workspace), images, workspace)
    predictions = PredictionsUnderCorruption(path)
    test = workspace.dataset.test
    pixels = corrupt(test.images.numpy()[:40], "contrast", 4)
    batches = list(workspace.dataset.train.prepared_batches(32))
    # All seeds in one family, as they are drawn for clean images.
    samples = SwagSamples(network_components(members, workspace), settings, workspace)
    rows = samples.coefficients(samples.parameters()).tolist()
    for seed, own in ((1, rows[:2]), (2, rows[2:])):
        total = 0.0
        for row in own:
            samples.write(row, workspace.flat.vector)
            reestimate_statistics(workspace.network, batches)
            total = total + log_probabilities(workspace.network, pixels).double().exp()
        np.testing.assert_allclose(predictions.probabilities(4, [seed]), total / 2, rtol=1e-4)


def test_predictions_that_are_none_are_told(stored, tmp_path) -> None:
    members, workspace, images = stored("plain")
    state = load_file(members[1].weights)
    save_tensors(members[1].weights, {key: value * torch.nan for key, value in state.items()}, {})
    path = collect(tmp_path, stored_members(members, workspace), images, workspace)
    predictions = PredictionsUnderCorruption(path)
    with pytest.raises(UserError, match="not numbers"):
        predictions.probabilities(1, [1])
    assert np.isfinite(predictions.probabilities(1, [2])).all()


def test_other_members_than_the_table_lists_are_refused(stored, tmp_path) -> None:
    members, workspace, images = stored("plain")
    with pytest.raises(UserError, match=r"lists 2 members of seed 2, which has 1"):
        collect(tmp_path, stored_members(members[:3], workspace), images, workspace)
    path = collect(tmp_path, stored_members(members, workspace), images, workspace)
    with pytest.raises(UserError, match=r"no members of seed 3; it has seeds \[1, 2\]"):
        PredictionsUnderCorruption(path).probabilities(1, [1, 3])
    tensors = load_file(path)
    tensors["labels"] = tensors["labels"][:-1].clone()
    save_tensors(path, tensors, {"note": json.dumps(None)})
    with pytest.raises(UserError, match="severities, seeds, examples, classes"):
        PredictionsUnderCorruption(path)


def test_a_log_says_which_seed_is_measured(stored, tmp_path, told) -> None:
    members, workspace, images = stored("plain")
    collect(tmp_path, stored_members(members, workspace), images, workspace)
    points = [place for place in told() if "seed" in place and "example" not in place]
    assert points == [f"seed {seed}/2  point {point}/2" for seed in (1, 2) for point in (1, 2)]
