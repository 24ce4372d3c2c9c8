"""The loop beside plain PyTorch: modules, autograd and PyTorch's own unfused optimisers."""

import contextlib
import copy
import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_

from mode_connectivity.data.settings import AugmentationSettings
from mode_connectivity.evaluation.metrics import measure_test
from mode_connectivity.networks.carried_state import reset_state
from mode_connectivity.networks.recurrent import LanguageModel
from mode_connectivity.settings import UserError
from mode_connectivity.training.checkpoints import Checkpoint
from mode_connectivity.training.loop import (
    Recorder,
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


class Remembering:
    """Examples that remember the batches that were taken from them."""

    def __init__(self, examples) -> None:
        self.examples = examples
        self.passes: list[list[tuple[Tensor, Tensor]]] = []
        self.asked: list[dict] = []

    def __len__(self) -> int:
        return len(self.examples)

    def iterations(self, batch_size: int, *, window: int) -> int:
        return self.examples.iterations(batch_size, window=window)

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
def examples(dataset) -> Remembering:
    return Remembering(dataset.train)


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


def plain_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """The mean over examples or streams; of a text, the sum over the steps of a window."""
    if targets.ndim == 1:
        return functional.cross_entropy(logits, targets)
    losses = functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return losses.sum(dim=1).mean()


def reference(
    network, flat, vertices, family, drawn, examples, chosen, *, norms: list | None = None
) -> list[dict]:
    """Train named copies of the vertices by autograd through the affine combination."""
    norms = [] if norms is None else norms
    named = [flat.to_named(vertex.clone()) for vertex in vertices]
    trained = [tensor.requires_grad_() for k in family.trainable for tensor in named[k].values()]
    decay = chosen.optimiser.weight_decay
    on_point = chosen.optimiser.weight_decay_on == "point"
    optimiser = plain_optimiser(trained, chosen, 0.0 if on_point else decay)
    rows = iter(drawn)
    for batches in examples.passes:
        reset_state(network)
        for inputs, targets in batches:
            objective = torch.zeros(())
            for row in next(rows).tolist():
                point = {
                    name: sum(c * vertex[name] for c, vertex in zip(row, named, strict=True))
                    for name in flat.names
                }
                logits = functional_call(network, point, inputs)
                objective = objective + plain_loss(logits, targets)
                if on_point:
                    squares = sum(tensor.square().sum() for tensor in point.values())
                    objective = objective + 0.5 * decay * squares
            optimiser.zero_grad()
            objective.backward()
            if chosen.gradient_clipping is not None:
                norms.append(clip_grad_norm_(trained, chosen.gradient_clipping).item())
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


@pytest.mark.parametrize(("kind", "count"), [(Bezier, 4), (Simplex, 4)])
@pytest.mark.parametrize("weight_decay_on", ["point", "vertex"])
def test_clipping_of_several_vertices_as_one_vector(examples, kind, count, weight_decay_on) -> None:
    chosen = settings(
        learning_rate=0.1,
        gradient_clipping=1.5,
        optimiser={"momentum": 0.5, "weight_decay": 0.03, "weight_decay_on": weight_decay_on},
    )
    network = build()
    plain = copy.deepcopy(network)
    flat = FlatParameters(network, channels_last=True)
    vertices = 0.3 * torch.randn(count, len(flat))
    family = kind(vertices.clone())
    drawn = record_samples(family)
    train(network, flat, family, examples, chosen, seed=1)
    norms: list[float] = []
    expected = reference(plain, flat, vertices, family, drawn, examples, chosen, norms=norms)
    assert min(norms) < 1.5 < max(norms)
    for found, named in zip(family.vertices, expected, strict=True):
        for name, tensor in flat.to_named(found).items():
            torch.testing.assert_close(tensor, named[name].detach(), rtol=1e-3, atol=2e-5)


@OPTIMISERS
def test_clipping_of_a_network(examples, optimiser) -> None:
    learning_rate = 0.005 if optimiser.get("name") == "adam" else 0.05
    chosen = settings(optimiser=optimiser, learning_rate=learning_rate, gradient_clipping=2.8)
    network = build(batch_norm=True)
    plain = copy.deepcopy(network)
    flat = FlatParameters(network, channels_last=True)
    train(network, flat, Point(flat.vector), examples, chosen, seed=3)
    steps = plain_optimiser(plain.parameters(), chosen, chosen.optimiser.weight_decay)
    norms = []
    for batches in examples.passes:
        for inputs, targets in batches:
            steps.zero_grad()
            functional.cross_entropy(plain(inputs), targets).backward()
            norms.append(clip_grad_norm_(plain.parameters(), 2.8).item())
            steps.step()
    assert min(norms) < 2.8 < max(norms)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(
            network.state_dict()[name], expected, rtol=1e-3, atol=1e-5, msg=name
        )


def test_a_gradient_of_zero_is_not_clipped() -> None:
    # As torch does it, and not to 0 / 0.
    network = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    flat = FlatParameters(network)
    batch = [(torch.zeros(2, 2), torch.tensor([0, 1]))]

    class Same:
        def iterations(self, batch_size: int, *, window: int) -> int:
            return 1

        def batches(self, batch_size: int, **options) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(batch)

    train(network, flat, Point(flat.vector), Same(), settings(gradient_clipping=1.0), seed=0)
    assert torch.equal(flat.vector, torch.zeros(6))


TEXT = {"epochs": 2, "batch_size": 5, "window": 7, "gradient_clipping": 1.3}


def test_language_model_against_a_plain_loop(text) -> None:
    examples = Remembering(text.train)
    chosen = settings(**TEXT, learning_rate=0.2, optimiser={"momentum": 0.0})
    network = LanguageModel(words=7, hidden=6, layers=2, dropout=0.0, initial_range=0.5)
    plain = copy.deepcopy(network)
    flat = FlatParameters(network)
    history = train(network, flat, Point(flat.vector), examples, chosen, seed=3)
    # 229 tokens to predict in five streams of 45 steps.
    steps = [[inputs.shape[1] for inputs, _ in batches] for batches in examples.passes]
    assert steps == [[7, 7, 7, 7, 7, 7, 3]] * 2
    norms = []
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.2)
    for row, batches in zip(history.to_dict("records"), examples.passes, strict=True):
        state, total, wrong = None, 0.0, 0
        for inputs, targets in batches:
            outputs, state = plain.lstm(plain.embedding(inputs), state)
            state = tuple(part.detach() for part in state)
            logits = plain.output(outputs)
            loss = functional.cross_entropy(
                logits.flatten(0, 1), targets.flatten(), reduction="sum"
            )
            optimiser.zero_grad()
            (loss / 5).backward()
            norms.append(clip_grad_norm_(plain.parameters(), 1.3).item())
            optimiser.step()
            total += loss.item()
            wrong += int((logits.argmax(dim=2) != targets).sum())
        assert row["train_nll"] == pytest.approx(total / 225, rel=1e-4)
        assert row["train_error"] == pytest.approx(100 * wrong / 225)
        assert row["seconds"] * row["images_per_second"] == pytest.approx(225)
    assert min(norms) < 1.3 < max(norms)
    for name, expected in plain.state_dict().items():
        torch.testing.assert_close(
            network.state_dict()[name], expected, rtol=1e-3, atol=1e-4, msg=name
        )


@pytest.mark.parametrize("kind", [Polychain, Bezier])
def test_curves_of_language_models_against_autograd(text, make_workspace, kind) -> None:
    examples = Remembering(text.train)
    chosen = settings(
        **TEXT | {"gradient_clipping": 0.6}, learning_rate=0.05, optimiser={"weight_decay": 0.003}
    )
    workspace = make_workspace("recurrent")
    network, flat = workspace.network, workspace.flat
    vertices = 0.5 * torch.randn(3, len(flat))
    family = kind(vertices.clone())
    drawn = record_samples(family)
    history = train(network, flat, family, examples, chosen, seed=1)
    assert len(drawn) == 14
    plain = make_workspace("recurrent").network
    norms: list[float] = []
    expected = reference(plain, flat, vertices, family, drawn, examples, chosen, norms=norms)
    assert min(norms) < 0.6 < max(norms)
    assert torch.equal(family.vertices[[0, 2]], vertices[[0, 2]])
    assert not torch.allclose(family.vertices[1], vertices[1], atol=0.01)
    for name, tensor in flat.to_named(family.vertices[1]).items():
        torch.testing.assert_close(tensor, expected[1][name].detach(), rtol=1e-3, atol=1e-4)
    assert history["train_nll"].iloc[1] < history["train_nll"].iloc[0]


def test_every_epoch_reads_the_text_from_its_beginning(text, make_workspace) -> None:
    workspace = make_workspace("recurrent")
    network, flat = workspace.network, workspace.flat
    begun = []
    network.register_forward_pre_hook(lambda module, inputs: begun.append(module.state is None))
    network.state = torch.full((1, 5, 6), torch.nan)
    train(network, flat, Point(flat.vector), text.train, settings(**TEXT), seed=0)
    assert begun == [True, *[False] * 6] * 2


def test_a_text_that_is_too_short_for_its_streams_is_refused(text, make_workspace) -> None:
    workspace = make_workspace("recurrent")
    network, flat = workspace.network, workspace.flat
    with pytest.raises(UserError, match="has 230 tokens, too few for 230 streams"):
        train(network, flat, Point(flat.vector), text.train, settings(batch_size=230), seed=0)


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
        "iteration",
        "learning_rate",
        "train_nll",
        "train_error",
        "seconds",
        "images_per_second",
    ]
    assert history["epoch"].tolist() == [1, 2, 3]
    assert history["iteration"].tolist() == [5, 10, 15]
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
    train(
        network,
        flat,
        Point(flat.vector),
        examples,
        chosen,
        seed=seed,
        recorder=Recorder(snapshot=keep),
    )
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
    """A checkpoint at which the job is stopped: before it takes an epoch's state, or after it."""

    def __init__(self, path, when: str, epoch: int) -> None:
        super().__init__(path, "job")
        self.when = when
        self.epoch = epoch

    @contextlib.contextmanager
    def writing(self, **options):
        with super().writing(**options) as writer:
            save = writer.save

            def killing(tensors, state, **options) -> None:
                epoch = state["epoch"]
                if (self.when, epoch) == ("before", self.epoch):
                    raise Killed
                save(tensors, state, **options)
                if (self.when, epoch) == ("after", self.epoch):
                    raise Killed

            writer.save = killing
            yield writer


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
        recorder=Recorder(snapshot=on_snapshot),
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


SUBJECTS = pytest.mark.parametrize("which", ["images", "images curve", "text", "text curve"])


@pytest.fixture
def run(dataset, text):
    """Train a network with dropout and batch norm, a language model, or a curve of either."""

    def run(which: str, *, test: bool = True, checkpoint: Checkpoint | None = None, **changes):
        torch.manual_seed(7)
        if which.startswith("text"):
            data = text
            network = LanguageModel(words=7, hidden=6, layers=2, dropout=0.3, initial_range=0.5)
            options = {"batch_size": 5, "window": 7, "learning_rate": 0.02}
        else:
            data = dataset
            network = nn.Sequential(
                *build(batch_norm=True)[:-1], nn.Dropout(0.4), build(batch_norm=True)[-1]
            )
            options = {"augmentation": {"transforms": ["flip", "crop"], "crop_padding": 1}}
        flat = FlatParameters(network, channels_last=True)
        curve = which.endswith("curve")
        family = Bezier(torch.randn(4, len(flat)) / 4) if curve else Point(flat.vector)
        start = family.vertices.clone()
        history = train(
            network,
            flat,
            family,
            data.train,
            settings(
                **{
                    **options,
                    "gradient_clipping": 1.0,
                    "schedule": {"name": "cosine", "per": "iteration"},
                    **changes,
                }
            ),
            seed=2,
            checkpoint=checkpoint,
            recorder=Recorder(
                test=(lambda: measure_test(network, data.test, batch_size=20)) if test else None
            ),
        )
        buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
        columns = ["seconds", "images_per_second"]
        return family.vertices, buffers, history.drop(columns=columns), history, start

    return run


@SUBJECTS
@pytest.mark.parametrize("records", [1, 2, 4])
def test_measuring_on_the_way_changes_no_bit_of_the_training(run, which, records) -> None:
    plain = run(which)
    recorded = run(which, records_per_epoch=records, record_test=True)
    assert torch.equal(recorded[0], plain[0])
    assert all(torch.equal(recorded[1][name], plain[1][name]) for name in plain[1])
    assert (which.startswith("images")) is bool(plain[1])
    ends = recorded[2].iloc[records - 1 :: records].reset_index(drop=True)
    assert ends["learning_rate"].equals(plain[2]["learning_rate"])
    if records == 1:
        assert recorded[2][list(plain[2].columns)].equals(plain[2])


@SUBJECTS
@pytest.mark.parametrize("records", [2, 3])
def test_the_rows_of_an_epoch_average_to_its_own(run, which, records) -> None:
    whole, parts = run(which)[3], run(which, records_per_epoch=records)[3]
    assert len(whole) == 3
    assert len(parts) == 3 * records
    for epoch in range(3):
        rows = parts.iloc[epoch * records : (epoch + 1) * records]
        targets = rows["seconds"] * rows["images_per_second"]
        assert targets.sum() == pytest.approx(225 if which.startswith("text") else 70)
        for column in ("train_nll", "train_error"):
            mean = (rows[column] * targets).sum() / targets.sum()
            assert mean == pytest.approx(whole[column][epoch], rel=1e-6)


@pytest.mark.parametrize(
    ("which", "records", "ends"),
    [
        ("images", 2, [3, 5]),
        ("images", 3, [2, 4, 5]),
        ("images", 5, [1, 2, 3, 4, 5]),
        # There are no more rows than iterations.
        ("images", 99, [1, 2, 3, 4, 5]),
        ("text", 3, [3, 5, 7]),
    ],
)
def test_where_the_rows_of_an_epoch_stand(run, which, records, ends) -> None:
    schedule = {"name": "linear", "per": "iteration"}
    history = run(which, records_per_epoch=records, schedule=schedule, learning_rate=0.01)[3]
    iterations = ends[-1]
    places = [epoch + end / iterations for epoch in range(3) for end in ends]
    assert history["epoch"].tolist() == pytest.approx(places, rel=1e-12)
    assert history["epoch"].tolist()[len(ends) - 1 :: len(ends)] == [1, 2, 3]
    done = [epoch * iterations + end for epoch in range(3) for end in ends]
    assert history["iteration"].tolist() == done
    # That of the iteration before the row.
    rates = [0.01 * (1 - (place - 1 / iterations) / 3) for place in places]
    assert history["learning_rate"].tolist() == pytest.approx(rates)


@SUBJECTS
def test_what_is_recorded_on_the_way(run, which) -> None:
    vertices, _, history, _, start = run(which, records_per_epoch=2, record_test=True)
    assert list(history.columns) == [
        "epoch",
        "iteration",
        "learning_rate",
        "train_nll",
        "train_error",
        "test_nll",
        "test_error",
        "distance",
    ]
    assert history.notna().all(axis=None)
    moved = (vertices.double() - start.double()).norm().item()
    assert history["distance"].iloc[-1] == pytest.approx(moved, rel=1e-6)
    assert (history["distance"] > 0).all()
    assert history["test_nll"].nunique() == 6
    # Nobody there who measures, or nobody who asks.
    for options in ({"test": False, "record_test": True}, {"test": True}):
        assert list(run(which, **options)[2].columns) == list(history.columns)[:5]


def test_the_test_set_is_measured_with_the_weights_of_the_row(dataset) -> None:
    network = build(batch_norm=True)
    flat = FlatParameters(network)
    states = []

    def keep() -> dict[str, float]:
        states.append(copy.deepcopy(network.state_dict()))
        network.eval()
        return {"test_nll": float(len(states))}

    chosen = settings(records_per_epoch=5, record_test=True, epochs=1)
    start = flat.vector.clone()
    history = train(
        network,
        flat,
        Point(flat.vector),
        dataset.train,
        chosen,
        seed=2,
        recorder=Recorder(test=keep),
    )
    assert history["test_nll"].tolist() == [1, 2, 3, 4, 5]
    assert [int(state["1.num_batches_tracked"]) for state in states] == [1, 2, 3, 4, 5]
    for state, distance in zip(states, history["distance"], strict=True):
        vector = torch.empty_like(start)
        flat.from_named(
            {name: state[name] for name in flat.names}, vector, source="what was measured"
        )
        assert distance == pytest.approx((vector - start).norm().item(), rel=1e-5)


@SUBJECTS
def test_a_training_with_records_resumes_to_the_same_bits(run, tmp_path, which) -> None:
    options = {"records_per_epoch": 3, "record_test": True, "optimiser": {"name": "adam"}}
    whole = run(which, **options)
    for epoch in (1, 2):
        with pytest.raises(Killed):
            run(which, checkpoint=KillingCheckpoint(tmp_path / "path", "after", epoch), **options)
    again = run(which, checkpoint=Checkpoint(tmp_path / "path", "job"), **options)
    # The distance is from the weights it began with, not from those it was resumed from.
    assert_same_bits(again, whole)


def test_the_weights_a_training_begins_with_are_a_snapshot(examples, tmp_path) -> None:
    taken: dict[int, Tensor] = {}
    torch.manual_seed(11)
    first = nn.Sequential(nn.Flatten(), nn.Linear(144, 9), nn.Dropout(), nn.Linear(9, 4))
    final_weights(examples, seed=5, snapshots=[2, 0], taken=taken)
    assert list(taken) == [0, 2]
    assert torch.equal(taken[0], FlatParameters(first).vector)
    # Where 0 is not asked for, there is none.
    taken = {}
    final_weights(examples, seed=5, snapshots=[1], taken=taken)
    assert list(taken) == [1]


def test_a_resumed_training_takes_the_first_snapshot_once(examples, tmp_path) -> None:
    taken = []
    for checkpoint in (
        KillingCheckpoint(tmp_path / "path", "after", 2),
        Checkpoint(tmp_path / "path", "job"),
    ):
        network = build()
        flat = FlatParameters(network)
        with contextlib.suppress(Killed):
            train(
                network,
                flat,
                Point(flat.vector),
                examples,
                settings(snapshots=[0, 1, 2, 3]),
                seed=0,
                checkpoint=checkpoint,
                recorder=Recorder(snapshot=taken.append),
            )
    assert taken == [0, 1, 2, 3]


def test_snapshots_at_the_minima_of_the_learning_rate(examples) -> None:
    taken = []
    network = build()
    flat = FlatParameters(network)
    history = train(
        network,
        flat,
        Point(flat.vector),
        examples,
        settings(
            epochs=6,
            learning_rate=0.05,
            schedule={"name": "cyclic", "period": 4, "minimum": 0.001},
            snapshots="minima",
            records_per_epoch=5,
        ),
        seed=0,
        recorder=Recorder(snapshot=taken.append),
    )
    assert taken == [2, 6]
    rates = history.set_index("iteration")["learning_rate"]
    # One iteration before the minimum, as the learning rate is that of the last iteration.
    assert rates[10] < rates[9] < rates[8]
    assert rates[11] == pytest.approx(0.001)
    assert rates[12] > rates[11]


def branch(
    examples, optimiser, epochs: int, *, seed: int, start=None, state=None, checkpoints=()
) -> tuple[Tensor, dict]:
    """Train without anything random: every epoch is one step over the whole set."""
    torch.manual_seed(3)
    network = build()
    flat = FlatParameters(network, channels_last=True)
    if start is not None:
        flat.vector.copy_(start)
    kept = {}

    def keep(epoch: int, optimiser_state) -> None:
        kept[epoch] = (
            flat.vector.clone(),
            {name: tensor.clone() for name, tensor in optimiser_state.items()},
        )

    chosen = settings(
        epochs=epochs, batch_size=70, optimiser=optimiser, checkpoints=list(checkpoints)
    )
    train(
        network,
        flat,
        Point(flat.vector),
        examples,
        chosen,
        seed=seed,
        recorder=Recorder(checkpoint=keep),
        optimiser_state=state,
    )
    return flat.vector, kept


@pytest.mark.parametrize(
    "optimiser",
    [{"momentum": 0.9, "weight_decay": 0.01}, {"name": "adam", "weight_decay": 0.01}],
    ids=["momentum", "adam"],
)
def test_a_branch_goes_on_where_its_trunk_was(examples, optimiser) -> None:
    trunk, kept = branch(examples, optimiser, 7, seed=1, checkpoints=[4, 7])
    assert list(kept) == [4, 7]
    assert torch.equal(kept[7][0], trunk)
    start, state = kept[4]
    before = {name: tensor.clone() for name, tensor in state.items()}
    found, _ = branch(examples, optimiser, 3, seed=2, start=start, state=state)
    torch.testing.assert_close(found, trunk, rtol=1e-4, atol=1e-5)
    # What it was given is not written into.
    assert all(torch.equal(state[name], before[name]) for name in before)
    # It is the optimiser's state that makes the difference.
    fresh, _ = branch(examples, optimiser, 3, seed=2, start=start)
    assert (fresh - trunk).norm() > 30 * (found - trunk).norm()
    assert (fresh - trunk).norm() > 0.05 * (trunk - start).norm()


def test_a_branch_of_plain_gradient_descent_needs_no_state(examples) -> None:
    trunk, kept = branch(examples, {"momentum": 0.0}, 5, seed=1, checkpoints=[2])
    start, state = kept[2]
    assert state == {}
    found, _ = branch(examples, {"momentum": 0.0}, 3, seed=2, start=start, state=state)
    torch.testing.assert_close(found, trunk, rtol=1e-4, atol=1e-5)


def test_a_resumed_branch_has_its_own_state_of_the_optimiser(examples, tmp_path) -> None:
    _, kept = branch(examples, {"momentum": 0.9}, 4, seed=1, checkpoints=[4])
    start, state = kept[4]

    def continued(checkpoint: Checkpoint | None) -> Tensor:
        network = build()
        flat = FlatParameters(network, channels_last=True)
        flat.vector.copy_(start)
        train(
            network,
            flat,
            Point(flat.vector),
            examples,
            settings(),
            seed=4,
            checkpoint=checkpoint,
            optimiser_state=state,
        )
        return flat.vector

    with pytest.raises(Killed):
        continued(KillingCheckpoint(tmp_path / "path", "after", 2))
    assert torch.equal(continued(Checkpoint(tmp_path / "path", "job")), continued(None))


def test_what_a_log_says_of_a_training(examples, told, caplog) -> None:
    flat = FlatParameters(network := build())
    history = train(network, flat, Point(flat.vector), examples, settings(epochs=2), seed=0)
    # Five iterations an epoch: within one, how far it is; at its end, what was met.
    parts = [f"epoch {k / 5:g}/2" for k in range(1, 11)]
    assert told() == parts
    row = history.iloc[1]
    assert caplog.messages[-1] == (
        f"epoch 2/2  learning rate 0.05  train nll {row['train_nll']:.4f}  "
        f"train error {row['train_error']:.4g} %  {row['seconds']:.2f} s  "
        f"{row['images_per_second']:.0f} images/s"
    )


def test_short_epochs_say_no_more_than_a_line_each(examples, caplog) -> None:
    caplog.set_level("INFO", "mode_connectivity")
    flat = FlatParameters(network := build())
    train(network, flat, Point(flat.vector), examples, settings(epochs=2), seed=0)
    assert [message.partition("  ")[0] for message in caplog.messages] == ["epoch 1/2", "epoch 2/2"]
