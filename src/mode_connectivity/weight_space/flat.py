"""A network's parameters as views into one vector, and its gradients as views into another."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from mode_connectivity.settings import UserError


class FlatParameters:
    """The parameters of a network as one vector.

    After construction every parameter of ``network`` is a view into ``vector``, so that writing
    the vector moves the network through weight space and the network never knows that it lies on
    a curve. Shared parameters stand in the vector once. Buffers (batch-norm statistics among
    them) are not part of it.

    Attributes:
        vector: the parameters, shape [P].
        names: the parameters' names, in the order in which the network registers them.

    Args:
        network: any module whose parameters have one floating-point type and one device.
        channels_last: lay the chunk of each 4-dimensional parameter out in the order (out,
            height, width, in), so that its view is channels-last without a copy. This permutes
            the vector; :meth:`to_canonical` undoes it.

    Raises:
        UserError: the network has no parameters, several types or devices, or frozen parameters
            (a constant belongs into a buffer).
    """

    def __init__(self, network: nn.Module, *, channels_last: bool = False) -> None:
        parameters = dict(network.named_parameters())
        if not parameters:
            raise UserError("the network has no parameters to train or to connect")
        kinds = {(parameter.dtype, parameter.device) for parameter in parameters.values()}
        if len(kinds) > 1:
            raise UserError(
                f"the network has parameters of several types or devices: "
                f"{sorted(map(str, kinds))}; give all of them one"
            )
        frozen = [name for name, parameter in parameters.items() if not parameter.requires_grad]
        if frozen:
            raise UserError(
                f"the network has frozen parameters: {', '.join(frozen)}; register what is not "
                f"trained as a buffer"
            )
        self.names = list(parameters)
        self._parameters = list(parameters.values())
        self._shapes = [parameter.shape for parameter in self._parameters]
        self._channels_last = channels_last
        dtype, device = kinds.pop()
        size = sum(parameter.numel() for parameter in self._parameters)
        self.vector = torch.empty(size, dtype=dtype, device=device)
        self._gradient: Tensor | None = None
        for parameter, view in zip(self._parameters, self.views(self.vector), strict=True):
            view.copy_(parameter.detach())
            parameter.data = view

    def __len__(self) -> int:
        return self.vector.numel()

    def views(self, vector: Tensor) -> list[Tensor]:
        """Return the views of ``vector`` [P] that have the parameters' shapes."""
        views = []
        start = 0
        for shape in self._shapes:
            chunk = vector[start : start + shape.numel()]
            start += shape.numel()
            if self._channels_last and len(shape) == 4:
                outputs, inputs, height, width = shape
                views.append(chunk.view(outputs, height, width, inputs).permute(0, 3, 1, 2))
            else:
                views.append(chunk.view(shape))
        return views

    @property
    def gradient(self) -> Tensor:
        """The gradient of the parameters, shape [P]; the parameters' ``grad`` are views of it."""
        if self._gradient is None:
            self._gradient = torch.zeros_like(self.vector)
            for parameter, view in zip(self._parameters, self.views(self._gradient), strict=True):
                parameter.grad = view
        return self._gradient

    def to_canonical(self, vector: Tensor) -> Tensor:
        """Return ``vector`` [P] in registration order, contiguous chunk by contiguous chunk."""
        if not self._channels_last:
            return vector
        return torch.cat([view.reshape(-1) for view in self.views(vector)])

    def from_canonical(self, vector: Tensor, out: Tensor) -> None:
        """Write a vector of registration order into ``out`` [P] of this object's layout."""
        start = 0
        for view in self.views(out):
            view.copy_(vector[start : start + view.numel()].view(view.shape))
            start += view.numel()

    def to_named(self, vector: Tensor) -> dict[str, Tensor]:
        """Return ``vector`` [P] as contiguous tensors by parameter name."""
        return {
            name: view.contiguous()
            for name, view in zip(self.names, self.views(vector), strict=True)
        }

    def from_named(self, tensors: Mapping[str, Tensor], out: Tensor, *, source: str) -> None:
        """Write named tensors into ``out`` [P].

        Args:
            tensors: one tensor a parameter; further names (buffers) are ignored.
            out: the vector to write.
            source: where the tensors come from, for the error.

        Raises:
            UserError: a parameter is missing or has another shape; the text names each.
        """
        check_fit(dict(zip(self.names, self.views(out), strict=True)), tensors, source=source)
        for name, view in zip(self.names, self.views(out), strict=True):
            view.copy_(tensors[name])


def check_fit(
    needed: Mapping[str, Tensor],
    found: Mapping[str, Tensor],
    *,
    source: str,
    allowed: Collection[str] | None = None,
) -> None:
    """Refuse tensors that are not those of a network.

    Args:
        needed: tensors of the right shapes, by name.
        found: those that are checked.
        source: where they come from, for the error.
        allowed: names that there may be; any if omitted.

    Raises:
        UserError: a tensor is missing, has another shape or is one too many; the text names each.
    """
    problems = []
    for name, tensor in needed.items():
        if name not in found:
            problems.append(f"{name} is missing")
        elif found[name].shape != tensor.shape:
            shapes = list(found[name].shape), list(tensor.shape)
            problems.append(f"{name} has shape {shapes[0]}, the network needs {shapes[1]}")
    if allowed is not None:
        surplus = sorted(set(found) - set(allowed))
        problems.extend(f"{name} is not part of the network" for name in surplus)
    if problems:
        raise UserError(f"{source}: these weights do not fit the network: {_few(problems)}")


def _few(problems: list[str], most: int = 5) -> str:
    more = f"; and {len(problems) - most} more" if len(problems) > most else ""
    return "; ".join(problems[:most]) + more
