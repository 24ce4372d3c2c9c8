"""Pointwise convolutions with a stride, which PyTorch's CPU kernels get wrong for few channels."""

from functools import partial
from typing import Any

from torch import Tensor, nn

SAFE_CHANNELS = 16
"""Input channels from which on oneDNN's kernel is right everywhere: its block on AVX-512."""


def subsample_before_pointwise(network: nn.Module) -> None:
    """Let strided 1x1 convolutions of few channels take every stride-th pixel, and then no stride.

    That is the same function of the same parameters. With the stride, where images in channels-last
    layout have less than 8 channels (AVX2) or 16 (AVX-512), the gradient of the weights makes
    oneDNN write beyond the end of a buffer (its issue 6035, in PyTorch 2.13): the process dies, or
    the gradient is wrong.

    Args:
        network: changed in place; names and shapes of its parameters stay.
    """
    for module in network.modules():
        if (
            isinstance(module, nn.Conv2d)
            and module.kernel_size == (1, 1)
            and module.stride != (1, 1)
            and module.padding in ((0, 0), 0)
            and module.in_channels // module.groups < SAFE_CHANNELS
        ):
            module.register_forward_pre_hook(partial(_subsample, strides=module.stride))
            module.stride = (1, 1)


def _subsample(
    module: nn.Module, inputs: tuple[Any, ...], *, strides: tuple[int, ...]
) -> tuple[Tensor]:
    (images,) = inputs
    down, across = strides
    return (images[..., ::down, ::across],)
