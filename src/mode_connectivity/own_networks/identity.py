"""What is kept of a piece of work, so that it is not done again and not mixed with another."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mode_connectivity.files import digest, write_json
from mode_connectivity.own_networks.opening import OwnNetworks
from mode_connectivity.settings import UserError


def measured_with(networks: OwnNetworks) -> dict[str, Any]:
    """Return what every measurement depends on, but for the code."""
    training = networks.recipe.training
    return {
        "network": networks.recipe.network.model_dump(mode="json"),
        "dataset": digest(networks.dataset),
        "weight_decay": training.optimiser.weight_decay,
        "augmentation": training.augmentation.model_dump(mode="json"),
        "evaluation": networks.evaluation.model_dump(mode="json"),
    }


def reserve(folder: Path, identity: Mapping[str, Any]) -> None:
    """Write down what a folder is for; refuse one that is for something else."""
    path = folder / "settings.json"
    if path.exists():
        there = json.loads(path.read_text())
        if differences := list(_differences(there, identity)):
            raise UserError(
                f"{folder} holds something else: {'; '.join(differences)}; give another --output, "
                "or delete that folder"
            )
    else:
        write_json(path, identity)


def _differences(there: Any, here: Any, where: str = "") -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in {**there, **here}:
            place = f"{where}.{key}" if where else key
            yield from _differences(there.get(key), here.get(key), place)
    elif there != here:
        yield f"{where} was {there}, is {here}"
