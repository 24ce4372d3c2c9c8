import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mode_connectivity import job_log
from mode_connectivity.data import prepared_file
from mode_connectivity.data.arrays import Dataset, load_dataset
from mode_connectivity.data.token_stream import TokenStream
from mode_connectivity.training.networks import Workspace, open_workspace
from mode_connectivity.training.recipes import RecipeSettings

# Neither size is a multiple of 8 or of the batch sizes of the tests, and images are not square.
TRAIN, TEST = 70, 45
HEIGHT, WIDTH, CHANNELS = 6, 8, 3
CLASSES = ("cat", "dog", "hen", "owl")
WORDS = ("<eos>", "a", "b", "c", "d", "e", "f")
TOKENS = {"train": 230, "validation": 97, "test": 110}

SMALL_NETWORKS = Path(__file__).with_name("small_networks.py")


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture
def told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[str]]:
    """Let long work say after every step how far it is; return what its log says it is at."""
    monkeypatch.setattr(job_log, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level("INFO", "mode_connectivity")

    def places() -> list[str]:
        found = map(job_log.Progress.parse, caplog.messages)
        return [progress.where for progress in found if progress is not None]

    return places


@pytest.fixture(scope="session")
def dataset_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set whose classes have patterns of their own under much noise."""
    random = np.random.default_rng(0)
    patterns = random.uniform(0, 255, (len(CLASSES), HEIGHT, WIDTH, CHANNELS))
    arrays = {}
    for split, count in (("train", TRAIN), ("test", TEST)):
        labels = random.integers(0, len(CLASSES), count)
        images = 0.6 * patterns[labels] + 0.4 * random.uniform(
            0, 255, (count, HEIGHT, WIDTH, CHANNELS)
        )
        arrays[f"{split}_images"] = images.astype(np.uint8)
        arrays[f"{split}_labels"] = labels.astype(np.int64)
    path = tmp_path_factory.mktemp("datasets") / "patterns.safetensors"
    metadata = {
        "settings": "{}",
        "classes": json.dumps(CLASSES),
        "mean": json.dumps([0.5, 0.4, 0.6]),
        "std": json.dumps([0.2, 0.25, 0.3]),
    }
    prepared_file.write(path, arrays, metadata)
    return path


@pytest.fixture
def dataset(dataset_path: Path) -> Dataset:
    return load_dataset(dataset_path, torch.device("cpu"))


@pytest.fixture(scope="session")
def text_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared text in which a word mostly depends on the one before."""
    random = np.random.default_rng(1)
    arrays = {}
    for part, count in TOKENS.items():
        tokens = np.zeros(count, dtype=np.int32)
        for place in range(1, count):
            likely = (3 * tokens[place - 1] + 1) % len(WORDS)
            tokens[place] = likely if random.random() < 0.8 else random.integers(len(WORDS))
        arrays[f"{part}_tokens"] = tokens
    path = tmp_path_factory.mktemp("texts") / "words.safetensors"
    metadata = {"settings": "{}", "vocabulary": json.dumps(WORDS)}
    prepared_file.write(path, arrays, metadata, format=prepared_file.TEXT_FORMAT)
    return path


@pytest.fixture
def text(text_path: Path) -> Dataset:
    dataset = load_dataset(text_path, torch.device("cpu"))
    assert isinstance(dataset.train, TokenStream)
    return dataset


@pytest.fixture
def make_recipe() -> Callable[..., RecipeSettings]:
    """A recipe for one of the small networks; further arguments are its training's."""

    def make(network: str = "plain", **training: Any) -> RecipeSettings:
        return RecipeSettings.model_validate(
            {
                "dataset": "patterns",
                "network": {"name": f"{SMALL_NETWORKS}:{network}"},
                "initialisation": {"scheme": "torch"},
                "training": {"epochs": 3, "batch_size": 16, "learning_rate": 0.05, **training},
            }
        )

    return make


@pytest.fixture
def make_workspace(
    make_recipe: Callable[..., RecipeSettings], dataset_path: Path, text_path: Path
) -> Callable[..., Workspace]:
    """A small network with random weights and statistics, and its data set."""

    def make(network: str = "plain", *, seed: int = 0) -> Workspace:
        dataset = text_path if network == "recurrent" else dataset_path
        return open_workspace(make_recipe(network), dataset, torch.device("cpu"), seed=seed)

    return make
