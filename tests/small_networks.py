"""Networks of a user's own, small enough for tests."""

import torch
from torch import Tensor, nn


def plain(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(5 * (height // 2) * (width // 2), classes),
    )


def batch_norm(
    *, input_shape: tuple[int, int, int], classes: int, dropout: float = 0.3
) -> nn.Module:
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(dropout),
        nn.Linear(4 * (height // 2) * (width // 2), 6),
        nn.BatchNorm1d(6, momentum=0.3),
        nn.ReLU(),
        nn.Linear(6, classes),
    )


def perceptron(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    channels, height, width = input_shape
    return nn.Sequential(
        nn.Flatten(), nn.Linear(channels * height * width, 5), nn.ReLU(), nn.Linear(5, classes)
    )


def recurrent(*, input_shape: tuple[int, ...], classes: int, dropout: float = 0.0) -> nn.Module:
    return Recurrent(classes, dropout)


def branches(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Branches(input_shape, classes)


def buffered(*, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    return Buffered(input_shape, classes)


class Recurrent(nn.Module):
    """A language model whose state is one tensor."""

    def __init__(self, words: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 5)
        self.cell = nn.GRU(5, 6, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(6, words)
        self.state: Tensor | None = None

    def reset_state(self) -> None:
        self.state = None

    def forward(self, tokens: Tensor) -> Tensor:
        outputs, state = self.cell(self.embedding(tokens), self.state)
        self.state = state.detach()
        return self.output(self.dropout(outputs))


class Branches(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.first = nn.Linear(channels * height * width, 5)
        self.second = nn.Linear(channels * height * width, 5)
        self.output = nn.Linear(5, classes)

    def forward(self, inputs: Tensor) -> Tensor:
        flat = inputs.flatten(1)
        return self.output(self.first(flat).relu() + self.second(flat).relu())


class Buffered(nn.Module):
    """Shared parameters, a shared module with statistics, and buffers of several kinds."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        channels, height, width = input_shape
        self.first = nn.Linear(channels * height * width, 6)
        self.second = nn.Linear(6, 6)
        self.third = nn.Linear(6, 6)
        self.third.weight = self.second.weight
        self.norm = nn.BatchNorm1d(6)
        self.same_norm = self.norm
        self.output = nn.Linear(6, classes)
        self.register_buffer("order", torch.arange(5, -1, -1))
        self.register_buffer("mask", torch.tensor([True, True, False, True, True, True]))
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.norm(self.first(inputs.flatten(1))).relu()
        hidden = self.third(self.second(hidden).relu()).relu()[:, self.order] * self.mask
        return self.output(hidden * self.scale)
