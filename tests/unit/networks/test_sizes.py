"""The sizes of networks against the modules that PyTorch builds, on its device without memory."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mode_connectivity.networks import registry
from mode_connectivity.networks.sizes import NetworkSize, network_size

CASES: list[tuple[str, tuple[int, ...], int, dict[str, Any]]] = [
    ("fully_connected", (1, 28, 28), 10, {}),
    ("fully_connected", (2,), 1, {"hidden": [25, 25]}),
    ("lenet5", (1, 32, 32), 10, {}),
    ("lenet5", (3, 36, 32), 10, {"width": 0.5}),
    ("lstm", (), 1000, {"hidden": 50}),
    ("preresnet", (3, 32, 32), 10, {"depth": 110}),
    ("preresnet", (3, 33, 32), 10, {"depth": 20, "width": 8}),
    ("preresnet", (1, 8, 8), 10, {"depth": 11, "block": "bottleneck"}),
    ("regression_mlp", (1,), 1, {}),
    ("resnet50", (3, 64, 64), 1000, {}),
    ("three_conv_three_fc", (3, 32, 32), 10, {"width": 0.5}),
    ("vgg16", (3, 32, 32), 100, {}),
    ("vgg16_batch_norm", (3, 32, 32), 10, {"width": 8, "convolutions": [1, 2], "hidden_layers": 1}),
    ("vision_transformer", (1, 32, 32), 10, {"hidden": 100}),
    ("vit_b_16", (3, 224, 224), 100, {}),
    ("wide_resnet", (3, 32, 32), 100, {"depth": 16, "width": 4}),
]
CASE_IDS = [f"{name}-{index}" for index, (name, *_) in enumerate(CASES)]


def built(name: str, shape: tuple[int, ...], classes: int, options: dict[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return registry.build(name, input_shape=shape, classes=classes, **options).eval()


def example(name: str, shape: tuple[int, ...]) -> Tensor:
    if name == "lstm":
        return torch.zeros(1, 1, dtype=torch.long, device="meta")
    return torch.empty(1, *shape, device="meta")


def size_of(
    name: str, shape: tuple[int, ...], classes: int, options: dict[str, Any]
) -> NetworkSize:
    size = network_size(name, input_shape=shape, classes=classes, options=options)
    assert size is not None
    return size


@pytest.mark.parametrize(("name", "shape", "classes", "options"), CASES, ids=CASE_IDS)
def test_parameters_and_operations(name, shape, classes, options) -> None:
    network, size = built(name, shape, classes, options), size_of(name, shape, classes, options)
    assert size.parameters == sum(parameter.numel() for parameter in network.parameters())
    with FlopCounterMode(display=False) as counter:
        network(example(name, shape))
    assert size.operations == counter.get_total_flops()


@pytest.mark.parametrize(
    ("name", "shape", "classes", "options"),
    [case for case in CASES if case[0] not in ("lstm", "vision_transformer", "vit_b_16")],
)
def test_activations(name, shape, classes, options) -> None:
    """Those of layers that work in place and that only change a shape are no new numbers."""
    network, size = built(name, shape, classes, options), size_of(name, shape, classes, options)
    # Torchvision adds the shortcut of a block up in the block itself.
    counted = {"Conv2d", "BatchNorm2d", "Linear", "MaxPool2d", "AdaptiveAvgPool2d"}
    counted |= {"ParallelSum", "Bottleneck"}
    numbers = []
    for module in network.modules():
        if type(module).__name__ in counted:
            module.register_forward_hook(lambda _module, _inputs, out: numbers.append(out.numel()))
    network(example(name, shape))
    assert size.activations == sum(numbers)
    assert size.widest == max(numbers)


def test_every_network_of_the_registry_has_a_size() -> None:
    assert {name for name, *_ in CASES} == set(registry.available())


def test_a_network_of_a_user_has_none() -> None:
    assert network_size("mine.py:net", input_shape=(1,), classes=2, options={}) is None
