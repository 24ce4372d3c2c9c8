"""Examples whose inputs are a few numbers each, with classes or values as targets."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mode_connectivity.data.batches import Batch
from mode_connectivity.data.settings import AugmentationSettings


@dataclass(frozen=True, eq=False)
class PointExamples:
    """Points of a small space on one device.

    Attributes:
        inputs: float32 [N, D].
        targets: int64 [N] where they are classes, float32 [N] where they are values.
        noise_variance: of the Gaussian likelihood of the values; None where targets are classes.
    """

    inputs: Tensor
    targets: Tensor
    noise_variance: float | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def iterations(self, batch_size: int, *, window: int) -> int:
        """Return the number of batches of a pass; points have no window."""
        return math.ceil(len(self) / batch_size)

    def batches(
        self,
        batch_size: int,
        *,
        window: int = 1,
        shuffle: bool = False,
        augmentation: AugmentationSettings | None = None,
        generator: torch.Generator | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterator[Batch]:
        """Go once through the examples; the last batch may be smaller.

        Args:
            batch_size: number of examples in a batch.
            window: of texts; points have none.
            shuffle: take the examples in random order, otherwise as they are stored.
            augmentation: of images; points have none.
            generator: source of the order, on the device of the inputs.
            memory_format: of images.

        Returns:
            Pairs of inputs float32 [B, D] and targets [B].

        Raises:
            ValueError: transforms are asked for, or shuffling without a generator.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        if augmentation is not None and augmentation.transforms:
            raise ValueError(
                f"points are not augmented, but {augmentation.transforms} is asked for"
            )
        if not shuffle:
            return self._cut(self.inputs, self.targets, batch_size)
        if generator is None:
            raise ValueError("shuffling needs a generator")
        order = torch.randperm(len(self), generator=generator, device=self.targets.device)
        return self._cut(self.inputs[order], self.targets[order], batch_size)

    def prepared_batches(
        self,
        batch_size: int,
        *,
        memory_budget: int = 2**30,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterable[Batch]:
        """Return batches, in order, to be gone through many times."""
        return list(self.batches(batch_size))

    @staticmethod
    def _cut(inputs: Tensor, targets: Tensor, batch_size: int) -> Iterator[Batch]:
        for start in range(0, len(targets), batch_size):
            part = slice(start, start + batch_size)
            yield inputs[part], targets[part]


@dataclass(frozen=True, eq=False)
class Plot:
    """Where a picture shows a network as a function of its inputs.

    Attributes:
        inputs: float32 [G, D].
        targets: the true function there, float32 [G], where there is one.
    """

    inputs: Tensor
    targets: Tensor | None = None
