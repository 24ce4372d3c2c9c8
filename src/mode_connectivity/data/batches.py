"""What batches of images have in common, wherever the images come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Batch = tuple[Tensor, Tensor]
"""Inputs and targets: float32 [B, C, H, W] and int64 [B]; of a text, both int64 [B, T]; of points,
float32 [B, D] and int64 [B] or float32 [B]."""


class _Images(Protocol):
    def batches(
        self, batch_size: int, *, memory_format: torch.memory_format
    ) -> Iterator[Batch]: ...


@dataclass(frozen=True, eq=False)
class Passes:
    """Batches that are made anew each time they are gone through."""

    examples: _Images
    batch_size: int
    memory_format: torch.memory_format

    def __iter__(self) -> Iterator[Batch]:
        return self.examples.batches(self.batch_size, memory_format=self.memory_format)


def normalise(
    images: Tensor,
    mean: Sequence[float],
    std: Sequence[float],
    memory_format: torch.memory_format,
) -> Tensor:
    """Return images as a network takes them: ``(pixels / 255 - mean) / std``.

    Args:
        images: uint8 [B, H, W, C].
        mean: of each channel.
        std: of each channel.
        memory_format: layout of the result.

    Returns:
        float32 [B, C, H, W].
    """
    width = images.shape[2]
    deviation = images.new_tensor(std, dtype=torch.float32)
    centre = images.new_tensor(mean, dtype=torch.float32)
    # Constants as wide as a row of pixels: broadcasting over a last dimension of three channels is
    # many times slower on a CPU.
    scale = (1 / (255 * deviation)).repeat(width)
    shift = (-centre / deviation).repeat(width)
    rows = images.reshape(*images.shape[:2], -1)
    normalised = torch.addcmul(shift, rows.float(), scale).view(images.shape)
    return normalised.permute(0, 3, 1, 2).contiguous(memory_format=memory_format)
