import copy
import math

import pytest
import torch
from torch import nn

from mode_connectivity.data.token_stream import TokenStream
from mode_connectivity.evaluation.metrics import measure
from mode_connectivity.networks.carried_state import CarriesState, reset_state, state_kept
from mode_connectivity.networks.recurrent import LanguageModel
from mode_connectivity.networks.registry import build, check_options, specification
from mode_connectivity.settings import UserError
from mode_connectivity.training.recipes import RecipeSettings


def model(words: int = 11, **options) -> LanguageModel:
    network = build("lstm", input_shape=(), classes=words, **{"hidden": 6, **options})
    assert isinstance(network, LanguageModel)
    return network


def tokens(streams: int, steps: int, words: int = 11) -> torch.Tensor:
    return torch.randint(words, (streams, steps))


@pytest.mark.parametrize(
    ("hidden", "layers", "words"), [(1500, 2, 10_000), (200, 2, 10_000), (7, 3, 12), (5, 1, 4)]
)
def test_parameters_by_the_formula(hidden, layers, words) -> None:
    with torch.device("meta"):
        network = build("lstm", input_shape=(), classes=words, hidden=hidden, layers=layers)
    expected = words * hidden + layers * (8 * hidden**2 + 8 * hidden) + hidden * words + words
    assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_the_large_model_has_66_million() -> None:
    # 66,022,000 of the TensorFlow tutorial, and PyTorch's second bias vectors.
    with torch.device("meta"):
        network = build("lstm", input_shape=(), classes=10_000, hidden=1500)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count == 66_022_000 + 2 * 4 * 1500


def test_defaults_are_those_of_the_small_model() -> None:
    options = {name: option.default for name, option in specification("lstm").options.items()}
    assert options == {"hidden": 200, "layers": 2, "dropout": 0.0, "initial_range": 0.1}
    assert specification("lstm").title == "LSTM"


@pytest.mark.parametrize("initial_range", [0.1, 0.04])
def test_everything_is_drawn_uniformly(initial_range) -> None:
    network = model(words=30, hidden=20, initial_range=initial_range)
    for name, parameter in network.named_parameters():
        assert parameter.abs().max() <= initial_range, name
        assert parameter.abs().max() > 0.8 * initial_range, name
    weights = network.lstm.weight_hh_l0
    assert weights.std().item() == pytest.approx(initial_range / math.sqrt(3), rel=0.05)
    assert abs(weights.mean().item()) < 0.1 * initial_range


def test_against_a_calculation_by_hand() -> None:
    """The gates of Hochreiter and Schmidhuber in PyTorch's order: input, forget, cell, output."""
    network = model(layers=2, initial_range=0.5).double()
    read = tokens(3, 7)
    found = network(read)
    hidden = torch.zeros(2, 3, 6, dtype=torch.float64)
    cell = torch.zeros_like(hidden)
    for step in range(7):
        values = network.embedding.weight[read[:, step]]
        for layer in range(2):
            w_i, w_h, b_i, b_h = network.lstm.all_weights[layer]
            gates = values @ w_i.T + b_i + hidden[layer] @ w_h.T + b_h
            i, f, g, o = gates.chunk(4, dim=1)
            new = f.sigmoid() * cell[layer] + i.sigmoid() * g.tanh()
            values = o.sigmoid() * new.tanh()
            cell = torch.stack([new if k == layer else cell[k] for k in range(2)])
            hidden = torch.stack([values if k == layer else hidden[k] for k in range(2)])
        logits = values @ network.output.weight.T + network.output.bias
        torch.testing.assert_close(found[:, step], logits)
    torch.testing.assert_close(network.state, (hidden, cell))


def test_two_windows_are_one_of_twice_the_length() -> None:
    network = model(initial_range=0.5).eval()
    read = tokens(4, 20)
    whole = network(read)
    assert whole.shape == (4, 20, 11)
    network.reset_state()
    halves = [network(read[:, :10]), network(read[:, 10:])]
    torch.testing.assert_close(torch.cat(halves, dim=1), whole)
    # Without what was carried, the second half is another.
    network.reset_state()
    assert (network(read[:, 10:]) - whole[:, 10:]).abs().max() > 1e-2


def test_back_propagation_ends_at_the_window() -> None:
    network = model()
    network(tokens(2, 5))
    assert not any(part.requires_grad for part in network.state)
    network(tokens(2, 5)).sum().backward()
    network.zero_grad()
    # A second pass through a graph that is gone would be an error.
    network(tokens(2, 5)).sum().backward()
    assert "state" not in dict(network.named_buffers())
    assert not any("state" in name for name in network.state_dict())


def test_reset_and_kept_state() -> None:
    outer = nn.Sequential(model(), nn.Identity())
    inner = outer[0]
    assert isinstance(inner, CarriesState)
    assert not isinstance(outer[1], CarriesState)
    read = tokens(2, 5)
    first = outer(read)
    before = inner.state
    assert (outer(read) - first).abs().max() > 1e-4
    inner.state = before
    with state_kept(outer):
        reset_state(outer)
        assert inner.state is None
        assert torch.equal(outer(read), first)
        assert inner.state is not before
    assert inner.state is before
    reset_state(outer)
    with state_kept(outer):
        outer(read)
    assert inner.state is None


def test_networks_without_a_state_stay_as_they_are() -> None:
    network = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    before = copy.deepcopy(network.state_dict())
    reset_state(network)
    with state_kept(network):
        pass
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("layers", [1, 2])
def test_dropout_is_off_in_evaluation(layers) -> None:
    network = model(dropout=0.5, layers=layers, initial_range=0.5)
    plain = model(dropout=0.0, layers=layers)
    plain.load_state_dict(network.state_dict())
    read = tokens(3, 9)
    assert torch.equal(network.eval()(read), plain.train()(read))
    for each in (network, plain):
        each.reset_state()
    trained = network.train()(read)
    network.reset_state()
    assert not torch.equal(network(read), trained)


def test_what_dropout_acts_on() -> None:
    # Of the embedding and of each layer's outputs: all zero, and only the biases are left.
    network = model(dropout=0.99999, hidden=4)
    read = tokens(5, 3)
    torch.testing.assert_close(
        network(read), network.output.bias.expand(5, 3, 11), rtol=0, atol=1e-6
    )
    assert network.lstm.dropout == 0.99999
    with pytest.MonkeyPatch.context() as patch:
        seen = []
        patch.setattr(network.lstm, "forward", lambda inputs, state: seen.append(inputs) or 1 / 0)
        with pytest.raises(ZeroDivisionError):
            network(read)
    assert (seen[0] == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "'hidden' is 0; it must be a width of at least 1"),
        ({"layers": 0}, "'layers' is 0; it must be at least one layer"),
        ({"dropout": 1.0}, r"'dropout' is 1\.0; it must be a probability below 1"),
        ({"dropout": -0.1}, r"'dropout' is -0\.1"),
        ({"initial_range": 0.0}, r"'initial_range' is 0\.0; it must be a number above 0"),
    ],
)
def test_options_out_of_range(options, message) -> None:
    with pytest.raises(UserError, match=rf"network 'lstm': option {message}"):
        model(**options)


def test_mistakes_in_options_are_told_before_training() -> None:
    (text,) = check_options("lstm", {"hiden": 3})
    assert "did you mean 'hidden'?" in text
    recipe = {
        "dataset": "ptb",
        "network": {"name": "lstm", "hidden": 1500, "dropout": 0.65, "initial_range": 0.04},
        "training": {"epochs": 1, "learning_rate": 1.0},
    }
    assert RecipeSettings.model_validate(recipe).network.options["hidden"] == 1500


@pytest.mark.parametrize(("words", "count", "streams"), [(11, 200, 1), (37, 5000, 4)])
def test_a_uniform_model_has_the_vocabulary_as_its_perplexity(words, count, streams) -> None:
    network = model(words)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    text = TokenStream(tokens(1, count, words)[0].int(), words)
    found = measure(network, text.prepared_batches(streams))
    assert math.exp(found.nll) == pytest.approx(words, rel=1e-5)
    # Of equal logits the first word is taken.
    assert found.error == pytest.approx(100 * (text.targets != 0).double().mean().item())
