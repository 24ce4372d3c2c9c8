"""The network of three convolutions and three fully connected layers."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.registry import network


@network(title="3conv3fc")
def three_conv_three_fc(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    width: float = 1.0,
    channels: Sequence[int] = (32, 64, 128),
) -> nn.Sequential:
    """Three 5x5 convolutions, each with a 3x3 max-pool of stride 2, then three linear layers.

    Garipov et al. (2018), section 4.2 and figure 3, scale "each layer" (text) or "the
    fully-connected layers" (caption) to 1000 K units. Here K scales the two hidden linear layers
    only: the third one is the classifier, and the authors' code gives the convolutions 32, 64 and
    128 channels, not thousands.

    Args:
        input_shape: ``(channels, height, width)`` of an image, at least 15x15.
        classes: the number of logits.
        width: the factor K.
        channels: the channels of the three convolutions.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are too small or an option is out of range.
    """
    name = "three_conv_three_fc"
    units = round(1000 * width)
    require(units >= 1, name, "width", width, "a factor of 1000 units that leaves at least one")
    require(
        len(channels) == 3 and min(channels) >= 1,
        name,
        "channels",
        list(channels),
        "three numbers of at least 1",
    )
    inputs, *sides = image_shape(name, input_shape, smallest=15)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, outputs in enumerate(channels, start=1):
        layers[f"convolution{index}"] = nn.Conv2d(inputs, outputs, kernel_size=5, padding=2)
        layers[f"convolution_relu{index}"] = nn.ReLU(inplace=True)
        layers[f"pool{index}"] = nn.MaxPool2d(kernel_size=3, stride=2)
        inputs = outputs
        sides = [(side - 3) // 2 + 1 for side in sides]
    layers["flatten"] = nn.Flatten()
    layers["hidden1"] = nn.Linear(inputs * sides[0] * sides[1], units)
    layers["relu1"] = nn.ReLU(inplace=True)
    layers["hidden2"] = nn.Linear(units, units)
    layers["relu2"] = nn.ReLU(inplace=True)
    layers["output"] = nn.Linear(units, classes)
    return nn.Sequential(layers)
