"""Training steps on simplexes against plain ones, and the volume's share of them."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.common import Row, build, made_up_dataset, median_ratio, seconds_in_turns
from benchmarks.training import BATCH_SIZE, SETTINGS, STEPS
from mode_connectivity.training.loop import train
from mode_connectivity.weight_space.family import Point, TrainableFamily
from mode_connectivity.weight_space.flat import FlatParameters
from mode_connectivity.weight_space.simplexes import Complex, VolumeRegulariser

SAMPLES, VERTICES, MOST_VERTICES = 5, 4, 12
TURNS = {"MNIST fully connected": 7, "VGG-16": 3, "PreResNet-20": 3}


def measure() -> list[Row]:
    """Return steps with H = 5 over plain ones, and the volume of 12 vertices of VGG-16."""
    rows: list[Row] = []
    for title in STEPS:
        network, flat, shape = build(title)
        steps = 1 if title == "VGG-16" else STEPS[title]
        examples = made_up_dataset(shape, steps * BATCH_SIZE, BATCH_SIZE).train
        family = simplex(flat, VERTICES)
        families: dict[str, TrainableFamily] = {"plain": Point(flat.vector), "SPRO": family}
        runs: dict[str, Callable[[], object]] = {
            name: partial(train, network, flat, of_run, examples, SETTINGS, seed=0)
            for name, of_run in families.items()
        }
        seconds = seconds_in_turns(runs, TURNS[title])
        rows.append(
            {
                "measurement": f"training step on a simplex, H = {SAMPLES} / plain",
                "network": title,
                "value": median_ratio(seconds["SPRO"], seconds["plain"]),
                "bound": 5.1,
            }
        )
        if title == "VGG-16":
            step = [second / steps for second in seconds["SPRO"]]
            rows.append(volume_share(flat, step))
    return rows


def simplex(flat: FlatParameters, count: int) -> Complex:
    """Return a simplex of vertices around a network, with the volume term."""
    generator = torch.Generator().manual_seed(0)
    vertices = flat.vector.repeat(count, 1)
    vertices += 1e-3 * torch.randn(vertices.shape, generator=generator)
    family = Complex(vertices, [tuple(range(count))], samples=SAMPLES)
    family.regulariser = VolumeRegulariser(family, 1e-7)
    return family


def volume_share(flat: FlatParameters, step: list[float]) -> Row:
    """Return what the volume and its gradient add to a step."""
    family = simplex(flat, MOST_VERTICES)
    gradient = torch.zeros_like(flat.vector)
    assert family.regulariser is not None
    add = family.regulariser.add_gradient
    seconds = seconds_in_turns({"volume": lambda: add([gradient])}, len(step))
    return {
        "measurement": f"volume and gradient, {MOST_VERTICES} vertices / a step on a simplex",
        "network": "VGG-16",
        "value": median_ratio(seconds["volume"], step),
        "bound": 0.02,
    }
