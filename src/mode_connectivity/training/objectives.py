"""What a network's outputs are held against: classes, or values."""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from mode_connectivity.data.arrays import Examples
from mode_connectivity.data.points import PointExamples


class Objective(Protocol):
    """What is minimised in training, and what is reported of it.

    Attributes:
        error: the name of the error, as columns have it.
        unit: of the error, as a log has it.
    """

    @property
    def error(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return what a training step minimises, a mean over the examples."""

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors of a batch, summed: a scalar."""

    def rates(self, loss: float, errors: float, targets: int) -> dict[str, float]:
        """Return the negative log-likelihood a target, and the error, of sums over targets."""


class Classification:
    """Cross-entropy, and the share of wrong classes in percent."""

    error = "error"
    unit = " %"

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy, see `cross_entropy`."""
        return cross_entropy(outputs, targets)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return how many classes are wrong, see `count_errors`."""
        return count_errors(outputs, targets)

    def rates(self, loss: float, errors: float, targets: int) -> dict[str, float]:
        """Return ``nll`` and ``error`` (percent)."""
        return {"nll": loss / targets, "error": 100.0 * errors / targets}


@dataclass(frozen=True)
class Regression:
    """Half the mean squared error in training, a Gaussian likelihood in what is reported.

    The training objective is the Gaussian likelihood of variance 1 without its constant, as
    Izmailov et al. 2019 train; `noise_variance` is that of the likelihood they infer with.

    Attributes:
        noise_variance: of the likelihood.
    """

    noise_variance: float
    error = "rmse"
    unit = ""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return half the mean squared error of outputs [B, 1] and targets [B]."""
        return 0.5 * functional.mse_loss(outputs.flatten(), targets)

    def errors(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum of squared errors."""
        return (outputs.flatten() - targets).double().square().sum()

    def rates(self, loss: float, errors: float, targets: int) -> dict[str, float]:
        """Return ``nll`` and ``rmse``."""
        mean_square = errors / targets
        return {"nll": self.nll(mean_square), "rmse": math.sqrt(mean_square)}

    def nll(self, mean_square: float) -> float:
        """Return the mean negative log-likelihood of targets with a mean squared error."""
        constant = math.log(2 * math.pi * self.noise_variance)
        return 0.5 * (mean_square / self.noise_variance + constant)


CLASSIFICATION = Classification()


def objective_of(examples: Examples) -> Objective:
    """Return what networks are trained for on examples: it follows from their targets."""
    if isinstance(examples, PointExamples) and examples.noise_variance is not None:
        return Regression(examples.noise_variance)
    return CLASSIFICATION


def class_logits(outputs: Tensor) -> Tensor:
    """Return a logit for each class, [..., C], of outputs that may leave the first of two out.

    One output z is the logit of the second of two classes: their logits are (0, z), and the
    cross-entropy is the binary one.
    """
    if outputs.shape[-1] > 1:
        return outputs
    return torch.cat([torch.zeros_like(outputs), outputs], dim=-1)


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of the true classes, a scalar.

    The mean over the examples; over the steps of a text it is summed, as in the TensorFlow
    tutorial that Garipov et al. 2018 (A.5) trained, whose learning rates are made for that.

    Args:
        logits: [B, C], or [B, T, C] for a text; see `class_logits` for C of 1.
        targets: [B], or [B, T].
    """
    logits = class_logits(logits)
    loss = functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
    return loss if targets.ndim == 1 else loss * targets.shape[1]


def count_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """Return at how many targets another class is on top than the true one, an integer scalar."""
    return (class_logits(logits).argmax(dim=-1) != targets).sum()
