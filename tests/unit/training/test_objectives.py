import numpy as np
import torch
from sklearn.metrics import log_loss, zero_one_loss

from mode_connectivity.training.objectives import count_errors, cross_entropy


def test_images_against_scikit_learn() -> None:
    logits, targets = torch.randn(40, 5) * 3, torch.randint(5, (40,))
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    expected = log_loss(targets, probabilities, labels=range(5))
    assert abs(cross_entropy(logits, targets).item() - expected) < 1e-5
    wrong = zero_one_loss(targets, logits.argmax(dim=1), normalize=False)
    assert count_errors(logits, targets).item() == wrong


def test_texts_are_summed_over_steps_and_averaged_over_streams() -> None:
    streams, steps, words = 3, 7, 5
    logits, targets = torch.randn(streams, steps, words) * 3, torch.randint(words, (streams, steps))
    probabilities = np.exp(logits.double().numpy())
    probabilities /= probabilities.sum(axis=2, keepdims=True)
    expected = sum(
        log_loss(targets[:, step], probabilities[:, step], labels=range(words))
        for step in range(steps)
    )
    assert abs(cross_entropy(logits, targets).item() - expected) < 1e-4
    by_hand = -sum(
        np.log(probabilities[stream, step, targets[stream, step]])
        for stream in range(streams)
        for step in range(steps)
    )
    assert abs(expected - by_hand / streams) < 1e-9
    wrong = zero_one_loss(targets.flatten(), logits.argmax(dim=2).flatten(), normalize=False)
    assert count_errors(logits, targets).item() == wrong


def test_a_window_of_one_step_is_a_batch_of_examples() -> None:
    logits, targets = torch.randn(6, 5), torch.randint(5, (6,))
    loss = cross_entropy(logits[:, None], targets[:, None])
    assert torch.equal(loss, cross_entropy(logits, targets))
