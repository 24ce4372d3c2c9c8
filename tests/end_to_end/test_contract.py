"""What others rely on: which files there are, what opens them, and what is in them."""

import json
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pipeline import CONFIG, RULES, SHAPES, SIDE, TEST, TRAIN, Project
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.networks import registry

MEASURED = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]
TABLES = ("garipov2018_table2_shapes", "garipov2018_curve_ensemble", "garipov2018_trivial_path")
FIGURES = (
    *(f"garipov2018_figure{number}" for number in (1, 2, 3, 4, 7, 8)),
    "garipov2018_trivial_path",
)
CURVES = {
    "perceptron_bezier": 5,
    "perceptron_iterates": 5,
    "perceptron_trivial": 9,
    "narrow_bezier": 5,
    "preresnet8_segment": 5,
    "preresnet8_bezier": 5,
    "preresnet8_polychain": 5,
    "preresnet8_random": 5,
}


def weights(project: Project, name: str) -> dict[str, Tensor]:
    return load_file(project.results / "networks" / name)


def frame(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.results / path)


def build(project: Project, recipe: str) -> nn.Module:
    options = {"depth": 8, "width": 4}
    name = "preresnet"
    if recipe == "perceptron":
        name, options = f"{project.folder / 'networks.py'}:perceptron", {}
    return registry.build(name, input_shape=(1, SIDE, SIDE), classes=len(SHAPES), **options)


def measure_plainly(
    project: Project, network: nn.Module, state: Mapping[str, Tensor], part: str
) -> tuple[float, float]:
    """Return negative log-likelihood and error with nothing but PyTorch."""
    network.load_state_dict(state)
    path = project.results / "datasets" / "shapes.safetensors"
    data = load_file(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    mean, std = (torch.tensor(json.loads(metadata[key])) for key in ("mean", "std"))
    images = data[f"{part}_images"].permute(0, 3, 1, 2).double() / 255
    inputs = (images - mean.view(1, -1, 1, 1)) / std.view(1, -1, 1, 1)
    network.double().eval()
    with torch.no_grad():
        logits = network(inputs)
    labels = data[f"{part}_labels"]
    error = 100 * (logits.argmax(dim=1) != labels).double().mean().item()
    return functional.cross_entropy(logits, labels).item(), error


def flat(state: Mapping[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([state[name].double().flatten() for name in names])


def test_every_rule_has_run(finished) -> None:
    run = (finished.folder.parent / "finished.log").read_text()
    for rule in RULES:
        assert re.search(rf"^(local)?rule {rule}:$", run, re.MULTILINE), rule


def test_nothing_temporary_is_left(finished) -> None:
    hidden = {path.name for path in finished.results.rglob(".*")}
    assert hidden <= {".snakemake_timestamp"}


def test_the_folders_are_those_of_the_contract(finished) -> None:
    found = {
        str(path.relative_to(finished.results)) for path in finished.results.glob("*/perceptron*")
    }
    assert "networks/perceptron" in found and "curves/perceptron_bezier" in found
    names = {path.name for path in finished.results.iterdir()}
    assert names == {
        *("datasets", "networks", "curves", "planes", "ensembles", "tables", "figures", "logs")
    }


def test_the_prepared_data_are_the_users(finished) -> None:
    data = load_file(finished.results / "datasets" / "shapes.safetensors")
    assert {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in data.items()} == {
        "train_images": (torch.uint8, (TRAIN, SIDE, SIDE, 1)),
        "train_labels": (torch.int64, (TRAIN,)),
        "test_images": (torch.uint8, (TEST, SIDE, SIDE, 1)),
        "test_labels": (torch.int64, (TEST,)),
    }
    pictures = {
        path.read_bytes(): SHAPES.index(path.parent.name)
        for path in (finished.folder / "data" / "shapes" / "test").rglob("*.png")
    }
    expected = sorted(
        (np.asarray(Image.open(path)).tobytes(), SHAPES.index(path.parent.name))
        for path in (finished.folder / "data" / "shapes" / "test").rglob("*.png")
    )
    assert len(pictures) == TEST
    found = sorted(
        (image.numpy().tobytes(), int(label))
        for image, label in zip(data["test_images"], data["test_labels"], strict=True)
    )
    assert found == expected


def test_a_state_dict_loads_into_a_plain_network_that_measures_the_same(finished) -> None:
    for seed in (1, 2, 3):
        state = weights(finished, f"preresnet8/seed{seed}/weights.safetensors")
        row = frame(finished, f"networks/preresnet8/seed{seed}/evaluation/metrics.csv").iloc[0]
        for part in ("train", "test"):
            nll, error = measure_plainly(finished, build(finished, "preresnet8"), state, part)
            assert row[f"{part}_nll"] == pytest.approx(nll, rel=1e-5)
            assert row[f"{part}_error"] == pytest.approx(error)
        penalty = row["test_loss"] - row["test_nll"]
        assert penalty == pytest.approx(0.5 * 0.001 * row["norm"] ** 2)


def test_histories_and_snapshots_are_of_the_epochs_asked_for(finished) -> None:
    columns = ["epoch", "learning_rate", "train_nll", "train_error"]
    columns += ["seconds", "images_per_second"]
    for path, epochs, snapshots in (
        ("networks/perceptron/seed1", 150, {2, 20}),
        ("networks/narrow/seed2", 5, set()),
        ("curves/perceptron_bezier", 150, {2, 30}),
        ("curves/preresnet8_polychain", 2, set()),
    ):
        history = frame(finished, f"{path}/history.csv")
        assert list(history.columns) == columns
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        saved = (finished.results / path / "snapshots").glob("*.safetensors")
        assert {file.name for file in saved} == {f"epoch{n}.safetensors" for n in snapshots}
    assert history["train_nll"].notna().all()
    assert frame(finished, "networks/perceptron/seed1/history.csv")["train_error"].iloc[-1] == 0


def test_snapshots_are_state_dicts_on_the_way(finished) -> None:
    final = weights(finished, "perceptron/seed1/weights.safetensors")
    early = weights(finished, "perceptron/seed1/snapshots/epoch2.safetensors")
    late = weights(finished, "perceptron/seed1/snapshots/epoch20.safetensors")
    nlls = [
        measure_plainly(finished, build(finished, "perceptron"), state, "train")[0]
        for state in (early, late, final)
    ]
    assert nlls[0] > nlls[1] > nlls[2]


@pytest.mark.parametrize(
    ("curve", "start", "end"),
    [
        (
            "preresnet8_polychain",
            "preresnet8/seed1/weights.safetensors",
            "preresnet8/seed2/weights.safetensors",
        ),
        (
            "perceptron_iterates",
            "perceptron/seed1/snapshots/epoch2.safetensors",
            "perceptron/seed1/snapshots/epoch20.safetensors",
        ),
    ],
)
def test_vertices_begin_and_end_with_the_networks(finished, curve, start, end) -> None:
    vertices = load_file(finished.results / "curves" / curve / "vertices.safetensors")
    ends = weights(finished, start), weights(finished, end)
    for name, stacked in vertices.items():
        assert torch.equal(stacked[0], ends[0][name])
        assert torch.equal(stacked[-1], ends[1][name])
        assert len(stacked) == 3
    middle = {name: 0.5 * (stacked[0] + stacked[-1]) for name, stacked in vertices.items()}
    assert any(not torch.allclose(stacked[1], middle[name]) for name, stacked in vertices.items())


@pytest.mark.parametrize("curve", CURVES)
def test_a_grid_has_the_columns_of_the_contract(finished, curve) -> None:
    grid = frame(finished, f"curves/{curve}/grid.csv")
    coefficients = [name for name in grid.columns if name.startswith("coefficient_")]
    assert list(grid.columns) == ["t", "length", "distance", *coefficients, "norm", *MEASURED]
    assert np.allclose(grid["t"], np.linspace(0, 1, CURVES[curve]))
    assert grid["length"].is_monotonic_increasing
    assert grid["length"].iloc[0] == grid["distance"].iloc[0] == 0
    assert (grid["length"] >= grid["distance"] * (1 - 1e-9)).all()
    if "trivial" not in curve:
        assert np.allclose(grid[coefficients].sum(axis=1), 1)


@pytest.mark.parametrize(
    ("curve", "ends"),
    [
        ("perceptron_bezier", ("weights", "seed1/weights", "seed2/weights")),
        ("perceptron_trivial", ("weights", "seed1/weights", "seed2/weights")),
        (
            "perceptron_iterates",
            ("snapshots", "seed1/snapshots/epoch2", "seed1/snapshots/epoch20"),
        ),
    ],
)
def test_a_grid_begins_and_ends_as_its_networks_do(finished, curve, ends) -> None:
    grid = frame(finished, f"curves/{curve}/grid.csv")
    for row, name in ((grid.iloc[0], ends[1]), (grid.iloc[-1], ends[2])):
        state = weights(finished, f"perceptron/{name}.safetensors")
        for part in ("train", "test"):
            nll, error = measure_plainly(finished, build(finished, "perceptron"), state, part)
            assert row[f"{part}_nll"] == pytest.approx(nll, rel=1e-4, abs=1e-7)
            assert row[f"{part}_error"] == error
        norm = flat(state, list(state)).norm().item()
        assert row["norm"] == pytest.approx(norm, rel=1e-6)


def test_curves_between_the_same_networks_have_the_same_ends(finished) -> None:
    """Even with batch norm, whose statistics each point gets anew."""
    grids = {
        kind: frame(finished, f"curves/preresnet8_{kind}/grid.csv")
        for kind in ("segment", "bezier", "polychain", "random")
    }
    segment = grids["segment"]
    for kind, grid in grids.items():
        assert grid[MEASURED].iloc[0].equals(segment[MEASURED].iloc[0])
        if kind != "random":
            assert grid[MEASURED].iloc[-1].equals(segment[MEASURED].iloc[-1])
        # The random segment goes nowhere in particular, but as far.
        assert grid["distance"].iloc[-1] == pytest.approx(segment["distance"].iloc[-1], rel=1e-5)
    assert not grids["random"][MEASURED].iloc[-1].equals(segment[MEASURED].iloc[-1])
    states = [weights(finished, f"preresnet8/seed{seed}/weights.safetensors") for seed in (1, 2)]
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    distance = (flat(states[1], names) - flat(states[0], names)).norm().item()
    assert segment["distance"].iloc[-1] == pytest.approx(distance, rel=1e-6)


@pytest.mark.parametrize(
    ("folder", "grid"),
    [
        *((f"curves/preresnet8_{kind}", "grid") for kind in ("segment", "bezier", "random")),
        ("ensembles/preresnet8_polychain", "members"),
        ("networks/preresnet8/seed3/evaluation", "metrics"),
    ],
)
def test_predictions_agree_with_the_grid(finished, folder, grid) -> None:
    measured = frame(finished, f"{folder}/{grid}.csv")
    stored = load_file(finished.results / folder / "predictions.safetensors")
    log_probabilities, labels = stored["log_probabilities"], stored["labels"]
    assert log_probabilities.shape == (len(measured), TEST, len(SHAPES))
    assert torch.allclose(log_probabilities.exp().sum(dim=2), torch.ones(()), atol=1e-5)
    right = log_probabilities.argmax(dim=2) == labels
    assert np.allclose(measured["test_error"], 100 * (~right).double().mean(dim=1).numpy())
    nll = -log_probabilities.double().gather(2, labels.expand(len(measured), -1)[..., None])
    assert np.allclose(measured["test_nll"], nll.mean(dim=(1, 2)).numpy(), rtol=1e-5)
    packed = load_file(finished.results / folder / "correct.safetensors")
    unpacked = np.unpackbits(packed["correct"].numpy(), axis=1, count=int(packed["examples"]))
    assert np.array_equal(unpacked.astype(bool), right.numpy())


def test_predictions_are_kept_only_where_asked_for(finished) -> None:
    kept = {path.parent.name for path in finished.results.glob("curves/*/predictions.safetensors")}
    assert kept == {name for name in CURVES if name.startswith("preresnet8_")}


@pytest.mark.parametrize("third", ["independent", "bezier", "polychain"])
def test_a_plane_is_a_lattice_with_its_points(finished, third) -> None:
    grid = frame(finished, f"planes/preresnet8_{third}/grid.csv")
    coefficients = [f"coefficient_{k}" for k in range(3)]
    assert list(grid.columns) == ["x", "y", "alpha", "beta", *coefficients, "norm", *MEASURED]
    assert len(grid) == 16
    assert np.allclose(grid[coefficients].sum(axis=1), 1)
    lattice = grid["x"].to_numpy().reshape(4, 4), grid["y"].to_numpy().reshape(4, 4)
    assert (np.diff(lattice[0], axis=1) > 0).all() and (np.diff(lattice[1], axis=0) > 0).all()
    points = frame(finished, f"planes/preresnet8_{third}/points.csv")
    assert list(points.columns) == ["label", "kind", "t", "x", "y"]
    assert points["label"].tolist()[:2] == ["preresnet8/1", "preresnet8/2"]
    kinds = points["kind"].tolist()
    assert kinds[:2] == ["endpoint", "endpoint"]
    assert kinds[2:] == (["endpoint"] if third == "independent" else ["bend"] + 61 * ["curve"])
    assert tuple(points.loc[0, ["x", "y"]]) == (0.0, 0.0)
    segment = frame(finished, "curves/preresnet8_segment/grid.csv")
    assert points["x"][1] == pytest.approx(segment["distance"].iloc[-1], rel=1e-6)


@pytest.mark.parametrize(
    "path",
    [
        "networks/perceptron/seed1/run.json",
        "networks/preresnet8/seed1/evaluation/run.json",
        "curves/perceptron_bezier/run.json",
        "curves/perceptron_bezier/grid.json",
        "planes/preresnet8_bezier/run.json",
        "ensembles/preresnet8_polychain/run.json",
    ],
)
def test_a_record_says_what_ran_and_what_it_cost(finished, path) -> None:
    record = json.loads((finished.results / path).read_text())
    assert record["settings"] and record["code"] and record["device"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["work_seconds"] > 0 and record["start_seconds"] > 0
    assert record["peak_memory_mb"]["cpu"] > 50


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_written_three_times(finished, table) -> None:
    folder = finished.results / "tables"
    csv = pd.read_csv(folder / f"{table}.csv")
    assert csv["dataset"].eq("Shapes").all()
    markdown = (folder / f"{table}.md").read_text()
    assert sum(line.startswith("| Shapes") for line in markdown.splitlines()) == len(csv)
    latex = (folder / f"{table}.tex").read_text()
    assert latex.count(r"\begin{tabular") == latex.count(r"\end{tabular") == 1


def test_the_table_of_curves_says_what_the_grids_say(finished) -> None:
    table = frame(finished, "tables/garipov2018_table2_shapes.csv").set_index("curve")
    assert list(table.index) == ["Single", "Segment", "Bezier", "Polychain"]
    assert (table["network"] == "PreResNet-8").all()
    for kind in ("segment", "bezier", "polychain"):
        grid = frame(finished, f"curves/preresnet8_{kind}/grid.csv")
        row = table.loc[kind.capitalize()]
        for name in ("train_loss", "train_error", "test_error"):
            assert row[f"{name}_min"] == pytest.approx(grid[name].min())
            assert row[f"{name}_max"] == pytest.approx(grid[name].max())
        ratio = grid["length"].iloc[-1] / grid["distance"].iloc[-1]
        assert row["length_ratio"] == pytest.approx(ratio)


@pytest.mark.parametrize("figure", FIGURES)
def test_a_figure_is_a_picture_a_document_and_its_numbers(finished, figure) -> None:
    stem = finished.results / "figures" / figure
    with Image.open(stem.with_suffix(".png")) as picture:
        picture.load()
        assert min(picture.size) > 300
        darkest, lightest = picture.convert("L").getextrema()
        assert darkest < 100 < lightest
    assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
    assert len(pd.read_csv(stem.with_suffix(".csv"))) > 1


def test_every_job_has_a_log(finished) -> None:
    logs = {
        str(path.relative_to(finished.results / "logs"))
        for path in (finished.results / "logs").rglob("*.log")
    }
    expected = {
        "datasets/shapes.log",
        *(f"networks/{name}/train.log" for name in ("perceptron/seed1", "narrow/seed2")),
        "networks/preresnet8/seed1/evaluate.log",
        *(f"curves/{name}/evaluate.log" for name in CURVES),
        *(f"curves/{name}_bezier/train.log" for name in ("perceptron", "narrow", "preresnet8")),
        "planes/preresnet8_bezier.log",
        "ensembles/preresnet8_polychain.log",
        *(f"tables/{name}.log" for name in TABLES),
        *(f"figures/{name}.log" for name in FIGURES),
    }
    assert expected <= logs
    lines = finished.log("networks/perceptron/seed1/train.log").splitlines()
    assert len(lines) == 150 and "epoch 150/150" in lines[-1]


def test_the_demos_own_experiments_are_not_run_for_a_selection(finished) -> None:
    assert "digits" not in CONFIG
    assert not list(finished.results.glob("networks/digits*"))
