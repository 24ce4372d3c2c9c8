import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.data.token_stream import IGNORED
from mode_connectivity.evaluation.metrics import measure, measure_test


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


class LookUp(nn.Module):
    """Logits by the number of the token, whatever was read before; it counts its resets."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.register_buffer("logits", logits)
        self.state = None
        self.resets = 0

    def reset_state(self) -> None:
        self.resets += 1

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits[tokens]


def test_texts_against_scikit_learn() -> None:
    logits = 3 * torch.randn(6, 4)
    inputs, targets = torch.randint(6, (3, 20)), torch.randint(4, (3, 20))
    left_out = torch.rand(3, 20) < 0.3
    told = targets.masked_fill(left_out, IGNORED)
    batches = list(zip(inputs.split(8, dim=1), told.split(8, dim=1), strict=True))
    network = LookUp(logits)
    found = measure(network, batches)
    kept = ~left_out
    probabilities = logits.double().softmax(dim=1)[inputs[kept]].numpy()
    expected = log_loss(targets[kept], probabilities, labels=range(4))
    assert found.nll == pytest.approx(expected, rel=1e-6)
    accuracy = accuracy_score(targets[kept], probabilities.argmax(axis=1))
    assert found.error == pytest.approx(100 - 100 * accuracy)
    assert len(found.correct) == kept.sum()
    assert network.resets == 1


def test_a_pass_of_a_text_begins_without_a_state(make_workspace) -> None:
    workspace = make_workspace("recurrent")
    batches = workspace.dataset.test.prepared_batches(4)
    first = measure(workspace.network, batches)
    again = measure(workspace.network, batches)
    assert again.nll == first.nll
    assert torch.equal(again.correct, first.correct)


def test_measuring_in_the_midst_of_a_training(dataset, make_workspace) -> None:
    network = make_workspace("batch_norm").network
    for _, buffer in network.named_buffers():
        buffer.add_(1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = measure_test(network, dataset.test, batch_size=20)
    inputs, targets = next(dataset.test.batches(45))
    with torch.no_grad():
        logits = network.eval()(inputs)
    assert found["test_nll"] == pytest.approx(functional.cross_entropy(logits, targets).item())
    wrong = (logits.argmax(dim=1) != targets).double().mean().item()
    assert found["test_error"] == pytest.approx(100 * wrong)
    assert found.keys() == {"test_nll", "test_error"}
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name
