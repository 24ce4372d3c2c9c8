"""Networks of a user's own, whose files of weights are all that there is of them."""

import math
import shlex
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional

from mode_connectivity.data.settings import DatasetSettings
from mode_connectivity.own_networks.aligning import align_network
from mode_connectivity.own_networks.connecting import connect
from mode_connectivity.own_networks.opening import OwnNetworks, measure, open_networks
from mode_connectivity.own_networks.planes import draw_plane
from mode_connectivity.own_networks.settings import curves_between
from mode_connectivity.settings import UserError
from mode_connectivity.training import loop
from mode_connectivity.training.networks import Workspace
from mode_connectivity.training.recipes import AlignmentSettings, RecipeSettings
from mode_connectivity.training.settings import TrainingSettings

DECAY = 0.01
TRAINING = TrainingSettings(epochs=4, batch_size=16, learning_rate=0.05)


@pytest.fixture
def networks(
    make_recipe: Callable[..., RecipeSettings], dataset_path: Path, tmp_path: Path
) -> OwnNetworks:
    recipe = make_recipe("plain", optimiser={"weight_decay": DECAY})
    return open_networks(recipe, dataset_path, torch.device("cpu"), folder=tmp_path / "out")


@pytest.fixture
def files(make_workspace: Callable[..., Workspace], tmp_path: Path) -> list[Path]:
    """Three files of random weights, as PyTorch's users write them."""
    paths = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for seed, path in enumerate(paths):
        save_file(contiguous(make_workspace("plain", seed=seed).network.state_dict()), path)
    return paths


def contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in state.items()}


def plainly(networks: OwnNetworks, state: Mapping[str, Tensor]) -> tuple[float, float]:
    """Return regularised train loss and test error with nothing but PyTorch."""
    data = load_file(networks.dataset)
    results = []
    for part in ("train", "test"):
        images = data[f"{part}_images"].permute(0, 3, 1, 2).float() / 255
        mean, std = torch.tensor([0.5, 0.4, 0.6]), torch.tensor([0.2, 0.25, 0.3])
        inputs = (images - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        outputs = functional_call(networks.workspace.network.eval(), dict(state), (inputs,))
        labels = data[f"{part}_labels"]
        wrong = (outputs.argmax(dim=1) != labels).double().mean().item()
        results.append((functional.cross_entropy(outputs, labels).item(), 100 * wrong))
    norm = sum(value.double().square().sum().item() for value in state.values())
    return results[0][0] + DECAY / 2 * norm, results[1][1]


def between(first: Path, second: Path, t: float) -> dict[str, Tensor]:
    a, b = load_file(first), load_file(second)
    return {name: (1 - t) * a[name] + t * b[name] for name in a}


def test_the_segment_is_that_of_plain_pytorch(networks, files, tmp_path) -> None:
    found = connect(networks, curves_between(*files[:2], (), points=5), tmp_path / "out")
    grid = found.grids["Segment"]
    expected = [plainly(networks, between(*files[:2], t)) for t in (0, 0.25, 0.5, 0.75, 1)]
    assert grid["train_loss"].tolist() == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert grid["test_error"].tolist() == pytest.approx([error for _, error in expected])
    losses = [loss for loss, _ in expected]
    (barrier,) = found.barriers["train_loss_height_above_ends"]
    assert barrier == pytest.approx(max(max(losses) - max(losses[0], losses[-1]), 0), abs=1e-5)
    row = found.table.set_index("curve").loc["Single"]
    assert row["test_error_max"] == pytest.approx(max(expected[0][1], expected[-1][1]))


def test_a_trained_curve_lies_below_the_segment(networks, files, tmp_path) -> None:
    curves = curves_between(*files[:2], ["bezier"], training=TRAINING, points=9)
    found = connect(networks, curves, tmp_path / "out")
    table = found.table.set_index("curve")
    assert table.loc["Bezier", "train_loss_int"] < table.loc["Segment", "train_loss_int"]
    vertices = load_file(tmp_path / "out/bezier/vertices.safetensors")
    for name, ends in vertices.items():
        assert torch.equal(ends[0], load_file(files[0])[name])
        assert torch.equal(ends[-1], load_file(files[1])[name])
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *("segment", "bezier", "table.csv", "table.md", "table.tex", "barriers.csv"),
        *(f"curves.{kind}" for kind in ("png", "pdf", "csv", "json")),
    }
    shown = pd.read_csv(tmp_path / "out/curves.csv")
    assert shown.groupby("curve").size().to_dict() == {"Segment": 9, "Bezier": 9}
    kept = pd.read_csv(tmp_path / "out/table.csv").drop(columns="note")
    pd.testing.assert_frame_equal(kept, found.table.drop(columns="note"), check_dtype=False)


def test_what_is_done_is_not_done_again(networks, files, tmp_path) -> None:
    out = tmp_path / "out"
    curves = curves_between(*files[:2], ["bezier"], training=TRAINING, points=3)
    first = connect(networks, curves, out)
    vertices, grid = out / "bezier/vertices.safetensors", out / "bezier/grid.csv"
    before = vertices.stat().st_mtime_ns, grid.read_bytes()
    grid.unlink()
    again = connect(networks, curves, out)
    assert (vertices.stat().st_mtime_ns, grid.read_bytes()) == before
    pd.testing.assert_frame_equal(first.table, again.table)
    more = curves_between(*files[:2], ["bezier", "polychain"], training=TRAINING, points=3)
    assert list(connect(networks, more, out).grids) == ["Segment", "Bezier", "Polychain"]
    assert vertices.stat().st_mtime_ns == before[0]


def test_a_stopped_training_goes_on(networks, files, tmp_path, monkeypatch) -> None:
    curves = curves_between(*files[:2], ["bezier"], training=TRAINING, points=3)
    whole = connect(networks, curves, tmp_path / "whole")
    tell, told = loop._tell, []

    def stopping(row, *arguments):
        told.append(row["epoch"])
        if len(told) == 3:
            raise KeyboardInterrupt
        tell(row, *arguments)

    monkeypatch.setattr(loop, "_tell", stopping)
    with pytest.raises(KeyboardInterrupt):
        connect(networks, curves, tmp_path / "out")
    again = connect(networks, curves, tmp_path / "out")
    assert told in ([1, 2, 3, 3, 4], [1, 2, 3, 4])
    pd.testing.assert_frame_equal(whole.table, again.table)


def test_other_settings_do_not_mix_with_what_is_there(networks, files, tmp_path) -> None:
    out = tmp_path / "out"
    connect(networks, curves_between(*files[:2], (), points=3), out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(UserError) as caught:
        connect(networks, curves_between(*files[:2], (), points=5), out)
    assert str(caught.value) == (
        f"{out}/segment holds something else: curve.points was 3, is 5; give another --output, or "
        "delete that folder"
    )
    with pytest.raises(UserError, match=r"holds something else: weights was \["):
        connect(networks, curves_between(files[0], files[2], (), points=3), out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_aligned_segment_leads_to_the_permuted_network(networks, files, tmp_path) -> None:
    permuted = tmp_path / "permuted.safetensors"
    near = {
        name: tensor + 1e-4 * torch.randn_like(tensor)
        for name, tensor in load_file(files[0]).items()
    }
    save_file(permute_channels(near), permuted)
    curves = curves_between(files[0], permuted, ["aligned_segment"], points=3)
    found = connect(networks, curves, tmp_path / "out")
    apart, together = found.grids["Segment"], found.grids["Aligned segment"]
    assert apart["distance"].iloc[-1] > 1
    assert 0 < together["distance"].iloc[-1] < 0.01
    ends = apart["train_nll"].iloc[0]
    assert apart["train_nll"].iloc[1] != pytest.approx(ends, rel=1e-3)
    assert together["train_nll"].tolist() == pytest.approx(3 * [ends], rel=1e-4)
    notes = found.table.set_index("curve")["note"]
    assert "permuted to match" in notes["Aligned segment"] and pd.isna(notes["Segment"])


def test_a_network_that_is_only_permuted(networks, files, tmp_path) -> None:
    permuted = tmp_path / "permuted.safetensors"
    save_file(permute_channels(load_file(files[0])), permuted)
    curves = curves_between(files[0], permuted, ["aligned_segment"], points=3)
    with pytest.raises(UserError, match=" with its units in another order: nothing is left"):
        connect(networks, curves, tmp_path / "out")


def permute_channels(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Put the channels of the two convolutions of the plain network into another order."""
    first, second = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    changed = {name: tensor.clone() for name, tensor in state.items()}
    for key in ("weight", "bias"):
        changed[f"0.{key}"] = state[f"0.{key}"][first]
        changed[f"3.{key}"] = state[f"3.{key}"][second]
    changed["3.weight"] = changed["3.weight"][:, first]
    pixels = state["6.weight"].unflatten(1, (5, -1))
    changed["6.weight"] = pixels[:, second].flatten(1)
    return contiguous(changed)


@pytest.mark.parametrize("matching", ["activations", "weights"])
def test_aligning_finds_the_order_of_units(networks, files, tmp_path, matching) -> None:
    permuted, output = tmp_path / "permuted.safetensors", tmp_path / "aligned.safetensors"
    save_file(permute_channels(load_file(files[0])), permuted)
    settings = AlignmentSettings(matching=matching)
    found = align_network(networks, files[0], permuted, settings, output)
    squares = [
        (a.double() - b.double()).square().sum()
        for a, b in zip(load_file(files[0]).values(), load_file(permuted).values(), strict=True)
    ]
    assert found.before == pytest.approx(math.sqrt(sum(squares)))
    assert found.after == 0
    first, aligned = load_file(files[0]), load_file(output)
    assert first.keys() == aligned.keys()
    assert all(torch.equal(first[name], aligned[name]) for name in first)
    with pytest.raises(UserError, match="exists; give another --output, or delete it"):
        align_network(networks, files[0], permuted, settings, output)


def test_networks_are_measured(networks, files) -> None:
    table = measure(networks, files)
    assert table["network"].tolist() == [str(path) for path in files]
    expected = [plainly(networks, load_file(path)) for path in files]
    assert table["train_loss"].tolist() == pytest.approx([loss for loss, _ in expected], rel=1e-5)
    assert table["test_error"].tolist() == pytest.approx([error for _, error in expected])
    assert (table["test_error_low"] < table["test_error"]).all()
    assert (table["test_error_high"] > table["test_error"]).all()


def test_statistics_of_a_file_are_those_that_count(
    make_recipe, make_workspace, dataset_path, tmp_path
) -> None:
    recipe = make_recipe("batch_norm")
    networks = open_networks(recipe, dataset_path, torch.device("cpu"), folder=tmp_path)
    network = make_workspace("batch_norm", seed=1).network
    state = contiguous(network.state_dict())
    other = {
        name: tensor + 1.0 if name.endswith("running_mean") else tensor
        for name, tensor in state.items()
    }
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path, tensors in zip(paths, (state, other), strict=True):
        save_file(tensors, path)
    first, second = measure(networks, paths)["train_nll"]
    assert first != pytest.approx(second, rel=1e-3)


def test_the_corners_of_a_plane_are_the_networks(networks, files, tmp_path) -> None:
    grid = draw_plane(networks, *files, tmp_path / "plane", points=3, margin=0.0)
    points = pd.read_csv(tmp_path / "plane/points.csv")
    assert points["kind"].tolist() == ["endpoint"] * 3
    losses = [plainly(networks, load_file(path))[0] for path in files]
    corners = grid[(grid["y"] == 0) & (grid["alpha"].isin([0.0, 1.0]))]
    assert corners["train_loss"].tolist() == pytest.approx(losses[:2], rel=1e-4)
    assert (tmp_path / "plane/plane.png").stat().st_size > 10_000


def test_a_plane_through_a_curve(networks, files, tmp_path) -> None:
    curves = curves_between(*files[:2], ["bezier"], training=TRAINING, points=3)
    connect(networks, curves, tmp_path / "out")
    vertices = tmp_path / "out/bezier/vertices.safetensors"
    draw_plane(networks, *files[:2], vertices, tmp_path / "plane", points=3)
    points = pd.read_csv(tmp_path / "plane/points.csv")
    assert (points["kind"] == "curve").sum() == 61
    assert points.loc[points["kind"] == "curve", "distance"].max() < 1e-4
    with pytest.raises(UserError) as caught:
        draw_plane(networks, files[0], files[2], vertices, tmp_path / "other", points=3)
    assert str(caught.value).startswith(
        f"{vertices}: the curve does not lead from {files[0]} to {files[2]}: {files[2]} is not its"
    )
    assert not (tmp_path / "other").exists()


def test_all_mistakes_of_all_files_are_told_at_once(networks, files, tmp_path) -> None:
    torch.save(load_file(files[0]), tmp_path / "pickled.pt")
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(files[0].read_bytes()[:-9])
    other = tmp_path / "other.safetensors"
    tensors = load_file(files[0])
    del tensors["0.bias"]
    save_file(tensors | {"9.weight": torch.zeros(1)}, other)
    missing = tmp_path / "missing.safetensors"
    with pytest.raises(UserError) as caught:
        networks.check(tmp_path / "pickled.pt", cut, other, missing, files[0])
    text = str(caught.value)
    assert f"{tmp_path}/pickled.pt: weights are read from .safetensors only" in text
    assert f"{cut}: not a whole safetensors file" in text
    assert f"{other}: these weights do not fit the network: 0.bias is missing" in text
    assert "9.weight is not part of the network" in text
    assert f"{missing}: no such file" in text
    assert str(files[0]) not in text


def test_the_command_that_converts_a_pickle_does(networks, files, tmp_path) -> None:
    pickled = tmp_path / "pickled.pt"
    torch.save(load_file(files[0]), pickled)
    with pytest.raises(UserError) as caught:
        networks.check(pickled)
    command = str(caught.value).splitlines()[1].strip()
    program = shlex.split(command)[2]
    exec(program, {})
    networks.check(tmp_path / "pickled.safetensors")


def test_the_same_network_twice_is_a_mistake(networks, files, tmp_path) -> None:
    copy = shutil.copy(files[0], tmp_path / "copy.safetensors")
    with pytest.raises(UserError, match="the same weights; name different networks"):
        networks.check(files[0], Path(copy))


def test_data_of_a_users_own_are_prepared(make_recipe, tmp_path) -> None:
    settings = DatasetSettings(title="Digits", source="digits")
    networks = open_networks(
        make_recipe("perceptron"), settings, torch.device("cpu"), folder=tmp_path / "out"
    )
    assert networks.title == "Digits" and networks.heading == "perceptron, Digits"
    assert networks.dataset == tmp_path / "out/dataset.safetensors"
    assert len(networks.workspace.dataset.test) == 360


def test_numbers_out_of_range(files) -> None:
    with pytest.raises(UserError, match=r"^curve segment\.points: found 1; it must be at least 2"):
        curves_between(*files[:2], points=1)
