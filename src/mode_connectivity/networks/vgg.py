"""VGG-16 for small images, with and without batch norm."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.registry import network


@network(title="VGG-16")
def vgg16(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    width: int = 64,
    convolutions: Sequence[int] = (2, 2, 3, 3, 3),
    hidden_layers: int = 2,
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-16 without batch norm: 13 convolutions of 3x3 and three linear layers.

    The form of Garipov et al. (2018) and Benton et al. (2021) for CIFAR: hidden linear layers of
    512 units rather than 4096, dropout before each of them, biases everywhere.

    Args:
        input_shape: ``(channels, height, width)`` of an image, at least 32x32 with five blocks.
        classes: the number of logits.
        width: the channels of the first block; the blocks have 1, 2, 4, 8, 8 times as many, the
            hidden linear layers 8 times.
        convolutions: the convolutions of each block; a block ends in a 2x2 max-pool.
        hidden_layers: the linear layers between the convolutions and the last linear layer.
        dropout: the probability that a hidden unit is dropped in training.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are too small or an option is out of range.
    """
    return _vgg(
        "vgg16", input_shape, classes, width, convolutions, hidden_layers, dropout, batch_norm=False
    )


@network(title="VGG-16 (batch norm)")
def vgg16_batch_norm(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    width: int = 64,
    convolutions: Sequence[int] = (2, 2, 3, 3, 3),
    hidden_layers: int = 2,
    dropout: float = 0.5,
) -> nn.Sequential:
    """VGG-16 with batch norm between each convolution and its ReLU.

    Gotmare et al. (2018) do not say whether theirs has batch norm, but their mode E (weights drawn
    three times as wide) cannot be trained without. Garipov's code has a batch-norm form whose
    forward pass skips half of the layers; here all of them run.

    Args:
        input_shape: ``(channels, height, width)`` of an image, at least 32x32 with five blocks.
        classes: the number of logits.
        width: the channels of the first block; the blocks have 1, 2, 4, 8, 8 times as many, the
            hidden linear layers 8 times.
        convolutions: the convolutions of each block; a block ends in a 2x2 max-pool.
        hidden_layers: the linear layers between the convolutions and the last linear layer.
        dropout: the probability that a hidden unit is dropped in training.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are too small or an option is out of range.
    """
    return _vgg(
        "vgg16_batch_norm",
        input_shape,
        classes,
        width,
        convolutions,
        hidden_layers,
        dropout,
        batch_norm=True,
    )


def _vgg(
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    width: int,
    convolutions: Sequence[int],
    hidden_layers: int,
    dropout: float,
    *,
    batch_norm: bool,
) -> nn.Sequential:
    require(width >= 1, name, "width", width, "at least 1")
    require(hidden_layers >= 0, name, "hidden_layers", hidden_layers, "at least 0")
    require(0 <= dropout < 1, name, "dropout", dropout, "at least 0 and below 1")
    require(
        len(convolutions) >= 1 and min(convolutions) >= 1,
        name,
        "convolutions",
        list(convolutions),
        "one number of at least 1 for each block",
    )
    shrinkage = 2 ** len(convolutions)
    inputs, *sides = image_shape(
        name, input_shape, smallest=shrinkage, remedy=", or give 'convolutions' fewer blocks"
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index, count in enumerate(convolutions):
        outputs = width * min(2**index, 8)
        layers[f"block{index + 1}"] = _block(inputs, outputs, count, batch_norm=batch_norm)
        inputs = outputs
    inputs *= (sides[0] // shrinkage) * (sides[1] // shrinkage)
    layers["flatten"] = nn.Flatten()
    for index in range(1, hidden_layers + 1):
        layers[f"dropout{index}"] = nn.Dropout(dropout)
        layers[f"hidden{index}"] = nn.Linear(inputs, 8 * width)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        inputs = 8 * width
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)


def _block(inputs: int, outputs: int, convolutions: int, *, batch_norm: bool) -> nn.Sequential:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for index in range(1, convolutions + 1):
        layers[f"convolution{index}"] = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
        if batch_norm:
            layers[f"batch_norm{index}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        inputs = outputs
    layers["pool"] = nn.MaxPool2d(kernel_size=2)
    return nn.Sequential(layers)
