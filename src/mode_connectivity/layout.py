"""Where results lie below ``results/{scale}``: the contract with everybody who reads them."""

from pathlib import Path

from mode_connectivity.training.recipes import NetworkReference, is_weight_file


def dataset(name: str) -> str:
    """Return the path of a prepared data set."""
    return f"datasets/{name}.safetensors"


def network(recipe: str, seed: int | str) -> str:
    """Return the folder of a trained network."""
    return f"networks/{recipe}/seed{seed}"


def weights(reference: NetworkReference) -> str:
    """Return the path of a network's weights, at the end or at a snapshot."""
    folder = network(reference.recipe, reference.seed)
    if reference.epoch is None:
        return f"{folder}/weights.safetensors"
    return f"{folder}/snapshots/{snapshot(reference.epoch)}"


def snapshot(epoch: int) -> str:
    """Return the name of a snapshot's file."""
    return f"epoch{epoch}.safetensors"


def optimiser(epoch: int) -> str:
    """Return the name of the file with the optimiser's state at a checkpoint."""
    return f"epoch{epoch}.optimiser.safetensors"


def curve(name: str) -> str:
    """Return the folder of a curve."""
    return f"curves/{name}"


def plane(name: str) -> str:
    """Return the folder of a plane."""
    return f"planes/{name}"


def geometry(name: str) -> str:
    """Return the folder of a geometry."""
    return f"geometries/{name}"


def ensemble(name: str) -> str:
    """Return the folder of an ensemble."""
    return f"ensembles/{name}"


def weights_in(path: str, reference: str) -> Path:
    """Return the weight file that a reference means, in what a job was given for it.

    Args:
        path: the weights themselves or, for a snapshot, the folder of snapshots.
        reference: ``recipe/seed`` or ``recipe/seed@epoch``, or a file of weights.
    """
    if is_weight_file(reference):
        return Path(path)
    epoch = NetworkReference.parse(reference).epoch
    return Path(path) if epoch is None else Path(path) / snapshot(epoch)


def optimiser_in(path: str, reference: str) -> Path | None:
    """Return the file with the optimiser's state of a checkpoint; the end of a training has none.

    Args:
        path: the folder of snapshots.
        reference: ``recipe/seed`` or ``recipe/seed@epoch``.
    """
    epoch = NetworkReference.parse(reference).epoch
    return None if epoch is None else Path(path) / optimiser(epoch)
