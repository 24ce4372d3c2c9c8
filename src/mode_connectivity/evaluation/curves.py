"""Curves and single networks, measured: the grids that tables and figures are made of."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mode_connectivity.evaluation.evaluator import Evaluation, evaluate, statistics_batches
from mode_connectivity.evaluation.functions import write_function_values
from mode_connectivity.evaluation.renormalisation import renormalised
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import write_frame
from mode_connectivity.job_log import working_on
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.checkpoints import Progress
from mode_connectivity.training.curves import load_curve
from mode_connectivity.training.networks import Workspace
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Curve, unit_grid
from mode_connectivity.weight_space.family import Family, Point, arc_lengths, lengths

SEED = 0
"""Of the augmented draws of measurements, the same at every point of everything."""


def evaluate_family(
    family: Family,
    parameters: Tensor,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    parts: Sequence[str] = (),
    predictions: bool,
    progress: Progress,
) -> Evaluation:
    """Measure points of a family, resuming where an earlier job was stopped.

    Args:
        family: the family.
        parameters: a row a point, float64 [T, D].
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        parts: of the data set, those that are measured; all if empty.
        predictions: keep the test predictions.
        progress: where the measured points are kept until the caller has written its outputs.
    """
    return evaluate(
        workspace.network,
        workspace.flat,
        family,
        parameters,
        workspace.dataset,
        settings,
        weight_decay=training.optimiser.weight_decay,
        augmentation=training.augmentation,
        seed=SEED,
        parts=parts,
        predictions=predictions,
        checkpoint=progress.checkpoint,
    )


def evaluate_curve(
    curve: Curve,
    points: int,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    predictions: bool,
    renormalise: bool = False,
    grid: Path,
    fingerprint: object,
) -> None:
    """Measure equally spaced points of a curve and write the grid.

    To the measurements of the evaluator it adds the length of the curve up to each point and the
    point's straight distance from the start; at the last point their ratio is the length ratio of
    Garipov et al. 2018, A.3. Beside ``grid`` go ``correct.safetensors`` and, where asked for,
    ``predictions.safetensors``.

    Args:
        curve: the curve.
        points: number of t in [0, 1], the ends included.
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        predictions: keep the test predictions of every point.
        renormalise: measure the network as `renormalised` does.
        grid: takes one row a point.
        fingerprint: identifies the job.
    """
    progress = Progress(grid.parent, fingerprint)
    with ExitStack() as stack:
        family: Family = curve
        if renormalise:
            train, augmentation = workspace.dataset.train, training.augmentation
            family = stack.enter_context(
                renormalised(
                    curve,
                    workspace.network,
                    workspace.flat,
                    statistics_batches(train, settings, augmentation, seed=SEED),
                )
            )
        evaluation = evaluate_family(
            family,
            unit_grid(points),
            workspace,
            training,
            settings,
            predictions=predictions,
            progress=progress,
        )
    write_predictions(evaluation, workspace.dataset.test.targets, grid.parent, predictions)
    write_frame(grid, _with_lengths(evaluation, curve))
    progress.finish()


def evaluate_curve_snapshots(
    curve: CurveSettings,
    snapshots: Mapping[int, Path],
    points: int,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    grid: Path,
    fingerprint: object,
) -> None:
    """Measure a curve on the way of its training (Gotmare et al. 2018, figure 1).

    Args:
        curve: the curve.
        snapshots: its vertices, by finished epochs of its training.
        points: number of t in [0, 1], the ends included.
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        grid: takes one row a point of each snapshot, with its ``epoch``.
        fingerprint: identifies the job.
    """
    frames = []
    parts = {
        epoch: Progress(grid.parent, [fingerprint, epoch], f"epoch{epoch}") for epoch in snapshots
    }
    for number, (epoch, path) in enumerate(snapshots.items(), start=1):
        snapshot = load_curve(path, curve, workspace)
        with working_on("snapshot", number, len(snapshots)):
            evaluation = evaluate_family(
                snapshot,
                unit_grid(points),
                workspace,
                training,
                settings,
                predictions=False,
                progress=parts[epoch],
            )
        frame = _with_lengths(evaluation, snapshot)
        frame.insert(0, "epoch", epoch)
        frames.append(frame)
    write_frame(grid, pd.concat(frames, ignore_index=True))
    for progress in parts.values():
        progress.finish()


def _with_lengths(evaluation: Evaluation, curve: Curve) -> pd.DataFrame:
    """Add to the grid the length up to each point and its distance from the start."""
    frame = evaluation.grid
    gram, coefficients = curve.gram(), evaluation.coefficients
    frame.insert(1, "length", arc_lengths(gram, coefficients).numpy())
    frame.insert(2, "distance", lengths(gram, coefficients - coefficients[0]).numpy())
    return frame


def evaluate_network(
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    metrics: Path,
    fingerprint: object,
) -> None:
    """Measure a single network with the batch-norm statistics of its training.

    Args:
        workspace: the network, with its weights, and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        metrics: takes one row; the test predictions go beside it.
        fingerprint: identifies the job.
    """
    progress = Progress(metrics.parent, fingerprint)
    grid = measure_members(
        Point(workspace.flat.vector),
        torch.empty(1, 0, dtype=torch.float64),
        workspace,
        training,
        settings,
        parts=(),
        table=metrics,
        progress=progress,
    )
    write_frame(metrics, grid.drop(columns="coefficient_0"))
    progress.finish()


def measure_members(
    family: Family,
    parameters: Tensor,
    workspace: Workspace,
    training: TrainingSettings,
    settings: EvaluationSettings,
    *,
    parts: Sequence[str] = ("test",),
    table: Path,
    functions: Path | None = None,
    progress: Progress,
) -> pd.DataFrame:
    """Measure points of a family and keep what they predict.

    Args:
        family: the family.
        parameters: a row a point, float64 [T, D].
        workspace: the network and the data set.
        training: whose weight decay and augmentation hold for the measurements.
        settings: how to measure.
        parts: of the data set, those that are measured, the test set among them; all if empty.
        table: where the caller writes its table; the predictions go beside it.
        functions: takes the functions that the points are, see `write_function_values`.
        progress: where the measured points are kept until the caller has written its outputs.

    Returns:
        The grid: one row a point.
    """
    evaluation = evaluate_family(
        family,
        parameters,
        workspace,
        training,
        settings,
        parts=parts,
        predictions=True,
        progress=progress,
    )
    write_predictions(evaluation, workspace.dataset.test.targets, table.parent, True)
    if functions is not None:
        write_function_values(functions, family, parameters, workspace)
    return evaluation.grid


def write_predictions(
    evaluation: Evaluation, labels: Tensor, folder: Path, predictions: bool
) -> None:
    """Write what every point says of every test example.

    The predictions of a regression are its function values: ``values`` [T, N], with ``targets``.
    """
    labels = labels.cpu()
    save_tensors(
        folder / "correct.safetensors",
        {"correct": evaluation.correct, "examples": torch.tensor([len(labels)])},
        {"format": "mode_connectivity.correct.1"},
    )
    if not predictions or evaluation.log_probabilities is None:
        return
    if labels.is_floating_point():
        save_tensors(
            folder / "predictions.safetensors",
            {"values": evaluation.log_probabilities[..., 0], "targets": labels},
            {"format": "mode_connectivity.values.1"},
        )
    else:
        save_tensors(
            folder / "predictions.safetensors",
            {"log_probabilities": evaluation.log_probabilities, "labels": labels},
            {"format": "mode_connectivity.predictions.1"},
        )
