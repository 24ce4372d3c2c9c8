"""The file that holds a prepared data set: safetensors with checksums.

Tensors: ``train_images`` and ``test_images`` uint8 [N, H, W, C], ``train_labels`` and
``test_labels`` int64 [N]. Metadata, all strings: ``format``, ``settings`` (JSON), ``classes`` (JSON
list of names), ``mean`` and ``std`` (JSON lists, a number a channel), ``sha256`` (JSON, a digest a
tensor, to compare data sets between machines). Tensors and metadata are checked at each reading.
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

_DTYPES = {
    "train_images": torch.uint8,
    "train_labels": torch.int64,
    "test_images": torch.uint8,
    "test_labels": torch.int64,
}
_ADVICE = "Delete the file and run again; it will be prepared anew."


def write(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a prepared file whole or not at all; the same contents give the same bytes.

    Raises:
        UserError: the disk is full.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in tensors.items()}
    digests = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    save_tensors(
        path,
        {name: torch.from_numpy(array) for name, array in arrays.items()},
        {"format": FORMAT, **metadata, "sha256": canonical_json(digests)},
    )


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a prepared file, mapped into memory, and its metadata.

    Raises:
        UserError: the file is missing, cut short, damaged, or not a prepared data set.
    """
    try:
        tensors, metadata = load_tensors(path, foreign=False)
        if (found := metadata.get("format")) != FORMAT:
            raise DamagedFileError(
                f"{path}: not a prepared data set: its format is {found!r}, not {FORMAT!r}"
            )
        if {name: tensor.dtype for name, tensor in tensors.items()} != _DTYPES:
            raise DamagedFileError(f"{path}: the types of its tensors are not those of a data set")
    except DamagedFileError as error:
        raise UserError(f"{error}. {_ADVICE}") from error
    return tensors, metadata
