"""Trained networks: made by a recipe and a seed, read back by everything else."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from mode_connectivity.data.arrays import Dataset, load_dataset
from mode_connectivity.files import digest, write_frame
from mode_connectivity.networks import registry
from mode_connectivity.networks.initialisation import initialise
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.loop import derive_seed, train
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.weight_space.family import Point
from mode_connectivity.weight_space.flat import FlatParameters


@dataclass(frozen=True)
class Workspace:
    """A recipe's network on a device, with its parameters as one vector and its data set."""

    network: nn.Module
    flat: FlatParameters
    dataset: Dataset


def open_workspace(
    recipe: RecipeSettings, dataset_path: Path, device: torch.device, *, seed: int
) -> Workspace:
    """Load a recipe's data set and build its network, initialised from a seed."""
    dataset = load_dataset(dataset_path, device)
    torch.manual_seed(derive_seed(seed, "initialisation"))
    network = registry.build(
        recipe.network.name,
        input_shape=dataset.input_shape,
        classes=len(dataset.classes),
        **recipe.network.options,
    )
    initialise(network, recipe.initialisation.scheme, recipe.initialisation.scale)
    network.to(device)
    flat = FlatParameters(network, channels_last=True)
    return Workspace(network, flat, dataset)


def load_weights(path: Path, network: nn.Module, flat: FlatParameters, out: Tensor) -> None:
    """Read a network's weights into a vector, and its buffers into the network.

    Args:
        path: a state dict in a safetensors file.
        network: takes the buffers.
        flat: the layout of the vector.
        out: takes the parameters, shape [P].

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing or of another shape.
    """
    tensors, _ = load_tensors(path)
    flat.from_named(tensors, out, source=str(path))
    problems = []
    persistent = network.state_dict()
    for name, buffer in network.named_buffers():
        if name not in persistent:
            continue
        if name not in tensors:
            problems.append(f"{name} is missing")
        elif tensors[name].shape != buffer.shape:
            problems.append(f"{name} has another shape")
        else:
            buffer.copy_(tensors[name])
    unknown = set(tensors) - set(persistent)
    problems.extend(f"{name} is not part of the network" for name in sorted(unknown))
    if problems:
        raise UserError(f"{path}: these weights do not fit the network: {'; '.join(problems)}")


def train_network(
    recipe: RecipeSettings,
    *,
    seed: int,
    dataset: Path,
    weights: Path,
    history: Path,
    snapshots: Path,
    device: torch.device,
    code: str = "",
) -> pd.DataFrame:
    """Train a network from scratch and write its weights, history and snapshots.

    Args:
        recipe: what to train, on what and how.
        seed: of initialisation, order, augmentation and dropout.
        dataset: the prepared data set.
        weights: takes the state dict, buffers included.
        history: takes one row an epoch as CSV.
        snapshots: folder that takes a state dict for each snapshot epoch.
        device: where to train.
        code: fingerprint of the code, so that other code does not resume this one's checkpoint.

    Returns:
        The history.
    """
    workspace = open_workspace(recipe, dataset, device, seed=seed)
    flat = workspace.flat
    progress = Progress(
        weights.parent,
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            "dataset": digest(dataset),
            "code": code,
        },
    )

    def save(path: Path) -> None:
        save_tensors(
            path, workspace.network.state_dict(), {"format": "mode_connectivity.network.1"}
        )

    record = train(
        workspace.network,
        flat,
        Point(flat.vector),
        workspace.dataset.train,
        recipe.training,
        seed=seed,
        checkpoint=progress.checkpoint,
        on_snapshot=lambda epoch: save(progress.snapshot(epoch)),
    )
    save(weights)
    write_frame(history, record)
    progress.finish(snapshots, recipe.training.snapshots)
    return record
