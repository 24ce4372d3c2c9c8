"""Evaluating a grid against the bare forward passes that it needs."""

from collections.abc import Callable
from functools import partial

import torch

from benchmarks.common import Row, build, made_up_dataset, median_ratio, seconds_in_turns
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.evaluation.batch_norm import batch_norms
from mode_connectivity.evaluation.evaluator import evaluate
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.weight_space.curves import Bezier, unit_grid
from mode_connectivity.weight_space.family import Family
from mode_connectivity.weight_space.simplexes import DrawnPoints, draw_points

POINTS = 3
EXAMPLES = {
    "MNIST fully connected": (12000, 2000),
    "VGG-16": (250, 125),
    "PreResNet-20": (1000, 500),
}
BATCH_SIZE = 125


def measure() -> list[Row]:
    """Return grid evaluation over bare forward passes for each network."""
    rows: list[Row] = []
    for title, (train, test) in EXAMPLES.items():
        network, flat, shape = build(title)
        dataset = made_up_dataset(shape, train, test)
        vertices = torch.stack([flat.vector, flat.vector * 1.01, flat.vector * 0.99])
        rows_of_samples = draw_points([(0, 1, 2)], 3, POINTS, torch.Generator().manual_seed(0))
        numbers = torch.arange(1, POINTS + 1, dtype=torch.float64).unsqueeze(1)
        families = {
            "grid": (Bezier(vertices), unit_grid(POINTS)),
            "grid of samples of a simplex": (DrawnPoints(vertices, rows_of_samples), numbers),
        }
        passes = [
            *(dataset.train.prepared_batches(BATCH_SIZE, memory_format=torch.channels_last)),
            *(dataset.test.prepared_batches(BATCH_SIZE, memory_format=torch.channels_last)),
        ]
        statistics_pass = passes[: -(-train // BATCH_SIZE)] if batch_norms(network) else []

        def bare(
            network: torch.nn.Module = network,
            passes: list[tuple[torch.Tensor, torch.Tensor]] = passes,
            statistics_pass: list[tuple[torch.Tensor, torch.Tensor]] = statistics_pass,
        ) -> None:
            with torch.inference_mode():
                for _ in range(POINTS):
                    network.train()
                    for inputs, _ in statistics_pass:
                        network(inputs)
                    network.eval()
                    for inputs, _ in passes:
                        network(inputs)

        def grid(
            family: Family,
            parameters: torch.Tensor,
            network: torch.nn.Module = network,
            flat: object = flat,
            dataset: object = dataset,
        ) -> None:
            evaluate(
                network,
                flat,  # type: ignore[arg-type]
                family,
                parameters,
                dataset,  # type: ignore[arg-type]
                EvaluationSettings(batch_size=BATCH_SIZE),
                weight_decay=5e-4,
                augmentation=AugmentationSettings(transforms=[]),
                seed=0,
            )

        runs: dict[str, Callable[[], None]] = {
            name: partial(grid, *of_family) for name, of_family in families.items()
        }
        seconds = seconds_in_turns({"bare": bare, **runs}, turns=7)
        rows += [
            {
                "measurement": f"{name} / bare forward passes",
                "network": title,
                "value": median_ratio(seconds[name], seconds["bare"]),
                "bound": 1.10,
            }
            for name in families
        ]
    return rows
