import pytest
import torch

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError

NAME = "three_conv_three_fc"


@pytest.mark.parametrize(
    ("width", "expected"), [(0.3, 697_834), (0.5, 1_090_634), (0.8, 1_829_834), (1.0, 2_422_634)]
)
def test_parameters_at_the_widths_of_figure_3(parameters, width, expected) -> None:
    assert parameters(NAME, (3, 32, 32), 10, width=width) == (expected, 12)


def test_width_leaves_convolutions_alone() -> None:
    narrow = build(NAME, input_shape=(3, 15, 15), classes=10, width=0.01)
    assert [narrow.get_submodule(f"convolution{i}").out_channels for i in (1, 2, 3)] == [
        32,
        64,
        128,
    ]
    assert [narrow.get_submodule(f"hidden{i}").out_features for i in (1, 2)] == [10, 10]


def test_arithmetic(mega_multiply_adds) -> None:
    assert mega_multiply_adds(NAME, (3, 32, 32), 10) == pytest.approx(26.18, abs=0.01)


@pytest.mark.parametrize("size", [(15, 15), (16, 40), (28, 28), (32, 32), (64, 64)])
def test_any_image_size(size) -> None:
    network = build(NAME, input_shape=(1, *size), classes=4, width=0.01, channels=[2, 3, 4])
    assert network(torch.randn(2, 1, *size)).shape == (2, 4)


def test_pools_overlap() -> None:
    network = build(NAME, input_shape=(3, 32, 32), classes=10, width=0.01)
    assert network.get_submodule("hidden1").in_features == 128 * 3 * 3


@pytest.mark.parametrize(
    ("input_shape", "options", "message"),
    [
        ((3, 14, 32), {}, "14x32 vanish in its poolings; the smallest it takes is 15x15"),
        ((3, 32, 32), {"width": 0.0001}, "'width' is 0.0001"),
        ((3, 32, 32), {"channels": [3, 4]}, "'channels' is .* three numbers"),
        ((3, 32, 32), {"channels": [3, 4, 0]}, "'channels' is .* three numbers"),
        ((784,), {}, r"examples have the shape \(784,\); it takes images"),
    ],
)
def test_refuses(input_shape, options, message) -> None:
    with pytest.raises(UserError, match=message):
        build(NAME, input_shape=input_shape, classes=10, **options)
