import pytest
import torch
from torch import nn

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(("classes", "expected"), [(10, 36_489_290), (100, 36_546_980)])
def test_parameters(parameters, classes, expected) -> None:
    found, tensors = parameters("wide_resnet", (3, 32, 32), classes)
    assert found == expected
    # 12 blocks of two convolutions and two batch norms, and three shortcuts, all with biases.
    assert tensors == 2 + 12 * 8 + 3 * 2 + 2 + 2


def test_arithmetic_of_the_stride_on_the_second_convolution(mega_multiply_adds) -> None:
    assert mega_multiply_adds("wide_resnet", (3, 32, 32), 100) == pytest.approx(5951.2, abs=0.1)


@pytest.mark.parametrize("size", [(8, 8), (16, 12), (32, 32)])
@pytest.mark.parametrize(("depth", "width"), [(10, 1), (16, 2)])
def test_sizes_depths_and_widths(size, depth, width) -> None:
    network = build("wide_resnet", input_shape=(1, *size), classes=6, depth=depth, width=width)
    assert network(torch.randn(2, 1, *size)).shape == (2, 6)
    assert network.get_submodule("output").in_features == 64 * width


def test_only_the_last_batch_norm_has_the_momentum_of_the_reference() -> None:
    network = build("wide_resnet", input_shape=(3, 8, 8), classes=10, depth=10, width=1)
    momenta = [m.momentum for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    assert momenta == [0.1] * 6 + [0.9]


def test_dropout_acts_in_training_only() -> None:
    network = build("wide_resnet", input_shape=(3, 8, 8), classes=9, depth=10, width=1, dropout=0.5)
    images = torch.randn(4, 3, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 27}, r"'depth' is 27; it must be 6n\+4, such as 22 or 28"),
        ({"depth": 4}, "such as 10 or 16"),
        ({"width": 0}, "'width' is 0"),
        ({"dropout": -0.1}, "'dropout' is -0.1"),
    ],
)
def test_refuses(options, message) -> None:
    with pytest.raises(UserError, match=message):
        build("wide_resnet", input_shape=(3, 32, 32), classes=10, **options)
