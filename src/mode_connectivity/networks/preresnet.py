"""Residual networks with pre-activation."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.composition import ParallelSum, residual_stages
from mode_connectivity.networks.registry import network


@network(title="PreResNet")
def preresnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    depth: int = 164,
    width: int = 16,
    block: Literal["auto", "basic", "bottleneck"] = "auto",
) -> nn.Sequential:
    """A pre-activation residual network of three stages.

    The PreResNet-110 and -164 of the code of Garipov et al. (2018), the ResNet-56 of Benton et al.
    (2021), and, with basic blocks, the ResNet-158 of Garipov's CIFAR-10 tables. A change of shape
    is bridged by a 1x1 convolution of the raw input; no convolution has a bias. The last pooling
    averages over whatever is left (8x8 in the papers), so that images of any size go in.

    Args:
        input_shape: ``(channels, height, width)`` of an image.
        classes: the number of logits.
        depth: the layers with weights, without those of shortcuts: 6n+2 with basic blocks, 9n+2
            with bottleneck blocks, for n blocks a stage.
        width: the channels of the first stage before expansion; the others have 2 and 4 times as
            many.
        block: ``basic`` (two 3x3 convolutions), ``bottleneck`` (1x1, 3x3, and 1x1 to four times
            the channels), or ``auto``: bottleneck from depth 44 on where the depth is 9n+2, as the
            authors have it, else basic.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the depth does not fit the blocks, or the width is below 1.
    """
    name = "preresnet"
    require(width >= 1, name, "width", width, "at least 1")
    bottleneck = block == "bottleneck" or (block == "auto" and depth >= 44 and depth % 9 == 2)
    layers_a_block = 9 if bottleneck else 6
    blocks, rest = divmod(depth - 2, layers_a_block)
    require(
        blocks >= 1 and rest == 0,
        name,
        "depth",
        depth,
        f"{layers_a_block}n+2 with {'bottleneck' if bottleneck else 'basic'} blocks, such as "
        f"{layers_a_block * max(blocks, 1) + 2} or {layers_a_block * max(blocks + 1, 2) + 2}",
    )
    channels, _, _ = image_shape(name, input_shape)
    make, expansion = (_bottleneck, 4) if bottleneck else (_basic, 1)
    widths = [expansion * factor * width for factor in (1, 2, 4)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["convolution"] = _convolution(channels, width, kernel_size=3)
    layers.update(residual_stages(width, widths, blocks, make))
    layers["batch_norm"] = nn.BatchNorm2d(widths[-1])
    layers["relu"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(layers)


def _basic(inputs: int, outputs: int, stride: int) -> ParallelSum:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        batch_norm1=nn.BatchNorm2d(inputs),
        relu1=nn.ReLU(inplace=True),
        convolution1=_convolution(inputs, outputs, kernel_size=3, stride=stride),
        batch_norm2=nn.BatchNorm2d(outputs),
        relu2=nn.ReLU(inplace=True),
        convolution2=_convolution(outputs, outputs, kernel_size=3),
    )
    return ParallelSum(residual=nn.Sequential(layers), shortcut=_shortcut(inputs, outputs, stride))


def _bottleneck(inputs: int, outputs: int, stride: int) -> ParallelSum:
    narrow = outputs // 4
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        batch_norm1=nn.BatchNorm2d(inputs),
        relu1=nn.ReLU(inplace=True),
        convolution1=_convolution(inputs, narrow, kernel_size=1),
        batch_norm2=nn.BatchNorm2d(narrow),
        relu2=nn.ReLU(inplace=True),
        convolution2=_convolution(narrow, narrow, kernel_size=3, stride=stride),
        batch_norm3=nn.BatchNorm2d(narrow),
        relu3=nn.ReLU(inplace=True),
        convolution3=_convolution(narrow, outputs, kernel_size=1),
    )
    return ParallelSum(residual=nn.Sequential(layers), shortcut=_shortcut(inputs, outputs, stride))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return _convolution(inputs, outputs, kernel_size=1, stride=stride)


def _convolution(inputs: int, outputs: int, *, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(
        inputs, outputs, kernel_size, stride=stride, padding=kernel_size // 2, bias=False
    )
