"""What others rely on: which files there are, what opens them, and what is in them."""

import json
import re
from collections.abc import Mapping

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from pipeline import CONFIG, RULES, SHAPES, SIDE, TEST, TRAIN, WORDS, Project
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.networks import registry

MEASURED = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]
TEXT_MEASURED = [
    f"{part}_{name}"
    for part in ("train", "validation", "test")
    for name in ("loss", "nll", "error")
]
TABLES = {
    "garipov2018_table1_shapes": "Shapes",
    "garipov2018_table2_shapes": "Shapes",
    "garipov2018_table3_words": "Words",
    "garipov2018_imagenet": "Shapes",
    "garipov2018_curve_ensemble": "Shapes",
    "garipov2018_trivial_path": "Shapes",
    "gotmare2018_modes_shapes": "Shapes",
}
FIGURES = (
    *(f"garipov2018_figure{number}" for number in range(1, 9)),
    "garipov2018_trivial_path",
    *(f"gotmare2018_figure{number}" for number in (1, 2, 3, 4, 7)),
)
CURVES = {
    "perceptron_bezier": 5,
    "perceptron_iterates": 5,
    "perceptron_trivial": 9,
    "narrow_bezier": 5,
    "narrow_sgdr_segment": 3,
    "narrow_sgdr_polychain": 3,
    "narrow_elsewhere_polychain": 3,
    "preresnet8_segment": 5,
    "preresnet8_bezier": 5,
    "preresnet8_polychain": 5,
    "preresnet8_random": 5,
    "lstm_segment": 3,
    "lstm_bezier": 3,
    "lstm_polychain": 3,
}
ENSEMBLES = {
    "preresnet8_independent": [f"preresnet8/{seed}" for seed in (1, 2, 3)],
    "preresnet8_snapshot": [f"preresnet8_snapshot/{s}@{e}" for s in (1, 2, 3) for e in (2, 5)],
    "preresnet8_fast_geometric": [
        f"preresnet8_fge{branch}/{seed}@{epoch}"
        for seed in (1, 2, 3)
        for branch in (1, 2)
        for epoch in (1, 3)
    ],
    "preresnet8_weight_average": [f"preresnet8_fge2/{seed}" for seed in (1, 2, 3)],
    "narrow_finetuned": [f"narrow_finetuned/1@{epoch}" for epoch in (0, 1, 3)],
}
"""Their members, in order."""
EPOCHS = {
    "preresnet8_independent": [3],
    "preresnet8_snapshot": [2, 5],
    "preresnet8_fast_geometric": [2, 4, 3, 5],
    "preresnet8_weight_average": [5],
    "narrow_finetuned": [5, 6, 8],
}
"""Of one seed: all that the members were trained for, those before a branch included."""


def weights(project: Project, name: str) -> dict[str, Tensor]:
    return load_file(project.results / "networks" / name)


def frame(project: Project, path: str) -> pd.DataFrame:
    return pd.read_csv(project.results / path)


def build(project: Project, recipe: str) -> nn.Module:
    options = {"depth": 8, "width": 4}
    name = "preresnet"
    if recipe.startswith(("perceptron", "narrow")):
        name = f"{project.folder / 'networks.py'}:perceptron"
        options = {"width": 0.5} if recipe.startswith("narrow") else {}
    return registry.build(name, input_shape=(1, SIDE, SIDE), classes=len(SHAPES), **options)


def predict_plainly(
    project: Project, network: nn.Module, state: Mapping[str, Tensor], part: str
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and labels with nothing but PyTorch."""
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
        return functional.log_softmax(network(inputs), dim=1), data[f"{part}_labels"]


def measure_plainly(
    project: Project, network: nn.Module, state: Mapping[str, Tensor], part: str
) -> tuple[float, float]:
    """Return negative log-likelihood and error with nothing but PyTorch."""
    log_probabilities, labels = predict_plainly(project, network, state, part)
    error = 100 * (log_probabilities.argmax(dim=1) != labels).double().mean().item()
    return functional.nll_loss(log_probabilities, labels).item(), error


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
        *("datasets", "networks", "curves", "simplexes", "planes", "geometries", "ensembles"),
        *("tables", "figures", "logs", "report.html"),
        *("claims.csv", "claims_details.csv", "claims.md"),
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


def test_the_prepared_text_is_the_users(finished) -> None:
    path = finished.results / "datasets" / "words.safetensors"
    with safe_open(path, framework="pt") as file:
        vocabulary = json.loads(file.metadata()["vocabulary"])
    assert sorted(vocabulary) == sorted([*WORDS, "<eos>"])
    for part, tokens in load_file(path).items():
        name = {"train_tokens": "train", "validation_tokens": "valid", "test_tokens": "test"}[part]
        text = (finished.folder / "data" / "words" / f"{name}.txt").read_text()
        expected = text.replace("\n", " <eos> ").split()
        assert [vocabulary[token] for token in tokens.tolist()] == expected


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
    columns = ["epoch", "iteration", "learning_rate", "train_nll", "train_error"]
    columns += ["seconds", "images_per_second"]
    for path, epochs, snapshots in (
        ("networks/perceptron/seed1", 150, {2, 20}),
        ("networks/narrow/seed2", 5, set()),
        ("networks/narrow_finetuned/seed1", 3, {0, 1, 3}),
        ("networks/preresnet8/seed3", 3, {1, 2}),
        ("networks/preresnet8_snapshot/seed1", 5, {2, 5}),
        ("networks/preresnet8_fge1/seed2", 3, {1, 3}),
        ("curves/perceptron_bezier", 150, {2, 30}),
        ("curves/preresnet8_polychain", 2, {1, 2}),
    ):
        history = frame(finished, f"{path}/history.csv")
        assert list(history.columns) == columns
        assert history["epoch"].tolist() == list(range(1, epochs + 1))
        saved = (finished.results / path / "snapshots").glob("*.safetensors")
        states = ("", ".optimiser") if path == "networks/preresnet8/seed3" else ("",)
        assert {file.name for file in saved} == {
            f"epoch{n}{state}.safetensors" for n in snapshots for state in states
        }
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


def test_a_history_with_test_errors_says_what_the_members_do(finished) -> None:
    history = frame(finished, "networks/preresnet8_fge2/seed2/history.csv")
    assert list(history.columns) == [
        *("epoch", "iteration", "learning_rate", "train_nll", "train_error"),
        *("test_nll", "test_error", "distance", "seconds", "images_per_second"),
    ]
    assert history["epoch"].tolist() == [0.5, 1, 1.5, 2, 2.5, 3]
    assert history["iteration"].tolist() == [2, 4, 6, 8, 10, 12]
    members = frame(finished, "ensembles/preresnet8_fast_geometric/members.csv")
    members = members.set_index("member")
    start = weights(finished, "preresnet8/seed2/snapshots/epoch2.safetensors")
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    for epoch in (1, 3):
        row = history.set_index("epoch").loc[epoch]
        for name in ("test_nll", "test_error"):
            expected = members.loc[f"preresnet8_fge2/2@{epoch}", name]
            assert row[name] == pytest.approx(expected, rel=1e-5)
        own = weights(finished, f"preresnet8_fge2/seed2/snapshots/epoch{epoch}.safetensors")
        distance = (flat(own, names) - flat(start, names)).norm().item()
        assert row["distance"] == pytest.approx(distance, rel=1e-5)


def test_a_finetuned_network_begins_with_the_one_it_continues(finished) -> None:
    start = weights(finished, "narrow_finetuned/seed1/snapshots/epoch0.safetensors")
    end = weights(finished, "narrow/seed1/weights.safetensors")
    assert all(torch.equal(start[name], end[name]) for name in end)


@pytest.mark.parametrize("branch", [1, 2])
def test_a_branch_begins_where_a_checkpoint_was(finished, branch) -> None:
    """No more than an epoch of small steps away, and with the optimiser's state."""
    folder = f"preresnet8/seed1/snapshots/epoch{branch}"
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    start = flat(weights(finished, f"{folder}.safetensors"), names)
    first = f"preresnet8_fge{branch}/seed1/snapshots/epoch1.safetensors"
    step = (flat(weights(finished, first), names) - start).norm().item()
    other = flat(weights(finished, first.replace("seed1", "seed2")), names)
    assert 0 < step < 0.1 * (other - start).norm().item()
    velocity = weights(finished, f"{folder}.optimiser.safetensors")
    assert velocity and all(value.isfinite().all() for value in velocity.values())


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


def test_a_curve_between_files_of_weights_has_them_at_its_ends(finished) -> None:
    """Bit for bit; and the training of the recipe they are of has no part in it."""
    folder = finished.results / "curves" / "narrow_elsewhere_polychain"
    vertices = load_file(folder / "vertices.safetensors")
    grid = pd.read_csv(folder / "grid.csv")
    for index, name in ((0, "mine"), (-1, "yours")):
        state = load_file(finished.folder / "weights" / f"{name}.safetensors")
        assert vertices.keys() == state.keys()
        for key, tensor in state.items():
            assert torch.equal(vertices[key][index], tensor)
        for part in ("train", "test"):
            nll, error = measure_plainly(finished, build(finished, "narrow"), state, part)
            assert grid[f"{part}_nll"].iloc[index] == pytest.approx(nll, rel=1e-5)
            assert grid[f"{part}_error"].iloc[index] == pytest.approx(error)
    record = json.loads((folder / "run.json").read_text())
    for name in ("mine", "yours"):
        assert f"weights/{name}.safetensors" in json.dumps(record)
    assert "narrow/1" not in json.dumps(record)


@pytest.mark.parametrize("curve", CURVES)
def test_a_grid_has_the_columns_of_the_contract(finished, curve) -> None:
    grid = frame(finished, f"curves/{curve}/grid.csv")
    coefficients = [name for name in grid.columns if name.startswith("coefficient_")]
    measured = TEXT_MEASURED if curve.startswith("lstm") else MEASURED
    assert list(grid.columns) == ["t", "length", "distance", *coefficients, "norm", *measured]
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


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_members_are_listed_in_the_order_of_their_predictions(finished, ensemble) -> None:
    members = frame(finished, f"ensembles/{ensemble}/members.csv")
    assert list(members.columns) == [
        *("member", "recipe", "seed", "epoch", "norm", "distance"),
        *("test_loss", "test_nll", "test_error"),
    ]
    assert members["member"].tolist() == ENSEMBLES[ensemble]
    names = members["recipe"] + "/" + members["seed"].astype(str)
    assert names.tolist() == [name.split("@")[0] for name in ENSEMBLES[ensemble]]
    runs = members["seed"].nunique()
    assert members["epoch"].tolist() == runs * EPOCHS[ensemble]
    stored = load_file(finished.results / "ensembles" / ensemble / "predictions.safetensors")
    assert stored["log_probabilities"].dtype == torch.float32
    assert stored["log_probabilities"].shape == (len(members), TEST, len(SHAPES))
    assert stored["labels"].dtype == torch.int64
    recipe = "narrow" if ensemble == "narrow_finetuned" else "preresnet8"
    plain = [name for name, _ in build(finished, recipe).named_parameters()]
    previous, training = None, None
    for index, name in enumerate(ENSEMBLES[ensemble]):
        before, (training, _, epoch) = training, name.partition("@")
        path = finished.results / "networks" / training.replace("/", "/seed")
        path /= f"snapshots/epoch{epoch}.safetensors" if epoch else "weights.safetensors"
        if ensemble == "preresnet8_weight_average":
            file = training.replace("/", "_seed")
            path = finished.results / "ensembles" / ensemble / "weights" / f"{file}.safetensors"
        state = load_file(path)
        expected, labels = predict_plainly(finished, build(finished, recipe), state, "test")
        assert torch.equal(stored["labels"], labels)
        found = stored["log_probabilities"][index].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        vector = flat(state, plain)
        row = members.loc[index]
        assert row["norm"] == pytest.approx(vector.norm().item(), rel=1e-6)
        penalty = row["test_loss"] - row["test_nll"]
        assert penalty == pytest.approx(0.5 * 0.001 * row["norm"] ** 2)
        if training == before:
            step = (vector - previous).norm().item()
            assert row["distance"] == pytest.approx(step, rel=1e-5)
        else:
            assert np.isnan(row["distance"])
        previous = vector


def test_a_simplex_is_what_its_vertices_and_predictions_say(finished) -> None:
    folder = finished.results / "simplexes" / "narrow_espro" / "seed1"
    vertices = load_file(folder / "vertices.safetensors")
    state = weights(finished, "narrow/seed1/weights.safetensors")
    names = [name for name, _ in build(finished, "narrow").named_parameters()]
    assert sorted(vertices) == sorted(names)
    for name in names:
        assert vertices[name].shape == (2, *state[name].shape)
        assert torch.equal(vertices[name][0], state[name])
    ends = [flat({name: vertices[name][k] for name in names}, names) for k in (0, 1)]
    volume = pd.read_csv(folder / "volumes.csv").iloc[0]
    assert volume[["connectors", "simplexes"]].tolist() == [1, 1]
    assert volume["volume"] == pytest.approx((ends[1] - ends[0]).norm().item(), rel=1e-5)
    assert volume["volume"] == volume["first_volume"] > 0
    assert 10 ** volume["log10_volume"] == pytest.approx(volume["volume"])
    assert volume["regularisation"] >= 1e-8
    history = pd.read_csv(folder / "history.csv")
    assert history[["connector", "epoch"]].to_numpy().tolist() == [[1, 1], [1, 2]]
    measured = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]
    grid = pd.read_csv(folder / "connectors1" / "grid.csv")
    assert list(grid) == ["sample", "coefficient_0", "coefficient_1", "norm", *measured]
    stored = load_file(folder / "connectors1" / "predictions.safetensors")
    probabilities = []
    for index, row in grid.iterrows():
        first, second = row["coefficient_0"], row["coefficient_1"]
        assert first + second == pytest.approx(1) and 0 < first < 1
        point = {name: first * vertices[name][0] + second * vertices[name][1] for name in names}
        expected, labels = predict_plainly(finished, build(finished, "narrow"), point, "test")
        found = stored["log_probabilities"][index].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        probabilities.append(expected.exp())
        error = 100 * (expected.argmax(dim=1) != labels).double().mean().item()
        assert row["test_error"] == pytest.approx(error)
    members = frame(finished, "ensembles/narrow_espro/members.csv")
    assert members["member"].tolist() == [f"narrow_espro/1:1:{n}" for n in (1, 2, 3)]
    assert members["test_nll"].tolist() == grid["test_nll"].tolist()
    metrics = frame(finished, "ensembles/narrow_espro/metrics.csv").iloc[0]
    mean = torch.stack(probabilities).mean(dim=0)
    assert metrics["members"] == 3
    assert metrics["test_error"] == pytest.approx(
        100 * (mean.argmax(dim=1) != labels).double().mean().item()
    )


def test_averaged_weights_are_the_means_of_the_snapshots(finished) -> None:
    folder = finished.results / "ensembles" / "preresnet8_weight_average" / "weights"
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    for seed in (1, 2, 3):
        average = load_file(folder / f"preresnet8_fge2_seed{seed}.safetensors")
        build(finished, "preresnet8").load_state_dict(average)
        snapshots = [
            weights(finished, f"preresnet8_fge2/seed{seed}/snapshots/epoch{epoch}.safetensors")
            for epoch in (1, 3)
        ]
        for name in names:
            mean = (snapshots[0][name].double() + snapshots[1][name].double()) / 2
            torch.testing.assert_close(average[name], mean.float(), rtol=1e-6, atol=1e-8)
        (statistics, *_) = [name for name in average if name.endswith("running_var")]
        assert not torch.equal(average[statistics], snapshots[1][statistics])


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_ensembles_are_what_the_predictions_of_their_members_say(finished, ensemble) -> None:
    folder = finished.results / "ensembles" / ensemble
    metrics, members = (pd.read_csv(folder / f"{name}.csv") for name in ("metrics", "members"))
    runs = [([seed], 1) for seed in members["seed"].unique()]
    groups = [*runs, ([1, 2], 2)] if len(runs) == 3 else runs
    assert metrics["budget"].tolist() == [budget for _, budget in groups]
    assert metrics["run"].tolist() == [*range(1, len(runs) + 1), 1][: len(groups)]
    assert metrics["seeds"].astype(str).tolist() == [
        " ".join(map(str, seeds)) for seeds, _ in groups
    ]
    stored = load_file(folder / "predictions.safetensors")
    probabilities, labels = stored["log_probabilities"].double().exp().numpy(), stored["labels"]
    kept = load_file(folder / "ensembles.safetensors")
    assert kept["correct"].shape == (len(groups), TEST // 8)
    assert kept["examples"].tolist() == [TEST]
    for name in ("log_likelihood", "log_likelihood_scaled"):
        assert kept[name].dtype == torch.float32 and kept[name].shape == (len(groups), TEST)
    correct = np.unpackbits(kept["correct"].numpy(), axis=1, count=TEST)
    for row, (seeds, _) in enumerate(groups):
        chosen = members["seed"].isin(seeds).to_numpy()
        mean = probabilities[chosen].mean(axis=0)
        right = mean.argmax(axis=1) == labels.numpy()
        likelihood = np.log(mean[np.arange(TEST), labels.numpy()])
        measured = metrics.loc[row]
        assert measured["members"] == chosen.sum()
        assert measured["test_error"] == pytest.approx(100 * (1 - right.mean()))
        assert np.array_equal(correct[row].astype(bool), right)
        assert measured["test_nll"] == pytest.approx(-likelihood.mean())
        assert np.allclose(kept["log_likelihood"][row], likelihood, rtol=1e-5)
        brier = ((mean - np.eye(len(SHAPES))[labels.numpy()]) ** 2).sum(axis=1).mean()
        assert measured["test_brier"] == pytest.approx(brier)
        scaled = -kept["log_likelihood_scaled"][row].double().mean().item()
        assert measured["test_nll_scaled"] == pytest.approx(scaled, rel=1e-5)
        for name in ("test_error", "test_nll"):
            expected = members.loc[chosen, name].mean()
            assert measured[f"member_{name}"] == pytest.approx(expected, rel=1e-5)
        classes = probabilities[chosen].argmax(axis=2)
        pairs = [(a, b) for a in range(len(classes)) for b in range(a)]
        if pairs:
            differing = [100 * np.mean(classes[a] != classes[b]) for a, b in pairs]
            assert measured["disagreement"] == pytest.approx(np.mean(differing))


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
    assert list(points.columns) == ["label", "kind", "t", "x", "y", "epoch", "distance"]
    assert points["label"].tolist()[:2] == ["preresnet8/1", "preresnet8/2"]
    kinds = points["kind"].tolist()
    assert kinds[:2] == ["endpoint", "endpoint"]
    assert kinds[2:] == (["endpoint"] if third == "independent" else ["bend"] + 61 * ["curve"])
    assert tuple(points.loc[0, ["x", "y"]]) == (0.0, 0.0)
    segment = frame(finished, "curves/preresnet8_segment/grid.csv")
    assert points["x"][1] == pytest.approx(segment["distance"].iloc[-1], rel=1e-6)


def test_snapshots_of_a_curve_end_as_the_curve_does(finished) -> None:
    snapshots = frame(finished, "curves/preresnet8_polychain/snapshots.csv")
    grid = frame(finished, "curves/preresnet8_polychain/grid.csv")
    assert list(snapshots.columns) == ["epoch", *grid.columns]
    assert snapshots["epoch"].tolist() == 5 * [1] + 5 * [2]
    first, last = (
        snapshots[snapshots["epoch"] == epoch].drop(columns="epoch").reset_index(drop=True)
        for epoch in (1, 2)
    )
    pd.testing.assert_frame_equal(last, grid, check_exact=True)
    # The ends are fixed and the bend is not.
    assert first[MEASURED].iloc[[0, -1]].equals(grid[MEASURED].iloc[[0, -1]])
    assert not first[MEASURED].iloc[2].equals(grid[MEASURED].iloc[2])
    vertices = load_file(
        finished.results / "curves" / "preresnet8_polychain" / "snapshots" / "epoch1.safetensors"
    )
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    bend = torch.cat([vertices[name][1].double().flatten() for name in names])
    assert first["norm"][2] == pytest.approx(bend.norm().item(), rel=1e-6)


def test_distances_are_those_of_the_weights(finished) -> None:
    names = [name for name, _ in build(finished, "preresnet8").named_parameters()]
    vectors = {
        label: flat(weights(finished, f"preresnet8/seed{seed}/weights.safetensors"), names)
        for label, seed in (("G", 1), ("A", 2), ("B", 3))
    }
    vertices = load_file(
        finished.results / "curves" / "preresnet8_polychain" / "vertices.safetensors"
    )
    vectors["GA"] = torch.cat([vertices[name][1].double().flatten() for name in names])
    points = frame(finished, "geometries/preresnet8/points.csv")
    assert list(points.columns) == ["label", "kind", "norm"]
    assert points["label"].tolist() == list(vectors)
    assert points["kind"].tolist() == ["mode", "mode", "mode", "bend"]
    norms = [vector.norm().item() for vector in vectors.values()]
    assert points["norm"].tolist() == pytest.approx(norms, rel=1e-6)
    distances = frame(finished, "geometries/preresnet8/distances.csv")
    assert list(distances.columns) == ["label", *vectors]
    assert distances["label"].tolist() == list(vectors)
    stacked = torch.stack(list(vectors.values()))
    expected = (stacked[:, None] - stacked[None]).norm(dim=2).numpy()
    np.testing.assert_allclose(distances[list(vectors)], expected, rtol=1e-5)
    assert (np.diag(distances[list(vectors)]) == 0).all()


def test_iterates_on_a_plane_are_where_their_weights_are(finished) -> None:
    points = frame(finished, "planes/narrow_sgdr/points.csv")
    assert points["kind"].tolist() == [
        *("endpoint", "endpoint", "bend"),
        *(61 * ["curve"]),
        *(3 * ["iterate"]),
    ]
    iterates = points[points["kind"] == "iterate"]
    assert iterates["label"].astype(str).tolist() == ["1", "2", "3"]
    assert iterates["epoch"].tolist() == [1.0, 2.0, 3.0]
    assert points["epoch"].notna().sum() == 3
    assert (points.loc[points["kind"] != "iterate", "distance"] == 0).all()
    states = [
        weights(finished, f"narrow_sgdr/seed1/snapshots/epoch{epoch}.safetensors")
        for epoch in (1, 2, 3)
    ]
    names = list(states[0])
    first, second, third = (flat(state, names) for state in states)
    vertices = load_file(finished.results / "curves/narrow_sgdr_polychain/vertices.safetensors")
    bend = torch.cat([vertices[name][1].double().flatten() for name in names])
    # Gram-Schmidt, as one does it by hand.
    across = (third - first) / (third - first).norm()
    up = bend - first - (bend - first).dot(across) * across
    up = up / up.norm()
    for row, vector in zip(iterates.itertuples(), (first, second, third), strict=True):
        step = vector - first
        x, y = step.dot(across).item(), step.dot(up).item()
        assert (row.x, row.y) == pytest.approx((x, y), rel=1e-4, abs=1e-6)
        distance = (step - x * across - y * up).norm().item()
        assert row.distance == pytest.approx(distance, rel=1e-4, abs=1e-6)
    # Those that span the plane lie on it, and the one between them does not.
    assert iterates["distance"].iloc[1] > 100 * iterates["distance"].iloc[[0, 2]].max()


@pytest.mark.parametrize(
    "path",
    [
        "curves/preresnet8_polychain/snapshots.json",
        "geometries/preresnet8/run.json",
        "networks/perceptron/seed1/run.json",
        "networks/preresnet8/seed1/evaluation/run.json",
        "curves/perceptron_bezier/run.json",
        "curves/perceptron_bezier/grid.json",
        "planes/preresnet8_bezier/run.json",
        "simplexes/narrow_espro/seed1/run.json",
        "simplexes/narrow_espro/seed1/connectors1/run.json",
        "ensembles/preresnet8_polychain/run.json",
        "ensembles/preresnet8_fast_geometric/run.json",
        "ensembles/preresnet8_weight_average/run.json",
    ],
)
def test_a_record_says_what_ran_and_what_it_cost(finished, path) -> None:
    record = json.loads((finished.results / path).read_text())
    assert record["settings"] and record["code"] and record["device"]
    assert record["versions"]["torch"] == torch.__version__
    assert record["work_seconds"] > 0 and record["start_seconds"] > 0
    assert record["peak_memory_mb"]["cpu"] > 50


@pytest.mark.parametrize(
    ("curve", "further"),
    [("preresnet8_segment", set()), ("perceptron_bezier", {"bends", "training"})],
)
def test_a_curve_of_the_papers_depends_on_no_alignment(finished, curve, further) -> None:
    """What it depends on decides whether results that are there stay."""
    record = json.loads((finished.results / "curves" / curve / "grid.json").read_text())
    assert (
        record["settings"]["curve"].keys() == {"kind", "start", "end", "recipe", "seed"} | further
    )


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_written_three_times(finished, table) -> None:
    folder = finished.results / "tables"
    csv = pd.read_csv(folder / f"{table}.csv")
    assert csv["dataset"].eq(TABLES[table]).all()
    markdown = (folder / f"{table}.md").read_text().splitlines()
    assert sum(line.startswith(f"| {TABLES[table]} ") for line in markdown) == len(csv)
    latex = (folder / f"{table}.tex").read_text()
    assert latex.count(r"\begin{tabular") == latex.count(r"\end{tabular") == 1


def test_the_table_of_ensembles_says_what_the_ensembles_do(finished) -> None:
    table = frame(finished, "tables/garipov2018_table1_shapes.csv")
    titles = {
        "Ind": "independent",
        "SSE": "snapshot",
        "FGE": "fast_geometric",
        "SWA": "weight_average",
    }
    assert table["method"].tolist() == [title for title in titles for _ in (1, 2)]
    assert table["budget"].tolist() == 4 * [1, 2]
    assert table["runs"].tolist() == 4 * [3, 1]
    assert table["members"].tolist() == [1, 2, 2, 4, 4, 8, 1, 2]
    for _, row in table.iterrows():
        metrics = frame(finished, f"ensembles/preresnet8_{titles[row['method']]}/metrics.csv")
        runs = metrics[metrics["budget"] == row["budget"]]
        for name in ("test_error", "test_nll", "test_nll_scaled", "test_ece_equal_width"):
            assert row[name] == pytest.approx(runs[name].mean())
        base = frame(finished, "ensembles/preresnet8_independent/metrics.csv")
        base = base[base["budget"] == row["budget"]]["test_error"].mean()
        if row["method"] != "Ind":
            assert row["test_error_difference"] == pytest.approx(row["test_error"] - base)


def test_the_table_of_modes_says_what_grids_and_snapshots_do(finished) -> None:
    table = frame(finished, "tables/gotmare2018_modes_shapes.csv")
    assert table["kind"].tolist() == ["mode", "mode", "segment", "curve", "curve"]
    assert table["label"].tolist() == ["G", "A", "GA", "GA", "GA"]
    assert table["setting"].fillna("").tolist() == ["", "another seed", "", "", ""]
    assert table["epoch"].tolist()[3:] == [1, 2] and table["epoch"].isna().sum() == 3
    for seed, (_, row) in zip((1, 2), table[:2].iterrows(), strict=True):
        metrics = frame(finished, f"networks/preresnet8/seed{seed}/evaluation/metrics.csv").iloc[0]
        assert row["norm"] == pytest.approx(metrics["norm"])
        assert row["test_accuracy_worst"] == pytest.approx(100 - metrics["test_error"])
        assert row["train_nll_mean"] == pytest.approx(metrics["train_nll"])
    segment, snapshots, chain = (
        frame(finished, f"curves/preresnet8_{name}.csv")
        for name in ("segment/grid", "polychain/snapshots", "polychain/grid")
    )
    first = snapshots[snapshots["epoch"] == 1]
    assert table["distance"][0] == 0
    assert table["distance"][1:].tolist() == pytest.approx(4 * [segment["distance"].iloc[-1]])
    for (_, row), grid in zip(table[2:].iterrows(), (segment, first, chain), strict=True):
        assert row["test_accuracy_worst"] == pytest.approx(100 - grid["test_error"].max())
        assert row["train_accuracy_mean"] == pytest.approx(100 - grid["train_error"].mean())
        for name in ("train_nll", "train_error", "test_nll", "test_error"):
            values, t = grid[name].to_numpy(), grid["t"].to_numpy()
            height = values.max() - max(values[0], values[-1])
            assert row[f"{name}_height_above_ends"] == pytest.approx(height)
            line = (1 - t) * values[0] + t * values[-1]
            assert row[f"{name}_barrier"] == pytest.approx((values - line).max())
    curves = table[3:]
    assert (curves["statement_margin"] == 1.0).all()
    assert set(curves["statement_holds"]) <= {"yes", "no", "undecided"}
    assert table["statement_holds"][:3].isna().all()
    assert table["interval"].fillna("").tolist() == [*(3 * ["examples"]), "", "examples"]


def test_the_figures_of_gotmare_show_what_was_measured(finished) -> None:
    shown = frame(finished, "figures/gotmare2018_figure1.csv")
    assert set(shown["connection"]) == {f"G{mode}" for mode in "ABCDEF"}
    snapshots = frame(finished, "curves/preresnet8_polychain/snapshots.csv")
    for _, rows in shown.groupby("connection"):
        assert rows["epoch"].tolist() == snapshots["epoch"].tolist()
        assert rows["test_accuracy"].tolist() == pytest.approx(100 - snapshots["test_error"])
    pairs = frame(finished, "figures/gotmare2018_figure7.csv")
    chain = pairs[(pairs["scheme"] == "SGDR") & (pairs["path"] != "segment")]
    grid = frame(finished, "curves/narrow_sgdr_polychain/grid.csv")
    assert chain["test_nll"].tolist() == pytest.approx(grid["test_nll"])
    assert set(zip(chain["start"], chain["end"], strict=True)) == {("w1", "w3")}
    trainings = frame(finished, "figures/gotmare2018_figure2.csv")
    history = frame(finished, "networks/narrow_sgdr/seed1/history.csv")
    recorded = trainings[(trainings["scheme"] == "SGDR") & trainings["path"].isna()]
    recorded = recorded[recorded["test_accuracy"].notna()]
    assert recorded["epoch"].tolist() == [1, 2, 3]
    assert recorded["test_accuracy"].tolist() == pytest.approx(100 - history["test_error"])
    points = frame(finished, "figures/gotmare2018_figure4.csv").set_index("label")
    distances = frame(finished, "geometries/preresnet8/distances.csv").set_index("label")
    for label in distances.columns:
        assert points[f"distance_{label}"].tolist() == pytest.approx(distances[label])
    located = frame(finished, "figures/gotmare2018_figure3.csv")
    iterates = frame(finished, "planes/narrow_sgdr/points.csv").query("kind == 'iterate'")
    found = located[located["kind"] == "iterate"]
    assert found["x"].tolist() == pytest.approx(iterates["x"])
    assert found["distance"].tolist() == pytest.approx(iterates["distance"])


def test_the_figure_of_ensembles_over_time_ends_where_the_table_does(finished) -> None:
    figure = frame(finished, "figures/garipov2018_figure6.csv")
    table = frame(finished, "tables/garipov2018_table1_shapes.csv").set_index(["method", "budget"])
    for method, name in (("FGE", "fast_geometric"), ("SSE", "snapshot")):
        shown = figure[figure["method"] == method]
        assert shown["epoch"].is_monotonic_increasing
        last = shown.iloc[-1]
        assert (last["run"], last["epoch"]) == (2, 10)
        # Two budgets are one run of the table, of the same seeds.
        expected = table.loc[(method, 2), "test_error"]
        assert last["ensemble_test_error"] == pytest.approx(expected)
        metrics = frame(finished, f"ensembles/preresnet8_{name}/metrics.csv")
        first = shown[shown["run"] == 1].iloc[-1]
        assert first["ensemble_test_error"] == pytest.approx(metrics["test_error"][0])
        members = frame(finished, f"ensembles/preresnet8_{name}/members.csv")
        errors = members[members["seed"] < 3]["test_error"]
        assert sorted(shown["test_error"]) == pytest.approx(sorted(errors))
        assert shown["ensemble_test_error"].iloc[0] == shown["test_error"].iloc[0]


def test_the_figure_of_a_trace_is_the_history_of_its_run(finished) -> None:
    figure = frame(finished, "figures/garipov2018_figure5.csv")
    history = frame(finished, "networks/preresnet8_fge2/seed1/history.csv")
    columns = ["epoch", "learning_rate", "test_error", "distance"]
    pd.testing.assert_frame_equal(figure[columns], history[columns])
    assert figure.loc[figure["snapshot"], "epoch"].tolist() == [1, 3]


def test_the_table_of_a_finetuned_network_says_what_its_members_do(finished) -> None:
    table = frame(finished, "tables/garipov2018_imagenet.csv").set_index("method")
    members = frame(finished, "ensembles/narrow_finetuned/members.csv")
    metrics = frame(finished, "ensembles/narrow_finetuned/metrics.csv")
    assert list(table.index) == ["Pre-trained", "FGE, last member", "FGE"]
    assert table["epochs"].tolist() == [0, 3, 3]
    assert table["members"].tolist() == [1, 1, 3]
    for name in ("test_error", "test_nll"):
        expected = [members[name].iloc[0], members[name].iloc[-1], metrics[name].iloc[0]]
        assert table[name].tolist() == pytest.approx(expected, rel=1e-5)


def test_the_table_of_language_models_says_what_the_grids_say(finished) -> None:
    table = frame(finished, "tables/garipov2018_table3_words.csv").set_index("curve")
    assert list(table.index) == ["Single", "Segment", "Bezier", "Polychain"]
    grids = {
        kind: frame(finished, f"curves/lstm_{kind.lower()}/grid.csv") for kind in table.index[1:]
    }
    grids["Single"] = grids["Segment"].iloc[[0, -1]]
    for kind, grid in grids.items():
        for part in ("train", "validation", "test"):
            perplexity = np.exp(grid[f"{part}_nll"])
            assert table.loc[kind, f"{part}_perplexity_min"] == pytest.approx(perplexity.min())
            assert table.loc[kind, f"{part}_perplexity_max"] == pytest.approx(perplexity.max())
    for grid in grids.values():
        assert grid["test_nll"].iloc[0] == grids["Segment"]["test_nll"].iloc[0]
        assert grid["test_nll"].iloc[-1] == grids["Segment"]["test_nll"].iloc[-1]


@pytest.mark.parametrize("seed", [1, 2])
def test_a_language_model_measures_the_same_as_a_plain_pass_through_the_text(
    finished, seed
) -> None:
    tokens = load_file(finished.results / "datasets" / "words.safetensors")["test_tokens"].long()
    network = registry.build("lstm", input_shape=(), classes=len(WORDS) + 1, hidden=8)
    network.load_state_dict(weights(finished, f"lstm/seed{seed}/weights.safetensors"))
    network.eval()
    with torch.no_grad():
        logits = network(tokens[None, :-1])[0]
    nll = functional.cross_entropy(logits, tokens[1:]).item()
    error = 100 * (logits.argmax(dim=1) != tokens[1:]).double().mean().item()
    row = frame(finished, "curves/lstm_segment/grid.csv").iloc[0 if seed == 1 else -1]
    assert row["test_nll"] == pytest.approx(nll, rel=1e-5)
    assert row["test_error"] == pytest.approx(error)


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
        *(f"datasets/{name}.log" for name in ("shapes", "words")),
        *(f"networks/{name}/train.log" for name in ("perceptron/seed1", "narrow/seed2")),
        "networks/preresnet8/seed1/evaluate.log",
        *(f"curves/{name}/evaluate.log" for name in CURVES),
        *(f"curves/{name}_bezier/train.log" for name in ("perceptron", "narrow", "preresnet8")),
        "planes/preresnet8_bezier.log",
        "curves/preresnet8_polychain/evaluate_snapshots.log",
        *(f"simplexes/narrow_espro/seed1/{job}.log" for job in ("train", "connectors1")),
        "ensembles/narrow_espro.log",
        "geometries/preresnet8.log",
        "ensembles/preresnet8_polychain.log",
        *(f"ensembles/{name}{job}.log" for name in ENSEMBLES for job in ("", "_metrics")),
        *(f"tables/{name}.log" for name in TABLES),
        *(f"figures/{name}.log" for name in FIGURES),
    }
    assert expected <= logs
    begin, device, *epochs, end = finished.log("networks/perceptron/seed1/train.log").splitlines()
    assert "train_network perceptron/1" in begin and "device" in device and "done after" in end
    assert len(epochs) == 150
    assert all(f"epoch {number}/150" in line for number, line in enumerate(epochs, start=1))


def test_the_demos_own_experiments_are_not_run_for_a_selection(finished) -> None:
    assert "digits" not in CONFIG
    assert not list(finished.results.glob("networks/digits*"))
