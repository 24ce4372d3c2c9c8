"""What is measured of a network on a set of examples."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.data.arrays import Examples
from mode_connectivity.data.token_stream import IGNORED
from mode_connectivity.networks.carried_state import reset_state
from mode_connectivity.training.objectives import (
    CLASSIFICATION,
    Objective,
    Regression,
    class_logits,
    objective_of,
)

CENTRAL_95 = 1.959963984540054
"""Standard deviations on either side of the mean between which a Gaussian has 95 % of its mass."""


@dataclass(frozen=True)
class Measurement:
    """Loss and errors of one network on one set.

    Attributes:
        nll: mean negative log-likelihood (cross-entropy) of the true classes; of a text, per word;
            of a regression, that of its Gaussian likelihood.
        error: share of wrongly classified examples (of a text: words), in percent; of a regression,
            the root of the mean squared error.
        correct: per example whether it is classified rightly, bool [N], on the CPU; the words of a
            text stand in the order of its batches. Of a regression, whether the target lies in the
            central 95 % of the likelihood.
    """

    nll: float
    error: float
    correct: Tensor


@torch.inference_mode()
def measure(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    log_probabilities: Tensor | None = None,
    objective: Objective = CLASSIFICATION,
) -> Measurement:
    """Run the network in evaluation mode over batches.

    Args:
        network: the network.
        batches: inputs and targets.
        log_probabilities: float32 [N, C] on the CPU, filled where given; not of texts. Of a
            regression it takes the function values, [N, 1].
        objective: that of the data set.
    """
    network.eval()
    reset_state(network)
    if isinstance(objective, Regression):
        return _measure_values(network, batches, objective, log_probabilities)
    nll: Tensor | float = 0.0
    correct = []
    start = 0
    for inputs, targets in batches:
        logits = class_logits(network(inputs).float())
        targets_are_examples = targets.ndim == 1
        if not targets_are_examples:
            logits, targets = logits.flatten(0, -2), targets.flatten()
        log_probability = functional.log_softmax(logits, dim=1)
        nll = (
            nll
            + functional.nll_loss(
                log_probability, targets, reduction="sum", ignore_index=IGNORED
            ).double()
        )
        # Of the logits: near the origin of weight space they differ by less than the
        # log-probabilities can resolve.
        hit = logits.argmax(dim=1) == targets
        correct.append(hit if targets_are_examples else hit[targets != IGNORED])
        if log_probabilities is not None:
            log_probabilities[start : start + len(targets)] = log_probability
        start += len(targets)
    hits = torch.cat(correct).cpu()
    return Measurement(
        nll=float(nll) / len(hits),
        error=100.0 * (~hits).sum().item() / len(hits),
        correct=hits,
    )


def _measure_values(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    objective: Regression,
    values: Tensor | None,
) -> Measurement:
    parts = [(network(inputs).float().flatten(), targets) for inputs, targets in batches]
    found = torch.cat([outputs for outputs, _ in parts]).cpu()
    residuals = (found - torch.cat([targets for _, targets in parts]).cpu()).double()
    if values is not None:
        values.copy_(found.unsqueeze(1))
    rates = objective.rates(0.0, residuals.square().sum().item(), len(found))
    within = residuals.abs() <= CENTRAL_95 * math.sqrt(objective.noise_variance)
    return Measurement(nll=rates["nll"], error=rates["rmse"], correct=within)


def measure_test(network: nn.Module, examples: Examples, *, batch_size: int) -> dict[str, float]:
    """Measure a network in the midst of its training, with the batch-norm statistics it has.

    Args:
        network: the network.
        examples: the test set.
        batch_size: examples at a time.

    Returns:
        test_nll, and test_error in percent; of a regression, test_rmse.
    """
    batches = examples.prepared_batches(batch_size, memory_format=torch.channels_last)
    objective = objective_of(examples)
    found = measure(network, batches, objective=objective)
    return {"test_nll": found.nll, f"test_{objective.error}": found.error}
