"""Points placed by their distances: against known geometry."""

import numpy as np
import pytest

from mode_connectivity.reporting.embedding import principal_coordinates, tsne
from mode_connectivity.settings import UserError


def distances(points):
    return np.linalg.norm(points[:, None] - points[None], axis=2)


def clusters():
    """Return two far clusters of six points each in a space of many dimensions."""
    generator = np.random.default_rng(0)
    centres = np.repeat(20 * np.eye(2, 30), 6, axis=0)
    return centres + generator.standard_normal((12, 30))


def test_points_of_a_plane_have_two_principal_coordinates_at_their_distances():
    generator = np.random.default_rng(1)
    plane = np.linalg.qr(generator.standard_normal((50, 2)))[0]
    flat = generator.standard_normal((7, 2)) * [3, 1]
    between = distances(flat @ plane.T + 5)
    coordinates, shares = principal_coordinates(between)
    assert coordinates.shape == (7, 6) and shares.shape == (6,)
    np.testing.assert_allclose(distances(coordinates[:, :2]), between, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(coordinates.sum(axis=0), 0, atol=1e-6)
    # The principal components of the points themselves.
    variances = np.linalg.eigvalsh(np.cov(flat.T))[::-1]
    np.testing.assert_allclose(shares[:2], variances / variances.sum(), rtol=1e-10)
    np.testing.assert_allclose(shares[2:], 0, atol=1e-10)


def test_principal_coordinates_by_hand():
    # 3 and 4 apart on a line: at -10/3, -1/3 and 11/3 from their mean.
    line = np.array([[0.0, 3, 7], [3, 0, 4], [7, 4, 0]])
    coordinates, shares = principal_coordinates(line)
    np.testing.assert_allclose(coordinates[:, 0], [-10 / 3, -1 / 3, 11 / 3])
    np.testing.assert_allclose(shares, [1, 0], atol=1e-12)


def test_tsne_keeps_clusters_apart_and_leaves_the_distances_alone():
    between = distances(clusters())
    before = between.copy()
    placed = tsne(between, 4, seed=0)
    np.testing.assert_array_equal(between, before)
    assert placed.shape == (12, 2)
    apart = distances(placed)
    within = max(apart[:6, :6].max(), apart[6:, 6:].max())
    assert within < apart[:6, 6:].min()


def test_tsne_is_repeatable_and_depends_on_its_seed():
    between = distances(clusters())
    first = tsne(between, 4, seed=0)
    np.testing.assert_array_equal(first, tsne(between, 4, seed=0))
    assert not np.allclose(first, tsne(between, 4, seed=1))


def test_tsne_parts_points_that_coincide():
    between = distances(np.repeat(np.eye(4), [3, 1, 1, 1], axis=0))
    placed = tsne(between, 2, seed=0)
    assert np.isfinite(placed).all() and distances(placed)[0, 1] > 0


@pytest.mark.parametrize("perplexity", [0, 12, 30])
def test_a_perplexity_that_is_not_below_the_number_of_points_is_refused(perplexity):
    text = f"perplexity {perplexity} for 12 points.*set perplexity to 3"
    with pytest.raises(UserError, match=text):
        tsne(distances(clusters()), perplexity, seed=0)


@pytest.mark.parametrize(
    ("matrix", "text"),
    [
        (np.zeros((2, 3)), r"shape \(2, 3\)"),
        (np.zeros((1, 1)), "at least two points"),
        (np.array([[0, np.nan], [np.nan, 0]]), "not finite"),
        (np.array([[0.0, -1], [-1, 0]]), "negative"),
        (np.array([[1.0, 2], [2, 1]]), "diagonal"),
        (np.array([[0.0, 2], [1, 0]]), "two different distances"),
        (np.zeros((3, 3)), "all 3 points coincide"),
    ],
)
def test_tables_that_are_no_distances_are_refused(matrix, text):
    for place in (principal_coordinates, lambda between: tsne(between, 1, seed=0)):
        with pytest.raises(UserError, match=text):
            place(matrix)
