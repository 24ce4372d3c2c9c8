"""Networks as functions of their inputs: their outputs where a figure shows them."""

from pathlib import Path

import torch
from torch import Tensor

from mode_connectivity.evaluation.batch_norm import batch_norms, reestimate_statistics
from mode_connectivity.networks.carried_state import reset_state
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors
from mode_connectivity.training.networks import Workspace
from mode_connectivity.weight_space.family import Family

FORMAT = "mode_connectivity.functions.1"
BATCH_SIZE = 8192


@torch.inference_mode()
def function_values(family: Family, parameters: Tensor, workspace: Workspace) -> Tensor:
    """Return the outputs of points of a family at the inputs at which figures show functions.

    Args:
        family: the family.
        parameters: a row a point, float64 [M, D].
        workspace: the network and the data set.

    Returns:
        float32 [M, G]: values of a regression, or logits of the second of two classes.

    Raises:
        UserError: the data set has no such inputs.
    """
    plot = workspace.dataset.plot
    if plot is None:
        raise UserError(
            "functions are shown of data sets with few inputs only: two_spirals and regression"
        )
    network, flat = workspace.network, workspace.flat
    train = workspace.dataset.train
    values = torch.empty(len(parameters), len(plot.inputs))
    for row, point in zip(family.coefficients(parameters).tolist(), values, strict=True):
        family.write(row, flat.vector)
        if batch_norms(network) and not family.own_statistics:
            reestimate_statistics(network, train.batches(len(train), window=1))
        network.eval()
        reset_state(network)
        for start in range(0, len(plot.inputs), BATCH_SIZE):
            part = slice(start, start + BATCH_SIZE)
            point[part] = network(plot.inputs[part]).flatten()
    return values


def write_function_values(
    path: Path, family: Family, parameters: Tensor, workspace: Workspace
) -> None:
    """Write what figures show of networks as functions, with the data they were trained on.

    Tensors: ``values`` float32 [M, G] of `function_values`, ``inputs`` float32 [G, D],
    ``train_inputs`` float32 [N, D], ``train_targets`` int64 or float32 [N] and, of a regression,
    ``targets`` float32 [G], the true function.

    Args:
        path: the file.
        family: the family.
        parameters: a row a point, float64 [M, D].
        workspace: the network and the data set.
    """
    values = function_values(family, parameters, workspace)
    dataset = workspace.dataset
    assert dataset.plot is not None
    inputs, targets = zip(*dataset.train.batches(len(dataset.train), window=1), strict=True)
    tensors = {
        "values": values,
        "inputs": dataset.plot.inputs,
        "train_inputs": torch.cat(inputs),
        "train_targets": torch.cat(targets),
    }
    if dataset.plot.targets is not None:
        tensors["targets"] = dataset.plot.targets
    save_tensors(path, tensors, {"format": FORMAT})
