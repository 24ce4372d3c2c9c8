"""What the measurements share: made-up images, networks, and timing in turns."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from mode_connectivity.data.arrays import Dataset, ImageExamples
from mode_connectivity.networks import registry
from mode_connectivity.weight_space.flat import FlatParameters

Row = dict[str, Any]

NETWORKS: Mapping[str, tuple[str, tuple[int, int, int], dict[str, Any]]] = {
    "MNIST fully connected": ("fully_connected", (1, 28, 28), {}),
    "VGG-16": ("vgg16", (3, 32, 32), {}),
    "PreResNet-20": ("preresnet", (3, 32, 32), {"depth": 20}),
}


def build(title: str) -> tuple[nn.Module, FlatParameters, tuple[int, int, int]]:
    """Return a network of `NETWORKS`, its flat parameters and its input shape."""
    name, shape, options = NETWORKS[title]
    network = registry.build(name, input_shape=shape, classes=10, **options)
    return network, FlatParameters(network, channels_last=True), shape


def made_up_dataset(shape: tuple[int, int, int], train: int, test: int) -> Dataset:
    """Return random images of the given shape (C, H, W)."""
    channels, height, width = shape
    generator = torch.Generator().manual_seed(0)

    def examples(count: int) -> ImageExamples:
        size = (count, height, width, channels)
        return ImageExamples(
            images=torch.randint(0, 256, size, dtype=torch.uint8, generator=generator),
            targets=torch.randint(0, 10, (count,), generator=generator),
            mean=(0.5,) * channels,
            std=(0.25,) * channels,
        )

    return Dataset(
        train=examples(train),
        test=examples(test),
        classes=tuple(map(str, range(10))),
        input_shape=shape,
    )


def seconds_in_turns(
    runs: Mapping[str, Callable[[], object]], turns: int, warm_up: int = 1
) -> dict[str, list[float]]:
    """Run each thing once a turn, in turn, and return the seconds of every turn."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(warm_up + turns):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def median_ratio(numerator: list[float], denominator: list[float]) -> float:
    """Return the median of the ratios of turns that ran next to each other."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))
