"""What a job asks of a scheduler: memory and minutes, estimated before it starts.

A grant need not be right for a run to finish: a training that is stopped goes on in its next
attempt, which asks for more. Snakemake runs nothing again because an estimate changes.

Nothing here imports torch: Snakemake asks while it plans.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from mode_connectivity import layout
from mode_connectivity.config import Config
from mode_connectivity.cost import dataset_sizes, job_cost, recipe_of_job, safetensors_header
from mode_connectivity.data.corruption_settings import SEVERITIES
from mode_connectivity.data.settings import (
    DatasetSettings,
    ImageFilesSettings,
    RegressionSettings,
    TextSettings,
    TwoSpiralsSettings,
)
from mode_connectivity.ensembling.settings import (
    CurveEnsembleSettings,
    CurveSwagEnsembleSettings,
    NetworkEnsembleSettings,
    SimplexEnsembleSettings,
    SubspaceEnsembleSettings,
    SwagEnsembleSettings,
    SwagSettings,
)
from mode_connectivity.networks.sizes import NetworkSize, network_size
from mode_connectivity.training.recipes import RecipeSettings

FLOAT = 4
"""Bytes."""
KEPT_INPUTS = 2**30
"""Bytes of normalised images that an evaluation keeps of each part of a data set, at most."""
DISTANCES = 2 * 2**30
"""Bytes of the points that are held at a time when distances are measured, at most."""
LOGITS_AT_ONCE = 2**24
"""Numbers that an evaluation of a language model predicts at a time, at most."""
VECTORS = {"train_network": 12, "train_curve": 12, "train_simplex": 14}
"""Vectors of the network's length that a training holds beside its vertices: point, gradient,
those of the optimiser, and copies of the state for the checkpoint that is being written."""
EVALUATED_VECTORS = 6
"""Likewise of a measurement: the point, what is read from a file, and the bare network."""
PREPARING_SECONDS = 0.005
"""To read, check and resize an image."""
CORRUPTING_SECONDS = 0.05
"""To corrupt an image once."""
COMBINING_SECONDS = 1e-6
"""To add up a prediction of a member, over all ensembles that it is part of, a class."""
READING = 1e8
"""Bytes a second from a busy file system."""

_CLASSES = {"digits": 10, "mnist": 10, "cifar10": 10, "cifar100": 100, "imagenet": 1_000}
_SHAPES = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "cifar10": (3, 32, 32)}
_SHAPES["cifar100"] = _SHAPES["cifar10"]
_PTB_WORDS = 10_000


@dataclass(frozen=True)
class Estimate:
    """What a job asks for.

    Attributes:
        memory_mb: of the host, in MB as schedulers count them (2^20 bytes).
        minutes: until it is stopped.
    """

    memory_mb: int
    minutes: int


@dataclass(frozen=True)
class _Data:
    """What is known of a data set: examples by part, the shape of one, logits, bytes."""

    sizes: Mapping[str, int]
    shape: tuple[int, ...]
    outputs: int
    bytes: int


def estimate(
    config: Config, rule: str, wildcards: Mapping[str, str], results: Path, *, attempt: int = 1
) -> Estimate:
    """Estimate what a job needs.

    Seconds are those that `mode_connectivity.cost` tells from earlier histories, else operations
    over an assumed speed; both twice as many by default, and a start. Memory is a start, the data,
    the vectors of the network's length that are held, a batch's activations where they are not on
    a GPU, and the predictions that are kept. What neither the config nor a prepared data set tells
    is assumed as a whole (``unknown_minutes``, ``unknown_mb``).

    Args:
        config: the config.
        rule: the job's rule.
        wildcards: the job's.
        results: the folder of the scale's results.
        attempt: which attempt at the job this is. Minutes double from one to the next; memory grows
            by the first estimate, since most attempts fail for another reason than memory.
    """
    machine = config.resources
    data = _data(config, rule, wildcards, results)
    seconds = _seconds(config, rule, wildcards, results, data)
    needed = _bytes(config, rule, wildcards, data)
    minutes = machine.unknown_minutes
    if seconds is not None:
        minutes = machine.start_minutes + machine.safety_factor * seconds / 60
    memory = machine.unknown_mb
    if needed is not None:
        memory = machine.start_mb + needed / 2**20
        if recipe_of_job(config, rule, wildcards) is not None and config.device != "cpu":
            memory += machine.cuda_mb
    return Estimate(
        math.ceil(min(attempt * memory, machine.most_mb or math.inf)),
        math.ceil(min(2 ** (attempt - 1) * minutes, machine.most_minutes)),
    )


def _data(config: Config, rule: str, wildcards: Mapping[str, str], results: Path) -> _Data | None:
    """Return what is known of a job's data set before it is read."""
    recipe = recipe_of_job(config, rule, wildcards)
    if recipe is not None:
        name = recipe.dataset
    elif "dataset" in wildcards:
        name = wildcards["dataset"]
    else:
        name = config.recipe_of_ensemble(wildcards["ensemble"]).dataset
    settings = config.datasets[name]
    sizes = dataset_sizes(settings, name, results)
    header = safetensors_header(results / layout.dataset(name))
    try:
        shape, outputs = _example(settings, header)
    except (KeyError, TypeError, ValueError):
        # The job that reads a damaged file says what is wrong with it.
        shape, outputs = _example(settings, {})
    if sizes is None or shape is None or outputs is None:
        return None
    examples = sum(sizes.values())
    match settings:
        case ImageFilesSettings():
            # Paths; images are read by the batch.
            size = 200 * examples
        case TextSettings():
            size = 4 * examples
        case DatasetSettings():
            size = (math.prod(shape) + 8) * examples
        case _:
            size = (FLOAT * math.prod(shape) + 8) * examples
    return _Data(sizes, shape, outputs, size)


def _example(settings: Any, header: Mapping[str, Any]) -> tuple[tuple[int, ...] | None, int | None]:
    """Return the shape of an example and the number of logits, where they are known."""
    metadata = header.get("__metadata__", {})
    match settings:
        case TwoSpiralsSettings():
            return (2,), 2
        case RegressionSettings():
            return (1,), 1
        case TextSettings():
            words = _PTB_WORDS if settings.source == "ptb" else None
            return (), _listed(metadata, "vocabulary") or words
        case ImageFilesSettings(image_size=side):
            classes = _listed(metadata, "classes") or _CLASSES.get(settings.source)
            return (3, side, side), classes
    classes = _listed(metadata, "classes") or _CLASSES.get(settings.source)
    if "train_images" in header:
        _, *sides, channels = header["train_images"]["shape"]
        return (channels, *sides), classes
    shape = _SHAPES.get(settings.source)
    if shape is not None and settings.image_size is not None:
        shape = (shape[0], settings.image_size, settings.image_size)
    return shape, classes


def _listed(metadata: Mapping[str, str], key: str) -> int | None:
    """Return how many entries a list in the metadata of a prepared file has, if there is one."""
    return _length(metadata[key]) if key in metadata else None


@cache
def _length(text: str) -> int:
    return len(json.loads(text))


def _size(recipe: RecipeSettings, data: _Data) -> NetworkSize | None:
    """Return the size of a recipe's network; that of one which cannot be built is unknown."""
    try:
        return network_size(
            recipe.network.name,
            input_shape=data.shape,
            classes=data.outputs,
            options=recipe.network.options,
        )
    except (ValueError, ZeroDivisionError):
        return None


def _seconds(
    config: Config,
    rule: str,
    wildcards: Mapping[str, str],
    results: Path,
    data: _Data | None,
) -> float | None:
    """Return the seconds of a job's work, where they can be estimated."""
    machine = config.resources
    recipe = recipe_of_job(config, rule, wildcards)
    if recipe is None:
        if data is None:
            return None
        test = data.sizes["test"]
        match rule:
            case "prepare_dataset":
                settings = config.datasets[wildcards["dataset"]]
                images = isinstance(settings, DatasetSettings | ImageFilesSettings)
                # Words and points are nothing beside the start.
                return PREPARING_SECONDS * sum(data.sizes.values()) if images else 0.0
            case "corrupt_dataset":
                return CORRUPTING_SECONDS * len(SEVERITIES) * test
        predictions = _members(config, wildcards["ensemble"]) * test * data.outputs
        if rule == "evaluate_ensemble_under_shift":
            corruptions = config.corruptions_of(wildcards["ensemble"])
            predictions *= len(SEVERITIES) * len(corruptions)
        return COMBINING_SECONDS * predictions
    if rule == "measure_distances":
        size = None if data is None else _size(recipe, data)
        points = len(config.geometries[wildcards["geometry"]].points)
        return None if size is None else points * FLOAT * size.parameters / READING
    cost = job_cost(config, rule, wildcards, results)
    if cost.seconds is not None:
        return cost.seconds
    size = None if data is None else _size(recipe, data)
    if size is None or cost.evaluations is None:
        return None
    speed = machine.gpu_teraflops
    if config.device == "cpu":
        speed = config.threads * machine.cpu_teraflops
    batches = cost.evaluations / _batch(config, rule, recipe, wildcards)
    computing = cost.evaluations * size.operations / (1e12 * speed)
    return computing + batches * machine.batch_milliseconds / 1000


def _batch(config: Config, rule: str, recipe: RecipeSettings, wildcards: Mapping[str, str]) -> int:
    """Return how many examples a job passes through the network at a time; of a text, words."""
    training = recipe.training
    if rule == "train_curve":
        training = config.curves[wildcards["curve"]].training or training
    elif rule == "train_simplex":
        training = config.simplexes[wildcards["simplex"]].training
    batch = training.batch_size if rule in VECTORS else config.evaluation.batch_size
    if isinstance(config.datasets[recipe.dataset], TextSettings):
        batch *= training.window
    return batch


def _bytes(
    config: Config, rule: str, wildcards: Mapping[str, str], data: _Data | None
) -> float | None:
    """Return what a job holds in memory beside what every job does, where it can be estimated."""
    if data is None:
        return None
    test = data.sizes["test"]
    recipe = recipe_of_job(config, rule, wildcards)
    if recipe is None:
        match rule:
            case "prepare_dataset":
                # The images one by one, as an array, and as bytes on their way to the file.
                return 3 * data.bytes
            case "corrupt_dataset":
                return 3 * len(SEVERITIES) * math.prod(data.shape) * test
        kept = _members(config, wildcards["ensemble"]) * test * data.outputs * FLOAT
        # The members, and the ensembles made of them.
        return (1 + len(SEVERITIES)) * 2 * kept if "shift" in rule else 2 * kept
    size = _size(recipe, data)
    if size is None:
        return None
    vector = FLOAT * size.parameters
    held: float = data.bytes + _vectors(config, rule, wildcards) * vector
    if rule == "measure_distances":
        return data.bytes + EVALUATED_VECTORS * vector + min(held, DISTANCES)
    held += _predictions(config, rule, wildcards) * test * data.outputs * FLOAT
    if rule in VECTORS and not recipe.training.record_test:
        parts: tuple[str, ...] = ()
    else:
        parts = ("train", "test")
    if not isinstance(config.datasets[recipe.dataset], ImageFilesSettings | TextSettings):
        inputs = FLOAT * math.prod(data.shape)
        held += sum(min(inputs * data.sizes[part], KEPT_INPUTS) for part in parts)
    if config.device == "cpu":
        held += _activations(config, rule, wildcards, recipe, size, data)
    return held


def _vectors(config: Config, rule: str, wildcards: Mapping[str, str]) -> int:
    """Return how many vectors of the network's length a job holds."""
    held = VECTORS.get(rule, EVALUATED_VECTORS)
    if "curve" in wildcards:
        # An aligned network is copied, and its tensors are compared in double precision.
        aligned = config.curves[wildcards["curve"]].alignment is not None
        return held + 2 * _vertices_of_curve(config, wildcards["curve"]) + 3 * aligned
    if "simplex" in wildcards:
        simplex = config.simplexes[wildcards["simplex"]]
        # Trained, also their gradients, momenta and copies.
        each = 4 if rule == "train_simplex" else 2
        return held + each * (len(simplex.modes) + simplex.connectors)
    if "plane" in wildcards:
        third = config.planes[wildcards["plane"]].third
        bends = _vertices_of_curve(config, third) if third in config.curves else 1
        rank = _rank(config, config.planes[wildcards["plane"]].samples)
        return held + 3 + 2 * bends + rank
    if "geometry" in wildcards:
        return held + len(config.geometries[wildcards["geometry"]].points)
    if "ensemble" not in wildcards:
        return held
    name = wildcards["ensemble"]
    ensemble = config.ensembles[name]
    match ensemble:
        case CurveEnsembleSettings() | SubspaceEnsembleSettings():
            held += 2 * _vertices_of_curve(config, ensemble.curve)
        case SimplexEnsembleSettings():
            simplex = config.simplexes[ensemble.simplex]
            held += 2 * (len(simplex.modes) + simplex.connectors)
    return held + _rank(config, name)


def _vertices_of_curve(config: Config, name: str) -> int:
    return 2 + config.curves[name].bends


def _rank(config: Config, ensemble: str | None) -> int:
    """Return the deviations that the Gaussian of an ensemble keeps, and as many scratch vectors."""
    settings = None if ensemble is None else config.ensembles[ensemble]
    return settings.rank + 4 if isinstance(settings, SwagSettings) else 0


def _members(config: Config, name: str) -> int:
    """Return how many members an ensemble has."""
    ensemble = config.ensembles[name]
    match ensemble:
        case SimplexEnsembleSettings():
            points = ensemble.points or config.simplexes[ensemble.simplex].points
            return len(ensemble.seeds) * points
        case CurveEnsembleSettings():
            return ensemble.points
        case SubspaceEnsembleSettings():
            return ensemble.samples
        case NetworkEnsembleSettings(method="weight_average"):
            return len([*ensemble.trainings])
        case SwagEnsembleSettings():
            return ensemble.samples * len([*ensemble.trainings])
        case CurveSwagEnsembleSettings():
            return ensemble.samples
    return len(config.members(name))


def _predictions(config: Config, rule: str, wildcards: Mapping[str, str]) -> int:
    """Return how many networks' predictions a job keeps, those of corrupted images among them."""
    if "ensemble" in wildcards:
        members = _members(config, wildcards["ensemble"])
        return 2 * members * (len(SEVERITIES) if "corruption" in wildcards else 1)
    if rule == "evaluate_simplex":
        return 2 * config.simplexes[wildcards["simplex"]].points
    if rule == "evaluate_curve":
        curve = config.curves[wildcards["curve"]]
        return 2 * curve.points if curve.predictions else 0
    return 2 if rule == "evaluate_network" else 0


def _activations(
    config: Config,
    rule: str,
    wildcards: Mapping[str, str],
    recipe: RecipeSettings,
    size: NetworkSize,
    data: _Data,
) -> float:
    """Return the bytes that a batch takes on its way through the network."""
    batch = _batch(config, rule, recipe, wildcards)
    if isinstance(config.datasets[recipe.dataset], TextSettings) and rule not in VECTORS:
        return 3 * FLOAT * LOGITS_AT_ONCE
    if rule in VECTORS:
        batch = min(batch, data.sizes["train"])
        # What each layer keeps for the backward pass, and the gradients of the widest ones.
        needed = FLOAT * batch * (size.activations + 4 * size.widest)
    else:
        # Of the widest layers and of batch norm; measured, with what convolutions need beside them.
        needed = 8 * FLOAT * min(batch, max(data.sizes.values())) * size.widest
    alignment = config.curves[wildcards["curve"]].alignment if "curve" in wildcards else None
    if alignment is None or alignment.matching == "weights":
        return needed
    # What is compared of two networks, and a layer of it in double precision.
    compared = 2 * (2 * size.activations + 4 * size.widest)
    return max(needed, FLOAT * alignment.batch_size(math.prod(data.shape)) * compared)
