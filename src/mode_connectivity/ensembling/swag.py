"""SWAG: Gaussians fitted to the snapshots of a training, and networks drawn from them.

Maddox et al. 2019, "A simple baseline for Bayesian uncertainty in deep learning". Several such
Gaussians, of trainings from different seeds, are MultiSWAG (Wilson and Izmailov 2020); around the
bend of a chain they show that whole regions connect two networks (Benton et al. 2021, figure 2).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.ensembling.members import Member
from mode_connectivity.ensembling.settings import SwagSettings
from mode_connectivity.evaluation.curves import measure_members
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.curves import load_bend
from mode_connectivity.training.loop import derive_seed
from mode_connectivity.training.networks import Workspace, load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.family import Family

CHUNK = 1 << 18
"""Parameters that are worked on at a time; the random numbers of a sample depend on it."""

Snapshot = Callable[[Tensor], None]
"""Reads the weights of one network into a vector [P]."""


@dataclass(frozen=True)
class Gaussian:
    """A normal distribution over weights, its covariance a diagonal plus a low rank.

    Attributes:
        mean: of the snapshots, [P]; the weight average of SWA.
        deviation: standard deviation of each weight over the snapshots, not below the floor, [P].
        deviations: the last K snapshots, each minus the mean of the snapshots up to it, [K, P].
    """

    mean: Tensor
    deviation: Tensor
    deviations: Tensor

    def draw(self, seed: int, scale: float, out: Tensor) -> None:
        """Draw a network into ``out`` [P], without a further vector of its size.

        It is ``mean + sqrt(scale) * (deviation * z1 + deviations.T @ z2 / sqrt(K - 1))`` with
        standard normal z1 [P] and z2 [K], so its covariance is
        ``scale * (diag(deviation^2) + deviations.T @ deviations / (K - 1))``: the form of the
        authors' code and of MultiSWAG's. In the paper (equation 1) both terms are divided by
        sqrt(2), which is a scale of 0.5.

        Args:
            seed: of z1 and z2.
            scale: of the covariance.
            out: takes the weights; on the device of the Gaussian.
        """
        generator = torch.Generator(out.device).manual_seed(seed)
        rank = len(self.deviations)
        z2 = torch.randn(rank, generator=generator, device=out.device, dtype=out.dtype)
        z2 *= (scale / (rank - 1)) ** 0.5
        for part in _chunks(out):
            chunk = out[part].normal_(generator=generator)
            chunk.mul_(self.deviation[part]).mul_(scale**0.5)
            chunk.addmv_(self.deviations[:, part].T, z2).add_(self.mean[part])


def fit_gaussian(
    snapshots: Sequence[Snapshot], rank: int, variance_floor: float, vector: Tensor
) -> Gaussian:
    """Fit a Gaussian to the snapshots of a training (Maddox et al. 2019, algorithm 1).

    Mean and second moment are summed in double precision, since the variance is a small difference
    of them, one snapshot at a time. The last K snapshots are then read again: each column of the
    low-rank part is a snapshot minus the mean of the snapshots up to it, as in the algorithm and
    the authors' code, not minus the mean of all. Never more than K + 3 vectors are held.

    Args:
        snapshots: in the order of their epochs.
        rank: K, the columns of the low-rank part.
        variance_floor: of the variance of a weight, for the diagonal.
        vector: takes each network in turn, [P]; its contents are lost.

    Raises:
        UserError: there are fewer than two snapshots, the rank is below 2 or above their number,
            or a file cannot be read.
    """
    count = len(snapshots)
    if count < 2:
        raise UserError(
            f"SWAG: {count} snapshots; a variance needs at least 2: keep more of them "
            "(training.snapshots)"
        )
    if not 2 <= rank <= count:
        raise UserError(
            f"SWAG: rank {rank} with {count} snapshots; from 2 to {count} are allowed: change the "
            "rank, or keep more snapshots (training.snapshots)"
        )
    mean, deviation = _moments(snapshots, variance_floor, vector)
    deviations = vector.new_empty(rank, len(vector))
    last = Steps("snapshot", rank).over(snapshots[-rank:])
    for column, snapshot in zip(deviations, last, strict=True):
        snapshot(column)
    for part in _chunks(vector):
        average = mean[part].double()
        later = torch.zeros_like(average)
        # Backwards: what the later snapshots add to the mean of all is taken off it.
        for index in range(rank - 1, -1, -1):
            own = deviations[index, part].double() - average
            deviations[index, part] = own + later / (count - rank + index + 1)
            later += own
    return Gaussian(mean, deviation, deviations)


def _moments(
    snapshots: Sequence[Snapshot], variance_floor: float, vector: Tensor
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each weight."""
    total = torch.zeros_like(vector, dtype=torch.float64)
    squares = torch.zeros_like(total)
    for snapshot in Steps("snapshot", len(snapshots)).over(snapshots):
        snapshot(vector)
        for part in _chunks(vector):
            weights = vector[part].double()
            total[part] += weights
            squares[part].addcmul_(weights, weights)
    total /= len(snapshots)
    squares /= len(snapshots)
    variance = squares.addcmul_(total, total, value=-1.0)
    deviation = variance.clamp_(min=variance_floor).sqrt_().to(vector.dtype)
    del squares, variance
    return total.to(vector.dtype), deviation


def _chunks(vector: Tensor) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, len(vector), CHUNK))


@dataclass(frozen=True)
class Component:
    """The snapshots of one training, and what the table of members says of it.

    Attributes:
        facts: columns of the table.
        snapshots: in the order of their epochs.
        seed: of its samples.
    """

    facts: Mapping[str, Any]
    snapshots: Sequence[Snapshot]
    seed: int


def network_components(members: Sequence[Member], workspace: Workspace) -> list[Component]:
    """Return the trainings of networks that stand together in the order of their epochs."""
    components = []
    for (recipe, seed), group in groupby(members, key=lambda member: member.training):
        of_training = list(group)
        facts = {
            "member": f"{recipe}/{seed}",
            "recipe": recipe,
            "seed": seed,
            "epoch": of_training[-1].epoch,
        }
        snapshots = [
            partial(load_weights, member.weights, workspace.network, workspace.flat)
            for member in of_training
        ]
        components.append(Component(facts, snapshots, derive_seed(recipe, seed, "swag")))
    return components


def bend_component(
    curve: CurveSettings, snapshots: Sequence[Path], workspace: Workspace
) -> Component:
    """Return the bend of a curve on the way of its training, by the files of its vertices."""
    read = [partial(load_bend, path, curve, workspace) for path in snapshots]
    return Component({}, read, derive_seed(curve.seed, "swag", "bend"))


class SwagSamples(Family):
    """Networks drawn from the Gaussians of trainings: each point is one draw.

    A draw has a seed of its own, so it is the same whatever was drawn before. One Gaussian is held
    at a time, fitted when the first of its draws is asked for.

    Args:
        components: the trainings.
        settings: rank, scale and floor of the variances.
        workspace: its network takes the buffers of the snapshots, its vector their weights.
    """

    parameter_names = ("component", "sample")

    def __init__(
        self, components: Sequence[Component], settings: SwagSettings, workspace: Workspace
    ) -> None:
        super().__init__(workspace.flat.vector.unsqueeze(0))
        self._components = components
        self._settings = settings
        self._vector = workspace.flat.vector
        self._fitted: tuple[int, Gaussian] | None = None

    def parameters(self) -> Tensor:
        """Return the indices of all draws, component by component, float64 [T, 2]."""
        components = torch.arange(len(self._components), dtype=torch.float64)
        samples = torch.arange(self._settings.samples, dtype=torch.float64)
        return torch.cartesian_prod(components, samples)

    def coefficients(self, parameters: Tensor) -> Tensor:
        """Return the parameters themselves, float64 [T, 2]: a draw has noise in every weight.

        Args:
            parameters: [T, 2], indices of component and draw.
        """
        return parameters

    def write(self, coefficients: Sequence[float], out: Tensor) -> None:
        """Draw one network into ``out`` [P]."""
        component, sample = map(int, coefficients)
        seed = derive_seed(self._components[component].seed, sample)
        self._gaussian(component).draw(seed, self._settings.scale, out)

    def _gaussian(self, index: int) -> Gaussian:
        if self._fitted is None or self._fitted[0] != index:
            # Before another one is fitted: two would not have to fit into memory.
            self._fitted = None
            settings = self._settings
            snapshots = self._components[index].snapshots
            gaussian = fit_gaussian(snapshots, settings.rank, settings.variance_floor, self._vector)
            self._fitted = index, gaussian
        return self._fitted[1]


def drawn_vectors(family: SwagSamples, out: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield every draw, numbered from 1, in ``out`` [P], which the next one overwrites."""
    rows = family.coefficients(family.parameters()).tolist()
    for number, row in enumerate(Steps("sample", len(rows)).over(rows), start=1):
        family.write(row, out)
        yield str(number), out


def collect_samples(
    components: Sequence[Component],
    sampling: SwagSettings,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    parts: Sequence[str],
    table: Path,
    fingerprint: object,
) -> None:
    """Measure the draws of each training as the members of an ensemble and keep what they predict.

    Batch-norm statistics are re-estimated for each.

    Args:
        components: the trainings, in the order of the members.
        sampling: how many draws of each, and from which Gaussian.
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        parts: of the data set, those that are measured, the test set among them; all if empty.
        table: takes one row a member; the predictions go beside it.
        fingerprint: identifies the job.
    """
    progress = Progress(table.parent, fingerprint)
    family = SwagSamples(components, sampling, workspace)
    parameters = family.parameters()
    grid = measure_members(
        family,
        parameters,
        workspace,
        training,
        settings,
        parts=parts,
        table=table,
        progress=progress,
    )
    rows = []
    for component, sample in parameters.long().tolist():
        facts = list(components[component].facts.items())
        rows.append(dict([*facts[:1], ("sample", sample + 1), *facts[1:]]))
    write_frame(table, pd.DataFrame(rows).join(grid.loc[:, "norm":]))
    progress.finish()
