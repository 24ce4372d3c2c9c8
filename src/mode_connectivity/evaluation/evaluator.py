"""The one evaluator: any rows of parameters of any family of weights."""

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
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
from mode_connectivity.job_log import Steps, is_due, tell, tell_resumed, working_on
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.loop import derive_seed
from mode_connectivity.training.objectives import objective_of
from mode_connectivity.weight_space.family import Family, norm
from mode_connectivity.weight_space.flat import FlatParameters

SECONDS_BETWEEN_CHECKPOINTS = 30.0

Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Evaluation:
    """The measured points of a family.

    Attributes:
        grid: one row a point: its parameters, coefficients, norm, and of each part of the data
            set the loss (negative log-likelihood + weight decay / 2 * norm^2), nll and error
            (percent), or rmse of a regression.
        coefficients: float64 [T, K].
        correct: per point and test example whether it is classified rightly, uint8 [T, ceil(N/8)],
            packed as ``numpy.packbits`` does.
        log_probabilities: of the test examples, float32 [T, N, C], where asked for; of a
            regression the function values, [T, N, 1].
    """

    grid: pd.DataFrame
    coefficients: Tensor
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
    parts: Sequence[str] = (),
    predictions: bool = False,
    checkpoint: Checkpoint | None = None,
) -> Evaluation:
    """Measure a network at points of a family.

    At every point the weights are written, batch-norm statistics are re-estimated by a full pass
    over the training set (where the network has batch norm, and the points have none of their
    own), and the parts of the data set are measured.

    Args:
        network: the network whose parameters are views of ``flat.vector``.
        flat: its parameters.
        family: the family.
        parameters: a row a point, float64 [T, D].
        dataset: the data set.
        settings: batch size, and where augmented images are used.
        weight_decay: coefficient of the L2 term that the losses contain.
        augmentation: the augmentation of the training.
        seed: of the augmented draws, the same at every point.
        parts: those of the data set that are measured, the test set among them; all if empty.
        predictions: keep the log-probabilities of the test examples.
        checkpoint: takes the measured points twice a minute, and gives them at the start.

    Raises:
        UserError: the predictions of a language model are asked for.
    """
    coefficients = family.coefficients(parameters)
    if predictions and not dataset.input_shape:
        raise UserError(
            "the predictions of a language model, a probability of each word at each place, are "
            "not kept; evaluate it along a curve, with predictions: false"
        )
    points = len(coefficients)
    examples = len(dataset.test)
    measured_parts = {
        name: part for name, part in dataset.parts.items() if not parts or name in parts
    }
    objective = objective_of(dataset.train)
    metrics = ("nll", objective.error)
    columns = [f"{part}_{metric}" for part in measured_parts for metric in metrics]
    measured = torch.full((points, 1 + len(columns)), torch.nan, dtype=torch.float64)
    correct = torch.zeros(points, (examples + 7) // 8, dtype=torch.uint8)
    predicted = max(dataset.outputs, len(dataset.classes))
    log_probabilities = torch.empty(points, examples, predicted) if predictions else None
    state = {"measured": measured, "correct": correct}
    if log_probabilities is not None:
        state["log_probabilities"] = log_probabilities
    done = 0
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        tensors, record = saved
        done = record["done"]
        for name, tensor in state.items():
            tensor[:done].copy_(tensors[name])
        tell_resumed("point", done, points)

    prepared = {
        name: _batches(
            part,
            settings,
            augmentation,
            seed,
            augmented=settings.augment_metrics and name == "train",
        )
        for name, part in measured_parts.items()
    }
    statistics: Batches | None = None
    if batch_norms(network) and not family.own_statistics:
        same = (
            settings.augment_statistics == settings.augment_metrics or not augmentation.transforms
        )
        statistics = (
            prepared["train"]
            if same and "train" in prepared
            else statistics_batches(dataset.train, settings, augmentation, seed=seed)
        )
    # Of a text they are words, some of which are passed twice.
    examples_a_point = sum(map(len, measured_parts.values()))
    if statistics is not None:
        examples_a_point += len(dataset.train)
    start = time.monotonic()
    after = f"point {done}" if done else None
    seconds = SECONDS_BETWEEN_CHECKPOINTS
    with (
        nullcontext()
        if checkpoint is None
        else checkpoint.writing(seconds=seconds, first=seconds, after=after)
    ) as writer:
        for index in range(done, points):
            with working_on("point", index + 1, points):
                family.write(coefficients[index].tolist(), flat.vector)
                passes = Steps("example", examples_a_point)
                if statistics is not None:
                    reestimate_statistics(network, passes.over(statistics, size=examples_in))
                kept = None if log_probabilities is None else log_probabilities[index]
                values = [norm(flat.vector)]
                for name, batches in prepared.items():
                    found = measure(
                        network,
                        passes.over(batches, size=examples_in),
                        log_probabilities=kept if name == "test" else None,
                        objective=objective,
                    )
                    values += [found.nll, found.error]
                    if name == "test":
                        on_test = found
            measured[index] = torch.tensor(values, dtype=torch.float64)
            correct[index] = torch.from_numpy(np.packbits(on_test.correct.numpy()))
            if index + 1 == points or is_due():
                elapsed = max(time.monotonic() - start, 1e-9)
                tell(
                    "point",
                    index + 1,
                    points,
                    facts=f"test nll {on_test.nll:.4f}  "
                    f"test {objective.error} {on_test.error:.4g}{objective.unit}",
                    seconds=elapsed,
                    images_per_second=(index + 1 - done) * examples_a_point / elapsed,
                )
            if writer is not None:
                writer.save(
                    {name: tensor[: index + 1] for name, tensor in state.items()},
                    {"done": index + 1},
                    after=f"point {index + 1}",
                    settled=True,
                )
    names = list(family.parameter_names)
    grid = pd.DataFrame(parameters.numpy(), columns=names)
    for k in range(coefficients.shape[1]):
        grid[f"coefficient_{k}"] = coefficients[:, k].numpy()
    norms = measured[:, 0].numpy()
    grid["norm"] = norms
    penalty = 0.5 * weight_decay * norms**2
    for name in measured_parts:
        nll, error = (
            measured[:, 1 + columns.index(f"{name}_{metric}")].numpy() for metric in metrics
        )
        grid[f"{name}_loss"] = nll + penalty
        grid[f"{name}_nll"] = nll
        grid[f"{name}_{objective.error}"] = error
    return Evaluation(grid, coefficients, correct, log_probabilities)


def examples_in(batch: tuple[Tensor, Tensor]) -> int:
    """Return the examples of a batch; of a text, its words."""
    return batch[1].numel()


def settle_statistics(network: nn.Module, examples: Examples, *, batch_size: int) -> None:
    """Re-estimate the batch-norm statistics of a network, if it has any.

    Args:
        network: the network.
        examples: the training set, which is not augmented.
        batch_size: examples at a time.
    """
    if batch_norms(network):
        batches = examples.prepared_batches(batch_size, memory_format=torch.channels_last)
        passes = Steps("example", len(examples))
        reestimate_statistics(network, passes.over(batches, size=examples_in))


def statistics_batches(
    examples: Examples,
    settings: EvaluationSettings,
    augmentation: AugmentationSettings,
    *,
    seed: int,
) -> Batches:
    """Return the batches over which batch-norm statistics are re-estimated.

    Args:
        examples: the training set.
        settings: batch size, and whether they are augmented.
        augmentation: the augmentation of the training.
        seed: of the augmented draw.
    """
    return _batches(examples, settings, augmentation, seed, augmented=settings.augment_statistics)


def _batches(
    examples: Examples,
    settings: EvaluationSettings,
    augmentation: AugmentationSettings,
    seed: int,
    *,
    augmented: bool,
) -> Batches:
    if augmented and augmentation.transforms:
        return _AugmentedBatches(examples, settings.batch_size, augmentation, seed)
    return examples.prepared_batches(settings.batch_size, memory_format=torch.channels_last)


@dataclass(frozen=True)
class _AugmentedBatches:
    """The same augmented draw of a set at every pass."""

    examples: Examples
    batch_size: int
    augmentation: AugmentationSettings
    seed: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        device = self.examples.targets.device
        generator = torch.Generator(device).manual_seed(derive_seed(self.seed, "evaluation"))
        return self.examples.batches(
            self.batch_size,
            window=1,
            generator=generator,
            augmentation=self.augmentation,
            memory_format=torch.channels_last,
        )
