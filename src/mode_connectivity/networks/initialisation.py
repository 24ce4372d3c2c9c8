"""How the weights of a network are drawn."""

from math import isfinite, prod, sqrt
from typing import Literal

from torch import nn

from mode_connectivity.settings import UserError, nearest

Scheme = Literal["torch", "fan_out", "fan_in"]

_SCHEMES = ("torch", "fan_out", "fan_in")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def initialise(network: nn.Module, scheme: Scheme, scale: float = 1.0) -> None:
    """Draw the weights of a new network, in place, from the global generator.

    - ``torch``: leave what PyTorch drew when the network was built.
    - ``fan_out``: convolutions from N(0, std = sqrt(2 / (kernel area * output channels))), their
      biases zero, batch norms 1 and 0, linear layers as PyTorch drew them. The code of Garipov et
      al. (2018) does so for every network but the wide ones, which it leaves at ``torch``.
    - ``fan_in``: convolutions and linear layers from N(0, std = sqrt(2 / n)) with n inputs to a
      neuron, all biases zero, batch norms 1 and 0: mode G of Gotmare et al. (2018), section 3,
      where the text calls the standard deviation a variance.

    Layers of other kinds stay as they are.

    Args:
        network: the network, changed in place.
        scheme: one of the above.
        scale: multiplies the standard deviations: 3 in Gotmare's mode E.

    Raises:
        UserError: there is no such scheme, the scale is not a positive number, or the scale is not
            1 where the scheme draws nothing.
    """
    if scheme not in _SCHEMES:
        raise UserError(
            f"initialisation scheme {scheme!r} is unknown; schemes: {', '.join(_SCHEMES)}"
            f"{nearest(scheme, _SCHEMES)}"
        )
    if not (isfinite(scale) and scale > 0):
        raise UserError(f"initialisation scale is {scale!r}; it must be a number above 0")
    if scheme == "torch":
        if scale != 1:
            raise UserError(
                f"initialisation scale is {scale!r}, but scheme 'torch' draws no weights to scale; "
                "choose scheme 'fan_in' or 'fan_out', or leave the scale at 1"
            )
        return
    for module in network.modules():
        if isinstance(module, _BATCH_NORMS):
            if module.affine:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)
        elif isinstance(module, _CONVOLUTIONS):
            outputs, *inputs = module.weight.shape
            fan = outputs * prod(module.kernel_size) if scheme == "fan_out" else prod(inputs)
            _draw(module, fan, scale)
        elif isinstance(module, nn.Linear) and scheme == "fan_in":
            _draw(module, module.in_features, scale)


def _draw(layer: nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.Linear, fan: int, scale: float) -> None:
    nn.init.normal_(layer.weight, std=scale * sqrt(2 / fan))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
