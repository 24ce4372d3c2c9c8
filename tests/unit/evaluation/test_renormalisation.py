"""Renormalised points against statistics that are measured apart from them."""

import numpy as np
import pytest
import torch
from permutations import SMALL, drawn, small_network
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.evaluation.renormalisation import (
    NAME,
    layers_without_batch_norm,
    renormalised,
)
from mode_connectivity.networks import registry
from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.curves import Polychain
from mode_connectivity.weight_space.flat import FlatParameters

Batches = list[tuple[Tensor, Tensor]]


def batches(shape: tuple[int, ...], count: int, size: int) -> Batches:
    inputs = torch.randn(count, *shape, dtype=torch.float64)
    return [(part, torch.zeros(len(part))) for part in inputs.split(size)]


def segment(name: str, batch: int) -> tuple[nn.Module, FlatParameters, Polychain, Batches]:
    """Two networks that have nothing to do with each other, and examples."""
    shape, _ = SMALL[name]
    network = small_network(name)
    flat = FlatParameters(network)
    first = flat.vector.clone()
    other = FlatParameters(small_network(name)).vector
    return network, flat, Polychain(torch.stack([first, other])), batches(shape, 60, batch)


@torch.inference_mode()
def outputs_of(
    network: nn.Module, data: Batches, layers: list[nn.Module], *, before: bool = False
) -> dict[int, Tensor]:
    """What each layer puts out in evaluation mode, [values, channels], and the network, at -1.

    Before: as it is before other hooks have changed it.
    """
    network.eval()
    found: dict[int, list[Tensor]] = {index: [] for index in range(-1, len(layers))}

    def keep(index: int):
        def hook(layer: nn.Module, _: object, values: Tensor) -> None:
            axis = -1 if isinstance(layer, nn.Linear) else 1
            channels = values.movedim(axis, -1).flatten(0, -2)
            found[index].append(channels.clone())

        return hook

    handles = [
        layer.register_forward_hook(keep(index), prepend=before)
        for index, layer in enumerate(layers)
    ]
    for inputs, _ in data:
        found[-1].append(network(inputs))
    for handle in handles:
        handle.remove()
    return {index: torch.cat(values) for index, values in found.items()}


WITHOUT_BATCH_NORM = ["fully_connected", "lenet5", "regression_mlp", "three_conv_three_fc", "vgg16"]


def corrected(name: str, network: nn.Module) -> set[str]:
    found = {id(layer) for layer in layers_without_batch_norm(network)}
    return {name for name, module in network.named_modules() if id(module) in found}


@pytest.mark.parametrize("name", WITHOUT_BATCH_NORM)
def test_every_layer_but_the_last_is_corrected(name) -> None:
    network = small_network(name)
    layers = {
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | nn.Conv2d)
    }
    assert corrected(name, network) == layers - {"output"}
    assert len(layers) > 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("preresnet", set()),
        ("preresnet_bottleneck", set()),
        ("wide_resnet", set()),
        ("vgg16_batch_norm", {"hidden1", "hidden2"}),
    ],
)
def test_layers_with_batch_norm_are_not(name, expected) -> None:
    assert corrected(name, small_network(name)) == expected


def test_nor_are_those_of_torchvisions_resnet() -> None:
    with torch.device("meta"):
        network = registry.build("resnet50", input_shape=(3, 64, 64), classes=5)
    assert layers_without_batch_norm(network) == []


@pytest.mark.parametrize("batch", [60, 25])
@pytest.mark.parametrize("name", [*WITHOUT_BATCH_NORM, "vgg16_batch_norm"])
def test_a_vertex_is_that_network_to_the_bit(name, batch) -> None:
    network, flat, line, data = segment(name, batch)
    expected = []
    for vertex in line.vertices:
        flat.vector.copy_(vertex)
        reestimate_statistics(network, data)
        expected.append(outputs_of(network, data, [])[-1])
    with renormalised(line, network, flat, data) as family:
        for vertex, logits in zip(([1.0, 0.0], [0.0, 1.0]), expected, strict=True):
            family.write(vertex, flat.vector)
            reestimate_statistics(network, data)
            assert torch.equal(outputs_of(network, data, [])[-1], logits)


@pytest.mark.parametrize("name", WITHOUT_BATCH_NORM)
@pytest.mark.parametrize("t", [0.5, 0.2])
def test_channels_between_have_the_mean_statistics(name, t) -> None:
    network, flat, line, data = segment(name, batch=60)
    layers = layers_without_batch_norm(network)
    of_vertices = []
    for vertex in line.vertices:
        flat.vector.copy_(vertex)
        of_vertices.append(outputs_of(network, data, layers))
    with renormalised(line, network, flat, data) as family:
        family.write([1 - t, t], flat.vector)
        reestimate_statistics(network, data)
        uncorrected = outputs_of(network, data, layers, before=True)
        corrected = outputs_of(network, data, layers)
    close = shrunk = 0
    for index in range(len(layers)):
        first, second = (values[index] for values in of_vertices)
        mean = (1 - t) * first.mean(0) + t * second.mean(0)
        torch.testing.assert_close(corrected[index].mean(0), mean, rtol=1e-9, atol=1e-9)
        deviation = (1 - t) * spread(first, 1e-5) + t * spread(second, 1e-5)
        # As in a batch norm, a channel that hardly varies is not blown up.
        reached = deviation * spread(uncorrected[index]) / spread(uncorrected[index], 1e-5)
        torch.testing.assert_close(spread(corrected[index]), reached, rtol=1e-9, atol=1e-12)
        plain = (1 - t) * spread(first) + t * spread(second)
        close += ((spread(corrected[index]) - plain).abs() < 0.01 * plain).sum().item()
        shrunk += (spread(uncorrected[index]) < 0.9 * plain).sum().item()
    assert close > 5 and shrunk > 5


def spread(values: Tensor, floor: float = 0.0) -> Tensor:
    return (values.var(dim=0, correction=0) + floor).sqrt()


def test_a_layer_of_one_weight_by_hand() -> None:
    """x in {1, 3}: at t = 0 y = x, at t = 1 y = -3 x + 2, between them y = -x + 1 at t = 1/2.

    Means 2, -4 and standard deviations 1, 3; at t = 1/2 they are to be -1 and 2, and are -1 and 1.
    So y' = 2 (y + 1) - 1 = -2 x + 3: 1 and -3; a last layer of weight 1 leaves ReLU's 1 and 0.
    """
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1)).double()
    flat = FlatParameters(network)
    first, second = [1.0, 0.0, 1.0, 0.0], [-3.0, 2.0, 1.0, 0.0]
    line = Polychain(torch.tensor([first, second], dtype=torch.float64))
    data = [(torch.tensor([[1.0], [3.0]], dtype=torch.float64), torch.zeros(2))]
    with renormalised(line, network, flat, data) as family:
        family.write([0.5, 0.5], flat.vector)
        assert flat.vector.tolist() == [-1.0, 1.0, 1.0, 0.0]
        reestimate_statistics(network, data)
        found = outputs_of(network, data, [network[0]])
    assert found[0].flatten().tolist() == pytest.approx([1.0, -3.0], abs=3e-5)
    assert found[-1].flatten().tolist() == pytest.approx([1.0, 0.0], abs=3e-5)


def test_batches_of_their_own_sizes_weigh_by_them() -> None:
    """At a point the statistics are means over batches, as those of a batch norm are."""
    network, flat, line, data = segment("fully_connected", batch=25)
    with renormalised(line, network, flat, data) as family:
        family.write([0.5, 0.5], flat.vector)
        reestimate_statistics(network, data)
        module = network.hidden1.renormalisation
        flat_inputs = [inputs.flatten(1) for inputs, _ in data]
        with torch.no_grad():
            values = [
                functional.linear(x, network.hidden1.weight, network.hidden1.bias)
                for x in flat_inputs
            ]
        sizes = np.array([len(x) for x in flat_inputs], dtype=float)
        shares = torch.from_numpy(sizes / sizes.sum())
        means = torch.stack([v.mean(0) for v in values])
        variances = torch.stack([v.var(0, correction=0) for v in values])
        torch.testing.assert_close(module.running_mean, shares @ means)
        torch.testing.assert_close(module.running_var, shares @ variances)


def test_nothing_is_left_behind() -> None:
    network, flat, line, data = segment("vgg16", batch=60)
    names = [name for name, _ in network.named_modules()]
    keys = list(network.state_dict())
    with pytest.raises(RuntimeError, match="in between"), renormalised(line, network, flat, data):
        assert len(batch_norms(network)) == 15
        assert [name for name, _ in network.named_parameters()] == flat.names
        raise RuntimeError("in between")
    assert [name for name, _ in network.named_modules()] == names
    assert list(network.state_dict()) == keys
    flat.vector.copy_(line.vertices[0] / 2 + line.vertices[1] / 2)
    plain = outputs_of(network, data, [])[-1]
    expected = small_network("vgg16")
    FlatParameters(expected).vector.copy_(flat.vector)
    assert torch.equal(outputs_of(expected, data, [])[-1], plain)
    assert not any(NAME in vars(module)["_modules"] for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())


def test_it_is_the_family_with_its_coefficients() -> None:
    network, flat, line, data = segment("fully_connected", batch=60)
    parameters = torch.tensor([[0.0], [0.3], [1.0]], dtype=torch.float64)
    with renormalised(line, network, flat, data) as family:
        assert torch.equal(family.coefficients(parameters), line.coefficients(parameters))
        assert family.parameter_names == ("t",)
        assert family.vertices is line.vertices
        assert not family.own_statistics


def test_a_network_with_batch_norm_throughout_is_measured_as_it_is(caplog) -> None:
    network, flat, line, data = segment("preresnet", batch=60)
    with caplog.at_level("INFO"), renormalised(line, network, flat, data) as family:
        assert family is line
    assert "nothing to renormalise" in caplog.text


def test_tokens_have_their_channels_last() -> None:
    network = drawn(
        nn.Sequential(nn.Linear(3, 6), nn.LayerNorm(6), nn.GELU(), nn.Flatten(), nn.Linear(24, 2))
    )
    flat = FlatParameters(network)
    line = Polychain(torch.stack([flat.vector.clone(), torch.randn_like(flat.vector)]))
    data = batches((4, 3), 50, 50)
    deviations = []
    for vertex in line.vertices:
        flat.vector.copy_(vertex)
        deviations.append(outputs_of(network, data, [network[0]])[0].std(0))
    with renormalised(line, network, flat, data) as family:
        family.write([0.5, 0.5], flat.vector)
        reestimate_statistics(network, data)
        found = outputs_of(network, data, [network[0]])[0].std(0)
    torch.testing.assert_close(found, sum(deviations) / 2, rtol=1e-4, atol=1e-5)


class Applied(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(4, 4)
        self.output = nn.Linear(4, 2)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs).relu()
        if self.kind == "twice":
            return self.output(self.first(hidden).relu())
        return self.output(functional.linear(hidden, self.first.weight).relu())


def attending() -> nn.Module:
    shape, options = SMALL["vision_transformer"]
    return registry.build("vision_transformer", input_shape=shape, classes=5, **options)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Applied("twice"), "renormalise: module first is applied twice"),
        (Applied("function"), "renormalise: linear is applied as a function, not as a module"),
        (attending(), "renormalise: module encoder.layers.encoder_layer_0.self_attention is an at"),
        (nn.Sequential(nn.GRU(4, 4)), "renormalise: 0 (GRU) is recurrent"),
    ],
    ids=["twice", "function", "attention", "recurrent"],
)
def test_refuses(network, message) -> None:
    with pytest.raises(UserError) as caught:
        layers_without_batch_norm(network)
    assert str(caught.value).startswith(message)
    assert "leave renormalise out" in str(caught.value)
