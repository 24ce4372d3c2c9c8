"""SWAG: moments and samples against numpy, and the members that are drawn."""

import gc

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from mode_connectivity.ensembling import swag
from mode_connectivity.ensembling.members import Member
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.swag import (
    Component,
    Gaussian,
    SwagSamples,
    bend_component,
    collect_samples,
    drawn_vectors,
    fit_gaussian,
    network_components,
)
from mode_connectivity.evaluation import evaluator
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.checkpoints import CheckpointWriter
from mode_connectivity.training.curves import save_curve
from mode_connectivity.training.recipes import CurveSettings, NetworkReference
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Polychain

TRAINING = TrainingSettings.model_validate(
    {"epochs": 6, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
)
SETTINGS = EvaluationSettings(batch_size=32, augment_statistics=False)
SAMPLING = SwagSettings(rank=3, samples=4, scale=0.5)
CURVE = CurveSettings.model_validate(
    {"kind": "polychain", "start": "a/1", "end": "a/2", "training": {**TRAINING.model_dump()}}
)


def readers(iterates: torch.Tensor):
    return [lambda out, row=row: out.copy_(row) for row in iterates]


@pytest.fixture
def iterates() -> torch.Tensor:
    """Nine networks that wander: means of the first few are not the mean of all."""
    steps = 0.02 * torch.randn(9, 40, dtype=torch.float64) + 0.01
    return (2.0 + steps.cumsum(dim=0)).float()


def published(iterates: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Algorithm 1 of Maddox et al. 2019, written down step by step."""
    mean, square = np.zeros(iterates.shape[1]), np.zeros(iterates.shape[1])
    columns: list[np.ndarray] = []
    for n, weights in enumerate(iterates.astype(np.float64)):
        mean = (n * mean + weights) / (n + 1)
        square = (n * square + weights**2) / (n + 1)
        if len(columns) == rank:
            columns.pop(0)
        columns.append(weights - mean)
    return mean, square - mean**2, columns


@pytest.mark.parametrize("rank", [2, 4, 9])
@pytest.mark.parametrize("chunk", [7, 1 << 18])
def test_the_gaussian_is_that_of_the_published_algorithm(
    iterates, monkeypatch, rank, chunk
) -> None:
    monkeypatch.setattr(swag, "CHUNK", chunk)
    found = fit_gaussian(readers(iterates), rank, 0.0, torch.empty(40))
    mean, variance, columns = published(iterates.numpy(), rank)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-7)
    np.testing.assert_allclose(found.deviation, np.sqrt(variance), rtol=1e-5)
    np.testing.assert_allclose(found.deviations, columns, atol=3e-6)
    np.testing.assert_allclose(found.deviation, iterates.double().std(dim=0, correction=0), 1e-5)


def test_small_variances_far_from_zero_survive() -> None:
    """In single precision the second moment would lose them: 1e4 squared has no room for 1e-4."""
    weights = 1e4 + torch.tensor([[0.0], [0.01], [0.02], [0.05]])
    found = fit_gaussian(readers(weights), 2, 0.0, torch.empty(1))
    assert found.deviation.item() == pytest.approx(
        weights.double().std(correction=0).item(), rel=1e-3
    )


def test_the_floor_holds_where_a_weight_does_not_move(iterates) -> None:
    iterates[:, 3] = 1.5
    found = fit_gaussian(readers(iterates), 2, 1e-3, torch.empty(40))
    assert found.deviation.min().item() == pytest.approx(1e-3**0.5)
    assert found.deviation[3].item() == pytest.approx(1e-3**0.5)
    assert found.deviation.max() > 1e-3**0.5


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_samples_have_the_covariance_of_the_formula(scale) -> None:
    mean, deviation = torch.tensor([3.0, -1.0, 0.5, 0.0]), torch.tensor([0.1, 0.3, 0.2, 0.0])
    columns = torch.tensor([[0.4, 0.0, -0.2, 0.1], [0.1, 0.5, 0.0, 0.2], [0.0, 0.3, 0.3, -0.3]])
    gaussian, count = Gaussian(mean, deviation, columns), 20_000
    samples = torch.empty(count, 4)
    for seed, out in enumerate(samples):
        gaussian.draw(seed, scale, out)
    expected = scale * (np.diag(deviation**2) + columns.T.numpy() @ columns.numpy() / 2)
    # Standard errors of a normal sample's mean and covariance, four of them.
    spread = np.sqrt(np.diag(expected))
    np.testing.assert_array_less(abs(samples.mean(dim=0) - mean), 4 * spread / count**0.5)
    errors = np.sqrt((np.outer(spread, spread) ** 2 + expected**2) / count)
    np.testing.assert_array_less(abs(np.cov(samples.T.numpy()) - expected), 4 * errors)


def test_seeds_tell_samples_apart_and_scale_zero_is_the_mean(iterates) -> None:
    gaussian = fit_gaussian(readers(iterates), 4, 1e-6, torch.empty(40))
    first, again, other = torch.empty(3, 40)
    gaussian.draw(1, 0.5, first)
    gaussian.draw(1, 0.5, again)
    gaussian.draw(2, 0.5, other)
    assert torch.equal(first, again)
    assert not torch.isclose(first, other, atol=1e-5).any()
    wide = torch.empty(40)
    gaussian.draw(1, 2.0, wide)
    torch.testing.assert_close(wide - gaussian.mean, 2 * (first - gaussian.mean))
    gaussian.draw(1, 0.0, other)
    assert torch.equal(other, gaussian.mean)


@pytest.mark.parametrize(
    ("count", "rank", "message"),
    [
        (1, 2, "1 snapshots; a variance needs at least 2"),
        (5, 6, "rank 6 with 5 snapshots; from 2 to 5 are allowed"),
        (5, 1, "rank 1 with 5 snapshots"),
    ],
)
def test_too_few_snapshots_are_refused(iterates, count, rank, message) -> None:
    with pytest.raises(UserError, match=message):
        fit_gaussian(readers(iterates[:count]), rank, 0.0, torch.empty(40))


def test_never_more_than_rank_and_three_vectors(monkeypatch) -> None:
    """Tensors of the network's size that are alive, in single-precision vectors."""
    size, rank, held = 54321, 2, []
    monkeypatch.setattr(swag, "CHUNK", 100)

    def count() -> float:
        storages = [
            each.untyped_storage()
            for each in gc.get_objects()
            if type(each) is torch.Tensor and each.numel() >= size
        ]
        return sum({each.data_ptr(): each.nbytes() for each in storages}.values()) / (4 * size)

    def read(out: torch.Tensor) -> None:
        held.append(count() - others)
        out.normal_()

    vector = torch.empty(size)
    others = count()
    gaussian = fit_gaussian([read] * 6, rank, 1e-6, vector)
    assert 0 < max(held) <= rank + 3
    gaussian.draw(0, 0.5, vector)
    assert count() - others == rank + 2


@pytest.fixture
def trainings(make_workspace, tmp_path):
    """Snapshots of two trainings, five each, and a workspace."""

    def make(network: str):
        members = []
        for seed in (1, 2):
            for epoch in range(1, 6):
                module = make_workspace(network, seed=seed).network
                with torch.no_grad():
                    for parameter in module.parameters():
                        parameter += 0.02 * torch.randn(parameter.shape)
                path = tmp_path / f"{seed}_{epoch}.safetensors"
                save_tensors(path, module.state_dict(), {})
                reference = NetworkReference.parse(f"first/{seed}@{epoch}")
                members.append(Member(reference, 10 + epoch, path))
        return members, make_workspace(network)

    return make


def collect(trainings, folder, *, network="plain", sampling=SAMPLING) -> pd.DataFrame:
    members, workspace = trainings(network)
    collect_samples(
        network_components(members, workspace),
        sampling,
        workspace,
        TRAINING,
        SETTINGS,
        parts=("test",),
        table=folder / "members.csv",
        fingerprint="job",
    )
    return pd.read_csv(folder / "members.csv")


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_samples_are_measured_as_members(trainings, tmp_path, network) -> None:
    frame = collect(trainings, tmp_path, network=network)
    assert list(frame) == [
        *("member", "sample", "recipe", "seed", "epoch"),
        *("norm", "test_loss", "test_nll", "test_error"),
    ]
    assert frame["member"].tolist() == ["first/1"] * 4 + ["first/2"] * 4
    assert frame["sample"].tolist() == [1, 2, 3, 4] * 2
    assert frame["seed"].tolist() == [1] * 4 + [2] * 4
    assert (frame["epoch"] == 15).all()
    members, workspace = trainings(network)
    family = SwagSamples(network_components(members, workspace), SAMPLING, workspace)
    predictions = load_file(tmp_path / "predictions.safetensors")["log_probabilities"]
    ((inputs, labels),) = workspace.dataset.test.batches(len(workspace.dataset.test))
    ((train, _),) = workspace.dataset.train.batches(len(workspace.dataset.train))
    for row, parameters in enumerate(family.parameters()):
        family.write(parameters.tolist(), workspace.flat.vector)
        assert frame["norm"][row] == pytest.approx(workspace.flat.vector.norm().item(), rel=1e-6)
        for layer in workspace.network.modules():
            if hasattr(layer, "running_mean"):
                layer.reset_running_stats()
                layer.momentum = None
                layer.train()
        with torch.no_grad():
            if network == "batch_norm":
                # Its variance is unbiased by batches; theirs here is of the whole set.
                for module in workspace.network.modules():
                    if isinstance(module, torch.nn.Dropout):
                        module.eval()
                workspace.network(train)
            expected = functional.log_softmax(workspace.network.eval()(inputs), dim=1)
        close = {"rtol": 0.05, "atol": 0.05} if network == "batch_norm" else {}
        torch.testing.assert_close(predictions[row], expected, **close)
        assert frame["test_nll"][row] == pytest.approx(
            functional.nll_loss(predictions[row], labels).item(), rel=1e-5
        )


def test_a_draw_does_not_depend_on_those_before_it(trainings) -> None:
    members, workspace = trainings("plain")
    components = network_components(members, workspace)
    family = SwagSamples(components, SAMPLING, workspace)
    rows = family.parameters().tolist()
    drawn = torch.empty(len(rows), len(workspace.flat))
    for row, out in zip(rows, drawn, strict=True):
        family.write(row, out)
    assert len(torch.unique(drawn, dim=0)) == len(rows)
    late = SwagSamples(components, SAMPLING, workspace)
    more = SwagSamples(components, SAMPLING.model_copy(update={"samples": 9}), workspace)
    out = torch.empty(len(workspace.flat))
    for each in (late, more):
        for index in (6, 1, 5):
            each.write(rows[index], out)
            assert torch.equal(out, drawn[index])


def test_two_trainings_have_noise_of_their_own(trainings) -> None:
    members, workspace = trainings("plain")
    first, second = network_components(members, workspace)
    twins = [first, Component(second.facts, first.snapshots, second.seed)]
    family = SwagSamples(twins, SAMPLING, workspace)
    drawn = [out.clone() for _, out in drawn_vectors(family, workspace.flat.vector)]
    assert len(torch.unique(torch.stack(drawn), dim=0)) == 8


def test_an_interrupted_collection_ends_in_the_same_bits(trainings, tmp_path, monkeypatch) -> None:
    whole = collect(trainings, tmp_path / "whole", network="batch_norm")
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    save = CheckpointWriter.save

    def save_and_stop(self, tensors, state, **options) -> None:
        save(self, tensors, state, **options)
        if state["done"] == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(CheckpointWriter, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        collect(trainings, tmp_path / "resumed", network="batch_norm")
    monkeypatch.setattr(CheckpointWriter, "save", save)
    written = []
    write = SwagSamples.write
    monkeypatch.setattr(
        SwagSamples, "write", lambda self, row, out: written.append(row) or write(self, row, out)
    )
    resumed = collect(trainings, tmp_path / "resumed", network="batch_norm")
    assert [int(sample) for _, sample in written] == [1, 2, 3]
    pd.testing.assert_frame_equal(resumed, whole)
    name = "predictions.safetensors"
    assert (tmp_path / "resumed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_bend_of_a_chain(make_workspace, tmp_path) -> None:
    workspace = make_workspace("plain")
    bends = 0.1 * torch.randn(5, len(workspace.flat)) + workspace.flat.vector
    ends = torch.randn(2, len(workspace.flat))
    paths = []
    for epoch, bend in enumerate(bends, start=1):
        paths.append(tmp_path / f"epoch{epoch}.safetensors")
        save_curve(paths[-1], CURVE, Polychain(torch.stack([ends[0], bend, ends[1]])), workspace)
    component = bend_component(CURVE, paths, workspace)
    sampling = SwagSettings(rank=5, samples=3, scale=0.0)
    collect_samples(
        [component],
        sampling,
        workspace,
        TRAINING,
        SETTINGS,
        parts=(),
        table=tmp_path / "found" / "members.csv",
        fingerprint="job",
    )
    frame = pd.read_csv(tmp_path / "found" / "members.csv")
    assert list(frame) == [
        *("sample", "norm", "train_loss", "train_nll", "train_error"),
        *("test_loss", "test_nll", "test_error"),
    ]
    mean = bends.double().mean(dim=0)
    assert frame["norm"].tolist() == pytest.approx([mean.norm().item()] * 3, rel=1e-6)
    drawn = SwagSamples([component], sampling.model_copy(update={"scale": 1.0}), workspace)
    vectors = [(label, out.clone()) for label, out in drawn_vectors(drawn, workspace.flat.vector)]
    assert [label for label, _ in vectors] == ["1", "2", "3"]
    assert not torch.allclose(vectors[0][1], vectors[1][1], atol=1e-3)
    other = bend_component(CURVE.model_copy(update={"seed": 2}), paths, workspace)
    assert other.seed != component.seed


def test_a_log_says_which_snapshots_are_read_for_a_draw(trainings, tmp_path, told) -> None:
    collect(trainings, tmp_path)
    rank = SAMPLING.rank
    read = [f"snapshot {k}/{count}" for count in (5, rank) for k in range(1, count + 1)]
    places = [place for place in told() if "example" not in place]
    # The Gaussian of each training is fitted when its first draw is asked for.
    assert places[: len(read) + 1] == [*(f"point 1/8  {each}" for each in read), "point 1/8"]
    assert places[-4:] == [f"point {k}/8" for k in range(5, 9)]


def test_a_log_says_how_many_draws_are_projected(trainings, told) -> None:
    members, workspace = trainings("plain")
    family = SwagSamples(network_components(members, workspace), SAMPLING, workspace)
    for _ in drawn_vectors(family, workspace.flat.vector):
        pass
    assert [place for place in told() if "snapshot" not in place] == [
        f"sample {k}/8" for k in range(1, 9)
    ]
