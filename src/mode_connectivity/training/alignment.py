"""The end of a curve, permuted to match its start."""

import logging
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from mode_connectivity.data.arrays import Examples
from mode_connectivity.data.batches import Batch
from mode_connectivity.settings import UserError
from mode_connectivity.training.loop import derive_seed
from mode_connectivity.training.networks import Workspace
from mode_connectivity.training.recipes import AlignmentSettings
from mode_connectivity.weight_space.alignment import (
    State,
    match_activations,
    match_weights,
    permute,
)
from mode_connectivity.weight_space.units import find_units

logger = logging.getLogger(__name__)

CHECKED = 4
"""Examples on which a permuted network is compared with what it was."""


def align(
    settings: AlignmentSettings, workspace: Workspace, first: State, second: State
) -> dict[str, Tensor]:
    """Return a network's parameters and buffers, its units permuted to match those of another.

    Args:
        settings: how units are matched.
        workspace: the network, whose own weights do not matter, and the data set.
        first: parameters and buffers of the network that stays.
        second: those of the other.

    Raises:
        UserError: what permutations do to the network is not known.
    """
    network, examples = workspace.network, workspace.dataset.train
    inputs, _ = next(examples.batches(CHECKED, window=1))
    units = find_units(network, inputs)
    groups = units.groups
    if settings.matching == "weights":
        permutations = match_weights(groups, first, second, seed=settings.seed)
    else:
        batches = drawn_batches(settings, examples)
        permutations = match_activations(network, units, first, second, batches)
    permuted = permute(second, groups, permutations)
    check_function(network, inputs, second, permuted)
    moved = sum((found != torch.arange(len(found))).sum().item() for found in permutations)
    logger.info(
        "aligned by %s: %d of %d units in %d groups moved",
        settings.matching,
        moved,
        sum(group.size for group in groups),
        len(groups),
    )
    return permuted


def drawn_batches(settings: AlignmentSettings, examples: Examples) -> Iterator[Batch]:
    """Yield the examples on which units are matched, drawn at random and not augmented.

    Args:
        settings: how many, and the seed.
        examples: the training set; where it has fewer, all of it.
    """
    first, _ = next(examples.batches(1, window=1))
    seed = derive_seed(settings.seed, "alignment")
    left = settings.examples
    for inputs, targets in examples.batches(
        settings.batch_size(first.numel()),
        window=1,
        shuffle=True,
        generator=torch.Generator(examples.targets.device).manual_seed(seed),
        memory_format=torch.channels_last,
    ):
        yield inputs[:left], targets[:left]
        left -= len(inputs)
        if left <= 0:
            return


@torch.inference_mode()
def check_function(network: nn.Module, inputs: Tensor, before: State, after: State) -> None:
    """Refuse a permutation that has changed what a network computes.

    Tracing knows every operation, but not what a network of a user's own does outside of them.

    Args:
        network: the network.
        inputs: a few examples.
        before: its parameters and buffers.
        after: the permuted ones.

    Raises:
        UserError: the outputs are others, by more than rounding.
    """
    network.eval()
    outputs, permuted = (functional_call(network, dict(s), (inputs,)) for s in (before, after))
    scale = outputs.abs().max().item()
    difference = (permuted - outputs).abs().max().item()
    if not difference <= 1e-3 * scale:
        raise UserError(
            f"alignment: permuting the units of this network changes its outputs, of up to "
            f"{scale:.3g}, by {difference:.3g}: it does more than its operations show; leave "
            "alignment out of its curves"
        )
