"""The files that hold prepared data sets: safetensors with checksums.

Images (``FORMAT``): ``train_images`` and ``test_images`` uint8 [N, H, W, C], ``train_labels`` and
``test_labels`` int64 [N]; metadata ``classes`` (JSON list of names), ``mean`` and ``std`` (JSON
lists, a number a channel).

Texts (``TEXT_FORMAT``): ``train_tokens``, ``validation_tokens`` and ``test_tokens`` int32 [N],
indices of the vocabulary; metadata ``vocabulary`` (JSON list of words).

Image files (``IMAGE_FILES_FORMAT``): ``train_paths`` and ``test_paths`` uint8, the paths below
``folder`` as UTF-8, each ended by a zero byte; ``train_labels`` and ``test_labels`` int64 [N];
metadata ``folder`` (absolute), ``classes``, ``mean``, ``std``, ``image_size``, ``resize``.

Points (``POINTS_FORMAT``): ``train_inputs`` and ``test_inputs`` float32 [N, D], ``train_labels``
and ``test_labels`` int64 [N], ``plot_inputs`` float32 [G, D], the lattice on which figures show a
network; metadata ``classes``.

Regressions (``REGRESSION_FORMAT``): likewise, with ``train_targets``, ``test_targets`` and
``plot_targets`` (the true function) float32 in place of labels; metadata ``noise_variance`` (JSON)
in place of classes.

Corrupted test images (``CORRUPTED_FORMAT``): ``images`` uint8 [5, N, H, W, C], by severity, and
``labels`` int64 [N]; metadata ``corruption``, ``source`` (``published`` or ``generated``),
``approximation`` (why they are not those of CIFAR-10-C; empty where they are) and ``seed``; no
settings.

All have ``format``, ``settings`` (JSON) and ``sha256`` (JSON, a digest a tensor, to compare data
sets between machines) as well; all metadata are strings. Tensors and metadata are checked at each
reading.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mode_connectivity.files import canonical_json
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import DamagedFileError, load_tensors, save_tensors

FORMAT = "mode_connectivity.dataset.1"
TEXT_FORMAT = "mode_connectivity.text.1"
IMAGE_FILES_FORMAT = "mode_connectivity.image_files.1"
CORRUPTED_FORMAT = "mode_connectivity.corrupted.1"
POINTS_FORMAT = "mode_connectivity.points.1"
REGRESSION_FORMAT = "mode_connectivity.regression.1"

_DTYPES = {
    FORMAT: {
        "train_images": torch.uint8,
        "train_labels": torch.int64,
        "test_images": torch.uint8,
        "test_labels": torch.int64,
    },
    TEXT_FORMAT: {
        "train_tokens": torch.int32,
        "validation_tokens": torch.int32,
        "test_tokens": torch.int32,
    },
    IMAGE_FILES_FORMAT: {
        "train_paths": torch.uint8,
        "train_labels": torch.int64,
        "test_paths": torch.uint8,
        "test_labels": torch.int64,
    },
    CORRUPTED_FORMAT: {"images": torch.uint8, "labels": torch.int64},
    POINTS_FORMAT: {
        "train_inputs": torch.float32,
        "train_labels": torch.int64,
        "test_inputs": torch.float32,
        "test_labels": torch.int64,
        "plot_inputs": torch.float32,
    },
    REGRESSION_FORMAT: {
        f"{part}_{kind}": torch.float32
        for part in ("train", "test", "plot")
        for kind in ("inputs", "targets")
    },
}
_ADVICE = "Delete the file and run again; it will be prepared anew."


def write(
    path: Path,
    tensors: Mapping[str, NDArray[Any]],
    metadata: Mapping[str, str],
    *,
    format: str = FORMAT,
) -> None:
    """Write a prepared file whole or not at all; the same contents give the same bytes.

    Args:
        path: the file.
        tensors: as the format has them.
        metadata: likewise, less ``format`` and ``sha256``.
        format: one of the formats above.

    Raises:
        UserError: the disk is full.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    digests = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    save_tensors(
        path,
        {name: torch.from_numpy(array) for name, array in arrays.items()},
        {"format": format, **metadata, "sha256": canonical_json(digests)},
    )


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a prepared file, mapped into memory, and its metadata.

    Raises:
        UserError: the file is missing, cut short, damaged, or not a prepared data set.
    """
    try:
        tensors, metadata = load_tensors(path, foreign=False)
        if (found := metadata.get("format", "")) not in _DTYPES:
            raise DamagedFileError(
                f"{path}: not a prepared data set: its format is {found!r}, not one of "
                f"{', '.join(map(repr, _DTYPES))}"
            )
        if {name: tensor.dtype for name, tensor in tensors.items()} != _DTYPES[found]:
            raise DamagedFileError(f"{path}: the types of its tensors are not those of a data set")
    except DamagedFileError as error:
        raise UserError(f"{error}. {_ADVICE}") from error
    return tensors, metadata
