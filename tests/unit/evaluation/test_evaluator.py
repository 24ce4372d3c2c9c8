import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.evaluation import evaluator
from mode_connectivity.evaluation.evaluator import Evaluation, evaluate
from mode_connectivity.evaluation.settings import EvaluationSettings
from mode_connectivity.training.checkpoints import Checkpoint, CheckpointWriter
from mode_connectivity.weight_space.curves import Bezier, Polychain, unit_grid
from mode_connectivity.weight_space.family import Family, Point
from mode_connectivity.weight_space.planes import Plane

METRICS = [f"{part}_{name}" for part in ("train", "test") for name in ("loss", "nll", "error")]
NONE = AugmentationSettings(transforms=[])
CROP = AugmentationSettings(transforms=["crop"], crop_padding=2)


def run(
    workspace,
    family: Family,
    parameters: Tensor,
    *,
    augmentation: AugmentationSettings = NONE,
    batch_size: int = 32,
    augment_statistics: bool = True,
    augment_metrics: bool = False,
    **options,
) -> Evaluation:
    return evaluate(
        workspace.network,
        workspace.flat,
        family,
        parameters,
        workspace.dataset,
        EvaluationSettings(
            batch_size=batch_size,
            augment_statistics=augment_statistics,
            augment_metrics=augment_metrics,
        ),
        weight_decay=0.02,
        augmentation=augmentation,
        seed=0,
        **options,
    )


def whole(examples) -> tuple[Tensor, Tensor]:
    return next(examples.batches(len(examples)))


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
@pytest.mark.parametrize("kind", [Polychain, Bezier])
def test_rows_against_a_calculation_by_hand(make_networks, network, kind) -> None:
    networks = make_networks(network)
    workspace, states = networks.workspace, networks.states
    curve = kind(networks.vertices)
    found = run(workspace, curve, unit_grid(5), batch_size=70, predictions=True)
    parameters = [name for name, _ in workspace.network.named_parameters()]
    for index, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        weights = (
            [(1 - t) ** 2, 2 * t * (1 - t), t**2]
            if kind is Bezier
            else [max(0, 1 - 2 * t), 1 - abs(2 * t - 1), max(0, 2 * t - 1)]
        )
        point = copy.deepcopy(states[0])
        for name in parameters:
            point[name] = sum(w * s[name] for w, s in zip(weights, states, strict=True))
        plain = copy.deepcopy(workspace.network)
        plain.load_state_dict(point)
        row = found.grid.iloc[index]
        assert row["t"] == t
        assert [row[f"coefficient_{k}"] for k in range(3)] == pytest.approx(weights)
        norm = sum(point[name].double().square().sum() for name in parameters).sqrt().item()
        assert row["norm"] == pytest.approx(norm, rel=1e-6)

        # PyTorch's cumulative average over one whole batch, with dropout off.
        plain.eval()
        for module in plain.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.momentum = None
                module.train()
        with torch.no_grad():
            plain(whole(workspace.dataset.train)[0])
            plain.eval()
            for part in ("train", "test"):
                inputs, targets = whole(getattr(workspace.dataset, part))
                logits = plain(inputs)
                nll = functional.cross_entropy(logits, targets).item()
                wrong = logits.argmax(dim=1) != targets
                assert row[f"{part}_nll"] == pytest.approx(nll, rel=1e-4)
                assert row[f"{part}_loss"] == pytest.approx(nll + 0.01 * norm**2, rel=1e-4)
                assert row[f"{part}_error"] == pytest.approx(100 * wrong.double().mean().item())
        expected = logits.log_softmax(dim=1)
        torch.testing.assert_close(found.log_probabilities[index], expected, atol=1e-4, rtol=1e-4)
        packed = np.packbits(~wrong.numpy())
        assert found.correct[index].tolist() == packed.tolist()


def test_columns(make_networks) -> None:
    networks = make_networks("plain")
    grid = run(networks.workspace, Polychain(networks.vertices[:2]), unit_grid(3)).grid
    assert list(grid.columns) == ["t", "coefficient_0", "coefficient_1", "norm", *METRICS]
    plane = Plane(networks.vertices)
    grid = run(networks.workspace, plane, plane.lattice(2, 0.1)).grid
    coefficients = [f"coefficient_{k}" for k in range(3)]
    assert list(grid.columns) == ["x", "y", *coefficients, "norm", *METRICS]
    assert len(grid) == 4
    assert all(dtype == np.float64 for dtype in grid.dtypes)


def test_correctness_is_packed_eight_to_a_byte(make_networks) -> None:
    networks = make_networks("batch_norm", 2)
    found = run(networks.workspace, Polychain(networks.vertices), unit_grid(4), predictions=True)
    assert found.correct.shape == (4, 6)
    bits = np.unpackbits(found.correct.numpy(), axis=1, count=45).astype(bool)
    labels = networks.workspace.dataset.test.targets.numpy()
    np.testing.assert_array_equal(bits, found.log_probabilities.argmax(dim=2).numpy() == labels)
    np.testing.assert_allclose(found.grid["test_error"], 100 * (1 - bits.mean(axis=1)))


def test_predictions_are_kept_where_asked(make_networks) -> None:
    networks = make_networks("plain", 2)
    segment = Polychain(networks.vertices)
    assert run(networks.workspace, segment, unit_grid(2)).log_probabilities is None
    found = run(networks.workspace, segment, unit_grid(2), predictions=True).log_probabilities
    assert found.shape == (2, 45, 4)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.exp().sum(dim=2), torch.ones(2, 45))


def test_ends_are_the_endpoints_evaluated_on_their_own(make_networks) -> None:
    networks = make_networks("batch_norm")
    vertices = networks.vertices.clone()
    vertices[1] = torch.nan
    for kind in (Polychain, Bezier):
        found = run(networks.workspace, kind(vertices), unit_grid(3), predictions=True)
        for index, vertex in ((0, 0), (2, 2)):
            alone = Polychain(vertices[[vertex, vertex]])
            expected = run(networks.workspace, alone, unit_grid(2)[:1], predictions=True)
            assert found.grid.loc[index, METRICS[1:3]].equals(
                expected.grid.loc[0, METRICS[1:3]].rename(index)
            )
            assert torch.equal(found.log_probabilities[index], expected.log_probabilities[0])
            assert torch.equal(found.correct[index], expected.correct[0])
        assert found.grid["test_nll"].isna().tolist() == [False, True, False]


def test_a_single_network_keeps_the_statistics_of_its_training(make_networks) -> None:
    networks = make_networks("batch_norm", 1)
    workspace = networks.workspace
    workspace.network.load_state_dict(networks.states[0])
    statistics = {name: b.clone() for name, b in workspace.network.named_buffers()}
    found = run(workspace, Point(workspace.flat.vector), torch.empty(1, 0).double())
    inputs, targets = whole(workspace.dataset.test)
    with torch.no_grad():
        expected = functional.cross_entropy(workspace.network.eval()(inputs), targets).item()
    assert found.grid["test_nll"][0] == pytest.approx(expected, rel=1e-6)
    for name, buffer in workspace.network.named_buffers():
        assert torch.equal(buffer, statistics[name])
    assert list(found.grid.columns) == ["coefficient_0", "norm", *METRICS]


def test_networks_without_batch_norm_get_no_pass_for_statistics(make_networks, monkeypatch) -> None:
    def refuse(*arguments) -> None:
        raise AssertionError("statistics were re-estimated")

    monkeypatch.setattr(evaluator, "reestimate_statistics", refuse)
    networks = make_networks("plain", 2)
    run(networks.workspace, Polychain(networks.vertices), unit_grid(2))
    networks = make_networks("batch_norm", 2)
    with pytest.raises(AssertionError, match="re-estimated"):
        run(networks.workspace, Polychain(networks.vertices), unit_grid(2))


def changed(one: Evaluation, other: Evaluation) -> set[str]:
    return {name for name in METRICS if not one.grid[name].equals(other.grid[name])}


TRAIN, TEST = {"train_loss", "train_nll", "train_error"}, {"test_loss", "test_nll"}


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_augmentation_changes_what_it_says_and_nothing_else(make_networks, network) -> None:
    networks = make_networks(network, 2)

    def found(statistics: bool, metrics: bool, augmentation=CROP) -> Evaluation:
        return run(
            networks.workspace,
            Polychain(networks.vertices),
            unit_grid(4),
            augmentation=augmentation,
            augment_statistics=statistics,
            augment_metrics=metrics,
        )

    neither = found(False, False)
    assert changed(neither, found(False, False, NONE)) == set()
    assert changed(neither, found(True, True, NONE)) == set()

    on_metrics = changed(neither, found(False, True))
    assert {"train_loss", "train_nll"} <= on_metrics <= TRAIN

    on_statistics = changed(neither, found(True, False))
    if network == "plain":
        assert on_statistics == set()
        assert changed(found(False, True), found(True, True)) == set()
    else:
        assert {"train_nll", "test_nll", "train_loss", "test_loss"} <= on_statistics
        on_both = changed(found(False, True), found(True, True))
        assert {"train_nll", "test_nll"} <= on_both


def test_every_point_sees_the_same_augmented_draw(make_networks) -> None:
    networks = make_networks("batch_norm", 1)
    segment = Polychain(networks.vertices[[0, 0]])
    found = run(networks.workspace, segment, unit_grid(2), augmentation=CROP, augment_metrics=True)
    assert found.grid.loc[0, METRICS[1:3]].tolist() == found.grid.loc[1, METRICS[1:3]].tolist()


def test_an_augmentation_without_effect_changes_nothing(make_networks) -> None:
    # A crop without a border leaves every image as it is.
    networks = make_networks("plain", 2)
    segment = Polychain(networks.vertices)
    still = AugmentationSettings(transforms=["crop"], crop_padding=0)
    expected = run(networks.workspace, segment, unit_grid(2))
    found = run(networks.workspace, segment, unit_grid(2), augmentation=still, augment_metrics=True)
    assert changed(found, expected) == set()


class Killed(BaseException):
    """What a signal does: nobody catches it."""


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
@pytest.mark.parametrize("done", [1, 2, 4])
def test_a_killed_evaluation_resumes_where_it_was(
    make_networks, tmp_path, monkeypatch, network, done
) -> None:
    networks = make_networks(network)
    curve = Bezier(networks.vertices)
    options = {"augmentation": CROP, "augment_metrics": True, "predictions": True}
    expected = run(networks.workspace, curve, unit_grid(5), **options)

    monkeypatch.setattr(evaluator, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    save = CheckpointWriter.save

    def killing(self, tensors, state, **more) -> None:
        save(self, tensors, state, **more)
        if state["done"] == done:
            raise Killed

    path = tmp_path / "checkpoint.safetensors"
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(CheckpointWriter, "save", killing)
        run(
            networks.workspace,
            curve,
            unit_grid(5),
            checkpoint=Checkpoint(path, "job"),
            **options,
        )

    written = []
    write = curve.write
    monkeypatch.setattr(curve, "write", lambda row, out: (written.append(row), write(row, out)))
    resumed = Checkpoint(path, "job")
    found = run(networks.workspace, curve, unit_grid(5), checkpoint=resumed, **options)
    assert len(written) == 5 - done
    assert found.grid.equals(expected.grid)
    assert torch.equal(found.correct, expected.correct)
    assert torch.equal(found.log_probabilities, expected.log_probabilities)


def test_progress_is_kept_twice_a_minute(make_networks, tmp_path, monkeypatch) -> None:
    networks = make_networks("plain", 2)
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "job")
    asked, kept, written = [], [], []
    writing, save, write = Checkpoint.writing, CheckpointWriter.save, Checkpoint.save
    monkeypatch.setattr(
        Checkpoint, "writing", lambda self, **o: asked.append(o) or writing(self, **o)
    )
    monkeypatch.setattr(
        CheckpointWriter,
        "save",
        lambda self, tensors, state, **o: (
            kept.append((state["done"], o["after"])) or save(self, tensors, state, **o)
        ),
    )
    monkeypatch.setattr(
        Checkpoint,
        "save",
        lambda self, tensors, state: written.append(state["done"]) or write(self, tensors, state),
    )
    run(networks.workspace, Polychain(networks.vertices), unit_grid(10), checkpoint=checkpoint)
    # Every point is on hand for a signal; short work is written once, at its end.
    assert asked == [{"seconds": 30.0, "first": 30.0, "after": None}]
    assert kept == [(done, f"point {done}") for done in range(1, 11)]
    assert written == [10]
    tensors, _ = checkpoint.load()
    assert {name: len(tensor) for name, tensor in tensors.items()} == dict.fromkeys(tensors, 10)


TEXT_METRICS = [
    f"{part}_{name}"
    for part in ("train", "validation", "test")
    for name in ("loss", "nll", "error")
]


@pytest.mark.parametrize("kind", [Polychain, Bezier])
def test_a_text_against_a_calculation_by_hand(make_networks, kind) -> None:
    networks = make_networks("recurrent")
    workspace, states = networks.workspace, networks.states
    found = run(workspace, kind(networks.vertices), unit_grid(3))
    coefficients = [f"coefficient_{k}" for k in range(3)]
    assert list(found.grid.columns) == ["t", *coefficients, "norm", *TEXT_METRICS]
    middle = [0.25, 0.5, 0.25] if kind is Bezier else [0.0, 1.0, 0.0]
    for index, weights in enumerate(([1.0, 0.0, 0.0], middle, [0.0, 0.0, 1.0])):
        point = {
            name: sum(w * s[name] for w, s in zip(weights, states, strict=True))
            for name in states[0]
        }
        plain = copy.deepcopy(workspace.network)
        plain.load_state_dict(point)
        row = found.grid.iloc[index]
        norm = torch.cat([value.flatten() for value in point.values()]).double().norm().item()
        assert row["norm"] == pytest.approx(norm, rel=1e-6)
        for part, stream in workspace.dataset.parts.items():
            # The whole text in one go.
            plain.eval().reset_state()
            with torch.no_grad():
                logits = plain(stream.tokens[None, :-1].long())[0]
            targets = stream.tokens[1:].long()
            nll = functional.cross_entropy(logits, targets).item()
            wrong = logits.argmax(dim=1) != targets
            assert row[f"{part}_nll"] == pytest.approx(nll, rel=1e-4)
            assert row[f"{part}_loss"] == pytest.approx(nll + 0.01 * norm**2, rel=1e-4)
            assert row[f"{part}_error"] == pytest.approx(100 * wrong.double().mean().item())
        assert found.correct[index].tolist() == np.packbits(~wrong.numpy()).tolist()


@pytest.mark.parametrize("network", ["plain", "batch_norm", "recurrent"])
@pytest.mark.parametrize("parts", [("test",), ("train", "test"), ("test", "validation")])
def test_parts_of_a_data_set(make_networks, network, parts) -> None:
    networks = make_networks(network, 2)
    segment = Polychain(networks.vertices)
    whole = run(networks.workspace, segment, unit_grid(3), augmentation=CROP)
    part = run(networks.workspace, segment, unit_grid(3), augmentation=CROP, parts=parts)
    # Batch-norm statistics are those of the training set, whether it is measured or not.
    kept = [
        column
        for column in whole.grid
        if column.split("_")[0] in (*parts, "t", "coefficient", "norm")
    ]
    assert list(part.grid.columns) == kept
    assert part.grid.equals(whole.grid[kept])
    assert torch.equal(part.correct, whole.correct)


def test_only_the_test_set_is_read_where_nothing_else_is_needed(make_networks, monkeypatch) -> None:
    networks = make_networks("plain", 2)
    seen = []
    measure = evaluator.measure

    def counted(network: Any, batches: Any, **options: Any) -> Any:
        seen.append(len(batches := list(batches)))
        return measure(network, batches, **options)

    monkeypatch.setattr(evaluator, "measure", counted)
    run(networks.workspace, Polychain(networks.vertices), unit_grid(2), parts=["test"])
    assert seen == [2, 2]


@pytest.mark.parametrize("kind", ["segment", "bezier", "plane", "point"])
def test_norms_against_torch(make_networks, kind) -> None:
    networks = make_networks("batch_norm")
    workspace, vertices = networks.workspace, networks.vertices
    if kind == "plane":
        family = Plane(vertices)
        parameters = family.lattice(3, 0.2)
    elif kind == "point":
        workspace.flat.vector.copy_(vertices[1])
        family, parameters = Point(workspace.flat.vector), torch.empty(1, 0).double()
    else:
        family = Bezier(vertices) if kind == "bezier" else Polychain(vertices[:2])
        parameters = unit_grid(4)
    found = run(workspace, family, parameters, parts=["test"])
    points = family.coefficients(parameters) @ family.vertices.double()
    expected = torch.linalg.vector_norm(points, dim=1)
    np.testing.assert_allclose(found.grid["norm"], expected, rtol=1e-6)
    penalty = found.grid["test_loss"] - found.grid["test_nll"]
    np.testing.assert_allclose(penalty, 0.01 * expected**2, rtol=1e-6)


class Stored(Polychain):
    """Points that bring their batch-norm statistics along."""

    own_statistics = True

    def __init__(self, vertices: Tensor, network: nn.Module, states: list[dict]) -> None:
        super().__init__(vertices)
        self.network = network
        self.states = states

    def write(self, coefficients, out: Tensor) -> None:
        index = int(np.argmax(coefficients))
        super().write([float(k == index) for k in range(len(self.states))], out)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(self.states[index][name])


def test_points_may_have_statistics_of_their_own(make_networks) -> None:
    networks = make_networks("batch_norm", 2)
    workspace, states = networks.workspace, networks.states
    family = Stored(networks.vertices, workspace.network, states)
    found = run(workspace, family, unit_grid(2), augmentation=CROP)
    inputs, targets = whole(workspace.dataset.test)
    plain = copy.deepcopy(workspace.network)
    for index, state in enumerate(states):
        plain.load_state_dict(state)
        with torch.no_grad():
            expected = functional.cross_entropy(plain.eval()(inputs), targets).item()
        assert found.grid["test_nll"][index] == pytest.approx(expected, rel=1e-5)
    again = run(workspace, Polychain(networks.vertices), unit_grid(2), augmentation=CROP)
    assert {"test_nll", "train_nll"} <= changed(found, again)


@pytest.mark.parametrize("network", ["plain", "batch_norm"])
def test_what_a_log_says_of_an_evaluation(make_networks, told, caplog, network) -> None:
    networks = make_networks(network, 2)
    found = run(networks.workspace, Polychain(networks.vertices), unit_grid(2))
    passes = [32, 64, 70, 102, 115]
    if network == "batch_norm":
        # Of the training set once more, for the statistics.
        passes = [32, 64, 70, *(70 + each for each in passes)]
    within = [f"example {each}/{passes[-1]}" for each in passes]
    assert told() == [
        place
        for point in (1, 2)
        for place in (*(f"point {point}/2  {each}" for each in within), f"point {point}/2")
    ]
    row = found.grid.iloc[1]
    facts = f"test nll {row['test_nll']:.4f}  test error {row['test_error']:.4g} %"
    assert caplog.messages[-1].startswith(f"point 2/2  {facts}  ")


def test_a_short_evaluation_says_only_that_it_is_done(make_networks, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    networks = make_networks("plain", 2)
    run(networks.workspace, Polychain(networks.vertices), unit_grid(3))
    assert [message.partition("  ")[0] for message in caplog.messages] == ["point 3/3"]
