import errno

import numpy as np
import pandas as pd
import pytest
import safetensors.torch
import torch

from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.evaluation import curves as module
from mode_connectivity.evaluation import evaluator
from mode_connectivity.evaluation.curves import (
    evaluate_curve,
    evaluate_curve_snapshots,
    evaluate_network,
)
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.settings import UserError
from mode_connectivity.training.curves import save_curve
from mode_connectivity.training.networks import load_weights
from mode_connectivity.training.recipes import CurveSettings
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Bezier, Polychain

TRAINING = TrainingSettings.model_validate(
    {"epochs": 1, "learning_rate": 0.1, "optimiser": {"weight_decay": 0.02}}
)
METRICS = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]


def run(
    networks, folder, kind=Bezier, *, predictions=True, points=5, renormalise=False
) -> pd.DataFrame:
    grid = folder / "grid.csv"
    evaluate_curve(
        kind(networks.vertices),
        points,
        networks.workspace,
        TRAINING,
        EvaluationSettings(batch_size=32),
        predictions=predictions,
        renormalise=renormalise,
        grid=grid,
        fingerprint=["job", kind.__name__],
    )
    return pd.read_csv(grid)


def test_grid(make_networks, tmp_path) -> None:
    networks = make_networks("batch_norm")
    grid = run(networks, tmp_path / "curve", Polychain)
    assert list(grid.columns) == [
        "t",
        "length",
        "distance",
        "coefficient_0",
        "coefficient_1",
        "coefficient_2",
        "norm",
        *METRICS,
    ]
    assert grid["t"].tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    start, bend, end = networks.vertices.double()
    first, second = (bend - start).norm().item(), (end - bend).norm().item()
    assert grid["length"].tolist() == pytest.approx(
        [0, first / 2, first, first + second / 2, first + second], rel=1e-6
    )
    assert grid["distance"].tolist() == pytest.approx(
        [
            0,
            first / 2,
            first,
            ((bend + end) / 2 - start).norm().item(),
            (end - start).norm().item(),
        ],
        rel=1e-6,
    )
    assert grid["norm"].tolist()[::2] == pytest.approx(
        [start.norm().item(), bend.norm().item(), end.norm().item()], rel=1e-6
    )
    for part in ("train", "test"):
        penalty = grid[f"{part}_loss"] - grid[f"{part}_nll"]
        np.testing.assert_allclose(penalty, 0.01 * grid["norm"] ** 2, rtol=1e-9)


def test_files_beside_the_grid(make_networks, tmp_path) -> None:
    networks = make_networks("plain")
    grid = run(networks, tmp_path / "curve")
    labels = networks.workspace.dataset.test.targets
    correct = safetensors.torch.load_file(tmp_path / "curve" / "correct.safetensors")
    assert correct["examples"].tolist() == [45]
    bits = np.unpackbits(correct["correct"].numpy(), axis=1, count=45)
    np.testing.assert_allclose(grid["test_error"], 100 * (1 - bits.mean(axis=1)))
    kept = safetensors.torch.load_file(tmp_path / "curve" / "predictions.safetensors")
    assert torch.equal(kept["labels"], labels)
    nll = -kept["log_probabilities"].double()[:, torch.arange(45), labels].mean(dim=1)
    np.testing.assert_allclose(grid["test_nll"], nll, rtol=1e-6)
    assert sorted(path.name for path in (tmp_path / "curve").iterdir()) == [
        "correct.safetensors",
        "grid.csv",
        "predictions.safetensors",
    ]


def test_predictions_only_where_asked(make_networks, tmp_path) -> None:
    run(make_networks("plain"), tmp_path, predictions=False)
    assert not (tmp_path / "predictions.safetensors").exists()
    assert (tmp_path / "correct.safetensors").exists()


@pytest.mark.parametrize("augmented", [False, True])
def test_a_renormalised_segment_has_its_own_ends(make_networks, tmp_path, augmented) -> None:
    """Nothing but what lies between changes, and the lengths and norms of weights do not."""
    networks = make_networks("plain", 2)
    training = TRAINING.model_copy(
        update={"augmentation": AugmentationSettings(transforms=["flip", "crop"])}
    )
    grids = []
    for renormalise in (False, True):
        grid = tmp_path / str(renormalise) / "grid.csv"
        evaluate_curve(
            Polychain(networks.vertices),
            5,
            networks.workspace,
            training,
            EvaluationSettings(batch_size=32, augment_statistics=augmented),
            predictions=False,
            renormalise=renormalise,
            grid=grid,
            fingerprint="job",
        )
        grids.append(pd.read_csv(grid))
    plain, renormalised = grids
    pd.testing.assert_frame_equal(renormalised.iloc[[0, 4]], plain.iloc[[0, 4]], check_exact=True)
    assert (renormalised["test_nll"][1:4] != plain["test_nll"][1:4]).all()
    same = ["t", "length", "distance", "norm", "coefficient_0", "coefficient_1"]
    pd.testing.assert_frame_equal(renormalised[same], plain[same], check_exact=True)
    assert not any(module._forward_hooks for module in networks.workspace.network.modules())


def test_a_killed_renormalised_job_resumes_to_the_same_grid(
    make_networks, tmp_path, monkeypatch
) -> None:
    networks = make_networks("plain", 2)
    whole = run(networks, tmp_path / "whole", Polychain, renormalise=True)
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    measure = evaluator.measure
    calls = 0

    def killing(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        return measure(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(evaluator, "measure", killing)
        run(networks, tmp_path / "killed", Polychain, renormalise=True)
    assert not any(module._forward_hooks for module in networks.workspace.network.modules())
    killed = run(networks, tmp_path / "killed", Polychain, renormalise=True)
    pd.testing.assert_frame_equal(killed, whole, check_exact=True)


class Killed(BaseException):
    """What a signal does: nobody catches it."""


def test_a_killed_job_resumes_to_the_same_files(make_networks, tmp_path, monkeypatch) -> None:
    networks = make_networks("batch_norm")
    run(networks, tmp_path / "whole")
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    measure = evaluator.measure
    calls = 0

    def killing(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        return measure(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(evaluator, "measure", killing)
        run(networks, tmp_path / "killed")
    assert (tmp_path / "killed" / ".progress" / "checkpoint.safetensors").exists()
    run(networks, tmp_path / "killed")
    names = ["grid.csv", "correct.safetensors", "predictions.safetensors"]
    assert sorted(path.name for path in (tmp_path / "killed").iterdir()) == sorted(names)
    whole, killed = ((tmp_path / run / "grid.csv").read_bytes() for run in ("whole", "killed"))
    assert whole == killed
    for name in names[1:]:
        whole, killed = (
            safetensors.torch.load_file(tmp_path / run / name) for run in ("whole", "killed")
        )
        assert all(torch.equal(whole[key], killed[key]) for key in whole)


def test_a_full_disk_loses_no_measured_point(make_networks, tmp_path, monkeypatch) -> None:
    networks = make_networks("plain")
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)

    def fail(path, frame) -> None:
        raise UserError(f"{path}: {errno.ENOSPC}")

    with monkeypatch.context() as patch, pytest.raises(UserError):
        patch.setattr(module, "write_frame", fail)
        run(networks, tmp_path)
    measured = []
    measure = evaluator.measure
    monkeypatch.setattr(
        evaluator, "measure", lambda *a, **o: measured.append(0) or measure(*a, **o)
    )
    run(networks, tmp_path)
    assert measured == []


CHAIN = CurveSettings.model_validate(
    {"kind": "polychain", "start": "a/1", "end": "a/2", "training": TRAINING.model_dump()}
)


@pytest.fixture
def chains(make_networks, tmp_path):
    """A chain whose bend moves, after three epochs of its training."""
    networks = make_networks("batch_norm")
    epochs = {}
    for epoch, share in ((2, 0.0), (4, 0.5), (8, 1.0)):
        vertices = networks.vertices.clone()
        vertices[1] = share * vertices[1] + (1 - share) * (vertices[0] + vertices[2]) / 2
        epochs[epoch] = Polychain(vertices)
        path = tmp_path / "snapshots" / f"epoch{epoch}.safetensors"
        save_curve(path, CHAIN, epochs[epoch], networks.workspace)
    return networks, epochs


def run_snapshots(chains, folder) -> pd.DataFrame:
    networks, epochs = chains
    evaluate_curve_snapshots(
        CHAIN,
        {e: folder.parent / "snapshots" / f"epoch{e}.safetensors" for e in epochs},
        5,
        networks.workspace,
        TRAINING,
        EvaluationSettings(batch_size=32),
        grid=folder / "snapshots.csv",
        fingerprint="job",
    )
    return pd.read_csv(folder / "snapshots.csv")


def test_snapshots_are_measured_as_the_curve_is(chains, tmp_path) -> None:
    networks, epochs = chains
    grid = run_snapshots(chains, tmp_path / "curve")
    assert [path.name for path in (tmp_path / "curve").iterdir()] == ["snapshots.csv"]
    assert grid["epoch"].tolist() == [epoch for epoch in epochs for _ in range(5)]
    assert grid["epoch"].dtype == int
    for epoch, chain in epochs.items():
        alone = tmp_path / f"alone{epoch}"
        evaluate_curve(
            chain,
            5,
            networks.workspace,
            TRAINING,
            EvaluationSettings(batch_size=32),
            predictions=False,
            grid=alone / "grid.csv",
            fingerprint="job",
        )
        expected = pd.read_csv(alone / "grid.csv")
        found = grid[grid["epoch"] == epoch].drop(columns="epoch").reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    # The chain of the first is straight, and nowhere longer than far.
    ratio = grid.groupby("epoch")[["length", "distance"]].last()
    assert ratio["length"][2] == pytest.approx(ratio["distance"][2], rel=1e-6)
    assert ratio["length"].is_monotonic_increasing and ratio["distance"].nunique() == 1


def test_snapshots_killed_between_two_are_not_measured_again(chains, tmp_path, monkeypatch) -> None:
    expected = run_snapshots(chains, tmp_path / "whole")
    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    measure = evaluator.measure
    calls = 0

    def killing(*arguments, **options):
        nonlocal calls
        calls += 1
        # Each point is two measurements, of which the third snapshot gets none.
        if calls == 21:
            raise Killed
        return measure(*arguments, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(evaluator, "measure", killing)
        run_snapshots(chains, tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed").iterdir()] == [".progress"]
    calls = -100
    monkeypatch.setattr(evaluator, "measure", killing)
    found = run_snapshots(chains, tmp_path / "killed")
    # Only the last snapshot.
    assert calls == -100 + 10
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    assert [path.name for path in (tmp_path / "killed").iterdir()] == ["snapshots.csv"]


def test_a_single_network(make_networks, tmp_path) -> None:
    networks = make_networks("batch_norm", 1)
    workspace = networks.workspace
    load_weights(networks.paths[0], workspace.network, workspace.flat, workspace.flat.vector)
    metrics = tmp_path / "evaluation" / "metrics.csv"
    evaluate_network(
        workspace,
        TRAINING,
        EvaluationSettings(batch_size=32),
        metrics=metrics,
        fingerprint="job",
    )
    frame = pd.read_csv(metrics)
    assert list(frame.columns) == ["norm", *METRICS]
    assert len(frame) == 1
    kept = safetensors.torch.load_file(metrics.parent / "predictions.safetensors")
    # With the statistics of its training, which are in the file.
    plain = networks.workspace.network
    plain.load_state_dict(networks.states[0])
    inputs, targets = next(workspace.dataset.test.batches(45))
    with torch.no_grad():
        expected = plain.eval()(inputs).log_softmax(dim=1)
    torch.testing.assert_close(kept["log_probabilities"][0], expected)
    wrong = (expected.argmax(dim=1) != targets).double().mean().item()
    assert frame["test_error"][0] == pytest.approx(100 * wrong)
    assert sorted(path.name for path in metrics.parent.iterdir()) == [
        "correct.safetensors",
        "metrics.csv",
        "predictions.safetensors",
    ]


def test_a_curve_of_language_models(make_networks, tmp_path) -> None:
    networks = make_networks("recurrent")
    grid = run(networks, tmp_path, predictions=False)
    assert [column for column in grid if column.endswith("_nll")] == [
        "train_nll",
        "validation_nll",
        "test_nll",
    ]
    correct = safetensors.torch.load_file(tmp_path / "correct.safetensors")
    assert correct["examples"].tolist() == [109]
    bits = np.unpackbits(correct["correct"].numpy(), axis=1, count=109)
    np.testing.assert_allclose(grid["test_error"], 100 * (1 - bits.mean(axis=1)))


def test_a_log_says_which_snapshot_is_measured(chains, tmp_path, told) -> None:
    run_snapshots(chains, tmp_path / "curve")
    points = [place for place in told() if "example" not in place]
    assert points == [f"snapshot {s}/3  point {p}/5" for s in (1, 2, 3) for p in range(1, 6)]
