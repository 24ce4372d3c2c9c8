"""Peak memory of training a curve, beyond that of training a network with plain PyTorch."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional

from benchmarks.common import Row, build, made_up_dataset
from benchmarks.training import BATCH_SIZE, SETTINGS
from mode_connectivity.job import peak_memory_mb
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.loop import train
from mode_connectivity.weight_space.curves import Bezier, bends_on_segment

TITLE = "VGG-16"


def measure() -> list[Row]:
    """Return how many copies of the network a curve's training holds beyond a plain training.

    Plain PyTorch holds three (weights, gradients, momentum); a curve with one bend three vertices
    and three vectors. Its checkpoint is written as after an epoch of more than a few seconds, or
    has to wait in a copy of its own, of two vectors.
    """
    peaks = {
        kind: float(
            subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", kind],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for kind in ("plain", "long epochs", "short epochs")
    }
    _, flat, _ = build(TITLE)
    copy = len(flat) * 4 / 1024**2
    return [
        {
            "measurement": f"peak memory, curve beyond plain, in copies of the network, {kind}",
            "network": TITLE,
            "value": (peaks[kind] - peaks["plain"]) / copy,
            "bound": 3.0,
        }
        for kind in ("long epochs", "short epochs")
    ]


def run(kind: str) -> None:
    """Train for epochs of two steps and print the peak memory of this process in MiB."""
    torch.set_num_threads(1)
    network, flat, shape = build(TITLE)
    examples = made_up_dataset(shape, 2 * BATCH_SIZE, 1).train
    if kind != "plain":
        vertices = torch.empty(3, len(flat))
        for vertex in vertices:
            vertex.copy_(flat.vector)
        bends_on_segment(vertices)
        # After the first epoch the checkpoint is written, after the others it waits.
        settings = SETTINGS.model_copy(update={"epochs": 1 if kind == "long epochs" else 3})
        with TemporaryDirectory() as folder:
            checkpoint = Checkpoint(Path(folder) / "checkpoint.safetensors", kind)
            curve = Bezier(vertices)
            train(network, flat, curve, examples, settings, seed=0, checkpoint=checkpoint)
    else:
        optimiser = torch.optim.SGD(network.parameters(), lr=1e-4, momentum=0.9)
        network.train()
        batches = examples.batches(BATCH_SIZE, window=1, memory_format=torch.channels_last)
        for inputs, targets in batches:
            optimiser.zero_grad()
            functional.cross_entropy(network(inputs), targets).backward()
            optimiser.step()
    print(peak_memory_mb()["cpu"])


if __name__ == "__main__":
    run(sys.argv[1])
