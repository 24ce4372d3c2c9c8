from math import sqrt

import pytest
import torch
from torch import nn

from mode_connectivity.networks.initialisation import initialise
from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


def assert_normal(weight: torch.Tensor, std: float) -> None:
    """Within five standard errors in mean and standard deviation, and Gaussian in its tails."""
    count = weight.numel()
    assert weight.mean().item() == pytest.approx(0, abs=5 * std / sqrt(count))
    assert weight.std().item() == pytest.approx(std, abs=5 * std / sqrt(2 * count))
    outside = (weight.abs() > 2 * std).double().mean().item()
    assert outside == pytest.approx(0.0455, abs=5 * sqrt(0.0455 / count))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_fan_out(scale) -> None:
    network = build("vgg16_batch_norm", input_shape=(3, 32, 32), classes=10, width=32)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, "fan_out", scale)
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, scale * sqrt(2 / (3 * 3 * module.out_channels)))
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert torch.equal(module.weight, before[f"{name}.weight"])
            assert torch.equal(module.bias, before[f"{name}.bias"])


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_fan_in(scale) -> None:
    network = build("vgg16_batch_norm", input_shape=(3, 32, 32), classes=100, width=32)
    initialise(network, "fan_in", scale)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            assert_normal(module.weight, scale * sqrt(2 / (3 * 3 * module.in_channels)))
            assert not module.bias.any()
        elif isinstance(module, nn.Linear):
            assert_normal(module.weight, scale * sqrt(2 / module.in_features))
            assert not module.bias.any()


def test_kernel_and_groups_enter_the_fans() -> None:
    layer = nn.Conv2d(64, 128, kernel_size=(5, 3), groups=4, bias=False)
    initialise(layer, "fan_in")
    assert_normal(layer.weight, sqrt(2 / (16 * 15)))
    initialise(layer, "fan_out")
    assert_normal(layer.weight, sqrt(2 / (128 * 15)))


@pytest.mark.parametrize("scheme", ["fan_in", "fan_out"])
def test_batch_norms_start_at_one_and_zero(scheme) -> None:
    network = build("preresnet", input_shape=(3, 8, 8), classes=10, depth=11, block="bottleneck")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    initialise(network, scheme)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 10
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in norms)


def test_batch_norm_without_weights_is_left_alone() -> None:
    initialise(nn.BatchNorm2d(3, affine=False), "fan_in")


def test_torch_leaves_the_defaults() -> None:
    network = build("wide_resnet", input_shape=(3, 8, 8), classes=10, depth=10, width=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    initialise(network, "torch")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_generator_decides() -> None:
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network = build("lenet5", input_shape=(1, 32, 32), classes=10, width=0.5)
        initialise(network, "fan_in")
        draws.append(network.get_submodule("output").weight)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def first_step(name: str, scale: float) -> tuple[float, bool]:
    """The first batch's loss, and whether the loss after a step of SGD at 0.05 is a number."""
    torch.manual_seed(0)
    network = build(name, input_shape=(3, 32, 32), classes=10, width=8)
    initialise(network, "fan_in", scale)
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05)
    images, labels = torch.randn(32, 3, 32, 32), torch.randint(10, (32,))
    first = nn.functional.cross_entropy(network(images), labels)
    first.backward()
    optimiser.step()
    second = nn.functional.cross_entropy(network(images), labels)
    return first.item(), bool(second.isfinite())


def test_mode_e_needs_batch_norm() -> None:
    """At three times the width of mode G the losses are about 2e8 and, normalised, about 100."""
    loss, survives = first_step("vgg16", 1.0)
    assert loss < 10
    assert survives
    loss, survives = first_step("vgg16", 3.0)
    assert loss > 1e6
    assert not survives
    loss, survives = first_step("vgg16_batch_norm", 3.0)
    assert loss < 1000
    assert survives


@pytest.mark.parametrize(
    ("scheme", "scale", "message"),
    [
        ("fan_inn", 1.0, "'fan_inn' is unknown; schemes: torch, .*; did you mean 'fan_in'"),
        ("fan_in", 0.0, "scale is 0.0; it must be a number above 0"),
        ("fan_in", float("nan"), "scale is nan"),
        ("torch", 3.0, "scheme 'torch' draws no weights to scale"),
    ],
)
def test_refuses(scheme, scale, message) -> None:
    with pytest.raises(UserError, match=message):
        initialise(nn.Linear(2, 2), scheme, scale)
