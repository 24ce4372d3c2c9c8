"""What a network's outputs are held against."""

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the negative log-likelihood of the true classes, a scalar.

    The mean over the examples; over the steps of a text it is summed, as in the TensorFlow
    tutorial that Garipov et al. 2018 (A.5) trained, whose learning rates are made for that.

    Args:
        logits: [B, C], or [B, T, C] for a text.
        targets: [B], or [B, T].
    """
    loss = functional.cross_entropy(logits.flatten(0, -2), targets.flatten())
    return loss if targets.ndim == 1 else loss * targets.shape[1]


def count_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """Return at how many targets another class is on top than the true one, an integer scalar."""
    return (logits.argmax(dim=-1) != targets).sum()
