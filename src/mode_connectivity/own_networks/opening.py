"""Networks of a user's own, opened with the data on which they are measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mode_connectivity.data.settings import AnyDataset
from mode_connectivity.data.sources import prepare
from mode_connectivity.evaluation.evaluator import evaluate
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.files import digest
from mode_connectivity.networks.registry import specification
from mode_connectivity.reporting.summaries import percentile_interval, resampled_errors
from mode_connectivity.settings import UserError
from mode_connectivity.training.networks import (
    StoredNetworks,
    Workspace,
    load_weights,
    open_workspace,
)
from mode_connectivity.training.recipes import RecipeSettings

_CONVERT = (
    "python -c \"import torch; from safetensors.torch import save_file; save_file(torch.load('{}', "
    "weights_only=True), '{}')\""
)


@dataclass(frozen=True)
class OwnNetworks:
    """Networks of one architecture, and the data set on which they are measured.

    Attributes:
        recipe: the architecture, and the weight decay and augmentation that hold for measurements.
        title: of the data set.
        dataset: the data set, prepared.
        workspace: both on a device.
        evaluation: how points are measured.
    """

    recipe: RecipeSettings
    title: str
    dataset: Path
    workspace: Workspace
    evaluation: EvaluationSettings

    @cached_property
    def network_title(self) -> str:
        """What tables and figures call the network."""
        return self.recipe.title or specification(self.recipe.network.name).title

    @property
    def heading(self) -> str:
        """The line above figures."""
        return f"{self.network_title}, {self.title}"

    def check(self, *files: Path) -> None:
        """Check files of weights before anything is made of them.

        Raises:
            UserError: with the mistakes of all: a file is missing, damaged, of another format or
                of another network, or two files hold the same weights.
        """
        mistakes = []
        scratch = torch.empty_like(self.workspace.flat.vector)
        for path in files:
            try:
                check_format(path)
                load_weights(path, self.workspace.network, self.workspace.flat, scratch)
            except UserError as error:
                mistakes.append(str(error))
        if not mistakes and len({digest(path) for path in files}) < len(files):
            mistakes.append(
                f"{' and '.join(map(str, files))}: the same weights; name different networks"
            )
        if mistakes:
            raise UserError("\n".join(mistakes))


def check_format(path: Path) -> None:
    """Refuse files of weights that would have to be unpickled, and say how they are converted.

    Raises:
        UserError: the name of the file does not end in .safetensors.
    """
    if path.suffix != ".safetensors":
        command = _CONVERT.format(path, path.with_suffix(".safetensors"))
        raise UserError(
            f"{path}: weights are read from .safetensors only, as a pickle can do anything when it "
            f"is opened; a state dict that you trust is converted by\n  {command}"
        )


def open_networks(
    recipe: RecipeSettings,
    dataset: AnyDataset | Path,
    device: torch.device,
    *,
    folder: Path,
    data_root: Path = Path("data"),
    download: bool = False,
    evaluation: EvaluationSettings | None = None,
) -> OwnNetworks:
    """Prepare a data set, and build the network for weights that were trained on it.

    Args:
        recipe: the network. Its training says which weight decay and augmentation hold.
        dataset: what is read, or a data set that is prepared already.
        device: where both go.
        folder: takes ``dataset.safetensors``, where it is not prepared yet.
        data_root: where the data are looked for.
        download: let torchvision fetch what is missing.
        evaluation: how points are measured; left out, as the pipeline does by default.

    Raises:
        UserError: the data are missing or damaged, or the network cannot be built or does not take
            them.
    """
    if isinstance(dataset, Path):
        title, path = dataset.stem, dataset
    else:
        title, path = dataset.title, folder / "dataset.safetensors"
        prepare(dataset, data_root=data_root, download=download, output=path)
    workspace = open_workspace(recipe, path, device)
    return OwnNetworks(recipe, title, path, workspace, evaluation or EvaluationSettings())


def measure(networks: OwnNetworks, files: Sequence[Path]) -> pd.DataFrame:
    """Measure networks, with the batch-norm statistics that they come with.

    Args:
        networks: the networks' architecture and data.
        files: their weights.

    Returns:
        A row a network: ``network`` (its file), ``norm``, and loss, cross-entropy and error
        (percent) of each part of the data; ``test_error_low`` and ``test_error_high``, its 95 %
        bootstrap interval over test examples.

    Raises:
        UserError: the weights do not fit the network.
    """
    networks.check(*files)
    workspace, training = networks.workspace, networks.recipe.training
    evaluation = evaluate(
        workspace.network,
        workspace.flat,
        StoredNetworks(files, workspace),
        torch.arange(len(files), dtype=torch.float64).unsqueeze(1),
        workspace.dataset,
        networks.evaluation,
        weight_decay=training.optimiser.weight_decay,
        augmentation=training.augmentation,
        seed=0,
    )
    grid = evaluation.grid
    table = grid.filter(regex="^(norm|train_|validation_|test_)")
    table.insert(0, "network", [str(path) for path in files])
    if "test_error" in table:
        correct = np.unpackbits(
            evaluation.correct.numpy(), axis=1, count=len(workspace.dataset.test)
        ).astype(bool)
        intervals = [percentile_interval(errors) for errors in resampled_errors(correct).T]
        table[["test_error_low", "test_error_high"]] = intervals
    return table
