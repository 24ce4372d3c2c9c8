import numpy as np
import pytest
import torch

from mode_connectivity.networks.registry import build
from mode_connectivity.settings import UserError


def test_parameters(parameters) -> None:
    assert parameters("regression_mlp", (1,), 1) == (15_801, 10)


def test_a_forward_pass_by_hand() -> None:
    network = build("regression_mlp", input_shape=(1,), classes=1, hidden=[3, 2]).double()
    x = np.linspace(-7, 7, 9)[:, None]
    values = np.hstack([x / 2, x**2 / 4])
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    for layer in ("hidden1", "hidden2", "output"):
        values = values @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"]
        values = values if layer == "output" else np.maximum(values, 0)
    np.testing.assert_allclose(network(torch.from_numpy(x)).detach(), values)


def test_refuses() -> None:
    with pytest.raises(UserError, match=r"it takes one number, \(1,\)"):
        build("regression_mlp", input_shape=(2,), classes=1)
    with pytest.raises(UserError, match="widths of at least 1"):
        build("regression_mlp", input_shape=(1,), classes=1, hidden=[0])
