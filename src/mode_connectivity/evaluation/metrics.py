"""What is measured of a network on a set of examples."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Measurement:
    """Loss and errors of one network on one set.

    Attributes:
        nll: mean negative log-likelihood (cross-entropy) of the true classes.
        error: share of wrongly classified examples, in percent.
        correct: per example whether it is classified rightly, bool [N], on the CPU.
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
) -> Measurement:
    """Run the network in evaluation mode over batches.

    Args:
        network: the network.
        batches: inputs and targets.
        log_probabilities: float32 [N, C] on the CPU, filled where given.
    """
    network.eval()
    nll: Tensor | float = 0.0
    correct = []
    start = 0
    for inputs, targets in batches:
        logits = network(inputs).float()
        log_probability = functional.log_softmax(logits, dim=1)
        nll = nll + functional.nll_loss(log_probability, targets, reduction="sum").double()
        # Of the logits: near the origin of weight space they differ by less than the
        # log-probabilities can resolve.
        correct.append(logits.argmax(dim=1) == targets)
        if log_probabilities is not None:
            log_probabilities[start : start + len(targets)] = log_probability
        start += len(targets)
    hits = torch.cat(correct).cpu()
    return Measurement(
        nll=float(nll) / len(hits),
        error=100.0 * (~hits).sum().item() / len(hits),
        correct=hits,
    )
