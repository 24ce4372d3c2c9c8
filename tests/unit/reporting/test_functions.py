import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import norm

from mode_connectivity.reporting.functions import (
    FUNCTION_LAYOUTS,
    EvaluatedFunctions,
    FunctionSamples,
    benton2021_figure10_table,
    mixture_nll,
)
from mode_connectivity.reporting.rendering import write_table
from mode_connectivity.settings import UserError
from mode_connectivity.tensors import save_tensors

INTERVALS = [[-2.0, -1.0], [1.0, 2.0]]


def ensemble(values, targets, *, functions=None, noise=0.1, noise_variance=0.5, method="A"):
    values = np.asarray(values, dtype=np.float32)
    x = np.linspace(-3, 3, 13, dtype=np.float32)
    functions = functions or FunctionSamples(
        values=np.zeros((len(values), 13), np.float32),
        inputs=x[:, None],
        train_inputs=np.zeros((2, 1), np.float32),
        train_targets=np.zeros(2, np.float32),
        targets=np.zeros(13, np.float32),
    )
    return EvaluatedFunctions(
        "Data", "Net", method, functions, values, np.asarray(targets, np.float32),
        noise, noise_variance, INTERVALS,
    )  # fmt: skip


def test_the_density_of_a_mixture_by_hand() -> None:
    values, targets = np.array([[0.0, 1.0], [2.0, 1.0]]), np.array([0.5, 3.0])
    expected = [
        -math.log(0.5 * norm.pdf(0.5, 0, 0.3) + 0.5 * norm.pdf(0.5, 2, 0.3)),
        -norm.logpdf(3.0, 1.0, 0.3),
    ]
    np.testing.assert_allclose(mixture_nll(values, targets, 0.09), expected, rtol=1e-6)
    total = quad(lambda y: math.exp(-mixture_nll(values[:, :1], np.array([y]), 0.09)[0]), -5, 7)
    assert total[0] == pytest.approx(1.0, abs=1e-6)


def test_a_row_by_hand() -> None:
    # One function, errors of 0, 1.9, 2.0 and -5 standard deviations of the noise.
    targets = np.array([0.0, 0.19, 0.20, -0.5])
    row = benton2021_figure10_table([ensemble(np.zeros((1, 4)), targets)]).iloc[0]
    assert row["test_coverage"] == 50.0
    assert row["test_nll"] == pytest.approx(-norm.logpdf(targets, 0, 0.1).mean(), rel=1e-5)
    assert row["test_nll_likelihood"] == pytest.approx(
        -norm.logpdf(targets, 0, math.sqrt(0.5)).mean(), rel=1e-5
    )
    assert row["test_rmse"] == pytest.approx(math.sqrt(np.mean(targets**2)))
    assert row["test_nll_low"] < row["test_nll"] < row["test_nll_high"]
    assert (row["method"], row["members"], row["runs"]) == ("A", 1, 1)


def test_coverage_of_a_good_model_is_95_percent() -> None:
    generator = np.random.default_rng(0)
    centres = generator.standard_normal(4000)
    values = np.stack([centres - 0.2, centres + 0.2])
    which = generator.integers(2, size=4000)
    targets = values[which, np.arange(4000)] + 0.1 * generator.standard_normal(4000)
    row = benton2021_figure10_table([ensemble(values, targets)]).iloc[0]
    assert row["test_coverage"] == pytest.approx(95.0, abs=1.2)
    assert row["test_coverage_low"] < 95.0 < row["test_coverage_high"]


def test_the_true_function_on_data_and_in_gaps() -> None:
    x = np.linspace(-3, 3, 13)
    # Deviation 1 everywhere; the truth is 2.5 away at x = -1.5, on data, and at 0 and 0.5.
    truth = np.where(np.isin(x, [-1.5, 0.0, 0.5]), 2.5, 1.0)
    functions = FunctionSamples(
        values=np.stack([np.ones(13), -np.ones(13)]),
        inputs=x[:, None],
        train_inputs=np.zeros((2, 1)),
        train_targets=np.zeros(2),
        targets=truth,
    )
    row = benton2021_figure10_table([ensemble(np.zeros((2, 4)), np.zeros(4), functions=functions)])
    # On data: -2, -1.5, -1, 1, 1.5, 2; in the gap: -0.5, 0, 0.5.
    assert row["function_coverage_seen"][0] == pytest.approx(100 * 5 / 6)
    assert row["function_coverage_gaps"][0] == pytest.approx(100 / 3)
    assert row["function_sd_seen"][0] == row["function_sd_gaps"][0] == 1.0


def test_written_as_a_table(tmp_path) -> None:
    values = np.random.default_rng(0).standard_normal((3, 20))
    frame = benton2021_figure10_table(
        [ensemble(values, values[0], method=name) for name in ("ESPRO", "Deep ensemble")]
    )
    write_table(frame, FUNCTION_LAYOUTS["benton2021_figure10"], tmp_path / "table")
    text = (tmp_path / "table.md").read_text()
    assert "Deep ensemble" in text and "–" not in text
    assert f"{frame['test_nll'][0]:.3f} [{frame['test_nll_low'][0]:.3f}" in text


def test_members_that_are_shown_are_spread() -> None:
    functions = FunctionSamples(np.zeros((101, 2)), *[np.zeros((2, 1))] * 2, np.zeros(2))
    assert functions.spread(5) == [0, 25, 50, 75, 100]
    assert functions.spread(1) == [0]
    assert FunctionSamples(np.zeros((3, 2)), *[np.zeros((2, 1))] * 2, np.zeros(2)).spread(9) == [
        0,
        1,
        2,
    ]


def test_files_are_checked(tmp_path) -> None:
    path = tmp_path / "function_values.safetensors"
    tensors = {
        "values": torch.randn(3, 4),
        "inputs": torch.randn(4, 1),
        "train_inputs": torch.randn(5, 1),
        "train_targets": torch.randn(5),
    }
    save_tensors(path, tensors, {})
    functions = FunctionSamples.read(path, regression=False)
    np.testing.assert_array_equal(functions.values, tensors["values"])
    assert functions.targets is None
    with pytest.raises(UserError, match="no tensor 'targets'"):
        FunctionSamples.read(path, regression=True)
    with pytest.raises(UserError, match="no such file"):
        FunctionSamples.read(tmp_path / "none", regression=False)
