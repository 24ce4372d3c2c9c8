from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from mode_connectivity.data.augmentation import augment, crop, draw, flip
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.data.torchvision_import import import_torchvision

from .conftest import random_images

Transforms = list[Literal["flip", "crop"]]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("transforms", [["flip", "crop"], ["crop", "flip"], ["crop"], ["flip"], []])
@pytest.mark.parametrize("shape", [(8, 8, 3), (7, 9, 1)])
def test_batches_are_augmented_as_torchvision_augments_each_image(
    transforms: Transforms, shape: tuple[int, int, int]
) -> None:
    functional = import_torchvision().transforms.functional
    images = random_images(40, *shape)
    settings = AugmentationSettings(transforms=transforms, crop_padding=2)
    drawn = draw(settings, len(images), generator())
    found = augment(torch.from_numpy(images), drawn, settings.crop_padding)

    for index, pixels in enumerate(images):
        image = Image.fromarray(pixels.squeeze())
        for transform in transforms:
            if transform == "crop":
                top, left = drawn["crop"][index].tolist()
                padded = functional.pad(image, 2)
                image = functional.crop(padded, top, left, shape[0], shape[1])
            elif drawn["flip"][index]:
                image = functional.hflip(image)
        expected = np.asarray(image).reshape(shape)
        np.testing.assert_array_equal(found[index].numpy(), expected)
    assert found.dtype == torch.uint8 and found.is_contiguous()


def test_the_order_matters() -> None:
    images = torch.from_numpy(random_images(10, 6, 6, 3))
    drawn = {
        "flip": torch.ones(10, dtype=torch.bool),
        "crop": torch.zeros(10, 2, dtype=torch.int64),
    }
    backwards = dict(reversed(drawn.items()))
    assert not torch.equal(augment(images, drawn, 2), augment(images, backwards, 2))


def test_a_crop_in_the_middle_changes_nothing() -> None:
    images = torch.from_numpy(random_images(3, 6, 5, 3))
    assert torch.equal(crop(images, torch.full((3, 2), 4), 4), images)
    assert torch.equal(crop(images, torch.zeros(3, 2, dtype=torch.int64), 0), images)


def test_the_border_is_black() -> None:
    images = torch.full((1, 6, 6, 3), 255, dtype=torch.uint8)
    corner = crop(images, torch.tensor([[0, 8]]), 4)
    assert corner[0, :4].sum() == 0 and corner[0, :, 2:].sum() == 0
    assert corner[0, 4:, :2].min() == 255


def test_flipping_twice_changes_nothing() -> None:
    images = torch.from_numpy(random_images(4, 3, 5, 1))
    flipped = torch.tensor([True, False, True, False])
    once = flip(images, flipped)
    assert torch.equal(once[1::2], images[1::2]) and not torch.equal(once[::2], images[::2])
    assert torch.equal(flip(once, flipped), images)


def test_draws_are_uniform() -> None:
    count, places = 81 * 500, 9
    settings = AugmentationSettings(transforms=["flip", "crop"])
    drawn = draw(settings, count, generator())
    assert abs(drawn["flip"].sum().item() - count / 2) < 5 * (count / 4) ** 0.5
    cells = torch.bincount(drawn["crop"][:, 0] * places + drawn["crop"][:, 1], minlength=81)
    assert len(cells) == 81
    assert (cells - 500).abs().max() < 5 * 500**0.5
    flipped_cells = torch.bincount(drawn["crop"][drawn["flip"], 0], minlength=places)
    assert (flipped_cells - count / 18).abs().max() < 5 * (count / 18) ** 0.5


def test_a_seed_fixes_the_draws() -> None:
    settings = AugmentationSettings(transforms=["crop", "flip"])
    first, again, other = (draw(settings, 50, generator(seed)) for seed in (3, 3, 4))
    assert list(first) == ["crop", "flip"]
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first)
