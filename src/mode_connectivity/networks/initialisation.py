"""How the weights of a network are drawn, or where they are taken from."""

import hashlib
import re
from math import isfinite, prod, sqrt
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

import torch
from torch import nn

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.settings import UserError, nearest

Scheme = Literal["torch", "fan_out", "fan_in", "torchvision"]

_SCHEMES = ("torch", "fan_out", "fan_in", "torchvision")
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def initialise(
    network: nn.Module,
    scheme: Scheme,
    scale: float = 1.0,
    weights: str = "",
    *,
    new_head: bool = False,
    download: bool = False,
) -> None:
    """Draw the weights of a new network, in place, from the global generator, or load them.

    - ``torch``: leave what PyTorch drew when the network was built.
    - ``fan_out``: convolutions from N(0, std = sqrt(2 / (kernel area * output channels))), their
      biases zero, batch norms 1 and 0, linear layers as PyTorch drew them. The code of Garipov et
      al. (2018) does so for every network but the wide ones, which it leaves at ``torch``.
    - ``fan_in``: convolutions and linear layers from N(0, std = sqrt(2 / n)) with n inputs to a
      neuron, all biases zero, batch norms 1 and 0: mode G of Gotmare et al. (2018), section 3,
      where the text calls the standard deviation a variance.
    - ``torchvision``: load weights that torchvision publishes. Garipov et al. (2018), section 6.1,
      begin with its ResNet-50 of 23.87 % top-1 error on ImageNet: that of an accuracy of 76.130 %,
      ``ResNet50_Weights.IMAGENET1K_V1``; V2 is of a later and better training.

    Layers of other kinds stay as they are.

    Args:
        network: the network, changed in place.
        scheme: one of the above.
        scale: multiplies the standard deviations: 3 in Gotmare's mode E.
        weights: torchvision's name of the weights; for scheme ``torchvision``, and only there.
        new_head: keep the last linear layer as it was drawn, for other classes than those of the
            published weights; for scheme ``torchvision``.
        download: whether these weights may be fetched where they are not in PyTorch's folder of
            downloads (``hub/checkpoints`` below the environment's ``TORCH_HOME``).

    Raises:
        UserError: there is no such scheme, the scale is not a positive number, the scale is not 1
            where the scheme draws nothing, or the weights are unknown, missing, altered or of
            another network.
    """
    if scheme not in _SCHEMES:
        raise UserError(
            f"initialisation scheme {scheme!r} is unknown; schemes: {', '.join(_SCHEMES)}"
            f"{nearest(scheme, _SCHEMES)}"
        )
    if not (isfinite(scale) and scale > 0):
        raise UserError(f"initialisation scale is {scale!r}; it must be a number above 0")
    if (scheme == "torchvision") != bool(weights):
        raise UserError(
            f"initialisation scheme {scheme!r} has weights {weights!r}; scheme 'torchvision' needs "
            "their name, such as ResNet50_Weights.IMAGENET1K_V1, and no other scheme takes one"
        )
    if scheme in ("torch", "torchvision"):
        if scale != 1:
            raise UserError(
                f"initialisation scale is {scale!r}, but scheme {scheme!r} draws no weights to "
                "scale; choose scheme 'fan_in' or 'fan_out', or leave the scale at 1"
            )
        if scheme == "torchvision":
            _load_published(network, weights, new_head, download)
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


def _load_published(network: nn.Module, name: str, new_head: bool, download: bool) -> None:
    published = _published(name)
    file = Path(torch.hub.get_dir(), "checkpoints", Path(urlparse(published.url).path).name)
    if file.is_file():
        _check_digest(file)
    elif not download:
        raise UserError(
            f"weights {name}: there is no file {file}. Fetch {published.url} and put it there, or "
            "set `download: true`."
        )
    try:
        state = published.get_state_dict(
            progress=False, check_hash=True, weights_only=True, map_location="cpu"
        )
    # Network, disk and file each fail in their own ways.
    except Exception as error:
        raise UserError(
            f"weights {name}: {published.url} cannot be read as {file} "
            f"({type(error).__name__}: {error}). Check the network and the disk, or fetch the file "
            "by hand and put it there."
        ) from error
    if new_head:
        own = network.state_dict()
        *_, head = (part for part, layer in network.named_modules() if isinstance(layer, nn.Linear))
        state |= {key: value for key, value in own.items() if key.startswith(f"{head}.")}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"weights {name} do not fit the network: {error}\n"
            "Choose the network, and a data set of as many classes, that they were trained for; "
            "for other classes set `new_head: true`."
        ) from error


def _published(name: str) -> Any:
    models = import_torchvision().models
    try:
        return models.get_weight(name)
    except (ValueError, KeyError, TypeError) as error:
        known = [
            f"{weights.__name__}.{version}"
            for model in models.list_models()
            for weights in [models.get_model_weights(model)]
            for version in weights.__members__
        ]
        raise UserError(
            f"weights {name!r} are unknown to torchvision; they are named such as "
            f"ResNet50_Weights.IMAGENET1K_V1{nearest(name, known)}"
        ) from error


def _check_digest(file: Path) -> None:
    """Compare a file with the beginning of its SHA-256 digest that its name has."""
    expected = re.search(r"-([0-9a-f]{8,})\.", file.name)
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if expected and not found.startswith(expected[1]):
        raise UserError(
            f"{file}: its SHA-256 digest begins with {found[: len(expected[1])]}, not with "
            f"{expected[1]} as its name says. Delete it, and fetch it again."
        )
