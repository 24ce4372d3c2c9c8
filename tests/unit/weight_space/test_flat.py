from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector

from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.flat import FlatParameters


class Tied(nn.Module):
    """An autoencoder whose decoder's weight is its encoder's embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm(4)
        self.decoder = nn.Linear(4, 7)
        self.decoder.weight = self.embedding.weight
        self.register_buffer("offsets", torch.tensor([1, 0, 2]))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.decoder(self.norm(self.embedding(tokens + self.offsets)))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(0.7))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.recurrent = nn.LSTM(4, 3, batch_first=True)

    def forward(self, inputs: Tensor) -> Tensor:
        attended, _ = self.attention(inputs, inputs, inputs)
        outputs, _ = self.recurrent(attended * self.temperature)
        return outputs


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, (2, 3), padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.GroupNorm(2, 6),
        nn.Conv3d(1, 2, (2, 3, 1)),
        nn.Flatten(),
        nn.Linear(2 * 5 * 3 * 5, 5),
    )


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "convolutional": (convolutional, torch.linspace(-2, 2, 2 * 3 * 6 * 7).view(2, 3, 6, 7)),
    "tied": (Tied, torch.tensor([[0, 3, 1], [4, 2, 4]])),
    "attention": (Attention, torch.linspace(-1, 1, 2 * 3 * 4).view(2, 3, 4)),
}
EVERY = pytest.mark.parametrize("case", sorted(CASES))
LAYOUTS = pytest.mark.parametrize("channels_last", [False, True])


def run(network: nn.Module, inputs: Tensor) -> Tensor:
    # The layers of "convolutional" go from 4 to 5 dimensions on the way.
    if not isinstance(network, nn.Sequential):
        return network(inputs)
    for layer in network:
        inputs = layer(inputs.unsqueeze(1) if isinstance(layer, nn.Conv3d) else inputs)
    return inputs


@EVERY
@LAYOUTS
def test_network_computes_the_same_as_before(case, channels_last) -> None:
    build, inputs = CASES[case]
    network = build().eval()
    before = run(network, inputs)
    FlatParameters(network, channels_last=channels_last)
    torch.testing.assert_close(run(network, inputs), before)


@EVERY
@LAYOUTS
def test_vector_holds_every_parameter_once_in_registration_order(case, channels_last) -> None:
    network = CASES[case][0]()
    plain = deepcopy(network)
    flat = FlatParameters(network, channels_last=channels_last)
    expected = parameters_to_vector(plain.parameters()).detach()
    assert flat.names == [name for name, _ in plain.named_parameters()]
    assert len(flat) == len(expected)
    assert torch.equal(flat.to_canonical(flat.vector), expected)
    assert torch.equal(flat.vector, expected) is not (channels_last and case == "convolutional")


@EVERY
@LAYOUTS
def test_writing_the_vector_moves_the_network(case, channels_last) -> None:
    build, inputs = CASES[case]
    network = build().eval()
    plain = deepcopy(network)
    flat = FlatParameters(network, channels_last=channels_last)
    target = {name: torch.randn_like(value) for name, value in plain.named_parameters()}
    flat.from_named(target, flat.vector, source="test")
    # load_state_dict copies into the parameters one by one and knows nothing of a vector.
    plain.load_state_dict(target, strict=False)
    torch.testing.assert_close(run(network, inputs), run(plain, inputs))


@EVERY
@LAYOUTS
def test_gradients_are_views_of_one_vector(case, channels_last) -> None:
    build, inputs = CASES[case]
    network = build()
    plain = deepcopy(network)
    flat = FlatParameters(network, channels_last=channels_last)
    gradient = flat.gradient
    for _ in range(2):
        run(network, inputs).square().sum().backward()
        run(plain, inputs).square().sum().backward()
    expected = parameters_to_vector([value.grad for value in plain.parameters()])
    assert flat.gradient is gradient
    torch.testing.assert_close(flat.to_canonical(gradient), expected)
    inside = range(gradient.data_ptr(), gradient.data_ptr() + 4 * len(flat))
    assert all(parameter.grad.data_ptr() in inside for parameter in network.parameters())
    gradient.zero_()
    assert all(not parameter.grad.any() for parameter in network.parameters())


def test_shared_parameters_stand_in_the_vector_once_and_stay_shared() -> None:
    network = Tied()
    flat = FlatParameters(network)
    assert len(flat) == 7 * 4 + 2 * 4 + 7
    assert flat.names == ["embedding.weight", "norm.weight", "norm.bias", "decoder.bias"]
    assert network.decoder.weight is network.embedding.weight
    with torch.no_grad():
        flat.vector.fill_(3.0)
    assert torch.equal(network.decoder.weight, torch.full((7, 4), 3.0))


def test_buffers_are_left_alone() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), Tied())
    buffers = dict(network.named_buffers())
    values = {name: buffer.clone() for name, buffer in buffers.items()}
    flat = FlatParameters(network)
    flat.vector.fill_(torch.nan)
    assert not set(flat.names) & set(buffers)
    for name, buffer in network.named_buffers():
        assert buffer is buffers[name]
        assert torch.equal(buffer, values[name])
        assert buffer.dtype == values[name].dtype
    assert {buffer.dtype for buffer in buffers.values()} == {torch.float32, torch.int64}


def test_convolutions_are_channels_last_without_a_copy() -> None:
    network = convolutional()
    flat = FlatParameters(network, channels_last=True)
    for index in (0, 3):
        assert network[index].weight.is_contiguous(memory_format=torch.channels_last)
    assert network[5].weight.is_contiguous()
    first = flat.vector[: network[0].weight.numel()].view(4, 2, 3, 3)
    assert torch.equal(first, network[0].weight.detach().permute(0, 2, 3, 1))


@EVERY
@LAYOUTS
def test_layouts_round_trip(case, channels_last) -> None:
    network = CASES[case][0]()
    shapes = {name: value.shape for name, value in network.named_parameters()}
    flat = FlatParameters(network, channels_last=channels_last)
    vector = torch.randn(len(flat))

    again = torch.empty_like(vector)
    flat.from_canonical(flat.to_canonical(vector), again)
    assert torch.equal(again, vector)

    named = flat.to_named(vector)
    assert {name: tensor.shape for name, tensor in named.items()} == shapes
    assert all(tensor.is_contiguous() for tensor in named.values())
    again.zero_()
    flat.from_named({**named, "a.buffer": torch.ones(2)}, again, source="test")
    assert torch.equal(again, vector)

    canonical = torch.cat([tensor.reshape(-1) for tensor in named.values()])
    assert torch.equal(flat.to_canonical(vector), canonical)


def test_keeps_the_type() -> None:
    network = nn.Linear(2, 3).double()
    flat = FlatParameters(network)
    assert flat.vector.dtype == flat.gradient.dtype == torch.float64


def test_missing_and_misshapen_tensors_are_named() -> None:
    flat = FlatParameters(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4)))
    named = flat.to_named(flat.vector.clone())
    before = flat.vector.clone()
    del named["0.bias"]
    named["1.weight"] = torch.zeros(4, 5)
    with pytest.raises(UserError) as caught:
        flat.from_named(named, flat.vector, source="some/weights.safetensors")
    text = str(caught.value)
    assert text.startswith("some/weights.safetensors: ")
    assert "0.bias is missing" in text
    assert "1.weight has shape [4, 5], the network needs [4, 3]" in text
    assert "0.weight" not in text
    assert torch.equal(flat.vector, before)


def test_a_long_list_of_problems_is_cut() -> None:
    flat = FlatParameters(nn.Sequential(*(nn.Linear(1, 1) for _ in range(4))))
    with pytest.raises(UserError, match=r"2\.weight is missing; and 3 more$"):
        flat.from_named({}, flat.vector, source="x")


def test_refused_networks() -> None:
    with pytest.raises(UserError, match="no parameters"):
        FlatParameters(nn.ReLU())
    with pytest.raises(UserError, match=r"several types.*float32.*float64"):
        FlatParameters(nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).double()))
    network = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    network[0].bias.requires_grad_(False)
    with pytest.raises(UserError, match=r"frozen .*: 0\.bias"):
        FlatParameters(network)
