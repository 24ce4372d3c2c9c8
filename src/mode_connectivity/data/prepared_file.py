"""The file that holds a prepared data set: safetensors with checksums.

Tensors: ``train_images`` and ``test_images`` uint8 [N, H, W, C], ``train_labels`` and
``test_labels`` int64 [N]. Metadata, all strings: ``format``, ``settings`` (JSON), ``classes`` (JSON
list of names), ``mean`` and ``std`` (JSON lists, a number a channel), ``sha256`` (JSON, a digest a
tensor, to compare data sets between machines), ``crc32`` (JSON, a number a tensor) and
``metadata_crc32`` (one number for the entries before it); both are checked at each reading.
"""

import hashlib
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mode_connectivity.files import atomic, canonical_json
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import DamagedFileError, load_tensors

FORMAT = "mode_connectivity.dataset.1"

_DTYPES = {
    "train_images": torch.uint8,
    "train_labels": torch.int64,
    "test_images": torch.uint8,
    "test_labels": torch.int64,
}
_TYPE_NAMES = {"uint8": "U8", "int64": "I64"}
_ADVICE = "Delete the file and run again; it will be prepared anew."


def write(path: Path, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> None:
    """Write a prepared file whole or not at all; the same contents give the same bytes.

    The header is written here because safetensors writes metadata in an order that changes from
    run to run.

    Raises:
        UserError: the disk is full.
    """
    # Wide types first, so that each tensor begins at a multiple of its item size.
    arrays = {
        name: np.ascontiguousarray(tensors[name])
        for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))
    }
    digests = {name: hashlib.sha256(array.data).hexdigest() for name, array in arrays.items()}
    checksums = {name: zlib.crc32(array.data) for name, array in arrays.items()}
    checked = {"format": FORMAT, **metadata, "sha256": canonical_json(digests)}
    header: dict[str, Any] = {
        "__metadata__": {
            **checked,
            "crc32": canonical_json(checksums),
            "metadata_crc32": str(_metadata_checksum(checked)),
        }
    }
    offset = 0
    for name, array in arrays.items():
        header[name] = {
            "dtype": _TYPE_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = canonical_json(header).encode()
    text += b" " * (-len(text) % 8)
    with atomic(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in arrays.values():
            file.write(array.data)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors of a prepared file, mapped into memory, and its metadata.

    Raises:
        UserError: the file is missing, cut short, damaged, or not a prepared data set.
    """
    try:
        tensors, metadata = load_tensors(path)
        if (found := metadata.get("format")) != FORMAT:
            raise DamagedFileError(
                f"{path}: not a prepared data set: its format is {found!r}, not {FORMAT!r}"
            )
        checksum = int(metadata.pop("metadata_crc32"))
        dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        if checksum != _metadata_checksum(metadata) or dtypes != _DTYPES:
            raise DamagedFileError(
                f"{path}: its metadata or the types of its tensors are not those of a data set"
            )
    except DamagedFileError as error:
        raise UserError(f"{error}. {_ADVICE}") from error
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: its header is damaged ({error}). {_ADVICE}") from error
    return tensors, metadata


def _metadata_checksum(metadata: Mapping[str, str]) -> int:
    return zlib.crc32(canonical_json(dict(metadata)).encode())
