"""The one training loop: it moves the trainable vertices of a family of weights."""

import hashlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mode_connectivity.data.arrays import Examples
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.objectives import count_errors, cross_entropy
from mode_connectivity.training.optimisers import Optimiser
from mode_connectivity.training.schedules import learning_rate
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.family import TrainableFamily
from mode_connectivity.weight_space.flat import FlatParameters

logger = logging.getLogger(__name__)


class TrainingDivergedError(UserError):
    """The loss or the weights became infinite or NaN."""


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that differs for every different sequence of parts."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(frozen=True)
class _Step:
    """One optimiser step of a family: what does not change from batch to batch."""

    network: nn.Module
    flat: FlatParameters
    family: TrainableFamily
    vertices: list[Tensor]
    decay_on_point: float
    autocast: torch.autocast

    def gradients(self, inputs: Tensor, targets: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Fill the vertices' gradients; return the mean loss and error count over the points.

        The gradient of a vertex is the sum over the points of coefficient times (gradient of the
        loss + weight decay * weights). With one trainable vertex the coefficient scales the loss,
        the network's gradient vector is the vertex's gradient and no further vector exists.
        """
        gradient = self.flat.gradient
        gradient.zero_()
        single = len(self.vertices) == 1
        if single:
            self.vertices[0].grad = gradient
        else:
            for vertex in self.vertices:
                vertex.grad = (
                    torch.zeros_like(vertex) if vertex.grad is None else vertex.grad.zero_()
                )
        losses, errors = [], []
        for row in points.tolist():
            self.family.write(row, self.flat.vector)
            with self.autocast:
                logits = self.network(inputs)
                loss = cross_entropy(logits, targets)
            weights = [row[k] for k in self.family.trainable]
            (loss * weights[0] if single else loss).backward()
            if single:
                if self.decay_on_point:
                    gradient.add_(self.flat.vector, alpha=self.decay_on_point * weights[0])
            else:
                if self.decay_on_point:
                    gradient.add_(self.flat.vector, alpha=self.decay_on_point)
                for vertex, weight in zip(self.vertices, weights, strict=True):
                    assert vertex.grad is not None
                    vertex.grad.add_(gradient, alpha=weight)
                gradient.zero_()
            losses.append(loss.detach())
            errors.append(count_errors(logits.detach(), targets))
        count = len(losses)
        return torch.stack(losses).mean(), torch.stack(errors).sum() / count


def train(
    network: nn.Module,
    flat: FlatParameters,
    family: TrainableFamily,
    examples: Examples,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    on_snapshot: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Train the trainable vertices of a family in place.

    Each step draws the family's coefficients, writes the points into the network, and hands
    coefficient times gradient to each trainable vertex (Garipov et al. 2018, section 3.1). Every
    epoch draws its random numbers from a seed of its own, so that a training resumed from a
    checkpoint ends in the same bits as one that was never stopped.

    Args:
        network: the network whose parameters are views of ``flat.vector``.
        flat: its parameters.
        family: the family; its ``vertices`` are updated in place.
        examples: the training set, on the device of the network.
        settings: epochs, batch size, optimiser, schedule, augmentation, snapshots.
        seed: of the order of the examples, the augmentation, dropout and the sampled points.
        checkpoint: where the state is kept after every epoch and taken from at the start.
        on_snapshot: called after each epoch of ``settings.snapshots`` with that epoch.

    Returns:
        One row an epoch: epoch, learning_rate (of its last iteration), train_nll, train_error
        (percent; both as met during training: with augmentation and dropout, each at its own
        sampled point), seconds, images_per_second.

    Raises:
        TrainingDivergedError: the loss or the weights are no longer finite.
    """
    device = flat.vector.device
    vertices = [family.vertices[k] for k in family.trainable]
    on_point = settings.optimiser.weight_decay_on == "point" and len(family.vertices) > 1
    decay = settings.optimiser.weight_decay
    optimiser = Optimiser(vertices, settings.optimiser, weight_decay=0.0 if on_point else decay)
    step = _Step(
        network,
        flat,
        family,
        vertices,
        decay_on_point=decay if on_point else 0.0,
        autocast=torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(settings, device)
        ),
    )
    history: list[dict[str, Any]] = []
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        tensors, state = saved
        history = state["history"]
        _restore(tensors, network, flat, optimiser)
        logger.info("resumed after epoch %d of %d", len(history), settings.epochs)
    iterations = math.ceil(len(examples) / settings.batch_size)
    network.train()
    for epoch in range(len(history), settings.epochs):
        start = time.perf_counter()
        torch.manual_seed(derive_seed(seed, "dropout", epoch))
        order = torch.Generator(device).manual_seed(derive_seed(seed, "order", epoch))
        coefficients = torch.Generator().manual_seed(derive_seed(seed, "points", epoch))
        nll = torch.zeros((), dtype=torch.float64, device=device)
        errors = torch.zeros((), dtype=torch.float64, device=device)
        rate = settings.learning_rate
        batches = examples.batches(
            settings.batch_size,
            shuffle=True,
            generator=order,
            augmentation=settings.augmentation,
            memory_format=torch.channels_last,
        )
        for iteration, (inputs, targets) in enumerate(batches):
            rate = learning_rate(
                settings.schedule,
                settings.learning_rate,
                epochs=settings.epochs,
                epoch=epoch,
                progress=iteration / iterations,
            )
            loss, wrong = step.gradients(inputs, targets, family.sample(coefficients))
            optimiser.step(rate)
            nll += loss * len(targets)
            errors += wrong
        mean_nll = nll.item() / len(examples)
        # The last step of the epoch may have ruined the weights after the last loss was taken.
        if not (math.isfinite(mean_nll) and all(vertex.isfinite().all() for vertex in vertices)):
            raise _diverged(epoch + 1, rate, len(history), checkpoint)
        seconds = time.perf_counter() - start
        row = {
            "epoch": epoch + 1,
            "learning_rate": rate,
            "train_nll": mean_nll,
            "train_error": 100.0 * errors.item() / len(examples),
            "seconds": seconds,
            "images_per_second": len(examples) / seconds,
        }
        history.append(row)
        logger.info(
            "epoch %d/%d  learning rate %.4g  train nll %.4f  train error %.2f %%  %.2f s  "
            "%.0f images/s",
            *(epoch + 1, settings.epochs, rate, row["train_nll"], row["train_error"]),
            *(seconds, row["images_per_second"]),
        )
        if on_snapshot is not None and epoch + 1 in settings.snapshots:
            on_snapshot(epoch + 1)
        if checkpoint is not None:
            tensors = _state(network, flat, optimiser)
            checkpoint.save(tensors, {"history": history})
    return pd.DataFrame(history)


def uses_bfloat16(settings: TrainingSettings, device: torch.device) -> bool:
    """Tell whether training runs under bfloat16 autocast on this device."""
    return settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda"
    )


def _state(network: nn.Module, flat: FlatParameters, optimiser: Optimiser) -> dict[str, Tensor]:
    tensors = {f"buffer.{name}": buffer for name, buffer in network.named_buffers()}
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        tensors[f"vertex.{index}"] = flat.to_canonical(vertex)
        for name, value in state.items():
            is_vector = value.shape == vertex.shape
            tensors[f"optimiser.{index}.{name}"] = flat.to_canonical(value) if is_vector else value
    return tensors


def _restore(
    tensors: dict[str, Tensor],
    network: nn.Module,
    flat: FlatParameters,
    optimiser: Optimiser,
) -> None:
    for name, buffer in network.named_buffers():
        buffer.copy_(tensors[f"buffer.{name}"])
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        flat.from_canonical(tensors[f"vertex.{index}"], vertex)
        prefix = f"optimiser.{index}."
        for name, value in tensors.items():
            if not name.startswith(prefix):
                continue
            own = value.to(vertex.device)
            if value.shape == vertex.shape:
                own = torch.empty_like(vertex)
                flat.from_canonical(value, own)
            state[name.removeprefix(prefix)] = own


def _diverged(
    epoch: int, rate: float, finished: int, checkpoint: Checkpoint | None
) -> TrainingDivergedError:
    last = f"epoch {finished} in {checkpoint.path}" if checkpoint and finished else "none"
    return TrainingDivergedError(
        f"the loss or the weights are not finite in epoch {epoch} at learning rate {rate:.4g}; "
        f"last good checkpoint: {last}; lower the learning rate of this recipe"
    )
