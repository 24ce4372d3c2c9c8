from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.neighbors import KNeighborsClassifier

from mode_connectivity.data import prepared_file
from mode_connectivity.data.arrays import Dataset, load_dataset
from mode_connectivity.data.points import PointExamples
from mode_connectivity.data.settings import (
    AugmentationSettings,
    RegressionSettings,
    TwoSpiralsSettings,
)
from mode_connectivity.data.sources import prepare
from mode_connectivity.settings import UserError

CPU = torch.device("cpu")


def spirals(folder: Path, **options) -> Path:
    return prepared(folder, TwoSpiralsSettings(title="T", source="two_spirals", **options))


def regression(folder: Path, **options) -> Path:
    return prepared(folder, RegressionSettings(title="T", source="regression", **options))


def prepared(folder: Path, settings) -> Path:
    path = folder / "data.safetensors"
    prepare(settings, data_root=folder, download=False, output=path)
    return path


def points(examples) -> tuple[np.ndarray, np.ndarray]:
    return examples.inputs.double().numpy(), examples.targets.numpy()


def test_two_spirals_are_those_of_the_notebook(tmp_path) -> None:
    dataset = load_dataset(spirals(tmp_path, noise=0.0, train_per_class=400), CPU)
    assert (len(dataset.train), len(dataset.test)) == (800, 200)
    assert (dataset.outputs, dataset.input_shape, len(dataset.classes)) == (1, (2,), 2)
    for part in (dataset.train, dataset.test):
        places, labels = points(part)
        assert np.bincount(labels).tolist() == [len(part) // 2] * 2
        # The second spiral is the first one turned by half a turn.
        first = np.where(labels[:, None] == 0, places, -places)
        angle = np.hypot(*first.T) / 1.5
        assert angle.max() <= np.deg2rad(600)
        expected = 1.5 * angle[:, None] * np.column_stack([-np.cos(angle), np.sin(angle)])
        np.testing.assert_allclose(first, expected, atol=1e-4)
    # r = sqrt(u) * 600 degrees: its square is uniform.
    squares = (np.hypot(*points(dataset.train)[0].T) / 1.5 / np.deg2rad(600)) ** 2
    assert abs(squares.mean() - 1 / 2) < 0.04 and abs(squares.var() - 1 / 12) < 0.01


def test_noise_of_the_spirals_and_fresh_points_for_testing(tmp_path) -> None:
    default = load_dataset(spirals(tmp_path), CPU)
    assert (len(default.train), len(default.test)) == (100, 200)
    many = {"train_per_class": 3000, "test_per_class": 3000, "lattice_step": 5.0}
    clean = load_dataset(spirals(tmp_path, noise=0.0, **many), CPU)
    noisy = load_dataset(spirals(tmp_path, noise=1.0, **many), CPU)
    difference = points(noisy.train)[0][:3000] - points(clean.train)[0][:3000]
    assert abs(difference.std() - 1.0) < 0.03 and np.abs(difference.mean(axis=0)).max() < 0.06
    assert abs(np.corrcoef(difference.T)[0, 1]) < 0.06
    assert not np.array_equal(points(noisy.train)[0], points(noisy.test)[0])
    # The two classes are no mixture: neighbours tell them apart.
    neighbours = KNeighborsClassifier(25).fit(*points(noisy.train))
    assert neighbours.score(*points(noisy.test)) > 0.95


def test_the_lattice_reaches_beyond_the_training_points(tmp_path) -> None:
    dataset = load_dataset(spirals(tmp_path, lattice_step=0.5, lattice_margin=3.0), CPU)
    places, _ = points(dataset.train)
    lattice = dataset.plot.inputs.double().numpy()
    assert dataset.plot.targets is None
    np.testing.assert_allclose(lattice.min(axis=0), places.min(axis=0) - 3, atol=1e-4)
    beyond = lattice.max(axis=0) - (places.max(axis=0) + 3)
    assert (beyond >= -1e-4).all() and (beyond < 0.5).all()
    across, up = np.unique(lattice[:, 0]), np.unique(lattice[:, 1])
    assert len(across) * len(up) == len(lattice)
    np.testing.assert_allclose(np.diff(across), 0.5, atol=1e-4)
    # Row by row: the first coordinate runs fastest.
    np.testing.assert_array_equal(lattice[: len(across), 0], across)


def test_the_regression_is_as_the_facts_have_it(tmp_path) -> None:
    dataset = load_dataset(regression(tmp_path), CPU)
    assert (dataset.outputs, dataset.input_shape, dataset.classes) == (1, (1,), ())
    for part in (dataset.train, dataset.test):
        x, y = points(part)
        assert x.shape == (400, 1) and y.dtype == np.float32
        inside = [
            int(((x > low) & (x < high)).sum())
            for low, high in ((-7.2, -4.8), (-1.2, 1.2), (4.8, 7.2))
        ]
        assert inside == [115, 136, 149]
        assert -0.75 < y.min() < -0.5 and 0.75 < y.max() < 1.0
    assert dataset.train.noise_variance == 0.05
    np.testing.assert_allclose(dataset.plot.inputs[:, 0], np.linspace(-10, 10, 100), rtol=1e-6)
    assert dataset.plot.targets.shape == (100,)


def test_noise_of_the_regression(tmp_path) -> None:
    options = {"counts": [3000, 3000, 3000], "plot_points": 4001}
    dataset = load_dataset(regression(tmp_path, **options), CPU)
    plot = [each.double().numpy().ravel() for each in (dataset.plot.inputs, dataset.plot.targets)]
    noises = []
    for part in (dataset.train, dataset.test):
        x, y = points(part)
        noises.append(y - np.interp(x[:, 0], *plot))
        assert abs(noises[-1].std() - 0.05) < 0.002 and abs(noises[-1].mean()) < 0.002
    assert abs(np.corrcoef(noises)[0, 1]) < 0.05
    seen = np.concatenate(
        [plot[1][(plot[0] >= a) & (plot[0] <= a + 2.4)] for a in (-7.2, -1.2, 4.8)]
    )
    assert (seen.min(), seen.max()) == pytest.approx((-0.55, 0.8), abs=2e-3)


@pytest.mark.parametrize("make", [spirals, regression])
def test_the_seed_decides_everything(tmp_path, make) -> None:
    contents = [make(tmp_path, seed=seed).read_bytes() for seed in (3, 3, 4)]
    assert contents[0] == contents[1] != contents[2]


def test_settings_that_make_no_sense() -> None:
    for options, message in (
        ({"counts": [3, 4]}, "2 numbers for 3 intervals"),
        ({"intervals": [[1.0, 0.0]], "counts": [3]}, "is no interval"),
        ({"plot_from": 3.0, "plot_to": 3.0}, "is no interval"),
        ({"counts": [0, 1, 1]}, "greater than or equal to 1"),
    ):
        with pytest.raises(ValidationError, match=message):
            RegressionSettings(title="T", source="regression", **options)


def test_a_file_with_other_tensors_is_refused(tmp_path) -> None:
    path = tmp_path / "data.safetensors"
    labels = np.zeros(3, dtype=np.int64)
    prepared_file.write(path, {"train_labels": labels}, {}, format=prepared_file.POINTS_FORMAT)
    with pytest.raises(UserError, match="types of its tensors"):
        load_dataset(path, CPU)


@pytest.fixture
def examples() -> PointExamples:
    return PointExamples(torch.arange(22.0).view(11, 2), torch.arange(11))


def test_batches_in_order_and_shuffled(examples) -> None:
    batches = list(examples.batches(4, window=1))
    assert [len(targets) for _, targets in batches] == [4, 4, 3]
    assert len(batches) == examples.iterations(4, window=1)
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), examples.inputs)
    prepared = examples.prepared_batches(4)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, prepared, strict=True))
    drawn = [
        list(examples.batches(4, shuffle=True, generator=torch.Generator().manual_seed(seed)))
        for seed in (1, 1, 2)
    ]
    orders = [torch.cat([targets for _, targets in pass_]) for pass_ in drawn]
    assert torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    assert torch.equal(orders[0].sort().values, examples.targets)
    inputs = torch.cat([inputs for inputs, _ in drawn[0]])
    assert torch.equal(inputs, examples.inputs[orders[0]])


def test_batches_refuse(examples) -> None:
    crop = AugmentationSettings(transforms=["crop"])
    with pytest.raises(ValueError, match="points are not augmented"):
        next(examples.batches(4, augmentation=crop, generator=torch.Generator()))
    with pytest.raises(ValueError, match="needs a generator"):
        next(examples.batches(4, shuffle=True))
    with pytest.raises(ValueError, match="at least 1"):
        next(examples.batches(0))


def test_only_points_give_one_output() -> None:
    examples = PointExamples(torch.zeros(1, 2), torch.zeros(1, dtype=torch.int64))
    dataset = Dataset(examples, examples, ("a", "b"), (2,))
    assert dataset.outputs == 1 and list(dataset.parts) == ["train", "test"]
