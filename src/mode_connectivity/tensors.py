"""Tensor files: safetensors with a checksum a tensor, written atomically, checked on reading."""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mode_connectivity.files import atomic, canonical_json
from mode_connectivity.settings import UserError

# No tensor can have this name: safetensors keeps it for the metadata.
_METADATA = "__metadata__"


class DamagedFileError(UserError):
    """A tensor file that is truncated, altered or not a tensor file at all."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors and string metadata atomically, with a CRC-32 of each tensor and of the rest.

    Args:
        path: the file, which plain ``safetensors.torch.load_file`` opens.
        tensors: by name; those that share memory are written apart.
        metadata: further strings for the header; the key ``crc32`` is taken.
    """
    plain: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        storage = own.untyped_storage().data_ptr()
        plain[name] = own.clone() if storage in taken else own
        taken.add(storage)
    checksums = json.dumps(_checksums(plain, metadata))
    with atomic(path) as temporary:
        save_file(plain, temporary, metadata={**metadata, "crc32": checksums})
        _sort_metadata(temporary)


def load_tensors(path: Path, *, foreign: bool = True) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors, mapped into memory, and metadata, and check them against their checksums.

    Args:
        path: the file.
        foreign: accept a file without checksums, which somebody else has written.

    Raises:
        UserError: the file is missing.
        DamagedFileError: it is truncated, altered or not a safetensors file.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        expected = json.loads(metadata.pop("crc32", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise DamagedFileError(f"{path}: not a whole safetensors file ({error})") from error
    if not expected and not foreign:
        raise DamagedFileError(f"{path}: has no checksums")
    if expected:
        found = _checksums(tensors, metadata if _METADATA in expected else None)
        names = expected.keys() | found.keys()
        damaged = sorted(name for name in names if expected.get(name) != found.get(name))
        if damaged:
            raise DamagedFileError(f"{path}: altered since it was written: {', '.join(damaged)}")
    return tensors, metadata


def _sort_metadata(path: Path) -> None:
    """Sort the metadata in a file's header, so that equal contents are equal bytes.

    safetensors writes them in an order that changes from run to run.
    """
    with path.open("rb+") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header[_METADATA] = dict(sorted(header[_METADATA].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(size))


def _checksums(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> dict[str, int]:
    checksums = {
        name: zlib.crc32(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        for name, tensor in tensors.items()
    }
    if metadata is not None:
        checksums[_METADATA] = zlib.crc32(canonical_json(dict(metadata)).encode())
    return checksums
