"""Corrupted test images in files: published ones made by hand, and generated ones."""

import json

import numpy as np
import pytest
import torch

from mode_connectivity.data import corruptions, prepared_file
from mode_connectivity.data.arrays import load_dataset
from mode_connectivity.data.corrupted_images import load_corrupted, prepare_corrupted
from mode_connectivity.data.corruption_settings import CorruptionSettings
from mode_connectivity.data.corruptions import corrupt
from mode_connectivity.settings import UserError

CPU = torch.device("cpu")
TESTS = 7


@pytest.fixture
def prepared(tmp_path):
    """A prepared data set of 7 test images, and these."""

    def make(name="data", channels=3, seed=0):
        random = np.random.default_rng(seed)
        images = random.integers(0, 256, (TESTS, 6, 5, channels), dtype=np.uint8)
        labels = random.integers(0, 4, TESTS)
        path = tmp_path / f"{name}.safetensors"
        arrays = {"train_images": images[:3], "train_labels": labels[:3]}
        arrays |= {"test_images": images, "test_labels": labels}
        constants = {"mean": json.dumps([0.5] * channels), "std": json.dumps([0.25] * channels)}
        prepared_file.write(path, arrays, {"classes": '["a", "b", "c", "d"]', **constants})
        return path, images, labels

    return make


@pytest.fixture
def published(tmp_path, prepared):
    """A folder of published files of that data set."""
    _, images, labels = prepared()
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    files = np.concatenate([images // severity for severity in range(1, 6)])
    np.save(folder / "fog.npy", files)
    np.save(folder / "labels.npy", np.tile(labels, 5).astype(np.uint8))
    return folder, images, labels


def prepare(tmp_path, dataset, name="fog", dataset_source="cifar10", **settings):
    output = tmp_path / "corrupted" / f"{name}.safetensors"
    prepare_corrupted(
        name,
        CorruptionSettings(**settings),
        dataset=dataset,
        dataset_source=dataset_source,
        data_root=tmp_path,
        output=output,
    )
    return output


@pytest.mark.parametrize("channels", [1, 3])
def test_generated_images(tmp_path, prepared, channels):
    path, images, labels = prepared(channels=channels)
    output = prepare(tmp_path, path, "saturate", seed=3)
    tensors, metadata = prepared_file.read(output)
    assert tensors["labels"].tolist() == labels.tolist()
    for severity in range(1, 6):
        expected = corrupt(images, "saturate", severity, seed=3)
        assert np.array_equal(tensors["images"][severity - 1].numpy(), expected)
    assert (metadata["source"], metadata["seed"]) == ("generated", "3")
    assert bool(metadata["approximation"]) == (channels == 1)
    before = output.read_bytes()
    prepare(tmp_path, path, "saturate", seed=3)
    assert output.read_bytes() == before


def test_published_images_are_used_where_they_are(tmp_path, published, prepared):
    _, images, _ = published
    path, *_ = prepared()
    for source in ("auto", "published"):
        tensors, metadata = prepared_file.read(prepare(tmp_path, path, source=source))
        for severity in range(1, 6):
            assert np.array_equal(tensors["images"][severity - 1].numpy(), images // severity)
        assert (metadata["source"], metadata["approximation"]) == ("published", "")
    _, metadata = prepared_file.read(prepare(tmp_path, path, source="generated"))
    assert metadata["source"] == "generated"
    # Only those of this data set, unless their folder is named.
    _, metadata = prepared_file.read(prepare(tmp_path, path, source="auto", folder="elsewhere"))
    assert metadata["source"] == "generated"


def test_the_first_test_images_alone(tmp_path, published, prepared):
    _, images, labels = published
    path, *_ = prepared()
    for source in ("published", "generated"):
        tensors, _ = prepared_file.read(prepare(tmp_path, path, source=source, examples=2))
        assert tensors["images"].shape == (5, 2, 6, 5, 3)
        assert tensors["labels"].tolist() == labels[:2].tolist()
    assert np.array_equal(
        prepared_file.read(prepare(tmp_path, path, examples=2))[0]["images"][1].numpy(),
        images[:2] // 2,
    )


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("fog", np.zeros((5 * TESTS, 6, 5, 3)), r"fog.npy: float64 \[35, 6, 5, 3\]; .* uint8 \[35"),
        ("fog", np.zeros((TESTS, 6, 5, 3), np.uint8), r"uint8 \[7, 6, 5, 3\]; .* uint8 \[35, 6"),
        ("fog", np.zeros((5 * TESTS, 5, 6, 3), np.uint8), r"uint8 \[35, 5, 6, 3\]"),
        ("labels", np.zeros(TESTS, np.uint8), r"labels.npy: uint8 \[7\]; whole numbers \[35\]"),
        ("labels", np.zeros(5 * TESTS), r"float64 \[35\]"),
        ("labels", np.full(5 * TESTS, 9), r"35 of 35 labels differ .* torchvision's layout"),
        ("fog", None, r"fog.npy: no such file; the folder holds labels.npy"),
        ("labels", None, r"labels.npy: no such file; the folder holds fog.npy"),
        ("fog", b"\x93NUMPY", r"fog.npy: not a whole NumPy file"),
        ("fog", np.array([{}]), r"fog.npy: not a whole NumPy file"),
    ],
)
def test_wrong_published_files_are_refused(tmp_path, published, prepared, file, content, message):
    folder, *_ = published
    path, *_ = prepared()
    target = folder / f"{file}.npy"
    target.unlink()
    if isinstance(content, bytes):
        target.write_bytes(content)
    elif content is not None:
        np.save(target, content)
    with pytest.raises(UserError, match=message) as caught:
        prepare(tmp_path, path)
    assert "source: generated" in str(caught.value)
    assert not (tmp_path / "corrupted").exists()


def test_a_missing_folder(tmp_path, prepared):
    path, *_ = prepared()
    with pytest.raises(UserError, match=r"CIFAR-10-C: no such folder.*source: generated"):
        prepare(tmp_path, path, source="published")
    _, metadata = prepared_file.read(prepare(tmp_path, path, source="auto"))
    assert metadata["source"] == "generated"


def test_only_images_in_memory_are_corrupted(tmp_path, text_path):
    with pytest.raises(UserError, match="not a data set of images in memory"):
        prepare(tmp_path, text_path)


def test_images_are_read_severity_after_severity(tmp_path, prepared):
    path, images, labels = prepared()
    dataset = load_dataset(path, CPU)
    corrupted, metadata = load_corrupted(prepare(tmp_path, path, "contrast", examples=4), dataset)
    assert metadata["corruption"] == "contrast"
    assert corrupted.targets.tolist() == 5 * labels[:4].tolist()
    ((inputs, _),) = corrupted.batches(20)
    for severity in range(1, 6):
        pixels = corrupt(images[:4], "contrast", severity) / 255
        expected = np.moveaxis((pixels - 0.5) / 0.25, 3, 1)
        own = inputs[4 * (severity - 1) : 4 * severity]
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-6)


def test_images_of_another_data_set_are_refused(tmp_path, prepared):
    path, *_ = prepared()
    output = prepare(tmp_path, path)
    other, *_ = prepared("other", seed=1)
    with pytest.raises(UserError, match="of another data set"):
        load_corrupted(output, load_dataset(other, CPU))
    with pytest.raises(UserError, match="no corrupted images"):
        load_corrupted(path, load_dataset(path, CPU))


def test_a_log_says_how_many_images_are_corrupted(tmp_path, prepared, told, monkeypatch):
    path, _, _ = prepared()
    monkeypatch.setattr(corruptions, "IMAGES_AT_ONCE", 4)
    prepare(tmp_path, path)
    assert told() == [
        f"severity {severity}/5  image {image}/7" for severity in range(1, 6) for image in (4, 7)
    ]
