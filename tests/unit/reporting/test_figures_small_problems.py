import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from mode_connectivity.reporting.figures.small_problems import (
    benton2021_figure7,
    benton2021_figure10,
)
from mode_connectivity.reporting.functions import FunctionSamples
from mode_connectivity.settings import UserError


def lattice(members: int) -> FunctionSamples:
    first, second = np.meshgrid(np.linspace(-2, 2, 9), np.linspace(-1, 1, 5))
    inputs = np.column_stack([first.ravel(), second.ravel()]).astype(np.float32)
    slopes = np.random.default_rng(0).standard_normal((members, 2))
    train = np.array([[1.0, 0.5], [-1.0, -0.5], [0.5, 0.9]], np.float32)
    return FunctionSamples(
        (slopes @ inputs.T).astype(np.float32), inputs, train, np.array([0, 1, 1])
    )


def line(members: int, seed: int = 0) -> FunctionSamples:
    x = np.linspace(-10, 10, 41, dtype=np.float32)
    slopes = np.random.default_rng(seed).standard_normal((members, 1)).astype(np.float32)
    return FunctionSamples(slopes * x, x[:, None], x[5:9, None], 0.1 * x[5:9], targets=0.1 * x)


def test_figure7_shows_decisions_and_the_sigmoid_of_the_mean_logit() -> None:
    functions = lattice(101)
    figure, numbers = benton2021_figure7(functions, shown=5, title="Net, Data")
    assert list(numbers.columns) == [
        *("x1", "x2"), *(f"member_{k}" for k in (0, 25, 50, 75, 100)), "ensemble_probability"
    ]  # fmt: skip
    np.testing.assert_array_equal(numbers["member_25"], functions.values[25] > 0)
    mean = functions.values.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(numbers["ensemble_probability"], expit(mean), atol=1e-6)
    panels = [axis for axis in figure.axes if axis.get_title()]
    assert [axis.get_title() for axis in panels][-1] == "Ensemble of 101"
    assert len(panels) == 6
    # The picture has the values where the lattice has them.
    mesh = panels[1].collections[0]
    drawn = np.asarray(mesh.get_array()).reshape(5, 9)
    where = numbers.pivot(index="x2", columns="x1", values="member_25")
    np.testing.assert_array_equal(drawn, where.to_numpy())
    points = {line.get_label(): line.get_xydata() for line in panels[0].lines}
    np.testing.assert_array_equal(points["Class 1, training"], functions.train_inputs[1:])


def test_figure7_of_a_single_network_and_an_odd_number_of_panels() -> None:
    figure, numbers = benton2021_figure7(lattice(1))
    assert [axis.get_title() for axis in figure.axes if axis.get_title()] == [
        "Member 1",
        "Ensemble of 1",
    ]
    assert "member_0" in numbers


def test_figure7_wants_a_lattice() -> None:
    functions = lattice(2)
    shuffled = FunctionSamples(
        functions.values, functions.inputs[::-1], functions.train_inputs, functions.train_targets
    )
    for wrong in (shuffled, line(3)):
        with pytest.raises(UserError, match="not a lattice in the plane"):
            benton2021_figure7(wrong)


def test_figure10_shows_means_bands_and_functions() -> None:
    panels = {"ESPRO": line(25), "Deep ensemble": line(5, 1), "Subspace inference": line(1000, 2)}
    figure, numbers = benton2021_figure10(panels, lines=10, title="Net, Data")
    for name, functions in panels.items():
        own = numbers[numbers["method"] == name]
        values = functions.values.astype(np.float64)
        np.testing.assert_allclose(own["mean"], values.mean(axis=0))
        np.testing.assert_allclose(own["high"] - own["low"], 6 * values.std(axis=0))
        np.testing.assert_allclose(own["true"], functions.targets)
        shown = own[[f"function_{k}" for k in range(1, 11)]].dropna(axis=1)
        assert shown.shape[1] == min(10, len(values))
        np.testing.assert_allclose(shown["function_1"], values[0])
        np.testing.assert_allclose(shown.iloc[:, -1], values[-1])
    data = numbers[numbers["method"] == "data"]
    np.testing.assert_allclose(data["target"], 0.1 * data["x"], rtol=1e-6)
    assert [axis.get_title() for axis in figure.axes] == [
        "ESPRO (25 functions)",
        "Deep ensemble (5 functions)",
        "Subspace inference (1000 functions)",
    ]
    # Ten functions, the data, the truth and the mean; one band.
    assert [len(axis.lines) for axis in figure.axes] == [13, 8, 13]
    assert all(len(axis.collections) == 1 for axis in figure.axes)
    band = figure.axes[1].collections[0].get_paths()[0].vertices
    own = numbers[numbers["method"] == "Deep ensemble"]
    assert band[:, 1].max() == pytest.approx(own["high"].max())
    assert isinstance(numbers, pd.DataFrame)


def test_figure10_refuses() -> None:
    with pytest.raises(UserError, match="no ensemble"):
        benton2021_figure10({})
    with pytest.raises(UserError, match="functions of one variable"):
        benton2021_figure10({"A": lattice(2)})
