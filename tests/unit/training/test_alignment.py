"""The end of a curve, permuted to match its start, from files to vertices."""

import json

import pytest
import torch
from permutations import random_permutations
from torch import Tensor, nn

from mode_connectivity.evaluation.curves import evaluate_family
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training import curves
from mode_connectivity.training.alignment import align, check_function, drawn_batches
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.curves import CurveSource, open_curve, train_curve
from mode_connectivity.training.recipes import AlignmentSettings, CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.alignment import permute
from mode_connectivity.weight_space.curves import unit_grid
from mode_connectivity.weight_space.units import find_units

TRAINING = {"epochs": 2, "batch_size": 16, "learning_rate": 0.02}
MATCHINGS = pytest.mark.parametrize("matching", ["activations", "weights"])


def curve_settings(kind: str = "segment", **alignment) -> CurveSettings:
    training = {"training": TRAINING} if kind != "segment" else {}
    fields = {"kind": kind, "start": "a/1", "end": "a/2", "alignment": alignment, **training}
    return CurveSettings.model_validate(fields)


def units_of(workspace):
    inputs, _ = next(workspace.dataset.train.batches(2, window=1))
    return find_units(workspace.network, inputs)


@pytest.fixture
def make_pair(tmp_path, make_workspace):
    """Files of a network with statistics of its own, and of the same with its units permuted."""

    def make(network: str) -> CurveSource:
        workspace = make_workspace(network, seed=1)
        for name, buffer in workspace.network.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape))
        state = {name: tensor.clone() for name, tensor in workspace.network.state_dict().items()}
        groups = units_of(workspace).groups
        permuted = permute(state, groups, random_permutations(groups))
        assert any(not torch.equal(state[name], permuted[name]) for name in state)
        source = CurveSource(start=tmp_path / "one.safetensors", end=tmp_path / "other.safetensors")
        save_tensors(source.start, state, {})
        save_tensors(source.end, permuted, {})
        return source

    return make


@MATCHINGS
@pytest.mark.parametrize("network", ["plain", "batch_norm", "perceptron", "branches"])
def test_a_segment_to_a_permuted_copy_is_a_point(
    tmp_path, make_workspace, make_pair, network, matching
) -> None:
    workspace = make_workspace(network, seed=3)
    source = make_pair(network)
    apart = open_curve(curve_settings().model_copy(update={"alignment": None}), source, workspace)
    curve = open_curve(curve_settings(matching=matching), source, workspace)
    assert torch.equal(curve.vertices[0], curve.vertices[1])
    grids = [
        evaluate_family(
            each,
            unit_grid(3),
            workspace,
            TrainingSettings.model_validate(TRAINING),
            EvaluationSettings(batch_size=32),
            predictions=False,
            progress=Progress(tmp_path / name, name),
        ).grid
        for name, each in (("apart", apart), ("aligned", curve))
    ]
    # One network twice: nothing between them is another one, and without alignment it is.
    assert grids[1]["train_nll"].nunique() == 1
    assert grids[0]["train_nll"].nunique() > 1
    assert grids[0]["train_nll"][0] == grids[1]["train_nll"][0]


@MATCHINGS
def test_the_network_has_the_buffers_of_the_start(make_workspace, make_pair, matching) -> None:
    workspace = make_workspace("batch_norm", seed=3)
    source = make_pair("batch_norm")
    open_curve(curve_settings(matching=matching), source, workspace)
    start, _ = load_tensors(source.start)
    for name, buffer in workspace.network.named_buffers():
        assert torch.equal(buffer, start[name])


def test_both_networks_are_compared_with_the_statistics_of_their_own_trainings(
    make_workspace, make_pair, monkeypatch
) -> None:
    compared = []

    def keep(settings, workspace, first, second):
        compared.extend({name: t.clone() for name, t in s.items()} for s in (first, second))
        return second

    source = make_pair("batch_norm")
    monkeypatch.setattr(curves, "align", keep)
    open_curve(curve_settings(), source, make_workspace("batch_norm", seed=3))
    for state, path in zip(compared, (source.start, source.end), strict=True):
        expected, _ = load_tensors(path)
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", ["polychain", "bezier"])
def test_a_trained_curve_ends_in_the_permuted_network(
    tmp_path, make_workspace, make_pair, kind
) -> None:
    workspace = make_workspace("batch_norm", seed=3)
    source, settings = make_pair("batch_norm"), curve_settings(kind)
    train_curve(
        settings,
        workspace,
        source,
        vertices=tmp_path / "vertices.safetensors",
        history=tmp_path / "history.csv",
        snapshots=tmp_path / "snapshots",
        fingerprint="job",
    )
    vertices, metadata = load_tensors(tmp_path / "vertices.safetensors")
    assert json.loads(metadata["trainable"]) == [1]
    start, _ = load_tensors(source.start)
    end, _ = load_tensors(source.end)
    assert all(torch.equal(tensors[0], start[name]) for name, tensors in vertices.items())
    # Permuted back: the other network is the first one.
    assert all(torch.equal(tensors[2], start[name]) for name, tensors in vertices.items())
    assert any(not torch.equal(tensors[2], end[name]) for name, tensors in vertices.items())
    assert any(not torch.equal(tensors[1], tensors[0]) for tensors in vertices.values())
    # It is read as it was trained, without a second matching.
    curve = open_curve(settings, CurveSource(vertices=tmp_path / "vertices.safetensors"), workspace)
    assert len(curve.vertices) == 3


def test_two_networks_come_closer(make_workspace, caplog) -> None:
    workspace = make_workspace("plain")
    states = [dict(make_workspace("plain", seed=seed).network.state_dict()) for seed in (1, 2)]
    with caplog.at_level("INFO"):
        permuted = align(AlignmentSettings(matching="weights"), workspace, *states)

    def distance(one: dict[str, Tensor], other: dict[str, Tensor]) -> float:
        return sum((one[name] - other[name]).square().sum().item() for name in one)

    assert distance(states[0], permuted) < distance(*states)
    assert "aligned by weights: " in caplog.text
    assert "of 9 units in 2 groups moved" in caplog.text


def test_examples_are_drawn_at_random_and_no_more_than_asked_for(
    make_workspace, monkeypatch
) -> None:
    monkeypatch.setattr(AlignmentSettings, "batch_size", lambda self, numbers: 16)
    train = make_workspace("plain").dataset.train
    every = torch.cat([inputs for inputs, _ in train.batches(70, window=1)])

    def drawn(**options) -> Tensor:
        batches = drawn_batches(AlignmentSettings(**options), train)
        return torch.cat([inputs for inputs, _ in batches])

    def places(inputs: Tensor) -> list[int]:
        return [int(((every - each).flatten(1).abs().amax(1) == 0).nonzero()[0]) for each in inputs]

    assert len(drawn(examples=23)) == 23
    assert sorted(places(drawn(examples=500))) == list(range(70))
    assert torch.equal(drawn(examples=23), drawn(examples=23))
    assert places(drawn(examples=23)) != places(drawn(examples=23, seed=1))
    assert places(drawn(examples=23)) != list(range(23))


@pytest.mark.parametrize(
    ("numbers", "examples", "size"),
    [(3 * 32 * 32, 1000, 100), (3 * 224 * 224, 1000, 13), (3 * 32 * 32, 30, 30), (2**22, 9, 1)],
)
def test_fewer_large_images_are_compared_at_a_time(numbers, examples, size) -> None:
    assert AlignmentSettings(examples=examples).batch_size(numbers) == size


@MATCHINGS
def test_the_same_seed_gives_the_same_curve(make_workspace, tmp_path, matching) -> None:
    for seed in (1, 2):
        state = make_workspace("batch_norm", seed=seed).network.state_dict()
        save_tensors(tmp_path / f"{seed}.safetensors", state, {})
    source = CurveSource(start=tmp_path / "1.safetensors", end=tmp_path / "2.safetensors")
    settings = curve_settings(matching=matching, seed=5)
    curves = [open_curve(settings, source, make_workspace("batch_norm", seed=s)) for s in (3, 4)]
    assert torch.equal(curves[0].vertices, curves[1].vertices)


class Remembers(nn.Module):
    """Tells its units apart outside of all operations on tensors of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.output = nn.Linear(6, 2)
        self.first.register_forward_hook(lambda _, __, values: values * torch.arange(6.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.first(inputs).relu())


def test_a_permutation_that_changes_the_function_is_refused() -> None:
    network = Remembers()
    inputs = torch.randn(3, 4)
    state = {name: tensor.detach() for name, tensor in network.named_parameters()}
    groups = find_units(network, inputs).groups
    changed = permute(state, groups, random_permutations(groups))
    with pytest.raises(UserError, match=r"changes its outputs, of up to .*leave alignment out"):
        check_function(network, inputs, state, changed)
    check_function(network, inputs, state, state)


def test_every_aligned_network_is_checked(make_workspace) -> None:
    workspace = make_workspace("perceptron", seed=1)
    state = {name: tensor.clone() for name, tensor in workspace.network.named_parameters()}
    groups = units_of(workspace).groups
    other = permute(state, groups, random_permutations(groups))
    align(AlignmentSettings(), workspace, state, other)
    workspace.network[1].register_forward_hook(lambda _, __, values: values * torch.arange(5.0))
    with pytest.raises(UserError, match="changes its outputs"):
        align(AlignmentSettings(matching="weights"), workspace, state, other)


def test_a_recurrent_network_is_refused(make_workspace) -> None:
    workspace = make_workspace("recurrent")
    state = dict(workspace.network.state_dict())
    with pytest.raises(UserError, match=r"alignment: the network .* is recurrent"):
        align(AlignmentSettings(), workspace, state, state)
