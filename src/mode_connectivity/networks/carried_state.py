"""Networks that carry a state from batch to batch, as recurrent ones do along a text.

Training and evaluation know such a network by its attribute ``state`` and its method
``reset_state``; a network of a user's own needs no more than these.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class CarriesState(Protocol):
    """A module whose next output depends on the batches before."""

    state: Any

    def reset_state(self) -> None:
        """Forget the batches before."""


def reset_state(network: nn.Module) -> None:
    """Let a network begin a new pass; one that carries no state stays as it is."""
    for module in _carriers(network):
        module.reset_state()


@contextmanager
def state_kept(network: nn.Module) -> Iterator[None]:
    """Give a network back the state that it carries now, whatever it reads in between."""
    carriers = _carriers(network)
    states = [module.state for module in carriers]
    yield
    for module, state in zip(carriers, states, strict=True):
        module.state = state


def _carriers(network: nn.Module) -> list[CarriesState]:
    return [module for module in network.modules() if isinstance(module, CarriesState)]
