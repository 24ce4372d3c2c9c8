"""Draws of SWAG: their evaluation against bare forward passes, and the memory of the Gaussian."""

import subprocess
import sys

import torch

from benchmarks.common import Row, build, made_up_dataset, median_ratio, seconds_in_turns
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.ensembling.swag import Component, SwagSamples, fit_gaussian
from mode_connectivity.evaluation.evaluator import evaluate
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.job import peak_memory_mb
from mode_connectivity.training.networks import Workspace

TITLE = "VGG-16"
RANK = 20
EXAMPLES, BATCH_SIZE = 1000, 250
"""The time of a draw does not depend on the examples: CIFAR-10 has ten times as many."""


def measure() -> list[Row]:
    """Return evaluation over bare passes, and vectors held beyond the network."""
    peak = subprocess.run(
        [sys.executable, "-m", "benchmarks.swag"], capture_output=True, text=True, check=True
    ).stdout
    return [
        {
            "measurement": f"SWAG sample / bare forward passes, {EXAMPLES} images",
            "network": TITLE,
            "value": _ratio(),
            "bound": 1.10,
        },
        {
            "measurement": f"SWAG of rank {RANK}, peak memory in copies of the network",
            "network": TITLE,
            "value": float(peak),
            "bound": RANK + 3.0,
        },
    ]


def _ratio() -> float:
    network, flat, shape = build(TITLE)
    dataset = made_up_dataset(shape, 1, EXAMPLES)
    settings = SwagSettings(rank=RANK, samples=1)
    component = Component({}, [lambda out: out.normal_(0.0, 0.01)] * RANK, seed=0)
    family = SwagSamples([component], settings, Workspace(network, flat, dataset))
    parameters = family.parameters()
    # Fitting is done once for all draws.
    family.write([0, 0], flat.vector)
    batches = dataset.test.prepared_batches(BATCH_SIZE, memory_format=torch.channels_last)

    def bare() -> None:
        network.eval()
        with torch.inference_mode():
            for _ in range(len(parameters)):
                for inputs, _ in batches:
                    network(inputs)

    def samples() -> None:
        evaluate(
            network,
            flat,
            family,
            parameters,
            dataset,
            EvaluationSettings(batch_size=BATCH_SIZE),
            weight_decay=5e-4,
            augmentation=AugmentationSettings(transforms=[]),
            seed=0,
            parts=("test",),
        )

    seconds = seconds_in_turns({"bare": bare, "samples": samples}, turns=3)
    return median_ratio(seconds["samples"], seconds["bare"])


def run() -> None:
    """Print the peak memory of fitting and drawing, in vectors of the network's size."""
    torch.set_num_threads(1)
    _, flat, _ = build(TITLE)
    vector = flat.vector.normal_()
    before = peak_memory_mb()["cpu"]
    gaussian = fit_gaussian([lambda out: out.normal_()] * (RANK + 1), RANK, 1e-6, vector)
    gaussian.draw(0, 0.5, vector)
    print((peak_memory_mb()["cpu"] - before) / (len(flat) * 4 / 1024**2))


if __name__ == "__main__":
    run()
