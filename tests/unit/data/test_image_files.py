import importlib
import json
import math
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import Tensor

from mode_connectivity.data import image_files, prepared_file
from mode_connectivity.data.arrays import load_dataset
from mode_connectivity.data.image_files import (
    ImageFiles,
    centre_crop,
    draw_window,
    load_image_files,
    prepare_image_files,
)
from mode_connectivity.data.settings import AugmentationSettings, ImageFilesSettings
from mode_connectivity.data.torchvision_import import import_torchvision
from mode_connectivity.settings import UserError

from .conftest import random_images

CPU = torch.device("cpu")
STANDARD = AugmentationSettings(transforms=["crop", "flip"])
SETTINGS = {"title": "Pets", "source": "image_files", "folder": "pets", "image_size": 8}
UNSCALED = {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]}
MakeTree = Callable[..., Path]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    return Image.fromarray(random_images(height, width, 3, seed=seed)).convert(mode)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Images of many sizes, kinds and names: 9 and 6 for training, 4 and 2 for validation."""
    kinds = [("RGB", "png"), ("RGB", "JPEG"), ("L", "jpg"), ("P", "png"), ("CMYK", "jpg")]
    counts = {"train/cat": 9, "train/ant": 6, "val/cat": 4, "val/ant": 2}
    seed = 0
    for place, count in counts.items():
        folder = tmp_path / "pets" / place
        folder.mkdir(parents=True)
        for index in range(count):
            mode, suffix = kinds[index % len(kinds)]
            image = picture(9 + 7 * seed % 23, 8 + 5 * seed % 31, mode, seed)
            image.save(folder / f"{place[:2]} ü{index}.{suffix}")
            seed += 1
    return tmp_path / "pets"


def prepare(data_root: Path, **settings: Any) -> Path:
    output = data_root / "results" / "pets.safetensors"
    prepare_image_files(
        ImageFilesSettings.model_validate({"resize": 10, **SETTINGS, **settings}),
        data_root=data_root,
        output=output,
    )
    return output


def load(path: Path, workers: int = 2) -> tuple[ImageFiles, ImageFiles]:
    train, test, _, _ = load_image_files(*prepared_file.read(path), CPU)
    for part in (train, test):
        object.__setattr__(part, "workers", workers)
    return train, test


def listed(path: Path, part: str) -> list[Path]:
    tensors, metadata = prepared_file.read(path)
    names = tensors[f"{part}_paths"].numpy().tobytes().decode().split("\0")
    assert names.pop() == ""
    return [Path(metadata["folder"], name) for name in names]


def pixels(inputs: Tensor) -> list[Any]:
    """Inputs that were only divided by 255, as images."""
    return list((inputs * 255).round().byte().permute(0, 2, 3, 1).numpy())


# Preparing


def test_the_files_are_listed(tree: Path) -> None:
    path = prepare(tree.parent)
    tensors, metadata = prepared_file.read(path)
    assert metadata["format"] == prepared_file.IMAGE_FILES_FORMAT
    assert json.loads(metadata["classes"]) == ["ant", "cat"]
    assert json.loads(metadata["mean"]) == [0.485, 0.456, 0.406]
    for part, folder in (("train", "train"), ("test", "val")):
        paths = listed(path, part)
        assert sorted(paths) == sorted(found for found in (tree / folder).glob("*/*"))
        labels = tensors[f"{part}_labels"].tolist()
        assert labels == [("ant", "cat").index(found.parent.name) for found in paths]
        # Not class by class.
        assert labels != sorted(labels)
    first = path.read_bytes()
    assert prepare(tree.parent).read_bytes() == first


def test_a_test_folder_takes_the_place_of_val(tree: Path) -> None:
    before = listed(prepare(tree.parent), "test")
    (tree / "val").rename(tree / "test")
    after = listed(prepare(tree.parent), "test")
    assert after == [tree / "test" / path.relative_to(tree / "val") for path in before]


def test_val_comes_before_an_unlabelled_test(tree: Path) -> None:
    (tree / "test").mkdir()
    assert {path.parents[1].name for path in listed(prepare(tree.parent), "test")} == {"val"}


def test_a_loaded_data_set(tree: Path) -> None:
    dataset = load_dataset(prepare(tree.parent), CPU)
    assert dataset.classes == ("ant", "cat")
    assert dataset.input_shape == (3, 8, 8)
    assert (len(dataset.train), len(dataset.test)) == (15, 6)
    assert dataset.train.targets.sum() == 9
    assert dataset.train.iterations(4, window=1) == 4


@pytest.mark.parametrize(
    ("missing", "message"),
    [("train", "has no folder train. Looked"), ("val", "has no folder val. Looked")],
)
def test_a_missing_part(tree: Path, missing: str, message: str) -> None:
    (tree / missing).rename(tree / "elsewhere")
    with pytest.raises(UserError, match=message) as caught:
        prepare(tree.parent)
    assert f"{tree}/train/<class>/<image>" in str(caught.value)
    assert "name another `folder`" in str(caught.value)


def test_a_missing_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no folder train and val.*image-net\.org") as caught:
        prepare(tmp_path, source="imagenet", folder=None, title="ImageNet")
    assert f"{tmp_path}/imagenet/train/<class>/<image>" in str(caught.value)


def test_a_class_that_one_part_lacks(tree: Path) -> None:
    (tree / "val" / "ant").rename(tree / "val" / "gnu")
    with pytest.raises(UserError, match="both parts need the same class folders") as caught:
        prepare(tree.parent)
    assert f"{tree}/val lacks ant" in str(caught.value)
    assert f"{tree}/train lacks gnu" in str(caught.value)


def test_images_that_are_not_sorted_by_class(tree: Path) -> None:
    for path in list((tree / "val").glob("*/*")):
        path.rename(tree / "val" / f"{path.parent.name}{path.name}")
    for folder in ("ant", "cat"):
        (tree / "val" / folder).rmdir()
    with pytest.raises(UserError, match=r"pets/val has no class folders\. Sort"):
        prepare(tree.parent)


def test_a_class_without_images(tree: Path) -> None:
    for path in (tree / "train" / "ant").iterdir():
        path.rename(path.with_suffix(".txt"))
    with pytest.raises(UserError, match="train/ant has no images; files that end in"):
        prepare(tree.parent)


def test_imagenet_must_be_whole(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError) as caught:
        prepare(tree.parent, source="imagenet")
    assert (
        f"{tree} is not the whole of ImageNet (ILSVRC 2012): 2 classes where there are 1,000; "
        "15 training images where there are 1,281,167; 6 validation images where there are 50,000."
    ) in str(caught.value)
    counts = {"classes": 2, "training images": 15, "validation images": 6}
    monkeypatch.setattr(image_files, "_IMAGENET", counts)
    assert prepare(tree.parent, source="imagenet").is_file()
    monkeypatch.setitem(counts, "validation images", 7)
    with pytest.raises(UserError, match=r"2012\): 6 validation images where there are 7\."):
        prepare(tree.parent, source="imagenet")


def test_all_unreadable_images_are_told_at_once(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_CHECKED_AT_ONCE", 4)
    bad = sorted(tree.glob("*/cat/*"))[:12]
    for path in bad:
        # Half a file has a header that can be read.
        contents = path.read_bytes()
        path.write_bytes(contents[: len(contents) // 2])
    with pytest.raises(UserError, match="12 of 21 images cannot be read") as caught:
        prepare(tree.parent)
    told = [path for path in bad if str(path) in str(caught.value)]
    assert len(told) == 10
    assert "and 2 more" in str(caught.value)
    assert not (tree.parent / "results").exists()
    assert prepare(tree.parent, verify=False).is_file()


# One image


@pytest.fixture
def transforms() -> ModuleType:
    import_torchvision()
    return importlib.import_module("torchvision.transforms.v2")


SIZES = [(40, 30), (30, 40), (33, 33), (10, 57), (31, 10), (8, 9), (500, 375), (375, 501)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("resize", "side"), [(10, 8), (33, 33), (32, 28), (17, 8)])
def test_a_test_image_is_torchvisions(
    transforms: ModuleType, size: tuple[int, int], resize: int, side: int
) -> None:
    expected = transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(side)])
    image = picture(*size)
    np.testing.assert_array_equal(centre_crop(image, resize, side), expected(image))


@pytest.mark.parametrize("size", [*SIZES, (3, 200), (200, 3), (1, 1)])
def test_a_window_is_torchvisions(size: tuple[int, int]) -> None:
    drawing = import_torchvision().transforms.RandomResizedCrop(8)
    image = picture(*size)
    for seed in range(100):
        torch.manual_seed(seed)
        top, left, height, width = drawing.get_params(image, drawing.scale, drawing.ratio)
        window = draw_window(*size, generator(seed))
        assert window == (left, top, left + width, top + height)


def test_windows_are_spread_evenly() -> None:
    side = 10_000
    source = generator()
    windows = np.array([draw_window(side, side, source) for _ in range(4_000)])
    left, top, right, bottom = windows.T
    across, down = right - left, bottom - top
    area, aspect = across * down / side**2, across / down
    assert windows.min() >= 0 and windows.max() <= side
    assert area.min() > 0.0799 and area.max() <= 1
    assert aspect.min() > 0.749 and aspect.max() < 1.335
    # Any window of up to 3/4 of a square's area fits into it.
    fits = area < 0.75
    for values, low, high in (
        (area[fits], 0.08, 0.75),
        (np.log(aspect[fits]), math.log(3 / 4), math.log(4 / 3)),
        (left[fits] / (side - across[fits]), 0, 1),
        (top[fits] / (side - down[fits]), 0, 1),
    ):
        assert stats.kstest(values, "uniform", (low, high - low)).pvalue > 0.001


# Passes


def test_a_pass_without_changes(transforms: ModuleType, tree: Path) -> None:
    path = prepare(tree.parent)
    _, test = load(path)
    expected = transforms.Compose(
        [
            transforms.Resize(10),
            transforms.CenterCrop(8),
            transforms.ToImage(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    images = [Image.open(found).convert("RGB") for found in listed(path, "test")]
    batches = list(test.batches(4, memory_format=torch.channels_last))
    assert [len(targets) for _, targets in batches] == [4, 2]
    inputs = torch.cat([inputs for inputs, _ in batches])
    torch.testing.assert_close(inputs, torch.stack([expected(image) for image in images]))
    assert torch.equal(torch.cat([targets for _, targets in batches]), test.targets)
    assert batches[0][0].dtype == torch.float32 and batches[0][1].dtype == torch.int64
    assert batches[0][0].is_contiguous(memory_format=torch.channels_last)
    assert next(test.batches(4))[0].is_contiguous()


def test_training_images_are_torchvisions(transforms: ModuleType, tree: Path) -> None:
    path = prepare(tree.parent, normalisation=UNSCALED)
    train, _ = load(path)
    drawing = import_torchvision().transforms.RandomResizedCrop(8)
    functional = transforms.functional
    batches = list(train.batches(4, shuffle=True, augmentation=STANDARD, generator=generator(3)))
    found = pixels(torch.cat([inputs for inputs, _ in batches]))

    draws = generator(3)
    order = torch.randperm(15, generator=draws)
    seeds = torch.randint(2**32, (15,), generator=draws)
    assert torch.equal(torch.cat([targets for _, targets in batches]), train.targets[order])
    paths = listed(path, "train")
    flips = 0
    for example, seed, image in zip(order.tolist(), seeds.tolist(), found, strict=True):
        original = Image.open(paths[example]).convert("RGB")
        torch.manual_seed(seed)
        window = drawing.get_params(original, drawing.scale, drawing.ratio)
        expected = functional.resized_crop(original, *window, [8, 8])
        if torch.rand(1) < 0.5:
            flips += 1
            expected = functional.horizontal_flip(expected)
        np.testing.assert_array_equal(image, np.asarray(expected))
    assert 0 < flips < 15


def test_only_flips(tree: Path) -> None:
    train, _ = load(prepare(tree.parent, normalisation=UNSCALED))
    augmentation = AugmentationSettings(transforms=["flip"])
    [(plain, _)] = train.batches(15)
    flips = 0
    for seed in range(20):
        [(inputs, _)] = train.batches(15, augmentation=augmentation, generator=generator(seed))
        for image, original in zip(inputs, plain, strict=True):
            flipped = torch.equal(image, original.flip(2))
            assert flipped or torch.equal(image, original)
            flips += flipped
    assert stats.binomtest(flips, 300).pvalue > 0.001


def test_neither_threads_nor_batches_change_a_result(tree: Path) -> None:
    path = prepare(tree.parent)
    passes = []
    for workers, batch_size in ((1, 15), (2, 15), (7, 15), (2, 1), (3, 4)):
        train, _ = load(path, workers)
        batches = list(
            train.batches(batch_size, shuffle=True, augmentation=STANDARD, generator=generator())
        )
        passes.append([torch.cat(tensors) for tensors in zip(*batches, strict=True)])
    for inputs, targets in passes[1:]:
        assert torch.equal(inputs, passes[0][0])
        assert torch.equal(targets, passes[0][1])


def test_all_is_drawn_when_a_pass_is_asked_for(tree: Path) -> None:
    train, _ = load(prepare(tree.parent))
    source, other = generator(), generator()
    before = torch.get_rng_state()
    batches = train.batches(4, shuffle=True, augmentation=STANDARD, generator=source)
    state = source.get_state()
    list(batches)
    assert torch.equal(source.get_state(), state)
    list(islice(train.batches(4, shuffle=True, augmentation=STANDARD, generator=other), 1))
    assert torch.equal(other.get_state(), state)
    assert torch.equal(torch.get_rng_state(), before)
    first = next(train.batches(15, augmentation=STANDARD, generator=source))[0]
    second = next(train.batches(15, augmentation=STANDARD, generator=source))[0]
    assert not torch.equal(first, second)


def test_an_abandoned_pass_leaves_no_threads(tree: Path) -> None:
    train, _ = load(prepare(tree.parent))
    running = threading.active_count()
    batches = train.batches(1)
    next(batches)
    assert threading.active_count() > running
    del batches
    assert threading.active_count() == running


@pytest.mark.parametrize("kept", [True, False])
def test_prepared_batches_are_kept_where_they_fit(tree: Path, kept: bool) -> None:
    path = prepare(tree.parent)
    _, test = load(path)
    size = 6 * 3 * 8 * 8 * 4
    batches = test.prepared_batches(4, memory_budget=size if kept else size - 1)
    first = list(batches)
    for (inputs, targets), (expected, labels) in zip(first, test.batches(4), strict=True):
        assert torch.equal(inputs, expected)
        assert torch.equal(targets, labels)
    listed(path, "test")[5].unlink()
    if kept:
        assert len(list(batches)) == 2
    else:
        with pytest.raises(UserError):
            list(batches)


def test_an_image_that_cannot_be_read_in_training(tree: Path) -> None:
    path = prepare(tree.parent)
    train, _ = load(path)
    bad = listed(path, "train")[7]
    bad.unlink()
    batches = train.batches(3)
    next(batches)
    with pytest.raises(UserError, match="delete the prepared data set") as caught:
        list(batches)
    assert str(bad) in str(caught.value)


def test_misuse(tree: Path) -> None:
    train, _ = load(prepare(tree.parent))
    with pytest.raises(ValueError, match="batch_size is 0"):
        train.batches(0)
    for arguments in ({"shuffle": True}, {"augmentation": STANDARD}):
        with pytest.raises(ValueError, match="need a generator"):
            train.batches(4, **arguments)


def test_a_log_says_how_many_images_are_checked(
    tree: Path, told: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_CHECKED_AT_ONCE", 8)
    prepare(tree.parent, verify=True)
    assert told()[-3:] == ["image 8/21", "image 16/21", "image 21/21"]
