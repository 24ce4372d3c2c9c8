"""How large the project's networks are, and how much they compute, from their options alone.

For what must be known before a job starts: nothing here imports torch. Tests compare each network
with the module that PyTorch builds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mode_connectivity.networks import registry


@dataclass(frozen=True)
class NetworkSize:
    """The size of a network.

    Attributes:
        parameters: numbers that are trained.
        operations: floating point operations of the forward pass of one example (of a text, one
            word) in its convolutions and matrix products; a multiplication and an addition are two.
        activations: numbers that its layers put out for one example.
        widest: numbers that the layer with the most of them puts out.
    """

    parameters: int
    operations: int
    activations: int
    widest: int


def network_size(
    name: str, *, input_shape: Sequence[int], classes: int, options: Mapping[str, Any]
) -> NetworkSize | None:
    """Return the size of a network, or nothing of one that is not the project's own.

    Args:
        name: the network, as a config has it.
        input_shape: the shape of one example, ``(channels, height, width)`` for images.
        classes: the number of logits.
        options: those that are given; the others take their defaults.

    Raises:
        ValueError: with these options, nothing is left of such an example in some layer.
        ZeroDivisionError: an option that something is divided by is zero.
    """
    if name not in _NETWORKS:
        return None
    defaults = {key: each.default for key, each in registry.specification(name).options.items()}
    stack = _Stack(list(input_shape))
    _NETWORKS[name](stack, classes, **{**defaults, **options})
    return NetworkSize(stack.parameters, stack.operations, stack.activations, stack.widest)


class _Stack:
    """Adds up what layers hold and compute, one after the other.

    Attributes:
        shape: of one example where the layers added so far end.
    """

    def __init__(self, shape: list[int]) -> None:
        self.shape = shape
        self.parameters = self.operations = self.activations = self.widest = 0

    def add(self, shape: list[int], parameters: int = 0, multiplications: int = 0) -> None:
        if min(shape) < 1:
            raise ValueError(f"a layer puts out {shape}")
        self.shape = shape
        self.parameters += parameters
        self.operations += 2 * multiplications
        self.activations += prod(shape)
        self.widest = max(self.widest, prod(shape))

    def convolve(
        self, outputs: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        channels, *sides = self.shape
        sides = [(side + 2 * padding - kernel) // stride + 1 for side in sides]
        weights = channels * kernel**2 * outputs
        self.add([outputs, *sides], weights + bias * outputs, weights * prod(sides))

    def normalise(self) -> None:
        """Add a batch norm, which has a scale and a shift a channel."""
        self.add(self.shape, 2 * self.shape[0])

    def pool(self, kernel: int, stride: int | None = None, padding: int = 0) -> None:
        channels, *sides = self.shape
        stride = stride or kernel
        self.add([channels, *((side + 2 * padding - kernel) // stride + 1 for side in sides)])

    def average(self) -> None:
        self.add([self.shape[0]])

    def linear(self, outputs: int) -> None:
        inputs = prod(self.shape)
        self.add([outputs], inputs * outputs + outputs, inputs * outputs)

    def residual(self, outputs: int, stride: int, *, bias: bool) -> "_Stack":
        """Return where the shortcut of a residual block begins; it is added by `shortcut`."""
        branch = _Stack(self.shape)
        if stride != 1 or self.shape[0] != outputs:
            branch.convolve(outputs, 1, stride=stride, bias=bias)
        return branch

    def shortcut(self, branch: "_Stack") -> None:
        self.parameters += branch.parameters
        self.operations += branch.operations
        self.activations += branch.activations
        self.add(self.shape)


def _fully_connected(stack: _Stack, classes: int, *, hidden: Sequence[int]) -> None:
    for outputs in (*hidden, classes):
        stack.linear(outputs)


def _regression_mlp(stack: _Stack, classes: int, *, hidden: Sequence[int]) -> None:
    stack.shape = [2]
    _fully_connected(stack, classes, hidden=hidden)


def _lenet5(stack: _Stack, classes: int, *, width: float) -> None:
    narrow, middle, broad, hidden = (round(units * width) for units in (6, 16, 120, 84))
    stack.convolve(narrow, 5)
    stack.pool(2)
    entrance = stack.shape
    for _ in range(2):
        stack.shape = entrance
        stack.convolve(middle, 5)
        stack.pool(2)
    # The sum of the branches.
    stack.add(stack.shape)
    stack.convolve(broad, 5)
    stack.linear(hidden)
    stack.linear(classes)


def _three_conv_three_fc(
    stack: _Stack, classes: int, *, width: float, channels: Sequence[int]
) -> None:
    for outputs in channels:
        stack.convolve(outputs, 5, padding=2)
        stack.pool(3, stride=2)
    for _ in range(2):
        stack.linear(round(1000 * width))
    stack.linear(classes)


def _vgg(*, batch_norm: bool) -> Callable[..., None]:
    def add(
        stack: _Stack,
        classes: int,
        *,
        width: int,
        convolutions: Sequence[int],
        hidden_layers: int,
        dropout: float,
    ) -> None:
        for index, count in enumerate(convolutions):
            for _ in range(count):
                stack.convolve(width * min(2**index, 8), 3, padding=1)
                if batch_norm:
                    stack.normalise()
            stack.pool(2)
        for _ in range(hidden_layers):
            stack.linear(8 * width)
        stack.linear(classes)

    return add


def _preresnet(stack: _Stack, classes: int, *, depth: int, width: int, block: str) -> None:
    bottleneck = block == "bottleneck" or (block == "auto" and depth >= 44 and depth % 9 == 2)
    stack.convolve(width, 3, padding=1, bias=False)
    for stage in range(3):
        for number in range((depth - 2) // (9 if bottleneck else 6)):
            stride = 2 if stage and not number else 1
            inner = width * 2**stage
            outputs = inner * (4 if bottleneck else 1)
            branch = stack.residual(outputs, stride, bias=False)
            kernels = [(inner, 1, 1), (inner, 3, stride), (outputs, 1, 1)]
            if not bottleneck:
                kernels = [(inner, 3, stride), (inner, 3, 1)]
            for channels, kernel, step in kernels:
                stack.normalise()
                stack.convolve(channels, kernel, stride=step, padding=kernel // 2, bias=False)
            stack.shortcut(branch)
    stack.normalise()
    stack.average()
    stack.linear(classes)


def _wide_resnet(stack: _Stack, classes: int, *, depth: int, width: int, dropout: float) -> None:
    stack.convolve(16, 3, padding=1)
    for stage in range(3):
        for number in range((depth - 4) // 6):
            stride = 2 if stage and not number else 1
            outputs = 16 * width * 2**stage
            branch = stack.residual(outputs, stride, bias=True)
            for step in (1, stride):
                stack.normalise()
                stack.convolve(outputs, 3, stride=step, padding=1)
            stack.shortcut(branch)
    stack.normalise()
    stack.average()
    stack.linear(classes)


def _resnet50(stack: _Stack, classes: int) -> None:
    stack.convolve(64, 7, stride=2, padding=3, bias=False)
    stack.normalise()
    stack.pool(3, stride=2, padding=1)
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for number in range(blocks):
            stride = 2 if stage and not number else 1
            inner = 64 * 2**stage
            branch = stack.residual(4 * inner, stride, bias=False)
            if branch.parameters:
                branch.normalise()
            for channels, kernel, step in ((inner, 1, 1), (inner, 3, stride), (4 * inner, 1, 1)):
                stack.convolve(channels, kernel, stride=step, padding=kernel // 2, bias=False)
                stack.normalise()
            stack.shortcut(branch)
    stack.average()
    stack.linear(classes)


def _vision_transformer(
    stack: _Stack,
    classes: int,
    *,
    patch: int,
    layers: int,
    heads: int,
    width: int,
    hidden: int,
) -> None:
    stack.convolve(width, patch, stride=patch)
    tokens = prod(stack.shape[1:]) + 1
    # The class token and the positions.
    stack.add([tokens, width], width + tokens * width)
    for _ in range(layers):
        stack.add([tokens, width], 2 * width)
        stack.add([tokens, 3 * width], 3 * width * (width + 1), 3 * tokens * width**2)
        stack.add([tokens, width], 0, 2 * tokens**2 * width)
        stack.add([tokens, width], width * (width + 1), tokens * width**2)
        stack.add([tokens, width], 2 * width)
        stack.add([tokens, hidden], hidden * (width + 1), tokens * width * hidden)
        # The nonlinearity keeps its input.
        stack.add([tokens, hidden])
        stack.add([tokens, width], width * (hidden + 1), tokens * width * hidden)
    stack.add([tokens, width], 2 * width)
    stack.shape = [width]
    stack.linear(classes)


def _vit_b_16(stack: _Stack, classes: int) -> None:
    _vision_transformer(stack, classes, patch=16, layers=12, heads=12, width=768, hidden=3072)


def _lstm(
    stack: _Stack,
    classes: int,
    *,
    hidden: int,
    layers: int,
    dropout: float,
    initial_range: float,
) -> None:
    stack.add([hidden], classes * hidden)
    for _ in range(layers):
        # Four gates of inputs and state; PyTorch has two bias vectors. Gates, cell and output.
        weights = 8 * hidden**2
        stack.add([6 * hidden], weights + 8 * hidden, weights)
    stack.shape = [hidden]
    stack.linear(classes)


_NETWORKS: Mapping[str, Callable[..., None]] = {
    "fully_connected": _fully_connected,
    "lenet5": _lenet5,
    "lstm": _lstm,
    "preresnet": _preresnet,
    "regression_mlp": _regression_mlp,
    "resnet50": _resnet50,
    "three_conv_three_fc": _three_conv_three_fc,
    "vgg16": _vgg(batch_norm=False),
    "vgg16_batch_norm": _vgg(batch_norm=True),
    "vision_transformer": _vision_transformer,
    "vit_b_16": _vit_b_16,
    "wide_resnet": _wide_resnet,
}
