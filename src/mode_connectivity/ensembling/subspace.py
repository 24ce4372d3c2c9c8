"""Members from a posterior over the weights in the subspace of a curve."""

from pathlib import Path

import torch
from torch import Tensor

from mode_connectivity.ensembling.settings import SubspaceEnsembleSettings
from mode_connectivity.ensembling.slice_sampling import elliptical_slice_sampling
from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.evaluation.curves import measure_members
from mode_connectivity.evaluation.evaluator import examples_in, statistics_batches
from mode_connectivity.evaluation.metrics import measure
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import Steps
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.networks import Workspace
from mode_connectivity.training.objectives import objective_of
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Curve
from mode_connectivity.weight_space.family import Family
from mode_connectivity.weight_space.subspaces import curve_subspace


class LogLikelihood:
    """The tempered log-likelihood of the whole training set at a point of a family.

    Args:
        family: the family.
        workspace: the network and the data set.
        training: whose augmentation holds for batch-norm statistics.
        settings: the batch size.
        temperature: the likelihood counts to the power of its inverse.
    """

    def __init__(
        self,
        family: Family,
        workspace: Workspace,
        training: TrainingSettings,
        settings: EvaluationSettings,
        *,
        temperature: float,
    ) -> None:
        self._family = family
        self._workspace = workspace
        self._temperature = temperature
        train = workspace.dataset.train
        self._objective = objective_of(train)
        self._batches = train.prepared_batches(
            settings.batch_size, memory_format=torch.channels_last
        )
        self._statistics = (
            statistics_batches(train, settings, training.augmentation, seed=0)
            if batch_norms(workspace.network)
            else None
        )

    def __call__(self, parameters: Tensor) -> float:
        """Return the log-likelihood at one row of parameters, float64 [D]."""
        network, flat = self._workspace.network, self._workspace.flat
        (row,) = self._family.coefficients(parameters.unsqueeze(0)).tolist()
        self._family.write(row, flat.vector)
        examples = len(self._workspace.dataset.train)
        passes = Steps("example", examples if self._statistics is None else 2 * examples)
        if self._statistics is not None:
            reestimate_statistics(network, passes.over(self._statistics, size=examples_in))
        batches = passes.over(self._batches, size=examples_in)
        found = measure(network, batches, objective=self._objective)
        return -found.nll * examples / self._temperature


def collect_subspace_members(
    curve: Curve,
    ensemble: SubspaceEnsembleSettings,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    table: Path,
    functions: Path | None = None,
    fingerprint: object,
) -> None:
    """Sample weights in the plane of a curve and measure them as members (Izmailov et al. 2019).

    The prior is a Gaussian in the coordinates of `curve_subspace`, the likelihood that of the whole
    training set; the chain of elliptical slice sampling begins at the origin, the mean of the
    three points. It is drawn again where a killed job resumes; measuring goes on where it was.

    Args:
        curve: the curve.
        ensemble: how many samples, temperature, prior and seed.
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        table: takes a row a sample: member, seed, coordinates, log_likelihood (of the training set,
            tempered), coefficients of the curve's vertices, norm, test_loss, test_nll and
            test_error or test_rmse; the predictions go beside it.
        functions: takes the functions that the samples are, see `write_function_values`.
        fingerprint: identifies the job.
    """
    subspace = curve_subspace(curve)
    likelihood = LogLikelihood(
        subspace, workspace, training, settings, temperature=ensemble.temperature
    )
    chain, levels = elliptical_slice_sampling(
        likelihood,
        torch.zeros(len(subspace.parameter_names), dtype=torch.float64),
        prior_sigma=ensemble.prior_sigma,
        samples=ensemble.samples,
        seed=ensemble.seed,
    )
    progress = Progress(table.parent, fingerprint)
    frame = measure_members(
        subspace,
        chain,
        workspace,
        training,
        settings,
        table=table,
        functions=functions,
        progress=progress,
    )
    frame.insert(len(subspace.parameter_names), "log_likelihood", levels.numpy())
    frame.insert(0, "member", [f"{ensemble.curve}#{number}" for number in range(len(frame))])
    frame.insert(1, "seed", ensemble.seed)
    write_frame(table, frame)
    progress.finish()
