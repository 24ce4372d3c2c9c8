"""Batch-norm statistics of a point in weight space."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the network's layers that keep running statistics of their batches."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
    ]


@torch.inference_mode()
def reestimate_statistics(network: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Replace the running statistics by their mean over a pass through the data.

    Weights between two networks have statistics of their own, which no training has seen. The
    mean weighs each batch by its size (Garipov et al. 2018, section 3.1; the authors'
    ``update_bn``). Unlike there, only the batch-norm layers are in training mode: dropout stays
    off. The network is left in evaluation mode.

    Args:
        network: the network, with the weights of the point.
        batches: inputs and targets of the training set.
    """
    layers = batch_norms(network)
    momenta = [layer.momentum for layer in layers]
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.train()
    seen = 0
    for inputs, _ in batches:
        seen += len(inputs)
        for layer in layers:
            layer.momentum = len(inputs) / seen
        network(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
