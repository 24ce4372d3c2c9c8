"""Members of ensembles, measured from files, against plain PyTorch."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from mode_connectivity.ensembling.members import (
    Member,
    average_weights,
    collect_members,
)
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.networks import StoredNetworks
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.settings import TrainingSettings

TRAINING = TrainingSettings.model_validate(
    {"epochs": 1, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
)
SETTINGS = EvaluationSettings(batch_size=32, augment_statistics=False)
EPOCHS = {"first/1@2": 12, "first/1@4": 14, "second/1@2": 22, "first/2@2": 12, "first/2@4": 14}


@pytest.fixture
def stored(make_workspace, tmp_path):
    """Networks in files, of three trainings, with batch-norm statistics of their own."""

    def make(network):
        members = []
        for index, (text, epoch) in enumerate(EPOCHS.items(), start=1):
            module = make_workspace(network, seed=index).network
            for name, buffer in module.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.add_(0.3 * torch.rand(buffer.shape))
            path = tmp_path / f"{index}.safetensors"
            save_tensors(path, module.state_dict(), {})
            members.append(Member(NetworkReference.parse(text), epoch, path))
        return members, make_workspace(network)

    return make


def inputs_of(part):
    ((inputs, targets),) = part.batches(len(part))
    return inputs, targets


def vector(state, network):
    names = [name for name, _ in network.named_parameters()]
    return torch.cat([state[name].double().flatten() for name in names])


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_members_are_measured_as_they_are(stored, tmp_path, network) -> None:
    members, workspace = stored(network)
    table = tmp_path / "ensemble" / "members.csv"
    collect_members(members, workspace, TRAINING, SETTINGS, table=table, fingerprint="job")
    frame = pd.read_csv(table)
    assert list(frame) == [
        *("member", "recipe", "seed", "epoch", "norm", "distance"),
        *("test_loss", "test_nll", "test_error"),
    ]
    assert dict(zip(frame["member"], frame["epoch"], strict=True)) == EPOCHS
    assert frame["recipe"].tolist() == ["first", "first", "second", "first", "first"]
    assert frame["seed"].tolist() == [1, 1, 1, 2, 2]
    predictions = load_file(table.with_name("predictions.safetensors"))
    inputs, labels = inputs_of(workspace.dataset.test)
    assert torch.equal(predictions["labels"], labels)
    states = [load_file(member.weights) for member in members]
    for row, state in enumerate(states):
        workspace.network.load_state_dict(state)
        with torch.no_grad():
            expected = functional.log_softmax(workspace.network.eval()(inputs), dim=1)
        torch.testing.assert_close(predictions["log_probabilities"][row], expected)
        nll = functional.nll_loss(expected, labels).item()
        norm = vector(state, workspace.network).norm().item()
        error = 100 * (expected.argmax(dim=1) != labels).double().mean().item()
        assert frame.loc[row, "test_nll"] == pytest.approx(nll, rel=1e-5)
        assert frame.loc[row, "test_error"] == pytest.approx(error)
        assert frame.loc[row, "norm"] == pytest.approx(norm, rel=1e-6)
        assert frame.loc[row, "test_loss"] == pytest.approx(nll + 0.01 * norm**2, rel=1e-5)
    vectors = [vector(state, workspace.network) for state in states]
    steps = [(vectors[k] - vectors[k - 1]).norm().item() for k in (1, 4)]
    assert frame["distance"].isna().tolist() == [True, False, True, True, False]
    assert frame["distance"].dropna().tolist() == pytest.approx(steps, rel=1e-6)
    assert {path.name for path in table.parent.iterdir()} == {
        *("members.csv", "correct.safetensors", "predictions.safetensors")
    }


def test_averages_are_means_of_a_training_with_statistics_anew(stored, tmp_path) -> None:
    members, workspace = stored("batch_norm")
    averages = average_weights(members, workspace, TRAINING, SETTINGS, folder=tmp_path / "means")
    found = [(str(member.reference), member.epoch) for member in averages]
    assert found == [("first/1", 14), ("second/1", 22), ("first/2", 14)]
    names = [name for name, _ in workspace.network.named_parameters()]
    inputs, _ = inputs_of(workspace.dataset.train)
    for average, group in zip(averages, ((0, 1), (2,), (3, 4)), strict=True):
        state = load_file(average.weights)
        own = [load_file(members[index].weights) for index in group]
        for name in names:
            mean = torch.stack([each[name].double() for each in own]).mean(dim=0)
            torch.testing.assert_close(state[name], mean.float(), rtol=1e-6, atol=1e-8)
        # The first layer's inputs are the images themselves: its statistics by hand.
        outputs = functional.conv2d(inputs, state["0.weight"], padding=1)
        mean = outputs.mean(dim=(0, 2, 3))
        torch.testing.assert_close(state["1.running_mean"], mean, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(own[0]["1.running_mean"], mean, atol=1e-2)


def test_networks_are_read_when_they_are_asked_for(stored) -> None:
    members, workspace = stored("plain")
    family = StoredNetworks([member.weights for member in members], workspace)
    out = torch.empty_like(workspace.flat.vector)
    points = family.coefficients(torch.tensor([[3.0], [0.0]], dtype=torch.float64))
    np.testing.assert_array_equal(points, np.eye(5)[[3, 0]])
    for row, index in zip(points.tolist(), (3, 0), strict=True):
        family.write(row, out)
        workspace.flat.vector.copy_(out)
        state = load_file(members[index].weights)
        for name, value in workspace.network.state_dict().items():
            assert torch.equal(value, state[name])
    assert len(list(family.vectors())) == 5


def test_a_member_of_another_network_is_told_with_its_file(stored, tmp_path) -> None:
    members, workspace = stored("plain")
    members[2].weights.write_bytes((tmp_path / "1.safetensors").read_bytes()[:-20])
    table = tmp_path / "ensemble" / "members.csv"
    with pytest.raises(UserError, match=r"3\.safetensors"):
        collect_members(members, workspace, TRAINING, SETTINGS, table=table, fingerprint="job")
    assert not table.exists()


def test_a_log_says_which_networks_are_read(stored, tmp_path, told) -> None:
    members, workspace = stored("batch_norm")
    average_weights(members, workspace, TRAINING, SETTINGS, folder=tmp_path / "means")
    examples = [f"example {k}/70" for k in (32, 64, 70)]
    assert told() == [
        f"average {number}/3  {place}"
        for number, count in ((1, 2), (2, 1), (3, 2))
        for place in (*(f"network {k}/{count}" for k in range(1, count + 1)), *examples)
    ]


def test_a_log_says_how_far_the_distances_are(stored, tmp_path, told) -> None:
    members, workspace = stored("plain")
    table = tmp_path / "ensemble" / "members.csv"
    collect_members(members, workspace, TRAINING, SETTINGS, table=table, fingerprint="job")
    assert [place for place in told() if "example" not in place] == [
        *(f"point {k}/5" for k in range(1, 6)),
        *(f"network {k}/5" for k in range(1, 6)),
    ]
