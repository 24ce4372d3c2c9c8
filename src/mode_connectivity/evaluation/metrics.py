"""What is measured of a network on a set of examples."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.data.arrays import Examples
from mode_connectivity.data.token_stream import IGNORED
from mode_connectivity.networks.carried_state import reset_state


@dataclass(frozen=True)
class Measurement:
    """Loss and errors of one network on one set.

    Attributes:
        nll: mean negative log-likelihood (cross-entropy) of the true classes; of a text, per word.
        error: share of wrongly classified examples (of a text: words), in percent.
        correct: per example whether it is classified rightly, bool [N], on the CPU; the words of a
            text stand in the order of its batches.
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
        log_probabilities: float32 [N, C] on the CPU, filled where given; not of texts.
    """
    network.eval()
    reset_state(network)
    nll: Tensor | float = 0.0
    correct = []
    start = 0
    for inputs, targets in batches:
        logits = network(inputs).float()
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


def measure_test(network: nn.Module, examples: Examples, *, batch_size: int) -> dict[str, float]:
    """Measure a network in the midst of its training, with the batch-norm statistics it has.

    Args:
        network: the network.
        examples: the test set.
        batch_size: examples at a time.

    Returns:
        test_nll, and test_error in percent.
    """
    batches = examples.prepared_batches(batch_size, memory_format=torch.channels_last)
    found = measure(network, batches)
    return {"test_nll": found.nll, "test_error": found.error}
