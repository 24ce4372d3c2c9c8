"""Trained networks: made by a recipe and a seed, read back by everything else."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from mode_connectivity.data.arrays import Dataset, Examples, load_dataset
from mode_connectivity.files import digest, write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.networks import registry
from mode_connectivity.networks.initialisation import initialise
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.loop import Recorder, derive_seed, train
from mode_connectivity.training.recipes import RecipeSettings
from mode_connectivity.weight_space.family import Family, Point
from mode_connectivity.weight_space.flat import FlatParameters, check_fit

NETWORK_FORMAT = "mode_connectivity.network.1"
"""Of a file of weights."""


@dataclass(frozen=True)
class Workspace:
    """A recipe's network on a device, with its parameters as one vector and its data set."""

    network: nn.Module
    flat: FlatParameters
    dataset: Dataset


def open_workspace(
    recipe: RecipeSettings,
    dataset_path: Path,
    device: torch.device,
    *,
    seed: int | None = None,
    download: bool = False,
) -> Workspace:
    """Load a recipe's data set and build its network.

    Args:
        recipe: the network and how it is initialised.
        dataset_path: the prepared data set.
        device: where both go.
        seed: of the initialisation; without one the weights mean nothing yet.
        download: fetch published weights, where the recipe begins with some and they are missing.
    """
    dataset = load_dataset(dataset_path, device)
    network = build_network(recipe, dataset, derive_seed(seed or 0, "initialisation"))
    if seed is not None:
        chosen = recipe.initialisation
        initialise(
            network,
            chosen.scheme,
            chosen.scale,
            chosen.weights,
            new_head=chosen.new_head,
            download=download,
        )
    network.to(device)
    flat = FlatParameters(network, channels_last=True)
    return Workspace(network, flat, dataset)


def build_network(recipe: RecipeSettings, dataset: Dataset, seed: int) -> nn.Module:
    """Build a recipe's network, with the weights that PyTorch draws."""
    torch.manual_seed(seed)
    return registry.build(
        recipe.network.name,
        input_shape=dataset.input_shape,
        classes=dataset.outputs,
        **recipe.network.options,
    )


def load_weights(path: Path, network: nn.Module, flat: FlatParameters, out: Tensor) -> None:
    """Read a network's weights into a vector, and its buffers into the network.

    Args:
        path: a state dict in a safetensors file.
        network: takes the buffers.
        flat: the layout of the vector.
        out: takes the parameters, shape [P].

    Raises:
        UserError: the file is missing or damaged, or a tensor is missing, too many or of another
            shape; the text names each.
    """
    tensors, _ = load_tensors(path)
    persistent = network.state_dict().keys()
    buffers = {name: buffer for name, buffer in network.named_buffers() if name in persistent}
    needed = dict(network.named_parameters()) | buffers
    check_fit(needed, tensors, source=str(path), allowed=persistent)
    flat.from_named(tensors, out, source=str(path))
    for name, buffer in buffers.items():
        buffer.copy_(tensors[name])


class StoredNetworks(Family):
    """Networks in files as a family: each point is one of them, read when it is asked for.

    Its vertices are never all in memory.

    Args:
        paths: their state dicts.
        workspace: the network that takes their weights and buffers.
    """

    parameter_names = ("member",)
    own_statistics = True

    def __init__(self, paths: Sequence[Path], workspace: Workspace) -> None:
        super().__init__(workspace.flat.vector.unsqueeze(0))
        self._paths = paths
        self._workspace = workspace

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the rows of the identity, float64 [T, K]: a point is a vertex.

        Args:
            parameters: [T, 1], indices of the files.
        """
        return torch.eye(len(self._paths), dtype=torch.float64)[parameters[:, 0].long()]

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Read the one network whose coefficient is not zero into ``out`` [P]."""
        path = self._paths[max(range(len(coefficients)), key=coefficients.__getitem__)]
        load_weights(path, self._workspace.network, self._workspace.flat, out)

    def vectors(self) -> Iterator[Tensor]:
        """Yield the weights of each network [P], a tensor of its own each."""
        for path in self._paths:
            vector = torch.empty_like(self._workspace.flat.vector)
            load_weights(path, self._workspace.network, self._workspace.flat, vector)
            yield vector


def load_mean_weights(paths: Sequence[Path], workspace: Workspace) -> None:
    """Give a network the mean weights of others, and the buffers of the last of them.

    Batch-norm statistics have to be re-estimated: no training has seen those of the mean.

    Args:
        paths: the state dicts, read one at a time and summed in double precision.
        workspace: the network.

    Raises:
        UserError: a file is missing, damaged or of another network.
    """
    total = torch.zeros_like(workspace.flat.vector, dtype=torch.float64)
    vectors = StoredNetworks(paths, workspace).vectors()
    for vector in Steps("network", len(paths)).over(vectors):
        total += vector
    workspace.flat.vector.copy_(total / len(paths))


@dataclass(frozen=True)
class Start:
    """The files that a training begins with, where it continues another one."""

    weights: Path
    optimiser: Path | None = None

    @property
    def files(self) -> list[Path]:
        """The files that there are."""
        return [path for path in (self.weights, self.optimiser) if path is not None]


def train_network(
    recipe: RecipeSettings,
    *,
    seed: int,
    dataset: Path,
    weights: Path,
    history: Path,
    snapshots: Path,
    device: torch.device,
    start: Start | None = None,
    test: Callable[[nn.Module, Examples], Mapping[str, float]] | None = None,
    reestimate: Callable[[nn.Module, Examples], None] | None = None,
    download: bool = False,
    code: str = "",
) -> pd.DataFrame:
    """Train a network and write its weights, history and snapshots.

    Args:
        recipe: what to train, on what and how.
        seed: of initialisation, order, augmentation and dropout.
        dataset: the prepared data set.
        weights: takes the state dict, buffers included.
        history: takes the rows of the training as CSV.
        snapshots: folder that takes a state dict for each snapshot and checkpoint, and the
            optimiser's state for each checkpoint.
        device: where to train.
        start: what the training continues; without it, it begins from scratch.
        test: measures the network on the test set, where the recipe's records ask for it.
        reestimate: sets the statistics of the mean of the snapshots on the training set, where
            the recipe asks for that mean.
        download: fetch published weights that the recipe begins with, if they are missing.
        code: fingerprint of the code, so that other code does not resume this one's checkpoint.

    Returns:
        The history.
    """
    workspace = open_workspace(recipe, dataset, device, seed=seed, download=download)
    network, flat = workspace.network, workspace.flat
    settings = recipe.training
    optimiser_state = None
    if start is not None:
        load_weights(start.weights, network, flat, flat.vector)
        if start.optimiser is not None:
            optimiser_state, _ = load_tensors(start.optimiser)
    progress = Progress(
        weights.parent,
        {
            "recipe": recipe.model_dump(mode="json"),
            "seed": seed,
            "inputs": [digest(path) for path in (dataset, *(start.files if start else []))],
            "code": code,
        },
    )

    def save(path: Path) -> None:
        save_tensors(path, network.state_dict(), {"format": NETWORK_FORMAT})

    def save_checkpoint(epoch: int, optimiser: Mapping[str, Tensor]) -> None:
        save(progress.snapshot(epoch))
        save_tensors(
            progress.optimiser(epoch), optimiser, {"format": "mode_connectivity.optimiser.1"}
        )

    record = train(
        network,
        flat,
        Point(flat.vector),
        workspace.dataset.train,
        settings,
        # Branches of one training do not repeat the order of its first epochs.
        seed=seed if recipe.continues is None else derive_seed(seed, recipe.continues),
        checkpoint=progress.checkpoint,
        recorder=Recorder(
            snapshot=lambda epoch: save(progress.snapshot(epoch)),
            checkpoint=save_checkpoint,
            test=None if test is None else lambda: test(network, workspace.dataset.test),
        ),
        optimiser_state=optimiser_state,
    )
    if settings.average_snapshots:
        paths = [progress.snapshot(epoch) for epoch in settings.snapshot_epochs]
        load_mean_weights(paths, workspace)
        if reestimate is not None:
            reestimate(network, workspace.dataset.train)
    save(weights)
    write_frame(history, record)
    progress.finish(snapshots, settings.snapshot_epochs, settings.checkpoints)
    return record
