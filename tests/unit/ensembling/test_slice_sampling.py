import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from mode_connectivity.ensembling.slice_sampling import elliptical_slice_sampling
from mode_connectivity.settings import UserError


def sample(log_likelihood, dimensions: int, **options):
    options = {"prior_sigma": 1.0, "samples": 4000, "seed": 1} | options
    return elliptical_slice_sampling(
        log_likelihood, torch.zeros(dimensions, dtype=torch.float64), **options
    )


def standard_error(values: np.ndarray, batches: int = 40) -> float:
    """Of the mean of a chain, by the means of its batches."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.std(ddof=1) / math.sqrt(batches))


@pytest.mark.parametrize("prior_sigma", [1.0, 2.5])
def test_a_gaussian_posterior(prior_sigma) -> None:
    """Prior N(0, s^2 I), observations of A z with noise C: the posterior in closed form."""
    design = np.array([[1.0, 0.5], [-0.3, 1.2], [0.7, 0.7]])
    observed, noise = np.array([1.0, -0.5, 0.8]), np.array([0.5, 0.8, 1.1])
    precision = np.eye(2) / prior_sigma**2 + design.T @ np.diag(1 / noise**2) @ design
    covariance = np.linalg.inv(precision)
    mean = covariance @ design.T @ (observed / noise**2)

    def log_likelihood(z: torch.Tensor) -> float:
        residuals = (design @ z.numpy() - observed) / noise
        return float(-0.5 * residuals @ residuals)

    chain, levels = sample(log_likelihood, 2, prior_sigma=prior_sigma, samples=12_000)
    draws = chain.numpy()
    assert draws.shape == (12_000, 2) and draws.dtype == np.float64
    for k in range(2):
        assert abs(draws[:, k].mean() - mean[k]) < 4 * standard_error(draws[:, k])
    centred = draws - mean
    for j, k in ((0, 0), (0, 1), (1, 1)):
        products = centred[:, j] * centred[:, k]
        assert abs(products.mean() - covariance[j, k]) < 4 * standard_error(products)
    assert levels[37] == log_likelihood(chain[37])


def test_a_tilted_posterior_in_one_dimension() -> None:
    """A likelihood that is no Gaussian, against quadrature."""

    def log_likelihood(z: float) -> float:
        return math.sin(3 * z) + 0.8 * z - 0.1 * z**4

    def density(z: float) -> float:
        return math.exp(log_likelihood(z) - 0.5 * z**2 / 1.5**2)

    chain, _ = sample(lambda z: log_likelihood(z.item()), 1, prior_sigma=1.5, samples=12_000)
    draws = chain[:, 0].numpy()
    total = quad(density, -9, 9)[0]
    moments = (lambda z: z, lambda z: z**2, lambda z: z**3, lambda z: float(z < 0))
    for moment in moments:
        expected = quad(lambda z, f=moment: f(z) * density(z) / total, -9, 9, points=[0.0])[0]
        found = np.array([moment(z) for z in draws])
        assert abs(found.mean() - expected) < 4 * standard_error(found)


def test_without_data_the_prior_is_drawn_independently() -> None:
    chain, _ = sample(lambda z: 0.0, 3, prior_sigma=0.5, samples=8000)
    draws = chain.numpy()
    assert np.abs(draws.mean(axis=0)).max() < 4 * 0.5 / math.sqrt(8000)
    np.testing.assert_allclose(np.cov(draws.T), 0.25 * np.eye(3), atol=0.015)


def test_seeded() -> None:
    first, second, other = (
        sample(lambda z: -float(z @ z), 2, samples=20, seed=seed)[0] for seed in (5, 5, 6)
    )
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_excluded_points_are_never_accepted() -> None:
    def log_likelihood(z: torch.Tensor) -> float:
        return 0.0 if -0.1 <= z.item() < 0.3 else (-math.inf if z < 0 else math.nan)

    chain, levels = sample(log_likelihood, 1, samples=500)
    assert chain.min() >= -0.1 and chain.max() < 0.3 and (levels == 0).all()
    assert chain.min() < -0.05 and chain.max() > 0.25


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_start_without_likelihood_is_refused(value) -> None:
    with pytest.raises(UserError, match="log-likelihood at the start"):
        sample(lambda z: value, 2)


def test_a_log_says_how_long_the_chain_is(told) -> None:
    sample(lambda point: 0.0, 1, samples=3)
    assert told() == ["sample 1/3", "sample 2/3", "sample 3/3"]
