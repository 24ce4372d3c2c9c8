"""Commands for networks of a user's own, as they are given on a command line."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mode_connectivity.__main__ import main

CONFIG = str(Path(__file__).parents[3] / "config.yaml")
NETWORKS = """
from torch import nn


def two_layers(*, input_shape: tuple[int, int, int], classes: int, hidden: int = 4) -> nn.Module:
    channels, height, width = input_shape
    pixels = channels * height * width
    return nn.Sequential(
        nn.Flatten(), nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, classes)
    )


def no_network(*, input_shape: tuple[int, int, int], classes: int) -> int:
    return 1
"""
SIDE, HIDDEN = 5, 6

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: pictures, a network, and weights of two of its kind."""
    random = np.random.default_rng(0)
    for part, count in (("train", 8), ("test", 6)):
        for level, name in ((60, "daisy"), (180, "tulip")):
            place = tmp_path / "flowers" / part / name
            place.mkdir(parents=True)
            for index in range(count):
                pixels = random.normal(level, 30, (SIDE, SIDE)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{index}.png")
    (tmp_path / "my_networks.py").write_text(NETWORKS)
    (tmp_path / "broken.py").write_text("import no_such_package\n\n\n" + NETWORKS)
    for seed, name in enumerate("abc"):
        torch.manual_seed(seed)
        state = {
            "1.weight": torch.randn(HIDDEN, SIDE * SIDE) / SIDE,
            "1.bias": torch.randn(HIDDEN),
            "3.weight": torch.randn(2, HIDDEN),
            "3.bias": torch.randn(2),
        }
        save_file(state, tmp_path / f"{name}.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command on the user's network and data; return status, output and errors."""

    def command(*arguments: str, known: bool = True) -> tuple[int, str, str]:
        own = ["--network", "my_networks.py:two_layers", "--option", f"hidden={HIDDEN}"]
        own += ["--data", "flowers"]
        try:
            status = main([*arguments, *(own if known else [])])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return command


FILES = ("a.safetensors", "b.safetensors")


def test_connect(run: Command, folder: Path) -> None:
    status, output, errors = run(
        "connect", *FILES, "--curves", "polychain", "aligned_segment", "--epochs", "2",
        "--points", "5", "--threads", "1",
    )  # fmt: skip
    assert status == 0, errors
    table = pd.read_csv(folder / "connected/table.csv")
    assert table["curve"].tolist() == ["Single", "Segment", "Polychain", "Aligned segment"]
    assert set(table["dataset"]) == {"flowers"} and set(table["network"]) == {"two_layers"}
    assert "| flowers" in output and "Polychain" in output
    assert output.endswith("The table, barriers.csv and curves.png are in connected.\n")
    history = pd.read_csv(folder / "connected/polychain/history.csv")
    assert history["epoch"].tolist() == [1, 2]
    record = json.loads((folder / "connected/run.json").read_text())
    assert record["command"] == "connect" and record["threads"] == 1
    assert record["arguments"]["start"] == "a.safetensors" and record["device"] == "cpu"
    log = (folder / "connected/log.txt").read_text()
    assert "epoch 2/2" in log and "done" in log.splitlines()[-1]
    status, again, _ = run(
        "connect", *FILES, "--curves", "polychain", "aligned_segment", "--epochs", "2",
        "--points", "5", "--threads", "1",
    )  # fmt: skip
    assert again == output
    assert "epoch" not in (folder / "connected/log.txt").read_text()


def test_evaluate(run: Command, folder: Path) -> None:
    status, output, errors = run("evaluate", *FILES, "--weight-decay", "0")
    assert status == 0, errors
    table = pd.read_csv(folder / "evaluated/metrics.csv")
    assert table["network"].tolist() == list(FILES)
    assert table["train_loss"].tolist() == table["train_nll"].tolist()
    assert "| a.safetensors |" in output


def test_the_weight_decay_is_in_the_loss(run: Command, folder: Path) -> None:
    run("evaluate", *FILES)
    table = pd.read_csv(folder / "evaluated/metrics.csv")
    excess = 0.5 * 5e-4 * table["norm"] ** 2
    assert (table["test_loss"] - table["test_nll"]).tolist() == pytest.approx(excess.tolist())


def test_plane(run: Command, folder: Path) -> None:
    status, output, errors = run("plane", *FILES, "c.safetensors", "--points", "3")
    assert status == 0, errors
    assert len(pd.read_csv(folder / "plane/grid.csv")) == 9
    assert output == "grid.csv and plane.png are in plane.\n"


def test_align(run: Command, folder: Path) -> None:
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    state = load_file("a.safetensors")
    permuted = {
        "1.weight": state["1.weight"][order],
        "1.bias": state["1.bias"][order],
        "3.weight": state["3.weight"][:, order].contiguous(),
        "3.bias": state["3.bias"],
    }
    save_file(permuted, "permuted.safetensors")
    status, output, errors = run("align", "a.safetensors", "permuted.safetensors")
    assert status == 0, errors
    aligned = load_file("aligned/weights.safetensors")
    assert all(torch.equal(aligned[name], state[name]) for name in state)
    assert output.startswith("Distance in weight space: ")
    assert " before, 0 after. The permuted network is aligned/weights.safetensors." in output


def test_a_prepared_data_set_is_taken_as_it_is(run: Command, folder: Path) -> None:
    run("evaluate", *FILES)
    status, _, errors = run(
        "evaluate", *FILES, "--network", "my_networks.py:two_layers", "--option",
        f"hidden={HIDDEN}", "--data", "evaluated/dataset.safetensors", "--output", "again",
        known=False,
    )  # fmt: skip
    assert status == 0, errors
    assert not (folder / "again/dataset.safetensors").exists()
    assert (folder / "again/metrics.csv").read_text() == (
        folder / "evaluated/metrics.csv"
    ).read_text()


def test_a_recipe_of_the_config_says_it_all(run: Command, folder: Path) -> None:
    config = """
datasets: {flowers: {title: Flowers, source: image_folder, folder: flowers}}
recipes:
  flowers:
    dataset: flowers
    title: Two layers
    network: {name: "my_networks.py:two_layers", hidden: 6}
    training: {epochs: 3, batch_size: 5, learning_rate: 0.01, snapshots: all}
"""
    (folder / "mine.yaml").write_text(config)
    status, output, errors = run(
        "connect", *FILES, "--recipe", "flowers", "--points", "3", "--epochs", "1",
        "--configfile", "mine.yaml", "--config", f"data={folder}", known=False,
    )  # fmt: skip
    assert status == 0, errors
    assert "| Flowers" in output and "| Two layers |" in output
    settings = json.loads((folder / "connected/bezier/settings.json").read_text())
    training = settings["curve"]["training"]
    assert (training["epochs"], training["batch_size"]) == (1, 5)
    assert training["snapshots"] == []


@pytest.mark.parametrize(
    ("arguments", "known", "expected"),
    [
        (["evaluate", *FILES], False, "error: --network and --data missing: say which network"),
        (
            ["evaluate", *FILES, "--network", "my_networks.py:two_layer", "--data", "flowers"],
            False,
            "my_networks.py defines no function 'two_layer' at its top level; functions: "
            "two_layers, no_network; did you mean 'two_layers'?",
        ),
        (
            ["evaluate", *FILES, "--network", "my_network.py:two_layers", "--data", "flowers"],
            False,
            "my_network.py; did you mean 'my_networks.py'?",
        ),
        (
            ["evaluate", *FILES, "--network", "nowhere.at_all:network", "--data", "flowers"],
            False,
            "there is no Python module 'nowhere.at_all' on Python's path",
        ),
        (
            ["evaluate", *FILES, "--network", "broken.py:two_layers", "--data", "flowers"],
            False,
            "broken.py, line 1: ModuleNotFoundError: No module named 'no_such_package'",
        ),
        (
            ["evaluate", *FILES, "--network", "my_networks.py:no_network", "--data", "flowers"],
            False,
            "the function returned int; it must return a torch.nn.Module",
        ),
        (["evaluate", *FILES, "--option", "hiden=4"], True, "did you mean 'hidden'?"),
        (["evaluate", *FILES, "--option", "hidden"], True, "error: --option: 'hidden' is no KEY"),
        (
            ["evaluate", *FILES, "--network", "vgg16", "--data", "flower"],
            False,
            "error: --data: there is no folder or file flower; name one, or one of digits, mnist",
        ),
        (
            ["evaluate", *FILES, "--network", "my_networks.py:two_layers", "--data", "."],
            False,
            "no images found. Looked for",
        ),
        (["evaluate", *FILES, "--recipe", "x"], True, "error: --recipe x says what --network says"),
        (["evaluate", *FILES, "--config", "scale=demo"], True, "--config goes with --recipe"),
        (
            ["evaluate", *FILES, "--recipe", "digits_vgg", "--configfile", CONFIG],
            False,
            "error: --recipe: 'digits_vgg' is no recipe of the config; recipes: ",
        ),
        (["evaluate", "a.safetensors", "other.safetensors"], True, "1.weight is missing"),
        (["evaluate", "a.pt"], True, "a.pt: weights are read from .safetensors only"),
        (["connect", *FILES, "--learning-rate", "-1"], True, "--learning-rate: found -1.0"),
        (["connect", *FILES, "--epochs", "0"], True, "--epochs: found 0"),
        (["connect", *FILES, "--points", "1"], True, "curve segment.points: found 1"),
        (["connect", *FILES, "--curves", "spline"], True, "invalid choice: 'spline'"),
        (["connect", "a.safetensors", "a.safetensors"], True, "the same weights"),
        (["connect", "a.safetensors", "other.safetensors"], True, "do not fit the network"),
        (["plane", *FILES, "c.safetensors", "--points", "1"], True, "plane.points: found 1"),
        (["align", *FILES, "--examples", "0"], True, "alignment.examples: found 0"),
        (["evaluate", *FILES, "--device", "cuda"], True, "CUDA"),
    ],
)  # fmt: skip
def test_mistakes_are_told(run: Command, arguments: list[str], known: bool, expected: str) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    status, output, errors = run(*arguments, known=known)
    assert status in (1, 2)
    assert output == ""
    assert expected in errors
    assert "Traceback" not in errors
