"""The loop beside plain PyTorch: modules, autograd and PyTorch's own unfused optimisers."""

import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.loop import (
    TrainingDivergedError,
    derive_seed,
    train,
    uses_bfloat16,
)
from mode_connectivity.training.settings import TrainingSettings
from mode_connectivity.weight_space.curves import Bezier, Polychain
from mode_connectivity.weight_space.family import Point, TrainableFamily
from mode_connectivity.weight_space.flat import FlatParameters

LAYOUTS = pytest.mark.parametrize("channels_last", [False, True])


class Recorder:
    """Examples that remember the batches that were taken from them."""

    def __init__(self, examples) -> None:
        self.examples = examples
        self.passes: list[list[tuple[Tensor, Tensor]]] = []
        self.asked: list[dict] = []

    def __len__(self) -> int:
        return len(self.examples)

    def batches(self, batch_size: int, **options) -> Iterator[tuple[Tensor, Tensor]]:
        self.asked.append(options)
        self.passes.append(list(self.examples.batches(batch_size, **options)))
        return iter(self.passes[-1])


class Simplex(TrainableFamily):
    """Three points a step, drawn from the simplex, and two of its four vertices trained."""

    def __init__(self, vertices: Tensor) -> None:
        super().__init__(vertices, trainable=(1, 3))

    def coefficients(self, parameters: Tensor) -> Tensor:
        return parameters

    def sample(self, generator: torch.Generator) -> Tensor:
        draws = -torch.rand(3, 4, generator=generator, dtype=torch.float64).log()
        return draws / draws.sum(dim=1, keepdim=True)


@pytest.fixture
def examples(dataset) -> Recorder:
    return Recorder(dataset.train)


def build(*, batch_norm: bool = False) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4) if batch_norm else nn.Identity(),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(48, 4),
    )


def settings(**changes) -> TrainingSettings:
    return TrainingSettings.model_validate(
        {
            "epochs": 3,
            "batch_size": 16,
            "learning_rate": 0.05,
            "schedule": {"name": "constant"},
            **changes,
        }
    )


def record_samples(family: TrainableFamily) -> list[Tensor]:
    drawn = []
    sample = family.sample

    def recording(generator: torch.Generator) -> Tensor:
        drawn.append(sample(generator))
        return drawn[-1]

    family.sample = recording
    return drawn


def plain_optimiser(parameters, chosen: TrainingSettings, weight_decay: float):
    options = {"lr": chosen.learning_rate, "weight_decay": weight_decay, "foreach": False}
    if chosen.optimiser.name == "adam":
        return torch.optim.Adam(parameters, **options)
    return torch.optim.SGD(
        parameters,
        momentum=chosen.optimiser.momentum,
        nesterov=chosen.optimiser.nesterov,
        **options,
    )


OPTIMISERS = pytest.mark.parametrize(
    "optimiser",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.03},
        {"momentum": 0.8, "weight_decay": 0.03, "nesterov": True},
        {"name": "adam", "weight_decay": 0.03},
    ],
    ids=["sgd", "momentum", "nesterov", "adam"],
)


@OPTIMISERS
@LAYOUTS
@pytest.mark.parametrize("batch_norm", [False, True])
def test_network_against_a_plain_loop(examples, optimiser, channels_last, batch_norm) -> None:
    learning_rate = 0.005 if optimiser.get("name") == "adam" else 0.05
    chosen = settings(
        optimiser=optimiser,
        learning_rate=learning_rate,
        schedule={"name": "linear", "per": "iteration"},
    )
    network = build(batch_norm=batch_norm)
    plain = copy.deepcopy(network)
    flat = FlatParameters(network, channels_last=channels_last)
    # As an evaluation leaves it.
    network.eval()
    history = train(network, flat, Point(flat.vector), examples, chosen, seed=3)

    steps = plain_optimiser(plain.parameters(), chosen, chosen.optimiser.weight_decay)
    for epoch, batches in enumerate(examples.passes):
        nll, errors = 0.0, 0
        for iteration, (inputs, targets) in enumerate(batches):
            time = epoch + iteration / len(batches)
            steps.param_groups[0]["lr"] = learning_rate * (1 - time / 3)
            logits = plain(inputs)
            loss = functional.cross_entropy(logits, targets)
            steps.zero_grad()
            loss.backward()
            steps.step()
            nll += loss.item() * len(targets) / len(examples)
            errors += int((logits.argmax(dim=1) != targets).sum())
        row = history.iloc[epoch]
        assert row["train_nll"] == pytest.approx(nll, rel=1e-4)
        assert row["train_error"] == pytest.approx(100 * errors / len(examples))
        assert row["learning_rate"] == pytest.approx(learning_rate * (1 - time / 3))
    assert [len(batches) for batches in examples.passes] == [5, 5, 5]
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(
            network.state_dict()[name], expected, rtol=1e-3, atol=1e-5, msg=name
        )
    # It has learnt something, or there would be little to compare.
    assert history["train_nll"].iloc[-1] < 0.9 * history["train_nll"].iloc[0]


def reference(network, flat, vertices, family, drawn, examples, chosen) -> list[dict]:
    """Train named copies of the vertices by autograd through the affine combination."""
    named = [flat.to_named(vertex.clone()) for vertex in vertices]
    trained = [tensor.requires_grad_() for k in family.trainable for tensor in named[k].values()]
    decay = chosen.optimiser.weight_decay
    on_point = chosen.optimiser.weight_decay_on == "point"
    optimiser = plain_optimiser(trained, chosen, 0.0 if on_point else decay)
    rows = iter(drawn)
    for batches in examples.passes:
        for inputs, targets in batches:
            objective = torch.zeros(())
            for row in next(rows).tolist():
                point = {
                    name: sum(c * vertex[name] for c, vertex in zip(row, named, strict=True))
                    for name in flat.names
                }
                logits = functional_call(network, point, inputs)
                objective = objective + functional.cross_entropy(logits, targets)
                if on_point:
                    squares = sum(tensor.square().sum() for tensor in point.values())
                    objective = objective + 0.5 * decay * squares
            optimiser.zero_grad()
            objective.backward()
            optimiser.step()
    assert next(rows, None) is None
    return named


@pytest.mark.parametrize(
    ("kind", "count"), [(Polychain, 3), (Bezier, 3), (Bezier, 4), (Simplex, 4)]
)
@pytest.mark.parametrize("weight_decay_on", ["point", "vertex"])
@OPTIMISERS
@LAYOUTS
def test_families_against_autograd(
    examples, kind, count, weight_decay_on, optimiser, channels_last
) -> None:
    chosen = settings(
        epochs=2,
        learning_rate=0.003 if optimiser.get("name") == "adam" else 0.02,
        optimiser={**optimiser, "weight_decay_on": weight_decay_on},
    )
    network = build(batch_norm=True)
    plain = copy.deepcopy(network)
    flat = FlatParameters(network, channels_last=channels_last)
    vertices = 0.3 * torch.randn(count, len(flat))
    family = kind(vertices.clone())
    drawn = record_samples(family)
    train(network, flat, family, examples, chosen, seed=1)

    expected = reference(plain, flat, vertices, family, drawn, examples, chosen)
    for k, (found, named) in enumerate(zip(family.vertices, expected, strict=True)):
        assert torch.equal(found, vertices[k]) is (k not in family.trainable)
        for name, tensor in flat.to_named(found).items():
            torch.testing.assert_close(tensor, named[name].detach(), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", [Polychain, Bezier])
def test_gradient_of_the_bend(examples, kind) -> None:
    # One batch, one step at learning rate 1 and no momentum: the bend moves by its gradient.
    decay = 0.1
    network = build()
    flat = FlatParameters(network, channels_last=True)
    vertices = torch.randn(3, len(flat))
    family = kind(vertices.clone())
    drawn = record_samples(family)
    optimiser = {"momentum": 0.0, "weight_decay": decay}
    chosen = settings(epochs=1, batch_size=70, learning_rate=1.0, optimiser=optimiser)
    train(network, flat, family, examples, chosen, seed=0)
    found = vertices[1] - family.vertices[1]

    coefficient = drawn[0][0, 1].item()
    phi = (drawn[0][0].float() @ vertices).requires_grad_()
    logits = functional_call(
        network, dict(zip(flat.names, flat.views(phi), strict=True)), (examples.passes[0][0][0],)
    )
    (slope,) = torch.autograd.grad(functional.cross_entropy(logits, examples.passes[0][0][1]), phi)
    expected = coefficient * (slope + decay * phi.detach())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert slope.norm() > 0.1


@pytest.mark.parametrize("kind", [Polychain, Bezier, Simplex])
def test_fixed_vertices_never_change(examples, kind) -> None:
    network = build()
    flat = FlatParameters(network)
    vertices = torch.randn(4, len(flat))
    family = kind(vertices.clone())
    train(network, flat, family, examples, settings(optimiser={"weight_decay": 0.1}), seed=0)
    for k in range(4):
        assert torch.equal(family.vertices[k], vertices[k]) is (k not in family.trainable)


def test_one_t_a_batch(examples) -> None:
    network = build()
    flat = FlatParameters(network)
    family = Polychain(torch.randn(3, len(flat)))
    drawn = record_samples(family)
    train(network, flat, family, examples, settings(), seed=0)
    assert [points.shape for points in drawn] == [(1, 3)] * 15
    t = {float(points[0] @ torch.tensor([0.0, 0.5, 1.0]).double()) for points in drawn}
    assert len(t) == 15


def test_several_points_are_averaged_in_the_history(examples) -> None:
    network = build()
    flat = FlatParameters(network)
    vertices = torch.randn(4, len(flat))
    family = Simplex(vertices.clone())
    drawn = record_samples(family)
    chosen = settings(epochs=1, batch_size=70, learning_rate=1e-6)
    history = train(network, flat, family, examples, chosen, seed=0)
    inputs, targets = examples.passes[0][0]
    losses, errors = [], []
    for row in drawn[0].float():
        flat.vector.copy_(row @ vertices)
        logits = network(inputs)
        losses.append(functional.cross_entropy(logits, targets).item())
        errors.append(100 * (logits.argmax(dim=1) != targets).double().mean().item())
    assert history["train_nll"][0] == pytest.approx(sum(losses) / 3, rel=1e-5)
    assert history["train_error"][0] == pytest.approx(sum(errors) / 3, rel=1e-5)


def test_history(examples) -> None:
    network = build()
    flat = FlatParameters(network)
    history = train(network, flat, Point(flat.vector), examples, settings(), seed=0)
    assert list(history.columns) == [
        "epoch",
        "learning_rate",
        "train_nll",
        "train_error",
        "seconds",
        "images_per_second",
    ]
    assert history["epoch"].tolist() == [1, 2, 3]
    rate = history["seconds"] * history["images_per_second"]
    assert rate.tolist() == pytest.approx([70.0] * 3)


def test_the_learning_rate_moves_every_iteration_where_it_should(examples) -> None:
    network = build()
    flat = FlatParameters(network)
    rates = []
    schedule = {"name": "cyclic", "period": 2, "minimum": 0.01}
    history = train(
        network,
        flat,
        Point(flat.vector),
        examples,
        settings(epochs=2, learning_rate=0.11, schedule=schedule),
        seed=0,
    )
    rates = history["learning_rate"].tolist()
    assert rates == pytest.approx([0.11 - 0.1 * 4 / 5, 0.01 + 0.1 * 4 / 5])


def test_what_is_asked_of_the_examples(examples) -> None:
    network = build()
    flat = FlatParameters(network)
    augmentation = AugmentationSettings(transforms=["flip", "crop"], crop_padding=1)
    chosen = settings(augmentation=augmentation.model_dump())
    train(network, flat, Point(flat.vector), examples, chosen, seed=0)
    assert all(asked["shuffle"] for asked in examples.asked)
    assert all(asked["augmentation"] == augmentation for asked in examples.asked)
    orders = [torch.cat([targets for _, targets in batches]) for batches in examples.passes]
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0].sort()[0], orders[1].sort()[0])


def final_weights(examples, *, seed: int, epochs: int = 2, taken=None, **changes) -> Tensor:
    """Train a network with dropout from the same start; ``taken`` collects its snapshots."""
    torch.manual_seed(11)
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 9), nn.Dropout(), nn.Linear(9, 4))
    flat = FlatParameters(network)
    # What other code draws in between has no influence.
    torch.manual_seed(derive_seed("anything", len(examples.passes)))

    def keep(epoch: int) -> None:
        if taken is not None:
            taken[epoch] = flat.vector.clone()

    chosen = settings(epochs=epochs, **changes)
    train(network, flat, Point(flat.vector), examples, chosen, seed=seed, on_snapshot=keep)
    return flat.vector


def test_same_seed_same_bits(examples) -> None:
    augmentation = {"transforms": ["crop"], "crop_padding": 1}
    first = final_weights(examples, seed=5, augmentation=augmentation)
    assert torch.equal(first, final_weights(examples, seed=5, augmentation=augmentation))
    assert not torch.equal(first, final_weights(examples, seed=6, augmentation=augmentation))


def test_seeds_of_different_purposes_differ() -> None:
    seeds = {derive_seed(seed, name, e) for seed in (0, 1) for name in "ab" for e in range(20)}
    assert len(seeds) == 80
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derive_seed(1, "a") == derive_seed(1, "a")


def test_snapshots_are_taken_after_their_epochs(examples) -> None:
    taken: dict[int, Tensor] = {}
    final_weights(examples, seed=5, epochs=4, snapshots=[3, 1], taken=taken)
    assert list(taken) == [1, 3]
    for epoch, vector in taken.items():
        assert torch.equal(vector, final_weights(examples, seed=5, epochs=epoch))


def diverging(examples, checkpoint: Checkpoint | None, **changes) -> None:
    network = build()
    flat = FlatParameters(network)
    train(
        network,
        flat,
        Point(flat.vector),
        examples,
        settings(**changes),
        seed=0,
        checkpoint=checkpoint,
    )


def test_divergence_names_epoch_rate_and_last_good_checkpoint(examples, tmp_path) -> None:
    schedule = {"name": "step", "milestones": [2], "factor": 1e30}
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "job")
    with pytest.raises(TrainingDivergedError) as caught:
        diverging(examples, checkpoint, schedule=schedule)
    text = str(caught.value)
    assert "in epoch 3 at learning rate 5e+28" in text
    assert f"last good checkpoint: epoch 2 in {checkpoint.path}" in text
    tensors, state = checkpoint.load()
    assert [row["epoch"] for row in state["history"]] == [1, 2]
    assert tensors["vertex.0"].isfinite().all()
    with pytest.raises(TrainingDivergedError, match=r"epoch 3 .* last good checkpoint: none"):
        diverging(examples, None, schedule=schedule)


def test_a_last_step_that_ruins_the_weights_is_noticed(examples, tmp_path) -> None:
    # The only loss of each epoch is taken before the step that overflows.
    schedule = {"name": "step", "milestones": [1], "factor": 1e40}
    checkpoint = Checkpoint(tmp_path / "checkpoint.safetensors", "job")
    with pytest.raises(TrainingDivergedError, match=r"epoch 2 .* epoch 1 in"):
        diverging(examples, checkpoint, epochs=2, batch_size=70, schedule=schedule)


def test_an_infinite_loss_is_noticed_where_the_weights_stay_finite(examples) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(144, 4))
    with torch.no_grad():
        network[1].weight.zero_()
        network[1].bias.copy_(torch.tensor([3e38, -3e38, -3e38, -3e38]))
    flat = FlatParameters(network)
    with pytest.raises(TrainingDivergedError, match="in epoch 1"):
        train(network, flat, Point(flat.vector), examples, settings(), seed=0)
    assert flat.vector.isfinite().all()


def test_precision() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert not uses_bfloat16(settings(), cpu)
    assert uses_bfloat16(settings(), cuda)
    for device in (cpu, cuda):
        assert uses_bfloat16(settings(precision="bfloat16"), device)
        assert not uses_bfloat16(settings(precision="float32"), device)


def test_bfloat16_is_nearly_float32(examples) -> None:
    found = [
        final_weights(examples, seed=5, precision=precision)
        for precision in ("float32", "bfloat16")
    ]
    assert not torch.equal(*found)
    torch.testing.assert_close(*found, rtol=0, atol=0.02)


class Killed(BaseException):
    """What a signal does: nobody catches it."""


class KillingCheckpoint(Checkpoint):
    """A checkpoint during whose saving, or right after it, the process is killed."""

    def __init__(self, path, when: str, epoch: int) -> None:
        super().__init__(path, "job")
        self.when = when
        self.epoch = epoch

    def save(self, tensors, state) -> None:
        epoch = len(state["history"])
        if (self.when, epoch) == ("before", self.epoch):
            raise Killed
        super().save(tensors, state)
        if (self.when, epoch) == ("after", self.epoch):
            raise Killed


def resumable(examples, kind, checkpoint, optimiser, on_snapshot=None):
    """A batch-norm network with dropout, or a curve between two of them."""
    torch.manual_seed(7)
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.4),
        nn.Linear(96, 4),
    )
    flat = FlatParameters(network, channels_last=True)
    family = Point(flat.vector) if kind is Point else kind(torch.randn(4, len(flat)) / 4)
    chosen = settings(
        epochs=4,
        learning_rate=0.01,
        snapshots=[1, 2, 3, 4],
        optimiser=optimiser,
        schedule={"name": "cosine", "per": "iteration"},
        augmentation={"transforms": ["flip", "crop"], "crop_padding": 1},
    )
    torch.manual_seed(int(1e6 * math.pi) + checkpoint.path.exists())
    history = train(
        network,
        flat,
        family,
        examples,
        chosen,
        seed=2,
        checkpoint=checkpoint,
        on_snapshot=on_snapshot,
    )
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    return family.vertices, buffers, history.drop(columns=["seconds", "images_per_second"])


def assert_same_bits(found, expected) -> None:
    assert torch.equal(found[0], expected[0])
    assert found[1].keys() == expected[1].keys()
    assert all(torch.equal(found[1][name], expected[1][name]) for name in expected[1])
    assert found[2].equals(expected[2])


RESUMED = pytest.mark.parametrize("kind", [Point, Bezier, Simplex])
RESUMED_OPTIMISERS = pytest.mark.parametrize(
    "optimiser",
    [
        {"momentum": 0.9, "weight_decay": 0.01},
        {"momentum": 0.0},
        {"name": "adam", "weight_decay": 0.01},
    ],
    ids=["momentum", "sgd", "adam"],
)


@RESUMED
@RESUMED_OPTIMISERS
def test_a_resumed_training_ends_in_the_same_bits(examples, tmp_path, kind, optimiser) -> None:
    whole = resumable(examples, kind, Checkpoint(tmp_path / "whole", "job"), optimiser)
    for epoch in range(1, 5):
        for when in ("before", "after", "snapshot"):
            path = tmp_path / f"{when}{epoch}"

            def kill(now: int, when: str = when, epoch: int = epoch) -> None:
                if (when, now) == ("snapshot", epoch):
                    raise Killed

            with pytest.raises(Killed):
                checkpoint = KillingCheckpoint(path, when, epoch)
                resumable(examples, kind, checkpoint, optimiser, kill)
            done = epoch if when == "after" else epoch - 1
            assert path.exists() is (done > 0)
            before = len(examples.passes)
            again = resumable(examples, kind, Checkpoint(path, "job"), optimiser)
            assert len(examples.passes) - before == 4 - done
            assert_same_bits(again, whole)


def test_a_training_killed_again_and_again(examples, tmp_path) -> None:
    optimiser = {"name": "adam"}
    whole = resumable(examples, Bezier, Checkpoint(tmp_path / "whole", "job"), optimiser)
    for epoch in range(1, 5):
        with pytest.raises(Killed):
            checkpoint = KillingCheckpoint(tmp_path / "path", "after", epoch)
            resumable(examples, Bezier, checkpoint, optimiser)
    again = resumable(examples, Bezier, Checkpoint(tmp_path / "path", "job"), optimiser)
    assert_same_bits(again, whole)


@pytest.mark.parametrize("damage", ["foreign", "truncated", "flipped"])
def test_a_bad_checkpoint_is_never_trained_on(examples, tmp_path, caplog, damage) -> None:
    optimiser = {"momentum": 0.9}
    whole = resumable(examples, Point, Checkpoint(tmp_path / "whole", "job"), optimiser)
    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        resumable(examples, Point, KillingCheckpoint(path, "after", 2), optimiser)
    content = bytearray(path.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    elif damage == "flipped":
        content[-100] ^= 4
    path.write_bytes(content)
    before = len(examples.passes)
    fingerprint = "another job" if damage == "foreign" else "job"
    again = resumable(examples, Point, Checkpoint(path, fingerprint), optimiser)
    assert len(examples.passes) - before == 4
    assert_same_bits(again, whole)
    kind = "foreign" if damage == "foreign" else "damaged"
    assert path.with_name(f"checkpoint.{kind}-1.safetensors").exists()
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
