import numpy as np
import torch
from sklearn.metrics import log_loss, zero_one_loss

from mode_connectivity.training.objectives import count_errors, cross_entropy


def test_against_scikit_learn() -> None:
    logits, targets = torch.randn(40, 5) * 3, torch.randint(5, (40,))
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = log_loss(targets, probabilities, labels=range(5))
    assert abs(cross_entropy(logits, targets).item() - expected) < 1e-5
    wrong = zero_one_loss(targets, logits.argmax(dim=1), normalize=False)
    assert count_errors(logits, targets).item() == wrong
