import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics

Batches = list[tuple[Tensor, Tensor]]


def make_batches(*sizes: int) -> Batches:
    return [(2 + 3 * torch.randn(size, 3, 5, 4), torch.zeros(size)) for size in sizes]


def by_hand(values: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Sample-weighted means of the batches' means and unbiased variances, per channel."""
    sizes = [len(batch) for batch in values]
    means = [batch.mean(axis=(0, 2, 3)) for batch in values]
    variances = [batch.var(axis=(0, 2, 3), ddof=1) for batch in values]
    return (
        np.average(means, axis=0, weights=sizes),
        np.average(variances, axis=0, weights=sizes),
    )


@pytest.mark.parametrize("sizes", [(40,), (16, 16, 16), (16, 16, 3), (2, 30)])
def test_against_a_calculation_by_hand(sizes) -> None:
    layer = nn.BatchNorm2d(3)
    batches = make_batches(*sizes)
    reestimate_statistics(layer, batches)
    mean, variance = by_hand([inputs.double().numpy() for inputs, _ in batches])
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-5)
    np.testing.assert_allclose(layer.running_var, variance, rtol=1e-5)


def test_one_full_batch_gives_its_own_statistics() -> None:
    layer = nn.BatchNorm2d(3)
    [(inputs, _)] = batches = make_batches(40)
    reestimate_statistics(layer, batches)
    torch.testing.assert_close(layer.running_mean, inputs.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(layer.running_var, inputs.var(dim=(0, 2, 3), correction=1))


def test_later_layers_see_batches_normalised_by_the_earlier_ones() -> None:
    network = nn.Sequential(
        nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 2), nn.BatchNorm2d(4), nn.Flatten()
    )
    batches = make_batches(16, 16, 5)
    reestimate_statistics(network, batches)
    # In training mode a batch is normalised by its own statistics, never by the running ones.
    inner = [
        network[2](functional.batch_norm(inputs, None, None, training=True).relu())
        for inputs, _ in batches
    ]
    mean, variance = by_hand([values.detach().double().numpy() for values in inner])
    np.testing.assert_allclose(network[3].running_mean, mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(network[3].running_var, variance, rtol=1e-4)


def test_nothing_of_the_old_statistics_stays() -> None:
    layer = nn.BatchNorm2d(3)
    layer.running_mean.fill_(torch.nan)
    layer.running_var.fill_(torch.inf)
    layer.num_batches_tracked.fill_(1000)
    batches = make_batches(16, 7)
    reestimate_statistics(layer, batches)
    fresh = nn.BatchNorm2d(3)
    reestimate_statistics(fresh, batches)
    for name, buffer in layer.named_buffers():
        assert torch.equal(buffer, fresh.get_buffer(name)), name
    assert layer.num_batches_tracked == 2


def test_dropout_is_off_and_everything_else_is_left_as_it_was() -> None:
    network = nn.Sequential(
        nn.Dropout(0.9), nn.BatchNorm2d(3, momentum=0.3), nn.BatchNorm2d(3, momentum=None)
    )
    network.train()
    batches = make_batches(16, 7)
    weights = {name: value.clone() for name, value in network.named_parameters()}
    reestimate_statistics(network, batches)
    mean, _ = by_hand([inputs.numpy() for inputs, _ in batches])
    np.testing.assert_allclose(network[1].running_mean, mean, rtol=1e-5)
    assert [layer.momentum for layer in network[1:]] == [0.3, None]
    assert not any(module.training for module in network.modules())
    for name, value in network.named_parameters():
        assert torch.equal(value, weights[name])
        assert value.grad is None


def test_which_layers_count() -> None:
    counted = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.SyncBatchNorm(2)]
    network = nn.Sequential(
        *counted,
        nn.BatchNorm1d(2, track_running_stats=False),
        nn.LayerNorm(2),
        nn.GroupNorm(1, 2),
        nn.InstanceNorm1d(2),
        nn.Linear(2, 2),
    )
    assert batch_norms(network) == counted
