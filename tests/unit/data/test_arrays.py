from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mode_connectivity.data import arrays
from mode_connectivity.data.arrays import Dataset, ImageExamples, load_dataset
from mode_connectivity.data.augmentation import augment, draw
from mode_connectivity.data.settings import AugmentationSettings, DatasetSettings
from mode_connectivity.data.sources import prepare
from mode_connectivity.settings import UserError

from .conftest import random_images

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def examples() -> ImageExamples:
    return ImageExamples(
        images=torch.from_numpy(random_images(23, 6, 5, 3)),
        targets=torch.arange(23),
        mean=MEAN,
        std=STD,
    )


def normalised(images: Tensor) -> Tensor:
    pixels = images.double() / 255
    return ((pixels - torch.tensor(MEAN)) / torch.tensor(STD)).permute(0, 3, 1, 2)


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    path = tmp_path / "digits.safetensors"
    settings = DatasetSettings(title="Digits", source="digits", image_size=10)
    prepare(settings, data_root=tmp_path, download=False, output=path)
    return path


def test_a_prepared_data_set_is_loaded(digits: Path) -> None:
    dataset = load_dataset(digits, CPU)
    assert isinstance(dataset, Dataset)
    assert dataset.input_shape == (1, 10, 10)
    assert dataset.classes == tuple("0123456789")
    assert len(dataset.train) == 1437 and len(dataset.test) == 360
    inputs = torch.cat([inputs for inputs, _ in dataset.train.batches(100)])
    assert inputs.shape == (1437, 1, 10, 10)
    assert inputs.mean().item() == pytest.approx(0, abs=1e-5)
    assert inputs.std().item() == pytest.approx(1, abs=1e-5)


def test_images_need_not_be_square(tmp_path: Path, make_tree: Callable[..., Path]) -> None:
    make_tree(shape=(6, 5, 3))
    path = tmp_path / "pets.safetensors"
    settings = DatasetSettings(title="Pets", source="image_folder", folder="pets")
    prepare(settings, data_root=tmp_path, download=False, output=path)
    dataset = load_dataset(path, CPU)
    assert dataset.input_shape == (3, 6, 5)
    assert next(dataset.train.batches(2))[0].shape == (2, 3, 6, 5)
    assert dataset.classes == ("ant", "cat")


def test_a_damaged_file_is_refused(digits: Path) -> None:
    content = bytearray(digits.read_bytes())
    content[len(content) // 2] ^= 1
    digits.write_bytes(content)
    with pytest.raises(UserError, match=r"digits\.safetensors.*Delete the file"):
        load_dataset(digits, CPU)


def test_inputs_are_normalised_and_in_order(examples: ImageExamples) -> None:
    batches = list(examples.batches(10))
    assert [len(targets) for _, targets in batches] == [10, 10, 3]
    inputs = torch.cat([inputs for inputs, _ in batches])
    torch.testing.assert_close(inputs.double(), normalised(examples.images), rtol=0, atol=1e-5)
    assert inputs.dtype == torch.float32
    assert torch.cat([targets for _, targets in batches]).tolist() == list(range(23))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_memory_format(examples: ImageExamples, memory_format: torch.memory_format) -> None:
    expected = normalised(examples.images)
    for inputs, targets in examples.batches(10, memory_format=memory_format):
        assert inputs.is_contiguous(memory_format=memory_format)
        torch.testing.assert_close(inputs.double(), expected[targets], rtol=0, atol=1e-5)


def test_shuffling_takes_each_example_once(examples: ImageExamples) -> None:
    expected = normalised(examples.images)
    taken: Counter[int] = Counter()
    for inputs, targets in examples.batches(4, shuffle=True, generator=generator()):
        torch.testing.assert_close(inputs.double(), expected[targets], rtol=0, atol=1e-5)
        taken.update(targets.tolist())
    assert taken == Counter(range(23))


def test_a_seed_fixes_a_pass(examples: ImageExamples) -> None:
    augmentation = AugmentationSettings(transforms=["flip", "crop"])

    def take(generator: torch.Generator) -> list[Tensor]:
        batches = examples.batches(4, shuffle=True, augmentation=augmentation, generator=generator)
        return [tensor for batch in batches for tensor in batch]

    same = generator(1)
    first, next_pass = take(same), take(same)
    again, other = take(generator(1)), take(generator(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])
    assert not torch.equal(first[1], next_pass[1])


def test_the_pass_is_drawn_at_the_call(examples: ImageExamples) -> None:
    augmentation = AugmentationSettings(transforms=["crop"])
    taken, untaken = generator(), generator()
    list(examples.batches(4, shuffle=True, augmentation=augmentation, generator=taken))
    examples.batches(7, shuffle=True, augmentation=augmentation, generator=untaken)
    assert torch.equal(taken.get_state(), untaken.get_state())


def test_images_are_augmented_before_they_are_normalised(examples: ImageExamples) -> None:
    augmentation = AugmentationSettings(transforms=["crop", "flip"], crop_padding=2)
    batches = examples.batches(4, augmentation=augmentation, generator=generator(5))
    found = torch.cat([inputs for inputs, _ in batches])
    drawn = draw(augmentation, 23, generator(5))
    expected = normalised(augment(examples.images, drawn, 2))
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-5)
    black = -torch.tensor(MEAN) / torch.tensor(STD)
    assert (found - black.view(1, 3, 1, 1)).abs().amax(1).lt(1e-5).any()


def test_each_pass_augments_each_image_anew(examples: ImageExamples) -> None:
    augmentation = AugmentationSettings(transforms=["crop"])
    same = generator()
    first, second = (
        next(examples.batches(23, augmentation=augmentation, generator=same)) for _ in range(2)
    )
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], second[0])


def test_randomness_needs_a_generator(examples: ImageExamples) -> None:
    with pytest.raises(ValueError, match="generator"):
        examples.batches(4, shuffle=True)
    with pytest.raises(ValueError, match="generator"):
        examples.batches(4, augmentation=AugmentationSettings(transforms=["flip"]))
    assert len(list(examples.batches(4, augmentation=AugmentationSettings(transforms=[])))) == 6
    with pytest.raises(ValueError, match="batch_size is 0"):
        examples.batches(0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_prepared_batches_can_be_taken_again(
    examples: ImageExamples, memory_format: torch.memory_format
) -> None:
    needed = 4 * 23 * 6 * 5 * 3
    kept = examples.prepared_batches(5, memory_budget=needed, memory_format=memory_format)
    anew = examples.prepared_batches(5, memory_budget=needed - 1, memory_format=memory_format)
    assert isinstance(kept, list) and not isinstance(anew, list)
    once = list(examples.batches(5, memory_format=memory_format))
    for batches in (kept, kept, anew, anew):
        for (inputs, targets), expected in zip(batches, once, strict=True):
            assert torch.equal(inputs, expected[0]) and torch.equal(targets, expected[1])
            assert inputs.stride() == expected[0].stride()


def test_making_several_batches_at_once_changes_nothing(
    examples: ImageExamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    augmentation = AugmentationSettings(transforms=["flip", "crop"])

    def take() -> list[tuple[Tensor, Tensor]]:
        batches = examples.batches(
            4, shuffle=True, augmentation=augmentation, generator=generator()
        )
        return list(batches)

    one_by_one = take()
    monkeypatch.setattr(arrays, "_examples_made_at_once", lambda *_: 12)
    for (inputs, targets), expected in zip(take(), one_by_one, strict=True):
        torch.testing.assert_close(inputs, expected[0])
        assert torch.equal(targets, expected[1])


def test_whole_batches_are_made_at_once() -> None:
    cuda = torch.device("cuda")
    count = arrays._examples_made_at_once(128, 3072, cuda)
    assert count % 128 == 0 and 2**24 < count * 3072 <= 2**25
    assert arrays._examples_made_at_once(512, 3 * 224 * 224, cuda) == 512
    assert arrays._examples_made_at_once(128, 3072, CPU) == 128
