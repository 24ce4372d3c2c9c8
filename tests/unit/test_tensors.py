import errno
import random
import zlib

import pytest
import safetensors.torch
import torch
from torch import nn

from mode_connectivity import tensors as module
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import DamagedFileError, load_tensors, save_tensors

TENSORS = {
    "weight": torch.linspace(-1, 1, 12).view(3, 4),
    "half": torch.linspace(-1, 1, 5, dtype=torch.bfloat16),
    "double": torch.linspace(-1, 1, 5, dtype=torch.float64),
    "count": torch.tensor(7),
    "mask": torch.tensor([True, False, True]),
    "bytes": torch.arange(9, dtype=torch.uint8),
    "empty": torch.empty(0, 3),
}
METADATA = {"format": "test.1", "state": '{"done": 3}'}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "folder" / "file.safetensors"
    save_tensors(path, TENSORS, METADATA)
    return path


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def test_round_trip(path) -> None:
    tensors, metadata = load_tensors(path)
    assert_same(tensors, TENSORS)
    assert metadata == METADATA


def test_equal_contents_are_equal_bytes(path, tmp_path) -> None:
    for index in range(5):
        save_tensors(tmp_path / f"{index}", TENSORS, {"ä": '"\\\n', "b": "", "a": "1", **METADATA})
    assert len({(tmp_path / f"{index}").read_bytes() for index in range(5)}) == 1
    assert load_tensors(tmp_path / "0")[1] == {"ä": '"\\\n', "b": "", "a": "1", **METADATA}


def test_plain_safetensors_opens_it(path) -> None:
    assert_same(safetensors.torch.load_file(path), TENSORS)
    with safetensors.safe_open(path, framework="pt") as file:
        recorded = file.metadata()["crc32"]
    assert str(zlib.crc32(TENSORS["weight"].numpy().tobytes())) in recorded


def test_files_without_checksums_are_read(tmp_path) -> None:
    path = tmp_path / "foreign.safetensors"
    safetensors.torch.save_file(TENSORS, path, metadata={"by": "somebody"})
    tensors, metadata = load_tensors(path)
    assert_same(tensors, TENSORS)
    assert metadata == {"by": "somebody"}
    safetensors.torch.save_file(TENSORS, path)
    assert load_tensors(path)[1] == {}


def test_views_and_shared_memory_are_written_apart(tmp_path) -> None:
    vector = torch.arange(24.0)
    tensors = {
        "first": vector[:12].view(3, 4),
        "overlapping": vector[6:18],
        "channels_last": vector.view(1, 2, 3, 4).permute(0, 3, 1, 2),
        "transposed": vector.view(4, 6).T,
        "whole": vector,
        "same": vector,
        "needs_gradient": nn.Parameter(vector[:2]),
    }
    expected = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    save_tensors(tmp_path / "file", tensors, {})
    assert_same(load_tensors(tmp_path / "file")[0], expected)
    assert (tmp_path / "file").stat().st_size < 4 * (12 + 12 + 4 * 24 + 2) + 2000


def test_state_dict_of_tied_and_shared_modules(tmp_path) -> None:
    norm = nn.BatchNorm1d(3)
    network = nn.ModuleDict({"one": norm, "two": norm, "layer": nn.Linear(2, 3)})
    save_tensors(tmp_path / "file", network.state_dict(), {})
    other_norm = nn.BatchNorm1d(3)
    other = nn.ModuleDict({"one": other_norm, "two": other_norm, "layer": nn.Linear(2, 3)})
    other.load_state_dict(safetensors.torch.load_file(tmp_path / "file"))
    assert_same(dict(other.state_dict()), dict(network.state_dict()))


def test_a_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(UserError, match=r"absent\.safetensors: no such file") as caught:
        load_tensors(tmp_path / "absent.safetensors")
    assert not isinstance(caught.value, DamagedFileError)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_truncated_files_are_recognised(path, share) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedFileError, match=r"file\.safetensors"):
        load_tensors(path)


def test_no_flipped_bit_goes_unnoticed(path) -> None:
    whole = path.read_bytes()
    choose = random.Random(0)
    unharmed = 0
    for place in range(len(whole)):
        altered = bytearray(whole)
        altered[place] ^= 1 << choose.randrange(8)
        path.write_bytes(altered)
        try:
            tensors, metadata = load_tensors(path)
        except DamagedFileError as error:
            assert str(path) in str(error)
        else:
            assert_same(tensors, TENSORS)
            assert {key: metadata[key] for key in METADATA} == METADATA
            unharmed += 1
    # Only the name of the entry that holds the checksums guards nothing.
    assert unharmed <= len("crc32")


def test_other_files_are_recognised(tmp_path) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04}\x94.")
    torch.save(TENSORS, tmp_path / "torch")
    for name in ("pickle", "torch"):
        with pytest.raises(DamagedFileError, match="not a whole safetensors file"):
            load_tensors(tmp_path / name)


def test_a_full_disk_leaves_the_old_file(path, monkeypatch) -> None:
    whole = path.read_bytes()

    def fail(tensors, target, metadata) -> None:
        target.write_bytes(b"half of")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save_file", fail)
    with pytest.raises(UserError, match="no space left"):
        save_tensors(path, {"weight": torch.zeros(3)}, {})
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]
