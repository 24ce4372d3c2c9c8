"""Permutations of a network's units that bring it close to another network.

Networks trained from different seeds find like units in different orders. The order makes no
difference to a network, but much to what lies between two of them.
"""

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional

from mode_connectivity.weight_space.units import Group, Place, Reading, Units

State = Mapping[str, Tensor]
"""A network's parameters and buffers by name."""
Permutations = Sequence[Tensor]
"""For each group int64 [size]: which of its units comes to each place."""

_Uses = Sequence[tuple[int, Place]]
"""Where groups, by their number, index a tensor."""

_AT_ONCE = 1 << 20
"""Numbers that are converted to double precision at a time."""
_ROUNDING = 1e-10
"""Gains below this share of the largest that a group could have are taken for rounding."""


def permute(
    tensors: State, groups: Sequence[Group], permutations: Permutations
) -> dict[str, Tensor]:
    """Return a network's tensors with the units of its groups in another order.

    The network's function stays as it is.

    Args:
        tensors: parameters and buffers by name, or some of them; those without units are returned
            as they are.
        groups: the groups of the network.
        permutations: of each group.
    """
    uses = _uses_by_tensor(groups, statistics=True)
    return {
        name: _permuted(tensor, uses.get(name, ()), permutations)
        for name, tensor in tensors.items()
    }


def match_weights(
    groups: Sequence[Group], first: State, second: State, *, seed: int
) -> list[Tensor]:
    """Match units by their weights (Ainsworth et al. 2022, section 3.2, algorithm 1).

    Args:
        groups: the groups of both networks.
        first: the parameters that others are brought close to; buffers do not count.
        second: those whose units are permuted.
        seed: of the order in which groups are matched.

    Returns:
        The permutations of the second network's units.
    """
    *_, permutations = descend(groups, first, second, seed=seed)
    return permutations


def descend(
    groups: Sequence[Group], first: State, second: State, *, seed: int
) -> Iterator[list[Tensor]]:
    """Match units by their weights, and yield the permutations whenever a group has changed.

    Raises the scalar product of the two networks' parameters. With all other groups as they are,
    the best permutation of one group (of the heads of one attention and of the units inside them)
    solves a linear assignment; groups come up in random order until none changes.

    The authors begin with no unit moved, where a group's neighbours say nothing of how to match
    it. Here a first pass from input to output matches each group by what it shares with those
    before it: residual networks then end in better maxima. A parameter that one group indexes
    twice makes the product quadratic; such a group changes only if the product rises.

    Args:
        groups: as of `match_weights`.
        first: likewise.
        second: likewise.
        seed: likewise.
    """
    matching = _WeightMatching(groups, first, second)
    sets = _matched_together(groups)
    before: set[int] = set()
    for numbers in sets:
        matching.improve(numbers, before)
        before.update(numbers)
    yield list(matching.permutations)
    generator = torch.Generator().manual_seed(seed)
    waiting = {*range(len(sets))}
    while waiting:
        for index in torch.randperm(len(sets), generator=generator).tolist():
            if index not in waiting:
                continue
            waiting.remove(index)
            if matching.improve(sets[index]):
                waiting.update(
                    other
                    for other, numbers in enumerate(sets)
                    if matching.are_neighbours(sets[index], numbers)
                )
                yield list(matching.permutations)


class _WeightMatching:
    """Permutations of a second network's units that grow closer to a first one's.

    Attributes:
        permutations: of each group.
    """

    def __init__(self, groups: Sequence[Group], first: State, second: State) -> None:
        self.permutations = [torch.arange(group.size) for group in groups]
        self._groups = groups
        self._first, self._second = (
            {name: tensor.detach() for name, tensor in state.items()} for state in (first, second)
        )
        self._uses = _uses_by_tensor(groups)
        self._neighbours = {
            (one, other)
            for uses in self._uses.values()
            for one, place in uses
            for other, of_other in uses
            if place.axis != of_other.axis
        }

    def are_neighbours(self, numbers: Sequence[int], others: Sequence[int]) -> bool:
        """Tell whether a parameter has units of some groups on one axis, of others on another."""
        return any((one, other) in self._neighbours for one in numbers for other in others)

    def improve(self, numbers: Sequence[int], others: set[int] | None = None) -> bool:
        """Match groups of one attention, or a single group, anew, and tell whether that gained.

        Args:
            numbers: the groups.
            others: compare only what they share with these; with all if left out.
        """
        gains = [self._gains(number, others) for number in numbers]
        found = assign(gains, self._groups[numbers[0]].heads)
        before = [self.permutations[number] for number in numbers]
        gained = sum(
            _total(gain, new) - _total(gain, old)
            for gain, new, old in zip(gains, found, before, strict=True)
        )
        if gained <= _ROUNDING * sum(len(gain) * gain.abs().max().item() for gain in gains):
            return False
        # Where a group meets itself, the gain is only that of the first order.
        coupled = others is None and self.are_neighbours(numbers, numbers)
        product = self._product(numbers) if coupled else 0.0
        self._set(numbers, found)
        if coupled and self._product(numbers) <= product:
            self._set(numbers, before)
            return False
        return True

    def _set(self, numbers: Sequence[int], permutations: Permutations) -> None:
        for number, permutation in zip(numbers, permutations, strict=True):
            self.permutations[number] = permutation

    def _gains(self, number: int, others: set[int] | None) -> Tensor:
        """Return what each unit of the second network adds in each place, float64 [n, n]."""
        group = self._groups[number]
        gains = torch.zeros(group.size, group.size, dtype=torch.float64)
        for place in group.places:
            across = [use for use in self._uses[place.tensor] if use[1].axis != place.axis]
            if others is not None and any(other not in others for other, _ in across):
                continue
            mine = _units(self._first[place.tensor], place, group.size)
            theirs = _units(
                self._second[place.tensor], place, group.size, across, self.permutations
            )
            gains += _products(mine, theirs).cpu()
        return gains

    def _product(self, numbers: Sequence[int]) -> float:
        """Return the scalar product of the parameters that groups index."""
        total = 0.0
        for name, uses in self._uses.items():
            if any(number in numbers for number, _ in uses):
                theirs = _permuted(self._second[name], uses, self.permutations)
                mine = self._first[name].reshape(1, -1)
                total += _products(mine, theirs.reshape(1, -1)).item()
        return total


@torch.inference_mode()
def match_activations(
    network: nn.Module,
    units: Units,
    first: State,
    second: State,
    batches: Iterable[tuple[Tensor, Tensor]],
) -> list[Tensor]:
    """Match units by their values on examples (Ainsworth et al. 2022, section 3.1).

    Two units are alike as their values correlate over examples and positions. Each group is one
    linear assignment, each attention one of its heads, in every pair of which units are matched
    first. Ainsworth et al. compare values as they are; correlations, as Jordan et al. 2022 take
    them, do not depend on how a unit is scaled.

    Values are compared twice, and the correlations added: where a unit's value is complete (after
    normalisation, and in a residual stream after the last of what is added to it), as there even
    units that are seldom active differ; and behind the activation, as there the next layers read
    it. Of attention, queries and keys are compared in place of these, and values.

    Args:
        network: a network with these units; its own weights do not matter.
        units: the units of both networks.
        first: parameters and buffers that others are brought close to.
        second: those whose units are permuted.
        batches: inputs and targets; what is compared of a batch is held at once.

    Returns:
        The permutations of the second network's units.
    """
    observed = _Observed(network, units)
    states = [{f"network.{name}": tensor for name, tensor in s.items()} for s in (first, second)]
    device = next(iter(first.values())).device
    correlations = {
        reading: _Correlation(group.size, device)
        for group in units.groups
        for reading in group.readings
    }
    for inputs, _ in batches:
        mine, theirs = (functional_call(observed, state, (inputs,)) for state in states)
        for reading, correlation in correlations.items():
            correlation.add(mine.pop(reading), theirs.pop(reading))
    permutations = [torch.arange(group.size) for group in units.groups]
    for numbers in _matched_together(units.groups):
        groups = [units.groups[number] for number in numbers]
        likeness = [
            torch.stack([correlations[reading].matrix() for reading in group.readings]).sum(dim=0)
            for group in groups
        ]
        for number, found in zip(numbers, assign(likeness, groups[0].heads), strict=True):
            permutations[number] = found
    return permutations


class _Observed(nn.Module):
    """A network that returns the values of its units where they are compared."""

    def __init__(self, network: nn.Module, units: Units) -> None:
        super().__init__()
        self.network = network
        self._units = units

    def forward(self, inputs: Tensor) -> dict[Reading, Tensor]:
        reader = _Reader(self.network, self._units)
        reader.run(inputs)
        return reader.values


class _Reader(fx.Interpreter):
    """Runs a traced network and keeps the values of its units, with the units last."""

    def __init__(self, network: nn.Module, units: Units) -> None:
        super().__init__(network, graph=units.graph)
        self.values: dict[Reading, Tensor] = {}
        self._wanted: dict[str, list[tuple[Reading, int]]] = {}
        for group in units.groups:
            for reading in group.readings:
                self._wanted.setdefault(reading.node, []).append((reading, group.size))

    def run_node(self, n: fx.Node) -> object:
        """Run an operation, and keep what is to be compared of its output."""
        found = super().run_node(n)
        for reading, size in self._wanted.get(n.name, ()):
            values = found if reading.projection is None else self._projected(n, reading, size)
            chosen = values.narrow(reading.axis, reading.start, size)
            # A later operation may work in place.
            self.values[reading] = chosen.movedim(reading.axis, -1).clone()
        return found

    def _projected(self, node: fx.Node, reading: Reading, size: int) -> Tensor:
        """Return the queries, keys or values that an attention makes of its inputs."""
        layer = self.fetch_attr(str(node.target))
        arguments, options = self.fetch_args_kwargs_from_env(node)
        given = inspect.signature(layer.forward).bind(*arguments, **options).arguments
        assert reading.projection is not None
        inputs = given[("query", "key", "value")[reading.projection]]
        rows = slice(reading.projection * size, (reading.projection + 1) * size)
        bias = None if layer.in_proj_bias is None else layer.in_proj_bias[rows]
        return functional.linear(inputs, layer.in_proj_weight[rows], bias)


class _Correlation:
    """Correlations of the values of one network's units with those of another's."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._count = 0
        self._origin: Tensor | None = None
        self._sums, self._squares = torch.zeros(2, 2, size, dtype=torch.float64, device=device)
        self._products = torch.zeros(size, size, dtype=torch.float64, device=device)

    def add(self, first: Tensor, second: Tensor) -> None:
        """Add the values of the same examples, [..., n]."""
        step = max(1, _AT_ONCE // first.shape[-1])
        parts = (torch.split(values.flatten(0, -2), step) for values in (first, second))
        for pair in zip(*parts, strict=True):
            values = torch.stack(pair).double()
            if self._origin is None:
                self._origin = values[:, :1].clone()
            values -= self._origin
            self._count += values.shape[1]
            self._sums += values.sum(dim=1)
            self._squares += torch.linalg.vector_norm(values, dim=1).square()
            self._products.addmm_(values[0].T, values[1])

    def matrix(self) -> Tensor:
        """Return them, float64 [n, n] on the CPU; a unit whose value never changes has none."""
        means = self._sums / self._count
        variances = self._squares / self._count - means.square()
        deviations = variances.clamp_min(0.0).sqrt()
        scale = deviations[0].outer(deviations[1])
        covariances = self._products / self._count - means[0].outer(means[1])
        return torch.where(scale > 0.0, covariances / scale, 0.0).cpu()


def assign(gains: Sequence[Tensor], heads: int = 1) -> list[Tensor]:
    """Return the permutations that gain most in all.

    With several heads, units keep to their heads: those of each pair of heads are matched first,
    then the heads by what their units gain.

    Args:
        gains: of each group that has these heads: what its unit u gains at each place p, at
            [p, u], float64 [n, n].
        heads: equal shares of neighbouring units that are permuted as wholes, in the same order in
            every group.
    """
    if heads == 1:
        return [_assignment(gain) for gain in gains]
    blocks = [_blocks(gain, heads) for gain in gains]
    inside = [[[_assignment(pair) for pair in row] for row in of_group] for of_group in blocks]
    totals = torch.zeros(heads, heads, dtype=torch.float64)
    for of_group, found in zip(blocks, inside, strict=True):
        for place in range(heads):
            for head in range(heads):
                totals[place, head] += _total(of_group[place, head], found[place][head])
    order = enumerate(_assignment(totals).tolist())
    chosen = [*order]
    return [
        torch.cat([head * of_group.shape[-1] + found[place][head] for place, head in chosen])
        for of_group, found in zip(blocks, inside, strict=True)
    ]


def _blocks(gains: Tensor, heads: int) -> Tensor:
    """Return gains [n, n] by pair of heads, [heads, heads, n / heads, n / heads]."""
    units = len(gains) // heads
    return gains.view(heads, units, heads, units).transpose(1, 2)


def _assignment(gains: Tensor) -> Tensor:
    # Many jobs import this module, and few of them align networks.
    from scipy.optimize import linear_sum_assignment

    _, units = linear_sum_assignment(gains.numpy(), maximize=True)
    return torch.from_numpy(units)


def _total(gains: Tensor, permutation: Tensor) -> float:
    return gains.gather(1, permutation.unsqueeze(1)).sum().item()


def _uses_by_tensor(
    groups: Sequence[Group], *, statistics: bool = False
) -> dict[str, list[tuple[int, Place]]]:
    """Return where groups, by number, index each tensor; parameters, or also statistics."""
    uses: dict[str, list[tuple[int, Place]]] = {}
    for number, group in enumerate(groups):
        for place in (*group.places, *(group.statistics if statistics else ())):
            uses.setdefault(place.tensor, []).append((number, place))
    return uses


def _matched_together(groups: Sequence[Group]) -> list[list[int]]:
    """Return the numbers of the groups of each attention, and each other group alone."""
    sets: dict[object, list[int]] = {}
    for number, group in enumerate(groups):
        sets.setdefault(group.attention or number, []).append(number)
    return [*sets.values()]


def _permuted(tensor: Tensor, uses: _Uses, permutations: Permutations) -> Tensor:
    """Return a tensor with the units that index it in another order."""
    for axis in sorted({place.axis for _, place in uses}):
        order = torch.arange(tensor.shape[axis])
        for number, place in uses:
            if place.axis == axis:
                units = permutations[number].unsqueeze(1)
                moved = (units * place.repeats + torch.arange(place.repeats)).flatten()
                section = slice(place.start, place.start + len(moved))
                order[section] = order[section][moved]
        tensor = tensor.index_select(axis, order.to(tensor.device))
    return tensor


def _units(
    tensor: Tensor,
    place: Place,
    size: int,
    across: _Uses = (),
    permutations: Permutations = (),
) -> Tensor:
    """Return what a tensor holds of each unit at a place, [n, -1].

    Args:
        tensor: the tensor.
        place: where the units index it.
        size: how many they are.
        across: the groups that index its other axes.
        permutations: theirs.
    """
    section = tensor.narrow(place.axis, place.start, size * place.repeats)
    return _permuted(section, across, permutations).movedim(place.axis, 0).reshape(size, -1)


def _products(first: Tensor, second: Tensor) -> Tensor:
    """Return the scalar products of rows [n, m] with others, float64 [n, n]."""
    step = max(1, _AT_ONCE // len(first))
    products = torch.zeros(len(first), len(second), dtype=torch.float64, device=first.device)
    parts = (torch.split(rows, step, dim=1) for rows in (first, second))
    for one, other in zip(*parts, strict=True):
        products.addmm_(one.double(), other.double().T)
    return products
