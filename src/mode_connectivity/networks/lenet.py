"""LeNet-5."""

from collections import OrderedDict

from torch import nn

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.composition import ParallelSum
from mode_connectivity.networks.registry import network


@network(title="LeNet-5")
def lenet5(*, input_shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Sequential:
    """LeNet-5 with two parallel branches in its middle.

    The form of the code of Benton et al. (2021) for section B.1, with 64,122 parameters on 1x32x32
    images; it returns logits where theirs returns their log-softmax. Unlike LeCun et al. (1998) it
    has ReLU, max-pooling, and two full second convolutions whose outputs are added.

    Args:
        input_shape: ``(channels, height, width)`` of an image, at least 32x32.
        classes: the number of logits.
        width: the factor on the channels and hidden units, which are 6, 16, 120 and 84.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are too small or the width leaves a layer empty.
    """
    narrow, middle, broad, hidden = (round(units * width) for units in (6, 16, 120, 84))
    require(
        narrow >= 1, "lenet5", "width", width, "a factor of 6 channels that leaves at least one"
    )
    channels, *sides = image_shape("lenet5", input_shape, smallest=32)
    rows, columns = (((side - 4) // 2 - 4) // 2 - 4 for side in sides)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    layers["convolution1"] = nn.Conv2d(channels, narrow, kernel_size=5)
    layers["relu1"] = nn.ReLU(inplace=True)
    layers["pool1"] = nn.MaxPool2d(kernel_size=2)
    layers["branches"] = ParallelSum(first=_branch(narrow, middle), second=_branch(narrow, middle))
    layers["convolution3"] = nn.Conv2d(middle, broad, kernel_size=5)
    layers["relu3"] = nn.ReLU(inplace=True)
    layers["flatten"] = nn.Flatten()
    layers["hidden"] = nn.Linear(broad * rows * columns, hidden)
    layers["relu4"] = nn.ReLU(inplace=True)
    layers["output"] = nn.Linear(hidden, classes)
    return nn.Sequential(layers)


def _branch(inputs: int, outputs: int) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        convolution2=nn.Conv2d(inputs, outputs, kernel_size=5),
        relu2=nn.ReLU(inplace=True),
        pool2=nn.MaxPool2d(kernel_size=2),
    )
    return nn.Sequential(layers)
