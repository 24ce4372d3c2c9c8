import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from mode_connectivity.data import token_stream as module
from mode_connectivity.data.arrays import Dataset, ImageExamples
from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.data.token_stream import IGNORED, WARM_UP, TokenStream
from mode_connectivity.evaluation.metrics import measure
from mode_connectivity.networks.carried_state import reset_state
from mode_connectivity.networks.recurrent import LanguageModel
from mode_connectivity.settings import UserError


def stream(count: int, vocabulary: int | None = None) -> TokenStream:
    """A text whose tokens are their own places, so that a target tells where it stands."""
    return TokenStream(torch.arange(count, dtype=torch.int32), vocabulary or count)


def lists(batches) -> list[tuple[list, list]]:
    return [(inputs.tolist(), targets.tolist()) for inputs, targets in batches]


def test_windows_of_streams_by_hand() -> None:
    # Eleven predictions in two streams of five; the last one is left over.
    text = stream(12)
    assert len(text) == 11
    assert text.targets.tolist() == list(range(1, 12))
    assert lists(text.batches(2, window=2)) == [
        ([[0, 1], [5, 6]], [[1, 2], [6, 7]]),
        ([[2, 3], [7, 8]], [[3, 4], [8, 9]]),
        ([[4], [9]], [[5], [10]]),
    ]
    assert lists(text.batches(2, window=5)) == [
        ([[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]], [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    ]
    alone = ([[k] for k in range(11)], [[k + 1] for k in range(11)])
    assert lists(text.batches(11, window=9)) == [alone]


def test_what_the_network_and_the_loss_take() -> None:
    for batches in (stream(50).batches(3, window=4), stream(50).prepared_batches(3)):
        for inputs, targets in batches:
            assert inputs.dtype == targets.dtype == torch.int64


@pytest.mark.parametrize("count", [12, 25, 100])
@pytest.mark.parametrize("streams", [1, 2, 7])
@pytest.mark.parametrize("window", [1, 3, 35])
def test_iterations_are_the_batches_there_are(count, streams, window) -> None:
    text = stream(count)
    batches = list(text.batches(streams, window=window))
    assert text.iterations(streams, window=window) == len(batches)
    # Read side by side, the windows are the streams, and the streams the text.
    for which, shift in ((0, 0), (1, 1)):
        joined = torch.cat([batch[which] for batch in batches], dim=1)
        assert joined.flatten().tolist() == [
            place + shift for place in range((count - 1) // streams * streams)
        ]


def test_shuffling_changes_nothing() -> None:
    text = stream(40)
    shuffled = text.batches(3, window=4, shuffle=True, generator=torch.Generator())
    assert lists(shuffled) == lists(text.batches(3, window=4))


def test_what_cannot_be_is_refused_at_the_call() -> None:
    assert lists(stream(4).batches(3, window=2)) == [([[0], [1], [2]], [[1], [2], [3]])]
    with pytest.raises(UserError, match="has 4 tokens, too few for 4 streams"):
        stream(4).batches(4, window=2)
    assert stream(4).iterations(4, window=2) == 0
    with pytest.raises(ValueError, match="not augmented"):
        stream(40).batches(2, window=3, augmentation=AugmentationSettings(transforms=["crop"]))
    none = AugmentationSettings(transforms=[])
    assert len(list(stream(40).batches(2, window=3, augmentation=none))) == 7


def counted(batches) -> Counter:
    found: Counter[int] = Counter()
    for inputs, targets in batches:
        kept = targets != IGNORED
        # A target is the token after its input.
        assert torch.equal(inputs[kept] + 1, targets[kept])
        found.update(targets[kept].tolist())
    return found


SIZES = st.integers(2, 60) | st.integers(990, 1010) | st.integers(1990, 4200)


@hypothesis_settings(max_examples=60, deadline=None)
@given(count=SIZES, streams=st.integers(1, 9), vocabulary=st.sampled_from([10, 10_000, 10**7]))
def test_every_token_but_the_first_is_predicted_once(count, streams, vocabulary) -> None:
    batches = stream(count, vocabulary).prepared_batches(streams)
    assert counted(batches) == Counter(range(1, count))
    assert all(
        inputs.numel() * vocabulary <= max(2**24, streams * vocabulary) for inputs, _ in batches
    )


@pytest.mark.parametrize("shortest", [200, 330])
def test_every_token_is_predicted_once_by_any_number_of_streams(monkeypatch, shortest) -> None:
    monkeypatch.setattr(module, "SHORTEST_STREAM", shortest)
    for count in [*range(230, 260), *range(990, 1030)]:
        for streams in range(1, 10):
            batches = stream(count).prepared_batches(streams)
            assert counted(batches) == Counter(range(1, count)), (count, streams)
            assert len(batches[0][0]) == max(1, min(streams, (count - 1) // shortest))


def test_streams_of_an_evaluation_warm_up() -> None:
    text = stream(3201, 10)
    batches = text.prepared_batches(100)
    inputs, targets = (torch.cat(part, dim=1) for part in zip(*batches, strict=True))
    assert len(inputs) == 3
    # Each reads its text without a gap, and no prediction but of the first is made cold.
    assert (inputs.diff(dim=1) >= 0).all()
    for row, (read, told) in enumerate(zip(inputs, targets, strict=True)):
        first = int((told != IGNORED).nonzero()[0])
        assert first == (0 if row == 0 else WARM_UP)
        assert read[:200].tolist() == list(range(int(read[0]), int(read[0]) + 200))
    # Little is read twice.
    assert inputs.numel() <= len(text) + 2 * WARM_UP + 3


def test_prepared_batches_can_be_taken_again() -> None:
    batches = stream(200).prepared_batches(4)
    assert lists(batches) == lists(batches)


def trained_model(tokens: Tensor) -> LanguageModel:
    """A network that uses its state: the word is that of three steps before, mostly."""
    network = LanguageModel(words=4, hidden=12, layers=2, dropout=0.0, initial_range=0.3)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.02)
    for _ in range(4):
        reset_state(network)
        for inputs, targets in TokenStream(tokens, 4).batches(20, window=35):
            optimiser.zero_grad()
            functional.cross_entropy(network(inputs).flatten(0, 1), targets.flatten()).backward()
            optimiser.step()
    return network


@pytest.fixture(scope="module")
def model_and_tokens() -> tuple[LanguageModel, Tensor]:
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        tokens = torch.randint(4, (6000,), generator=generator, dtype=torch.int32)
        repeat = torch.rand(6000, generator=generator) < 0.9
        for place in range(3, 6000):
            if repeat[place]:
                tokens[place] = tokens[place - 3]
        return trained_model(tokens), tokens


def test_warming_up_makes_several_streams_as_good_as_one(model_and_tokens, monkeypatch) -> None:
    network, tokens = model_and_tokens
    text = TokenStream(tokens, 4)
    one = measure(network, text.prepared_batches(1))
    several = measure(network, text.prepared_batches(5))
    assert len(text.prepared_batches(5)[0][0]) == 5
    assert one.nll < 0.9 * math.log(4)
    assert several.nll == pytest.approx(one.nll, rel=1e-5)
    assert several.error == pytest.approx(one.error, abs=0.02)
    assert len(one.correct) == len(several.correct) == 5999
    # It is the warming up that does it.
    monkeypatch.setattr(module, "WARM_UP", 0)
    cold = measure(network, text.prepared_batches(5))
    assert abs(cold.nll - one.nll) > 20 * abs(several.nll - one.nll)


def test_a_single_stream_is_the_text_read_in_one_go(model_and_tokens) -> None:
    network, tokens = model_and_tokens
    found = measure(network, TokenStream(tokens[:900], 4).prepared_batches(50))
    network.reset_state()
    with torch.no_grad():
        logits = network(tokens[None, :899].long())[0]
    expected = functional.cross_entropy(logits, tokens[1:900].long())
    assert found.nll == pytest.approx(expected.item(), rel=1e-5)
    assert torch.equal(found.correct, logits.argmax(dim=1) == tokens[1:900])


def test_a_text_as_a_data_set(text) -> None:
    assert isinstance(text, Dataset)
    assert list(text.parts) == ["train", "validation", "test"]
    assert [len(part) for part in text.parts.values()] == [229, 96, 109]
    assert text.input_shape == ()
    assert text.train.vocabulary == len(text.classes) == 7
    assert text.train.tokens.dtype == torch.int32
    assert text.train.tokens.max() < 7


def test_images_have_no_validation_part(dataset) -> None:
    assert list(dataset.parts) == ["train", "test"]
    assert isinstance(dataset.train, ImageExamples)
    assert dataset.train.iterations(16, window=9) == len(list(dataset.train.batches(16))) == 5
