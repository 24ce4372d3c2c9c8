"""Data sets of image files that are too large for memory, ImageNet above all.

Preparing one lists and checks its files; training and evaluation read them from disk batch by
batch. Training images are changed as in torchvision's reference training of ImageNet networks,
test images as in its evaluation.
"""

import json
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mode_connectivity.data import prepared_file
from mode_connectivity.data.batches import Batch, Passes, normalise
from mode_connectivity.data.settings import AugmentationSettings, ImageFilesSettings
from mode_connectivity.data.sources import (
    Images,
    class_names,
    list_images,
    read_image,
    resize_image,
)
from mode_connectivity.files import canonical_json
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError

_IMAGENET = {"classes": 1_000, "training images": 1_281_167, "validation images": 50_000}
_ORDER_SEED = 0
_CHECKED_AT_ONCE = 1_000
_UNREADABLE_TOLD = 10

_BATCHES_AHEAD = 2
_AREA = (0.08, 1.0)
_ASPECT = (3 / 4, 4 / 3)
_DRAWS = 10


def prepare_image_files(settings: ImageFilesSettings, *, data_root: Path, output: Path) -> None:
    """List the images of a data set, check them, and write the list, whole or not at all.

    Images are listed in a fixed random order, as those of an in-memory folder tree are stored.

    Args:
        settings: The data set.
        data_root: The folder that holds the user's data.
        output: The prepared file, see :mod:`mode_connectivity.data.prepared_file`.

    Raises:
        UserError: a folder, a class or its images are missing, ImageNet is not whole, an image
            cannot be read, or the file cannot be written.
    """
    tree = (data_root / (settings.folder or settings.source)).absolute()
    train, test = _part_folders(tree, settings)
    classes = class_names(train, test, settings.title)
    # The legacy generator, because NumPy promises that its stream never changes.
    generator = np.random.RandomState(_ORDER_SEED)
    train_paths, train_labels = list_images(train, classes, generator)
    test_paths, test_labels = list_images(test, classes, generator)
    if settings.source == "imagenet":
        _check_imagenet(tree, settings, len(classes), len(train_paths), len(test_paths))
    if settings.verify:
        _check_readable(train_paths + test_paths, settings)
    prepared_file.write(
        output,
        tensors={
            "train_paths": _packed(train_paths, tree),
            "train_labels": train_labels,
            "test_paths": _packed(test_paths, tree),
            "test_labels": test_labels,
        },
        metadata={
            "settings": canonical_json(settings.model_dump(mode="json")),
            "folder": str(tree),
            "classes": canonical_json(classes),
            "mean": canonical_json(settings.constants.mean),
            "std": canonical_json(settings.constants.std),
            "image_size": str(settings.image_size),
            "resize": str(settings.resize),
        },
        format=prepared_file.IMAGE_FILES_FORMAT,
    )


def _part_folders(tree: Path, settings: ImageFilesSettings) -> tuple[Path, Path]:
    # ImageNet's own `test` has no labels, so `val` comes first.
    tests = [tree / name for name in ("val", "test") if (tree / name).is_dir()]
    train = tree / "train"
    if train.is_dir() and tests:
        return train, tests[0]
    lacking = "train" if tests else "val" if train.is_dir() else "train and val"
    origin = (
        " ImageNet is given to those who register at image-net.org (ILSVRC 2012, classification)."
        if settings.source == "imagenet"
        else ""
    )
    raise UserError(
        f"{settings.title}: {tree} has no folder {lacking}. Looked for {tree}/train/<class>/<image>"
        f" and {tree}/val/<class>/<image> (or test in place of val). Put the images there, or name "
        f"another `folder` below the data root.{origin}"
    )


def _check_imagenet(tree: Path, settings: ImageFilesSettings, *found: int) -> None:
    problems = [
        f"{count:,} {what} where there are {expected:,}"
        for count, (what, expected) in zip(found, _IMAGENET.items(), strict=True)
        if count != expected
    ]
    if problems:
        raise UserError(
            f"{settings.title}: {tree} is not the whole of ImageNet (ILSVRC 2012): "
            f"{'; '.join(problems)}. Unpack the archives again, or read a data set of your own "
            "with source image_files."
        )


def _check_readable(paths: list[Path], settings: ImageFilesSettings) -> None:
    def faults(part: list[Path]) -> list[str]:
        found = []
        for path in part:
            try:
                read_image(path, None)
            except UserError as error:
                found.append(str(error))
        return found

    parts = [
        paths[first : first + _CHECKED_AT_ONCE] for first in range(0, len(paths), _CHECKED_AT_ONCE)
    ]
    unreadable = []
    checked = Steps("image", len(paths))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for part, found in zip(parts, threads.map(faults, parts), strict=True):
            unreadable += found
            checked.add(len(part))
    if unreadable:
        rest = len(unreadable) - _UNREADABLE_TOLD
        raise UserError(
            f"{settings.title}: {len(unreadable):,} of {len(paths):,} images cannot be read:\n  "
            + "\n  ".join(unreadable[:_UNREADABLE_TOLD])
            + (f"\n  and {rest:,} more" if rest > 0 else "")
        )


def _packed(paths: list[Path], tree: Path) -> NDArray[np.uint8]:
    start = len(os.fsencode(tree)) + 1
    text = b"".join(os.fsencode(path)[start:] + b"\0" for path in paths)
    return np.frombuffer(bytearray(text), dtype=np.uint8)


def centre_crop(image: Image.Image, resize: int, size: int) -> Image.Image:
    """Scale an image's shorter side and cut out its centre, as torchvision's evaluation does.

    Args:
        image: The image.
        resize: Length of the shorter side after scaling, in pixels; at least ``size``.
        size: Side of the square that is cut out, in pixels.
    """
    shorter = min(image.size)
    width, height = (int(resize * side / shorter) for side in image.size)
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def draw_window(width: int, height: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw the window of an image that training sees.

    Its area is uniform on 8 to 100 % of the image's, its aspect ratio between 3/4 and 4/3 (Szegedy
    et al. 2015, section 6), and its place uniform. As in torchvision, the aspect ratio's logarithm
    is uniform, and where none of ten such windows fits, the largest one in the centre is taken
    that has an allowed aspect ratio.

    Args:
        width: Of the image, in pixels.
        height: Likewise.
        generator: Source of randomness, on the CPU.

    Returns:
        Left, top, right and bottom; the last two lie just outside the window.
    """

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(1).uniform_(low, high, generator=generator)

    def place(end: int) -> int:
        return int(torch.randint(end, (1,), generator=generator).item())

    narrowest, widest = _ASPECT
    for _ in range(_DRAWS):
        area = width * height * uniform(*_AREA).item()
        aspect = uniform(math.log(narrowest), math.log(widest)).exp().item()
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            top = place(height - down + 1)
            left = place(width - across + 1)
            return left, top, left + across, top + down
    across = min(width, round(height * widest))
    down = min(height, round(width / narrowest))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def _default_workers() -> int:
    return min(8, os.cpu_count() or 1)


@dataclass(frozen=True, eq=False)
class ImageFiles:
    """Labelled images on disk, read anew in every pass.

    Threads read them: decoding and scaling, nearly all of the work, do not hold Python's lock.

    Attributes:
        folder: The folder that holds the images.
        paths: uint8, their paths below it, each ended by a zero byte.
        targets: int64 [N], on the device that the batches are for.
        mean: Mean of each channel, of pixels scaled to [0, 1].
        std: Standard deviation of each channel, likewise.
        image_size: Side of the square that the network sees, in pixels.
        resize: Length of a test image's shorter side before its centre is cut out, in pixels.
        workers: Number of threads; it changes no result.
    """

    folder: Path
    paths: Tensor
    targets: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    resize: int
    workers: int = field(default_factory=_default_workers)

    def __len__(self) -> int:
        return len(self.targets)

    def iterations(self, batch_size: int, *, window: int = 1) -> int:
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
        """Go once through the images; the last batch may be smaller.

        The order and a seed for each image of the pass are drawn when this is called, so neither
        the threads nor how far the batches are taken change a result or the generator's state.

        Args:
            batch_size: Number of images in a batch.
            window: Of texts; images have none.
            shuffle: Take the images in random order, otherwise as they are listed.
            augmentation: Random changes. ``crop`` here is a window of random size and place,
                scaled to ``image_size`` (torchvision's RandomResizedCrop; ``crop_padding`` is not
                looked at), without it the centre is cut out; ``flip`` always comes after it.
            generator: Source of all randomness.
            memory_format: Layout of the inputs.

        Returns:
            Pairs of inputs float32 [B, 3, S, S], ``(pixels / 255 - mean) / std``, and targets
            int64 [B], on the device of the targets.

        Raises:
            ValueError: randomness is asked for without a generator.
            UserError: while the batches are taken, an image that cannot be read.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
        transforms = augmentation.transforms if augmentation else []
        order = torch.arange(len(self))
        seeds = torch.zeros(len(self), dtype=torch.int64)
        if shuffle or transforms:
            if generator is None:
                raise ValueError("shuffling and augmentation need a generator")
            device = generator.device
            if shuffle:
                order = torch.randperm(len(self), generator=generator, device=device).cpu()
            if transforms:
                # The generator that takes a seed looks at 32 bits of it.
                drawn = torch.randint(2**32, (len(self),), generator=generator, device=device)
                seeds = drawn.cpu()
        return self._generate(batch_size, order, seeds, transforms, memory_format)

    def prepared_batches(
        self,
        batch_size: int,
        *,
        memory_budget: int = 2**30,
        memory_format: torch.memory_format = torch.contiguous_format,
    ) -> Iterable[Batch]:
        """Return batches, in order and not augmented, to be gone through many times.

        Args:
            batch_size: Number of images in a batch.
            memory_budget: Bytes the inputs may take; beyond it each pass reads them again.
            memory_format: Layout of the inputs.
        """
        if 4 * len(self) * 3 * self.image_size**2 <= memory_budget:
            return list(self.batches(batch_size, memory_format=memory_format))
        return Passes(self, batch_size, memory_format)

    def _generate(
        self,
        batch_size: int,
        order: Tensor,
        seeds: Tensor,
        transforms: Sequence[str],
        memory_format: torch.memory_format,
    ) -> Iterator[Batch]:
        threads = ThreadPoolExecutor(self.workers)
        begun: deque[tuple[Tensor, Tensor, list[Future[None]]]] = deque()
        try:
            for start in range(0, len(self), batch_size):
                part = slice(start, start + batch_size)
                begun.append(self._begin(threads, order[part], seeds[part], transforms))
                if len(begun) > _BATCHES_AHEAD:
                    yield self._finish(*begun.popleft(), memory_format)
            while begun:
                yield self._finish(*begun.popleft(), memory_format)
        finally:
            threads.shutdown(cancel_futures=True)

    def _begin(
        self,
        threads: ThreadPoolExecutor,
        examples: Tensor,
        seeds: Tensor,
        transforms: Sequence[str],
    ) -> tuple[Tensor, Tensor, list[Future[None]]]:
        count, side = len(examples), self.image_size
        images = torch.empty(
            (count, side, side, 3),
            dtype=torch.uint8,
            pin_memory=self.targets.device.type == "cuda",
        )
        share = math.ceil(count / self.workers)
        shares = [slice(first, first + share) for first in range(0, count, share)]
        tasks = [
            threads.submit(
                self._fill,
                images[part].numpy(),
                examples[part].tolist(),
                seeds[part].tolist(),
                transforms,
            )
            for part in shares
        ]
        return images, examples, tasks

    def _fill(
        self, places: Images, examples: list[int], seeds: list[int], transforms: Sequence[str]
    ) -> None:
        for place, example, seed in zip(places, examples, seeds, strict=True):
            place[:] = np.asarray(self._view(self._read(example), seed, transforms))

    def _read(self, example: int) -> Image.Image:
        start = self._ends[example - 1] + 1 if example else 0
        path = self.folder / os.fsdecode(self.paths[start : self._ends[example]].numpy().tobytes())
        try:
            pixels = read_image(path, None)
        except UserError as error:
            raise UserError(
                f"{error} If images were moved or removed, delete the prepared data set, so that "
                "it is prepared anew."
            ) from error
        return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels.repeat(3, axis=2))

    def _view(self, image: Image.Image, seed: int, transforms: Sequence[str]) -> Image.Image:
        generator = torch.Generator().manual_seed(seed)
        if "crop" in transforms:
            window = draw_window(*image.size, generator)
            image = resize_image(image.crop(window), self.image_size)
        else:
            image = centre_crop(image, self.resize, self.image_size)
        if "flip" in transforms and torch.rand(1, generator=generator).item() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image

    def _finish(
        self,
        images: Tensor,
        examples: Tensor,
        tasks: list[Future[None]],
        memory_format: torch.memory_format,
    ) -> Batch:
        for task in tasks:
            task.result()
        device = self.targets.device
        inputs = normalise(images.to(device, non_blocking=True), self.mean, self.std, memory_format)
        return inputs, self.targets.index_select(0, examples.to(device))

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        return np.flatnonzero(self.paths.numpy() == 0)


def load_image_files(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], device: torch.device
) -> tuple[ImageFiles, ImageFiles, tuple[str, ...], tuple[int, int, int]]:
    """Return the training and test images, the names of the classes and the shape of an input.

    Args:
        tensors: Those of a prepared file of image files.
        metadata: Likewise.
        device: Where the batches go.
    """
    image_size = int(metadata["image_size"])
    train, test = (
        ImageFiles(
            folder=Path(metadata["folder"]),
            paths=tensors[f"{part}_paths"],
            targets=tensors[f"{part}_labels"].to(device),
            mean=tuple(json.loads(metadata["mean"])),
            std=tuple(json.loads(metadata["std"])),
            image_size=image_size,
            resize=int(metadata["resize"]),
        )
        for part in ("train", "test")
    )
    return train, test, tuple(json.loads(metadata["classes"])), (3, image_size, image_size)
