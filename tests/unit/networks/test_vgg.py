import pytest
import torch
from torch import nn

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError

BOTH = pytest.mark.parametrize("name", ["vgg16", "vgg16_batch_norm"])


# A batch norm adds two numbers a channel to the published counts, and there are 4,224 channels.
@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        ("vgg16", 10, (15_245_130, 32)),
        ("vgg16", 100, (15_291_300, 32)),
        ("vgg16_batch_norm", 10, (15_245_130 + 2 * 4_224, 32 + 2 * 13)),
        ("vgg16_batch_norm", 100, (15_291_300 + 2 * 4_224, 32 + 2 * 13)),
    ],
)
def test_parameters(parameters, name, classes, expected) -> None:
    assert parameters(name, (3, 32, 32), classes) == expected


@BOTH
def test_arithmetic(mega_multiply_adds, name) -> None:
    assert mega_multiply_adds(name, (3, 32, 32), 10) == pytest.approx(313.73, abs=0.01)


@BOTH
def test_width_scales_every_layer(name) -> None:
    network = build(name, input_shape=(1, 32, 32), classes=10, width=2)
    convolutions = [m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert convolutions == [2] * 2 + [4] * 2 + [8] * 3 + [16] * 6
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [16, 16, 10]


@BOTH
@pytest.mark.parametrize("count", [0, 1, 3])
def test_hidden_layers(name, count) -> None:
    network = build(name, input_shape=(3, 64, 32), classes=7, width=1, hidden_layers=count)
    linear = [m for m in network.modules() if isinstance(m, nn.Linear)]
    # Two positions of 8 channels are left of 64x32 pixels.
    assert [m.in_features for m in linear] == [16, *[8] * count]
    assert [m.out_features for m in linear] == [8] * count + [7]
    assert network(torch.randn(2, 3, 64, 32)).shape == (2, 7)


@BOTH
@pytest.mark.parametrize(
    ("size", "convolutions"),
    [
        ((32, 32), [2, 2, 3, 3, 3]),
        ((33, 64), [1, 1, 1, 1, 1]),
        ((8, 8), [1, 2]),
        ((64, 64), [1, 1, 1, 1, 1, 1]),
    ],
)
def test_sizes_and_depths(name, size, convolutions) -> None:
    network = build(
        name, input_shape=(3, *size), classes=7, width=1, convolutions=convolutions, dropout=0.1
    )
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == sum(convolutions)
    assert network(torch.randn(2, 3, *size)).shape == (2, 7)


@BOTH
def test_each_convolution_is_followed_by_its_own_activation(name) -> None:
    network = build(name, input_shape=(3, 32, 32), classes=10, width=1)
    kinds = [type(module) for module in network.modules() if not list(module.children())]
    normalisation = [nn.BatchNorm2d] if name.endswith("batch_norm") else []
    unit = [nn.Conv2d, *normalisation, nn.ReLU]
    blocks = [kind for count in (2, 2, 3, 3, 3) for kind in [*unit * count, nn.MaxPool2d]]
    head = [nn.Dropout, nn.Linear, nn.ReLU] * 2 + [nn.Linear]
    assert kinds == [*blocks, nn.Flatten, *head]


def test_dropout_acts_in_training_only() -> None:
    network = build("vgg16", input_shape=(3, 32, 32), classes=10, width=4)
    images = torch.randn(2, 3, 32, 32)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))
    without = build("vgg16", input_shape=(3, 32, 32), classes=10, width=4, dropout=0.0)
    assert torch.equal(without(images), without(images))


def test_names_read_well() -> None:
    names = list(build("vgg16_batch_norm", input_shape=(3, 32, 32), classes=10).state_dict())
    assert names[:3] == [
        "block1.convolution1.weight",
        "block1.convolution1.bias",
        "block1.batch_norm1.weight",
    ]
    assert names[-2:] == ["output.weight", "output.bias"]


@BOTH
@pytest.mark.parametrize(
    ("input_shape", "options", "message"),
    [
        ((3, 16, 32), {}, "images of 16x32 vanish in its poolings; the smallest it takes is 32x32"),
        ((3, 16, 16), {}, "give 'convolutions' fewer blocks"),
        ((3, 32, 32), {"width": 0}, "'width' is 0"),
        ((3, 32, 32), {"convolutions": []}, r"'convolutions' is \[\]"),
        ((3, 32, 32), {"convolutions": [2, 0]}, r"'convolutions' is \[2, 0\]"),
        ((3, 32, 32), {"hidden_layers": -1}, "'hidden_layers' is -1"),
        ((3, 32, 32), {"dropout": 1.0}, "'dropout' is 1.0"),
    ],
)
def test_refuses(name, input_shape, options, message) -> None:
    with pytest.raises(UserError, match=message) as raised:
        build(name, input_shape=input_shape, classes=10, **options)
    assert f"network {name!r}" in str(raised.value)
