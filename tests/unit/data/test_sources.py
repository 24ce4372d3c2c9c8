import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn import functional

from mode_connectivity.data import prepared_file, sources
from mode_connectivity.data.settings import DatasetSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.settings import UserError

from .conftest import Images, random_images

MakeTree = Callable[..., Path]


def read(
    data_root: Path, download: bool = False, **settings: Any
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Prepare a data set and read the prepared file."""
    output = data_root / "results" / "data.safetensors"
    prepare(
        DatasetSettings.model_validate({"title": "Data", **settings}),
        data_root=data_root,
        download=download,
        output=output,
    )
    return prepared_file.read(output)


def pets(data_root: Path, **settings: Any) -> tuple[dict[str, Tensor], dict[str, str]]:
    return read(data_root, source="image_folder", folder="pets", **settings)


# Digits


def test_digits_are_split_by_class(tmp_path: Path) -> None:
    tensors, metadata = read(tmp_path, source="digits", test_fraction=0.25)
    assert tensors["train_images"].shape == (1347, 8, 8, 1)
    assert tensors["test_images"].shape == (450, 8, 8, 1)
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]
    digits = load_digits()
    both = {
        part: torch.cat([tensors[f"train_{part}"], tensors[f"test_{part}"]])
        for part in ("images", "labels")
    }
    counts = torch.bincount(tensors["test_labels"], minlength=10)
    expected = np.bincount(digits.target) * 450 / 1797
    assert np.abs(counts.numpy() - expected).max() <= 1

    found = sorted(
        (label, image.numpy().tobytes())
        for label, image in zip(both["labels"].tolist(), both["images"], strict=True)
    )
    scaled = (digits.images * 255 / 16 + 0.5).astype(np.uint8)
    original = sorted(
        (label, image.tobytes())
        for label, image in zip(digits.target.tolist(), scaled, strict=True)
    )
    assert found == original


def test_the_split_of_digits_is_fixed(tmp_path: Path) -> None:
    tensors, _ = read(tmp_path, source="digits")
    digest = hashlib.sha256(tensors["test_images"].numpy().tobytes()).hexdigest()
    assert digest[:16] == "ac6ada28192bd51a"
    other, _ = read(tmp_path, source="digits", split_seed=1)
    assert not torch.equal(tensors["test_images"], other["test_images"])


def test_a_test_set_without_every_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"test_fraction 0\.001"):
        read(tmp_path, source="digits", test_fraction=0.001)


@pytest.mark.parametrize(("size", "antialias"), [(32, False), (5, True)])
def test_images_are_resized_bilinearly(tmp_path: Path, size: int, antialias: bool) -> None:
    native, _ = read(tmp_path, source="digits")
    resized, _ = read(tmp_path, source="digits", image_size=size)
    expected = functional.interpolate(
        native["test_images"].permute(0, 3, 1, 2).float(),
        size=(size, size),
        mode="bilinear",
        antialias=antialias,
    )
    difference = resized["test_images"].permute(0, 3, 1, 2) - expected
    # Pillow rounds to whole grey levels after each of the two directions.
    assert difference.abs().max() <= 1.01


# MNIST and CIFAR


def test_mnist_is_read_in_torchvisions_layout(tiny_mnist: tuple[Path, Images, Images]) -> None:
    place, train, test = tiny_mnist
    tensors, metadata = read(place.parents[1], source="mnist", normalisation="mnist")
    np.testing.assert_array_equal(tensors["train_images"].numpy(), train[..., np.newaxis])
    np.testing.assert_array_equal(tensors["test_images"].numpy(), test[..., np.newaxis])
    assert tensors["train_labels"].tolist() == [*range(10), 0, 1]
    assert json.loads(metadata["classes"])[3] == "3 - three"
    assert (metadata["mean"], metadata["std"]) == ("[0.1307]", "[0.3081]")


def test_a_folder_of_its_own(tiny_mnist: tuple[Path, Images, Images]) -> None:
    place, _, test = tiny_mnist
    root = place.parents[2]
    tensors, _ = read(root, source="mnist", folder=place.parents[1].name)
    np.testing.assert_array_equal(tensors["test_images"].numpy(), test[..., np.newaxis])


def test_a_missing_or_compressed_file_is_named(tiny_mnist: tuple[Path, Images, Images]) -> None:
    place, _, _ = tiny_mnist
    (place / "train-labels-idx1-ubyte").unlink()
    images = place / "t10k-images-idx3-ubyte"
    images.rename(images.with_name(images.name + ".gz"))
    with pytest.raises(UserError) as error:
        read(place.parents[1], source="mnist")
    assert "train-labels-idx1-ubyte is missing" in str(error.value)
    assert "t10k-images-idx3-ubyte.gz is compressed" in str(error.value)


def test_a_truncated_idx_file_is_refused(tiny_mnist: tuple[Path, Images, Images]) -> None:
    place, _, _ = tiny_mnist
    images = place / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"cannot read .*MNIST/raw"):
        read(place.parents[1], source="mnist")


def test_a_part_of_a_data_set_is_refused(
    tiny_mnist: tuple[Path, Images, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _, _ = tiny_mnist
    monkeypatch.undo()
    with pytest.raises(UserError) as error:
        read(place.parents[1], source="mnist")
    assert "12 training images where there are 60,000" in str(error.value)
    assert "5 test images where there are 10,000" in str(error.value)
    assert "image_folder" in str(error.value)


@pytest.fixture
def tiny_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Images]:
    """Write CIFAR-10's batches with 2 images each; return the place and the training images."""
    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    images = random_images(12, 32, 32, 3)

    def save(name: str, content: dict[str, Any]) -> str:
        (place / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((place / name).read_bytes()).hexdigest()

    reader = import_torchvision().datasets.CIFAR10
    files = []
    for index, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        # The batches hold channels first.
        data = images[2 * index : 2 * index + 2].transpose(0, 3, 1, 2).reshape(2, -1)
        files.append([name, save(name, {"data": data, "labels": [index, 9 - index]})])
    names = [f"class{index}" for index in range(10)]
    meta = {"filename": "batches.meta", "key": "label_names"}
    meta["md5"] = save("batches.meta", {"label_names": names})
    monkeypatch.setattr(reader, "train_list", files[:5])
    monkeypatch.setattr(reader, "test_list", files[5:])
    monkeypatch.setattr(reader, "meta", meta)
    original = sources._Original("CIFAR10", "cifar-10-batches-py", (32, 32), 10, 10, 2)
    monkeypatch.setitem(sources._ORIGINALS, "cifar10", original)
    return place, images


@pytest.mark.parametrize("subfolder", ["", "cifar10"])
def test_cifar_is_read_in_torchvisions_layout(
    tiny_cifar: tuple[Path, Images], subfolder: str
) -> None:
    place, images = tiny_cifar
    root = place.parent
    if subfolder:
        (root / subfolder).mkdir()
        place.rename(root / subfolder / place.name)
    tensors, metadata = read(root, source="cifar10", normalisation="vgg")
    np.testing.assert_array_equal(tensors["train_images"].numpy(), images[:10])
    np.testing.assert_array_equal(tensors["test_images"].numpy(), images[10:])
    assert tensors["train_labels"].tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert json.loads(metadata["classes"]) == [f"class{index}" for index in range(10)]
    assert json.loads(metadata["mean"]) == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("name", ["data_batch_2", "test_batch", "batches.meta"])
def test_a_batch_with_a_wrong_md5_is_never_opened(
    tiny_cifar: tuple[Path, Images], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = tiny_cifar
    (place / name).write_bytes(b"\x80\x04N.")

    def never(*_: object, **__: object) -> None:
        pytest.fail("a pickle was opened")

    monkeypatch.setattr(pickle, "load", never)
    with pytest.raises(UserError, match=f"{name} has a wrong MD5"):
        read(place.parent, source="cifar10")


def test_missing_data_say_where_they_were_looked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, source="cifar100")
    for place in ("cifar-100-python", "cifar100/cifar-100-python", "cifar100/train/<class>"):
        assert f"{tmp_path}/{place}" in str(error.value)
    assert "download: true" in str(error.value)


def test_what_is_missing_is_downloaded(
    tiny_mnist: tuple[Path, Images, Images],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    place, train, _ = tiny_mnist
    kept = place.rename(place.parent / "elsewhere")
    reader = import_torchvision().datasets.MNIST
    monkeypatch.setattr(reader, "download", lambda self: kept.rename(self.raw_folder))
    tensors, _ = read(place.parents[1], download=True, source="mnist")
    assert any(message.startswith("downloading ") for message in caplog.messages)
    np.testing.assert_array_equal(tensors["train_images"].numpy(), train[..., np.newaxis])


def test_a_failed_download_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(import_torchvision().datasets.CIFAR10, "download", fail)
    with pytest.raises(UserError, match=r"cannot be downloaded to .*network is unreachable"):
        read(tmp_path, download=True, source="cifar10")


def test_whole_data_are_not_downloaded_again(
    tiny_cifar: tuple[Path, Images], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, _ = tiny_cifar

    def never(self: object) -> None:
        pytest.fail("downloaded again")

    monkeypatch.setattr(import_torchvision().datasets.CIFAR10, "download", never)
    # A shared data root may be read-only, so nothing is written there either.
    entries = sorted(place.parent.iterdir())
    prepare(
        DatasetSettings(title="CIFAR-10", source="cifar10"),
        data_root=place.parent,
        download=True,
        output=place.parent / "cifar10.safetensors",
    )
    assert sorted(place.parent.iterdir()) == sorted(
        [*entries, place.parent / "cifar10.safetensors"]
    )


def test_a_tree_stands_in_for_torchvisions_layout(
    tmp_path: Path, make_tree: MakeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = sources._Original("CIFAR10", "cifar-10-batches-py", (32, 32), 2, 4, 2)
    monkeypatch.setitem(sources._ORIGINALS, "cifar10", original)
    counts = {"train/cat": 3, "train/ant": 1, "test/cat": 1, "test/ant": 1}
    make_tree(counts, folder="cifar10", shape=(32, 32, 3))
    tensors, metadata = read(tmp_path, source="cifar10")
    assert json.loads(metadata["classes"]) == ["ant", "cat"]
    assert sorted(tensors["train_labels"].tolist()) == [0, 1, 1, 1]
    make_tree(counts, folder="small", shape=(31, 32, 3))
    with pytest.raises(UserError, match=r"shape \(31, 32, 3\) where it is \(32, 32, 3\)"):
        read(tmp_path, source="cifar10", folder="small")


# Image folders


def test_a_tree_is_read_as_torchvision_reads_it(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree({"train/b": 30, "train/a": 20, "test/b": 2, "test/a": 3})
    tensors, metadata = pets(tmp_path)
    for split in ("train", "test"):
        expected = import_torchvision().datasets.ImageFolder(tree / split)
        assert json.loads(metadata["classes"]) == expected.classes
        images, labels = tensors[f"{split}_images"], tensors[f"{split}_labels"]
        found = {
            (image.numpy().tobytes(), int(label))
            for image, label in zip(images, labels, strict=True)
        }
        assert found == {(image.tobytes(), label) for image, label in expected}
        assert images.shape == (len(expected), 6, 5, 3)


def test_the_images_of_a_tree_are_mixed(tmp_path: Path, make_tree: MakeTree) -> None:
    make_tree({"train/a": 100, "train/b": 100, "test/a": 1, "test/b": 1})
    labels = pets(tmp_path)[0]["train_labels"]
    assert 30 < labels[:100].sum() < 70
    assert not torch.equal(pets(tmp_path, split_seed=1)[0]["train_labels"], labels)


def test_grey_and_colour_images_become_colour(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree({"train/a": 1, "test/a": 1}, shape=(4, 4))
    assert pets(tmp_path)[0]["train_images"].shape == (1, 4, 4, 1)
    Image.fromarray(random_images(4, 4, 4)).save(tree / "test" / "a" / "transparent.png")
    grey = np.asarray(Image.open(tree / "train" / "a" / "0.png"))
    image = pets(tmp_path)[0]["train_images"][0].numpy()
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=2))


def test_images_of_different_sizes(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree()
    odd = tree / "train" / "cat" / "odd.png"
    Image.fromarray(random_images(9, 7, 3)).save(odd)
    with pytest.raises(UserError) as error:
        pets(tmp_path)
    assert "5 x 6 pixels" in str(error.value) and "7 x 9 pixels" in str(error.value)
    assert str(odd) in str(error.value) and "image_size" in str(error.value)
    assert pets(tmp_path, image_size=8)[0]["train_images"].shape == (8, 8, 8, 3)


def test_classes_must_agree(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree({"train/ant": 1, "train/bee": 1, "test/ant": 1, "test/cat": 1})
    with pytest.raises(UserError) as error:
        pets(tmp_path)
    assert f"{tree}/train lacks cat" in str(error.value)
    assert f"{tree}/test lacks bee" in str(error.value)


@pytest.mark.parametrize("ending", ["truncated", "text", "sixteen bits"])
def test_an_unreadable_image_is_named(tmp_path: Path, make_tree: MakeTree, ending: str) -> None:
    bad = make_tree() / "test" / "ant" / "bad.png"
    Image.fromarray(random_images(6, 5, 3)).save(bad)
    if ending == "truncated":
        bad.write_bytes(bad.read_bytes()[:-40])
    elif ending == "text":
        bad.write_text("no image")
    else:
        Image.fromarray(np.full((6, 5), 1000, dtype=np.uint16)).save(bad)
    with pytest.raises(UserError, match=str(bad)):
        pets(tmp_path)


def test_empty_places_are_named(tmp_path: Path, make_tree: MakeTree) -> None:
    with pytest.raises(UserError, match="pets/train/<class>/<image>"):
        pets(tmp_path)
    tree = make_tree({"train/ant": 1})
    with pytest.raises(UserError, match="pets/test is missing"):
        pets(tmp_path)
    (tree / "test").mkdir()
    with pytest.raises(UserError, match="pets/test has no class folders"):
        pets(tmp_path)
    (tree / "test" / "ant").mkdir()
    (tree / "test" / "ant" / "notes.txt").touch()
    (tree / "test" / "ant" / "._0.png").touch()
    with pytest.raises(UserError, match="pets/test/ant has no images"):
        pets(tmp_path)


# All sources


def test_preparing_twice_gives_the_same_file(tmp_path: Path, make_tree: MakeTree) -> None:
    make_tree()
    settings = DatasetSettings(title="Pets", source="image_folder", folder="pets")
    contents = []
    for name in ("first", "second"):
        prepare(settings, data_root=tmp_path, download=False, output=tmp_path / name)
        contents.append((tmp_path / name).read_bytes())
    assert contents[0] == contents[1]


def test_normalisation_of_the_data(tmp_path: Path, make_tree: MakeTree) -> None:
    make_tree()
    tensors, metadata = pets(tmp_path, normalisation="data")
    pixels = tensors["train_images"].double() / 255
    mean = pixels.mean((0, 1, 2)).tolist()
    assert json.loads(metadata["mean"]) == pytest.approx(mean, rel=1e-12)
    std = pixels.std((0, 1, 2), unbiased=False).tolist()
    assert json.loads(metadata["std"]) == pytest.approx(std, rel=1e-12)


def test_other_normalisations(tmp_path: Path, make_tree: MakeTree) -> None:
    make_tree()
    assert json.loads(pets(tmp_path, normalisation="unit")[1]["std"]) == [1, 1, 1]
    explicit = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    assert json.loads(pets(tmp_path, normalisation=explicit)[1]["std"]) == [0.4, 0.5, 0.6]
    with pytest.raises(UserError, match=r"1 channel\(s\), but the images have 3"):
        pets(tmp_path, normalisation="mnist")


def test_a_constant_channel_cannot_be_normalised(tmp_path: Path, make_tree: MakeTree) -> None:
    tree = make_tree({"train/a": 1, "test/a": 1})
    Image.new("RGB", (5, 6), (7, 8, 9)).save(tree / "train" / "a" / "0.png")
    with pytest.raises(UserError, match="channel 0 is the same everywhere"):
        pets(tmp_path, normalisation="data")


def test_validation_holds_out_the_last_training_images(tmp_path: Path) -> None:
    whole, _ = read(tmp_path, source="digits")
    part, metadata = read(tmp_path, source="digits", validation=100)
    assert torch.equal(part["train_images"], whole["train_images"][:-100])
    assert torch.equal(part["test_images"], whole["train_images"][-100:])
    assert torch.equal(part["test_labels"], whole["train_labels"][-100:])
    mean = (part["train_images"].double() / 255).mean().item()
    assert json.loads(metadata["mean"]) == pytest.approx([mean])
    with pytest.raises(UserError, match="validation 1437 leaves none"):
        read(tmp_path, source="digits", validation=1437)


def test_the_first_training_images_can_be_all(tmp_path: Path) -> None:
    whole, _ = read(tmp_path, source="digits")
    part, metadata = read(tmp_path, source="digits", validation=100, training_images=300)
    assert torch.equal(part["train_images"], whole["train_images"][:300])
    assert torch.equal(part["train_labels"], whole["train_labels"][:300])
    assert torch.equal(part["test_images"], whole["train_images"][-100:])
    mean = (part["train_images"].double() / 255).mean().item()
    assert json.loads(metadata["mean"]) == pytest.approx([mean])
    with pytest.raises(UserError, match="training_images is 1338, but there are 1337"):
        read(tmp_path, source="digits", validation=100, training_images=1338)


def test_a_log_says_how_many_images_are_read(
    tmp_path: Path, make_tree: MakeTree, told: Callable[[], list[str]]
) -> None:
    make_tree({"train/b": 3, "train/a": 2, "test/b": 2, "test/a": 1})
    pets(tmp_path)
    assert told() == [
        *["class 1/2", "class 2/2"] * 2,
        *(f"image {k}/8" for k in range(1, 9)),
    ]
