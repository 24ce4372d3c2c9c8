import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import nn
from torch.nn import functional

from mode_connectivity.evaluation.metrics import measure


@pytest.mark.parametrize("sizes", [(50,), (16, 16, 16, 2)])
def test_against_scikit_learn(sizes) -> None:
    network = nn.Sequential(nn.Dropout(0.8), nn.Linear(6, 4)).train()
    inputs, targets = 5 * torch.randn(50, 6), torch.randint(4, (50,))
    batches = list(zip(inputs.split(sizes), targets.split(sizes), strict=True))
    kept = torch.full((50, 4), torch.nan)
    found = measure(network, batches, log_probabilities=kept)

    logits = network[1](inputs).detach().double().numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = probabilities.argmax(axis=1)
    assert found.nll == pytest.approx(log_loss(targets, probabilities, labels=range(4)), rel=1e-6)
    assert found.error == pytest.approx(100 - 100 * accuracy_score(targets, labels))
    assert found.correct.dtype == torch.bool
    assert found.correct.tolist() == (labels == targets.numpy()).tolist()
    np.testing.assert_allclose(kept, np.log(probabilities), atol=1e-5)
    assert not network.training


def test_errors_are_exact_percentages() -> None:
    targets = torch.zeros(100, dtype=torch.int64)
    for wrong in (0, 3, 7, 29, 100):
        inputs = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
        inputs[:wrong] = torch.tensor([0.0, 1.0])
        assert measure(nn.Identity(), [(inputs, targets)]).error == wrong


def test_confident_predictions_do_not_overflow() -> None:
    found = measure(nn.Identity(), [(torch.tensor([[1e4, -1e4]]), torch.tensor([1]))])
    assert found.nll == pytest.approx(2e4)
    assert found.error == 100.0


def test_keeps_no_graph() -> None:
    network = nn.Linear(2, 2)
    kept = torch.empty(1, 2)
    measure(network, [(torch.ones(1, 2), torch.tensor([0]))], log_probabilities=kept)
    assert not kept.requires_grad


def test_logits_too_close_for_log_probabilities_still_have_a_winner() -> None:
    logits = torch.tensor([[1.0, 2.0, 3.0]]) * 1e-12
    log_probabilities = functional.log_softmax(logits, dim=1)
    assert len(log_probabilities.unique()) == 1
    measurement = measure(nn.Identity(), [(logits, torch.tensor([2]))])
    assert measurement.error == 0.0
