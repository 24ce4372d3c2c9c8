"""Training of connectors beside plain autograd on named tensors."""

import json
import math

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch
from torch.func import functional_call
from torch.nn import functional

from mode_connectivity.settings import UserError
from mode_connectivity.tensors import load_tensors, save_tensors
from mode_connectivity.training import simplexes
from mode_connectivity.training.checkpoints import CheckpointWriter
from mode_connectivity.training.loop import derive_seed, train
from mode_connectivity.training.networks import build_network
from mode_connectivity.training.simplex_settings import SimplexSettings
from mode_connectivity.training.simplexes import load_point, load_simplex, train_simplex
from mode_connectivity.weight_space.simplexes import Complex, VolumeRegulariser, volumes

TRAINING = {
    "epochs": 2,
    "batch_size": 32,
    "learning_rate": 0.05,
    "optimiser": {"weight_decay": 0.02, "weight_decay_on": "vertex"},
    "schedule": {"name": "cosine"},
}


class Killed(BaseException):
    """What a signal does: nobody catches it."""


def simplex_settings(**changes) -> SimplexSettings:
    return SimplexSettings.model_validate(
        {"modes": ["a"], "connectors": 2, "training": TRAINING, **changes}
    )


@pytest.fixture
def modes(tmp_path, make_workspace):
    """The weight files of networks that were initialised from seeds 1, 2, ..."""

    def make(count: int, network: str = "batch_norm"):
        paths = []
        for seed in range(1, count + 1):
            workspace = make_workspace(network, seed=seed)
            for _, buffer in workspace.network.named_buffers():
                buffer.add_(seed)
            paths.append(tmp_path / f"{network}{seed}.safetensors")
            save_tensors(paths[-1], workspace.network.state_dict(), {})
        return paths

    return make


@pytest.fixture
def run(make_workspace, make_recipe, tmp_path):
    def train_it(settings, paths, name="run", network="batch_norm", seed=7) -> pd.DataFrame:
        folder = tmp_path / name
        return train_simplex(
            settings,
            make_recipe(network),
            make_workspace(network, seed=9),
            paths,
            seed=seed,
            vertices=folder / "vertices.safetensors",
            history=folder / "history.csv",
            volumes=folder / "volumes.csv",
            distances=folder / "distances.csv",
            fingerprint=["job", settings.model_dump(mode="json", exclude={"connectors"})],
        )

    return train_it


def vertices_of(folder) -> tuple[dict, dict]:
    return load_tensors(folder / "vertices.safetensors")


@pytest.mark.parametrize("reduction", ["sum", "mean"])
@pytest.mark.parametrize("weight_decay_on", ["vertex", "point"])
@pytest.mark.parametrize(
    ("volume", "strength"), [("squared", 0.0), ("squared", 2.0), ("plain", 2.0)]
)
def test_steps_against_autograd(
    make_workspace, reduction, weight_decay_on, volume, strength
) -> None:
    workspace = make_workspace("plain")
    flat, network = workspace.flat, workspace.network
    vertices = torch.stack([make_workspace("plain", seed=seed).flat.vector for seed in (1, 2, 3)])
    edges = [(0, 2), (1, 2)]
    training = simplex_settings(
        training={**TRAINING, "optimiser": {"weight_decay": 0.05, "momentum": 0.9}}
    ).training
    on = training.optimiser.model_copy(update={"weight_decay_on": weight_decay_on})
    training = training.model_copy(update={"optimiser": on})
    family = Complex(vertices.clone(), edges, samples=3, reduction=reduction)
    if strength:
        family.regulariser = VolumeRegulariser(
            family, strength, volume=volume, complex_volume="all"
        )
    drawn = []
    sample = family.sample
    family.sample = lambda generator: drawn.append(sample(generator)) or drawn[-1]
    history = train(network, flat, family, workspace.dataset.train, training, seed=5)

    fixed = vertices[:2]
    vertex = vertices[2].clone().requires_grad_()
    optimiser = torch.optim.SGD(
        [vertex], lr=0.05, momentum=0.9, weight_decay=0.05 if weight_decay_on == "vertex" else 0.0
    )
    rows = iter(drawn)
    for epoch in range(2):
        order = torch.Generator().manual_seed(derive_seed(5, "order", epoch))
        terms = []
        for inputs, targets in workspace.dataset.train.batches(
            32, window=1, shuffle=True, generator=order, memory_format=torch.channels_last
        ):
            losses = []
            for row in next(rows).float():
                point = row[:2] @ fixed + row[2] * vertex
                named = dict(zip(flat.names, flat.views(point), strict=True))
                loss = functional.cross_entropy(functional_call(network, named, inputs), targets)
                if weight_decay_on == "point":
                    loss = loss + 0.5 * 0.05 * point.square().sum()
                losses.append(loss)
            objective = torch.stack(losses).sum() / (3 if reduction == "mean" else 1)
            if strength:
                lengths = (vertex.double() - fixed.double()).norm(dim=1)
                total = lengths.square().sum() if volume == "squared" else lengths.sum()
                terms.append(-strength * math.log(total.item() + 1e-4))
                objective = objective - strength * (total + 1e-4).log()
            optimiser.param_groups[0]["lr"] = 0.05 * (1 + math.cos(math.pi * epoch / 2)) / 2
            optimiser.zero_grad()
            objective.backward()
            optimiser.step()
        if strength:
            found = history["regularisation"].iloc[epoch]
            assert found == pytest.approx(sum(terms) / len(terms), rel=1e-3)
    assert ("regularisation" in history) == bool(strength)
    torch.testing.assert_close(family.vertices[2], vertex.detach(), rtol=2e-3, atol=2e-4)
    assert torch.equal(family.vertices[:2], fixed)
    assert not torch.allclose(vertices[2], vertex, atol=1e-2)


def test_a_simplex_grows_from_one_network(modes, run, tmp_path) -> None:
    record = run(simplex_settings(), modes(1))
    history = pd.read_csv(tmp_path / "run" / "history.csv")
    pd.testing.assert_frame_equal(history, record)
    assert list(history) == [
        "connector",
        "epoch",
        "iteration",
        "learning_rate",
        "train_nll",
        "train_error",
        "regularisation",
        "seconds",
        "images_per_second",
    ]
    assert history["connector"].tolist() == [1, 1, 2, 2]
    assert history["epoch"].tolist() == [1, 2, 1, 2]
    tensors, metadata = vertices_of(tmp_path / "run")
    assert metadata["format"] == "mode_connectivity.simplex.1"
    assert json.loads(metadata["labels"]) == ["w0", "t1", "t2"]
    assert json.loads(metadata["simplexes"]) == [[0, 1, 2]]
    mode = safetensors.torch.load_file(tmp_path / "batch_norm1.safetensors")
    for name, tensor in tensors.items():
        assert tensor.shape == (3, *mode[name].shape)
        assert torch.equal(tensor[0], mode[name])
    points = torch.cat([tensor.flatten(1) for tensor in tensors.values()], dim=1)
    table = pd.read_csv(tmp_path / "run" / "volumes.csv")
    assert table["connectors"].tolist() == [1, 2]
    assert table["simplexes"].tolist() == [1, 1]
    expected = [volumes(points, [simplex]).item() for simplex in ((0, 1), (0, 1, 2))]
    assert table["volume"].tolist() == pytest.approx(expected, rel=1e-6)
    assert table["first_volume"].tolist() == pytest.approx(expected, rel=1e-6)
    assert (10.0 ** table["log10_volume"]).tolist() == pytest.approx(expected, rel=1e-6)
    assert min(expected) > 1e-4
    distances = pd.read_csv(tmp_path / "run" / "distances.csv")
    assert list(distances) == ["label", "w0", "t1", "t2"]
    assert distances["label"].tolist() == ["w0", "t1", "t2"]
    np.testing.assert_allclose(
        distances.iloc[:, 1:], torch.cdist(points.double(), points.double()), rtol=1e-6
    )
    assert not (tmp_path / "run" / ".progress").exists()


def test_a_connector_does_not_depend_on_how_many_follow(modes, run, tmp_path) -> None:
    paths = modes(1)
    for name, count in (("one", 1), ("two", 2)):
        run(simplex_settings(connectors=count, regularisation=0.1), paths, name)
    one, two = (vertices_of(tmp_path / name)[0] for name in ("one", "two"))
    for name in one:
        assert torch.equal(one[name], two[name][:2])
    tables = [pd.read_csv(tmp_path / name / "volumes.csv") for name in ("one", "two")]
    pd.testing.assert_frame_equal(tables[0], tables[1].iloc[:1])


def test_a_killed_job_goes_on_at_its_connector(modes, run, tmp_path, monkeypatch) -> None:
    paths, settings = modes(1), simplex_settings(regularisation=0.1)
    run(settings, paths, "whole")
    save, saved = CheckpointWriter.save, []

    def killing(self, tensors, state, **options) -> None:
        save(self, tensors, state, **options)
        saved.append(str(self._checkpoint.path.relative_to(tmp_path)))
        raise Killed

    for _ in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(CheckpointWriter, "save", killing)
            with pytest.raises(Killed):
                run(settings, paths, "killed")
    # No epoch is trained twice.
    assert [path.split("/")[2] for path in saved] == ["connector1"] * 2 + ["connector2"] * 2
    run(settings, paths, "killed")
    assert len(saved) == 4
    whole, killed = (vertices_of(tmp_path / name)[0] for name in ("whole", "killed"))
    assert all(torch.equal(whole[name], killed[name]) for name in whole)
    whole, killed = (pd.read_csv(tmp_path / n / "history.csv") for n in ("whole", "killed"))
    numbers = ["connector", "epoch", "train_nll", "train_error", "regularisation"]
    assert whole[numbers].equals(killed[numbers])
    assert not (tmp_path / "killed" / ".progress").exists()


CHANGES = {
    "samples": {"samples": 2},
    "reduction": {"reduction": "mean"},
    "volume": {"volume": "plain"},
    "complex_volume": {"complex_volume": "all"},
    "choose_simplex": {"choose_simplex": "by_volume"},
    "regularisation": {"regularisation": 0.5},
    "scale": {"regularisation_scale": "none"},
    "first connector": {"first_connector_without_volume": False},
    "weight decay": {
        "training": {**TRAINING, "optimiser": {"weight_decay": 0.02, "weight_decay_on": "point"}}
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_setting_changes_the_training_and_not_the_modes(modes, run, tmp_path, change) -> None:
    paths = modes(2)
    given = {"modes": ["a/1", "a/2"], "regularisation": 0.1, "volume": "squared"}
    run(simplex_settings(**given), paths, "plain")
    run(simplex_settings(**{**given, **CHANGES[change]}), paths, "changed")
    plain, changed = (vertices_of(tmp_path / name)[0] for name in ("plain", "changed"))
    tables = [pd.read_csv(tmp_path / name / "volumes.csv") for name in ("plain", "changed")]
    first_is_free = change in ("volume", "complex_volume", "regularisation", "scale")
    first_is_free = first_is_free or change == "choose_simplex"
    for name in plain:
        assert torch.equal(plain[name][:2], changed[name][:2])
        if name == "0.weight":
            # The first connector of a complex has no volume term.
            same = torch.equal(plain[name][2], changed[name][2])
            assert same == (first_is_free and change != "choose_simplex")
            assert not torch.equal(plain[name][3], changed[name][3])
    lambdas = [table["regularisation"].tolist() for table in tables]
    touched = ("volume", "complex_volume", "regularisation", "scale", "first connector")
    assert (lambdas[0] != lambdas[1]) == (change in touched)


def test_lambda_is_measured_by_a_random_complex(
    modes, run, tmp_path, make_recipe, make_workspace
) -> None:
    given = {"modes": ["a/1", "a/2"], "regularisation": 0.3, "complex_volume": "all"}
    workspace = make_workspace("batch_norm")
    drawn = []
    for index in range(4):
        seed = derive_seed(7, "random complex", index)
        network = build_network(make_recipe("batch_norm"), workspace.dataset, seed)
        drawn.append(torch.cat([p.detach().flatten() for p in network.parameters()]))
    # As PyTorch initialises: uniform between -1 and 1 over the root of the fan-in.
    bound = 1 / math.sqrt(27)
    assert 0.9 * bound < drawn[0][:108].abs().max() < bound
    points = torch.stack(drawn)
    for volume, power in (("squared", 2), ("plain", 1)):
        run(simplex_settings(volume=volume, **given), modes(2), volume)
        found = pd.read_csv(tmp_path / volume / "volumes.csv")["regularisation"].tolist()
        sizes = volumes(points, [(0, 2, 3), (1, 2, 3)]) ** power
        expected = max(0.3 / math.log(sizes.sum().item() + 1e-4), 1e-8)
        assert found == pytest.approx([0.0, expected], rel=1e-6)


def test_the_floor_of_lambda_and_none_at_all(modes, run, tmp_path) -> None:
    paths = modes(1)
    for name, given, expected in (
        ("floor", {"regularisation": 1e-12}, 1e-8),
        ("none", {"regularisation": 0.0}, 0.0),
        ("unscaled", {"regularisation": 1e-12, "regularisation_scale": "none"}, 1e-12),
    ):
        record = run(simplex_settings(connectors=1, **given), paths, name)
        table = pd.read_csv(tmp_path / name / "volumes.csv")
        assert table["regularisation"].tolist() == [expected]
        assert record["regularisation"].any() == (expected > 0)


@pytest.mark.parametrize("measure", [-0.5, 0.0])
def test_a_small_random_complex_gives_the_floor(modes, run, tmp_path, monkeypatch, measure) -> None:
    monkeypatch.setattr(simplexes, "log_measure", lambda *arguments: measure)
    run(simplex_settings(connectors=1, regularisation=1.0), modes(1))
    assert pd.read_csv(tmp_path / "run" / "volumes.csv")["regularisation"].tolist() == [1e-8]


def test_the_same_network_twice_is_refused(modes, run, tmp_path) -> None:
    path = modes(1)[0]
    with pytest.raises(UserError, match="modes a/7 and a/1 are the same network"):
        run(simplex_settings(modes=["a", "a/1"]), [path, path])
    assert not (tmp_path / "run" / "vertices.safetensors").exists()


def test_vertices_are_read_back(modes, run, tmp_path, make_workspace) -> None:
    settings = simplex_settings(modes=["a/1", "a/2"])
    run(settings, modes(2))
    path = tmp_path / "run" / "vertices.safetensors"
    workspace = make_workspace("batch_norm", seed=3)
    whole = load_simplex(path, settings, 2, workspace)
    assert torch.equal(load_simplex(path, settings, 1, workspace), whole[:3])
    out = torch.empty_like(workspace.flat.vector)
    for index, label in enumerate(["w0", "w1", "t1", "t2"]):
        load_point(path, f"complex/1:{label}", workspace, out)
        assert torch.equal(out, whole[index])
    load_point(tmp_path / "batch_norm2.safetensors", "a/2", workspace, out)
    assert torch.equal(out, whole[1])
    with pytest.raises(UserError, match="holds w0, w1, t1, t2, but no t3"):
        load_point(path, "complex/1:t3", workspace, out)
    with pytest.raises(UserError, match="holds w0, w1, t1, t2, not w0, t1, t2"):
        load_simplex(path, simplex_settings(), 2, workspace)
    with pytest.raises(UserError, match="do not fit the network"):
        load_simplex(path, settings, 2, make_workspace("plain"))
    with pytest.raises(UserError, match="holds no simplex"):
        load_simplex(tmp_path / "batch_norm1.safetensors", settings, 2, workspace)


def test_a_log_says_which_connector_is_trained(modes, run, told) -> None:
    run(simplex_settings(), modes(1))
    # Three iterations an epoch, two epochs.
    epochs = ["0.333", "0.667", "1", "1.333", "1.667", "2"]
    assert told() == [f"connector {k}/2  epoch {epoch}/2" for k in (1, 2) for epoch in epochs]
