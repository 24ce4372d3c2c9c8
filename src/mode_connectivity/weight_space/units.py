"""Units of a network: which axes of which tensors count the same units, derived by tracing it.

A unit is a channel, a hidden neuron, an entry of a residual stream, an attention head. Units that
the network treats alike can be permuted among themselves: where every tensor that they index is
permuted, the function stays as it is.

The network is traced with ``torch.fx`` and run on a few examples. Each axis of each value on the
way carries the units that it counts; a layer says what its operation makes of them. Of positions,
examples, inputs and outputs each has a place of its own: they are fixed, and so are units that
meet them. An operation that is not known here is an error, never a guess.
"""

import inspect
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count
from math import prod
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mode_connectivity.networks.carried_state import CarriesState
from mode_connectivity.settings import UserError


@dataclass(frozen=True)
class Place:
    """Where units index a tensor: unit u has ``repeats`` entries of an axis from its place on.

    Attributes:
        tensor: the name of the parameter or buffer.
        axis: the axis.
        start: the index of the first unit.
        repeats: neighbouring entries a unit, such as the positions of a flattened channel.
    """

    tensor: str
    axis: int
    start: int = 0
    repeats: int = 1


@dataclass(frozen=True)
class Reading:
    """Where the values of units appear on the way through the network.

    Attributes:
        node: the operation, by its name in the traced graph.
        axis: the axis of its output.
        start: the index of the first unit.
        projection: of an attention, whose inner values are no output: which of its inputs is
            projected, 0 to 2 for queries, keys and values.
    """

    node: str
    axis: int
    start: int = 0
    projection: int | None = None


@dataclass(frozen=True)
class Group:
    """Units that can be permuted among themselves.

    Attributes:
        size: how many they are.
        places: where they index parameters.
        statistics: where they index batch-norm statistics, which are buffers.
        readings: where their values are compared: as the last layer, normalisation or sum has
            made them, and behind the activation that follows.
        attention: the name of the attention that they are inside of, if of one. Units keep to
            their heads, and the groups of one attention have their heads in the same order.
        heads: of that attention; each is an equal share of neighbouring units.
    """

    size: int
    places: tuple[Place, ...]
    statistics: tuple[Place, ...] = ()
    readings: tuple[Reading, ...] = ()
    attention: str = ""
    heads: int = 1


@dataclass(frozen=True)
class Units:
    """The units of a network.

    Attributes:
        groups: from input to output.
        graph: the network's operations.
    """

    groups: tuple[Group, ...]
    graph: fx.Graph


def trace(network: nn.Module, purpose: str) -> fx.Graph:
    """Return the operations of a network, which is left in evaluation mode.

    Args:
        network: a network without a state of its own between batches.
        purpose: what it is traced for, a key of a curve that the user can leave out.

    Raises:
        UserError: it carries a state, or its operations depend on its inputs.
    """
    for name, module in network.named_modules():
        if isinstance(module, nn.RNNBase | nn.RNNCellBase | CarriesState):
            raise UserError(
                f"{purpose}: {name or 'the network'} ({type(module).__name__}) is recurrent, and "
                f"only feed-forward networks are traced: leave {purpose} out"
            )
    network.eval()
    try:
        return fx.Tracer().trace(network)
    # A network is the user's own code, which fails in its own ways.
    except Exception as error:
        raise UserError(
            f"{purpose}: torch.fx cannot trace {type(network).__name__} "
            f"({type(error).__name__}: {' '.join(str(error).split())}): its forward must apply the "
            f"same operations to all inputs; leave {purpose} out, or rewrite it"
        ) from error


@torch.inference_mode()
def find_units(network: nn.Module, inputs: Tensor) -> Units:
    """Find the units of a network that can be permuted.

    Args:
        network: a feed-forward network; it is left in evaluation mode.
        inputs: a few examples, [N, ...].

    Raises:
        UserError: the network cannot be traced, or what one of its operations does to units is not
            known.
    """
    graph = trace(network, "alignment")
    followed = _Followed(network, graph)
    followed.run(inputs)
    return Units(tuple(followed.groups()), graph)


def is_nonlinear(node: fx.Node, network: nn.Module) -> bool:
    """Tell whether an operation of a traced network is, or may be, a nonlinearity.

    Args:
        node: the operation.
        network: the network that was traced.
    """
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        return isinstance(layer, _ACTIVATION_MODULES) or not isinstance(layer, _KNOWN_MODULES)
    name = _OPERATIONS.get(node.target)
    return name is None or name in _ACTIVATIONS


class _Axis:
    """A run of indices that units count: a variable, which can turn out to equal others.

    Attributes:
        size: how many they are.
        fixed: whether each has a place of its own.
        attention: as of a group.
        heads: as of a group.
        same: what it was found to be equal to.
        number: counts up in the order in which the network makes them.
    """

    _numbers = count()

    def __init__(
        self, size: int, *, fixed: bool = False, attention: str = "", heads: int = 1
    ) -> None:
        self.size = size
        self.fixed = fixed
        self.attention = attention
        self.heads = heads
        self.same: _Layout | None = None
        self.number = next(self._numbers)


_Part = tuple[_Axis, ...]
"""A product of indices, of which the last one runs fastest; of a single index, empty."""
_Layout = tuple[_Part, ...]
"""What one axis of a tensor counts: parts one after the other."""


@dataclass
class _Value:
    """What each axis of a tensor counts."""

    axes: list[_Layout]


class _MixedError(Exception):
    """An operation treats units as no permutation of them can undo; the text says how."""


def _layout(axis: _Axis) -> _Layout:
    return ((axis,),) if axis.size != 1 else ((),)


def _fixed(size: int) -> _Layout:
    return _layout(_Axis(size, fixed=True))


def _size(layout: _Layout) -> int:
    return sum(prod(axis.size for axis in part) for part in layout)


def _is_fixed(layout: _Layout) -> bool:
    return all(axis.fixed for part in layout for axis in part)


def _single(layout: _Layout) -> _Axis | None:
    """Return the one run of indices that a layout is, if it is one."""
    return layout[0][0] if len(layout) == 1 and len(layout[0]) == 1 else None


def _resolved(layout: _Layout) -> _Layout:
    """Put in what the indices of a layout have turned out to be."""
    parts: list[_Part] = []
    for part in layout:
        parts += _product(
            _layout(axis) if axis.same is None else _resolved(axis.same) for axis in part
        )
    resolved = tuple(parts)
    return _fixed(_size(resolved)) if _is_fixed(resolved) else resolved


def _product(factors: Iterable[_Layout]) -> _Layout:
    """Return the layout of an axis that others are flattened into, the last one fastest."""
    product: _Layout = ((),)
    for inner in factors:
        if _size(inner) == 1:
            continue
        if _size(product) == 1:
            product = inner
        elif len(inner) == 1:
            product = tuple(_joined(part, inner[0]) for part in product)
        else:
            raise _MixedError("flattens units that were concatenated behind another axis")
    return product


def _joined(outer: _Part, inner: _Part) -> _Part:
    """Return a product of two, in which neighbouring positions are one index."""
    if outer and inner and outer[-1].fixed and inner[0].fixed:
        positions = _Axis(outer[-1].size * inner[0].size, fixed=True)
        return (*outer[:-1], positions, *inner[1:])
    return (*outer, *inner)


def _equate(first: _Layout, second: _Layout) -> None:
    """Let two layouts of one size count the same.

    Raises:
        _MixedError: units cannot be cut into the pieces of both.
    """
    first, second = _resolved(first), _resolved(second)
    if first == second:
        return
    if _is_fixed(first) or _is_fixed(second):
        _fix(first)
        _fix(second)
        return
    one, other = _single(first), _single(second)
    if one is not None and other is not None:
        if one.attention and other.attention and one.attention != other.attention:
            raise _MixedError("lets the units of two attentions meet")
        # Heads bind the units that they meet.
        kept, other = sorted((one, other), key=lambda axis: (not axis.attention, axis.number))
        other.same = _layout(kept)
    elif one is not None and not one.attention:
        one.same = second
    elif other is not None and not other.attention:
        other.same = first
    elif [[axis.size for axis in part] for part in first] == [
        [axis.size for axis in part] for part in second
    ]:
        for part, other_part in zip(first, second, strict=True):
            for axis, other_axis in zip(part, other_part, strict=True):
                _equate(_layout(axis), _layout(other_axis))
    else:
        raise _MixedError("meets units in other pieces than those into which they were cut")


def _fix(layout: _Layout) -> None:
    for part in _resolved(layout):
        for axis in part:
            if axis.attention:
                raise _MixedError("gives the units of attention heads places of their own")
            axis.fixed = True


def _reshaped(axes: list[_Layout], sizes: list[int]) -> list[_Layout]:
    """Return the layouts of a tensor that is given another shape in row-major order.

    Raises:
        _MixedError: units are cut into pieces.
    """
    given = [layout for layout in axes if _size(layout) != 1]
    wanted = [size for size in sizes if size != 1]
    shaped: list[_Layout] = []
    while wanted:
        # The fewest axes of either shape that hold as many entries.
        flattened, pieces = [given.pop(0)], [wanted.pop(0)]
        while (before := prod(map(_size, flattened))) != (after := prod(pieces)):
            if before < after:
                flattened.append(given.pop(0))
            else:
                pieces.append(wanted.pop(0))
        shaped += _cut(_product(map(_resolved, flattened)), pieces)
    return [((),) if size == 1 else shaped.pop(0) for size in sizes]


def _cut(layout: _Layout, sizes: list[int]) -> list[_Layout]:
    """Return the layouts of the axes of given sizes that one axis is cut into."""
    if len(sizes) == 1:
        return [layout]
    if len(layout) > 1:
        raise _MixedError("cuts an axis of concatenated units into pieces")
    factors = list(layout[0])
    pieces: list[_Layout] = []
    for size in sizes:
        piece: _Part = ()
        while (missing := size // prod(axis.size for axis in piece)) > 1:
            axis = factors.pop(0)
            if axis.fixed and axis.size > missing and axis.size % missing == 0:
                factors.insert(0, _Axis(axis.size // missing, fixed=True))
                axis = _Axis(missing, fixed=True)
            piece = (*piece, axis)
        pieces.append((piece,))
        if _size(pieces[-1]) != size:
            raise _MixedError("cuts units into pieces")
    return pieces


def _broadcast(values: list[_Value]) -> _Value:
    """Return what an operation on each entry by itself gives, its inputs broadcast."""
    axes: list[_Layout] = []
    for place in range(1, max(len(value.axes) for value in values) + 1):
        wide = [
            layout
            for value in values
            if len(value.axes) >= place and _size(layout := value.axes[-place]) != 1
        ]
        for other in wide[1:]:
            _equate(wide[0], other)
        axes.insert(0, wide[0] if wide else ((),))
    return _Value(axes)


_ACTIVATIONS = (
    *("abs", "celu", "clamp", "elu", "exp", "gelu", "hardsigmoid", "hardswish", "hardtanh"),
    *("leaky_relu", "log", "logsigmoid", "mish", "pow", "reciprocal", "relu", "relu6", "rsqrt"),
    *("selu", "sigmoid", "silu", "softplus", "softsign", "sqrt", "square", "tanh"),
)
_POINTWISE = (
    *_ACTIVATIONS,
    *("add", "div", "mul", "neg", "sub", "truediv", "log_softmax", "softmax"),
    *("alpha_dropout", "dropout", "dropout1d", "dropout2d", "dropout3d", "feature_alpha_dropout"),
)
"""Operations on each entry by itself, or on all entries of an axis alike. All of these tables have
the names in torch, in torch.nn.functional, in operator and of methods."""
_RESHAPING = (
    *("flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view"),
    *("clone", "contiguous", "detach", "float", "to"),
)
_REARRANGING = (
    *("movedim", "permute", "swapaxes", "transpose"),
    *("amax", "amin", "mean", "std", "sum", "var"),
)
"""Operations that move axes, or replace one by what its entries have in common."""
_SPATIAL = (
    "interpolate",
    *(
        f"{prefix}{kind}_pool{dimensions}d"
        for prefix in ("", "adaptive_")
        for kind in ("avg", "max")
        for dimensions in (1, 2, 3)
    ),
)

_ACTIVATION_MODULES = (
    *(nn.CELU, nn.ELU, nn.GELU, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU),
    *(nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus),
    *(nn.Softsign, nn.Tanh),
)
_POINTWISE_MODULES = (
    *_ACTIVATION_MODULES,
    *(nn.Identity, nn.LogSoftmax, nn.Softmax),
    *(nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d),
    nn.FeatureAlphaDropout,
)
_SPATIAL_MODULES = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    *(nn.ReflectionPad2d, nn.ReplicationPad2d, nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d),
)
_KNOWN_MODULES = (
    *_POINTWISE_MODULES,
    *_SPATIAL_MODULES,
    *(nn.Flatten, nn.Unflatten, nn.Linear, _ConvNd, _BatchNorm, nn.LayerNorm, nn.GroupNorm),
)
_UNKNOWN = "does to units what is not known here"


def _spellings(names: Iterable[str]) -> Iterator[tuple[Any, str]]:
    """Yield functions and methods by their names, also those that work in place."""
    for name in names:
        for spelling in (name, f"{name}_", f"i{name}"):
            yield spelling, name
            for library in (torch, functional, operator):
                function = getattr(library, spelling, None)
                if callable(function):
                    yield function, name


_OPERATIONS = dict(
    _spellings((*_POINTWISE, *_RESHAPING, *_REARRANGING, *_SPATIAL, "cat", "expand", "getitem"))
)


class _Followed(fx.Interpreter):
    """A network run on examples, with what each axis of each value counts."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.extra_traceback = False
        self._parameters = {id(tensor): name for name, tensor in network.named_parameters()}
        self._statistics = {
            id(tensor): f"{prefix}.{name}" if prefix else name
            for prefix, layer in network.named_modules()
            if isinstance(layer, _BatchNorm)
            for name, tensor in layer.named_buffers()
        }
        self._tensors: dict[str, list[_Layout]] = {}
        self._values: dict[fx.Node, Any] = {}
        self._written: list[tuple[Reading, _Layout, int]] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run an operation and find what the axes of its output count."""
        found = super().run_node(n)
        parts = found if isinstance(found, tuple | list) else [found]
        # Sizes and the like count nothing; what returns nothing may have changed its inputs.
        has_units = n.op == "output" or any(isinstance(part, Tensor) for part in parts)
        if not has_units and not (found is None and any(map(self._values.get, n.all_input_nodes))):
            return found
        try:
            value = self._follow(n, found)
            if isinstance(value, _Value) and [*map(_size, value.axes)] != [*found.shape]:
                raise _MixedError(_UNKNOWN)
        except _MixedError as error:
            raise UserError(
                f"alignment: {_described(n, self.module)} {error}, so that no permutation of them "
                "is known to keep the network's function: leave alignment out of its curves"
            ) from None
        self._values[n] = value
        return found

    def groups(self) -> Iterator[Group]:
        """Yield the groups of units, once the network has run."""
        parameters = {*self._parameters.values()}
        places: dict[_Axis, list[Place]] = {}
        statistics: dict[_Axis, list[Place]] = {}
        for name, axes in self._tensors.items():
            kind = places if name in parameters else statistics
            for number, layout in enumerate(axes):
                for axis, start, repeats in _runs(layout):
                    kind.setdefault(axis, []).append(Place(name, number, start, repeats))
        readings: dict[_Axis, list[Reading]] = {}
        for reading, layout, kept in self._written:
            for axis, start, repeats in _runs(layout):
                if repeats == 1:
                    found = replace(reading, start=start)
                    readings[axis] = [*readings.get(axis, ())[:kept], found]
        for axis in sorted(places, key=lambda axis: axis.number):
            yield Group(
                axis.size,
                tuple(places[axis]),
                tuple(statistics.get(axis, ())),
                tuple(readings.get(axis, ())),
                axis.attention,
                axis.heads,
            )

    def _follow(self, node: fx.Node, found: Any) -> Any:
        arguments = fx.node.map_arg(node.args, self._values.get)
        options = fx.node.map_arg(node.kwargs, self._values.get)
        match node.op:
            case "get_attr" if id(found) in self._parameters:
                return self._tensor(found)
            case "placeholder" | "get_attr":
                # A buffer is the same all along a curve: its entries keep their places.
                return _Value([_fixed(size) for size in found.shape])
            case "call_module":
                return self._module(node, arguments, options, found)
            case "call_function" | "call_method":
                return self._operation(node, arguments, options, found)
        for value in _tensors_in(arguments):
            self._fix(value.axes)
        return None

    def _tensor(self, tensor: Tensor) -> _Value:
        """Return what the axes of a parameter, or of batch-norm statistics, count."""
        name = self._parameters.get(id(tensor)) or self._statistics.get(id(tensor))
        if name is None:
            raise _MixedError("computes its parameters from others")
        if name not in self._tensors:
            self._tensors[name] = [_layout(_Axis(size)) for size in tensor.shape]
        return _Value(self._tensors[name])

    def _count(self, tensor: Tensor | None, *layouts: _Layout) -> None:
        """Let the first axes of a layer's tensor, if it has that tensor, count what is given."""
        if tensor is not None:
            for own, layout in zip(self._tensor(tensor).axes, layouts, strict=False):
                _equate(own, layout)

    def _fix(self, layouts: Iterable[_Layout]) -> None:
        for layout in layouts:
            _fix(layout)

    def _write(self, node: fx.Node, axes: list[_Layout], numbers: Iterable[int]) -> None:
        """Note that a node makes new values of the units along some axes."""
        for number in numbers:
            reading = Reading(node.name, number % len(axes))
            self._written.append((reading, axes[number], 0))

    def _activate(self, node: fx.Node, axes: list[_Layout]) -> None:
        """Note that a node puts out values of units that were made before, each by itself."""
        for number, layout in enumerate(axes):
            self._written.append((Reading(node.name, number), layout, 1))

    def _module(self, node: fx.Node, arguments: Any, options: Any, found: Any) -> Any:
        layer = self.fetch_attr(str(node.target))
        if isinstance(layer, nn.MultiheadAttention):
            return self._attention(node, layer, arguments, options, found)
        inputs = _tensors_in([arguments, options])
        if len(inputs) != 1 or not isinstance(found, Tensor):
            raise _MixedError(_UNKNOWN)
        axes = list(inputs[0].axes)
        match layer:
            case nn.Linear():
                outputs, inner = self._tensor(layer.weight).axes
                _equate(inner, axes[-1])
                self._count(layer.bias, outputs)
                axes[-1] = outputs
                self._write(node, axes, [-1])
            case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
                axes = self._convolution(layer, axes, found)
                self._write(node, axes, [1])
            case _BatchNorm():
                for tensor in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                    self._count(tensor, axes[1])
                self._write(node, axes, [1])
            case nn.LayerNorm():
                normalised = range(-len(layer.normalized_shape), 0)
                for tensor in (layer.weight, layer.bias):
                    self._count(tensor, *(axes[number] for number in normalised))
                self._write(node, axes, normalised)
            case nn.GroupNorm():
                if layer.num_groups not in (1, layer.num_channels):
                    raise _MixedError("normalises groups of neighbouring channels together")
                for tensor in (layer.weight, layer.bias):
                    self._count(tensor, axes[1])
                self._write(node, axes, [1])
            case nn.Flatten() | nn.Unflatten():
                axes = _reshaped(axes, list(found.shape))
            case _ if isinstance(layer, _SPATIAL_MODULES):
                axes = self._spatial(axes, found)
            case _ if isinstance(layer, _POINTWISE_MODULES):
                self._activate(node, axes)
            case _:
                raise _MixedError(_UNKNOWN)
        return _Value(axes)

    def _convolution(
        self, layer: nn.Conv1d | nn.Conv2d | nn.Conv3d, axes: list[_Layout], found: Tensor
    ) -> list[_Layout]:
        weight = self._tensor(layer.weight).axes
        if len(axes) != len(weight):
            raise _MixedError("takes one example, not a batch")
        if layer.groups == 1:
            self._count(layer.weight, weight[0], axes[1])
        elif layer.groups == layer.in_channels == layer.out_channels:
            self._count(layer.weight, axes[1])
        else:
            raise _MixedError("convolves groups of neighbouring channels apart")
        self._fix(weight[2:])
        self._count(layer.bias, weight[0])
        return self._spatial([axes[0], weight[0], *axes[2:]], found)

    def _spatial(self, axes: list[_Layout], found: Tensor) -> list[_Layout]:
        """Return the axes of images, and the like, whose positions have met their neighbours."""
        self._fix(axes[2:])
        return [*axes[:2], *map(_fixed, found.shape[2:])]

    def _attention(
        self,
        node: fx.Node,
        layer: nn.MultiheadAttention,
        arguments: Any,
        options: Any,
        found: tuple[Tensor, Tensor | None],
    ) -> tuple[_Value, _Value | None]:
        given = inspect.signature(layer.forward).bind(*arguments, **options).arguments
        inputs = [given.pop(name) for name in ("query", "key", "value")]
        weights = found[1]
        if layer.in_proj_weight is None or layer.bias_k is not None or layer.add_zero_attn:
            raise _MixedError("has keys and values of other lengths, or some of its own")
        if any(len(mask.axes) != 2 for mask in _tensors_in(given)):
            raise _MixedError("has a mask for each head")
        if weights is not None and not given.get("average_attn_weights", True):
            raise _MixedError("puts out the weights of each head")
        name, width, heads = str(node.target), layer.embed_dim, layer.num_heads
        matched, values = (
            _layout(_Axis(width, attention=name, heads=heads)) for _ in ("queries, keys", "values")
        )
        projected = self._tensor(layer.in_proj_weight).axes
        _equate(projected[0], (*matched, *matched, *values))
        self._count(layer.in_proj_bias, projected[0])
        parts = [(matched, 0), (matched, 1), (values, 0)]
        for number, (value, (inner, kept)) in enumerate(zip(inputs, parts, strict=True)):
            _equate(projected[1], value.axes[-1])
            self._fix(value.axes[:-1])
            self._written.append((Reading(node.name, -1, projection=number), inner, kept))
        outputs, inner = self._tensor(layer.out_proj.weight).axes
        _equate(inner, values)
        self._count(layer.out_proj.bias, outputs)
        axes = [*inputs[0].axes[:-1], outputs]
        self._write(node, axes, [-1])
        return _Value(axes), None if weights is None else _Value([*map(_fixed, weights.shape)])

    def _operation(self, node: fx.Node, arguments: Any, options: Any, found: Any) -> Any:
        name = _OPERATIONS.get(node.target)
        inputs = _tensors_in([arguments, options])
        first = arguments[0] if arguments else None
        if name == "getitem" and isinstance(first, tuple):
            return first[arguments[1]]
        if name is None or not isinstance(found, Tensor) or not inputs:
            raise _MixedError(_UNKNOWN)
        shape = list(found.shape)
        if name in _POINTWISE:
            value = _broadcast(inputs)
            if len(inputs) == 1:
                self._activate(node, value.axes)
            else:
                self._write(node, value.axes, range(len(value.axes)))
            return value
        if name == "cat":
            return self._concatenated(inputs, options.get("dim", [*arguments, 0, 0][1]))
        if len(inputs) != 1 or not isinstance(first, _Value):
            raise _MixedError(_UNKNOWN)
        axes = first.axes
        if name in _RESHAPING:
            return _Value(_reshaped(axes, shape))
        if name in _SPATIAL:
            return _Value(self._spatial(axes, found))
        if name == "getitem":
            return _Value(self._chosen(axes, arguments[1], shape))
        if name == "expand":
            wide = [_layout(_Axis(1))] * (len(shape) - len(axes)) + axes
            return _Value(
                [
                    layout if _size(layout) == size else _fixed(size)
                    for layout, size in zip(wide, shape, strict=True)
                ]
            )
        return _Value(self._rearranged(node, axes))

    def _rearranged(self, node: fx.Node, axes: list[_Layout]) -> list[_Layout]:
        """Return the axes that an operation leaves, by what it does to axes of known sizes."""
        sizes = range(2, 2 + len(axes))
        (_, *arguments), options = self.fetch_args_kwargs_from_env(node)
        known = torch.empty(*sizes, device="meta")
        kind = self.call_method if node.op == "call_method" else self.call_function
        shape = kind(node.target, (known, *arguments), options).shape
        return [axes[size - 2] if size > 1 else ((),) for size in shape]

    def _concatenated(self, values: list[_Value], number: int) -> _Value:
        first, *others = (value.axes for value in values)
        for axes in others:
            for place in range(len(first)):
                if place != number % len(first):
                    _equate(first[place], axes[place])
        joined = list(first)
        joined[number] = tuple(part for axes in (first, *others) for part in axes[number])
        return _Value(joined)

    def _chosen(self, axes: list[_Layout], index: Any, shape: list[int]) -> list[_Layout]:
        """Return the axes of a part of a tensor, as whole numbers and slices choose it."""
        indices = list(index) if isinstance(index, tuple) else [index]
        if ... in indices:
            place = indices.index(...)
            missing = len(axes) - sum(each is not None for each in indices) + 1
            indices[place : place + 1] = [slice(None)] * missing
        waiting, chosen = list(axes), []
        for each in indices:
            if each is None:
                chosen.append(_layout(_Axis(1)))
            elif isinstance(each, int):
                self._fix([waiting.pop(0)])
            elif isinstance(each, slice):
                layout = waiting.pop(0)
                if each != slice(None):
                    self._fix([layout])
                    layout = _fixed(shape[len(chosen)])
                chosen.append(layout)
            else:
                raise _MixedError(_UNKNOWN)
        return [*chosen, *waiting]


def _runs(layout: _Layout) -> Iterator[tuple[_Axis, int, int]]:
    """Yield the units that a layout counts, with where they begin and the entries of each."""
    begin = 0
    for part in _resolved(layout):
        for number, axis in enumerate(part):
            repeats = prod(each.size for each in part[number + 1 :])
            if not axis.fixed:
                for block in range(prod(each.size for each in part[:number])):
                    yield axis, begin + block * axis.size * repeats, repeats
        begin += prod(axis.size for axis in part)


def _tensors_in(arguments: Any) -> list[_Value]:
    """Return what the tensors among nested arguments count."""
    if isinstance(arguments, _Value):
        return [arguments]
    if isinstance(arguments, dict):
        arguments = arguments.values()
    elif not isinstance(arguments, list | tuple):
        return []
    return [value for each in arguments for value in _tensors_in(each)]


def _described(node: fx.Node, module: nn.Module) -> str:
    """Name an operation as the author of a network would."""
    if node.op == "call_module":
        return f"module {node.target} ({type(module.get_submodule(str(node.target))).__name__})"
    name = getattr(node.target, "__name__", node.target)
    stack = node.meta.get("nn_module_stack") or {}
    of = f" of module {[*stack][-1]}" if stack else ""
    return f"operation {name}{of}"
