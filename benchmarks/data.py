"""Loading a prepared data set of the size of CIFAR-10."""

import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import Row, seconds_in_turns
from mode_connectivity.data import prepared_file
from mode_connectivity.data.arrays import load_dataset


def measure() -> list[Row]:
    """Return the seconds it takes to load 60,000 images of 32x32x3, checked."""
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made_up.safetensors"
        prepared_file.write(
            path,
            {
                f"{part}_{kind}": random.integers(0, 10 if kind == "labels" else 256, size, dtype)
                for part, count in (("train", 50_000), ("test", 10_000))
                for kind, size, dtype in (
                    ("images", (count, 32, 32, 3), np.uint8),
                    ("labels", (count,), np.int64),
                )
            },
            {"settings": "{}", "classes": "[]", "mean": "[0, 0, 0]", "std": "[1, 1, 1]"},
        )
        seconds = seconds_in_turns({"load": lambda: load_dataset(path, torch.device("cpu"))}, 5)
    return [
        {
            "measurement": "loading a prepared data set, seconds",
            "network": "of the size of CIFAR-10",
            "value": statistics.median(seconds["load"]),
            "bound": 0.5,
        }
    ]
