"""Points of weight space placed on paper by their distances."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mode_connectivity.settings import UserError

Array = npt.NDArray[np.float64]

# Standard deviation of the first coordinate at the start, as scikit-learn scales it.
_START_SIZE = 1e-4
# Of the start: enough to part coincident points, too little to hide the principal coordinates.
_START_NOISE = 0.01


def principal_coordinates(distances: npt.NDArray[Any]) -> tuple[Array, Array]:
    """Return the principal coordinates of points (classical scaling, Torgerson 1952).

    They are the principal components of the centred points, found without the points themselves:
    the eigenvectors of the doubly centred squared distances. Euclidean distances between them are
    the given ones, where those are Euclidean.

    Args:
        distances: Between N points, ``[N, N]``.

    Returns:
        Coordinates ``[N, N - 1]`` in the order of falling variance, each with its sign such that
        its entry of greatest magnitude is positive, and the shares of the variance ``[N - 1]``.

    Raises:
        UserError: If there are fewer than two points, the matrix is none of distances (finite,
            symmetric, not negative, zero on the diagonal), or all points coincide.
    """
    checked = _checked(distances)
    count = len(checked)
    centring = np.eye(count) - 1 / count
    variances, axes = np.linalg.eigh(-0.5 * centring @ checked**2 @ centring)
    # Ascending, and one of them belongs to the centring; rounding makes small ones negative.
    variances = np.clip(variances[::-1][: count - 1], 0, None)
    axes = axes[:, ::-1][:, : count - 1]
    if not variances.sum() > 0:
        raise UserError(
            f"principal coordinates: all {count} points coincide; their distances are zero; "
            "name different networks"
        )
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(count - 1)])
    return axes * np.sqrt(variances), variances / variances.sum()


def tsne(distances: npt.NDArray[Any], perplexity: float, seed: int) -> Array:
    """Return a t-SNE of points (van der Maaten & Hinton 2008), by scikit-learn.

    Gotmare et al. 2018 (appendix A.1) do not state their settings. The start is the first two
    principal coordinates, scaled small, with a hundredth of noise: it keeps what order there is
    at large, and another seed shows how far the picture depends on the start.

    Args:
        distances: Between N points, ``[N, N]``.
        perplexity: Effective number of neighbours; greater than 0 and below N.
        seed: Of the noise.

    Returns:
        Coordinates ``[N, 2]``, whose unit and whose large distances have no meaning.

    Raises:
        UserError: If the perplexity is out of its range, or as `principal_coordinates`.
    """
    from sklearn.manifold import TSNE

    checked = _checked(distances)
    count = len(checked)
    if not 0 < perplexity < count:
        raise UserError(
            f"t-SNE: perplexity {perplexity:g} for {count} points; it must be positive and below "
            f"the number of points; set perplexity to {max(1, (count - 1) // 3)}, about a third "
            "of them"
        )
    principal = principal_coordinates(checked)[0]
    start = np.zeros((count, 2))
    start[:, : principal.shape[1]] = principal[:, :2] / principal[:, 0].std()
    start += _START_NOISE * np.random.default_rng(seed).standard_normal(start.shape)
    model = TSNE(
        perplexity=perplexity,
        metric="precomputed",
        method="exact",
        init=_START_SIZE * start,
        random_state=seed,
    )
    # It squares the distances in place.
    return np.asarray(model.fit_transform(checked.copy()), dtype=np.float64)


def _checked(distances: npt.NDArray[Any]) -> Array:
    matrix = np.asarray(distances, dtype=np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
        raise UserError(
            f"distances: a table of shape {matrix.shape}; a square one of at least two points is "
            "needed; measure the distances again"
        )
    tolerance = 1e-6 * np.nanmax(np.abs(matrix), initial=0.0)
    problems = {
        "a value that is not finite": not np.isfinite(matrix).all(),
        "a negative value": bool((matrix < 0).any()),
        "a diagonal that is not zero": bool((np.abs(np.diag(matrix)) > tolerance).any()),
        "two different distances for one pair": bool((np.abs(matrix - matrix.T) > tolerance).any()),
    }
    for problem, found in problems.items():
        if found:
            raise UserError(
                f"distances: {problem}; finite distances, the same in both directions, are needed; "
                "measure the distances again"
            )
    return 0.5 * (matrix + matrix.T)
