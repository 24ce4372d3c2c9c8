from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mode_connectivity.data import sources

Images = NDArray[np.uint8]


def random_images(*shape: int, seed: int = 0) -> Images:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Write an image folder tree of PNGs; contents maps "split/class" to a number of images."""

    def make(
        contents: dict[str, int] | None = None,
        *,
        folder: str = "pets",
        shape: tuple[int, ...] = (6, 5, 3),
    ) -> Path:
        contents = contents or {"train/cat": 3, "train/ant": 4, "test/cat": 2, "test/ant": 1}
        for seed, (place, count) in enumerate(contents.items()):
            directory = tmp_path / folder / place
            directory.mkdir(parents=True)
            for index, image in enumerate(random_images(count, *shape, seed=seed)):
                Image.fromarray(image).save(directory / f"{index}.png")
        return tmp_path / folder

    return make


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Images, Images]:
    """Write MNIST's idx files with 12 training and 5 test images; return the place and both."""
    place = tmp_path / "MNIST" / "raw"
    place.mkdir(parents=True)
    parts = {"train": random_images(12, 28, 28), "t10k": random_images(5, 28, 28, seed=1)}
    for part, images in parts.items():
        labels = np.arange(len(images), dtype=np.uint8) % 10
        dimensions = b"".join(size.to_bytes(4, "big") for size in images.shape)
        (place / f"{part}-images-idx3-ubyte").write_bytes(
            bytes([0, 0, 8, 3]) + dimensions + images.tobytes()
        )
        (place / f"{part}-labels-idx1-ubyte").write_bytes(
            bytes([0, 0, 8, 1]) + len(labels).to_bytes(4, "big") + labels.tobytes()
        )
    original = sources._Original("MNIST", "MNIST/raw", (28, 28), 10, 12, 5)
    monkeypatch.setitem(sources._ORIGINALS, "mnist", original)
    return place, parts["train"], parts["t10k"]
