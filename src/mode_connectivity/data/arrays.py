"""Data sets on the device, and normalised batches of them.

Images stay uint8 on the device; a batch is gathered, augmented and normalised there, so there are
no loader processes. Texts and image files on disk are examples of other kinds with the same
methods, which is all that training and evaluation ask for.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from mode_connectivity.data import prepared_file
from mode_connectivity.data.augmentation import augment, draw
from mode_connectivity.data.batches import Batch, Passes, normalise
from mode_connectivity.data.points import Plot, PointExamples
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.data.token_stream import TokenStream

_BYTES_MADE_AT_ONCE = 2**25


class Examples(Protocol):
    """What training and evaluation ask of a data set's part.

    Attributes:
        targets: what is to be predicted, int64 [N], or float32 [N] of a regression.
    """

    @property
    def targets(self) -> Tensor: ...  # noqa: D102

    def __len__(self) -> int:
        """Return how many targets there are."""

    def iterations(self, batch_size: int, *, window: int) -> int:
        """Return the number of batches of a pass for training."""

    def batches(
        self,
        batch_size: int,
        *,
        window: int,
        shuffle: bool = False,
        augmentation: AugmentationSettings | None = None,
        generator: torch.Generator | None = None,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterator[Batch]:
        """Go once through the examples, for training."""

    def prepared_batches(
        self,
        batch_size: int,
        *,
        memory_budget: int = 2**30,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterable[Batch]:
        """Return batches, in order and not augmented, to be gone through many times."""


@dataclass(frozen=True, eq=False)
class ImageExamples:
    """Labelled images on one device.

    Attributes:
        images: uint8 [N, H, W, C].
        targets: int64 [N].
        mean: Mean of each channel, of pixels scaled to [0, 1].
        std: Standard deviation of each channel, likewise.
    """

    images: Tensor
    targets: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.targets)

    def iterations(self, batch_size: int, *, window: int) -> int:
        """Return the number of batches of a pass; images have no window."""
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

        The order and the augmentation of the whole pass are drawn when this is called, not while
        the batches are taken, so the generator's state afterwards depends on nothing else.

        Args:
            batch_size: Number of examples in a batch.
            window: Of texts; images have none.
            shuffle: Take the examples in random order, otherwise as they are stored.
            augmentation: Random changes of the images; None for none.
            generator: Source of all randomness, on the device of the images.
            memory_format: Layout of the inputs. ``torch.channels_last`` is the cheaper one, as
                images are stored that way.

        Returns:
            Pairs of inputs float32 [B, C, H, W], ``(pixels / 255 - mean) / std``, and targets
            int64 [B].

        Raises:
            ValueError: randomness is asked for without a generator.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        order = None
        drawn: dict[str, Tensor] = {}
        if shuffle or (augmentation and augmentation.transforms):
            if generator is None:
                raise ValueError("shuffling and augmentation need a generator")
            if shuffle:
                order = torch.randperm(len(self), generator=generator, device=self.images.device)
            if augmentation:
                drawn = draw(augmentation, len(self), generator)
        padding = augmentation.crop_padding if augmentation else 0
        return self._generate(batch_size, order, drawn, padding, memory_format)

    def prepared_batches(
        self,
        batch_size: int,
        *,
        memory_budget: int = 2**30,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterable[Batch]:
        """Return batches, in order and not augmented, to be gone through many times.

        Normalising a batch takes as long as the forward pass of a small network, so a grid of
        points is evaluated on batches that are normalised once and kept.

        Args:
            batch_size: Number of examples in a batch.
            memory_budget: Bytes the inputs may take; beyond it each pass makes them anew.
            memory_format: Layout of the inputs.
        """
        if 4 * self.images.numel() <= memory_budget:
            return list(self.batches(batch_size, memory_format=memory_format))
        return Passes(self, batch_size, memory_format)

    def _generate(
        self,
        batch_size: int,
        order: Tensor | None,
        drawn: dict[str, Tensor],
        crop_padding: int,
        memory_format: torch.memory_format,
    ) -> Iterator[Batch]:
        at_once = _examples_made_at_once(
            batch_size, math.prod(self.images.shape[1:]), self.images.device
        )
        for start in range(0, len(self), at_once):
            part = slice(start, start + at_once)
            if order is None:
                images, targets = self.images[part], self.targets[part]
            else:
                images = self.images.index_select(0, order[part])
                targets = self.targets.index_select(0, order[part])
            images = augment(
                images, {name: values[part] for name, values in drawn.items()}, crop_padding
            )
            inputs = normalise(images, self.mean, self.std, memory_format)
            for first in range(0, len(targets), batch_size):
                batch = slice(first, first + batch_size)
                yield inputs[batch], targets[batch]


def _examples_made_at_once(batch_size: int, example_bytes: int, device: torch.device) -> int:
    # On an accelerator, launching a batch's few small kernels takes longer than running them, so
    # several batches are made at once; on a CPU one batch at a time stays in the cache.
    if device.type == "cpu":
        return batch_size
    return batch_size * max(1, _BYTES_MADE_AT_ONCE // (batch_size * example_bytes))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in its parts.

    Attributes:
        train: The training examples.
        test: The test examples, or the validation examples where the settings ask for them.
        classes: Names of the classes, or words of the vocabulary; target k is the k-th. None of a
            regression.
        input_shape: Channels, height and width of one input; nothing for a text.
        validation: The validation examples, of texts.
        plot: Where figures show a network as a function, of data sets small enough for that.
    """

    train: Examples
    test: Examples
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    validation: Examples | None = None
    plot: Plot | None = None

    @property
    def outputs(self) -> int:
        """How many numbers a network gives for an input.

        One for a regression, and for two classes of points: the logit of the second class, as the
        two-spirals network of Benton et al. 2021 has it.
        """
        return 1 if isinstance(self.train, PointExamples) else len(self.classes)

    @property
    def parts(self) -> dict[str, Examples]:
        """The parts that there are, by name, in the order in which they are reported."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in parts.items() if part is not None}


def load_dataset(path: Path, device: torch.device) -> Dataset:
    """Read a prepared data set onto the device; on the CPU it is mapped, not copied.

    Raises:
        UserError: the file is missing, cut short, damaged, or not a prepared data set.
    """
    tensors, metadata = prepared_file.read(path)
    match metadata["format"]:
        case prepared_file.TEXT_FORMAT:
            return _load_text(tensors, metadata, device)
        case prepared_file.IMAGE_FILES_FORMAT:
            from mode_connectivity.data.image_files import load_image_files

            train_files, test_files, classes, shape = load_image_files(tensors, metadata, device)
            return Dataset(train_files, test_files, classes, shape)
        case prepared_file.POINTS_FORMAT | prepared_file.REGRESSION_FORMAT:
            return _load_points(tensors, metadata, device)
    mean, std = (tuple(json.loads(metadata[name])) for name in ("mean", "std"))
    train, test = (
        ImageExamples(
            images=tensors[f"{split}_images"].to(device),
            targets=tensors[f"{split}_labels"].to(device),
            mean=mean,
            std=std,
        )
        for split in ("train", "test")
    )
    _, height, width, channels = train.images.shape
    return Dataset(
        train=train,
        test=test,
        classes=tuple(json.loads(metadata["classes"])),
        input_shape=(channels, height, width),
    )


def _load_text(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], device: torch.device
) -> Dataset:
    vocabulary = tuple(json.loads(metadata["vocabulary"]))
    train, validation, test = (
        TokenStream(tensors[f"{part}_tokens"].to(device), len(vocabulary))
        for part in ("train", "validation", "test")
    )
    return Dataset(train, test, vocabulary, input_shape=(), validation=validation)


def _load_points(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], device: torch.device
) -> Dataset:
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    of_classes = "train_labels" in tensors
    targets = "labels" if of_classes else "targets"
    train, test = (
        PointExamples(
            tensors[f"{part}_inputs"],
            tensors[f"{part}_{targets}"],
            None if of_classes else float(json.loads(metadata["noise_variance"])),
        )
        for part in ("train", "test")
    )
    return Dataset(
        train,
        test,
        classes=tuple(json.loads(metadata["classes"])) if of_classes else (),
        input_shape=tuple(train.inputs.shape[1:]),
        plot=Plot(tensors["plot_inputs"], tensors.get("plot_targets")),
    )
