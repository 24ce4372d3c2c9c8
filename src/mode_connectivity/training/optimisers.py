"""SGD and Adam on vertices."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam
from torch.optim.sgd import sgd

from mode_connectivity.training.settings import OptimiserSettings

# Those of torch.optim.Adam; no paper gives others.
BETAS = (0.9, 0.999)
EPSILON = 1e-8


class Optimiser:
    """The optimiser of a training: PyTorch's functional SGD or Adam.

    The functional form, because making an object of ``torch.optim`` imports PyTorch's compiler,
    which takes a second of every job. The fused kernels pass over each vector once; the others
    took 19 times as long on a CPU.

    Attributes:
        vertices: what is trained, each [P], with its gradient in ``grad``.
        state: of each vertex, tensors by name; empty before the first step.

    Args:
        vertices: what to train.
        settings: which optimiser; its weight decay is not looked at.
        weight_decay: added to each gradient, times the vertex.
    """

    def __init__(
        self, vertices: Sequence[Tensor], settings: OptimiserSettings, *, weight_decay: float
    ) -> None:
        self.vertices = list(vertices)
        self.state: list[dict[str, Tensor]] = [{} for _ in vertices]
        self._settings = settings
        self._weight_decay = weight_decay

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """Move every vertex by its gradient."""
        for vertex, state in zip(self.vertices, self.state, strict=True):
            if vertex.grad is None:
                raise ValueError("a vertex has no gradient")
            if self._settings.name == "adam":
                self._adam(vertex, vertex.grad, state, learning_rate)
            else:
                self._sgd(vertex, vertex.grad, state, learning_rate)

    def _sgd(
        self, vertex: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float
    ) -> None:
        buffers = [state.get("momentum_buffer")]
        sgd(
            [vertex],
            [gradient],
            buffers,
            fused=True,
            weight_decay=self._weight_decay,
            momentum=self._settings.momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self._settings.nesterov,
            maximize=False,
        )
        if buffers[0] is not None:
            state["momentum_buffer"] = buffers[0]

    def _adam(
        self, vertex: Tensor, gradient: Tensor, state: dict[str, Tensor], learning_rate: float
    ) -> None:
        if not state:
            state["step"] = torch.zeros((), device=vertex.device)
            state["exp_avg"] = torch.zeros_like(vertex)
            state["exp_avg_sq"] = torch.zeros_like(vertex)
        adam(
            [vertex],
            [gradient],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=True,
            amsgrad=False,
            beta1=BETAS[0],
            beta2=BETAS[1],
            lr=learning_rate,
            weight_decay=self._weight_decay,
            eps=EPSILON,
            maximize=False,
        )
