import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.metrics import log_loss, zero_one_loss
from torch.nn import functional

from mode_connectivity.data.points import PointExamples
from mode_connectivity.training.objectives import (
    CLASSIFICATION,
    Regression,
    class_logits,
    count_errors,
    cross_entropy,
    objective_of,
)


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


def test_one_output_is_the_logit_of_the_second_of_two_classes() -> None:
    outputs, targets = torch.randn(50, 1, dtype=torch.float64) * 4, torch.randint(2, (50,))
    expected = functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.double())
    assert cross_entropy(outputs, targets).item() == pytest.approx(expected.item(), rel=1e-12)
    probabilities = class_logits(outputs).softmax(dim=1)
    assert torch.allclose(probabilities[:, 1], outputs[:, 0].sigmoid())
    wrong = int(((outputs[:, 0] > 0).long() != targets).sum())
    assert count_errors(outputs, targets).item() == wrong
    outputs.requires_grad_()
    cross_entropy(outputs, targets).backward()
    assert torch.allclose(
        outputs.grad[:, 0], (outputs.detach()[:, 0].sigmoid() - targets.double()) / 50
    )


def test_logits_of_several_classes_stay_as_they_are() -> None:
    logits = torch.randn(3, 2)
    assert class_logits(logits) is logits


def test_rates_of_classes() -> None:
    assert CLASSIFICATION.rates(3.0, 2.0, 8) == {"nll": 3.0 / 8, "error": 100.0 * 2.0 / 8}


def test_a_regression_by_hand() -> None:
    outputs = torch.tensor([[1.0], [2.0], [4.0]])
    targets = torch.tensor([1.5, 2.0, 1.0])
    objective = Regression(noise_variance=0.05)
    assert objective.loss(outputs, targets).item() == pytest.approx((0.25 + 0 + 9) / 3 / 2)
    assert objective.errors(outputs, targets).item() == pytest.approx(9.25)
    rates = objective.rates(123.0, 9.25, 3)
    assert rates["rmse"] == pytest.approx(math.sqrt(9.25 / 3))
    densities = norm.logpdf(targets, loc=outputs[:, 0], scale=math.sqrt(0.05))
    assert rates["nll"] == pytest.approx(-densities.mean())


def test_the_gradient_of_a_regression_is_that_of_a_gaussian_of_variance_one() -> None:
    outputs = torch.randn(7, 1, dtype=torch.float64, requires_grad=True)
    targets = torch.randn(7, dtype=torch.float64)
    Regression(noise_variance=0.05).loss(outputs, targets).backward()
    assert torch.allclose(outputs.grad[:, 0], (outputs.detach()[:, 0] - targets) / 7)


def test_the_objective_follows_from_the_targets() -> None:
    inputs = torch.zeros(2, 1)
    classes = PointExamples(inputs, torch.zeros(2, dtype=torch.int64))
    values = PointExamples(inputs, torch.zeros(2), noise_variance=0.3)
    assert objective_of(classes) is CLASSIFICATION
    assert objective_of(values) == Regression(0.3)
