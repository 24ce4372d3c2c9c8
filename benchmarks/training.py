"""Training steps on curves and of ensembles' schedules against plain ones of the same network."""

import torch
from torch.nn import functional

from benchmarks.common import Row, build, made_up_dataset, median_ratio, seconds_in_turns
from mode_connectivity.data.arrays import Examples
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.training.loop import train
from mode_connectivity.training.settings import (
    ConstantSchedule,
    CosineCyclesSchedule,
    CyclicSchedule,
    OptimiserSettings,
    TrainingSettings,
)
from mode_connectivity.weight_space.curves import Bezier, Polychain, bends_on_segment
from mode_connectivity.weight_space.family import Point, TrainableFamily

BATCH_SIZE = 128
STEPS = {"MNIST fully connected": 100, "VGG-16": 2, "PreResNet-20": 4}
TURNS = {"MNIST fully connected": 15, "VGG-16": 7, "PreResNet-20": 9}
BOUNDS = {"MNIST fully connected": 1.10, "VGG-16": 1.05, "PreResNet-20": 1.05}
SETTINGS = TrainingSettings(
    epochs=1,
    batch_size=BATCH_SIZE,
    learning_rate=1e-4,
    optimiser=OptimiserSettings(momentum=0.9, weight_decay=5e-4),
    schedule=ConstantSchedule(name="constant"),
    augmentation=AugmentationSettings(transforms=[]),
)
ENSEMBLES = {
    "FGE": CyclicSchedule(name="cyclic", period=2, minimum=0.0),
    "SSE": CosineCyclesSchedule(name="cosine_cycles", cycles=1),
}
ENSEMBLE_BOUND = 1.02


def measure() -> list[Row]:
    """Return, for each network, steps on curves and of ensembles over plain ones.

    And plain ones over those of a textbook loop.
    """
    rows: list[Row] = []
    for title, steps in STEPS.items():
        network, flat, shape = build(title)
        examples = made_up_dataset(shape, steps * BATCH_SIZE, BATCH_SIZE).train
        ends = torch.stack([flat.vector, flat.vector, flat.vector * 1.01])
        bends_on_segment(ends)
        textbook, _, _ = build(title)
        textbook.to(memory_format=torch.channels_last)
        optimiser = torch.optim.SGD(textbook.parameters(), lr=1e-4, momentum=0.9, weight_decay=5e-4)

        def run(
            family: TrainableFamily,
            network: torch.nn.Module = network,
            flat: object = flat,
            examples: Examples = examples,
            settings: TrainingSettings = SETTINGS,
        ) -> None:
            train(network, flat, family, examples, settings, seed=0)  # type: ignore[arg-type]

        def run_textbook(
            textbook: torch.nn.Module = textbook,
            optimiser: torch.optim.Optimizer = optimiser,
            examples: Examples = examples,
        ) -> None:
            textbook.train()
            batches = examples.batches(
                BATCH_SIZE,
                window=1,
                shuffle=True,
                generator=torch.Generator().manual_seed(0),
                memory_format=torch.channels_last,
            )
            for inputs, targets in batches:
                optimiser.zero_grad()
                functional.cross_entropy(textbook(inputs), targets).backward()
                optimiser.step()

        seconds = seconds_in_turns(
            {
                "plain": lambda run=run, flat=flat: run(Point(flat.vector)),
                "Bezier": lambda run=run, ends=ends: run(Bezier(ends)),
                "textbook": run_textbook,
                "Polychain": lambda run=run, ends=ends: run(Polychain(ends)),
                **{
                    method: lambda run=run, flat=flat, schedule=schedule: run(
                        Point(flat.vector),
                        settings=SETTINGS.model_copy(update={"schedule": schedule}),
                    )
                    for method, schedule in ENSEMBLES.items()
                },
            },
            TURNS[title],
        )
        rows += [
            {
                "measurement": f"training step, {curve} / plain",
                "network": title,
                "value": median_ratio(seconds[curve], seconds["plain"]),
                "bound": BOUNDS[title],
            }
            for curve in ("Bezier", "Polychain")
        ]
        rows += [
            {
                "measurement": f"training step, {method} / plain",
                "network": title,
                "value": median_ratio(seconds[method], seconds["plain"]),
                "bound": ENSEMBLE_BOUND,
            }
            for method in ENSEMBLES
        ]
        rows.append(
            {
                "measurement": "training step, plain / textbook PyTorch",
                "network": title,
                "value": median_ratio(seconds["plain"], seconds["textbook"]),
                "bound": 1.05,
            }
        )
    return rows
