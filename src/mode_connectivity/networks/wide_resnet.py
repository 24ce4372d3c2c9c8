"""Wide residual networks."""

from collections import OrderedDict
from functools import partial

from torch import nn

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.composition import ParallelSum, residual_stages
from mode_connectivity.networks.registry import network


@network(title="WRN")
def wide_resnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    depth: int = 28,
    width: int = 10,
    dropout: float = 0.0,
) -> nn.Sequential:
    """A wide residual network, WRN-28-10 by default, in the form of Garipov's code.

    That form departs from Zagoruyko & Komodakis (2016): every convolution has a bias, and the
    second convolution of a block carries the stride, not the first, which costs 13% more
    arithmetic. It is kept, for the published numbers are its numbers (36,489,290 parameters for 10
    classes). The last pooling averages over whatever is left, so that images of any size go in.

    Args:
        input_shape: ``(channels, height, width)`` of an image.
        classes: the number of logits.
        depth: the layers with weights, without those of shortcuts: 6n+4 for n blocks a stage.
        width: the factor by which the stages are wider than 16, 32 and 64 channels.
        dropout: the probability that an activation between the two convolutions of a block is
            dropped in training.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: an option is out of range.
    """
    name = "wide_resnet"
    require(width >= 1, name, "width", width, "at least 1")
    require(0 <= dropout < 1, name, "dropout", dropout, "at least 0 and below 1")
    blocks, rest = divmod(depth - 4, 6)
    require(
        blocks >= 1 and rest == 0,
        name,
        "depth",
        depth,
        f"6n+4, such as {6 * max(blocks, 1) + 4} or {6 * max(blocks + 1, 2) + 4}",
    )
    channels, _, _ = image_shape(name, input_shape)
    widths = [16 * width, 32 * width, 64 * width]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["convolution"] = nn.Conv2d(channels, 16, kernel_size=3, padding=1)
    layers.update(residual_stages(16, widths, blocks, partial(_block, dropout=dropout)))
    # The reference's momentum for this one layer: its statistics are nearly the last batch's.
    layers["batch_norm"] = nn.BatchNorm2d(widths[-1], momentum=0.9)
    layers["relu"] = nn.ReLU(inplace=True)
    layers["pool"] = nn.AdaptiveAvgPool2d(1)
    layers["flatten"] = nn.Flatten()
    layers["output"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(layers)


def _block(inputs: int, outputs: int, stride: int, *, dropout: float) -> ParallelSum:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        batch_norm1=nn.BatchNorm2d(inputs),
        relu1=nn.ReLU(inplace=True),
        convolution1=nn.Conv2d(inputs, outputs, kernel_size=3, padding=1),
        dropout=nn.Dropout(dropout),
        batch_norm2=nn.BatchNorm2d(outputs),
        relu2=nn.ReLU(inplace=True),
        convolution2=nn.Conv2d(outputs, outputs, kernel_size=3, stride=stride, padding=1),
    )
    shortcut: nn.Module = nn.Identity()
    if stride != 1 or inputs != outputs:
        shortcut = nn.Conv2d(inputs, outputs, kernel_size=1, stride=stride)
    return ParallelSum(residual=nn.Sequential(layers), shortcut=shortcut)
