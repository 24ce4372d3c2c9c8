"""Groups of units against hand-written lists, and against what permuting them must not change."""

import pytest
import small_networks
import torch
from permutations import SMALL, drawn, random_permutations, small_network, state_of
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn import functional

from mode_connectivity.networks import registry
from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.alignment import permute
from mode_connectivity.weight_space.units import Group, Place, find_units

IMAGES = (3, 8, 8)


def units_of(network: nn.Module, shape: tuple[int, ...] = IMAGES) -> tuple[Group, ...]:
    parameter = next(network.parameters())
    return find_units(network, torch.randn(2, *shape, dtype=parameter.dtype)).groups


def assert_kept(network: nn.Module, shape: tuple[int, ...] = IMAGES) -> tuple[Group, ...]:
    """Assert that a permutation of every group changes parameters, and no output."""
    groups = units_of(network, shape)
    inputs = torch.randn(5, *shape, dtype=torch.float64)
    before = state_of(network)
    after = permute(before, groups, random_permutations(groups))
    places = {place.tensor for group in groups for place in group.places}
    assert places == {name for name in before if not torch.equal(before[name], after[name])} - {
        place.tensor for group in groups for place in group.statistics
    }
    with torch.no_grad():
        outputs, permuted = (functional_call(network, s, (inputs,)) for s in (before, after))
    assert outputs.abs().max() > 1e-3
    torch.testing.assert_close(permuted, outputs, rtol=1e-9, atol=1e-11)
    return groups


@pytest.mark.parametrize("name", SMALL)
def test_permuting_every_group_keeps_the_function(name) -> None:
    network, (shape, _) = small_network(name), SMALL[name]
    groups = assert_kept(network, shape)
    # What is left are the inputs of the first layer, the outputs of the last, and positions.
    with_units = {place.tensor for group in groups for place in group.places}
    rest = {parameter for parameter, _ in network.named_parameters()} - with_units
    assert rest == {"heads.head.bias" if name == "vision_transformer" else "output.bias"}
    statistics = {place.tensor for group in groups for place in group.statistics}
    expected = {b for b, _ in network.named_buffers() if b.endswith(("_mean", "_var"))}
    assert statistics == expected


def test_every_feed_forward_network_is_among_them() -> None:
    of_torchvision = {"resnet50", "vit_b_16"}
    names = {name.removesuffix("_bottleneck") for name in SMALL}
    assert names | of_torchvision | {"lstm"} == set(registry.available())


def places(group: Group) -> set[tuple[str, int, int, int]]:
    return {(place.tensor, place.axis, place.start, place.repeats) for place in group.places}


def layer(name: str, *, bias: bool = True) -> set[tuple[str, int, int, int]]:
    """The places of the units that a layer puts out."""
    return {(f"{name}.{kind}", 0, 0, 1) for kind in ("weight", "bias")[: 1 + bias]}


def test_a_residual_stream_is_one_group() -> None:
    network = registry.build("preresnet", input_shape=IMAGES, classes=5, depth=14, width=4)
    found = [places(group) for group in units_of(network)]
    convolution = "stage{}.block{}.residual.convolution{}"
    norm = "stage{}.block{}.residual.batch_norm{}"

    def inside(stage: int, block: int) -> set[tuple[str, int, int, int]]:
        names = [form.format(stage, block, number) for form, number in _INSIDE]
        return layer(names[0], bias=False) | layer(names[1]) | {(f"{names[2]}.weight", 1, 0, 1)}

    _INSIDE = ((convolution, 1), (norm, 2), (convolution, 2))
    expected = []
    for stage in (1, 2, 3):
        stream = set()
        if stage == 1:
            stream |= layer("convolution", bias=False)
            stream |= layer(norm.format(1, 1, 1))
            stream |= {(f"{convolution.format(1, 1, 1)}.weight", 1, 0, 1)}
        else:
            stream |= layer(f"stage{stage}.block1.shortcut", bias=False)
        for block in (1, 2):
            stream |= layer(convolution.format(stage, block, 2), bias=False)
        stream |= layer(norm.format(stage, 2, 1))
        stream |= {(f"{convolution.format(stage, 2, 1)}.weight", 1, 0, 1)}
        if stage < 3:
            following = stage + 1
            stream |= layer(norm.format(following, 1, 1))
            stream |= {(f"{convolution.format(following, 1, 1)}.weight", 1, 0, 1)}
            stream |= {(f"stage{following}.block1.shortcut.weight", 1, 0, 1)}
        else:
            stream |= layer("batch_norm") | {("output.weight", 1, 0, 1)}
        expected += [stream, inside(stage, 1), inside(stage, 2)]
    assert sorted(map(sorted, found)) == sorted(map(sorted, expected))


def test_flattened_channels_have_an_entry_a_position() -> None:
    network = registry.build(
        "vgg16",
        input_shape=(3, 12, 8),
        classes=5,
        width=2,
        convolutions=[1, 2],
        hidden_layers=1,
        dropout=0.0,
    )
    groups = units_of(network, (3, 12, 8))
    assert [group.size for group in groups] == [2, 4, 4, 16]
    first, second, third = (f"block{b}.convolution{c}" for b, c in ((1, 1), (2, 1), (2, 2)))
    assert [places(group) for group in groups] == [
        layer(first) | {(f"{second}.weight", 1, 0, 1)},
        layer(second) | {(f"{third}.weight", 1, 0, 1)},
        # 12 x 8 pixels halved twice.
        layer(third) | {("hidden1.weight", 1, 0, 6)},
        layer("hidden1") | {("output.weight", 1, 0, 1)},
    ]


def test_branches_that_are_summed_share_their_units() -> None:
    network = registry.build("lenet5", input_shape=(1, 32, 32), classes=10)
    groups = units_of(network, (1, 32, 32))
    assert [group.size for group in groups] == [6, 16, 120, 84]
    one, two = (f"branches.{name}.convolution2" for name in ("first", "second"))
    assert [places(group) for group in groups] == [
        layer("convolution1") | {(f"{one}.weight", 1, 0, 1), (f"{two}.weight", 1, 0, 1)},
        layer(one) | layer(two) | {("convolution3.weight", 1, 0, 1)},
        layer("convolution3") | {("hidden.weight", 1, 0, 1)},
        layer("hidden") | {("output.weight", 1, 0, 1)},
    ]


def test_heads_hold_units_of_their_own() -> None:
    network = registry.build(
        "vision_transformer",
        input_shape=(3, 8, 8),
        classes=5,
        patch=4,
        layers=1,
        heads=2,
        width=6,
        hidden=10,
    )
    stream, matched, values, hidden = units_of(network)
    block = "encoder.layers.encoder_layer_0"
    attention = f"{block}.self_attention"
    inner, outer = f"{attention}.in_proj", f"{attention}.out_proj"
    perceptron = [f"{block}.mlp.{number}" for number in (0, 3)]
    assert (stream.size, stream.attention, stream.heads) == (6, "", 1)
    assert places(stream) == {
        *layer("conv_proj"),
        ("class_token", 2, 0, 1),
        ("encoder.pos_embedding", 2, 0, 1),
        *layer(f"{block}.ln_1"),
        (f"{inner}_weight", 1, 0, 1),
        *layer(outer),
        *layer(f"{block}.ln_2"),
        (f"{perceptron[0]}.weight", 1, 0, 1),
        *layer(perceptron[1]),
        *layer("encoder.ln"),
        ("heads.head.weight", 1, 0, 1),
    }
    for group in (matched, values):
        assert (group.size, group.attention, group.heads) == (6, attention, 2)
    assert places(matched) == {
        (f"{inner}_{kind}", 0, start, 1) for kind in ("weight", "bias") for start in (0, 6)
    }
    assert places(values) == {
        *((f"{inner}_{kind}", 0, 12, 1) for kind in ("weight", "bias")),
        (f"{outer}.weight", 1, 0, 1),
    }
    assert places(hidden) == {*layer(perceptron[0]), (f"{perceptron[1]}.weight", 1, 0, 1)}


def test_networks_of_torchvision() -> None:
    with torch.device("meta"):
        network = registry.build("vit_b_16", input_shape=(3, 224, 224), classes=5)
        groups = find_units(network, torch.empty(2, 3, 224, 224)).groups
    # The stream; of each of 12 blocks queries and keys, values, and hidden units.
    assert [group.size for group in groups] == [768, *[768, 768, 3072] * 12]
    with torch.device("meta"):
        network = registry.build("resnet50", input_shape=(3, 64, 64), classes=5)
        groups = find_units(network, torch.empty(2, 3, 64, 64)).groups
    # The stem, the stream of each of four stages, and two inside each of 16 blocks.
    assert len(groups) == 1 + 4 + 2 * 16
    assert max(group.size for group in groups) == 2048


class Concatenated(nn.Module):
    """Channels of two layers beside the input's, normalised and read as one."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, padding=1)
        self.two = nn.Conv2d(7, 5, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.output = nn.Linear(12 * 64, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = torch.cat([inputs, self.one(inputs).relu()], dim=1)
        hidden = torch.cat((hidden, functional.gelu(self.two(hidden))), 1)
        return self.output(torch.flatten(self.norm(hidden), 1))


def test_concatenated_units_begin_where_the_others_end() -> None:
    one, two = assert_kept(drawn(Concatenated()))
    assert places(one) == {
        *layer("one"),
        ("two.weight", 1, 3, 1),
        *((f"norm.{kind}", 0, 3, 1) for kind in ("weight", "bias")),
        ("output.weight", 1, 3 * 64, 64),
    }
    assert places(two) == {
        *layer("two"),
        *((f"norm.{kind}", 0, 7, 1) for kind in ("weight", "bias")),
        ("output.weight", 1, 7 * 64, 64),
    }
    assert two.statistics == (Place("norm.running_mean", 0, 7), Place("norm.running_var", 0, 7))


class Shared(nn.Module):
    """A module that is applied twice, tied weights, and a parameter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 6)
        self.again = nn.Linear(6, 6)
        self.second = nn.Linear(6, 6, bias=False)
        self.third = nn.Linear(6, 6)
        self.third.weight = self.second.weight
        self.scale = nn.Parameter(torch.randn(6))
        self.output = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.first(inputs.view(inputs.size(0), -1)).relu()
        hidden = self.again(self.again(hidden).tanh()).tanh() * self.scale
        return self.output(self.third(self.second(hidden).relu()) + hidden)


def test_what_shares_parameters_shares_units() -> None:
    (group,) = assert_kept(drawn(Shared()))
    assert places(group) == {
        *layer("first"),
        *layer("again"),
        ("again.weight", 1, 0, 1),
        ("second.weight", 0, 0, 1),
        ("second.weight", 1, 0, 1),
        ("third.bias", 0, 0, 1),
        ("scale", 0, 0, 1),
        ("output.weight", 1, 0, 1),
    }


class Mixed(nn.Module):
    """Depthwise convolution, group norm, a gate, positions before channels, and means over both."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 5, 3, padding=1)
        self.depthwise = nn.Conv2d(5, 5, 3, padding=1, groups=5)
        self.norm = nn.GroupNorm(1, 5)
        self.gate = nn.Linear(5, 5)
        self.layer_norm = nn.LayerNorm([4, 5])
        self.tokens = nn.Linear(4, 7)
        self.output = nn.Linear(5 * 4 + 7 + 1, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        image = self.norm(self.depthwise(self.stem(inputs))).relu_()
        weights = torch.sigmoid(self.gate(image.mean([2, 3])))[:, :, None, None]
        image = functional.max_pool2d(image * weights, 4)
        last = self.layer_norm(image.permute(0, 2, 3, 1).reshape(-1, 4, 5))
        mixed = self.tokens(last.transpose(1, 2)).square().sum(dim=1)
        mean = last.flatten(1).mean(dim=-1, keepdim=True)
        return self.output(torch.cat([last.reshape(-1, 20), mixed, mean], dim=-1))


def test_operations_between_layers_carry_units() -> None:
    channels, tokens = assert_kept(drawn(Mixed()))
    assert {
        ("depthwise.weight", 0, 0, 1),
        *layer("norm"),
        *layer("gate"),
        ("gate.weight", 1, 0, 1),
        ("layer_norm.weight", 1, 0, 1),
        # Each of four positions has all channels.
        *(("output.weight", 1, 5 * position, 1) for position in range(4)),
    } <= places(channels)
    assert places(tokens) == {*layer("tokens"), ("output.weight", 1, 20, 1)}


class Outer(nn.Module):
    """Every pair of units of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(192, 4)
        self.two = nn.Linear(192, 3)
        self.output = nn.Linear(12, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        pairs = self.one(flat).unsqueeze(2) * self.two(flat).unsqueeze(1)
        return self.output(pairs.flatten(1).relu())


def test_two_groups_on_one_axis() -> None:
    one, two = assert_kept(drawn(Outer()))
    assert places(one) == layer("one") | {("output.weight", 1, 0, 3)}
    assert places(two) == layer("two") | {("output.weight", 1, 3 * k, 1) for k in range(4)}


class Scaled(nn.Module):
    """Units that a constant tells apart."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 6)
        self.second = nn.Linear(6, 5)
        self.output = nn.Linear(5, 4)
        self.register_buffer("scale", torch.arange(6.0))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.second(self.first(inputs.flatten(1)) * self.scale).relu())


def test_a_buffer_gives_units_places_of_their_own() -> None:
    """It is the same all along a curve."""
    (group,) = assert_kept(drawn(Scaled()))
    assert places(group) == layer("second") | {("output.weight", 1, 0, 1)}


class Outputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(192, 6)
        self.output = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> dict[str, Tensor]:
        hidden = self.first(inputs.flatten(1)).relu()
        return {"features": hidden, "logits": self.output(hidden)}


def test_everything_that_is_put_out_stays_in_place() -> None:
    assert units_of(Outputs()) == ()


class Attends(nn.Module):
    """Queries, keys and values of their own, and the weights of the attention in the output."""

    def __init__(self, **options) -> None:
        super().__init__()
        self.embed = nn.Linear(3, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True, **options)
        self.output = nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        attended, weights = self.attention(tokens, tokens * 0.5, value=tokens)
        return self.output(attended.mean(1)) + weights.square().sum([1, 2])[:, None]


def test_an_attention_of_a_users_own() -> None:
    embedded, matched, values, outputs = assert_kept(drawn(Attends()))
    assert places(embedded) == {*layer("embed"), ("attention.in_proj_weight", 1, 0, 1)}
    assert matched.attention == values.attention == "attention"
    assert places(outputs) == {*layer("attention.out_proj"), ("output.weight", 1, 0, 1)}
    assert len(assert_kept(drawn(Attends(bias=False)))) == 4


class MixedTokens(Attends):
    """Keys and values of tokens that two layers have made, which only together can be permuted."""

    def __init__(self) -> None:
        super().__init__()
        self.keys, self.values = nn.Linear(64, 5), nn.Linear(64, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        keys, values = (
            mix(tokens.transpose(1, 2)).transpose(1, 2) for mix in (self.keys, self.values)
        )
        return self.output(self.attention(tokens, keys, values)[0].mean(1))


def test_tokens_of_an_attention_stay_in_place() -> None:
    groups = assert_kept(drawn(MixedTokens()))
    assert [group.size for group in groups] == [8, 8, 8, 8]


class Positions(nn.Module):
    """Hidden units as the positions of a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(192, 9)
        self.convolution = nn.Conv1d(1, 5, 3)
        self.output = nn.Linear(5, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        line = self.hidden(inputs.flatten(1)).unsqueeze(1)
        return self.output(self.convolution(line).relu().mean(2))


def test_units_beside_each_other_stay_in_place() -> None:
    (group,) = assert_kept(drawn(Positions()))
    assert places(group) == layer("convolution") | {("output.weight", 1, 0, 1)}


class SharedAttends(Attends):
    """Two attentions with one projection of their values."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.MultiheadAttention(8, 4, batch_first=True)
        self.second.out_proj.weight = self.attention.out_proj.weight

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        tokens = self.attention(tokens, tokens, tokens)[0]
        return self.output(self.second(tokens, tokens, tokens)[0].mean(1))


class MaskOfHeads(Attends):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.zeros(2 * 2, 64, 64))

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        return self.output(self.attention(tokens, tokens, tokens, attn_mask=self.mask)[0].mean(1))


class WeightsOfHeads(Attends):
    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        attended, weights = self.attention(tokens, tokens, tokens, average_attn_weights=False)
        return self.output(attended.mean(1)) + weights[:, 0].sum([1, 2])[:, None]


class OtherLengths(Attends):
    def __init__(self) -> None:
        super().__init__(kdim=3, vdim=3)

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = inputs.flatten(2).transpose(1, 2)
        return self.output(self.attention(self.embed(tokens), tokens, tokens)[0].mean(1))


class MaskOfTokens(Attends):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.randn(64, 64).double())

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs.flatten(2).transpose(1, 2))
        return self.output(self.attention(tokens, tokens, tokens, attn_mask=self.mask)[0].mean(1))


def test_a_mask_that_all_heads_share_is_none_of_their_affair() -> None:
    assert len(assert_kept(drawn(MaskOfTokens()))) == 4


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Attends(add_bias_kv=True), "attention (MultiheadAttention) has keys and values of other"),
        (Attends(add_zero_attn=True), "attention (MultiheadAttention) has keys and values of oth"),
        (OtherLengths(), "attention (MultiheadAttention) has keys and values of other lengths"),
        (MaskOfHeads(), "attention (MultiheadAttention) has a mask for each head"),
        (WeightsOfHeads(), "attention (MultiheadAttention) puts out the weights of each head"),
        (SharedAttends(), "second (MultiheadAttention) lets the units of two attentions meet"),
    ],
    ids=["bias", "zero", "lengths", "mask", "weights", "shared"],
)
def test_refuses_attentions_of_another_form(network, message) -> None:
    with pytest.raises(UserError) as caught:
        units_of(network)
    assert str(caught.value).startswith(f"alignment: module {message}")


class Composed(nn.Module):
    """A function of the test's own between two layers."""

    def __init__(self, between) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.between = between if isinstance(between, nn.Module) else Function(between)
        self.output = nn.LazyLinear(4)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.output(self.between(self.stem(inputs)).flatten(1))


class Function(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(inputs)


class First(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor) -> Tensor:
        return self.module(inputs)[0]


class Weighted(nn.Module):
    """A convolution whose weight is computed, as a function."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1))

    def forward(self, inputs: Tensor) -> Tensor:
        return functional.conv2d(inputs, self.weight - self.weight.mean(dim=1, keepdim=True))


def shuffle(inputs: Tensor) -> Tensor:
    batch, channels, height, width = inputs.shape
    groups = inputs.view(batch, 2, channels // 2, height, width)
    return groups.transpose(1, 2).reshape(batch, channels, height, width)


@fx.wrap
def roll(inputs: Tensor) -> None:
    inputs.copy_(inputs.roll(1, 1))


def rolling_in_place(inputs: Tensor) -> Tensor:
    roll(inputs)
    return inputs


def branching(inputs: Tensor) -> Tensor:
    return inputs.relu() if inputs.sum() > 0 else inputs


@pytest.mark.parametrize(
    ("between", "message"),
    [
        (nn.ChannelShuffle(2), "module between (ChannelShuffle) does to units what is not known"),
        (nn.PixelShuffle(2), "module between (PixelShuffle) does to units what is not known"),
        (shuffle, "operation view of module between cuts units into pieces"),
        (nn.Conv2d(8, 8, 1, groups=4), "module between (Conv2d) convolves groups of neighbouring"),
        (nn.GroupNorm(2, 8), "module between (GroupNorm) normalises groups of neighbouring chan"),
        (nn.Unflatten(1, (2, 4)), "module between (Unflatten) cuts units into pieces"),
        (nn.LocalResponseNorm(3), "module between (LocalResponseNorm) does to units what is not"),
        (First(nn.MaxPool2d(2, return_indices=True)), "module between.module (MaxPool2d) does to"),
        (lambda x: x.roll(1, 1), "operation roll of module between does to units what is not"),
        (lambda x: x.cumsum(1), "operation cumsum of module between does to units what is not"),
        (lambda x: x.flip(1), "operation flip of module between does to units what is not known"),
        (lambda x: x.chunk(2, 1)[0], "operation chunk of module between does to units what is not"),
        (lambda x: x.sort(1).values, "operation sort of module between does to units what is not"),
        (lambda x: x[:, torch.arange(8)], "operation getitem of module between does to units"),
        (lambda x: x @ x, "operation matmul of module between does to units what is not known"),
        (rolling_in_place, "operation roll of module between does to units what is not known"),
        (Weighted(), "operation conv2d of module between does to units what is not known"),
        (
            nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
            "module between (ParametrizedConv2d) computes its parameters from others",
        ),
    ],
)
def test_refuses_what_it_does_not_know(between, message) -> None:
    with pytest.raises(UserError) as caught:
        units_of(Composed(between))
    assert str(caught.value).startswith(f"alignment: {message}")
    assert str(caught.value).endswith("leave alignment out of its curves")


@pytest.mark.parametrize(
    ("network", "shape", "message"),
    [
        (Composed(branching), IMAGES, "alignment: torch.fx cannot trace Composed (TraceError: "),
        (nn.Sequential(nn.LSTM(3, 4)), (5, 3), "alignment: 0 (LSTM) is recurrent, and only feed-"),
        (small_networks.Recurrent(7, 0.0), (5,), "alignment: the network (Recurrent) is recurrent"),
        (registry.build("lstm", input_shape=(), classes=7), (5,), "alignment: the network (L"),
    ],
)
def test_refuses_what_cannot_be_traced(network, shape, message) -> None:
    with pytest.raises(UserError) as caught:
        units_of(network, shape)
    assert str(caught.value).startswith(message)
    assert "leave alignment out" in str(caught.value)
