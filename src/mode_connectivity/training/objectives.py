"""What a network's outputs are held against."""

from torch import Tensor
from torch.nn import functional


def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of the true classes, a scalar."""
    return functional.cross_entropy(logits, targets)


def count_errors(logits: Tensor, targets: Tensor) -> Tensor:
    """Return how many examples have another class on top than the true one, an integer scalar."""
    return (logits.argmax(dim=1) != targets).sum()
