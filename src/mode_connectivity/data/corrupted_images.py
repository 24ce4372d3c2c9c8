"""Corrupted test images: taken from published files or made here, written, and read again."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mode_connectivity.data import prepared_file
from mode_connectivity.data.arrays import Dataset, ImageExamples
from mode_connectivity.data.corruption_settings import (
    PUBLISHED_FOLDERS,
    SEVERITIES,
    CorruptionSettings,
)
from mode_connectivity.data.corruptions import approximation, corrupt
from mode_connectivity.job_log import working_on
from mode_connectivity.settings import UserError

Array = NDArray[Any]

_PREPARE_OTHERWISE = "or set corruptions: {source: generated} for the data set"


def prepare_corrupted(
    name: str,
    settings: CorruptionSettings,
    *,
    dataset: Path,
    dataset_source: str,
    data_root: Path,
    output: Path,
) -> None:
    """Write the test images of a data set under one corruption at all severities.

    The same settings and files give the same bytes. See :mod:`mode_connectivity.data.prepared_file`
    for the format.

    Args:
        name: of the corruption.
        settings: where the images come from.
        dataset: the prepared data set.
        dataset_source: its source, such as ``cifar10``, which has published files.
        data_root: the folder that holds the user's data.
        output: takes the images.

    Raises:
        UserError: the data set is not one of images in memory, the corruption is unknown, or
            published files are missing, damaged or of another test set.
    """
    tensors, metadata = prepared_file.read(dataset)
    if metadata["format"] != prepared_file.FORMAT:
        raise UserError(
            f"{dataset}: not a data set of images in memory; only their test images are corrupted"
        )
    images = tensors["test_images"].numpy()[: settings.examples]
    labels = tensors["test_labels"].numpy()
    folder = _published_folder(settings, dataset_source, data_root)
    if folder is None:
        reason = approximation(name, images.shape[3])
        of_severities = []
        for number, severity in enumerate(SEVERITIES, start=1):
            with working_on("severity", number, len(SEVERITIES)):
                of_severities.append(corrupt(images, name, severity, seed=settings.seed))
        corrupted = np.stack(of_severities)
    else:
        reason = ""
        _check_labels(folder / "labels.npy", labels)
        shape = (len(labels), *images.shape[1:])
        corrupted = np.array(_read_published(folder, name, shape)[:, : settings.examples])
    prepared_file.write(
        output,
        tensors={"images": corrupted, "labels": labels[: settings.examples]},
        metadata={
            "corruption": name,
            "source": "generated" if folder is None else "published",
            "approximation": reason,
            "seed": str(settings.seed) if folder is None else "",
        },
        format=prepared_file.CORRUPTED_FORMAT,
    )


def load_corrupted(path: Path, dataset: Dataset) -> tuple[ImageExamples, dict[str, str]]:
    """Read corrupted test images onto the device of a data set, all severities one after another.

    Args:
        path: what ``prepare_corrupted`` has written.
        dataset: the data set that was corrupted.

    Returns:
        The images of severity 1, then those of severity 2 and so on, normalised as the data set
        is; and the metadata: ``corruption``, ``source``, ``approximation``, ``seed``.

    Raises:
        UserError: the file is missing, damaged, or of another data set.
    """
    tensors, metadata = prepared_file.read(path)
    if metadata["format"] != prepared_file.CORRUPTED_FORMAT:
        raise UserError(f"{path}: no corrupted images; delete the file and run again")
    clean = dataset.test
    if not isinstance(clean, ImageExamples):
        raise UserError(f"{path}: corrupted images, but the data set is not one of images")
    images, labels = tensors["images"], tensors["labels"]
    severities, examples, *shape = images.shape
    if shape != list(clean.images.shape[1:]) or not torch.equal(
        labels, clean.targets[:examples].cpu()
    ):
        raise UserError(
            f"{path}: corrupted images of another data set (other sizes or labels); delete the "
            "file and run again"
        )
    device = clean.images.device
    corrupted = ImageExamples(
        images=images.flatten(0, 1).to(device),
        targets=labels.repeat(severities).to(device),
        mean=clean.mean,
        std=clean.std,
    )
    return corrupted, metadata


def _published_folder(
    settings: CorruptionSettings, dataset_source: str, data_root: Path
) -> Path | None:
    """Return the folder whose files are to be read, or nothing where images are made here."""
    name = settings.folder or PUBLISHED_FOLDERS.get(dataset_source)
    if settings.source == "generated" or name is None:
        return None
    folder = data_root / name
    if folder.is_dir():
        return folder
    if settings.source == "auto":
        return None
    raise UserError(
        f"{folder}: no such folder, in which the published corrupted images were looked for. "
        f"Unpack them there, {_PREPARE_OTHERWISE}."
    )


def _read_published(folder: Path, name: str, shape: tuple[int, ...]) -> Array:
    """Return the images of all severities, uint8 [5, N, H, W, C], mapped from the disk."""
    path = folder / f"{name}.npy"
    images = _load(path)
    expected = (len(SEVERITIES) * shape[0], *shape[1:])
    if images.dtype != np.uint8 or images.shape != expected:
        raise UserError(
            f"{path}: {images.dtype} {list(images.shape)}; published corruptions of this test set "
            f"are uint8 {list(expected)}, all images at severity 1, then all at severity 2 and so "
            f"on: get the file again, {_PREPARE_OTHERWISE}"
        )
    return images.reshape(len(SEVERITIES), *shape)


def _check_labels(path: Path, labels: Array) -> None:
    published = _load(path)
    expected = len(SEVERITIES) * len(labels)
    if not np.issubdtype(published.dtype, np.integer) or published.shape != (expected,):
        raise UserError(
            f"{path}: {published.dtype} {list(published.shape)}; whole numbers [{expected}], the "
            f"test labels once for each severity, are expected: get the file again, "
            f"{_PREPARE_OTHERWISE}"
        )
    different = int(np.count_nonzero(published != np.tile(labels, len(SEVERITIES))))
    if different:
        raise UserError(
            f"{path}: {different} of {expected} labels differ from those of the test set. "
            "Published corruptions are in the order of the original test set, which an image "
            "folder has not: put the data set itself there in torchvision's layout, "
            f"{_PREPARE_OTHERWISE}"
        )


def _load(path: Path) -> Array:
    if not path.is_file():
        there = sorted(each.name for each in path.parent.glob("*.npy"))
        raise UserError(
            f"{path}: no such file; the folder holds {', '.join(there) or 'no .npy files'}. Put "
            f"it there, {_PREPARE_OTHERWISE}."
        )
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"{path}: not a whole NumPy file ({error}); get it again, {_PREPARE_OTHERWISE}"
        ) from error
    return array
