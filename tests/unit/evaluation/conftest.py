from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from mode_connectivity.tensors import save_tensors


@pytest.fixture
def make_networks(tmp_path, make_workspace):
    """A workspace, and the weights of networks of its kind with statistics of their own."""

    def make(network: str, count: int = 3) -> SimpleNamespace:
        states, paths = [], []
        for seed in range(1, count + 1):
            module = make_workspace(network, seed=seed).network
            for name, buffer in module.named_buffers():
                if name.endswith(("running_mean", "running_var")):
                    buffer.add_(0.3 * torch.rand(buffer.shape))
            paths.append(Path(tmp_path) / f"{network}{seed}.safetensors")
            save_tensors(paths[-1], module.state_dict(), {})
            states.append({key: value.clone() for key, value in module.state_dict().items()})
        workspace = make_workspace(network, seed=0)
        vertices = torch.empty(count, len(workspace.flat))
        for vertex, state in zip(vertices, states, strict=True):
            workspace.flat.from_named(state, vertex, source="test")
        return SimpleNamespace(workspace=workspace, states=states, paths=paths, vertices=vertices)

    return make
