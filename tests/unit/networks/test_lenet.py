import pytest
import torch
from torch.nn import functional

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(
    ("width", "expected"), [(0.5, 16_346), (1.0, 64_122), (2.0, 253_994), (4.0, 1_011_018)]
)
def test_parameters(parameters, width, expected) -> None:
    assert parameters("lenet5", (1, 32, 32), 10, width=width) == (expected, 12)


def test_computes_two_branches_and_adds_them() -> None:
    network = build("lenet5", input_shape=(1, 32, 32), classes=10, width=0.5)
    weights = network.state_dict()
    images = torch.randn(3, 1, 32, 32)

    def convolve(inputs: torch.Tensor, name: str) -> torch.Tensor:
        return functional.conv2d(inputs, weights[f"{name}.weight"], weights[f"{name}.bias"])

    pooled = functional.max_pool2d(convolve(images, "convolution1").relu(), 2)
    both = sum(
        functional.max_pool2d(convolve(pooled, f"branches.{side}.convolution2").relu(), 2)
        for side in ("first", "second")
    )
    features = convolve(both, "convolution3").relu().flatten(1)
    hidden = functional.linear(features, weights["hidden.weight"], weights["hidden.bias"]).relu()
    expected = functional.linear(hidden, weights["output.weight"], weights["output.bias"])
    torch.testing.assert_close(network(images), expected)


@pytest.mark.parametrize("size", [(32, 32), (36, 40), (64, 64)])
def test_larger_images(size) -> None:
    network = build("lenet5", input_shape=(3, *size), classes=4, width=0.5)
    assert network(torch.randn(2, 3, *size)).shape == (2, 4)


def test_refuses() -> None:
    with pytest.raises(UserError, match=r"28x28 vanish .*; the smallest it takes is 32x32"):
        build("lenet5", input_shape=(1, 28, 28), classes=10)
    with pytest.raises(UserError, match=r"'width' is 0\.05"):
        build("lenet5", input_shape=(1, 32, 32), classes=10, width=0.05)
