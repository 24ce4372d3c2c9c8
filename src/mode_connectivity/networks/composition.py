"""How layers are put together where a chain does not do."""

from collections import OrderedDict
from collections.abc import Callable

from torch import Tensor, nn


class ParallelSum(nn.Module):
    """The sum of several branches, all of the same input."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the sum of what the branches return, which are of one shape."""
        first, *others = self.children()
        total: Tensor = first(inputs)
        for branch in others:
            total = total + branch(inputs)
        return total


def residual_stages(
    inputs: int, widths: list[int], blocks: int, block: Callable[[int, int, int], nn.Module]
) -> OrderedDict[str, nn.Module]:
    """Return the stages of a residual network, by name, from input to output.

    Args:
        inputs: the channels that enter the first stage.
        widths: the channels that leave each stage; all stages but the first halve the image.
        blocks: the blocks of each stage.
        block: makes a block from its input channels, its output channels and its stride.
    """
    stages: OrderedDict[str, nn.Module] = OrderedDict()
    for index, outputs in enumerate(widths, start=1):
        stage: OrderedDict[str, nn.Module] = OrderedDict()
        for number in range(1, blocks + 1):
            stride = 2 if index > 1 and number == 1 else 1
            stage[f"block{number}"] = block(inputs, outputs, stride)
            inputs = outputs
        stages[f"stage{index}"] = nn.Sequential(stage)
    return stages
