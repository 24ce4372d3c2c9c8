"""Random crops and flips of whole batches, as index arithmetic on the images' device.

Garipov et al. (2018) and Benton et al. (2021) augment CIFAR with torchvision's RandomCrop and
RandomHorizontalFlip, one PIL image at a time; the functions here do the same to a batch. Pixels
stay uint8, and the border of a crop is black before normalisation, as it is there.
"""

import torch
from torch import Tensor
from torch.nn import functional

from mode_connectivity.data.settings import AugmentationSettings


def draw(
    settings: AugmentationSettings, count: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Draw what happens to each of ``count`` images, on the generator's device.

    Returns:
        A tensor for each transform, in the order of application: ``flip`` is bool [count];
        ``crop`` is int64 [count, 2], the row and column where the window begins in the padded
        image, uniform on 0 .. 2 * crop_padding.
    """
    device = generator.device
    drawn = {}
    for transform in settings.transforms:
        if transform == "flip":
            drawn["flip"] = torch.rand(count, generator=generator, device=device) < 0.5
        else:
            places = 2 * settings.crop_padding + 1
            drawn["crop"] = torch.randint(places, (count, 2), generator=generator, device=device)
    return drawn


def augment(images: Tensor, drawn: dict[str, Tensor], crop_padding: int) -> Tensor:
    """Apply what :func:`draw` drew, in its order, to images uint8 [B, H, W, C]."""
    for transform, values in drawn.items():
        images = flip(images, values) if transform == "flip" else crop(images, values, crop_padding)
    return images


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirror left and right those images [B, H, W, C] where ``flipped``, bool [B], is true."""
    # Gathering whole images is three times as fast on a CPU as torch.where with a broadcast mask.
    both = torch.cat([images, images.flip(2)])
    return both.index_select(
        0, torch.arange(len(images), device=images.device) + len(images) * flipped
    )


def crop(images: Tensor, offsets: Tensor, padding: int) -> Tensor:
    """Pad images [B, H, W, C] with zeros and cut a window [H, W] out of each.

    Args:
        images: The images.
        offsets: int64 [B, 2], the first row and column of each window in the padded image.
        padding: Width of the border on each side, in pixels.
    """
    count, height, width, _ = images.shape
    padded = functional.pad(images, (0, 0, padding, padding, padding, padding))
    # Every window of every image as a view [B, 2p+1, 2p+1, C, H, W]: one gather picks windows
    # whole, three times as fast on a CPU as indexing pixels.
    windows = padded.unfold(1, height, 1).unfold(2, width, 1)
    picked = windows[torch.arange(count, device=images.device), offsets[:, 0], offsets[:, 1]]
    return picked.permute(0, 2, 3, 1).contiguous()
