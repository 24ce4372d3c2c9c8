"""Matchings against permutations that are known, brute force and statistics computed otherwise."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from permutations import SMALL, drawn, random_permutations, small_network, state_of
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mode_connectivity.weight_space.alignment import (
    assign,
    descend,
    match_activations,
    match_weights,
    permute,
)
from mode_connectivity.weight_space.units import Units, find_units

State = dict[str, Tensor]


def examples(shape: tuple[int, ...], count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *shape, generator=generator, dtype=torch.float64)


def batches(inputs: Tensor, size: int) -> list[tuple[Tensor, Tensor]]:
    return [(part, torch.zeros(len(part))) for part in inputs.split(size)]


def product(first: State, second: State, network: nn.Module) -> float:
    """The scalar product of two networks' parameters, which matching by weights raises."""
    names = [name for name, _ in network.named_parameters()]
    return sum((first[name] * second[name]).sum().item() for name in names)


@pytest.fixture(params=SMALL)
def permuted(request) -> tuple[nn.Module, Units, tuple[int, ...], State, State]:
    """A network, its units, the shape of its inputs, its tensors, and these permuted."""
    name = request.param
    network, (shape, _) = small_network(name), SMALL[name]
    units = find_units(network, examples(shape, 2))
    first = state_of(network)
    second = permute(first, units.groups, random_permutations(units.groups))
    return network, units, shape, first, second


def assert_undone(units: Units, first: State, second: State, found: list[Tensor]) -> None:
    back = permute(second, units.groups, found)
    assert all(torch.equal(back[name], first[name]) for name in first)


def test_matching_by_weights_undoes_a_permutation(permuted) -> None:
    _, units, _, first, second = permuted
    assert_undone(units, first, second, match_weights(units.groups, first, second, seed=0))


def test_a_pass_from_input_to_output_is_enough_for_that(permuted) -> None:
    _, units, _, first, second = permuted
    found = next(descend(units.groups, first, second, seed=0))
    assert_undone(units, first, second, found)


def test_matching_by_activations_undoes_a_permutation(permuted) -> None:
    network, units, shape, first, second = permuted
    inputs = batches(examples(shape, 40, seed=1), 16)
    found = match_activations(network, units, first, second, inputs)
    assert_undone(units, first, second, found)


def test_single_precision_and_channels_last_do_as_well() -> None:
    network = small_network("vgg16_batch_norm").float().to(memory_format=torch.channels_last)
    units = find_units(network, examples((3, 32, 32), 2).float())
    first = state_of(network)
    second = permute(first, units.groups, random_permutations(units.groups))
    assert_undone(units, first, second, match_weights(units.groups, first, second, seed=0))
    inputs = batches(examples((3, 32, 32), 40).float(), 16)
    found = match_activations(network, units, first, second, inputs)
    assert_undone(units, first, second, found)


def test_a_permutation_says_which_unit_comes_to_each_place() -> None:
    network = drawn(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)))
    (group,) = find_units(network, examples((2,), 2)).groups
    tensors = {
        "0.weight": torch.tensor([[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]]),
        "0.bias": torch.tensor([0.0, 10.0, 20.0]),
        "2.weight": torch.tensor([[0.0, 10.0, 20.0]]),
        "2.bias": torch.tensor([5.0]),
    }
    after = permute(tensors, [group], [torch.tensor([2, 0, 1])])
    assert after["0.weight"].tolist() == [[20.0, 21.0], [0.0, 1.0], [10.0, 11.0]]
    assert after["0.bias"].tolist() == [20.0, 0.0, 10.0]
    assert after["2.weight"].tolist() == [[20.0, 0.0, 10.0]]
    assert after["2.bias"] is tensors["2.bias"]


@pytest.fixture(params=["fully_connected", "preresnet", "vision_transformer"])
def pair(request) -> tuple[nn.Module, Units, tuple[int, ...], State, State]:
    """Two networks of one kind that have nothing to do with each other."""
    name = request.param
    network, other = small_network(name), small_network(name)
    shape, _ = SMALL[name]
    return (
        network,
        find_units(network, examples(shape, 2)),
        shape,
        state_of(network),
        state_of(other),
    )


def test_no_step_lowers_the_product(pair) -> None:
    network, units, _, first, second = pair
    products = [
        product(first, permute(second, units.groups, found), network)
        for found in descend(units.groups, first, second, seed=0)
    ]
    assert product(first, second, network) < products[-1]
    assert all(after > before for before, after in itertools.pairwise(products))


def test_no_group_can_be_bettered(pair) -> None:
    """Neither by an exchange of two units, nor of two heads."""
    network, units, _, first, second = pair
    found = match_weights(units.groups, first, second, seed=0)
    best = product(first, permute(second, units.groups, found), network)
    attentions = {group.attention for group in units.groups if group.attention}
    tried = 0
    for attention in attentions:
        numbers = [n for n, group in enumerate(units.groups) if group.attention == attention]
        heads = units.groups[numbers[0]].heads
        for one, other in itertools.combinations(range(heads), 2):
            changed = list(found)
            for number in numbers:
                blocks = list(found[number].chunk(heads))
                blocks[one], blocks[other] = blocks[other], blocks[one]
                changed[number] = torch.cat(blocks)
            after = product(first, permute(second, units.groups, changed), network)
            assert after <= best + 1e-9
            tried += 1
    for number, group in enumerate(units.groups):
        size = group.size // group.heads
        for one, other in itertools.combinations(range(group.size), 2):
            if one // size != other // size:
                continue
            changed = list(found)
            changed[number] = found[number].clone()
            changed[number][[one, other]] = found[number][[other, one]]
            after = product(first, permute(second, units.groups, changed), network)
            assert after <= best + 1e-9
            tried += 1
    assert tried > 30


def test_the_best_permutation_of_one_group_is_found() -> None:
    network, other = (
        drawn(nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))) for _ in range(2)
    )
    units = find_units(network, examples((3,), 2))
    first, second = state_of(network), state_of(other)
    found = match_weights(units.groups, first, second, seed=0)
    products = {
        order: product(first, permute(second, units.groups, [torch.tensor(order)]), network)
        for order in itertools.permutations(range(5))
    }
    assert tuple(found[0].tolist()) == max(products, key=products.__getitem__)


class Twice(nn.Module):
    """A residual layer whose weight has the same units on both axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 6)
        self.inner = nn.Linear(6, 6)
        self.output = nn.Linear(6, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs)
        return self.output(hidden + self.inner(hidden).relu())


@pytest.mark.parametrize("seed", range(5))
def test_units_on_both_axes_of_a_weight(seed) -> None:
    torch.manual_seed(seed)
    network, other = drawn(Twice()), drawn(Twice())
    with torch.no_grad():
        other.inner.weight.mul_(5.0)
    units = find_units(network, examples((4,), 2))
    first, second = state_of(network), state_of(other)
    products = [
        product(first, permute(second, units.groups, found), network)
        for found in descend(units.groups, first, second, seed=0)
    ]
    assert all(after > before for before, after in itertools.pairwise(products))
    moved = permute(first, units.groups, random_permutations(units.groups, seed))
    assert_undone(units, first, moved, match_weights(units.groups, first, moved, seed=0))


def test_the_same_seed_matches_alike(pair) -> None:
    network, units, shape, first, second = pair
    found = [match_weights(units.groups, first, second, seed=3) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    inputs = batches(examples(shape, 20), 7)
    found = [match_activations(network, units, first, second, inputs) for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_heads_are_permuted_as_wholes() -> None:
    network, other = (small_network("vision_transformer") for _ in range(2))
    shape, _ = SMALL["vision_transformer"]
    units = find_units(network, examples(shape, 2))
    first, second = state_of(network), state_of(other)
    inputs = batches(examples(shape, 30), 30)
    for found in (
        match_weights(units.groups, first, second, seed=0),
        match_activations(network, units, first, second, inputs),
    ):
        orders: dict[str, list[list[int]]] = {}
        for group, permutation in zip(units.groups, found, strict=True):
            assert permutation.sort().values.tolist() == list(range(group.size))
            if group.attention:
                heads = permutation.div(group.size // group.heads, rounding_mode="floor")
                by_head = heads.view(group.heads, -1)
                assert (by_head == by_head[:, :1]).all()
                orders.setdefault(group.attention, []).append(by_head[:, 0].tolist())
        assert all(one == other for one, other in orders.values())
        assert len(orders) == 2


def correlations(one: list[Tensor], other: list[Tensor]) -> np.ndarray:
    """By numpy, of values [N, C] or [N, C, H, W] of several batches."""
    columns = [
        torch.cat([v.flatten(2).transpose(1, 2).flatten(0, 1) if v.ndim > 2 else v for v in values])
        for values in (one, other)
    ]
    size = columns[0].shape[1]
    with np.errstate(invalid="ignore"):
        found = np.corrcoef(columns[0].T, columns[1].T)[:size, size:]
    # Of units that are never active.
    return np.nan_to_num(found)


def test_units_are_compared_before_and_after_their_nonlinearity() -> None:
    """Against modules' own outputs, numpy's correlations and an assignment of their sum."""

    def build() -> nn.Module:
        return drawn(
            nn.Sequential(
                nn.Conv2d(3, 6, 3),
                nn.BatchNorm2d(6),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2),
                nn.Flatten(),
                nn.Linear(6 * 9, 8),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(8, 4),
            )
        )

    network = build()
    first, second = state_of(network), state_of(build())
    inputs = examples((3, 8, 8), 25)
    units = find_units(network, inputs[:2])
    compared: list[list[dict[int, Tensor]]] = []
    for state in (first, second):
        network.load_state_dict(state)
        kept: list[dict[int, Tensor]] = []
        with torch.no_grad():
            for part in inputs.split(10):
                values, outputs = part, {}
                for index, module in enumerate(network):
                    values = module(values.clone())
                    outputs[index] = values.clone()
                kept.append(outputs)
        compared.append(kept)
    found = match_activations(network, units, first, second, batches(inputs, 10))
    for permutation, before, after in zip(found, (1, 5), (2, 6), strict=True):
        likeness = sum(
            correlations(*([outputs[index] for outputs in kept] for kept in compared))
            for index in (before, after)
        )
        _, expected = linear_sum_assignment(likeness, maximize=True)
        assert permutation.tolist() == expected.tolist()


@pytest.mark.parametrize("scale", [0.0, 1e-4])
def test_units_that_hardly_change(scale) -> None:
    """A constant unit is like none; of others the smallest change counts, wherever they stand."""
    network = drawn(nn.Sequential(nn.Linear(2, 5), nn.ReLU(), nn.Linear(5, 2)))
    constant = [1] if scale == 0.0 else [1, 2, 3]
    with torch.no_grad():
        network[0].weight[constant] *= scale
        network[0].bias[constant] = 1e7
    first = state_of(network)
    units = find_units(network, examples((2,), 2))
    second = permute(first, units.groups, [torch.tensor([1, 3, 0, 4, 2])])
    inputs = batches(examples((2,), 50), 20)
    assert_undone(units, first, second, match_activations(network, units, first, second, inputs))


GAINS = arrays.arrays(np.float64, (2, 6, 6), elements=st.integers(-9, 9).map(float))


@given(gains=arrays.arrays(np.float64, (4, 4), elements=st.integers(-9, 9).map(float)))
@settings(deadline=None)
def test_an_assignment_gains_as_much_as_any(gains) -> None:
    (found,) = assign([torch.from_numpy(gains)])
    rows = np.arange(4)
    best = max(gains[rows, list(order)].sum() for order in itertools.permutations(range(4)))
    assert gains[rows, found].sum() == best


@given(gains=GAINS)
@settings(deadline=None, max_examples=30)
def test_heads_and_units_inside_them_gain_as_much_as_any(gains) -> None:
    """Two groups of two heads of three units, against all of their permutations."""
    found = assign([torch.from_numpy(each) for each in gains], heads=2)
    total = sum(
        gain[np.arange(6), permutation].sum()
        for gain, permutation in zip(gains, found, strict=True)
    )
    inside = list(itertools.permutations(range(3)))
    best = max(
        sum(
            max(
                sum(gain[3 * place + row, 3 * head + column] for row, column in enumerate(order))
                for order in inside
            )
            for gain in gains
            for place, head in enumerate(heads)
        )
        for heads in itertools.permutations(range(2))
    )
    assert total == best
