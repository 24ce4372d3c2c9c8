import pytest
import torch
from torch import nn

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(
    ("depth", "classes", "expected"),
    [
        (56, 10, 590_426),
        (56, 100, 613_556),
        (110, 10, 1_146_842),
        (110, 100, 1_169_972),
        (164, 10, 1_703_258),
        (164, 100, 1_726_388),
    ],
)
def test_parameters(parameters, depth, classes, expected) -> None:
    found, tensors = parameters("preresnet", (3, 32, 32), classes, depth=depth)
    assert found == expected
    blocks = 3 * (depth - 2) // 9
    # Each block has three batch norms and three convolutions; three blocks have a shortcut.
    assert tensors == 1 + 9 * blocks + 3 + 2 + 2


@pytest.mark.parametrize(("depth", "expected"), [(20, 0.272), (110, 1.736), (158, 2.508)])
def test_parameters_with_basic_blocks(parameters, depth, expected) -> None:
    classes = 100 if depth == 110 else 10
    found, _ = parameters("preresnet", (3, 32, 32), classes, depth=depth, block="basic")
    assert found / 1e6 == pytest.approx(expected, abs=0.0005)


@pytest.mark.parametrize(
    ("depth", "block", "classes", "expected"),
    [
        (20, "basic", 10, 40.81),
        (110, "basic", 100, 253.16),
        (158, "basic", 10, 366.40),
        (110, "bottleneck", 100, 167.45),
        (164, "bottleneck", 100, 247.67),
    ],
)
def test_arithmetic(mega_multiply_adds, depth, block, classes, expected) -> None:
    found = mega_multiply_adds("preresnet", (3, 32, 32), classes, depth=depth, block=block)
    assert found == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("depth", "block"),
    [
        (164, "bottleneck"),
        (56, "bottleneck"),
        (47, "bottleneck"),
        (158, "basic"),
        (44, "basic"),
        (38, "basic"),
        (20, "basic"),
    ],
)
def test_automatic_block(parameters, depth, block) -> None:
    automatic = parameters("preresnet", (3, 32, 32), 10, depth=depth)
    assert automatic == parameters("preresnet", (3, 32, 32), 10, depth=depth, block=block)


def test_default_is_depth_164(parameters) -> None:
    assert parameters("preresnet", (3, 32, 32), 10) == parameters(
        "preresnet", (3, 32, 32), 10, depth=164, width=16, block="bottleneck"
    )


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("size", [(8, 8), (16, 12), (32, 32), (1, 1)])
def test_any_image_size(block, size) -> None:
    depth = {"basic": 14, "bottleneck": 20}[block]
    network = build(
        "preresnet", input_shape=(1, *size), classes=6, depth=depth, width=3, block=block
    )
    assert network(torch.randn(4, 1, *size)).shape == (4, 6)


@pytest.mark.parametrize(("block", "depth", "expansion"), [("basic", 14, 1), ("bottleneck", 20, 4)])
def test_width_and_strides(block, depth, expansion) -> None:
    network = build(
        "preresnet", input_shape=(3, 16, 16), classes=10, depth=depth, width=5, block=block
    )
    sizes = {}
    for name in ("convolution", "stage1", "stage2", "stage3"):
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: sizes.update({name: tuple(output.shape[1:])})
        )
    network(torch.randn(1, 3, 16, 16))
    assert sizes == {
        "convolution": (5, 16, 16),
        "stage1": (5 * expansion, 16, 16),
        "stage2": (10 * expansion, 8, 8),
        "stage3": (20 * expansion, 4, 4),
    }


@pytest.mark.parametrize(("block", "depth"), [("basic", 8), ("bottleneck", 11)])
def test_blocks_are_pre_activated_and_add_their_raw_input(block, depth) -> None:
    network = build(
        "preresnet", input_shape=(3, 8, 8), classes=10, depth=depth, width=4, block=block
    ).eval()
    sequence = network.get_submodule("stage2.block1.residual")
    unit = [nn.BatchNorm2d, nn.ReLU, nn.Conv2d]
    assert [type(layer) for layer in sequence] == unit * {"basic": 2, "bottleneck": 3}[block]
    inner = network.get_submodule("stage2.block1")
    entering = network.get_submodule("stage1")(
        network.get_submodule("convolution")(torch.randn(2, 3, 8, 8))
    )
    with torch.no_grad():
        sequence[-1].weight.zero_()
    shortcut = inner.shortcut.weight
    torch.testing.assert_close(
        inner(entering), nn.functional.conv2d(entering, shortcut, stride=2), rtol=1e-4, atol=1e-5
    )


def test_convolutions_have_no_biases() -> None:
    names = build("preresnet", input_shape=(3, 8, 8), classes=10, depth=8).state_dict()
    assert not [name for name in names if "convolution" in name and name.endswith("bias")]
    assert not [name for name in names if "shortcut" in name and name.endswith("bias")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 57}, r"'depth' is 57; it must be 6n\+2 with basic blocks, such as 56 or 62"),
        ({"depth": 160, "block": "bottleneck"}, r"9n\+2 with bottleneck blocks, such as 155 or"),
        ({"depth": 2}, r"such as 8 or 14"),
        ({"depth": -9}, r"such as 8 or 14"),
        ({"width": 0}, "'width' is 0"),
        ({"block": "botleneck"}, "one of 'auto', .*; did you mean 'bottleneck'"),
    ],
)
def test_refuses(options, message) -> None:
    with pytest.raises(UserError, match=message):
        build("preresnet", input_shape=(3, 32, 32), classes=10, **options)
