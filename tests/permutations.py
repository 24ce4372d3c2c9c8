"""Random permutations of units, and networks in which no two units are alike."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mode_connectivity.networks import registry
from mode_connectivity.weight_space.units import Group

SMALL = {
    "fully_connected": ((1, 5, 4), {"hidden": [7, 6, 5]}),
    "lenet5": ((3, 32, 32), {"width": 0.5}),
    "preresnet": ((3, 16, 16), {"depth": 14, "width": 4, "block": "basic"}),
    "preresnet_bottleneck": ((3, 16, 16), {"depth": 20, "width": 3, "block": "bottleneck"}),
    "regression_mlp": ((1,), {"hidden": [6, 5, 4]}),
    "three_conv_three_fc": ((3, 32, 32), {"width": 0.02, "channels": [4, 5, 6]}),
    # Of 64x64 pixels, so that four positions of each channel are flattened.
    "vgg16": ((3, 64, 64), {"width": 3, "dropout": 0.3}),
    "vgg16_batch_norm": ((3, 32, 32), {"width": 3, "dropout": 0.3}),
    "vision_transformer": (
        (1, 16, 16),
        {"patch": 8, "layers": 2, "heads": 3, "width": 12, "hidden": 10},
    ),
    "wide_resnet": ((3, 16, 16), {"depth": 10, "width": 1, "dropout": 0.3}),
}
"""The feed-forward networks of the project: the shape of an example, and options."""


def small_network(name: str) -> nn.Module:
    """Build a network of `SMALL` in double precision, every number of it drawn."""
    shape, options = SMALL[name]
    network = registry.build(
        name.removesuffix("_bottleneck"), input_shape=shape, classes=5, **options
    )
    return drawn(network)


@torch.no_grad()
def drawn(network: nn.Module) -> nn.Module:
    """Draw what a new network has alike in all units: norms, statistics, zeros, some biases."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif tensor.is_floating_point() and (tensor.ndim < 2 or len(tensor.unique()) == 1):
            tensor.add_(0.3 * torch.randn(tensor.shape))
    return network.double().eval()


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return a copy of a network's parameters and buffers."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return {name: tensor.detach().clone() for name, tensor in tensors}


def random_permutations(groups: Sequence[Group], seed: int = 0) -> list[Tensor]:
    """Draw a permutation of each group that keeps units inside their heads."""
    generator = torch.Generator().manual_seed(seed)

    def draw(size: int) -> Tensor:
        drawn = torch.randperm(size, generator=generator)
        # Something moves in every group.
        return drawn.roll(1) if torch.equal(drawn, torch.arange(size)) else drawn

    heads: dict[str, Tensor] = {}
    permutations = []
    for group in groups:
        size = group.size // group.heads
        order = heads.setdefault(group.attention, draw(group.heads)) if group.attention else [0]
        permutations.append(torch.cat([int(head) * size + draw(size) for head in order]))
    return permutations
