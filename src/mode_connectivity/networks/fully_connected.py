"""Fully connected networks."""

from collections import OrderedDict
from collections.abc import Sequence
from math import prod

from torch import nn

from mode_connectivity.networks.checks import require
from mode_connectivity.networks.registry import network


@network(title="FC")
def fully_connected(
    *, input_shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (500, 500)
) -> nn.Sequential:
    """Linear layers with ReLU between them, on the flattened example.

    Garipov et al. (2018), table 2, name an FC network for MNIST without its layers, so the default
    widths are ours. With ``hidden`` of seven times 25, inputs ``(2,)`` and one logit it is the
    two-spirals network of Benton et al. (2021), section 5.3 (4,001 parameters).

    Args:
        input_shape: the shape of one example, of any length.
        classes: the number of logits.
        hidden: the widths of the hidden layers, from input to output; none gives a linear model.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: a width is below 1.
    """
    require(
        all(width >= 1 for width in hidden),
        "fully_connected",
        "hidden",
        list(hidden),
        "widths of at least 1",
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    inputs = prod(input_shape)
    for index, outputs in enumerate(hidden, start=1):
        layers[f"hidden{index}"] = nn.Linear(inputs, outputs)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        inputs = outputs
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
