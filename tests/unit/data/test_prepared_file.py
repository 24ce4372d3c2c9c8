import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mode_connectivity import tensors
from mode_connectivity.data import prepared_file
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors

from .conftest import random_images

METADATA = {"settings": "{}", "classes": '["a","b"]', "mean": "[0.5]", "std": "[0.25]"}


def arrays(seed: int = 0) -> dict[str, Any]:
    return {
        "train_images": random_images(3, 2, 2, 1, seed=seed),
        "train_labels": np.array([0, 1, 0]),
        "test_images": random_images(1, 2, 2, 1, seed=seed + 1),
        "test_labels": np.array([1]),
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "datasets" / "tiny.safetensors"
    prepared_file.write(path, arrays(), METADATA)
    return path


def test_what_is_written_is_read(path: Path) -> None:
    tensors, metadata = prepared_file.read(path)
    for name, array in arrays().items():
        np.testing.assert_array_equal(tensors[name].numpy(), array)
    assert METADATA.items() <= metadata.items()


def test_safetensors_reads_it(path: Path) -> None:
    tensors = load_file(path)
    assert torch.equal(tensors["train_images"], torch.from_numpy(arrays()["train_images"]))


def test_header_and_tensors_are_aligned(path: Path) -> None:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert length % 8 == 0
    for name in ("train_labels", "test_labels"):
        assert header[name]["data_offsets"][0] % 8 == 0


def test_the_same_contents_give_the_same_bytes(path: Path) -> None:
    first = path.read_bytes()
    prepared_file.write(path, arrays(), METADATA)
    assert path.read_bytes() == first


def test_every_flipped_bit_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    damaged = path.with_name("damaged.safetensors")
    for position in range(len(content)):
        flipped = content[position] ^ (1 << position % 8)
        damaged.write_bytes(content[:position] + bytes([flipped]) + content[position + 1 :])
        with pytest.raises(UserError) as error:
            prepared_file.read(damaged)
        assert str(damaged) in str(error.value) and "Delete the file" in str(error.value)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match=r"tiny\.safetensors.*Delete the file and run again"):
        prepared_file.read(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match="no checksums"):
        prepared_file.read(path)
    save_tensors(path, {"weight": torch.zeros(3)}, {})
    with pytest.raises(UserError, match="not a prepared data set"):
        prepared_file.read(path)
    path.write_text("hello")
    with pytest.raises(UserError, match="Delete the file"):
        prepared_file.read(path)


def test_tensors_of_other_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "narrow.safetensors"
    narrow = {name: array.astype(np.uint8) for name, array in arrays().items()}
    prepared_file.write(path, narrow, METADATA)
    with pytest.raises(UserError, match="types of its tensors"):
        prepared_file.read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.safetensors"):
        prepared_file.read(tmp_path / "none.safetensors")


@pytest.mark.parametrize("when", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there(
    path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    with monkeypatch.context() as patch:
        if when == "write":
            patch.setattr(tensors, "save_file", full)
        elif when == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(UserError, match="no space left"):
            prepared_file.write(path, arrays(seed=5), METADATA)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
