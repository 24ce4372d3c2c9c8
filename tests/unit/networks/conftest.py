from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mode_connectivity.networks.registry import build


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """So small networks do not wait for each other's threads where tests run side by side."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def parameters() -> Callable[..., tuple[int, int]]:
    """Numbers and tensors that a network trains, counted without allocating them."""

    def count(name: str, input_shape: tuple[int, ...], classes: int, **options) -> tuple[int, int]:
        with torch.device("meta"):
            tensors = list(
                build(name, input_shape=input_shape, classes=classes, **options).parameters()
            )
        return sum(tensor.numel() for tensor in tensors), len(tensors)

    return count


@pytest.fixture
def mega_multiply_adds() -> Callable[..., float]:
    """Millions of multiply-adds that one example costs, counted without computing it."""

    def count(name: str, input_shape: tuple[int, ...], classes: int, **options) -> float:
        with torch.device("meta"), FlopCounterMode(display=False) as counter:
            network = build(name, input_shape=input_shape, classes=classes, **options).eval()
            network(torch.empty(1, *input_shape))
        return counter.get_total_flops() / 2e6

    return count


@pytest.fixture
def layers_with_weights() -> Callable[[nn.Module], list[tuple[str, nn.Module]]]:
    def layers(network: nn.Module) -> list[tuple[str, nn.Module]]:
        return [
            (name, module)
            for name, module in network.named_modules()
            if list(module.parameters(recurse=False))
        ]

    return layers
