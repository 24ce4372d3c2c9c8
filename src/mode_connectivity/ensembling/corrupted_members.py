"""Members of ensembles on corrupted test images: what they predict, measured once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.data.corrupted_images import load_corrupted
from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.ensembling.members import Member
from mode_connectivity.ensembling.predictions import SMALLEST_PROBABILITY
from mode_connectivity.ensembling.settings import SimplexEnsembleSettings, SwagSettings
from mode_connectivity.ensembling.swag import SwagSamples, network_components
from mode_connectivity.evaluation.curves import evaluate_family
from mode_connectivity.evaluation.evaluator import Evaluation
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.evaluation.simplexes import SimplexSource, simplex_points
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import working_on
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.networks import StoredNetworks, Workspace
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.weight_space.family import Family

FORMAT = "mode_connectivity.predictions_under_corruption.1"

MembersOfSeed = Callable[[int], tuple[Family, Tensor]]
"""The members of a seed: a family and the parameters of its points, float64 [M, D]."""


def stored_members(members: Sequence[Member], workspace: Workspace) -> MembersOfSeed:
    """Return how to come by networks in files, seed by seed.

    Args:
        members: the networks of all seeds.
        workspace: the network that takes their weights and buffers.
    """

    def of_seed(seed: int) -> tuple[Family, Tensor]:
        own = [member.weights for member in members if member.reference.seed == seed]
        indices = torch.arange(len(own), dtype=torch.float64).unsqueeze(1)
        return StoredNetworks(own, workspace), indices

    return of_seed


def swag_members(
    snapshots: Sequence[Member], settings: SwagSettings, workspace: Workspace
) -> MembersOfSeed:
    """Return how to draw networks from the Gaussians of trainings, seed by seed.

    Args:
        snapshots: of the trainings of all seeds.
        settings: what is drawn.
        workspace: the network that takes their weights and buffers.
    """

    def of_seed(seed: int) -> tuple[Family, Tensor]:
        own = [member for member in snapshots if member.reference.seed == seed]
        samples = SwagSamples(network_components(own, workspace), settings, workspace)
        return samples, samples.parameters()

    return of_seed


def simplex_members(
    ensemble: SimplexEnsembleSettings,
    simplex: SimplexSettings,
    sources: Mapping[int, SimplexSource],
    workspace: Workspace,
) -> MembersOfSeed:
    """Return how to draw points of complexes, seed by seed: those of the clean evaluation.

    Args:
        ensemble: how many connectors and points.
        simplex: the complex.
        sources: by seed, where its vertices come from.
        workspace: the network.
    """

    def of_seed(seed: int) -> tuple[Family, Tensor]:
        family, numbers = simplex_points(
            simplex, sources[seed], ensemble.connectors, workspace, seed=seed
        )
        return family, numbers[: ensemble.points]

    return of_seed


def collect_members_under_corruption(
    members_of_seed: MembersOfSeed,
    members: Path,
    images: Path,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    predictions: Path,
    fingerprint: object,
) -> None:
    """Measure the members of an ensemble on test images under one corruption, at all severities.

    Batch-norm statistics are those of clean data: a member's own where it has some, else
    re-estimated on the training set, once for all severities.

    What is kept of the predictions is the mean probability over the members of each seed, as
    ``log_probabilities`` float32 [5, S, N, C] with ``labels`` [N]: the members of a seed are always
    in the same ensembles, with equal weights, and 19 corruptions of a hundred members each would
    take a hundred times the space. Beside it ``members.csv`` tells of each member and severity
    ``test_nll`` and ``test_error``.

    Args:
        members_of_seed: the weights of a seed's members, asked for one seed after the other.
        members: ``members.csv`` of the ensemble on clean images, which names the members of each
            seed in the same order.
        images: the corrupted images, see :mod:`mode_connectivity.data.corrupted_images`.
        workspace: the network and the data set.
        training: whose augmentation holds for batch-norm statistics.
        settings: how to measure.
        predictions: takes the predictions.
        fingerprint: identifies the job.

    Raises:
        UserError: a seed has other members than the table lists, or the images are not of this
            data set.
    """
    table = pd.read_csv(members)
    seeds = table["seed"].unique()
    corrupted, facts = load_corrupted(images, workspace.dataset)
    shifted = replace(workspace, dataset=replace(workspace.dataset, test=corrupted))
    labels = corrupted.targets[: len(corrupted) // len(SEVERITIES)].cpu()
    mixtures, frames = [], []
    progress = [
        Progress(predictions.parent, [fingerprint, seed], f"seed{seed}") for seed in seeds.tolist()
    ]
    for number, (own, seed) in enumerate(zip(progress, seeds.tolist(), strict=True), start=1):
        of_seed = table[table["seed"] == seed]
        family, parameters = members_of_seed(seed)
        if len(of_seed) != len(parameters):
            raise UserError(
                f"{members}: lists {len(of_seed)} members of seed {seed}, which has "
                f"{len(parameters)}; collect the members again"
            )
        with working_on("seed", number, len(seeds)):
            evaluation = evaluate_family(
                family,
                parameters,
                shifted,
                training,
                settings,
                parts=("test",),
                predictions=True,
                progress=own,
            )
        mixtures.append(_mean_probabilities(evaluation))
        frames.append(_measured(evaluation, of_seed, labels))
    save_tensors(
        predictions,
        {
            "log_probabilities": torch.stack(mixtures, dim=1),
            "labels": labels,
            "seeds": torch.tensor(seeds.tolist()),
        },
        {"format": FORMAT, **facts},
    )
    write_frame(predictions.with_name("members.csv"), pd.concat(frames, ignore_index=True))
    for own in progress:
        own.finish()


def _mean_probabilities(evaluation: Evaluation) -> Tensor:
    """Return the logarithm of the members' mean probability, float32 [5, N, C]."""
    assert evaluation.log_probabilities is not None
    total: Tensor | float = 0.0
    for member in evaluation.log_probabilities:
        total = total + member.double().exp()
    mean = torch.as_tensor(total) / len(evaluation.log_probabilities)
    logarithm = mean.clamp_min(SMALLEST_PROBABILITY).log().float()
    return logarithm.reshape(len(SEVERITIES), -1, logarithm.shape[1])


def _measured(evaluation: Evaluation, members: pd.DataFrame, labels: Tensor) -> pd.DataFrame:
    """Return a row a severity and member."""
    assert evaluation.log_probabilities is not None
    examples = len(SEVERITIES) * len(labels)
    correct = np.unpackbits(evaluation.correct.numpy(), axis=1, count=examples)
    targets = labels.repeat(len(SEVERITIES))
    true_class = evaluation.log_probabilities[:, torch.arange(examples), targets]
    by_severity = (len(members), len(SEVERITIES), -1)
    nll = -true_class.double().numpy().reshape(by_severity).mean(axis=2)
    error = 100 * (1 - correct.reshape(by_severity).mean(axis=2))
    names = members[["member", "seed"]]
    return pd.concat(
        [
            names.assign(severity=severity, test_nll=nll[:, place], test_error=error[:, place])
            for place, severity in enumerate(SEVERITIES)
        ],
        ignore_index=True,
    )
