"""Strided pointwise convolutions against the same ones in another layout and precision."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from mode_connectivity.networks.pointwise import SAFE_CHANNELS, subsample_before_pointwise
from mode_connectivity.networks.registry import build


def strided(channels: int, *, stride: tuple[int, int] = (2, 2), groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, 8, 1, stride=stride, groups=groups)


@pytest.mark.parametrize("stride", [(2, 2), (1, 3), (3, 2)])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (4, 1), (15, 1), (32, 4)])
def test_outputs_and_gradients_are_those_of_the_convolution(channels, groups, side, stride):
    torch.manual_seed(0)
    layer = strided(channels, stride=stride, groups=groups)
    reference = strided(channels, stride=stride, groups=groups).double()
    reference.load_state_dict(layer.state_dict())
    subsample_before_pointwise(layer)
    images = torch.randn(10, channels, side, side)
    given = images.to(memory_format=torch.channels_last).requires_grad_()
    expected = images.double().requires_grad_()
    outputs, wanted = layer(given), reference(expected)
    torch.testing.assert_close(outputs.double(), wanted, atol=1e-5, rtol=1e-5)
    direction = torch.randn_like(wanted)
    outputs.backward(direction.float())
    wanted.backward(direction)
    for own, other in (
        (given, expected),
        *zip(layer.parameters(), reference.parameters(), strict=True),
    ):
        torch.testing.assert_close(own.grad.double(), other.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        strided(SAFE_CHANNELS),
        nn.Conv2d(4, 8, 1),
        nn.Conv2d(4, 8, 3, stride=2),
        nn.Conv2d(4, 8, 1, stride=2, padding=1),
    ],
)
def test_others_stay_as_they_are(layer):
    stride = layer.stride
    subsample_before_pointwise(layer)
    assert layer.stride == stride
    assert not layer._forward_pre_hooks


def test_built_networks_are_safe():
    """Of the two shortcuts that change shape, with 4 and 8 channels before them."""
    network = build("preresnet", input_shape=(3, 12, 12), classes=3, depth=8, width=4)
    shortcuts = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    ]
    assert [module.in_channels for module in shortcuts] == [4, 8]
    assert [module.stride for module in shortcuts] == [(1, 1), (1, 1)]
    assert network(torch.zeros(2, 3, 12, 12)).shape == (2, 3)


CRASH = """
import torch
from mode_connectivity.networks.registry import build

torch.set_num_threads(1)
torch.manual_seed(0)
network = build("preresnet", input_shape=(3, 12, 12), classes=3, depth=8, width=4)
network = network.to(memory_format=torch.channels_last)
for _ in range(100):
    images = torch.randn(10, 3, 12, 12).to(memory_format=torch.channels_last)
    network(images).square().sum().backward()
print("alive")
"""


def test_training_a_narrow_residual_network_does_not_corrupt_memory():
    """In a process of its own, which dies where the kernel is used, and with it the buffer."""
    done = subprocess.run([sys.executable, "-c", CRASH], capture_output=True, text=True)
    assert done.stdout == "alive\n", done.stderr
