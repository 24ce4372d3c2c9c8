"""Members of ensembles: trained networks in files, measured one after the other."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.evaluation.curves import measure_members
from mode_connectivity.evaluation.evaluator import examples_in, statistics_batches
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps, working_on
from mode_connectivity.layout import weights_in
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.networks import (
    NETWORK_FORMAT,
    StoredNetworks,
    Workspace,
    load_mean_weights,
)
from mode_connectivity.training.recipes import NetworkReference
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.family import norm

MEASURED = ("norm", "test_loss", "test_nll", "test_error", "test_rmse")


def measured_columns(grid: pd.DataFrame) -> pd.DataFrame:
    """Return what a table of members tells of each: those of its columns that a grid has."""
    return grid[[name for name in MEASURED if name in grid]]


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


def members_in(named: Iterable[Mapping[str, Any]], paths: Iterable[str]) -> list[Member]:
    """Return the members of an ensemble in what a job was given for them.

    Args:
        named: of each ``member``, its reference, and ``epoch``.
        paths: of each its weights or, for a snapshot, the folder of snapshots.
    """
    return [
        Member(
            NetworkReference.parse(each["member"]),
            each["epoch"],
            weights_in(path, each["member"]),
        )
        for each, path in zip(named, paths, strict=True)
    ]


def collect_members(
    members: Sequence[Member],
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    table: Path,
    functions: Path | None = None,
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
        functions: takes the functions that the members are, see `write_function_values`.
        fingerprint: identifies the job.
    """
    progress = Progress(table.parent, fingerprint)
    networks = StoredNetworks([member.weights for member in members], workspace)
    indices = torch.arange(len(members), dtype=torch.float64).unsqueeze(1)
    grid = measure_members(
        networks,
        indices,
        workspace,
        training,
        settings,
        table=table,
        functions=functions,
        progress=progress,
    )
    frame = measured_columns(grid)
    vectors = Steps("network", len(members)).over(networks.vectors())
    frame.insert(1, "distance", list(_steps(members, vectors)))
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


def averaged_weights(folder: Path, recipe: str, seed: int) -> Path:
    """Return the file of a training's average in the folder that ``average_weights`` fills."""
    return folder / f"{recipe}_seed{seed}.safetensors"


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
    re-estimated by a pass over the training set (Izmailov et al. 2018).

    Args:
        members: the networks; those of one training stand together.
        workspace: the network and the data set.
        training: whose augmentation holds for the statistics.
        settings: whether they are taken of augmented images.
        folder: takes a state dict for each training.

    Returns:
        The averages, one a training.
    """
    network = workspace.network
    averages = []
    trainings = [list(group) for _, group in groupby(members, key=lambda each: each.training)]
    for number, of_training in enumerate(trainings, start=1):
        recipe, seed = of_training[0].training
        with working_on("average", number, len(trainings)):
            load_mean_weights([member.weights for member in of_training], workspace)
            if batch_norms(network):
                batches = statistics_batches(
                    workspace.dataset.train, settings, training.augmentation, seed=0
                )
                passes = Steps("example", len(workspace.dataset.train))
                reestimate_statistics(network, passes.over(batches, size=examples_in))
        path = averaged_weights(folder, recipe, seed)
        save_tensors(path, network.state_dict(), {"format": NETWORK_FORMAT})
        averages.append(
            Member(NetworkReference(recipe=recipe, seed=seed), of_training[-1].epoch, path)
        )
    return averages
