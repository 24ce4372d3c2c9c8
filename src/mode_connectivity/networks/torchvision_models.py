"""Networks for ImageNet, built by torchvision."""

from torch import nn

from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.networks.checks import image_shape
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
    channels, _, _ = image_shape("resnet50", input_shape)
    if channels != 3:
        raise UserError(
            f"network 'resnet50': images have {channels} channel(s); it takes colour images, of 3; "
            "choose another network, such as 'preresnet'"
        )
    built: nn.Module = import_torchvision().models.resnet50(weights=None, num_classes=classes)
    return built
