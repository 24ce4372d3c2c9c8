"""Where results lie below ``results/{scale}``: the contract with everybody who reads them."""

from pathlib import Path

from mode_connectivity.training.recipes import NetworkReference, is_weight_file
from mode_connectivity.training.simplex_settings import VertexReference


def dataset(name: str) -> str:
    """Return the path of a prepared data set."""
    return f"datasets/{name}.safetensors"


def corrupted(dataset: str, corruption: str) -> str:
    """Return the path of a data set's test images under a corruption."""
    return f"datasets/{dataset}/corruptions/{corruption}.safetensors"


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


def simplex(name: str, seed: int | str) -> str:
    """Return the folder of a simplex that was trained from a seed."""
    return f"simplexes/{name}/seed{seed}"


def simplex_evaluation(name: str, seed: int | str, connectors: int | str) -> str:
    """Return the folder of what was measured of a simplex with so many connectors."""
    return f"{simplex(name, seed)}/connectors{connectors}"


def plane(name: str) -> str:
    """Return the folder of a plane."""
    return f"planes/{name}"


def geometry(name: str) -> str:
    """Return the folder of a geometry."""
    return f"geometries/{name}"


def ensemble(name: str) -> str:
    """Return the folder of an ensemble."""
    return f"ensembles/{name}"


def under_corruption(ensemble_name: str, corruption: str) -> str:
    """Return the folder of an ensemble's predictions under a corruption."""
    return f"{ensemble(ensemble_name)}/corruptions/{corruption}"


def weights_in(path: str, reference: str) -> Path:
    """Return the weight file that a reference means, in what a job was given for it.

    Args:
        path: the weights themselves or, for a snapshot, the folder of snapshots.
        reference: ``recipe/seed`` or ``recipe/seed@epoch``, a file of weights, or a vertex of a
            simplex, ``simplex/seed:vertex``, whose file is that of all its vertices.
    """
    if is_weight_file(reference) or VertexReference.parse(reference) is not None:
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
