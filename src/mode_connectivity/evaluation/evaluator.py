"""The one evaluator: any rows of parameters of any family of weights."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from mode_connectivity.data.arrays import Dataset, Examples
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.evaluation.metrics import measure
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.loop import derive_seed
from mode_connectivity.weight_space.family import Family, Point, lengths
from mode_connectivity.weight_space.flat import FlatParameters

logger = logging.getLogger(__name__)

COLUMNS = ("train_nll", "train_error", "test_nll", "test_error")
SECONDS_BETWEEN_CHECKPOINTS = 30.0

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """The measured points of a family.

    Attributes:
        grid: one row a point: its parameters, coefficients, norm, train and test loss (negative
            log-likelihood + weight decay / 2 * norm^2), nll and error (percent).
        coefficients: float64 [T, K].
        gram: scalar products of the family's vertices, float64 [K, K].
        correct: per point and test example whether it is classified rightly, uint8 [T, ceil(N/8)],
            packed as ``numpy.packbits`` does.
        log_probabilities: of the test examples, float32 [T, N, C], where asked for.
    """

    grid: pd.DataFrame
    coefficients: Tensor
    gram: Tensor
    correct: Tensor
    log_probabilities: Tensor | None


def evaluate(
    network: nn.Module,
    flat: FlatParameters,
    family: Family,
    parameters: Tensor,
    dataset: Dataset,
    settings: EvaluationSettings,
    *,
    weight_decay: float,
    augmentation: AugmentationSettings,
    seed: int,
    predictions: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Evaluation:
    """Measure a network at points of a family.

    At every point the weights are written, batch-norm statistics are re-estimated by a full pass
    over the training set (where the network has batch norm, and the family is more than one
    trained network), and train and test set are measured.

    Args:
        network: the network whose parameters are views of ``flat.vector``.
        flat: its parameters.
        family: the family.
        parameters: a row a point, float64 [T, D].
        dataset: training and test set.
        settings: batch size, and where augmented images are used.
        weight_decay: coefficient of the L2 term that ``train_loss`` and ``test_loss`` contain.
        augmentation: the augmentation of the training.
        seed: of the augmented draws, the same at every point.
        predictions: keep the log-probabilities of the test examples.
        checkpoint: where the measured points are kept twice a minute and taken from at the start.
    """
    device = flat.vector.device
    coefficients = family.coefficients(parameters)
    gram = family.gram()
    points = len(coefficients)
    examples = len(dataset.test)
    measured = torch.full((points, len(COLUMNS)), torch.nan, dtype=torch.float64)
    correct = torch.zeros(points, (examples + 7) // 8, dtype=torch.uint8)
    log_probabilities = torch.empty(points, examples, len(dataset.classes)) if predictions else None
    state = {"measured": measured, "correct": correct}
    if log_probabilities is not None:
        state["log_probabilities"] = log_probabilities
    done = 0
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        tensors, record = saved
        done = record["done"]
        for name, tensor in state.items():
            tensor.copy_(tensors[name])
        logger.info("resumed after point %d of %d", done, points)

    def batches(part: Examples, augmented: bool) -> Batches:
        if augmented and augmentation.transforms:
            return _AugmentedBatches(part, settings.batch_size, augmentation, seed, device)
        return part.prepared_batches(settings.batch_size, memory_format=torch.channels_last)

    test = batches(dataset.test, False)
    train = batches(dataset.train, settings.augment_metrics)
    statistics: Batches | None = None
    if batch_norms(network) and not isinstance(family, Point):
        same = (
            settings.augment_statistics == settings.augment_metrics or not augmentation.transforms
        )
        statistics = train if same else batches(dataset.train, settings.augment_statistics)
    last_save = start = time.monotonic()
    for index in range(done, points):
        family.write(coefficients[index].tolist(), flat.vector)
        if statistics is not None:
            reestimate_statistics(network, statistics)
        on_train = measure(network, train)
        kept = None if log_probabilities is None else log_probabilities[index]
        on_test = measure(network, test, log_probabilities=kept)
        measured[index] = torch.tensor(
            [on_train.nll, on_train.error, on_test.nll, on_test.error], dtype=torch.float64
        )
        correct[index] = torch.from_numpy(np.packbits(on_test.correct.numpy()))
        now = time.monotonic()
        if index + 1 == points or now - last_save > SECONDS_BETWEEN_CHECKPOINTS:
            last_save = now
            logger.info("point %d/%d  %.1f s", index + 1, points, now - start)
            if checkpoint is not None and index + 1 < points:
                checkpoint.save(state, {"done": index + 1})
    names = list(family.parameter_names)
    grid = pd.DataFrame(parameters.numpy(), columns=names)
    for k in range(coefficients.shape[1]):
        grid[f"coefficient_{k}"] = coefficients[:, k].numpy()
    norm = lengths(gram, coefficients)
    grid["norm"] = norm.numpy()
    penalty = 0.5 * weight_decay * norm.numpy() ** 2
    for part in ("train", "test"):
        nll, error = (measured[:, COLUMNS.index(f"{part}_{name}")] for name in ("nll", "error"))
        grid[f"{part}_loss"] = nll.numpy() + penalty
        grid[f"{part}_nll"] = nll.numpy()
        grid[f"{part}_error"] = error.numpy()
    return Evaluation(grid, coefficients, gram, correct, log_probabilities)


@dataclass(frozen=True)
class _AugmentedBatches:
    """The same augmented draw of a set at every pass."""

    examples: Examples
    batch_size: int
    augmentation: AugmentationSettings
    seed: int
    device: torch.device

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator(self.device).manual_seed(derive_seed(self.seed, "evaluation"))
        return self.examples.batches(
            self.batch_size,
            shuffle=False,
            generator=generator,
            augmentation=self.augmentation,
            memory_format=torch.channels_last,
        )
