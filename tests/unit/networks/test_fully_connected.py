import pytest
import torch

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


@pytest.mark.parametrize(
    ("input_shape", "classes", "hidden", "expected"),
    [
        pytest.param((1, 28, 28), 10, [1000, 1000], (1_796_010, 6), id="mnist"),
        pytest.param((2,), 1, [25] * 7, (4_001, 16), id="two spirals"),
        pytest.param((2,), 1, [200, 50, 50, 50], (15_801, 10), id="one-dimensional regression"),
        pytest.param((3, 4), 5, [], (65, 2), id="linear"),
    ],
)
def test_parameters(parameters, input_shape, classes, hidden, expected) -> None:
    assert parameters("fully_connected", input_shape, classes, hidden=hidden) == expected


def test_default_has_two_layers_of_five_hundred(parameters) -> None:
    assert parameters("fully_connected", (1, 28, 28), 10) == (
        784 * 500 + 500 + 500 * 500 + 500 + 500 * 10 + 10,
        6,
    )


def test_computes_linear_layers_with_relu_between_them() -> None:
    network = build("fully_connected", input_shape=(2, 3), classes=4, hidden=[5])
    weights = network.state_dict()
    images = torch.randn(7, 2, 3)
    hidden = (images.reshape(7, 6) @ weights["hidden1.weight"].T + weights["hidden1.bias"]).clamp(0)
    expected = hidden @ weights["output.weight"].T + weights["output.bias"]
    torch.testing.assert_close(network(images), expected)


def test_does_not_change_its_input() -> None:
    examples = torch.randn(7, 2)
    before = examples.clone()
    build("fully_connected", input_shape=(2,), classes=1, hidden=[3])(examples)
    assert torch.equal(examples, before)


def test_refuses_an_empty_layer() -> None:
    with pytest.raises(UserError, match=r"'hidden' is \[5, 0\]; it must be widths of at least 1"):
        build("fully_connected", input_shape=(2,), classes=1, hidden=[5, 0])
