"""Members of ensembles: trained networks in files, measured one after the other."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.evaluation.curves import evaluate_family, write_predictions
from mode_connectivity.evaluation.evaluator import statistics_batches
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.family import Family, norm

MEASURED = ("norm", "test_loss", "test_nll", "test_error")


@dataclass(frozen=True)
class Member:
    """A network of an ensemble, in a file.

    Attributes:
        reference: which network it is.
        epoch: finished epochs since its random initialisation, those before a branch included.
        weights: its state dict.
    """

    reference: NetworkReference
    epoch: int
    weights: Path

    @property
    def training(self) -> tuple[str, int]:
        """The recipe and the seed."""
        return self.reference.recipe, self.reference.seed


class StoredNetworks(Family):
    """Networks in files as a family: each point is one of them, read when it is asked for.

    Its vertices are never all in memory.

    Args:
        members: the networks.
        workspace: the network that takes their weights and buffers.
    """

    parameter_names = ("member",)
    own_statistics = True

    def __init__(self, members: Sequence[Member], workspace: Workspace) -> None:
        super().__init__(workspace.flat.vector.unsqueeze(0))
        self._members = members
        self._workspace = workspace

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the rows of the identity, float64 [T, K]: a point is a vertex.

        Args:
            parameters: [T, 1], indices of the members.
        """
        return torch.eye(len(self._members), dtype=torch.float64)[parameters[:, 0].long()]

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Read the one network whose coefficient is not zero into ``out`` [P]."""
        member = self._members[int(np.argmax(coefficients))]
        load_weights(member.weights, self._workspace.network, self._workspace.flat, out)

    def vectors(self) -> Iterator[Tensor]:
        """Yield the weights of each network [P], a tensor of its own each."""
        for member in self._members:
            vector = torch.empty_like(self._workspace.flat.vector)
            load_weights(member.weights, self._workspace.network, self._workspace.flat, vector)
            yield vector


def collect_members(
    members: Sequence[Member],
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    table: Path,
    fingerprint: object,
) -> None:
    """Measure the members of an ensemble on the test set and keep what they predict.

    Each is taken with the batch-norm statistics it came with, as Garipov et al. 2018 take the
    snapshots of FGE.

    Args:
        members: the networks; those of one training stand together, in the order of their epochs.
        workspace: the network and the data set.
        training: whose weight decay holds for the test loss.
        settings: how to measure.
        table: takes one row a member; the predictions go beside it.
        fingerprint: identifies the job.
    """
    progress = Progress(table.parent, fingerprint)
    networks = StoredNetworks(members, workspace)
    evaluation = evaluate_family(
        networks,
        torch.arange(len(members), dtype=torch.float64).unsqueeze(1),
        workspace,
        training,
        settings,
        parts=("test",),
        predictions=True,
        progress=progress,
    )
    write_predictions(evaluation, workspace.dataset.test.targets, table.parent, True)
    frame = evaluation.grid[list(MEASURED)]
    frame.insert(1, "distance", list(_steps(members, networks.vectors())))
    names = pd.DataFrame(
        {
            "member": [str(member.reference) for member in members],
            "recipe": [member.reference.recipe for member in members],
            "seed": [member.reference.seed for member in members],
            "epoch": [member.epoch for member in members],
        }
    )
    write_frame(table, names.join(frame))
    progress.finish()


def _steps(members: Sequence[Member], vectors: Iterable[Tensor]) -> Iterator[float]:
    """Yield each member's distance to the one before it in the same training."""
    yield np.nan
    for (before, first), (after, second) in pairwise(zip(members, vectors, strict=True)):
        if before.training != after.training:
            yield np.nan
            continue
        yield norm(second - first)


def average_weights(
    members: Sequence[Member],
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    folder: Path,
) -> list[Member]:
    """Average the weights of the members of each training (SWA) and write the averages.

    The mean of networks has batch-norm statistics that no training has seen; they are
    re-estimated by a pass over the training set (Izmailov et al. 2018). The mean is taken in
    double precision, one network at a time.

    Args:
        members: the networks; those of one training stand together.
        workspace: the network and the data set.
        training: whose augmentation holds for the statistics.
        settings: whether they are taken of augmented images.
        folder: takes a state dict for each training.

    Returns:
        The averages, one a training.
    """
    network, flat = workspace.network, workspace.flat
    averages = []
    for (recipe, seed), group in groupby(members, key=lambda member: member.training):
        of_training = list(group)
        total = torch.zeros_like(flat.vector, dtype=torch.float64)
        for vector in StoredNetworks(of_training, workspace).vectors():
            total += vector
        flat.vector.copy_(total / len(of_training))
        if batch_norms(network):
            batches = statistics_batches(
                workspace.dataset.train, settings, training.augmentation, seed=0
            )
            reestimate_statistics(network, batches)
        path = folder / f"{recipe}_seed{seed}.safetensors"
        save_tensors(path, network.state_dict(), {"format": "mode_connectivity.network.1"})
        averages.append(
            Member(NetworkReference(recipe=recipe, seed=seed), of_training[-1].epoch, path)
        )
    return averages
