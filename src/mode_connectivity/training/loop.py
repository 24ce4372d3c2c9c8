"""The one training loop: it moves the trainable vertices of a family of weights."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from mode_connectivity.data.arrays import Examples
from mode_connectivity.job_log import is_due, tell, tell_resumed
from mode_connectivity.networks.carried_state import reset_state, state_kept
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.objectives import Objective, objective_of
from mode_connectivity.training.optimisers import Optimiser
from mode_connectivity.training.schedules import learning_rate
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.family import TrainableFamily, norm
from mode_connectivity.weight_space.flat import FlatParameters


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
    gradient_clipping: float | None
    autocast: torch.autocast
    objective: Objective

    def gradients(
        self, inputs: Tensor, targets: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, float | None]:
        """Fill the vertices' gradients; return the mean loss and error count over the points.

        The gradient of a vertex is the sum over the points of coefficient times (gradient of the
        loss + weight decay * weights), or their mean where the family asks for it. With one
        trainable vertex the coefficient scales the loss, the network's gradient vector is the
        vertex's gradient and no further vector exists. The family's regulariser, whose value comes
        third, is added once.
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
                loss = self.objective.loss(logits, targets)
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
            errors.append(self.objective.errors(logits.detach(), targets))
        count = len(losses)
        if self.family.reduction == "mean" and count > 1:
            for vertex in self.vertices:
                assert vertex.grad is not None
                vertex.grad.div_(count)
        regularisation = None
        if self.family.regulariser is not None:
            gradients = [vertex.grad for vertex in self.vertices if vertex.grad is not None]
            regularisation = self.family.regulariser.add_gradient(gradients)
        if self.gradient_clipping is not None:
            self._clip(self.gradient_clipping)
        return torch.stack(losses).mean(), torch.stack(errors).sum() / count, regularisation

    def _clip(self, longest: float) -> None:
        """Scale the gradient, of all vertices as one vector, down to a norm."""
        gradients = [vertex.grad for vertex in self.vertices if vertex.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        # On the device, without waiting for it.
        factor = (longest / norm).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(factor)


@dataclass(frozen=True)
class Recorder:
    """What is asked of a training on its way.

    Attributes:
        snapshot: called after each epoch of ``settings.snapshot_epochs`` with that epoch.
        checkpoint: called after each epoch of ``settings.checkpoints`` with that epoch and the
            optimiser's state, from which ``train`` can begin.
        test: measures the network on the test set, by column of the history; called where
            ``settings.record_test`` asks for it.
    """

    snapshot: Callable[[int], None] | None = None
    checkpoint: Callable[[int, Mapping[str, Tensor]], None] | None = None
    test: Callable[[], Mapping[str, float]] | None = None


def train(
    network: nn.Module,
    flat: FlatParameters,
    family: TrainableFamily,
    examples: Examples,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoint: Checkpoint | None = None,
    recorder: Recorder | None = None,
    optimiser_state: Mapping[str, Tensor] | None = None,
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
        settings: epochs, batch size, optimiser, schedule, augmentation, snapshots, records.
        seed: of the order of the examples, the augmentation, dropout and the sampled points.
        checkpoint: takes the state after every epoch, and gives it at the start.
        recorder: takes snapshots and measures on the way.
        optimiser_state: what the optimiser begins with, as ``recorder.checkpoint`` was given it.

    Returns:
        ``settings.records_per_epoch`` rows an epoch: epoch (a fraction within an epoch) and
        iteration, both finished, since the start of this training; learning_rate, of the last
        iteration; train_nll and train_error (percent; train_rmse of a regression), per target and
        as met during training since the last row: with augmentation and dropout, each at its own
        sampled point; of a family with a regulariser regularisation, its mean value; where asked
        for test_nll, test_error (test_rmse) and distance (from the weights at the start); seconds
        and images_per_second (of a text: tokens), without what measuring took.

    Raises:
        TrainingDivergedError: the loss or the weights are no longer finite.
    """
    device = flat.vector.device
    recorder = recorder or Recorder()
    vertices = [family.vertices[k] for k in family.trainable]
    on_point = settings.optimiser.weight_decay_on == "point" and len(family.vertices) > 1
    decay = settings.optimiser.weight_decay
    optimiser = Optimiser(vertices, settings.optimiser, weight_decay=0.0 if on_point else decay)
    if optimiser_state is not None:
        _restore_optimiser(optimiser_state, flat, optimiser)
    step = _Step(
        network,
        flat,
        family,
        vertices,
        decay_on_point=decay if on_point else 0.0,
        gradient_clipping=settings.gradient_clipping,
        autocast=torch.autocast(
            device.type, dtype=torch.bfloat16, enabled=uses_bfloat16(settings, device)
        ),
        objective=objective_of(examples),
    )
    first = [vertex.clone() for vertex in vertices] if settings.record_test else []
    history: list[dict[str, Any]] = []
    finished = 0
    if checkpoint is not None and (saved := checkpoint.load()) is not None:
        tensors, state = saved
        history, finished = state["history"], state["epoch"]
        _restore(tensors, network, optimiser)
        tell_resumed("epoch", finished, settings.epochs)
    elif recorder.snapshot is not None and 0 in settings.snapshot_epochs:
        recorder.snapshot(0)
    iterations = examples.iterations(settings.batch_size, window=settings.window)
    parts = min(settings.records_per_epoch, iterations)
    ends = [math.ceil(iterations * part / parts) for part in range(1, parts + 1)]
    network.train()
    after = f"epoch {finished}" if finished else None
    with nullcontext() if checkpoint is None else checkpoint.writing(after=after) as writer:
        for epoch in range(finished, settings.epochs):
            torch.manual_seed(derive_seed(seed, "dropout", epoch))
            order = torch.Generator(device).manual_seed(derive_seed(seed, "order", epoch))
            coefficients = torch.Generator().manual_seed(derive_seed(seed, "points", epoch))
            reset_state(network)
            tally = _Tally(device, step.objective)
            rate = settings.learning_rate
            batches = examples.batches(
                settings.batch_size,
                window=settings.window,
                shuffle=True,
                generator=order,
                augmentation=settings.augmentation,
                memory_format=torch.channels_last,
            )
            for iteration, (inputs, targets) in enumerate(batches, start=1):
                rate = learning_rate(
                    settings.schedule,
                    settings.learning_rate,
                    epochs=settings.epochs,
                    epoch=epoch,
                    progress=(iteration - 1) / iterations,
                )
                loss, wrong, regularisation = step.gradients(
                    inputs, targets, family.sample(coefficients)
                )
                optimiser.step(rate)
                tally.add(loss, wrong, targets, regularisation)
                if iteration != ends[len(history) % parts]:
                    if is_due():
                        at = epoch + iteration / iterations
                        tell("epoch", at, settings.epochs, seconds=tally.seconds)
                    continue
                means = tally.means()
                # The last step may have ruined the weights after the last loss was taken.
                if not (
                    math.isfinite(means["train_nll"])
                    and all(vertex.isfinite().all() for vertex in vertices)
                ):
                    raise _diverged(epoch + 1, rate, epoch, checkpoint)
                speed = tally.speed()
                if settings.record_test and recorder.test is not None:
                    with state_kept(network):
                        means |= recorder.test()
                    network.train()
                    means["distance"] = _distance(vertices, first)
                at = epoch + 1 if iteration == iterations else epoch + iteration / iterations
                done = epoch * iterations + iteration
                row = {"epoch": at, "iteration": done, "learning_rate": rate, **means, **speed}
                history.append(row)
                _tell(row, settings.epochs, step.objective)
                tally = _Tally(device, step.objective)
            if recorder.snapshot is not None and epoch + 1 in settings.snapshot_epochs:
                recorder.snapshot(epoch + 1)
            if recorder.checkpoint is not None and epoch + 1 in settings.checkpoints:
                recorder.checkpoint(epoch + 1, _optimiser_state(flat, optimiser))
            if writer is not None:
                writer.save(
                    _state(network, optimiser),
                    {"history": list(history), "epoch": epoch + 1},
                    after=f"epoch {epoch + 1}",
                )
    return pd.DataFrame(history)


class _Tally:
    """Loss and errors since it was made; they are read from the device only at the end."""

    def __init__(self, device: torch.device, objective: Objective) -> None:
        self._objective = objective
        self._start = time.perf_counter()
        self._nll = torch.zeros((), dtype=torch.float64, device=device)
        self._errors = torch.zeros((), dtype=torch.float64, device=device)
        self._targets = 0
        self._regularisation: list[float] = []

    def add(
        self, loss: Tensor, errors: Tensor, targets: Tensor, regularisation: float | None
    ) -> None:
        """Add a batch: its loss, a mean over its examples, its errors, and the regulariser."""
        self._nll += loss * len(targets)
        self._errors += errors
        self._targets += targets.numel()
        if regularisation is not None:
            self._regularisation.append(regularisation)

    def means(self) -> dict[str, float]:
        """Return loss and error a target and, where there is one, the regulariser a step."""
        rates = self._objective.rates(self._nll.item(), self._errors.item(), self._targets)
        means = {f"train_{name}": value for name, value in rates.items()}
        if self._regularisation:
            means["regularisation"] = math.fsum(self._regularisation) / len(self._regularisation)
        return means

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def speed(self) -> dict[str, float]:
        seconds = self.seconds
        return {"seconds": seconds, "images_per_second": self._targets / seconds}


def _distance(vertices: list[Tensor], first: list[Tensor]) -> float:
    return math.hypot(
        *(norm(vertex - start) for vertex, start in zip(vertices, first, strict=True))
    )


def _tell(row: Mapping[str, float], epochs: int, objective: Objective) -> None:
    errors = "".join(
        f"  {part} {objective.error} {row[name]:.4g}{objective.unit}"
        for part in ("train", "test")
        if (name := f"{part}_{objective.error}") in row
    )
    tell(
        "epoch",
        row["epoch"],
        epochs,
        facts=f"learning rate {row['learning_rate']:.4g}  train nll {row['train_nll']:.4f}{errors}",
        seconds=row["seconds"],
        images_per_second=row["images_per_second"],
    )


def uses_bfloat16(settings: TrainingSettings, device: torch.device) -> bool:
    """Tell whether training runs under bfloat16 autocast on this device."""
    return settings.precision == "bfloat16" or (
        settings.precision == "auto" and device.type == "cuda"
    )


def _state(network: nn.Module, optimiser: Optimiser) -> dict[str, Tensor]:
    """Return what the next epoch begins with, in the layout of this job: nothing is copied."""
    tensors = {f"buffer.{name}": buffer for name, buffer in network.named_buffers()}
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        tensors[f"vertex.{index}"] = vertex.detach()
        tensors |= {f"optimiser.{index}.{name}": value for name, value in state.items()}
    return tensors


def _optimiser_state(flat: FlatParameters, optimiser: Optimiser) -> dict[str, Tensor]:
    tensors = {}
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        for name, value in state.items():
            is_vector = value.shape == vertex.shape
            tensors[f"optimiser.{index}.{name}"] = flat.to_canonical(value) if is_vector else value
    return tensors


def _restore(tensors: Mapping[str, Tensor], network: nn.Module, optimiser: Optimiser) -> None:
    for name, buffer in network.named_buffers():
        buffer.copy_(tensors[f"buffer.{name}"])
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        vertex.copy_(tensors[f"vertex.{index}"])
        prefix = f"optimiser.{index}."
        for name, value in tensors.items():
            if name.startswith(prefix):
                # A copy also on the CPU: the optimiser writes into it.
                state[name.removeprefix(prefix)] = value.to(vertex.device, copy=True)


def _restore_optimiser(
    tensors: Mapping[str, Tensor], flat: FlatParameters, optimiser: Optimiser
) -> None:
    for index, (vertex, state) in enumerate(zip(optimiser.vertices, optimiser.state, strict=True)):
        prefix = f"optimiser.{index}."
        for name, value in tensors.items():
            if not name.startswith(prefix):
                continue
            # A copy also on the CPU: the optimiser writes into it.
            own = value.to(vertex.device, copy=True)
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
