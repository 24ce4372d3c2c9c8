"""Networks for a function of one variable."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mode_connectivity.networks.checks import require
from mode_connectivity.networks.registry import network
from mode_connectivity.settings import UserError


class HalfAndSquare(nn.Module):
    """The features x / 2 and (x / 2)^2 of an input x."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Return [batch, 2] for inputs [batch, 1]."""
        half = inputs / 2
        return torch.cat([half, half.square()], dim=1)


@network(title="MLP")
def regression_mlp(
    *, input_shape: tuple[int, ...], classes: int, hidden: Sequence[int] = (200, 50, 50, 50)
) -> nn.Sequential:
    """Linear layers with ReLU on the features x / 2 and (x / 2)^2 of one variable.

    The network of the code of Izmailov et al. (2019) for their regression, which Benton et al.
    (2021), section 6.1, repeat: 15,801 parameters.

    Args:
        input_shape: ``(1,)``.
        classes: the number of outputs, 1 of a regression.
        hidden: the widths of the hidden layers, from input to output.

    Returns:
        A network from ``[batch, 1]`` to ``[batch, classes]``.

    Raises:
        UserError: an example is not one number, or a width is below 1.
    """
    if tuple(input_shape) != (1,):
        raise UserError(
            f"network 'regression_mlp': examples have the shape {tuple(input_shape)}; it takes one "
            "number, (1,); choose network 'fully_connected' for other shapes"
        )
    require(
        all(width >= 1 for width in hidden),
        "regression_mlp",
        "hidden",
        list(hidden),
        "widths of at least 1",
    )
    layers: OrderedDict[str, nn.Module] = OrderedDict(features=HalfAndSquare())
    inputs = 2
    for index, outputs in enumerate(hidden, start=1):
        layers[f"hidden{index}"] = nn.Linear(inputs, outputs)
        layers[f"relu{index}"] = nn.ReLU(inplace=True)
        inputs = outputs
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
