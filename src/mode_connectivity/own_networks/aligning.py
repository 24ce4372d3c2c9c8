"""A network of a user's own, its units permuted to match those of another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from mode_connectivity.own_networks.opening import OwnNetworks
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training.alignment import align
from mode_connectivity.training.networks import NETWORK_FORMAT
from mode_connectivity.training.recipes import AlignmentSettings


@dataclass(frozen=True)
class Alignment:
    """What permuting the units of a network has changed.

    Attributes:
        before: distance between the two networks in weight space.
        after: the same, with the second one permuted.
    """

    before: float
    after: float


def align_network(
    networks: OwnNetworks, first: Path, second: Path, settings: AlignmentSettings, output: Path
) -> Alignment:
    """Permute the units of a network to match those of another, and write its weights.

    Args:
        networks: the networks' architecture and data.
        first: weights of the network that stays.
        second: those of the other; as a function it stays the same.
        settings: how units are matched.
        output: takes the permuted weights and buffers.

    Raises:
        UserError: the weights do not fit the network, what permutations do to it is not known, or
            the output exists.
    """
    if output.exists():
        raise UserError(f"{output} exists; give another --output, or delete it")
    networks.check(first, second)
    flat = networks.workspace.flat
    fixed, moving = (
        {name: tensor.to(flat.vector.device) for name, tensor in load_tensors(path)[0].items()}
        for path in (first, second)
    )
    permuted = align(settings, networks.workspace, fixed, moving)
    save_tensors(output, permuted, {"format": NETWORK_FORMAT})
    return Alignment(*(_distance(fixed, each, flat.names) for each in (moving, permuted)))


def _distance(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], names: Iterable[str]
) -> float:
    squares = [(first[name].double() - second[name].double()).square().sum() for name in names]
    return float(torch.stack(squares).sum().sqrt())
