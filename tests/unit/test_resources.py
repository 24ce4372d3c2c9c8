"""What jobs ask for, against what they took and against arithmetic by hand."""

import csv
import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mode_connectivity import layout
from mode_connectivity.config import Config, ResourceSettings, load_config
from mode_connectivity.networks import registry
from mode_connectivity.networks.sizes import network_size
from mode_connectivity.resources import estimate
from mode_connectivity.yaml_files import read_yaml

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "docs" / "measured" / "demo" / "jobs.csv"
"""Peaks and seconds of the demo's jobs, from their run.json files."""
NONE_YET = Path("no", "results")
TRAINING = {"epochs": 100, "batch_size": 100, "learning_rate": 0.1}
BESIDE = 300
"""MB of the two processes of Snakemake that start a job on a node."""
DIGITS = 1437
"""Of the digits, those to train on."""
LAYERS = (64, 500, 10)
"""Of the network `plain`."""
PLAIN = sum(2 * first * second for first, second in pairwise(LAYERS))
"""Operations of its forward pass."""
CONFIG: dict[str, Any] = {
    "datasets": {
        "digits": {"title": "Digits", "source": "digits"},
        "large": {"title": "Large digits", "source": "digits", "image_size": 32},
        "mnist": {"title": "MNIST", "source": "mnist"},
        "words": {"title": "Words", "source": "ptb"},
        "own": {"title": "Own", "source": "image_folder", "folder": "own"},
    },
    "recipes": {
        "plain": {
            "dataset": "digits",
            "network": {"name": "fully_connected", "hidden": [500]},
            "training": TRAINING,
        },
        "mine": {"extends": "plain", "network": {"name": "networks.py:mine"}},
        "of_own": {"extends": "plain", "dataset": "own"},
        "residual": {
            "extends": "plain",
            "dataset": "large",
            "network": {"name": "preresnet", "depth": 20},
        },
        "residual_batches": {"extends": "residual", "training": {"batch_size": 600}},
        "of_mnist": {"extends": "plain", "dataset": "mnist"},
        "text": {
            "dataset": "words",
            "network": {"name": "lstm", "hidden": 4},
            "training": {**TRAINING, "window": 7, "epochs": 3},
        },
    },
    "curves": {
        "one": {"kind": "bezier", "start": "plain/1", "end": "plain/2", "training": {"epochs": 1}},
        "five": {"extends": "one", "bends": 5},
    },
    "simplexes": {
        "two": {"modes": ["plain"], "connectors": 2, "training": {"epochs": 1}},
        "three": {"extends": "two", "connectors": 3},
    },
    "ensembles": {
        "few": {"method": "independent", "recipes": ["plain"], "seeds": [1, 2]},
        "many": {"method": "independent", "recipes": ["plain"], "seeds": [*range(2000)]},
    },
}
TRAIN = ("train_network", {"recipe": "plain", "seed": "1"})


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("networks.py").write_text("def mine(*, input_shape, classes): ...\n")
    return tmp_path


def configured(project: Path, **top: Any) -> Config:
    return load_config({**CONFIG, "device": "cpu", **top}, project)


def test_a_training_asks_for_what_its_arithmetic_takes(project) -> None:
    machine = {
        "start_minutes": 3,
        "safety_factor": 1.5,
        "cpu_teraflops": 1e-6,
        "gpu_teraflops": 2e-6,
        "batch_milliseconds": 200,
    }
    evaluations = 3 * 100 * DIGITS
    batches = evaluations / 100 * 0.2
    for threads, device, speed in ((1, "cpu", 1e6), (4, "cpu", 4e6), (4, "cuda", 2e6)):
        config = configured(project, threads=threads, device=device, resources=machine)
        seconds = evaluations * PLAIN / speed + batches
        assert estimate(config, *TRAIN, NONE_YET).minutes == math.ceil(3 + 1.5 * seconds / 60)


def test_a_history_takes_the_place_of_assumptions(project) -> None:
    results = project / "results"
    history = results / layout.network("plain", 2) / "history.csv"
    history.parent.mkdir(parents=True)
    history.write_text("images_per_second\n10\n")
    config = configured(project, resources={"start_minutes": 1, "safety_factor": 1})
    minutes = estimate(config, *TRAIN, results).minutes
    assert minutes == math.ceil(1 + 100 * DIGITS / 10 / 60)


def test_each_attempt_asks_for_more_up_to_a_limit(project) -> None:
    assumed = ("train_network", {"recipe": "mine", "seed": "1"})
    config = configured(
        project,
        resources={"unknown_minutes": 20, "unknown_mb": 800, "most_minutes": 70, "most_mb": 3000},
    )
    asked = [estimate(config, *assumed, NONE_YET, attempt=attempt) for attempt in (1, 2, 3, 4)]
    assert [each.minutes for each in asked] == [20, 40, 70, 70]
    assert [each.memory_mb for each in asked] == [800, 1600, 2400, 3000]


def test_a_prepared_data_set_tells_what_the_config_does_not(project) -> None:
    config = configured(project, resources={"unknown_mb": 12345, "unknown_minutes": 1234})
    training = ("train_network", {"recipe": "of_own", "seed": "1"})
    results = project / "results"
    asked = estimate(config, *training, results)
    assert (asked.memory_mb, asked.minutes) == (12345, 1234)
    write_header(
        results / layout.dataset("own"),
        {"classes": json.dumps(["a", "b"])},
        train_images=[50, 8, 8, 3],
        train_labels=[50],
        test_images=[50, 8, 8, 3],
        test_labels=[50],
    )
    asked = estimate(config, *training, results)
    assert asked.memory_mb < 1000 and asked.minutes < 10


@pytest.mark.parametrize(
    "metadata", [{"classes": "[" + '"a", '}, {"classes": "7"}, {"classes": None}]
)
def test_a_damaged_data_set_is_left_to_the_job_that_reads_it(project, metadata) -> None:
    config, results = configured(project), project / "results"
    path = results / layout.dataset("digits")
    write_header(path, metadata, train_labels=[DIGITS], test_labels=[360], train_images=[1, 2])
    assert estimate(config, *TRAIN, results) == estimate(config, *TRAIN, NONE_YET)


@pytest.mark.parametrize(
    "network", [{"name": "lenet5"}, {"name": "vision_transformer", "patch": 0}]
)
def test_a_network_that_cannot_be_built_is_left_to_its_job(project, network) -> None:
    recipes = {"plain": {**CONFIG["recipes"]["plain"], "network": network}}
    config = load_config(
        {"datasets": CONFIG["datasets"], "recipes": recipes, "resources": {"unknown_minutes": 77}},
        project,
    )
    assert estimate(config, *TRAIN, NONE_YET).minutes == 77


def test_a_network_of_a_user_is_known_by_its_history_alone(project) -> None:
    results = project / "results"
    history = results / layout.network("mine", 2) / "history.csv"
    history.parent.mkdir(parents=True)
    history.write_text("images_per_second\n10000\n")
    config = configured(project)
    asked = estimate(config, "train_network", {"recipe": "mine", "seed": "1"}, results)
    assert asked.minutes < 10
    assert asked.memory_mb == config.resources.unknown_mb


def test_memory_grows_with_what_a_job_holds(project) -> None:
    """In vectors of the network's length: trained vertices with all that belongs to them."""
    config = configured(project)
    vector = sum(a * b + b for a, b in pairwise(LAYERS)) * 4 / 2**20

    def more(rule: str, key: str, small: str, large: str) -> float:
        sizes = [
            estimate(config, rule, {key: name, "seed": "1"}, NONE_YET).memory_mb
            for name in (small, large)
        ]
        return (sizes[1] - sizes[0]) / vector

    assert more("train_curve", "curve", "one", "five") >= 4
    assert more("train_simplex", "simplex", "two", "three") >= 3
    predictions = (2000 - 2) * (1797 - DIGITS) * 10 * 4 / 2**20
    assert more("evaluate_ensemble", "ensemble", "few", "many") * vector >= predictions


def test_a_batch_is_in_memory_where_there_is_no_gpu(project) -> None:
    size = network_size("preresnet", input_shape=(1, 32, 32), classes=10, options={"depth": 20})
    assert size is not None
    for device, least, most in (("cpu", 1, 2), ("cuda", 0, 0)):
        config = configured(project, device=device)
        few, many = (
            estimate(config, "train_network", {"recipe": name, "seed": "1"}, NONE_YET).memory_mb
            for name in ("residual", "residual_batches")
        )
        activations = 500 * size.activations * 4 / 2**20
        assert least * activations <= many - few <= most * activations


def test_an_evaluation_keeps_its_images(project) -> None:
    """Normalised, four bytes a pixel."""
    recipe = {"recipe": "of_mnist", "seed": "1"}
    config = configured(project, resources={"start_mb": 0})
    asked = estimate(config, "evaluate_network", recipe, NONE_YET).memory_mb
    assert asked >= 70_000 * 28 * 28 * 4 / 2**20


def test_ensembles_under_shift_hold_the_predictions_of_all_severities(project) -> None:
    config, many = configured(project, resources={"start_mb": 0}), {"ensemble": "many"}
    asked = estimate(config, "evaluate_ensemble_under_shift", many, NONE_YET).memory_mb
    assert asked >= 6 * 2000 * (1797 - DIGITS) * 10 * 4 / 2**20


def test_a_batch_of_a_text_is_a_window_of_each_stream(project) -> None:
    machine = {"start_minutes": 0, "safety_factor": 1, "batch_milliseconds": 60_000}
    config = configured(project, resources={**machine, "cpu_teraflops": 1e6, "most_minutes": 1e9})
    asked = estimate(config, "train_network", {"recipe": "text", "seed": "1"}, NONE_YET)
    assert asked.minutes == math.ceil(3 * 3 * 929_589 / (100 * 7))


def test_only_jobs_on_networks_hold_cuda(project) -> None:
    on_cpu, on_gpu = configured(project), configured(project, device="cuda")
    prepare = ("prepare_dataset", {"dataset": "digits"})
    assert estimate(on_cpu, *prepare, NONE_YET) == estimate(on_gpu, *prepare, NONE_YET)
    # A batch is then on the GPU.
    extra = (
        estimate(on_gpu, *TRAIN, NONE_YET).memory_mb - estimate(on_cpu, *TRAIN, NONE_YET).memory_mb
    )
    assert 0.9 * on_gpu.resources.cuda_mb < extra <= on_gpu.resources.cuda_mb


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Config, Path]:
    """The demo's config on a CPU, and results with what its text has been prepared to."""
    results = tmp_path_factory.mktemp("results")
    write_header(
        results / layout.dataset("python_documentation"),
        {"vocabulary": json.dumps([str(word) for word in range(1751)])},
        train_tokens=[84174],
        validation_tokens=[16691],
        test_tokens=[5082],
    )
    return load_config({"device": "cpu"}, ROOT), results


def test_the_jobs_of_the_demo_fit_into_what_they_ask_for(demo) -> None:
    """They ask for no less than they took, and for little more."""
    with MEASURED.open(encoding="utf-8", newline="") as file:
        jobs = list(csv.DictReader(file))
    assert len({job["rule"] for job in jobs}) > 15
    for job in jobs:
        wildcards = dict(pair.split("=") for pair in job["wildcards"].split())
        asked = estimate(demo[0], job["rule"], wildcards, demo[1])
        took = float(job["peak_memory_mb"])
        assert took + BESIDE <= asked.memory_mb <= 3 * took + 500, job
        assert float(job["work_seconds"]) <= 60 * asked.minutes, job


@pytest.mark.parametrize("scale", ["demo", "paper"])
def test_every_network_of_a_scale_is_known(scale, tmp_path) -> None:
    """Before anything is prepared; but of texts that are counted when they are read."""
    unknown = {"unknown_minutes": 1, "unknown_mb": 123456}
    config = load_config({"scale": scale, "resources": unknown}, ROOT)
    for recipe, settings in config.recipes.items():
        if config.datasets[settings.dataset].source == "python_documentation":
            continue
        asked = estimate(config, "train_network", {"recipe": recipe, "seed": "1"}, tmp_path)
        assert asked.minutes >= 5 and asked.memory_mb < 100_000, recipe
        assert settings.network.name in registry.available()


def test_the_config_file_spells_the_defaults_out() -> None:
    assert read_yaml(ROOT / "config.yaml")["resources"] == ResourceSettings().model_dump()


def write_header(path: Path, metadata: dict[str, str], **shapes: list[int]) -> None:
    """Write the header of a prepared data set, which is all that is read of it."""
    tensors = {name: {"dtype": "U8", "shape": shape} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": metadata, **tensors}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text)
