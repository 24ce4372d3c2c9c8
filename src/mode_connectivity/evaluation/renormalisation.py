"""Points between networks, whose channels keep the statistics that they have in the networks.

Where weights are averaged, a channel is the mean of two that agree in part only: it varies less
than either, and the deeper the layer the less. REPAIR (Jordan et al. 2022) shifts and rescales it.
Behind a batch norm the statistics that are re-estimated at every point do so anyway. Here the other
layers are given, while a family is measured, what a batch norm would do for them. No weight
changes: norms, and the L2 term of losses, are those of the interpolated weights.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mode_connectivity.evaluation.batch_norm import reestimate_statistics
from mode_connectivity.evaluation.evaluator import Batches
from mode_connectivity.settings import UserError
from mode_connectivity.weight_space.family import Family
from mode_connectivity.weight_space.flat import FlatParameters
from mode_connectivity.weight_space.units import is_nonlinear, trace

logger = logging.getLogger(__name__)

NAME = "renormalisation"
"""Of the module that a layer has while a family is measured."""

_LAYERS_AS_FUNCTIONS = (
    *(functional.linear, functional.bilinear),
    *(functional.conv1d, functional.conv2d, functional.conv3d),
)


class Renormalisation(_BatchNorm):
    """Gives each channel of a layer's output the mean and the standard deviation it should have.

    To those who re-estimate statistics it is a batch norm. Like one it takes the statistics of the
    batch in training mode, and aims at the mean of those that the vertices had on the same batch.
    So at a vertex it does nothing, to the bit, and the layers behind it see what they would see in
    that network.

    Args:
        layer: whose output it takes.
    """

    def __init__(self, layer: nn.Linear | _ConvNd) -> None:
        weight = layer.weight
        channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        super().__init__(int(channels), affine=False, device=weight.device, dtype=weight.dtype)
        self._axis = -1 if isinstance(layer, nn.Linear) else 1
        self._recorded: list[Tensor] | None = None
        self._vertices: list[tuple[Tensor, Tensor]] = []
        self._aims = torch.empty(0)
        self._batch_aims: list[Tensor] = []
        self._batch = 0

    def reset_running_stats(self) -> None:
        """Forget the statistics: a new pass through the data begins."""
        super().reset_running_stats()
        self._batch = 0

    def record(self) -> None:
        """Leave values as they are, and record the statistics of the pass that follows."""
        self._recorded = []

    def keep(self) -> None:
        """Keep what was recorded as the statistics of the next vertex."""
        assert self._recorded is not None
        self._vertices.append((torch.stack(self._recorded), self._running()))
        self._recorded = None

    def aim(self, coefficients: Sequence[float]) -> None:
        """Aim at the mean of the vertices' statistics with the given weights."""
        batches, whole = (
            torch.stack([c * found for c, found in zip(coefficients, of_vertices, strict=True)])
            for of_vertices in zip(*self._vertices, strict=True)
        )
        self._batch_aims, self._aims = list(batches.sum(dim=0)), whole.sum(dim=0)

    def forward(self, values: Tensor) -> Tensor:
        """Return the values, shifted and rescaled."""
        if self.training:
            others = [axis for axis in range(values.ndim) if axis != self._axis % values.ndim]
            variance, mean = torch.var_mean(values, dim=others, correction=0)
            assert self.running_mean is not None and self.running_var is not None
            assert self.momentum is not None
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance, self.momentum)
            found = self._moments(mean, variance)
            if self._recorded is not None:
                self._recorded.append(found)
                return values
            aims = self._batch_aims[self._batch]
            self._batch += 1
        else:
            found, aims = self._running(), self._aims
        scale = aims[1] / found[1]
        shift = aims[0] - found[0] * scale
        if self._axis == 1:
            scale, shift = (each.view(-1, *[1] * (values.ndim - 2)) for each in (scale, shift))
        return values * scale + shift

    def _running(self) -> Tensor:
        assert self.running_mean is not None and self.running_var is not None
        return self._moments(self.running_mean, self.running_var)

    def _moments(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Return means and standard deviations, [2, C]."""
        return torch.stack([mean, (variance + self.eps).sqrt()])


class _Renormalised(Family):
    """A family at whose points the channels of some layers have means of the vertices' statistics.

    Args:
        family: the family.
        modules: those behind the layers, with the statistics of the family's vertices.
    """

    def __init__(self, family: Family, modules: Sequence[Renormalisation]) -> None:
        super().__init__(family.vertices)
        self.parameter_names = family.parameter_names
        self._family = family
        self._modules = modules

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return those of the family itself, float64 [T, K]."""
        return self._family.coefficients(parameters)

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Write the point ``coefficients @ vertices`` into ``out`` [P], and set what to aim at."""
        self._family.write(coefficients, out)
        for module in self._modules:
            module.aim(coefficients)


@contextmanager
def renormalised(
    family: Family, network: nn.Module, flat: FlatParameters, batches: Batches
) -> Iterator[Family]:
    """Let a network be renormalised at the points of a family, for as long as the context lasts.

    At a point each channel of `layers_without_batch_norm` gets the mean of the vertices' means, and
    of their standard deviations, with the point's coefficients as weights. Whoever writes a point
    re-estimates the statistics then (`evaluate` does), which are measured one layer behind the
    other in a single pass, as those of batch norms are. At a vertex the network is that vertex.

    Args:
        family: the family, such as a segment.
        network: the network whose parameters are views of ``flat.vector``.
        flat: its parameters.
        batches: those over which statistics are re-estimated, in their order.

    Yields:
        The family to measure.

    Raises:
        UserError: as by `layers_without_batch_norm`.
    """
    layers = layers_without_batch_norm(network)
    if not layers:
        logger.info("every layer before a nonlinearity has batch norm: nothing to renormalise")
        yield family
        return
    modules = [Renormalisation(layer) for layer in layers]
    handles = []
    try:
        for layer, module in zip(layers, modules, strict=True):
            layer.add_module(NAME, module)
            handles.append(layer.register_forward_hook(lambda _, __, values, to=module: to(values)))
        for vertex in torch.eye(len(family.vertices)).tolist():
            family.write(vertex, flat.vector)
            for module in modules:
                module.record()
            reestimate_statistics(network, batches)
            for module in modules:
                module.keep()
        # They may hold a whole data set, of which the evaluation has its own.
        del batches
        yield _Renormalised(family, modules)
    finally:
        for handle in handles:
            handle.remove()
        for layer in layers:
            layer._modules.pop(NAME, None)


def layers_without_batch_norm(network: nn.Module) -> list[nn.Linear | _ConvNd]:
    """Return the linear and convolutional layers from which no batch norm parts a nonlinearity.

    The layer behind whose output no nonlinearity comes is none of them.

    Args:
        network: a feed-forward network; it is left in evaluation mode.

    Raises:
        UserError: it cannot be traced, has attention, or applies a layer twice or as a function.
    """
    graph = trace(network, "renormalise")
    layers: dict[str, nn.Linear | _ConvNd] = {}
    for node in graph.nodes:
        problem = ""
        if node.op == "call_function" and node.target in _LAYERS_AS_FUNCTIONS:
            problem = f"{node.target.__name__} is applied as a function, not as a module"
        elif node.op == "call_module":
            layer = network.get_submodule(node.target)
            if isinstance(layer, nn.MultiheadAttention):
                problem = (
                    f"module {node.target} is an attention, whose queries, keys and values have no "
                    "statistics that a module behind it could set"
                )
            elif isinstance(layer, nn.Linear | _ConvNd) and _meets_nonlinearity(node, network):
                if node.target in layers:
                    problem = f"module {node.target} is applied twice, with other statistics each"
                layers[node.target] = layer
        if problem:
            raise UserError(f"renormalise: {problem}: leave renormalise out for this network")
    return [*layers.values()]


def _meets_nonlinearity(node: fx.Node, network: nn.Module) -> bool:
    """Tell whether an output meets a nonlinearity before a batch norm on any of its ways."""
    waiting, seen = [node], {node}
    while waiting:
        for user in waiting.pop().users:
            is_module = user.op == "call_module"
            if user in seen or user.op == "output":
                continue
            seen.add(user)
            if is_module and isinstance(network.get_submodule(str(user.target)), _BatchNorm):
                continue
            if is_nonlinear(user, network):
                return True
            waiting.append(user)
    return False
