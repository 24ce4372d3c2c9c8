"""Networks that torchvision builds."""

from math import sqrt

from torch import nn

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.networks.checks import image_shape, require
from mode_connectivity.networks.registry import network
from mode_connectivity.settings import UserError


@network(title="ResNet-50")
def resnet50(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """ResNet-50 for ImageNet, as Garipov et al. (2018), section 6.1, take it from torchvision.

    Its published weights fit: initialisation scheme ``torchvision`` loads them. Those of the paper
    are ``ResNet50_Weights.IMAGENET1K_V1``, of 23.87 % top-1 error.

    Args:
        input_shape: ``(3, height, width)`` of an image; 224x224 for the published weights.
        classes: the number of logits.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images do not have three channels.
    """
    _require_colour("resnet50", input_shape, "preresnet")
    built: nn.Module = import_torchvision().models.resnet50(weights=None, num_classes=classes)
    return built


@network(title="ViT-B/16")
def vit_b_16(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The vision transformer ViT-B/16 (Benton et al. 2021, appendices B.3 and B.5).

    Torchvision's. Initialisation scheme ``torchvision`` loads its published weights, such as
    ``ViT_B_16_Weights.IMAGENET1K_V1``; with ``new_head: true`` for other classes than ImageNet's.

    Args:
        input_shape: ``(3, 224, 224)``.
        classes: the number of logits.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are of another shape.
    """
    _, *sides = _require_colour("vit_b_16", input_shape, "vision_transformer")
    if sides != [224, 224]:
        raise UserError(
            f"network 'vit_b_16': images are {sides[0]}x{sides[1]}; it takes 224x224: set "
            "image_size: 224 of the data set, or choose network 'vision_transformer'"
        )
    built: nn.Module = import_torchvision().models.vit_b_16(weights=None, num_classes=classes)
    return built


@network(title="ViT")
def vision_transformer(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    patch: int = 4,
    layers: int = 4,
    heads: int = 4,
    width: int = 64,
    hidden: int = 128,
) -> nn.Module:
    """Torchvision's vision transformer at any size, for images of any number of channels.

    Layer norm, no batch norm, no dropout. As in torchvision, the last layer begins at zero.

    Args:
        input_shape: ``(channels, side, side)`` of an image.
        classes: the number of logits.
        patch: the side of a patch in pixels; it divides the image's.
        layers: the encoder blocks.
        heads: the attention heads; they divide the width.
        width: the length of a patch's embedding.
        hidden: the hidden units of a block's perceptron.

    Returns:
        A network from ``[batch, *input_shape]`` to ``[batch, classes]``.

    Raises:
        UserError: the images are not square, or an option does not fit.
    """
    name = "vision_transformer"
    channels, height, side = image_shape(name, input_shape)
    if height != side:
        raise UserError(
            f"network {name!r}: images are {height}x{side}; it takes square ones: set image_size "
            "of the data set"
        )
    require(
        patch >= 1 and side % patch == 0, name, "patch", patch, f"a divisor of the side, {side}"
    )
    for option, value in (("layers", layers), ("hidden", hidden), ("width", width)):
        require(value >= 1, name, option, value, "at least 1")
    require(
        heads >= 1 and width % heads == 0, name, "heads", heads, f"a divisor of the width, {width}"
    )
    built: nn.Module = import_torchvision().models.VisionTransformer(
        image_size=side,
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=hidden,
        num_classes=classes,
    )
    if channels != 3:
        # Torchvision's takes colour only; drawn as its own is.
        patches = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)
        nn.init.trunc_normal_(patches.weight, std=sqrt(1 / (channels * patch**2)))
        assert patches.bias is not None
        nn.init.zeros_(patches.bias)
        built.conv_proj = patches
    return built


def _require_colour(
    name: str, input_shape: tuple[int, ...], alternative: str
) -> tuple[int, int, int]:
    channels, height, width = image_shape(name, input_shape)
    if channels != 3:
        raise UserError(
            f"network {name!r}: images have {channels} channel(s); it takes colour images, of 3; "
            f"choose another network, such as {alternative!r}"
        )
    return channels, height, width
